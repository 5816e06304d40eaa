# -*- coding: utf-8 -*-
"""
Views as they were written for dwebsocket 0.5, one or more for each thing that they rely on.
"""

import json
import select
import threading
import time

from django.contrib.auth.decorators import login_required
from django.db import connection
from django.http import HttpResponse, HttpResponseForbidden, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

import dwebsocket
from dwebsocket import accept_websocket
from dwebsocket.decorators import *
from dwebsocket.decorators import require_websocket
from dwebsocket.websocket import WebSocket

from .middleware import local
from .notes import note, outcome, pass_gate, until


# --- receiving

@accept_websocket
def record(request, name):
    """Note every message, to the end."""
    for message in request.websocket:
        note(name, repr(message))


@accept_websocket
def echo(request):
    if not request.is_websocket():
        return HttpResponse('no websocket')
    for message in request.websocket:
        request.websocket.send(message)


@accept_websocket
def record_waiting(request, name):
    """The same with wait(), and some calls more than a view needs."""
    ws = request.websocket
    after_the_end = 0
    while after_the_end < 3:
        try:
            note(name, repr(ws.wait()))
        except EOFError:
            after_the_end += 1
            note(name, 'EOFError')
    note(name, 'over')


@accept_websocket
def record_breaking(request, name):
    """Leave the loop at each message, and begin a new one."""
    message = b''
    while message is not None:
        for message in request.websocket:
            note(name, repr(message))
            break


@accept_websocket
def closed_by_itself(request, name):
    """What the view finds when it has closed itself."""
    ws = request.websocket
    ws.wait()
    ws.send('before')
    note(name, outcome(ws.close))
    note(name, outcome(ws.close))
    note(name, 'closed %r' % ws.closed)
    note(name, 'is_closed %r' % ws.is_closed())
    for attempt in range(2):
        note(name, 'wait %s' % outcome(ws.wait))
    note(name, 'iteration %r' % list(ws))
    note(name, 'send %s' % outcome(ws.send, 'late'))


@accept_websocket
def polls_when_closed_by_itself(request, name):
    """The same, without waiting."""
    ws = request.websocket
    ws.wait()
    ws.close()
    note(name, 'read %s' % outcome(ws.read))
    note(name, 'read %s' % outcome(ws.read))
    note(name, 'has_messages %s' % outcome(ws.has_messages))
    note(name, 'count_messages %s' % outcome(ws.count_messages))


@accept_websocket
def closed_in_a_loop(request, name):
    ws = request.websocket
    for message in ws:
        note(name, repr(message))
        if message == b'quit':
            ws.close()


@accept_websocket
def polls(request, name):
    """Take everything without waiting, the end too."""
    ws = request.websocket
    note(name, outcome(ws.read))
    note(name, outcome(ws.read, 'nothing'))
    note(name, outcome(ws.has_messages))
    note(name, outcome(ws.count_messages))
    ws.send('ready')
    pass_gate(name)
    until(lambda: ws.count_messages() == 2)
    note(name, outcome(ws.has_messages))
    note(name, outcome(ws.count_messages))
    note(name, outcome(ws.read, 'nothing'))
    until(ws.has_messages)
    note(name, outcome(ws.has_messages))
    note(name, outcome(ws.count_messages))
    note(name, outcome(ws.read, 'nothing'))


@accept_websocket
def polls_after_the_end(request, name):
    ws = request.websocket
    while ws.read('nothing') is not None:
        time.sleep(0.01)
    pass_gate(name)
    for method in (ws.read, ws.has_messages, ws.count_messages):
        note(name, outcome(method))
    note(name, outcome(ws.read, 'nothing'))


@accept_websocket
def time_outs(request, name):
    ws = request.websocket
    note(name, outcome(ws.wait, 0))
    note(name, outcome(ws.wait, 0.01))
    note(name, outcome(ws.wait, timeout=0.01))
    note(name, outcome(ws.is_closed))
    ws.send('ready')
    until(ws.has_messages)
    note(name, outcome(ws.wait, 0))
    ws.send('more')
    note(name, outcome(ws.wait, 60))
    ws.send('more')
    note(name, outcome(ws.wait, timeout=None))
    ws.send('more')
    note(name, outcome(ws.wait, None))


