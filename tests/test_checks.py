"""The system checks, as ``manage.py check`` reports them."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.checks.registry import registry
from django.test import override_settings

import adwebsocket.checks
from adwebsocket.descriptors import DescriptorGauge
from tests.processes import run, write_files, write_project

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parent.parent / "docs" / "checks.md"
SOURCES = sorted(Path(adwebsocket.checks.__file__).parent.glob("*.py"))


def manage(directory: Path, *command: str) -> tuple[int, str]:
    """Return the exit code and the words of a management command, in one line."""
    result = run(["manage.py", *command], cwd=directory)
    assert "Traceback" not in result.stdout
    return result.returncode, " ".join(result.stdout.split())


def check(directory: Path, settings: str, *options: str) -> tuple[int, str]:
    write_project(directory, {"mysite/urls.py": "urlpatterns = []\n"}, settings=settings)
    return manage(directory, "check", *options)


def numbers_in(text: str) -> list[str]:
    return sorted(re.findall(r"\(adwebsocket\.(\w+)\)", text))


def messages(*, deploy: bool = False, **settings: Any) -> dict[str, list[str]]:
    """Return what the checks say of this process with other settings, by number."""
    found: dict[str, list[str]] = {}
    with override_settings(**settings):
        checks = registry.get_checks(include_deployment_checks=deploy)
        for each in checks:
            # Tests of other files may have loaded apps whose checks cannot do without them.
            if each.__module__.startswith(adwebsocket.checks.__name__):
                for message in each(app_configs=None):
                    assert message.hint, "each has a hint"
                    number = str(message.id).removeprefix("adwebsocket.")
                    found.setdefault(number, []).append(f"{message.msg} {message.hint}")
    return found


# With manage.py


@pytest.mark.parametrize(
    "apps",
    [
        ["adwebsocket"],
        ["adwebsocket", "django.contrib.staticfiles"],
        ["adwebsocket.apps.AdwebsocketConfig", "django.contrib.staticfiles"],
    ],
)
def test_project_in_order_has_no_issues(tmp_path: Path, apps: list[str]) -> None:
    code, text = check(tmp_path, f"INSTALLED_APPS = {apps}")
    assert code == 0
    assert "System check identified no issues (0 silenced)." in text


def test_app_after_staticfiles_is_e001(tmp_path: Path) -> None:
    code, text = check(tmp_path, "INSTALLED_APPS = ['django.contrib.staticfiles', 'adwebsocket']")
    assert code == 1
    assert "(adwebsocket.E001) 'adwebsocket' stands after 'django.contrib.staticfiles'" in text
    assert "HINT: Put 'adwebsocket' before 'django.contrib.staticfiles'" in text


@pytest.mark.parametrize(
    ("apps", "numbers"),
    [
        (["daphne", "adwebsocket"], ["W004"]),
        (["daphne", "django.contrib.staticfiles", "adwebsocket"], ["W004"]),
        (["adwebsocket", "daphne", "channels", "django.contrib.staticfiles"], []),
    ],
)
def test_app_after_daphne_is_w004(tmp_path: Path, apps: list[str], numbers: list[str]) -> None:
    code, text = check(tmp_path, f"INSTALLED_APPS = {apps}")
    assert code == 0
    assert numbers_in(text) == numbers


def test_number_can_be_silenced(tmp_path: Path) -> None:
    code, text = check(
        tmp_path, "MIDDLEWARE_CLASSES = []\nSILENCED_SYSTEM_CHECKS = ['adwebsocket.W001']"
    )
    assert code == 0
    assert "System check identified no issues (1 silenced)." in text


# All that one project can do wrong; W004 and E001 exclude each other.
ALL_MISTAKES = """\
import resource
import sys

