"""The least that an ASGI application can do to echo: what an ASGI server costs without a framework.

The catalogue serves it with stock uvicorn. It must not import anything.
"""


async def application(scope, receive, send):  # type: ignore[no-untyped-def]
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return
        text = event.get("text")
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": event["bytes"]})
