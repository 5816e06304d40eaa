# -*- coding: utf-8 -*-
import json
import threading
import time

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt
from dwebsocket.decorators import accept_websocket, require_websocket

from legacysite.middleware import current_name

clients = []
rooms = {}
watchers = []


def index(request):
    return render(request, 'index.html')


def login(request):
    request.session['name'] = request.GET['name']
    return JsonResponse({'ok': True})


@accept_websocket
def echo(request):
    """Passes every message on to everybody."""
    if request.is_websocket:
        lock = threading.RLock()
        try:
            lock.acquire()
            clients.append(request.websocket)
            for message in request.websocket:
                if not message:
                    break
                for client in clients:
                    client.send(message)
        finally:
            clients.remove(request.websocket)
            lock.release()


@csrf_exempt
@accept_websocket
def room(request, name):
    """Says something in a room: as JSON through a socket, or with a form."""
    members = rooms.setdefault(name, [])
    if not request.is_websocket():
        if request.method == 'POST':
            say(members, u'表单', request.POST['text'])
        return JsonResponse({u'房间': name, u'人数': len(members)})
    ws = request.websocket
    members.append(ws)
    while True:
        message = ws.wait()
        if message is None:
            members.remove(ws)
            break
        data = json.loads(message)
        if data['type'] == 'quit':
            ws.send(u'再见')
            ws.close()
            members.remove(ws)
            break
        say(members, current_name(), data['text'])


def say(members, name, text):
    message = json.dumps({u'名字': name, 'text': text}, ensure_ascii=False)
    for member in members:
        member.send(message.encode('utf-8'))


@require_websocket
def backup(request):
    """Tells how far a long job is, from the thread that does it."""
    ws = request.websocket

    def work():
        for percent in range(0, 101, 25):
            ws.send(json.dumps({u'进度': percent}))
            time.sleep(0.01)
        ws.close()

    thread = threading.Thread(target=work)
    thread.daemon = True
    thread.start()
    while not ws.is_closed():
        message = ws.wait(1)
        if message and message.decode('utf-8') == u'状态':
            ws.send(u'备份中')
    thread.join()
    return HttpResponse('done')


@require_websocket
def watch(request):
    """Gets what others send; the list is cleaned by nobody."""
    watchers.append(request.websocket)
    request.websocket.send(str(len(watchers)))
    while True:
        request.websocket.wait()


def notify(request):
    for watcher in watchers:
        watcher.send(request.GET['text'])
    return JsonResponse({u'人数': len(watchers)})


@accept_websocket
def clock(request):
    """The time, each second, for ever."""
    while True:
        request.websocket.send(time.strftime('%H:%M:%S'))
        time.sleep(1)


urlpatterns = [
    path('', index),
    path('login/', login),
    path('echo/', echo),
    re_path(r'^room/(\w+)/$', room),
    path('backup/', backup),
    path('watch/', watch),
    path('notify/', notify),
    path('clock/', clock),
]
