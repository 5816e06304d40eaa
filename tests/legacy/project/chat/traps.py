# -*- coding: utf-8 -*-
"""
Views with the mistakes that are found in real projects, which worked all the same.
"""

import gc
import os
import sys
import threading
import time
import types

from django.db import connection
from django.http import HttpResponse, JsonResponse

from dwebsocket.decorators import accept_websocket, require_websocket

from .notes import note, notes, outcome, pass_gate

stop = threading.Event()


@accept_websocket
def sends_and_waits(request, name):
    while True:
        request.websocket.send('tick')
        request.websocket.wait()
        note(name, 'turn')


@accept_websocket
def sends_and_waits_a_moment(request, name):
    while True:
        request.websocket.send('tick')
        request.websocket.wait(1)
        note(name, 'turn')


@accept_websocket
def swallows_everything(request, name):
    """Go on after every exception, for a second."""
    count = 0
    end = None
    while end is None or time.time() < end:
        try:
            if request.websocket.wait() is None:
                end = time.time() + 1
        except Exception:
            count += 1
            continue
    note(name, count)


@accept_websocket
def swallows_after_closing(request, name):
    """The same behind the own close(), where None comes for ever."""
    count = 0
    request.websocket.close()
    end = time.time() + 1
    while time.time() < end:
        assert request.websocket.wait() is None
        count += 1
    note(name, count)


@accept_websocket
def pushes(request, name):
    """Never read, and never end but for the test."""
    note(name, threading.get_ident())
    while not stop.wait(0.05):
        request.websocket.send('data')


@accept_websocket
def pushes_without_pause(request, name):
    """Push on behind the end, more often than one would by accident."""
    for message in request.websocket:
        pass
    for number in range(2000):
        request.websocket.send('data')
    note(name, 'done')


@accept_websocket
def polls_busily(request, name, how):
    """Ask again and again, for half a second, without a sleep."""
    ws = request.websocket
    poll = getattr(ws, how)
    count = 0
    end = time.time() + 0.5
    while time.time() < end:
        poll()
        count += 1
    note(name, count)


@accept_websocket
def polls_until(request, name):
    """The busy poll that one finds: it ends with the first message."""
    ws = request.websocket
    note(name, 'begun')
    while True:
        message = ws.read()
        if message:
            break
    ws.send(message)


def stop_all(request):
    stop.set()
    return HttpResponse('')


registry = []


@accept_websocket
def stays_in_registry(request, name):
    registry.append(request.websocket)
    note(name, len(registry) - 1)
    for message in request.websocket:
        if message:
            request.websocket.send(message)


def what_is_left(request, number):
    """Use an entry of the registry, and look at what it holds."""
    ws = registry[int(number)]
    calls = {
        'send': outcome(ws.send, 'late'),
        'wait': outcome(ws.wait),
        'wait(1)': outcome(ws.wait, 1),
        'read': outcome(ws.read),
        'has_messages': outcome(ws.has_messages),
        'count_messages': outcome(ws.count_messages),
        'is_closed': outcome(ws.is_closed),
        'list': outcome(list, ws),
        'close': outcome(ws.close),
    }
    gc.collect()
    # What all of them share is no cost of one.
    shared = {id(each) for each in objects_below(registry[int(number) - 1])}
    held = [each for each in objects_below(ws) if id(each) not in shared]
    return JsonResponse({
        'calls': calls,
        'bytes': sum(sys.getsizeof(each) for each in held),
        'kinds': sorted({type(each).__name__ for each in objects_below(ws)}),
    })


def objects_below(root):
    """Return what only lives because of this object, as far as it can be told: no code."""
    code = (
        type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType,
        types.MethodType, types.FrameType, types.GetSetDescriptorType, property,
    )
    seen = {id(root): root}
    left = [root]
    while left and len(seen) < 100000:
        for each in gc.get_referents(left.pop()):
            if id(each) not in seen and not (isinstance(each, code) and not is_bound(each)):
                seen[id(each)] = each
                left.append(each)
    return list(seen.values())


def is_bound(each):
    owner = getattr(each, '__self__', None)
    return owner is not None and not isinstance(owner, types.ModuleType)


@accept_websocket
def compares_with_str(request, name):
    for message in request.websocket:
        note(name, [message == 'exit', message == b'exit'])


@accept_websocket
def process(request):
    """Tell which worker it is, and how many are in its registry."""
    registry.append(request.websocket)
    request.websocket.send('%d %d' % (os.getpid(), len(registry)))
    request.websocket.wait()


@accept_websocket
def blocks(request, name):
    """Wait for something that has nothing to do with the socket."""
    note(name, 'begun')
    pass_gate(name)
    request.websocket.send('through')


@accept_websocket
def queries(request, name):
    connection.cursor().execute('SELECT 1')
    note(name, id(connection.connection) != id(None))
    request.websocket.wait()


def open_databases(request):
    """Count the descriptors that are open on the database file."""
    path = os.path.realpath(str(connection.settings_dict['NAME']))
    count = 0
    for descriptor in os.listdir('/proc/self/fd'):
        try:
            count += os.path.realpath(os.path.join('/proc/self/fd', descriptor)) == path
        except OSError:
            pass
    return HttpResponse(str(count))


def forget(request, name):
    return HttpResponse(str(len(notes.pop(name, []))))


@require_websocket
def strict(request):
    request.websocket.wait()
