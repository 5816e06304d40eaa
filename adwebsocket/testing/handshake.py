"""What Django's test clients know, as a handshake: defaults, cookies and headers; and the way back.

The clients call it. It opens nothing and waits for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.urls import resolve
from django.utils.encoding import iri_to_uri
from django.utils.functional import SimpleLazyObject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from websockets.http11 import Response

    from .application import ViewRecord

_DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True)
class Handshake:
    """A handshake that a client is about to make.

    Attributes:
        path: the path with its query string, as it stands in the request line.
        headers: besides those that RFC 6455 prescribes; None leaves one out.
        subprotocols: what is offered.
        scope: what the server is to believe of the connection.
    """

    path: str
    headers: Sequence[tuple[str, str | None]]
    subprotocols: Sequence[str]
    scope: Mapping[str, Any]

    @property
    def uri(self) -> str:
        """The address that the handshake goes to."""
        return f"ws://testserver{self.path}"


def make_handshake(
    client: Any,
    path: str,
    subprotocols: Sequence[str],
    headers: Mapping[str, str | None] | None,
    query_params: Mapping[str, Any] | None,
    secure: bool,
    extra: Mapping[str, Any],
) -> Handshake:
    """Make a handshake of what a client of Django's knows, and of what a call adds.

    As for ``get()``, names in ``extra`` and in the client's defaults are those of a WSGI environ.
    """
    if isinstance(subprotocols, (str, bytes)):
        raise TypeError(f"subprotocols must be a list of strings, not {subprotocols!r}")
    environ = {
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_NAME": "testserver",
        "wsgi.url_scheme": "http",
        **client.defaults,
        **({"wsgi.url_scheme": "https"} if secure else {}),
        **extra,
    }
    scheme = environ["wsgi.url_scheme"]
    port = str(environ.get("SERVER_PORT", _DEFAULT_PORTS[scheme]))
    if scheme == "https" and port == "80":
        port = "443"
    name = environ["SERVER_NAME"]
    chosen = _Headers({"Host": name if port == _DEFAULT_PORTS[scheme] else f"{name}:{port}"})
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            chosen[key[5:].replace("_", "-")] = str(value)
    for name_of_header, value in (headers or {}).items():
        chosen[name_of_header] = value
    # What a page of this very host would send.
    chosen.setdefault("Origin", f"{scheme}://{chosen['Host']}")
    cookies = sorted(
        f"{morsel.key}={morsel.coded_value}"
        for morsel in client.cookies.values()
        # A browser keeps none that was deleted; Django's client sends those as well, empty.
        if str(morsel["max-age"]) != "0"
    )
    if cookies:
        chosen.setdefault("Cookie", "; ".join(cookies))
    target = iri_to_uri(path) or "/"
    query = urlencode(query_params, doseq=True) if query_params else environ.get("QUERY_STRING")
    if query and "?" not in target:
        target += f"?{query}"
    return Handshake(
        path=target,
        headers=list(chosen.items()),
        subprotocols=subprotocols,
        scope={
            "scheme": "wss" if scheme == "https" else "ws",
            "client": (environ["REMOTE_ADDR"], 50000),
            "server": (name, int(port)),
        },
    )


class _Headers(dict[str, str | None]):
    """Headers by their names as they are usually written, so that each is there once."""

    def __setitem__(self, name: str, value: str | None) -> None:
        super().__setitem__(name.title(), value)

    def setdefault(self, name: str, value: str | None = None) -> str | None:
        return super().setdefault(name.title(), value)


def make_response(
    client: Any, handshake: Handshake, answer: Response, record: ViewRecord
) -> HttpResponse:
    """Give the answer to a handshake as ``client.get()`` would give it."""
    made: Any = HttpResponse(
        bytes(answer.body or b""), status=answer.status_code, reason=answer.reason_phrase
    )
    del made.headers["Content-Type"]
    for name, value in answer.headers.raw_items():
        if name.lower() == "set-cookie":
            made.cookies.load(value)
        else:
            made.headers[name] = value
    path, _, query = handshake.path.partition("?")
    made.client = client
    made.request = {"PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": "GET"}
    made.wsgi_request = made.asgi_request = request = record.request
    urlconf = getattr(request, "urlconf", None)
    made.resolver_match = SimpleLazyObject(lambda: resolve(path, urlconf=urlconf))
    made.json = partial(client._parse_json, made)
    if "Location" in made.headers:
        made.url = made.headers["Location"]
    return made  # type: ignore[no-any-return]
