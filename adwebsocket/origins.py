"""Which web pages may open a WebSocket.

Cookies authenticate a socket, and browsers let any page open one to any host; the Origin header
is all that tells a foreign page from our own (RFC 6455 section 10.2). The decorators ask here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from django.conf import settings as django_settings
from django.utils.http import is_same_domain

from .conf import get_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.http import HttpRequest

# An origin as browsers write it (RFC 6454 section 6.2): nothing else stands beside scheme, host and
# port. What looks like a host to a lenient parser, such as "evil\.example.org", is none.
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\*?[\w.-]+|\[[0-9a-f:.]+\])(?P<port>:\d+)?",
    re.ASCII,
)
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_LONGEST_SHOWN: Final = 200


def refusal_of_origin(request: HttpRequest, origins: Sequence[str] | None) -> str | None:
    """Say why the page that opens this WebSocket must not, or None where it may.

    Arguments:
        request: the handshake. Without an Origin header the client is no browser: it is let in.
        origins: what the view allows besides its own host, in place of the settings.

    Raises:
        DisallowedHost: the host is not in ``ALLOWED_HOSTS``, whoever asks.
    """
    # Asked without an Origin, too: there may be no middleware that does.
    host = request.get_host()
    # request.headers would be built for this alone, and kept: 1.2 KB a connection.
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None or _is_own_origin(origin, host, is_secure=request.is_secure()):
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
        f"The origin {_shown(origin)} may not open a WebSocket here: it is not the host "
        f"{_shown(host)}. To allow it, {remedy}."
    )


def _is_own_origin(origin: str, host: str, *, is_secure: bool) -> bool:
    scheme, _, host_of_page = _normal(origin).partition("://")
    # A page that came without TLS may have been altered on its way, so it must not reach a socket
    # behind TLS. The other way round is what a proxy that ends TLS in silence looks like.
    schemes = ("https",) if is_secure else ("https", "http")
    return scheme in schemes and f"{scheme}://{host_of_page}" == _normal(f"{scheme}://{host}")


def _matches(origin: str, pattern: str) -> bool:
    if pattern in ("*", origin):
        return True
    given, wanted = _normal(origin), _normal(pattern)
    if given == wanted:
        return True
    scheme, _, host = wanted.partition("://")
    if not host.startswith("*.") or _ORIGIN.fullmatch(given) is None:
        return False
    given_scheme, _, given_host = given.partition("://")
    return given_scheme == scheme and is_same_domain(given_host, host[1:])


def _normal(origin: str) -> str:
    """Write an origin as browsers do: in lower case, and without the port of its scheme."""
    origin = origin.lower()
    found = _ORIGIN.fullmatch(origin)
    if found is not None and found["port"] == _DEFAULT_PORTS.get(found["scheme"]):
        return origin.removesuffix(found["port"] or "")
    return origin


def _shown(text: str) -> str:
    """Quote what a client has sent for whoever reads a log or a response, on one line of ASCII."""
    shown = ascii(text[:_LONGEST_SHOWN])
    return shown if len(text) <= _LONGEST_SHOWN else f"{shown}..."
