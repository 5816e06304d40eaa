"""adwebsocket with the middleware of ``django-admin startproject`` around an async echo view.

The catalogue serves it with ``python -m adwebsocket``. It has no database, since no client here
has a session, and must not use anything but the public names.
"""

from django.conf import settings
from django.http import HttpRequest
from django.urls import path

from adwebsocket import require_websocket
from adwebsocket.asgi import get_asgi_application

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="benchmark",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
)


@require_websocket
async def async_echo(request: HttpRequest) -> None:
    async for message in request.websocket:
        await request.websocket.send(message)


urlpatterns = [path("async", async_echo)]
application = get_asgi_application()