@accept_websocket
def waits_for_ever(request, name):
    note(name, outcome(request.websocket.wait, -1))


# --- sending

@accept_websocket
def sends(request, name):
    ws = request.websocket
    for message in ('text', b'bytes', bytearray(b'bytearray'), memoryview(b'memoryview')):
        note(name, outcome(ws.send, message))
    ws.wait()


@accept_websocket
def sends_empty(request, name):
    ws = request.websocket
    note(name, outcome(ws.send, ''))
    note(name, outcome(ws.send, b''))
    ws.wait()


@accept_websocket
def sends_chinese_bytes(request):
    request.websocket.send('你好'.encode('utf-8'))
    request.websocket.wait()


@accept_websocket
def sends_chinese_text(request):
    request.websocket.send(json.dumps({'msg': '你好'}, ensure_ascii=False))
    request.websocket.wait()


@accept_websocket
def sends_no_text(request):
    request.websocket.send(b'\x89PNG\xff')
    request.websocket.wait()


@accept_websocket
def sends_with_flag(request, name):
    ws = request.websocket
    note(name, outcome(ws.send, b'positional', True))
    note(name, outcome(ws.send, 'keyword', binary=False))
    ws.wait()


@accept_websocket
def sends_nonsense(request, name):
    ws = request.websocket
    for message in (None, 1, {}, []):
        note(name, outcome(ws.send, message))
    while ws.wait() is not None:
        pass
    for message in (None, 1, 'late'):
        note(name, outcome(ws.send, message))


@accept_websocket
def sends_large(request, size):
    request.websocket.send('x' * int(size))
    request.websocket.wait()


@accept_websocket
def goes_on_sending(request, name):
    """A long job that reports, whether or not somebody listens."""
    ws = request.websocket
    note(name, 'begun')
    pass_gate(name)
    for step in range(20):
        ws.send('step %d' % step)
    thread = threading.Thread(target=lambda: note(name, outcome(ws.send, 'from a thread')))
    thread.start()
    thread.join()
    note(name, 'done')


@accept_websocket
def sends_first(request, name):
    """Send, and then do something else for a long time."""
    request.websocket.send('one')
    request.websocket.send('two')
    pass_gate(name)


# --- a registry, as every chat has it

clients = {}
clients_lock = threading.RLock()


@accept_websocket
def join(request, room, user):
    with clients_lock:
        clients.setdefault(room, {})[user] = request.websocket
    request.websocket.send('welcome')
    for message in request.websocket:
        if message:
            for other in clients[room].values():
                other.send(message)


def broadcast(request, room):
    for ws in clients[room].values():
        ws.send(request.GET['message'])
    return HttpResponse(str(len(clients[room])))


def close_from_elsewhere(request, room, user):
    clients[room][user].close()
    return HttpResponse('closed')


def read_from_elsewhere(request, room, user):
    ws = clients[room][user]
    return JsonResponse([outcome(ws.read), outcome(ws.is_closed)], safe=False)


@accept_websocket
def wait_in(request, room, user):
    clients.setdefault(room, {})[user] = request.websocket
    request.websocket.send('waiting')
    note(room, outcome(request.websocket.wait))


@accept_websocket
def many_threads(request, count):
    """Send from four threads and close behind them."""
    ws = request.websocket

    def send(sender):
        for number in range(int(count)):
            ws.send('%d %d %s' % (sender, number, 'x' * number))

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# --- requests

def is_truthy(value):
    return bool(value)


@accept_websocket
def both(request, name):
    note(name, [
        callable(request.is_websocket),
        is_truthy(request.is_websocket),
        request.is_websocket(),
        request.websocket is None,
    ])
    if not request.is_websocket():
        if request.method == 'POST':
            return HttpResponse(request.POST['message'].lower())
        return JsonResponse({'page': True})
    request.websocket.send('socket')
    request.websocket.wait()


