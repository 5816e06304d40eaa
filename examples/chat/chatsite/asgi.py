"""The application that an ASGI server runs: pages and sockets of the chat."""

import os

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

from adwebsocket.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatsite.settings")

application = get_asgi_application()

if settings.DEBUG:
    # runserver serves static files by itself, and this does it under every other server. In
    # production they belong to the web server in front.
    application = ASGIStaticFilesHandler(application)
