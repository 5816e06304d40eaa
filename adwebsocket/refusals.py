"""Why handshakes are refused: a word for those who count, and a sentence for those who look.

Whoever makes such a response marks it, and the ASGI application counts it when it is the answer.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from django.utils.log import log_response

from .transport.tally import tally

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.http.response import HttpResponseBase

ResponseT = TypeVar("ResponseT", bound="HttpResponseBase")

_ATTRIBUTE = "websocket_refusal"

logger = logging.getLogger("adwebsocket")


def mark_refusal(response: ResponseT, reason: str) -> ResponseT:
    """Say in a word why a response refuses a handshake; gives the response."""
    setattr(response, _ATTRIBUTE, reason)
    return response


def count_refusal(response: HttpResponseBase) -> None:
    """Count a response that answers a handshake: by its mark, or as one of the project's own."""
    tally.reasons.count(getattr(response, _ATTRIBUTE, "response"))


def log_refusal(request: HttpRequest, response: HttpResponse, reason: str) -> None:
    """Log why a handshake is refused: a browser shows its page nothing of the response."""
    # Django's way, so that it is logged once.
    log_response(
        "Refused a WebSocket to %s: %s",
        ascii(request.path),
        reason,
        response=response,
        request=request,
        logger=logger,
    )


def explain_stray_handshake(request: HttpRequest) -> str | None:
    """Say why a request that a WebSocket client has sent came as a plain one, None for others.

    Only such a client sends the key, which proxies and servers pass on whatever they make of it.
    """
    if "HTTP_SEC_WEBSOCKET_KEY" not in request.META:
        return None
    if "websocket" in request.META.get("HTTP_UPGRADE", "").lower():
        return (
            "The server that took this handshake serves no WebSockets: use the command adwebsocket,"
            " or manage.py runserver with 'adwebsocket' before 'django.contrib.staticfiles' in "
            "INSTALLED_APPS."
        )
    return (
        "This handshake came without its headers Upgrade and Connection: the proxy in front of the "
        "server has to pass them on."
    )
