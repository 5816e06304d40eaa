"""adwebsocket: a project whose views join and leave a group, publish to it, and tell the counts.

``benchmarks/groups_soak.py`` talks to it in words of its own: what a member says first, and each
time after "leave", is the position from which it joins, or nothing.
"""

import os

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.urls import path

from adwebsocket import groups, require_websocket, stats
from adwebsocket.asgi import get_asgi_application

# A group of one, of those that come and go with their only member.
OWN = "own."

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="benchmark",
    WEBSOCKET_GROUPS={
        "BACKEND": "redis",
        "LOCATION": os.environ["BENCHMARK_REDIS"],
        "GROUPS": {"room": {"history": 1000, "ttl": 300}},
    },
)


@require_websocket
async def member(request: HttpRequest) -> None:
    """Be in the group, out of it and in again, as the client says."""
    websocket = request.websocket
    try:
        await websocket.join(OWN + request.GET["name"])
        async for words in websocket:
            if words == "leave":
                await websocket.leave("room")
                await websocket.send("left")
            else:
                await websocket.join("room", since=words or None, positions=True)
    except groups.GroupsUnavailable:
        await websocket.close(1013, "groups are not available")


@require_websocket
async def publisher(request: HttpRequest) -> None:
    """Send each message to the group, and tell whether it went out."""
    async for message in request.websocket:
        try:
            await groups.asend("room", message)
        except groups.GroupsUnavailable:
            await request.websocket.send("refused")
        else:
            await request.websocket.send("sent")


async def count(request: HttpRequest) -> JsonResponse:
    return JsonResponse(stats()["groups"])


urlpatterns = [path("member", member), path("publisher", publisher), path("counts", count)]
application = get_asgi_application()
