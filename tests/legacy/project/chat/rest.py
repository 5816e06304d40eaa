# -*- coding: utf-8 -*-
"""
Django REST framework, where the request is one of its own.
"""

from django.utils.decorators import method_decorator
from rest_framework.decorators import api_view
from rest_framework.response import Response
from rest_framework.views import APIView

from dwebsocket.decorators import accept_websocket

from .notes import note


class Inside(APIView):
    """The decorator stands on get(): it is given the request of the framework."""

    authentication_classes = ()

    @method_decorator(accept_websocket)
    def get(self, request, name):
        note(name, [
            request.__class__.__module__,
            callable(request.is_websocket), request.is_websocket(),
            request._request.is_websocket(),
            request.websocket is request._request.websocket,
        ])
        if not request.is_websocket():
            return Response({'page': 'of the framework'})
        for message in request.websocket:
            request.websocket.send(message)
        return Response({'never': 'sent'})


@method_decorator(accept_websocket, name='dispatch')
class Outside(APIView):
    authentication_classes = ()

    def get(self, request, name):
        note(name, [
            request.__class__.__module__,
            callable(request.is_websocket), request.is_websocket(),
            request._request.is_websocket(),
            request.websocket is request._request.websocket,
        ])
        if not request.is_websocket():
            return Response({'page': 'of the framework'})
        request.websocket.send('hello')
        return Response({'never': 'rendered'})


@api_view(['GET'])
@accept_websocket
def function(request, name):
    if not request.is_websocket():
        return Response({'page': 'of a function'})
    request.websocket.send('hello')
    return Response({'never': 'rendered'})
