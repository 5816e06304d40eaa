"""Which web pages may open a WebSocket.

Cookies authenticate a socket, and browsers let any page open one to any host; the Origin header
is all that tells a foreign page from our own (RFC 6455 section 10.2). The decorators ask here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.utils.http import is_same_domain

from .conf import get_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.http import HttpRequest


def refusal_of_origin(request: HttpRequest, origins: Sequence[str] | None) -> str | None:
    """Say why the page that opens this WebSocket must not, or None where it may.

    Arguments:
        request: the handshake. Without an Origin header the client is no browser: it is let in.
        origins: what the view allows besides its own host, in place of the settings.
    """
    # request.headers would be built for this alone, and kept: 1.2 KB a connection.
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None or _is_own_origin(origin, request):
        return None
    if origins is None:
        allowed = [*get_settings().allowed_origins, *django_settings.CSRF_TRUSTED_ORIGINS]
        remedy = "add it to WEBSOCKET_ALLOWED_ORIGINS or CSRF_TRUSTED_ORIGINS"
    else:
        allowed = list(origins)
        remedy = "add it to the origins of the view"
    if any(_matches(origin, pattern) for pattern in allowed):
        return None
    return (
        f"The origin {origin!r} may not open a WebSocket here: it is not the host "
        f"{request.get_host()!r}. To allow it, {remedy}."
    )


def _is_own_origin(origin: str, request: HttpRequest) -> bool:
    scheme, _, host = origin.partition("://")
    # A page that came without TLS may have been altered on its way, so it must not reach a socket
    # behind TLS. The other way round is what a proxy that ends TLS in silence looks like.
    schemes = ("https",) if request.is_secure() else ("https", "http")
    return host == request.get_host() and scheme in schemes


def _matches(origin: str, pattern: str) -> bool:
    if pattern in ("*", origin):
        return True
    wanted = urlsplit(pattern)
    if not wanted.netloc.startswith("*."):
        return False
    try:
        given = urlsplit(origin)
    except ValueError:
        return False
    return given.scheme == wanted.scheme and is_same_domain(given.netloc, wanted.netloc[1:])
