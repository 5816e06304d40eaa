"""Behaviour that depends on both ends of the ASGI interface, over real sockets.

Our application on every server, every framework's application on our protocol class, and what
comes over the wire before either is asked.
"""
