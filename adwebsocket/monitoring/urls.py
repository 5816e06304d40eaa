"""``path("ops/", include("adwebsocket.monitoring.urls"))`` in a project's ``urls.py``."""

from __future__ import annotations

from django.urls import path

from .views import stats_json, stats_prometheus

app_name = "adwebsocket"
urlpatterns = [
    path("stats.json", stats_json, name="stats"),
    path("metrics", stats_prometheus, name="metrics"),
]
