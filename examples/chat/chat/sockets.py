"""The three socket views of the chat: a sync room, an async ticker, and one URL for both worlds."""

import asyncio

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.utils import timezone

from adwebsocket import accept_websocket, groups, require_websocket

from .models import Message

# The group of everybody who is in some room. Each room has one of its own besides.
EVERYBODY = "everybody"


def group_of(slug):
    return f"room.{slug}"


@login_required
@require_websocket
def room(request, slug):
    """Pass on everything that is said in a room, and remember it: a classic sync view."""
    websocket = request.websocket
    name = request.user.get_username()
    # Both end with the connection, however it ends.
    websocket.join(EVERYBODY, presence=name)
    websocket.join(group_of(slug), presence=name)
    # After joining, not before: what is said in between then arrives twice, which the page sees by
    # the id, instead of not at all.
    history = [message.as_dict() for message in Message.objects.latest_in(slug)]
    websocket.send_json({"type": "history", "messages": history})
    for text in websocket:
        if isinstance(text, bytes):
            websocket.close(1003, "This room takes text messages only.")
        elif text := text.strip()[: Message.MAX_LENGTH]:
            message = Message.objects.create(room=slug, author=request.user, text=text)
            groups.send(group_of(slug), {"type": "message", "message": message.as_dict()})


@require_websocket
async def ticker(request, slug=None):
    """Tell the time and who is online, each second: an async view, no thread."""
    # Once the page is gone send() raises ConnectionClosed, which is the usual way out of a view.
    while True:
        online = await groups.amembers(EVERYBODY)
        here = await groups.amembers(group_of(slug)) if slug else []
        # Who has two pages open is one person.
        await request.websocket.send_json(
            {"time": timezone.now(), "online": len(set(online)), "here": sorted(set(here))}
        )
        await asyncio.sleep(1)


@accept_websocket
def lower_case(request):
    """Answer in lower case, over HTTP and over a WebSocket alike."""
    if not request.is_websocket():
        message = request.GET.get("message", "")
        return HttpResponse(message.lower(), content_type="text/plain; charset=utf-8")
    for message in request.websocket:
        request.websocket.send(message.lower())
    return None
