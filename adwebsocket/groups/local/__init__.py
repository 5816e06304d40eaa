"""The back-end for the processes of one machine; ``backend.py`` puts the modules together."""