@csrf_exempt
@accept_websocket
def exempt_outside(request):
    return HttpResponse(request.POST['message'].lower())


@accept_websocket
@csrf_exempt
def exempt_inside(request):
    return HttpResponse(request.POST['message'].lower())


@require_websocket
def required(request):
    request.websocket.send('socket')
    request.websocket.wait()


def attributes(request):
    return JsonResponse([
        getattr(exempt_outside, 'csrf_exempt', None),
        getattr(exempt_inside, 'csrf_exempt', None),
        getattr(both, 'accept_websocket', None),
        getattr(required, 'accept_websocket', None),
        getattr(required, 'require_websocket', None),
        required.__name__,
    ], safe=False)


@accept_websocket
def where(request, name):
    """Note the thread, and what else belongs to it."""
    note(name, ['view', threading.get_ident()])
    note(name, ['local', local.request.path])
    connection.cursor().execute('SELECT 1')
    with clients_lock:
        for message in request.websocket:
            break
    note(name, ['end', threading.get_ident()])


@login_required
@accept_websocket
def members(request):
    request.websocket.send(request.user.username)
    request.websocket.wait()


def members_only(view):
    def decorated(request, *args, **kwargs):
        if not request.user.is_authenticated:
            return HttpResponseForbidden('members only')
        return view(request, *args, **kwargs)
    return decorated


@accept_websocket
@members_only
def members_inside(request):
    request.websocket.send(request.user.username)
    request.websocket.wait()


def old_decorator(view):
    """Decorate as people do who have not heard of functools.wraps."""
    def decorated(request, *args, **kwargs):
        return view(request, *args, **kwargs)
    return decorated


@old_decorator
@accept_websocket
def hidden(request):
    if not request.is_websocket():
        return HttpResponse('page')
    for message in request.websocket:
        request.websocket.send(message)


@accept_websocket
def everything(request, year, slug):
    """Send what a view may want to know."""
    request.websocket.send(json.dumps({
        'method': request.method,
        'user': str(request.user),
        'session': request.session.get('colour'),
        'cookie': request.COOKIES.get('flavour'),
        'get': request.GET.getlist('q'),
        'agent': request.META.get('HTTP_USER_AGENT'),
        'kwargs': [year, slug],
        'full_path': request.get_full_path(),
        'host': request.get_host(),
    }))
    request.websocket.wait()


@accept_websocket
def remembers(request, colour):
    request.session['colour'] = colour
    note(colour, 'begun')
    request.websocket.wait()


# --- the end of a view

RETURNED = {
    'none': lambda: None,
    'response': lambda: HttpResponse('behind the close frame'),
    'json': lambda: JsonResponse({'behind': 'the close frame'}),
    'zero': lambda: 0,
    'false': lambda: False,
}


@accept_websocket
def returns(request, kind):
    request.websocket.send('last')
    return RETURNED[kind]()


@accept_websocket
def returns_at_the_end(request, kind):
    for message in request.websocket:
        pass
    return RETURNED[kind]()


@accept_websocket
def raises(request):
    request.websocket.send('last')
    raise KeyError('a mistake in the view')


@accept_websocket
def closes(request):
    request.websocket.send('last')
    request.websocket.close()


@accept_websocket
def raises_at_the_end(request, name):
    """What 38 of 110 projects do: the None of the end goes where a message was expected."""
    note(name, 'begun')
    while True:
        message = request.websocket.wait()
        data = message.decode('utf-8')
        note(name, data)


@accept_websocket
def loads_at_the_end(request, name):
    note(name, 'begun')
    while True:
        note(name, json.loads(request.websocket.wait()))


@accept_websocket
def waits_too_often(request, name):
    note(name, 'begun')
    while True:
        request.websocket.wait()


# --- open or not

