"""The three socket views of the chat: a sync room, an async ticker, and one URL for both worlds."""

import asyncio
import json
import threading
from collections import defaultdict

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.utils import timezone

from adwebsocket import ConnectionClosed, accept_websocket, require_websocket

from .models import Message

# Who is in which room: {room: {socket: user name}}. A module's variables belong to one process,
# so with --workers 2 there are two such registries, and people in the same room but in different
# processes do not hear each other. Serve this example with one process; a room that spans
# several needs a broker between them (adwebsocket's groups, in a later release).
clients = defaultdict(dict)
# Each connection runs in a thread of its own, and all of them use the registry.
clients_lock = threading.Lock()


@login_required
@require_websocket
def room(request, slug):
    """Pass on everything that is said in a room, and remember it: a classic sync view."""
    websocket = request.websocket
    join(slug, websocket, request.user.get_username())
    try:
        # After joining, not before: what is said in between then arrives twice, which the page
        # sees by the id, instead of not at all.
        history = [message.as_dict() for message in Message.objects.latest_in(slug)]
        websocket.send(json.dumps({"type": "history", "messages": history}))
        for text in websocket:
            if isinstance(text, bytes):
                websocket.close(1003, "This room takes text messages only.")
            elif text := text.strip()[: Message.MAX_LENGTH]:
                message = Message.objects.create(room=slug, author=request.user, text=text)
                send_to_all(slug, json.dumps({"type": "message", "message": message.as_dict()}))
    finally:
        leave(slug, websocket)


def join(slug, websocket, name):
    with clients_lock:
        clients[slug][websocket] = name


def leave(slug, websocket):
    with clients_lock:
        del clients[slug][websocket]
        if not clients[slug]:
            del clients[slug]


def send_to_all(slug, text):
    # A slow client makes send() wait. With the lock held that would keep everybody from
    # joining and leaving, so the lock is held for the copy only.
    with clients_lock:
        members = list(clients.get(slug, ()))
    for member in members:
        try:
            member.send(text)
        except ConnectionClosed:
            # This one has just gone, and its own view is about to take it off the list.
            # Nobody else may miss the message for that.
            pass


def people_online():
    with clients_lock:
        return len({name for members in clients.values() for name in members.values()})


@require_websocket
async def ticker(request):
    """Tell the time and how many people are online, each second: an async view, no thread."""
    # Once the page is gone send() raises ConnectionClosed, which is the usual way out of a view.
    while True:
        now = timezone.now().isoformat()
        await request.websocket.send_json({"time": now, "online": people_online()})
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
