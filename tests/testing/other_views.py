"""Another project's addresses."""

from __future__ import annotations

from typing import Any

from django.urls import path

from adwebsocket import require_websocket


@require_websocket
def greet(request: Any) -> None:
    request.websocket.send("from elsewhere")


urlpatterns = [path("sync/echo/", greet)]
