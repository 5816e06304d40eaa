"""How sync views are executed.

A runner gives each view a place to run for the life of its connection, and a way to wait there.
Nothing here knows Django or what a WebSocket is.
"""