sys.modules["greenlet"] = None
resource.setrlimit(resource.RLIMIT_NOFILE, (512, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

INSTALLED_APPS = ["django.contrib.staticfiles", "adwebsocket"]
ALLOWED_HOSTS = ["*"]
ASGI_APPLICATION = "mysite.asgi.application"
MIDDLEWARE_CLASSES = []
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "mysite.middleware.sync_only",
    "mysite.middleware.nosuch",
    "mysite.broken.middleware",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "nowhere",
        "ATOMIC_REQUESTS": True,
        "CONN_MAX_AGE": None,
    },
}
WEBSOCKET_FACTORY_CLASS = "dwebsocket.backends.uwsgi.factory.uWsgiWebSocketFactory"
WEBSOCKET_MAX_THREDS = 100
WEBSOCKET_URL = "wss://example.com/"
WEBSOCKET_ACCEPT_ALL = "no"
WEBSOCKET_ALLOWED_ORIGINS = ["*", "example.com", "https://example.com/"]
WEBSOCKET_COMPRESSION = {"levle": 1, "window_bits": 8}
WEBSOCKET_CLOSE_TIMEOUT = "10"
WEBSOCKET_SYNC_RUNNER = "thread"
WEBSOCKET_MAX_THREADS = 10**9
WEBSOCKET_MAX_CONNECTIONS = 500
WEBSOCKET_DB_IDLE_SECONDS = None
WEBSOCKET_PING_INTERVAL = None
WEBSOCKET_SEND_TIMEOUT = None
"""
FILES_OF_ALL_MISTAKES = {
    "mysite/urls.py": "urlpatterns = []\n",
    "mysite/asgi.py": "from django.core.asgi import get_asgi_application\n\n"
    "application = get_asgi_application()\n",
    "mysite/middleware.py": "def sync_only(get_response):\n    return get_response\n",
    "mysite/broken.py": "1 / 0\n",
    "dwebsocket/__init__.py": "",
}
OF_ALL_MISTAKES = [
    *["E001", *["E002"] * 6, *["E004"] * 2],
    *["I001", "I002", "I003"],
    *["W001", "W002", "W003", "W005", "W006", "W007", "W008", *["W009"] * 2],
]
OF_ALL_MISTAKES_AT_DEPLOYMENT = sorted(["W010", "W011", "W012", "W012", *OF_ALL_MISTAKES])


@pytest.fixture(scope="module")
def misconfigured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("misconfigured")
    return write_project(directory, FILES_OF_ALL_MISTAKES, settings=ALL_MISTAKES)


def test_check_names_every_mistake_of_a_project_at_once(misconfigured: Path) -> None:
    code, text = manage(misconfigured, "check")
    assert code == 1
    assert numbers_in(text) == OF_ALL_MISTAKES
    for words in (
        "WEBSOCKET_ACCEPT_ALL must be True or False, not 'no'.",
        "WEBSOCKET_ALLOWED_ORIGINS has 'example.com', which matches no origin",
        "WEBSOCKET_ALLOWED_ORIGINS has 'https://example.com/', which matches no origin",
        "WEBSOCKET_CLOSE_TIMEOUT must be a number of at least 0.001, not '10'.",
        "WEBSOCKET_COMPRESSION has the option 'levle', which does not exist; perhaps 'level' is",
        "WEBSOCKET_COMPRESSION['window_bits'] must be a whole number from 9 to 15, not 8.",
        "HINT: Did you mean WEBSOCKET_MAX_THREADS?",
        "The setting WEBSOCKET_URL is none of adwebsocket's",
        "'mysite.middleware.nosuch' cannot be imported: ImportError",
        "'mysite.broken.middleware' cannot be imported: ZeroDivisionError",
        "Not async_capable: mysite.middleware.sync_only.",
        "the database 'default' has CONN_MAX_AGE = None",
    ):
        assert words in text


def test_check_for_deployment_adds_what_strangers_could_do(misconfigured: Path) -> None:
    _, text = manage(misconfigured, "check", "--deploy")
    assert numbers_in(text) == OF_ALL_MISTAKES_AT_DEPLOYMENT


def test_runserver_names_every_mistake_and_does_not_start(misconfigured: Path) -> None:
    settings = misconfigured / "mysite/settings.py"
    in_order = "INSTALLED_APPS.reverse()\nMIDDLEWARE = []\n"
    write_files(misconfigured, {"mysite/other.py": settings.read_text() + in_order})
    code, text = manage(misconfigured, "runserver", "0", "--noreload", "--settings", "mysite.other")
    assert code == 1
    left = [number for number in OF_ALL_MISTAKES if number not in ("E001", "E004", "I002")]
    assert numbers_in(text) == left


# One at a time


def test_settings_of_this_test_run_are_in_order() -> None:
    assert messages() == {}


def test_setting_without_meaning_does_not_hide_what_others_mean() -> None:
    found = messages(WEBSOCKET_CLOSE_TIMEOUT=-1, WEBSOCKET_DWEBSOCKET_ALIAS="no")
    assert set(found) == {"E002"}
    assert len(found["E002"]) == 2


def test_groups_without_meaning_are_e002() -> None:
    assert messages(WEBSOCKET_GROUPS={"GROUPS": {"room-*": {"slow": "latest"}}}) == {}
    (message,) = messages(WEBSOCKET_GROUPS={"GROUPS": {"room-*": {"slow": "wait"}}})["E002"]
    assert "slow must be one of 'disconnect'" in message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("nowhere", "the back-end 'nowhere', which cannot be imported"),
        ({"BACKEND": "nowhere.Groups"}, "No module named 'nowhere'"),
        ("adwebsocket.stats", "which is no class derived from adwebsocket.groups.Backend"),
        ({"BACKEND": 5}, "must be the name of a back-end, a URL or a dotted path, not 5"),
    ],
)
def test_back_end_of_groups_that_is_not_there_is_e002(value: object, expected: str) -> None:
    (message,) = messages(WEBSOCKET_GROUPS=value)["E002"]
    assert expected in message


def test_redis_for_groups_without_its_package_is_e002(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("adwebsocket.groups.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    (message,) = messages(WEBSOCKET_GROUPS="redis://localhost")["E002"]
    assert "adwebsocket[redis]" in message


def test_greenlet_runner_without_greenlet_is_e003(monkeypatch: pytest.MonkeyPatch) -> None:
    assert messages(WEBSOCKET_SYNC_RUNNER="greenlet") == {}
    monkeypatch.setitem(sys.modules, "greenlet", None)
    (message,) = messages(WEBSOCKET_SYNC_RUNNER="greenlet")["E003"]
    assert "pip install 'adwebsocket[greenlet]'" in message
    assert messages(WEBSOCKET_SYNC_RUNNER="thread") == {}


def incapable(get_response: Any) -> Any:
    return get_response


incapable.sync_capable = False  # type: ignore[attr-defined]


def test_middleware_of_no_colour_is_e004() -> None:
    (message,) = messages(MIDDLEWARE=[f"{__name__}.incapable"])["E004"]
    assert "has neither sync_capable nor async_capable" in message


def test_middleware_of_django_and_ours_are_in_order() -> None:
    names = ["security.SecurityMiddleware", "common.CommonMiddleware", "csrf.CsrfViewMiddleware"]
    ours = "adwebsocket.middleware.WebSocketMiddleware"
    assert messages(MIDDLEWARE=[*(f"django.middleware.{name}" for name in names), ours]) == {}


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("WEBSOCKET_MAX_CONECTIONS", "W003"),
        ("WEBSOCKET_PING_INTERVALL", "W003"),
        ("WEBSOCKET_HOST", "I001"),
        ("WEBSOCKETS_MAX_THREADS", None),
    ],
)
def test_setting_that_does_not_exist_is_reported(name: str, number: str | None) -> None:
    assert list(messages(**{name: 1})) == ([number] if number else [])


def test_runserver_of_another_app_is_w004(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = "django.core.management.commands.runserver"
    write_app(tmp_path, "mysite_plain", f"from {base} import Command")
    monkeypatch.syspath_prepend(str(tmp_path))
    (message,) = messages(INSTALLED_APPS=["mysite_plain", "adwebsocket"])["W004"]
    assert "'manage.py runserver' is that of 'mysite_plain'" in message
    assert messages(INSTALLED_APPS=["adwebsocket", "mysite_plain"]) == {}


@pytest.mark.parametrize(
    "command",
    ["from adwebsocket.management.commands.runserver import Command", "raise RuntimeError"],
    ids=["derived", "broken"],
)
def test_runserver_that_may_be_derived_from_ours_is_not_reported(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any
) -> None:
    name = f"mysite_{request.node.callspec.id}"
    write_app(tmp_path, name, command)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert messages(INSTALLED_APPS=[name, "adwebsocket"]) == {}


def write_app(directory: Path, name: str, command: str) -> None:
    management = f"{name}/management"
    packages = (name, management, f"{management}/commands")
    files = {f"{package}/__init__.py": "" for package in packages}
    write_files(directory, {**files, f"{management}/commands/runserver.py": f"{command}\n"})


STOCK = "from django.core.asgi import get_asgi_application"


@pytest.mark.parametrize(
    ("source", "is_stock"),
    [
        (f"{STOCK}\napplication = get_asgi_application()", True),
        (f"import os\n{STOCK} as make\nos.environ.get('A')\napplication = make()", True),
        (
            f"{STOCK}\nfrom channels.routing import ProtocolTypeRouter\n"
            "application = ProtocolTypeRouter({'http': get_asgi_application()})",
            False,
        ),
        (f"{STOCK}\napplication = get_asgi_application()\napplication = wrap(application)", False),
        (f"{STOCK}\napplication = get_asgi_application()\ndef application(): ...", False),
        ("from adwebsocket.asgi import get_asgi_application\napplication = 1", False),
        ("from elsewhere import application", False),
        ("not Python", False),
    ],
)
def test_asgi_application_of_django_is_w005(
    source: str, is_stock: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module is read and not imported, which would raise here."""
    write_files(tmp_path, {"mysite_asgi.py": f"{source}\n\nraise AssertionError\n"})
    monkeypatch.syspath_prepend(str(tmp_path))
    found = messages(ASGI_APPLICATION="mysite_asgi.application")
    assert list(found) == (["W005"] if is_stock else [])


