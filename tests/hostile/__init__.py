"""Peers that mean harm, or just leave: what no client may do to a server, over real sockets.

The clients are hand-made, byte by byte (``wire.py``), the server is a process of its own that
serves ``project``. Each test looks at what the view saw, and whether the server still serves.
"""
