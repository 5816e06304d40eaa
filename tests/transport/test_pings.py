"""Pings that somebody waits for, and the pongs that belong to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adwebsocket.transport.pings import Ping, PingQueue

if TYPE_CHECKING:
    from collections.abc import Callable


def woken_into(names: list[str], name: str) -> Callable[[None], object]:
    return lambda _: names.append(name)


def test_pong_finishes_its_ping() -> None:
    woken: list[str] = []
    pings, ping = PingQueue(), Ping(woken_into(woken, "a"))
    pings.append(ping)
    assert ping.latency is None

    pings.answer(ping.payload)

    assert woken == ["a"]
    assert ping.latency is not None
    assert ping.latency >= 0


def test_pong_finishes_the_pings_before_it_and_none_behind() -> None:
    woken: list[str] = []
    pings, asked = PingQueue(), {name: Ping(woken_into(woken, name)) for name in "abc"}
    for ping in asked.values():
        pings.append(ping)

    pings.answer(asked["b"].payload)

    assert woken == ["a", "b"]
    assert asked["c"].latency is None


def test_second_pong_and_one_that_nobody_asked_for_mean_nothing() -> None:
    woken: list[str] = []
    pings, ping = PingQueue(), Ping(woken_into(woken, "a"))
    pings.append(ping)

    pings.answer(b"unasked")
    assert woken == []
    pings.answer(ping.payload)
    pings.answer(ping.payload)
    assert woken == ["a"]


def test_withdrawn_ping_is_not_finished() -> None:
    woken: list[str] = []
    pings, ping, other = PingQueue(), Ping(woken_into(woken, "a")), Ping(woken_into(woken, "b"))
    pings.append(ping)
    pings.append(other)

    pings.withdraw(ping)
    pings.withdraw(ping)
    pings.answer(ping.payload)
    pings.answer(other.payload)

    assert woken == ["b"]
    assert ping.latency is None


def test_who_gives_up_wakes_everybody_without_a_latency() -> None:
    woken: list[str] = []
    pings, asked = PingQueue(), {name: Ping(woken_into(woken, name)) for name in "ab"}
    for ping in asked.values():
        pings.append(ping)

    pings.give_up()
    pings.give_up()

    assert woken == ["a", "b"]
    assert asked["a"].latency is None


def test_payloads_differ_and_fit_into_a_ping() -> None:
    payloads = {Ping(print).payload for _ in range(1000)}

    assert len(payloads) == 1000
    assert max(map(len, payloads)) <= 125
