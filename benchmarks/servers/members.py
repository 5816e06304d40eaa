"""What Django gives ``adwebsocket_members`` and ``channels_members``: a session, a user, a login.

Both import it before anything else of Django, so that they do the same work for a handshake: the
session comes out of a signed cookie and its user out of memory, not out of a database, whose speed
is not in question here.
"""

import os

import django
from django.conf import settings

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="benchmark",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    AUTHENTICATION_BACKENDS=[f"{__name__}.MemoryBackend"],
    WEBSOCKET_SYNC_RUNNER=os.environ.get("WEBSOCKET_SYNC_RUNNER", "thread"),
    WEBSOCKET_MAX_THREADS=20_000,
)
django.setup()

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.auth.backends import BaseBackend  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

MEMBER = User(pk=1, username="member", password="!")


class MemoryBackend(BaseBackend):
    """Knows one user, without a database."""

    def get_user(self, user_id: int) -> User:
        return MEMBER


def login(request: HttpRequest) -> HttpResponse:
    """Answer with the cookie of somebody who is logged in."""
    request.session[SESSION_KEY] = str(MEMBER.pk)
    request.session[BACKEND_SESSION_KEY] = f"{__name__}.MemoryBackend"
    request.session[HASH_SESSION_KEY] = MEMBER.get_session_auth_hash()
    return HttpResponse("logged in")


urlpatterns = [path("login", login)]
