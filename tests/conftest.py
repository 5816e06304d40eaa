"""Django for the tests of this process: its settings, and a database for those who ask for one.

pytest loads it before any test module, so these may import what needs settings. Tests that need a
project of another shape override settings, or start a process of their own.

``ADWEBSOCKET_TEST_RUNNER=greenlet`` in the environment lets greenlets run the sync views of all
projects that the tests serve, in this process and in others, but for tests of one runner. Both
must pass; ``scripts/test`` runs what has sync views in it a second time that way. What is marked
``threads_only`` is left out of it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import django
import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connections
from django.test import Client, override_settings
from django.test.utils import setup_databases, teardown_databases

if TYPE_CHECKING:
    from collections.abc import Iterator

# For ``tests.connections`` and its like. At the end of the path, so that where adwebsocket is
# installed as it is built, that is what gets tested, and not the sources beside this folder.
CHECKOUT = str(Path(__file__).parent.parent)
if CHECKOUT not in sys.path:
    sys.path.append(CHECKOUT)

from tests.certificates import Certificate, make_certificate  # noqa: E402

urlpatterns: list[object] = []

SYNC_RUNNER = os.environ.get("ADWEBSOCKET_TEST_RUNNER", "thread")

settings.configure(
    ALLOWED_HOSTS=["testserver", ".example.com"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "adwebsocket",
    ],
    LOGGING_CONFIG=None,
    ROOT_URLCONF=__name__,
    SECRET_KEY="for tests",
    USE_TZ=True,
    # Nobody asks this process, and threads are counted in it.
    WEBSOCKET_STATUS_SOCKET=False,
    WEBSOCKET_SYNC_RUNNER=SYNC_RUNNER,
)
django.setup()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the runner of this run cannot do."""
    if SYNC_RUNNER == "thread":
        return
    left_out = [item for item in items if item.get_closest_marker("threads_only")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make a certificate for 127.0.0.1."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Make the tables of the installed apps.

    In a file: Django never closes connections to a database in memory, and closing is a thing to
    test. No test is rolled back, since what it does in other threads could not be.
    """
    file = tmp_path_factory.mktemp("database") / "test.sqlite3"
    connections["default"].settings_dict["TEST"]["NAME"] = str(file)
    previous = setup_databases(verbosity=0, interactive=False)
    yield
    connections.close_all()
    teardown_databases(previous, verbosity=0)


@pytest.fixture
def logged_in(database: None) -> Client:
    """Make a client with the session of a user named anna."""
    user, _ = get_user_model().objects.get_or_create(username="anna")
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def thread_runner() -> Iterator[None]:
    """Let threads run sync views, whatever the environment says: for what only they do."""
    with override_settings(WEBSOCKET_SYNC_RUNNER="thread"):
        yield


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Make threads take turns as often as they can, so that races show."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