@accept_websocket
def watches_is_closed(request, name):
    """Neither read nor write, and find out all the same."""
    ws = request.websocket
    note(name, ['begun', ws.closed, ws.is_closed()])
    until(ws.is_closed)
    note(name, ['over', ws.closed, ws.is_closed()])


@accept_websocket
def waits_while_open(request, name):
    ws = request.websocket
    note(name, 'begun')
    pass_gate(name)
    while not ws.is_closed():
        note(name, repr(ws.wait()))
    note(name, 'over')


@accept_websocket
def closed_by_the_peer(request, name):
    """The attribute says whether the view has closed, and nothing about the peer."""
    ws = request.websocket
    while ws.wait() is not None:
        pass
    note(name, [ws.closed, ws.is_closed()])


# --- what it is

kept = []


@accept_websocket
def identity(request, name):
    ws = request.websocket
    kept.append(ws)
    ws.user = 'me'
    other = kept[0]
    note(name, {
        'is a WebSocket': isinstance(ws, WebSocket),
        'true': bool(ws),
        'equals itself': ws == kept[-1],
        'equals another': len(kept) > 1 and ws == other,
        'in a set': len({ws, other, ws}) == len({id(ws), id(other)}),
        'stable str': str(ws) == str(ws),
        'unique str': ws is other or str(ws) != str(other),
        'attribute': ws.user,
        'has len': hasattr(ws, '__len__'),
    })
    ws.wait()


def names(request):
    from dwebsocket import decorators
    from dwebsocket.backends.default import factory as default_factory
    from dwebsocket.factory import WebSocketFactory
    from dwebsocket.middleware import WebSocketMiddleware

    return JsonResponse({
        '__all__': sorted(decorators.__all__),
        'same decorator': dwebsocket.accept_websocket is decorators.accept_websocket,
        'classes': [
            cls.__name__
            for cls in (
                WebSocket, WebSocketMiddleware, WebSocketFactory, default_factory.WebSocketFactory,
            )
        ],
        'subclass': issubclass(default_factory.WebSocketFactory, WebSocketFactory),
    })


# --- classes

class ClassView(View):
    @method_decorator(accept_websocket)
    def dispatch(self, request, *args, **kwargs):
        return super(ClassView, self).dispatch(request, *args, **kwargs)

    def get(self, request):
        if not request.is_websocket():
            return HttpResponse('page of a class')
        for message in request.websocket:
            request.websocket.send(message)


class GetView(View):
    @method_decorator(require_websocket)
    def get(self, request):
        for message in request.websocket:
            request.websocket.send(message)


class Holder(object):
    @staticmethod
    @accept_websocket
    def static(request):
        for message in request.websocket:
            request.websocket.send(message)


# --- the socket under it

@accept_websocket
def selects(request, name):
    """Wait in select(), as for any socket."""
    ws = request.websocket
    sock = ws.protocol.sock
    note(name, [len(part) for part in select.select([sock.fileno()], [], [], 0.01)])
    ws.send('ready')
    while True:
        readable, _, _ = select.select([sock], [], [], 0.1)
        if readable:
            message = ws.read()
            note(name, repr(message))
            if message is None:
                break


@accept_websocket
def selects_by_number(request, name):
    """The same with the number of the descriptor, asked for once."""
    ws = request.websocket
    number = ws.protocol.sock.fileno()
    ws.send('ready')
    while True:
        readable, _, _ = select.select([number], [], [], 0.1)
        if readable:
            message = ws.read()
            note(name, repr(message))
            if message is None:
                break
            if not ws.has_messages():
                ws.send('more')


@accept_websocket
def protocol_closes(request, name):
    ws = request.websocket
    note(name, ws.protocol.is_closed())
    ws.protocol.close()
    note(name, ws.protocol.is_closed())


@accept_websocket
def torrent(request, name, count, size):
    """Send as fast as the client takes it."""
    for number in range(int(count)):
        request.websocket.send('x' * int(size))
        note(name, number)
