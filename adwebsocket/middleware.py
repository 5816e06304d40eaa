"""``WebSocketMiddleware``: the documented attributes on every request of a project.

List it in ``MIDDLEWARE``. It is optional: decorated views need no middleware. It never shakes
hands itself, so middleware and decorators together do it once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from .decorators import PlainRequestRefusal, accept_websocket
from .request import is_websocket_request, mark_plain_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse


class WebSocketMiddleware:
    """Give ``is_websocket`` and ``websocket`` to all requests, decorated views or not.

    A view without decorator may have the attributes ``accept_websocket`` or ``require_websocket``
    set to True. It runs in the colour of the chain and holds no thread for async views.
    """

    sync_capable = True
    async_capable = True
    # What a view without decorator is decorated with where it is marked; the handlers look here.
    decorate_marked_view = staticmethod(accept_websocket)

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Mark the request and pass it on."""
        if not is_websocket_request(request):
            mark_plain_request(request)
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], *_: Any
    ) -> HttpResponse | None:
        """Refuse plain requests to a view that is marked by hand to require a WebSocket."""
        if getattr(view, "require_websocket", False) and not is_websocket_request(request):
            return PlainRequestRefusal(request, getattr(view, "websocket_subprotocols", ()))
        return None
