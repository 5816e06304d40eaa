"""Channels: a sync consumer that reads a row from PostgreSQL for each message.

The catalogue serves it with stock uvicorn; the benchmark puts the database into the environment.
"""

import json
import os
import random

import django
from channels.generic.websocket import WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.db import models
from django.urls import path

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="benchmark",
    DATABASES={"default": json.loads(os.environ["BENCHMARK_DATABASE"])},
)
django.setup()


class Row(models.Model):
    word = models.TextField()

    class Meta:
        app_label = "benchmark"
        db_table = "benchmark"


class Answer(WebsocketConsumer):
    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        Row.objects.get(pk=random.randint(1, 1000))
        self.send(text_data=text_data, bytes_data=bytes_data)


urlpatterns: list[object] = []
application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([path("sync", Answer.as_asgi())]),
    }
)
