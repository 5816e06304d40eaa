"""The statistics of all server processes on this machine, for staff and for scrapers.

A project's ``urls.py`` includes ``adwebsocket.monitoring.urls``, or takes the views from here.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import NoReverseMatch, reverse
from django.utils.crypto import constant_time_compare
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ..conf import get_settings
from .asking import ask_all
from .metrics import CONTENT_TYPE, make_metrics, write_text
from .statistics import stats

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from django.http import HttpRequest

    View: TypeAlias = Callable[[HttpRequest], HttpResponse]

_TEXT = "text/plain; charset=utf-8"


def for_staff_and_scrapers(view: View) -> View:
    """Let in staff, and whoever sends ``WEBSOCKET_STATS_TOKEN`` as a bearer token.

    A wrong token gets 401. All others go to the admin's login, as from its own pages, or get 403
    where there is none.
    """

    @functools.wraps(view)
    @never_cache
    @require_safe
    def guarded(request: HttpRequest) -> HttpResponse:
        scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            token = get_settings().stats_token
            if token and constant_time_compare(sent.strip(), token):
                return view(request)
            headers = {"WWW-Authenticate": "Bearer"}
            return HttpResponse("Wrong token.\n", status=401, content_type=_TEXT, headers=headers)
        user = getattr(request, "user", None)
        if user is not None and user.is_active and user.is_staff:
            return view(request)
        return _send_to_login(request)

    return guarded


def _send_to_login(request: HttpRequest) -> HttpResponse:
    try:
        login = reverse("admin:login")
    except NoReverseMatch:
        return HttpResponse("For staff only.\n", status=403, content_type=_TEXT)
    query = urlencode({REDIRECT_FIELD_NAME: request.get_full_path()})
    return HttpResponseRedirect(f"{login}?{query}")


def stats_of_all() -> list[dict[str, Any]]:
    """Give the statistics of all server processes, and of this one whatever it is."""
    try:
        processes = ask_all({"ask": "stats"})
    except (AttributeError, ImproperlyConfigured, OSError):  # no such sockets on this system
        processes = []
    if all(process["pid"] != os.getpid() for process in processes):
        processes.append(stats())
    return processes


@for_staff_and_scrapers
def stats_json(request: HttpRequest) -> HttpResponse:
    """Answer with ``{"processes": [...]}``, ``stats()`` of each."""
    return JsonResponse({"processes": stats_of_all()})


@for_staff_and_scrapers
def stats_prometheus(request: HttpRequest) -> HttpResponse:
    """Answer with the metrics of all processes, in Prometheus's text format."""
    text = write_text(make_metrics(stats_of_all(), by_process=True))
    return HttpResponse(text, content_type=CONTENT_TYPE)
