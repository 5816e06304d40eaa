# -*- coding: utf-8 -*-
import threading

from django.utils.deprecation import MiddlewareMixin

_local = threading.local()


def current_name():
    """The name of whoever this thread works for."""
    return _local.request.session.get('name', u'匿名')


class CurrentRequestMiddleware(MiddlewareMixin):
    """Puts the request where every function finds it."""

    def process_request(self, request):
        _local.request = request

    def process_response(self, request, response):
        if hasattr(_local, 'request'):
            del _local.request
        return response
