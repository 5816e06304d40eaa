# -*- coding: utf-8 -*-
import threading

from django.http import HttpResponseForbidden
from django.utils.deprecation import MiddlewareMixin

from .notes import note

# The request of this thread, as many projects keep it for their models and loggers.
local = threading.local()


class TimesMiddleware(MiddlewareMixin):
    """Note when and where a request begins and ends, if its query string asks for it."""

    def process_request(self, request):
        local.request = request
        if 'times' in request.GET:
            note(request.GET['times'], ['process_request', threading.get_ident()])

    def process_response(self, request, response):
        if 'times' in request.GET:
            note(request.GET['times'], ['process_response', threading.get_ident()])
        local.request = None
        return response


def gate_keeper(get_response):
    def middleware(request):
        if request.path.startswith('/forbidden/'):
            return HttpResponseForbidden('not for you')
        return get_response(request)

    return middleware
