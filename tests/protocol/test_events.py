"""Events: small tuples that name what they hold."""

from __future__ import annotations

from adwebsocket.protocol.events import Close, Ping, Pong


def test_events_name_their_fields() -> None:
    assert Ping(b"x").payload == b"x"
    assert Pong(b"y").payload == b"y"
    close = Close(1001, "bye")
    assert (close.code, close.reason) == (1001, "bye")


def test_ping_and_pong_are_told_apart_by_type() -> None:
    assert not isinstance(Ping(b""), Pong)
    assert not isinstance(Pong(b""), Ping)
