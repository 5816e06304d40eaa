"""How messages get from a connection to whoever waits for them, and back.

The uvicorn protocol class and the plain ASGI channel are two ways to the same seam, the channel,
on which the WebSocket objects stand. Nothing here knows Django or how views run.
"""
