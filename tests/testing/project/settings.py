"""The settings of a project whose tests open WebSockets."""

from __future__ import annotations

import json
import os

SECRET_KEY = "for tests"
DATABASES = {"default": json.loads(os.environ["PROJECT_DATABASE"])}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "adwebsocket",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "tests.testing.project",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ROOT_URLCONF = "tests.testing.project.views"
STATIC_URL = "/static/"
USE_TZ = True
WEBSOCKET_SYNC_RUNNER = os.environ.get("PROJECT_RUNNER", "thread")
