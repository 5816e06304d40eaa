"""How many WebSockets one client address has, for ``WEBSOCKET_MAX_CONNECTIONS_PER_IP``.

The ASGI application takes a place for each handshake and gives it back at the end. An address is
what the server's scope says; behind trusted proxies uvicorn puts there what these have forwarded.
"""

from __future__ import annotations

import threading
from ipaddress import IPv4Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# Addresses are short; a proxy may pass on anything.
_LONGEST: Final = 64

_places: dict[str, int] = {}
# A process may have several event loops.
_lock: Final = threading.Lock()


def client_of(scope: Mapping[str, Any]) -> str | None:
    """Give the name by which the connections of a client are counted, None where it has no address.

    An IPv4 address stands for itself, also in the form that IPv6 has for it. An IPv6 address stands
    for its /64: so many a single customer gets. What is no address, as some proxies send in its
    place, is taken as it is.
    """
    address = scope.get("client")
    if not address or not address[0]:
        return None
    text = str(address[0])
    try:
        parsed = ip_address(text)
    except ValueError:
        return text[:_LONGEST]
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed.packed, 64), strict=False))


def take_place(client: str, most: int) -> bool:
    """Count one more connection of a client, or tell that it has as many as it may."""
    with _lock:
        taken = _places.get(client, 0)
        if taken >= most:
            return False
        _places[client] = taken + 1
        return True


def give_back_place(client: str) -> None:
    """Count one connection of a client less."""
    with _lock:
        left = _places[client] - 1
        if left:
            _places[client] = left
        else:
            del _places[client]


def count_places() -> dict[str, int]:
    """Give the connections of each client that has any. From any thread."""
    with _lock:
        return dict(_places)
