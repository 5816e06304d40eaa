"""The ``WEBSOCKET_*`` settings: what they are without a word, and that a change is seen."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from adwebsocket.conf import PREFIX, Settings, get_limits, get_settings, read_settings
from adwebsocket.protocol.deflate import DeflateOptions
from adwebsocket.transport.limits import Limits
from adwebsocket.validation import Bounds, mismatch, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHER_VALUES: dict[str, Any] = {
    "accept_all": True,
    "allowed_origins": ("https://example.com",),
    "max_message_size": 1,
    "inbox_messages": 2,
    "inbox_bytes": 3,
    "outbox_bytes": 4,
    "compression": {"level": 1},
    "close_timeout": 5.5,
    "max_frame_size": 8,
    "max_fragments": 9,
    "max_header_size": 10,
    "handshake_timeout": 11.5,
    "send_timeout": 12.5,
    "ping_interval": 13.5,
    "ping_timeout": 14.5,
    "max_connections": 15,
    "groups": "memory",
    "max_connections_per_ip": 19,
    "rate_limit": 20.5,
    "close_on_logout": True,
    "runtime_dir": "/run/example",
    "status_socket": False,
    "stats_token": "secret",
    "dwebsocket_alias": False,
    "max_threads": 6,
    "async_threads": 7,
    "sync_runner": "greenlet",
    "thread_stack_size": 16 * 32 * 1024,
    "greenlet_workers": 17,
    "db_idle_seconds": 18.5,
    "drain_seconds": 19.5,
}


@pytest.fixture(autouse=True)
def project_that_says_nothing() -> Iterator[None]:
    """Take back what the tests of this process do without."""
    with override_settings(WEBSOCKET_STATUS_SOCKET=True):
        yield


def test_project_that_says_nothing_gets_the_defaults() -> None:
    assert get_settings() == Settings()


def test_defaults_are_those_of_the_transport_and_compression() -> None:
    assert get_limits() == Limits(compression=DeflateOptions())


def test_every_setting_has_a_value_here() -> None:
    assert {field.name for field in fields(Settings)} == set(OTHER_VALUES)


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_setting_is_read_and_forgotten_when_it_changes(name: str) -> None:
    before = getattr(get_settings(), name)
    value = OTHER_VALUES[name]
    assert before != value
    with override_settings(**{PREFIX + name.upper(): value}):
        assert getattr(get_settings(), name) == value
    assert getattr(get_settings(), name) == before


def test_settings_are_read_once_until_one_changes() -> None:
    settings = get_settings()
    assert get_settings() is settings
    with override_settings(LANGUAGE_CODE="de"):
        assert get_settings() is settings
    with override_settings(WEBSOCKET_MAX_THREADS=1):
        assert get_settings() is not settings


def test_list_of_origins_becomes_a_tuple() -> None:
    with override_settings(WEBSOCKET_ALLOWED_ORIGINS=["https://a.example", "https://b.example"]):
        assert get_settings().allowed_origins == ("https://a.example", "https://b.example")


def test_limits_come_from_the_settings() -> None:
    overrides = {PREFIX + name.upper(): value for name, value in OTHER_VALUES.items()}
    with override_settings(**overrides):
        assert get_limits() == Limits(
            max_message_size=1,
            inbox_messages=2,
            inbox_bytes=3,
            outbox_bytes=4,
            compression=DeflateOptions(level=1),
            close_timeout=5.5,
            max_frame_size=8,
            max_fragments=9,
            max_header_size=10,
            handshake_timeout=11.5,
            send_timeout=12.5,
            ping_interval=13.5,
            ping_timeout=14.5,
            rate_limit=20.5,
        )


@pytest.mark.parametrize(
    ("setting", "options"),
    [
        (True, DeflateOptions()),
        (False, None),
        ({}, DeflateOptions()),
        ({"context_takeover": True}, DeflateOptions(context_takeover=True)),
    ],
)
def test_compression_is_on_off_or_described(
    setting: bool | dict[str, Any], options: DeflateOptions | None
) -> None:
    with override_settings(WEBSOCKET_COMPRESSION=setting):
        assert get_limits().compression == options


def test_compression_that_does_not_exist_raises_and_names_the_option() -> None:
    with (
        override_settings(WEBSOCKET_COMPRESSION={"levle": 1}),
        pytest.raises(ImproperlyConfigured, match=r"'levle', which does not exist; .* 'level'"),
    ):
        get_limits()


def test_limits_are_one_object_until_a_setting_changes() -> None:
    limits = get_limits()
    assert get_limits() is limits
    with override_settings(WEBSOCKET_INBOX_MESSAGES=1):
        assert get_limits().inbox_messages == 1
    assert get_limits() == limits


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("WEBSOCKET_MAX_THREADS", -1, "a whole number of at least 0, not -1"),
        ("WEBSOCKET_MAX_THREADS", None, "a whole number of at least 0, not None"),
        ("WEBSOCKET_MAX_MESSAGE_SIZE", 0, "a whole number of at least 1, not 0"),
        ("WEBSOCKET_MAX_MESSAGE_SIZE", 1.5, "a whole number of at least 1, not 1.5"),
        ("WEBSOCKET_MAX_CONNECTIONS", True, "a whole number of at least 0 or None, not True"),
        ("WEBSOCKET_CLOSE_TIMEOUT", "10", "a number of at least 0.001, not '10'"),
        ("WEBSOCKET_PING_INTERVAL", 0, "a number of at least 0.001 or None, not 0"),
        ("WEBSOCKET_PING_TIMEOUT", float("inf"), "a number of at least 0.001 or None, not inf"),
        ("WEBSOCKET_SEND_TIMEOUT", float("nan"), "a number of at least 0.001 or None, not nan"),
        ("WEBSOCKET_ACCEPT_ALL", "False", "True or False, not 'False'"),
        ("WEBSOCKET_ACCEPT_ALL", None, "True or False, not None"),
        ("WEBSOCKET_ALLOWED_ORIGINS", "*", "a list of strings, not '\\*'"),
        ("WEBSOCKET_ALLOWED_ORIGINS", [1], "a list of strings, not a list"),
        ("WEBSOCKET_COMPRESSION", "on", "True or False or a dict, not 'on'"),
        ("WEBSOCKET_SYNC_RUNNER", "threads", "'thread' or 'greenlet', not 'threads'"),
        ("WEBSOCKET_SYNC_RUNNER", ["thread"], "'thread' or 'greenlet', not a list"),
        ("WEBSOCKET_RUNTIME_DIR", 1, "a string or a path or None, not 1"),
    ],
)
def test_value_that_has_no_meaning_raises_and_says_what_was_expected(
    name: str, value: Any, expected: str
) -> None:
    with (
        override_settings(**{name: value}),
        pytest.raises(ImproperlyConfigured, match=f"{name} must be {expected}"),
    ):
        get_settings()


@pytest.mark.parametrize("field", OTHER_VALUES)
def test_every_setting_is_checked(field: str) -> None:
    """No annotation is one that anything fits."""
    name = PREFIX + field.upper()
    with override_settings(**{name: object()}):
        _, problems = read_settings()
    assert len(problems) == 1
    assert problems[0].startswith(f"{name} must be ")
    assert problems[0].endswith(", not an object")


def test_all_mistakes_are_named_at_once() -> None:
    with override_settings(
        WEBSOCKET_ACCEPT_ALL="no", WEBSOCKET_MAX_THREADS=-1, WEBSOCKET_ALLOWED_ORIGINS=["a", "b"]
    ):
        settings, problems = read_settings()
        with pytest.raises(ImproperlyConfigured) as raised:
            get_settings()
    assert str(raised.value) == "\n".join(problems)
    assert len(problems) == 4
    assert settings == Settings(allowed_origins=("a", "b"))


@pytest.mark.parametrize(
    "origins",
    [
        ["*", "null", "file://", "https://a.example", "http://a.example:8000"],
        ("https://*.example.com", "http://[::1]:8000", "app://com.example.phone"),
        {"https://a.example"},
    ],
)
def test_origins_that_can_match_are_taken(origins: Any) -> None:
    with override_settings(WEBSOCKET_ALLOWED_ORIGINS=origins):
        assert get_settings().allowed_origins == tuple(origins)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "a.example",
        "//a.example",
        "*.example",
        "https://",
        "https://*",
        "https://a.*.example",
        "https://me@a.example",
        "https://a b",
        "https://a.example/",
        "https://a.example/path",
    ],
)
def test_origin_that_cannot_match_raises_and_shows_one_that_can(origin: str) -> None:
    with (
        override_settings(WEBSOCKET_ALLOWED_ORIGINS=["https://a.example", origin]),
        pytest.raises(ImproperlyConfigured) as raised,
    ):
        get_settings()
    sentence = f"WEBSOCKET_ALLOWED_ORIGINS has {origin!r}, which matches no origin; an entry looks"
    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("window_bits", 16, "a whole number from 9 to 15, not 16"),
        ("memory_level", 0, "a whole number from 1 to 9, not 0"),
        ("level", 6.0, "a whole number from 1 to 9, not 6.0"),
        ("context_takeover", "yes", "True or False, not 'yes'"),
        ("minimum_size", -1, "a whole number of at least 0, not -1"),
    ],
)
def test_option_of_compression_without_meaning_raises(
    option: str, value: Any, expected: str
) -> None:
    with (
        override_settings(WEBSOCKET_COMPRESSION={option: value}),
        pytest.raises(ImproperlyConfigured, match=rf"\['{option}'\] must be {expected}"),
    ):
        get_limits()


def test_every_option_of_compression_is_checked() -> None:
    options = dict.fromkeys(get_type_hints(DeflateOptions), object())
    with override_settings(WEBSOCKET_COMPRESSION=options):
        _, problems = read_settings()
    assert len(problems) == len(options)


def test_directory_may_be_a_path() -> None:
    with override_settings(WEBSOCKET_RUNTIME_DIR=Path("/run/example")):
        assert get_settings().runtime_dir == "/run/example"


def test_one_and_zero_are_true_and_false() -> None:
    with override_settings(WEBSOCKET_ACCEPT_ALL=1, WEBSOCKET_COMPRESSION=0):
        assert get_settings().accept_all
        assert get_limits().compression is None


def test_secret_and_long_value_are_not_shown_whole() -> None:
    assert mismatch("secret", int, Bounds(), is_secret=True) == (
        "a whole number of at least 1, not a str"
    )
    shown = mismatch("x" * 1000, int, Bounds())
    assert shown is not None
    assert len(shown) < 150


def test_name_is_suggested_only_for_one_that_is_near() -> None:
    assert suggest("levle", ["level", "window_bits"]) == "level"
    assert suggest("width", ["level", "window_bits"]) is None
