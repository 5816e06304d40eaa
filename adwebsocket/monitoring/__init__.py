"""What is going on: statistics of this process, and of the project's others on this machine.

``adwebsocket.stats()``, the staff's views and ``manage.py websocket_status`` are in here. Nothing
of it is needed to serve, and nothing that serves may wait for it.
"""
