"""The keepalive by itself, on a clock that a test moves on: who is pinged, and who is cut."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from adwebsocket.transport.keepalive import NO_KEEPALIVE, Keepalive, get_keepalive
from adwebsocket.transport.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """What a keepalive needs of an event loop: calls that a test carries out."""

    def __init__(self) -> None:
        self.timers: list[Callable[[], Any]] = []
        self.calls: list[Callable[[], Any]] = []

    def call_later(self, _seconds: float, call: Callable[[], Any]) -> None:
        self.timers.append(call)

    def call_soon(self, call: Callable[[], Any]) -> None:
        self.calls.append(call)

    def step(self, count: int = 1) -> None:
        """Let the timer go off that often."""
        for _ in range(count):
            due, self.timers = self.timers, []
            for call in due:
                call()
            while self.calls:
                self.calls.pop(0)()


class Peer:
    """A peer that does what a test tells it."""

    heard_at = 0
    pinged_at: int | None = None
    keepalive_slot = 0

    def __init__(self, keepalive: Keepalive, *, answers: bool = False) -> None:
        self.keepalive = keepalive
        self.answers = answers
        self.excused = False
        self.pings = 0
        self.gone = False

    def speak(self) -> None:
        self.heard_at = self.keepalive.now

    def is_excused(self) -> bool:
        return self.excused

    def send_keepalive(self) -> None:
        self.pings += 1
        if self.answers:
            self.speak()

    def take_for_gone(self) -> None:
        self.gone = True
        self.keepalive.discard(self)


# With these, one step is a second.
INTERVAL = 32.0
TIMEOUT = 48.0


def new_keepalive(
    interval: float = INTERVAL, timeout: float | None = TIMEOUT
) -> tuple[Clock, Keepalive]:
    clock = Clock()
    return clock, Keepalive(clock, interval, timeout)  # type: ignore[arg-type]


def new_peer(keepalive: Keepalive, *, answers: bool = False) -> Peer:
    """Add a peer whose silence begins now: registering takes a part of the first one away."""
    peer = Peer(keepalive, answers=answers)
    keepalive.add(peer)
    keepalive.discard(peer)
    peer.speak()
    keepalive._visit_in(peer, 32)
    return peer


def test_silent_peer_is_pinged_after_the_interval_and_gone_after_the_timeout() -> None:
    clock, keepalive = new_keepalive()
    peer = new_peer(keepalive)

    clock.step(31)
    assert peer.pings == 0
    clock.step()
    assert peer.pings == 1
    clock.step(47)
    assert not peer.gone
    clock.step()
    assert peer.gone
    assert peer.pings == 1


def test_peer_that_answers_is_pinged_again_and_again() -> None:
    clock, keepalive = new_keepalive()
    peer = new_peer(keepalive, answers=True)

    clock.step(1000)

    assert not peer.gone
    # Heard with each ping, and looked at when its answer would have been overdue.
    assert 10 <= peer.pings <= 1000 // 32


def test_peer_that_talks_is_never_pinged() -> None:
    clock, keepalive = new_keepalive()
    peer = new_peer(keepalive)

    for _ in range(100):
        clock.step(20)
        peer.speak()

    assert peer.pings == 0
    assert not peer.gone


def test_silence_is_counted_from_the_last_byte() -> None:
    clock, keepalive = new_keepalive()
    peer = new_peer(keepalive)

    clock.step(30)
    peer.speak()
    clock.step(31)
    assert peer.pings == 0
    clock.step()
    assert peer.pings == 1


@pytest.mark.parametrize("delay", [0, 1, 47])
def test_any_byte_after_the_ping_is_a_sign_of_life(delay: int) -> None:
    clock, keepalive = new_keepalive()
    peer = new_peer(keepalive)
    clock.step(32)
    assert peer.pings == 1

    clock.step(delay)
    peer.speak()
    clock.step(48)

    assert not peer.gone


@pytest.mark.parametrize("excused_from", [1, 40, 79])
def test_silence_does_not_count_while_it_may_be_our_fault(excused_from: int) -> None:
    clock, keepalive = new_keepalive()
    peer = new_peer(keepalive)

    clock.step(excused_from)
    peer.excused = True
    clock.step(1000)
    assert not peer.gone

    # It gets a whole interval and a whole timeout again.
    peer.excused = False
    peer.speak()
    clock.step(31 + 48)
    assert not peer.gone
    clock.step(48 + 1)
    assert peer.gone


def test_visit_that_fails_stops_nobody_elses(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Peer):
        def send_keepalive(self) -> None:
            raise RuntimeError("a fault of ours")

    clock, keepalive = new_keepalive()
    broken = Broken(keepalive)
    keepalive.add(broken)
    peer = new_peer(keepalive)

    clock.step(32 + 48)

    assert "a fault of ours" in caplog.text
    assert peer.gone
    assert clock.timers == []


def test_without_timeout_nobody_is_cut() -> None:
    clock, keepalive = new_keepalive(timeout=None)
    peer = new_peer(keepalive)

    clock.step(32 * 10)

    assert peer.pings == 10
    assert not peer.gone


def test_times_of_very_different_length_take_little_room() -> None:
    for times in ((86_400, 0.05), (0.05, 86_400)):
        assert len(new_keepalive(*times)[1]._slots) < 5000


@pytest.mark.parametrize(("interval", "timeout"), [(0.001, 0.001), (20, 1), (1, 20), (0.01, None)])
def test_any_times_work(interval: float, timeout: float | None) -> None:
    clock, keepalive = new_keepalive(interval, timeout)
    silent, alive = Peer(keepalive), Peer(keepalive, answers=True)
    keepalive.add(silent)
    keepalive.add(alive)

    clock.step(2000)

    assert silent.gone is (timeout is not None)
    assert not alive.gone
    assert alive.pings > 0


def test_crowd_that_comes_together_is_not_pinged_together() -> None:
    clock, keepalive = new_keepalive()
    peers = [Peer(keepalive, answers=True) for _ in range(1600)]
    for peer in peers:
        keepalive.add(peer)

    most, before = 0, 0
    for _ in range(32):
        clock.step()
        pings = sum(peer.pings for peer in peers)
        most, before = max(most, pings - before), pings

    assert before == 1600
    assert most < 1600 // 4


def test_large_slot_is_visited_in_batches() -> None:
    clock, keepalive = new_keepalive()
    peers = [new_peer(keepalive) for _ in range(1000)]
    clock.step(31)

    for timer in clock.timers:
        timer()

    assert sum(peer.pings for peer in peers) == 256
    assert len(clock.calls) == 1
    while clock.calls:
        clock.calls.pop()()
    assert sum(peer.pings for peer in peers) == 1000


def test_timer_runs_only_while_there_is_somebody() -> None:
    clock, keepalive = new_keepalive()
    assert clock.timers == []

    first, second = Peer(keepalive), Peer(keepalive)
    keepalive.add(first)
    keepalive.add(second)
    assert len(clock.timers) == 1
    keepalive.discard(first)
    clock.step()
    assert len(clock.timers) == 1

    keepalive.discard(second)
    keepalive.discard(second)
    clock.step()
    assert clock.timers == []

    keepalive.add(first)
    assert len(clock.timers) == 1


def test_last_peer_that_is_cut_ends_the_timer() -> None:
    clock, keepalive = new_keepalive()
    peer = new_peer(keepalive)

    clock.step(32 + 48)

    assert peer.gone
    assert clock.timers == []


def test_connections_with_equal_times_share_one() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one = get_keepalive(loop, Limits(max_message_size=1))
        assert get_keepalive(loop, Limits(max_message_size=2)) is one
        assert get_keepalive(loop, Limits(ping_timeout=1)) is not one

    asyncio.run(main())


def test_without_interval_there_is_none() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        keepalive = get_keepalive(loop, Limits(ping_interval=None))
        assert keepalive is NO_KEEPALIVE
        peer = Peer(keepalive)  # type: ignore[arg-type]
        keepalive.add(peer)
        keepalive.discard(peer)
        assert keepalive.now == 0

    asyncio.run(main())


def test_loop_is_not_kept_alive() -> None:
    loop = asyncio.new_event_loop()
    keepalive = get_keepalive(loop, Limits())
    assert isinstance(keepalive, Keepalive)
    keepalive.add(Peer(keepalive))
    loop.close()
    alive = weakref.ref(loop)
    del loop, keepalive
    gc.collect()

    assert alive() is None
