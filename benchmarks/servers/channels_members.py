"""Channels with its session and auth middleware around an async and a sync echo consumer.

The catalogue serves it with stock uvicorn. It has no channel layer, which is the fastest Channels
can be.
"""

# First, since it makes the settings.
from benchmarks.servers import members  # noqa: F401, I001

from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path


class AsyncEcho(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        assert self.scope["user"].is_authenticated
        await self.accept()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data, bytes_data=bytes_data)


class SyncEcho(WebsocketConsumer):
    def connect(self) -> None:
        assert self.scope["user"].is_authenticated
        self.accept()

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.send(text_data=text_data, bytes_data=bytes_data)


application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": AuthMiddlewareStack(
            URLRouter([path("async", AsyncEcho.as_asgi()), path("sync", SyncEcho.as_asgi())])
        ),
    }
)
