"""Finds what a project that was written for dwebsocket has to look at before it moves.

``inspection`` is the way in, ``manage.py websocket_port`` the usual caller. Nothing of the project
is imported, and nothing here may import Django.
"""
