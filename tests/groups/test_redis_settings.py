"""What ``LOCATION`` and ``OPTIONS`` mean to the back-end on Redis, and what it says to others."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from adwebsocket.groups.options import GroupsConfig, read_config
from adwebsocket.groups.redis.settings import Address, RedisSettings, read_settings
from adwebsocket.groups.registry import get_backend
from tests.processes import run


def read(location: Any = None, **options: Any) -> RedisSettings:
    return read_settings(GroupsConfig("redis", location, options))


class TestLocation:
    def test_url_says_where_and_who(self) -> None:
        settings = read("redis://ann:secret@example.org:6380/3")
        assert settings.addresses == (Address("example.org", 6380),)
        assert settings.arguments == {"username": "ann", "password": "secret", "db": 3}

    def test_nothing_is_redis_on_this_machine(self) -> None:
        assert read().addresses == (Address("localhost", 6379),)

    def test_socket_is_a_place(self) -> None:
        (address,) = read("unix:///run/redis.sock?db=2").addresses
        assert address.path == "/run/redis.sock"
        assert str(address) == "/run/redis.sock"

    def test_tls_checks_whose_certificate_it_is(self) -> None:
        assert read("rediss://example.org").arguments == {"ssl": True, "ssl_check_hostname": True}
        assert read("rediss://h", ssl_cert_reqs="none").arguments["ssl_check_hostname"] is False

    def test_options_come_before_the_url(self) -> None:
        settings = read("redis://ann:old@h/3", password="new", db=4)
        assert settings.arguments == {"username": "ann", "password": "new", "db": 4}

    def test_passwords_of_sentinels_are_their_own(self) -> None:
        urls = ["redis://:one@a", "redis://:one@b:26380"]
        settings = read(urls, sentinel="here", password="two")
        assert settings.addresses == (Address("a", 26379), Address("b", 26380))
        assert settings.asking_arguments == {"password": "one"}
        assert settings.arguments == {"password": "two"}

    def test_channels_of_other_databases_have_other_names(self) -> None:
        # Redis has one space of channels for all of them.
        assert read("redis://h/1").channel_prefix != read("redis://h/2").channel_prefix

    @pytest.mark.parametrize(
        "location", ["http://h", "localhost:6379", 17, {}, [], [None], "redis://h:port"]
    )
    def test_other_locations_are_refused(self, location: Any) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"^LOCATION in WEBSOCKET_GROUPS must be"):
            read(location)

    def test_password_is_not_repeated(self) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            read("http://:secret@h")
        assert "secret" not in str(caught.value)

    def test_several_servers_need_an_option(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="need the option cluster or sentinel"):
            read(["redis://a", "redis://b"])


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"prefx": "x"}, "the option 'prefx' is unknown: did you mean 'prefix'?"),
            ({"zzz": 1}, "the option 'zzz' is unknown: it may be one of"),
            ({"prefix": "a{b}"}, "prefix must have 1 to 100 letters"),
            ({"prefix": ""}, "prefix must have"),
            ({"queue": -1}, "queue must be an int of at least 0, not -1"),
            ({"queue": True}, "queue must be an int"),
            ({"max_connections": 0}, "max_connections must be an int of at least 1"),
            ({"timeout": 0}, "timeout must be a number of seconds above 0, not 0"),
            ({"heartbeat": "5"}, "heartbeat must be a number of seconds above 0, not '5'"),
            ({"cluster": "yes"}, "cluster must be True or False"),
            ({"sentinel": True}, "sentinel must be the name"),
            ({"sentinel": "x", "cluster": True}, "either cluster or sentinel"),
            ({"ssl_ca_certs": "x"}, "['ssl_ca_certs'] are for TLS"),
            ({"cluster": True, "db": 1}, "no other database than 0"),
        ],
    )
    def test_mistake_gets_a_sentence(self, options: dict[str, Any], text: str) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            read(**options)
        assert text in str(caught.value)
        assert 'OPTIONS of the back-end "redis" in WEBSOCKET_GROUPS: ' in str(caught.value)

    def test_what_redis_py_does_not_take_is_refused_at_once(self) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"redis-py refuses it: .*nonsense"):
            read("redis://h?nonsense=1")


class TestSetting:
    def test_url_alone_chooses_the_backend(self) -> None:
        config = read_config("rediss://h/1")
        assert (config.backend, config.location) == ("redis", "rediss://h/1")
        with override_settings(WEBSOCKET_GROUPS="rediss://h/1"):
            assert type(get_backend()).__name__ == "RedisBackend"

    def test_missing_package_is_named_with_what_installs_it(self, tmp_path: Any) -> None:
        code = """if True:
            import sys
            sys.modules["redis"] = None
            from django.conf import settings
            from django.core.exceptions import ImproperlyConfigured
            settings.configure(WEBSOCKET_GROUPS="redis://localhost", SECRET_KEY="x")
            from adwebsocket.groups.registry import get_backend
            try:
                get_backend()
            except ImproperlyConfigured as error:
                print(error)
        """
        result = run(["-W", "error", "-c", code], cwd=tmp_path)
        assert 'pip install "adwebsocket[redis]"' in result.stdout

    def test_nothing_of_redis_is_imported_for_others(self, tmp_path: Any) -> None:
        code = """if True:
            import sys
            from django.conf import settings
            settings.configure(SECRET_KEY="x")
            from adwebsocket import groups
            groups.send("room", "x")
            print("redis" in sys.modules)
        """
        assert "False" in run(["-W", "error", "-c", code], cwd=tmp_path).stdout
