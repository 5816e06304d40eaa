"""Channels: a Django project in one file whose consumers send each message to a group of all.

The catalogue serves it with stock uvicorn, and names the layer in the environment. A layer drops
what is sent to a consumer beyond its capacity of 100 messages; the closed loop stays below it.
"""

import os
from typing import Any, ClassVar

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import path

LAYERS = {
    "memory": "channels.layers.InMemoryChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}
kind = os.environ.get("BENCHMARK_LAYER", "memory")
layer: dict[str, Any] = {"BACKEND": LAYERS[kind]}
if kind != "memory":
    layer["CONFIG"] = {"hosts": [os.environ["BENCHMARK_REDIS"]]}

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="benchmark",
    CHANNEL_LAYERS={"default": layer},
)


class Member(AsyncWebsocketConsumer):
    groups: ClassVar = ["room"]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        event = {"type": "relay", "text": text_data, "bytes": bytes_data}
        await self.channel_layer.group_send("room", event)

    async def relay(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"], bytes_data=event["bytes"])


urlpatterns: list[object] = []
application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([path("async", Member.as_asgi())]),
    }
)