@pytest.mark.parametrize("path", ["nosuch_module.application", "application", "", None])
def test_asgi_application_that_is_nowhere_is_left_to_the_server(path: str | None) -> None:
    assert messages(ASGI_APPLICATION=path) == {}


def test_original_dwebsocket_is_w006_unless_the_alias_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, {"dwebsocket/nothing.txt": ""})
    monkeypatch.syspath_prepend(str(tmp_path))
    assert messages() == {}, "a folder is no package"
    write_files(tmp_path, {"dwebsocket/__init__.py": ""})
    monkeypatch.syspath_prepend(str(tmp_path))
    (message,) = messages()["W006"]
    assert str(tmp_path) in message
    assert messages(WEBSOCKET_DWEBSOCKET_ALIAS=False) == {}


POSTGRESQL = "django.db.backends.postgresql"
SQLITE = "django.db.backends.sqlite3"


@pytest.mark.parametrize(
    ("seconds", "database", "number"),
    [
        (None, {"ENGINE": POSTGRESQL, "CONN_MAX_AGE": 60}, "W007"),
        (None, {"ENGINE": POSTGRESQL, "CONN_MAX_AGE": None}, "W007"),
        (None, {"ENGINE": POSTGRESQL, "OPTIONS": {"pool": True}}, "W007"),
        (None, {"ENGINE": POSTGRESQL}, None),
        (None, {"ENGINE": SQLITE, "CONN_MAX_AGE": None}, None),
        (0, {"ENGINE": POSTGRESQL, "CONN_MAX_AGE": None}, None),
        (1, {"ENGINE": POSTGRESQL, "ATOMIC_REQUESTS": True}, "I003"),
    ],
)
def test_connections_that_waiting_views_keep_are_w007(
    seconds: float | None, database: dict[str, Any], number: str | None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # override_settings would warn, since connections do not follow it.
        patch.setattr("django.conf.settings.DATABASES", {"default": database})
        found = messages(WEBSOCKET_DB_IDLE_SECONDS=seconds)
    assert list(found) == ([number] if number else [])


def test_connections_beyond_the_limit_of_descriptors_are_w008() -> None:
    gauge = DescriptorGauge()
    if gauge.limit is None:
        pytest.skip("there is no limit here")
    room = gauge.limit - gauge.reserve
    assert messages(WEBSOCKET_MAX_CONNECTIONS=room) == {}
    (message,) = messages(WEBSOCKET_MAX_CONNECTIONS=room + 1)["W008"]
    assert f"may have {gauge.limit} file descriptors, which is room for {room}." in message


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell no such limits")
def test_threads_beyond_the_kernels_limits_are_w009() -> None:
    limit = int(Path("/proc/sys/kernel/threads-max").read_text())
    found = messages(WEBSOCKET_MAX_THREADS=limit + 1, WEBSOCKET_SYNC_RUNNER="thread")["W009"]
    assert any(f"kernel.threads-max is {limit}" in message for message in found)
    assert messages(WEBSOCKET_MAX_THREADS=limit + 1, WEBSOCKET_SYNC_RUNNER="greenlet") == {}


def test_groups_in_memory_of_several_processes_are_w013(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    (message,) = messages(WEBSOCKET_GROUPS="memory")["W013"]
    assert message.startswith('WEBSOCKET_GROUPS names the back-end "memory", but there are 3')
    for fitting in ("local", "redis://localhost", None):
        assert messages(WEBSOCKET_GROUPS=fitting) == {}
    monkeypatch.setenv("WEB_CONCURRENCY", "1")
    assert messages(WEBSOCKET_GROUPS="memory") == {}


SESSIONS = ["django.contrib.sessions.middleware.SessionMiddleware"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"ALLOWED_HOSTS": ["*"]}, {"W010": 1}),
        ({"WEBSOCKET_ALLOWED_ORIGINS": ["*"]}, {}),
        ({"WEBSOCKET_ALLOWED_ORIGINS": ["*"], "MIDDLEWARE": SESSIONS}, {"W011": 1}),
        ({"WEBSOCKET_HANDSHAKE_TIMEOUT": None}, {"W012": 1}),
        ({"WEBSOCKET_PING_TIMEOUT": None, "WEBSOCKET_PING_INTERVAL": None}, {"W012": 2}),
    ],
)
def test_what_strangers_could_do_is_reported_for_deployment_only(
    settings: dict[str, Any], expected: dict[str, int]
) -> None:
    found = messages(deploy=True, **settings)
    assert {number: len(each) for number, each in found.items()} == expected
    assert messages(**settings) == {}


