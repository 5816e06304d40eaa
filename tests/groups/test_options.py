"""``WEBSOCKET_GROUPS``: what it may be, and what each mistake is told."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from adwebsocket.groups.options import GroupOptions, GroupsConfig, check_slow, read_config


@pytest.mark.parametrize(
    ("value", "backend", "location"),
    [
        (None, None, None),
        ({}, None, None),
        ("memory", "memory", None),
        ("mysite.groups.Backend", "mysite.groups.Backend", None),
        ("redis://host:6379/0", "redis", "redis://host:6379/0"),
        ("rediss://host", "redis", "rediss://host"),
        ({"BACKEND": "redis", "LOCATION": ["a", "b"]}, "redis", ["a", "b"]),
        ({"BACKEND": "redis://a", "LOCATION": "redis://b"}, "redis", "redis://b"),
        ({"GROUPS": {"*": {}}}, None, None),
    ],
)
def test_backend_and_its_place_are_read(value: Any, backend: str | None, location: Any) -> None:
    config = read_config(value)
    assert (config.backend, config.location) == (backend, location)


def test_options_of_the_backend_are_its_own_business() -> None:
    assert read_config({"OPTIONS": {"prefix": "x"}}).options == {"prefix": "x"}
    assert read_config({"OPTIONS": None, "GROUPS": None}) == GroupsConfig()


def test_first_pattern_that_matches_counts() -> None:
    config = read_config(
        {
            "GROUPS": {
                "chat.loud.*": {"slow": "drop_oldest", "backlog": 5},
                "chat.*": {"history": 100, "ttl": 0.5 + 0.5},
                "prices.[a-c]": {"slow": "latest", "backlog_bytes": 1},
            }
        }
    )
    assert config.options_of("chat.loud.1") == GroupOptions(slow="drop_oldest", backlog=5)
    assert config.options_of("chat.1") == GroupOptions(history=100, ttl=1)
    assert config.options_of("prices.b").slow == "latest"
    for other in ("prices.d", "Chat.1", "chat", "x.chat.1"):
        assert config.options_of(other) == GroupOptions()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (5, r"must be a str or a dict with some of .*'BACKEND'.*, not 5"),
        (["memory"], r"must be a str or a dict"),
        (b"memory", r"must be a str or a dict"),
        ({"backend": "memory"}, r"has the unknown keys \['backend'\]; it may have .*'BACKEND'"),
        ("", r"BACKEND in WEBSOCKET_GROUPS must be the name of a back-end, .* not ''"),
        ({"BACKEND": 5}, r"BACKEND in WEBSOCKET_GROUPS must be .* not 5"),
        ({"BACKEND": ["redis"]}, r"BACKEND in WEBSOCKET_GROUPS must be .* not \['redis'\]"),
        ({"OPTIONS": ["x"]}, r"OPTIONS and GROUPS in WEBSOCKET_GROUPS must be dicts"),
        ({"GROUPS": "chat"}, r"OPTIONS and GROUPS in WEBSOCKET_GROUPS must be dicts"),
        ({"GROUPS": {5: {}}}, r"must map patterns of names to dicts, not 5 to \{\}"),
        ({"GROUPS": {"*": None}}, r"must map patterns of names to dicts, not '\*' to None"),
        ({"GROUPS": {"*": {"histroy": 5}}}, r"GROUPS\['\*'\] .* unknown keys \['histroy'\]; .*tt"),
        ({"GROUPS": {"*": {"slow": "wait"}}}, r"slow must be one of 'disconnect', .*, not 'wait'"),
        ({"GROUPS": {"*": {"slow": None}}}, r"slow must be one of .*, not None"),
        ({"GROUPS": {"*": {"slow": []}}}, r"slow must be one of .*, not \[\]"),
        ({"GROUPS": {"*": {"backlog": 0}}}, r"backlog must be a whole number of at least 1, not 0"),
        ({"GROUPS": {"*": {"backlog": 1.5}}}, r"backlog must be a whole number .*, not 1\.5"),
        ({"GROUPS": {"*": {"backlog": "9"}}}, r"backlog must be a whole number .*, not '9'"),
        ({"GROUPS": {"*": {"backlog_bytes": True}}}, r"backlog_bytes must be .*, not True"),
        ({"GROUPS": {"*": {"history": -1}}}, r"history must be a whole number of at least 0"),
        ({"GROUPS": {"*": {"history": None}}}, r"history must be .*, not None"),
        ({"GROUPS": {"*": {"ttl": 0}}}, r"ttl must be a number of at least 1, not 0"),
        ({"GROUPS": {"*": {"ttl": float("nan")}}}, r"ttl must be a number .*, not nan"),
        ({"GROUPS": {"*": {"max_message_size": 0}}}, r"max_message_size must be a whole number"),
    ],
)
def test_each_mistake_has_its_sentence(value: Any, sentence: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=sentence):
        read_config(value)


def test_mistake_in_a_group_names_the_pattern() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"GROUPS\['chat\.\*'\] in WEBSOCKET_GROUPS: "):
        read_config({"GROUPS": {"chat.*": {"ttl": "soon"}}})


@pytest.mark.parametrize("slow", ["disconnect", "drop_oldest", "drop_newest", "latest"])
def test_ways_to_deal_with_slow_members(slow: str) -> None:
    check_slow(slow)
