"""The statistics in a browser and for scrapers: who sees them, and what they are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth import get_user_model
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import include, path
from prometheus_client.parser import text_string_to_metric_families

from adwebsocket.monitoring import control

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPS = path("ops/", include("adwebsocket.monitoring.urls"))
ADDRESSES = ["/ops/stats.json", "/ops/metrics"]

urlpatterns = [OPS]


class WithAdmin:
    """A project that has the admin, as far as it matters: the address of its login."""

    urlpatterns = (
        OPS,
        path("admin/", include(([path("login/", HttpResponse, name="login")], "admin"))),
    )


@pytest.fixture(autouse=True)
def project(directory: Path) -> Iterator[None]:
    with override_settings(
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
    ):
        yield


@pytest.fixture
def staff(logged_in: Client) -> Iterator[Client]:
    get_user_model().objects.filter(username="anna").update(is_staff=True)
    yield logged_in
    get_user_model().objects.filter(username="anna").update(is_staff=False)


def with_token(token: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {token}"})


class TestAccess:
    @pytest.mark.parametrize("address", ADDRESSES)
    def test_staff_is_let_in(self, staff: Client, address: str) -> None:
        response = staff.get(address)
        assert response.status_code == 200
        assert "no-store" in response.headers["Cache-Control"]

    @pytest.mark.parametrize("address", ADDRESSES)
    def test_others_are_not(self, logged_in: Client, address: str) -> None:
        for client in (logged_in, Client()):
            assert client.get(address).status_code == 403

    def test_others_go_to_the_login_of_the_admin(self, logged_in: Client) -> None:
        with override_settings(ROOT_URLCONF=WithAdmin):
            for client in (logged_in, Client()):
                response = client.get("/ops/metrics?x=1")
                assert response.status_code == 302
                assert response["Location"] == "/admin/login/?next=%2Fops%2Fmetrics%3Fx%3D1"

    def test_staff_that_was_deactivated_is_not_let_in(self, staff: Client) -> None:
        users = get_user_model().objects.filter(username="anna")
        users.update(is_active=False)
        try:
            assert staff.get("/ops/metrics").status_code == 403
        finally:
            users.update(is_active=True)

    def test_project_without_users_lets_in_nobody(self) -> None:
        with override_settings(MIDDLEWARE=[]):
            assert Client().get("/ops/metrics").status_code == 403

    @pytest.mark.parametrize("address", ADDRESSES)
    def test_scraper_with_the_token_is_let_in(self, address: str) -> None:
        assert with_token("t").get(address).status_code == 200

    @pytest.mark.parametrize("token", ["", "x", "tt", "\N{LATIN SMALL LETTER E WITH ACUTE}"])
    def test_wrong_token_is_told_so(self, token: str) -> None:
        response = with_token(token).get("/ops/metrics")
        assert response.status_code == 401
        assert response["WWW-Authenticate"] == "Bearer"

    @pytest.mark.parametrize("setting", [None, ""])
    def test_without_a_setting_no_token_is_right(self, setting: str | None) -> None:
        with override_settings(WEBSOCKET_STATS_TOKEN=setting):
            for token in ("", "None"):
                assert with_token(token).get("/ops/metrics").status_code == 401

    def test_nothing_can_be_posted(self) -> None:
        assert with_token("t").post("/ops/metrics").status_code == 405


class TestAnswers:
    def test_this_process_is_there_without_a_socket(self) -> None:
        (process,) = with_token("t").get("/ops/stats.json").json()["processes"]
        assert process["pid"] == os.getpid()
        assert process["connections"]["open"] == 0

    def test_this_process_is_there_once_with_its_socket(self) -> None:
        control.open_socket()
        (process,) = with_token("t").get("/ops/stats.json").json()["processes"]
        assert process["pid"] == os.getpid()

    def test_this_process_is_there_where_no_directory_can_be_used(self, directory: Path) -> None:
        directory.chmod(0o777)
        (process,) = with_token("t").get("/ops/stats.json").json()["processes"]
        assert process["pid"] == os.getpid()

    def test_metrics_are_prometheus_text(self) -> None:
        response = with_token("t").get("/ops/metrics")
        assert response["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        families = {
            each.name: each for each in text_string_to_metric_families(response.content.decode())
        }
        (sample,) = families["adwebsocket_up"].samples
        assert (sample.labels, sample.value) == ({"pid": str(os.getpid())}, 1)