# The page


def numbers_in_source() -> Iterator[tuple[str, str]]:
    """Return each number with the function in whose source it stands."""
    for source in SOURCES:
        for function in ast.parse(source.read_text()).body:
            for node in ast.walk(function):
                if isinstance(node, ast.keyword) and node.arg == "id":
                    yield ast.literal_eval(node.value).removeprefix("adwebsocket."), source.name


def test_no_number_is_used_twice() -> None:
    counts = Counter(number for number, _ in numbers_in_source())
    assert [number for number, count in counts.items() if count > 1] == []


def test_page_tells_cause_and_cure_of_every_number_once() -> None:
    rows = re.findall(r"^\| ([EWI]\d{3})[^|]* \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(), re.M)
    described = [number for number, cause, cure in rows if cause.strip() and cure.strip()]
    assert described == sorted(described, key=lambda number: ("EWI".index(number[0]), number))
    assert sorted(described) == sorted(number for number, _ in numbers_in_source())


def test_page_says_which_numbers_come_for_deployment_only() -> None:
    marked = set(re.findall(r"^\| (W\d{3}), deploy \|", PAGE.read_text(), re.M))
    (source,) = [source for source in SOURCES if source.name == "deployment.py"]
    registered = {
        number
        for number, name in numbers_in_source()
        if name == source.name and number not in ("W008", "W009")
    }
    assert marked == registered
