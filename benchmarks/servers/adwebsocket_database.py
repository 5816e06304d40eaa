"""adwebsocket: sync views that read a row from PostgreSQL for each message, with either runner.

The catalogue serves it with ``python -m adwebsocket``; the benchmark puts the database into the
environment. It must not use anything but the public names.
"""

import json
import os
import random

from django.conf import settings
from django.db import models
from django.http import HttpRequest
from django.urls import path

from adwebsocket import require_websocket
from adwebsocket.asgi import get_asgi_application

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="benchmark",
    DATABASES={"default": json.loads(os.environ["BENCHMARK_DATABASE"])},
)
application = get_asgi_application()


class Row(models.Model):
    word = models.TextField()

    class Meta:
        app_label = "benchmark"
        db_table = "benchmark"


def answer(request: HttpRequest) -> None:
    for message in request.websocket:
        Row.objects.get(pk=random.randint(1, 1000))
        request.websocket.send(message)


urlpatterns = [
    path("thread", require_websocket(runner="thread")(answer)),
    path("greenlet", require_websocket(runner="greenlet")(answer)),
]
