"""Coverage-guided fuzzing of the protocol package: ``scripts/fuzz`` calls it.

``targets`` says what must hold for any bytes, ``seeds`` makes the corpus to begin with. A plain
test replays that corpus; only the command needs atheris.
"""
