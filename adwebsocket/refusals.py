"""Why handshakes are refused, for those who count: a word beside the response that says it.

Whoever makes such a response marks it, and the ASGI application counts it when it is the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from .transport.tally import tally

if TYPE_CHECKING:
    from django.http.response import HttpResponseBase

ResponseT = TypeVar("ResponseT", bound="HttpResponseBase")

_ATTRIBUTE = "websocket_refusal"


def mark_refusal(response: ResponseT, reason: str) -> ResponseT:
    """Say in a word why a response refuses a handshake; gives the response."""
    setattr(response, _ATTRIBUTE, reason)
    return response


def count_refusal(response: HttpResponseBase) -> None:
    """Count a response that answers a handshake: by its mark, or as one of the project's own."""
    tally.reasons.count(getattr(response, _ATTRIBUTE, "response"))
