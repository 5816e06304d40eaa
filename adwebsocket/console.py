"""The console page: what a browser sees in DEBUG at a URL that speaks WebSocket only.

``PlainRequestRefusal`` asks for it. It is one file, ``console.html``, and needs nothing of the
project: no entry in ``INSTALLED_APPS``, no template engine, no static files. Where DEBUG is off
nobody may come here, for what it shows is for developers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from django.core.handlers.asgi import ASGIRequest
from django.template import Context, Engine, Template
from django.utils.cache import patch_vary_headers

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.http.response import HttpResponseBase

# What the page asks for where a handshake has failed.
REFUSAL_TYPE: Final = "application/vnd.adwebsocket.refusal+json"
_FILE: Final = Path(__file__).with_name("console.html")
_MOST_REFUSALS: Final = 100
_MOST_TEXT: Final = 2000

_refusals: Final[dict[str, dict[str, Any]]] = {}
_refusals_lock: Final = Lock()


def fill(response: HttpResponse, request: HttpRequest, subprotocols: Any) -> None:
    """Turn the refusal of a plain request into the page, where a browser asks for one.

    Arguments:
        response: what the client gets, with the text for all others.
        request: the plain request.
        subprotocols: the option of the view's decorator.
    """
    if request.method != "GET":
        return
    patch_vary_headers(response, ["Accept"])
    accepted = accepted_types(request.META.get("HTTP_ACCEPT", ""))
    if "text/html" in accepted:
        response["Content-Type"] = "text/html; charset=utf-8"
        response["Content-Security-Policy"] = _content_security_policy()
        response.content = _render(request, subprotocols)
    elif REFUSAL_TYPE in accepted:
        response["Content-Type"] = REFUSAL_TYPE
        response.content = json.dumps({"refusal": _recall(request.get_full_path())})
    else:
        return
    response["Cache-Control"] = "no-store"
    response["X-Content-Type-Options"] = "nosniff"


def accepted_types(header: str) -> set[str]:
    """Give the types that an Accept header names.

    A wildcard names none: who takes anything gets what is short.
    """
    accepted = set()
    for part in header.split(","):
        name, *parameters = (each.strip().lower() for each in part.split(";"))
        if not any(re.fullmatch(r"q\s*=\s*0(\.0*)?", each) for each in parameters):
            accepted.add(name)
    return accepted


def remember_refusal(request: HttpRequest, response: HttpResponseBase, body: bytes) -> None:
    """Keep what answered a handshake, since browsers do not show it. From any thread."""
    is_text = response.get("Content-Type", "").startswith("text/plain")
    refusal = {
        "status": response.status_code,
        "phrase": response.reason_phrase,
        "location": response.get("Location", ""),
        "text": body[:_MOST_TEXT].decode(errors="replace").strip() if is_text else "",
        "at": time.monotonic(),
    }
    with _refusals_lock:
        _refusals.pop(request.get_full_path(), None)
        _refusals[request.get_full_path()] = refusal
        if len(_refusals) > _MOST_REFUSALS:
            del _refusals[next(iter(_refusals))]


def _recall(path: str) -> dict[str, Any] | None:
    with _refusals_lock:
        refusal = dict(_refusals.get(path, {}))
    if not refusal:
        return None
    refusal["age"] = (time.monotonic() - refusal.pop("at")) * 1000
    return refusal


def _render(request: HttpRequest, subprotocols: Any) -> str:
    # Not the project's engine, which may be another one, or none.
    match = request.resolver_match
    nonce = _nonce_of(request)
    context = {
        "is_wsgi": not isinstance(request, ASGIRequest),
        "nonce": None if nonce is None else str(nonce),
        "path": request.get_full_path(),
        "refusal_type": REFUSAL_TYPE,
        "subprotocols": "" if callable(subprotocols) else ", ".join(map(str, subprotocols)),
        "view": "" if match is None else match._func_path,
    }
    return _template().render(Context(context, autoescape=True))


def _nonce_of(request: HttpRequest) -> Any:
    """Give the nonce of Django's middleware (6.0) or of django-csp, None without either.

    Ours stands before theirs in the header, which they leave as it is; a middleware of the
    project's own may put another in its place, which then allows the nonce.
    """
    nonce = getattr(request, "_csp_nonce", None)
    return getattr(request, "csp_nonce", None) if nonce is None else nonce


@lru_cache(maxsize=1)
def _template() -> Template:
    return Engine().from_string(_FILE.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _content_security_policy() -> str:
    """Allow the page's own script and style, by their hashes, and connections; nothing else."""
    text = _FILE.read_text(encoding="utf-8")
    (script,) = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)
    (style,) = re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL)
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {_source(script)}",
            f"style-src {_source(style)}",
            "img-src data:",
            "connect-src 'self' ws: wss:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
