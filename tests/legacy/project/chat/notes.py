# -*- coding: utf-8 -*-
"""
What the views have seen, for whoever asks; and gates at which they wait.
"""

import json
import threading
import time
from collections import defaultdict

from django.http import HttpResponse

notes = defaultdict(list)
gates = defaultdict(threading.Event)


def note(name, value):
    notes[name].append(value)


def show_notes(request, name):
    return HttpResponse(json.dumps(notes[name]), content_type='application/json')


def open_gate(request, name):
    gates[name].set()
    return HttpResponse('')


def pass_gate(name):
    if not gates[name].wait(60):
        raise RuntimeError('nobody opened the gate %s' % name)


def until(condition):
    """Wait for something that is sure to come."""
    deadline = time.time() + 60
    while not condition():
        if time.time() > deadline:
            raise RuntimeError('it never came')
        time.sleep(0.01)


def outcome(call, *args, **kwargs):
    """Return what a call gave, as text, or the name of what it raised."""
    try:
        return repr(call(*args, **kwargs))
    except EOFError:
        return 'EOFError'
    except Exception as e:
        return e.__class__.__name__
