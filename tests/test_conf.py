"""The ``WEBSOCKET_*`` settings: what they are without a word, and that a change is seen."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from adwebsocket.conf import PREFIX, Settings, get_limits, get_settings
from adwebsocket.protocol.deflate import DeflateOptions
from adwebsocket.transport.limits import Limits

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
    "runtime_dir": "/run/example",
    "dwebsocket_alias": False,
    "max_threads": 6,
    "async_threads": 7,
    "sync_runner": "greenlet",
    "thread_stack_size": 16 * 32 * 1024,
    "greenlet_workers": 17,
    "db_idle_seconds": 18.5,
}


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
        pytest.raises(TypeError, match="levle"),
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
    ],
)
def test_number_that_has_no_meaning_raises_and_says_what_was_expected(
    name: str, value: Any, expected: str
) -> None:
    with (
        override_settings(**{name: value}),
        pytest.raises(ImproperlyConfigured, match=f"{name} must be {expected}"),
    ):
        get_settings()
