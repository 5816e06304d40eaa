"""The contract of both WebSockets: one suite for the blocking one and its async twin.

A driver calls either from the test's thread, against an event loop in a thread of its own and a
channel that remembers. What only one of the two has stands at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import itertools
import json
import math
import threading
from concurrent.futures import Future
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

import adwebsocket.request  # noqa: F401 - it chooses the encoder of send_json()
from adwebsocket import AsyncWebSocket, ConnectionClosed, WebSocket
from adwebsocket.transport.bridge import get_bridge
from adwebsocket.transport.limits import Limits
from adwebsocket.transport.waiting import ThreadWaiter
from tests.connections import DEADLINE, RecordingChannel, on_event_loop, wait_on

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    MakeDriver = Callable[..., "Driver"]

# Long enough for a wait to be in it, short enough for a test; nothing is measured.
A_MOMENT = 0.01


class ObservedWaiter(ThreadWaiter):
    """A waiter that says when its thread is about to wait."""

    __slots__ = ("_parked",)

    def __init__(self, parked: threading.Semaphore) -> None:
        super().__init__()
        self._parked = parked

    def park(self, timeout: float | None) -> bool:
        self._parked.release()
        return super().park(timeout)


class LoopThread:
    """An event loop that runs in a thread of its own."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        assert self._ready.wait(DEADLINE)

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function on the loop, behind all that has been asked of the loop before."""

        async def run() -> Any:
            return function(*args)

        return self.start(run()).result(DEADLINE)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


class Driver:
    """One WebSocket of either colour, and the connection under it.

    Attributes:
        socket: the WebSocket.
        channel: the connection.
    """

    def __init__(self, loop_thread: LoopThread, colour: str, limits: Limits | None = None) -> None:
        self.loop_thread = loop_thread
        self.is_async = colour == "async"
        self._parked = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []
        self.channel: RecordingChannel
        self.socket: Any
        loop_thread.call(self._make, limits)

    def _make(self, limits: Limits | None) -> None:
        self.channel = RecordingChannel(asyncio.get_running_loop(), limits)
        if self.is_async:
            self.socket = AsyncWebSocket(self.channel)
        else:
            self.socket = WebSocket(self.channel, get_bridge())

    def begin(self, name: str, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start a method of the socket, where code of its colour runs; return what will come."""
        return self._begin(self._steps([(name, args, kwargs)]))

    def begin_sending(self, messages: Sequence[str]) -> Future[Any]:
        """Start to send messages one behind the other."""
        return self._begin(self._steps([("send", (message,), {}) for message in messages]))

    def begin_iterating(self, count: int | None = None) -> Future[Any]:
        """Start to iterate with a new iterator, and break out of it behind ``count`` messages."""
        return self._begin(self._iterate_async(count) if self.is_async else self._iterate(count))

    def begin_draining(self) -> Future[Any]:
        """Start to wait for messages until the end."""
        return self._begin(self._drain_async() if self.is_async else self._drain())

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the socket, and return what it returns when it is done."""
        return self.begin(name, *args, **kwargs).result(DEADLINE)

    def get(self, name: str) -> Any:
        """Read an attribute of the socket, when the loop has done what it was asked for."""
        return self.loop_thread.call(getattr, self.socket, name)

    def receive(self, *messages: str | bytes) -> None:
        """Let messages come in from the peer."""
        for message in messages:
            self.loop_thread.call(self.channel.inbox.put, message)

    def end(self, code: int = 1001, reason: str = "") -> None:
        """Let the connection end by the peer."""
        self.loop_thread.call(self.channel.end, code, reason)

    def until_waiting(self, count: int = 1) -> None:
        """Return when so many calls, begun before, wait for something to happen."""
        if self.is_async:
            self.loop_thread.call(int)  # their first steps have come before this one
            return
        for _ in range(count):
            assert self._parked.acquire(timeout=DEADLINE)

    @contextlib.contextmanager
    def loop_held(self) -> Iterator[None]:
        """Keep the event loop busy, so that nothing that was asked of it happens."""
        held = threading.Event()
        release = threading.Event()

        def hold() -> None:
            held.set()
            release.wait(DEADLINE)

        self.loop_thread.loop.call_soon_threadsafe(hold)
        assert held.wait(DEADLINE)
        try:
            yield
        finally:
            release.set()

    def finish(self) -> None:
        """End the connection, and with it all that still waits."""
        self.end()
        for thread in self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive(), "a thread waits although the connection has ended"

    def _begin(self, code: Any) -> Future[Any]:
        if self.is_async:
            return self.loop_thread.start(code)
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(wait_on(lambda: ObservedWaiter(self._parked), code))
            except BaseException as error:
                future.set_exception(error)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()
        return future

    def _steps(self, calls: list[tuple[str, Any, Any]]) -> Any:
        async def run_async() -> Any:
            for name, args, kwargs in calls:
                result = getattr(self.socket, name)(*args, **kwargs)
                if hasattr(result, "__await__"):
                    result = await result
            return result

        def run() -> Any:
            for name, args, kwargs in calls:
                result = getattr(self.socket, name)(*args, **kwargs)
            return result

        return run_async() if self.is_async else run

    def _iterate(self, count: int | None) -> Callable[[], list[str | bytes]]:
        return lambda: list(itertools.islice(self.socket, count))

    async def _iterate_async(self, count: int | None) -> list[str | bytes]:
        messages: list[str | bytes] = []
        if count == 0:
            return messages
        async for message in self.socket:
            messages.append(message)
            if len(messages) == count:
                break
        return messages

    def _drain(self) -> Callable[[], list[str | bytes]]:
        def drain() -> list[str | bytes]:
            messages: list[str | bytes] = []
            with contextlib.suppress(ConnectionClosed):
                while (message := self.socket.wait()) is not None:
                    messages.append(message)
            return messages

        return drain

    async def _drain_async(self) -> list[str | bytes]:
        messages: list[str | bytes] = []
        with contextlib.suppress(ConnectionClosed):
            while (message := await self.socket.wait()) is not None:
                messages.append(message)
                await asyncio.sleep(0)  # or it would take what is there before anybody else wakes
        return messages


@pytest.fixture(scope="module")
def loop_thread() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.stop()


@pytest.fixture(params=["blocking", "async"])
def make_driver(request: pytest.FixtureRequest, loop_thread: LoopThread) -> Iterator[MakeDriver]:
    """Make WebSockets of one colour whose handshake has not been answered."""
    drivers: list[Driver] = []

    def make(limits: Limits | None = None) -> Driver:
        drivers.append(Driver(loop_thread, request.param, limits))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.finish()


@pytest.fixture
def driver(make_driver: MakeDriver) -> Driver:
    """Make an accepted WebSocket, once in each colour."""
    driver = make_driver()
    driver.call("accept")
    return driver


@pytest.fixture
def blocking(loop_thread: LoopThread) -> Iterator[Driver]:
    """Make an accepted blocking WebSocket, with little room for what is sent."""
    driver = Driver(loop_thread, "blocking", Limits(outbox_bytes=100))
    driver.call("accept")
    yield driver
    driver.finish()


class TestReceiving:
    def test_wait_returns_text_as_str_and_binary_as_bytes(self, driver: Driver) -> None:
        driver.receive("text", b"binary", "", b"")
        assert [driver.call("wait") for _ in range(4)] == ["text", b"binary", "", b""]

    @pytest.mark.parametrize("timeout", [None, -1, -0.5, DEADLINE, math.inf, 1e10])
    def test_wait_returns_the_message_that_comes_meanwhile(
        self, driver: Driver, timeout: float | None
    ) -> None:
        waiting = driver.begin("wait", timeout)
        driver.until_waiting()
        assert not waiting.done()
        driver.receive("late")
        assert waiting.result(DEADLINE) == "late"

    @pytest.mark.parametrize("timeout", [0, 0.0, A_MOMENT])
    def test_wait_returns_none_when_the_time_runs_out(self, driver: Driver, timeout: float) -> None:
        assert driver.call("wait", timeout=timeout) is None
        assert not driver.call("is_closed")

    @pytest.mark.parametrize("timeout", [0, A_MOMENT])
    def test_wait_with_a_timeout_takes_what_is_there(self, driver: Driver, timeout: float) -> None:
        driver.receive("one", "two")
        assert driver.call("wait", timeout) == "one"
        assert driver.call("wait", timeout) == "two"

    def test_message_behind_a_wait_that_ran_out_is_not_lost(self, driver: Driver) -> None:
        assert driver.call("wait", A_MOMENT) is None
        driver.receive("kept")
        assert driver.call("wait") == "kept"

    def test_read_gives_a_message_or_the_fallback_and_never_waits(self, driver: Driver) -> None:
        assert driver.call("read") is None
        assert driver.call("read", "nothing") == "nothing"
        driver.receive("something")
        assert driver.call("read", fallback="nothing") == "something"
        assert driver.call("read", fallback="nothing") == "nothing"

    def test_messages_are_counted(self, driver: Driver) -> None:
        assert driver.call("count_messages") == 0
        assert driver.call("has_messages") is False
        driver.receive("one", "two")
        assert driver.call("count_messages") == 2
        assert driver.call("has_messages") is True
        driver.call("wait")
        assert driver.call("count_messages") == 1

    def test_iteration_yields_messages_as_they_come(self, driver: Driver) -> None:
        driver.receive("one")
        iterating = driver.begin_iterating()
        driver.until_waiting()
        driver.receive(b"two", "three")
        driver.end()
        assert iterating.result(DEADLINE) == ["one", b"two", "three"]

    def test_breaking_out_of_an_iteration_loses_nothing(self, driver: Driver) -> None:
        driver.receive("one", "two", "three", "four")
        assert driver.begin_iterating(1).result(DEADLINE) == ["one"]
        assert driver.begin_iterating(2).result(DEADLINE) == ["two", "three"]
        assert driver.call("wait") == "four"

    def test_full_inbox_pauses_reading_until_the_view_has_caught_up(
        self, make_driver: MakeDriver
    ) -> None:
        driver = make_driver(Limits(inbox_messages=4))
        driver.call("accept")
        driver.receive(*"abcde")
        assert not driver.channel.reading
        assert "".join(driver.call("wait") for _ in range(5)) == "abcde"
        driver.loop_thread.call(int)
        assert driver.channel.reading


class TestEnd:
    @pytest.mark.parametrize("take", ["wait", "read"])
    def test_queue_comes_first_then_one_none_then_connection_closed(
        self, driver: Driver, take: str
    ) -> None:
        driver.receive("one", "two")
        driver.end(1001, "gone")
        assert [driver.call(take) for _ in range(3)] == ["one", "two", None]
        for _ in range(2):
            with pytest.raises(ConnectionClosed) as caught:
                driver.call(take)
            assert (caught.value.code, caught.value.reason) == (1001, "gone")

    def test_connection_closed_is_an_eof_error_that_says_why(self, driver: Driver) -> None:
        driver.end(4001, "too slow")
        assert driver.call("wait", 0) is None
        with pytest.raises(EOFError, match=r"closed \(code 4001, reason 'too slow'\)") as caught:
            driver.call("wait", 0)
        assert type(caught.value) is ConnectionClosed

    def test_read_gives_none_at_the_end_instead_of_the_fallback(self, driver: Driver) -> None:
        driver.end()
        assert driver.call("read", "fallback") is None
        with pytest.raises(ConnectionClosed):
            driver.call("read", "fallback")

    @pytest.mark.parametrize("timeout", [None, DEADLINE])
    def test_blocked_wait_returns_none_when_the_peer_goes(
        self, driver: Driver, timeout: float | None
    ) -> None:
        waiting = driver.begin("wait", timeout)
        driver.until_waiting()
        driver.end()
        assert waiting.result(DEADLINE) is None

    def test_iteration_stops_at_the_end_and_at_once_when_that_was_seen(
        self, driver: Driver
    ) -> None:
        driver.receive("last")
        driver.end()
        assert driver.begin_iterating().result(DEADLINE) == ["last"]
        assert driver.begin_iterating().result(DEADLINE) == []
        with pytest.raises(ConnectionClosed):
            driver.call("wait")

    def test_iteration_behind_the_none_of_wait_stops_at_once(self, driver: Driver) -> None:
        driver.end()
        assert driver.call("wait") is None
        assert driver.begin_iterating().result(DEADLINE) == []

    def test_end_is_no_message(self, driver: Driver) -> None:
        driver.end()
        assert driver.call("count_messages") == 0
        assert driver.call("has_messages") is False
        assert driver.call("wait") is None
        assert driver.call("count_messages") == 0

    def test_is_closed_waits_for_the_last_message_and_closed_does_not(self, driver: Driver) -> None:
        driver.receive("last")
        assert (driver.call("is_closed"), driver.get("closed")) == (False, False)
        driver.end()
        assert (driver.call("is_closed"), driver.get("closed")) == (False, True)
        assert driver.call("wait") == "last"
        assert (driver.call("is_closed"), driver.get("closed")) == (True, True)

    def test_close_code_and_reason_are_the_peers(self, driver: Driver) -> None:
        assert (driver.get("close_code"), driver.get("close_reason")) == (None, "")
        driver.end(3999, "bye")
        assert (driver.get("close_code"), driver.get("close_reason")) == (3999, "bye")

    def test_send_raises_connection_closed(self, driver: Driver) -> None:
        driver.end(1001, "gone")
        with pytest.raises(ConnectionClosed) as caught:
            driver.call("send", "too late")
        assert (caught.value.code, caught.value.reason) == (1001, "gone")
        assert driver.channel.written == []

    def test_close_after_the_end_does_nothing(self, driver: Driver) -> None:
        driver.end(1001, "gone")
        driver.call("close", 4000)
        assert driver.channel.closes == []
        assert driver.get("close_code") == 1001

    @pytest.mark.parametrize("timeout", [0, A_MOMENT])
    def test_wait_closed_tells_that_the_connection_is_open(
        self, driver: Driver, timeout: float
    ) -> None:
        assert driver.call("wait_closed", timeout) is False

    def test_wait_closed_does_not_care_for_unread_messages(self, driver: Driver) -> None:
        driver.receive("unread")
        waiting = driver.begin("wait_closed")
        driver.until_waiting()
        driver.end()
        assert waiting.result(DEADLINE) is True
        assert driver.call("wait_closed", 0) is True
        assert driver.call("wait") == "unread"

    def test_wait_closed_survives_wake_ups_for_other_reasons(self, driver: Driver) -> None:
        waiting = driver.begin("wait_closed")
        driver.until_waiting()
        driver.loop_thread.call(driver.channel.set_writable, True)
        driver.until_waiting()
        assert not waiting.done()
        driver.end()
        assert waiting.result(DEADLINE) is True


class TestOwnClose:
    def test_close_says_1000_and_no_reason_by_default(self, driver: Driver) -> None:
        driver.call("close")
        assert driver.get("close_code") == 1000
        assert driver.channel.closes == [(1000, "")]

    def test_close_carries_code_and_reason(self, driver: Driver) -> None:
        driver.call("close", code=4001, reason="Größe")
        assert (driver.get("close_code"), driver.get("close_reason")) == (4001, "Größe")
        assert driver.channel.closes == [(4001, "Größe")]

    def test_second_close_does_nothing(self, driver: Driver) -> None:
        driver.call("close", 4001)
        driver.call("close", 4002)
        assert driver.get("close_code") == 4001
        assert driver.channel.closes == [(4001, "")]

    def test_is_closed_and_closed_at_once(self, driver: Driver) -> None:
        driver.receive("unread")
        driver.call("close")
        assert (driver.call("is_closed"), driver.get("closed")) == (True, True)

    def test_unread_messages_may_still_be_taken(self, driver: Driver) -> None:
        driver.receive("unread")
        driver.call("close")
        assert driver.call("wait") == "unread"
        assert driver.call("wait") is None
        with pytest.raises(ConnectionClosed):
            driver.call("wait")

    def test_send_raises_connection_closed_with_the_own_code(self, driver: Driver) -> None:
        driver.call("close", 4001, "done")
        assert driver.get("closed")
        with pytest.raises(ConnectionClosed) as caught:
            driver.call("send", "too late")
        assert (caught.value.code, caught.value.reason) == (4001, "done")
        assert driver.channel.written == []

    def test_what_was_sent_before_goes_out_before(self, driver: Driver) -> None:
        driver.begin_sending(["one", "two"]).result(DEADLINE)
        driver.call("close")
        assert driver.get("close_code") == 1000
        assert driver.channel.written == ["one", "two"]

    def test_close_from_elsewhere_wakes_a_blocked_wait(self, driver: Driver) -> None:
        waiting = driver.begin("wait")
        driver.until_waiting()
        driver.call("close")
        assert waiting.result(DEADLINE) is None

    def test_close_from_elsewhere_ends_an_iteration(self, driver: Driver) -> None:
        iterating = driver.begin_iterating()
        driver.until_waiting()
        driver.call("close")
        assert iterating.result(DEADLINE) == []

    @pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, -1])
    def test_code_that_must_not_be_sent_is_refused(self, driver: Driver, code: int) -> None:
        with pytest.raises(ValueError, match=f"a close code must be .*, got {code}"):
            driver.call("close", code)
        assert not driver.call("is_closed")

    @pytest.mark.parametrize("code", ["1000", None, True, 1000.0])
    def test_code_of_another_type_is_refused(self, driver: Driver, code: object) -> None:
        with pytest.raises(TypeError, match=f"must be an int, not {type(code).__name__}"):
            driver.call("close", code)
        assert not driver.call("is_closed")

    def test_reason_that_is_too_long_is_refused(self, driver: Driver) -> None:
        with pytest.raises(ValueError, match="123 bytes of UTF-8"):
            driver.call("close", 1000, "ü" * 62)
        assert not driver.call("is_closed")
        driver.call("close", 1000, "ü" * 61)
        assert driver.get("close_reason") == "ü" * 61

    @pytest.mark.parametrize("reason", [b"bytes", None, 5])
    def test_reason_of_another_type_is_refused(self, driver: Driver, reason: object) -> None:
        with pytest.raises(TypeError, match=f"must be a str, not {type(reason).__name__}"):
            driver.call("close", 1000, reason)
        assert not driver.call("is_closed")


class TestHandshake:
    def test_accept_passes_subprotocol_and_headers_on(self, make_driver: MakeDriver) -> None:
        driver = make_driver()
        assert driver.get("accepted") is False
        driver.call("accept", subprotocol="chat", headers={"X-Room": "Größe"})
        assert driver.get("accepted") is True
        assert driver.get("subprotocol") == "chat"
        assert driver.channel.handshake == (101, "chat", [(b"X-Room", b"Gr\xf6\xdfe")])

    def test_headers_may_come_as_pairs(self, make_driver: MakeDriver) -> None:
        driver = make_driver()
        driver.call("accept", headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        assert driver.get("subprotocol") is None
        headers = [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")]
        assert driver.channel.handshake == (101, None, headers)

    def test_second_accept_raises(self, driver: Driver) -> None:
        with pytest.raises(RuntimeError, match="has been answered already"):
            driver.call("accept")

    def test_send_before_accept_raises_and_says_what_to_call(self, make_driver: MakeDriver) -> None:
        driver = make_driver()
        with pytest.raises(RuntimeError, match=r"request\.websocket\.accept\(\)"):
            driver.call("send", "too early")
        assert driver.channel.written == []

    def test_close_before_accept_refuses_with_403(self, make_driver: MakeDriver) -> None:
        driver = make_driver()
        driver.call("close", 4001)
        assert driver.get("closed")
        assert driver.channel.handshake == (403, [], b"")
        with pytest.raises(RuntimeError, match="has been answered already"):
            driver.call("accept")
        with pytest.raises(ConnectionClosed):
            driver.call("send", "too late")

    def test_close_from_elsewhere_before_accept_wakes_a_blocked_wait(
        self, make_driver: MakeDriver
    ) -> None:
        driver = make_driver()
        waiting = driver.begin("wait")
        driver.until_waiting()
        driver.call("close")
        assert waiting.result(DEADLINE) is None

    def test_refuse_answers_with_a_response(self, make_driver: MakeDriver) -> None:
        driver = make_driver()
        driver.call("refuse", 302, {"Location": "/login"}, b"body")
        assert driver.get("closed")
        assert driver.channel.handshake == (302, [(b"Location", b"/login")], b"body")


class TestSending:
    @pytest.mark.parametrize(
        ("message", "written"),
        [
            ("text", "text"),
            ("", ""),
            ("Größe \N{SNOWMAN}", "Größe \N{SNOWMAN}"),
            (b"binary", b"binary"),
            (b"", b""),
            (bytearray(b"array"), b"array"),
            (memoryview(b"a view")[2:], b"view"),
        ],
    )
    def test_str_goes_out_as_text_and_bytes_like_as_binary(
        self, driver: Driver, message: object, written: str | bytes
    ) -> None:
        assert driver.call("send", message) is None
        driver.get("closed")
        assert driver.channel.written == [written]

    @pytest.mark.parametrize("message", [None, 1, 1.5, {"a": 1}, ["a"], True, object()])
    def test_other_types_raise_a_type_error_that_says_what_is_accepted(
        self, driver: Driver, message: object
    ) -> None:
        name = type(message).__name__
        with pytest.raises(TypeError, match=f"str .* bytes, bytearray or memoryview .* {name}"):
            driver.call("send", message)
        driver.call("send", "next")
        driver.get("closed")
        assert driver.channel.written == ["next"]

    def test_text_that_utf_8_cannot_carry_raises(self, driver: Driver) -> None:
        with pytest.raises(UnicodeEncodeError):
            driver.call("send", "\ud800")

    def test_four_senders_keep_their_order(self, driver: Driver) -> None:
        numbers = range(200)
        senders = [
            driver.begin_sending([f"{name} {number}" for number in numbers]) for name in "abcd"
        ]
        for sender in senders:
            sender.result(DEADLINE)
        driver.get("closed")
        assert len(driver.channel.written) == 4 * len(numbers)
        for name in "abcd":
            own = [message for message in driver.channel.written if str(message)[0] == name]
            assert own == [f"{name} {number}" for number in numbers]

    def test_send_to_a_slow_peer_waits_until_it_keeps_up(self, driver: Driver) -> None:
        driver.loop_thread.call(driver.channel.set_writable, False)
        sending = driver.begin("send", "slowly")
        driver.until_waiting()
        assert not sending.done()
        driver.loop_thread.call(driver.channel.set_writable, True)
        assert sending.result(DEADLINE) is None
        assert driver.channel.written == ["slowly"]

    def test_send_to_a_slow_peer_raises_when_that_goes(self, driver: Driver) -> None:
        driver.loop_thread.call(driver.channel.set_writable, False)
        sending = driver.begin("send", "in vain")
        driver.until_waiting()
        driver.end(1006)
        with pytest.raises(ConnectionClosed, match="code 1006"):
            sending.result(DEADLINE)

    def test_close_from_elsewhere_ends_a_send_to_a_slow_peer(self, driver: Driver) -> None:
        driver.loop_thread.call(driver.channel.set_writable, False)
        sending = driver.begin("send", "in vain")
        driver.until_waiting()
        driver.call("close", 4001)
        with pytest.raises(ConnectionClosed, match="code 4001"):
            sending.result(DEADLINE)


class TestJson:
    def test_values_go_out_as_compact_text(self, driver: Driver) -> None:
        driver.call("send_json", {"list": [1, None, "Größe"]})
        driver.get("closed")
        (written,) = driver.channel.written
        assert isinstance(written, str)
        assert " " not in written
        assert json.loads(written) == {"list": [1, None, "Größe"]}

    def test_django_types_are_encoded_as_django_does(self, driver: Driver) -> None:
        moment = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
        driver.call("send_json", {"at": moment, "price": Decimal("1.50")})
        driver.get("closed")
        assert driver.channel.written == ['{"at":"2024-05-06T07:08:09Z","price":"1.50"}']

    def test_value_that_json_does_not_know_raises_a_type_error(self, driver: Driver) -> None:
        with pytest.raises(TypeError, match="not JSON serializable"):
            driver.call("send_json", decimal.Context())

    def test_send_json_after_the_end_raises_connection_closed(self, driver: Driver) -> None:
        driver.end()
        with pytest.raises(ConnectionClosed):
            driver.call("send_json", {})

    def test_messages_are_decoded_text_and_binary_alike(self, driver: Driver) -> None:
        driver.receive('{"a": [1]}', b'"bytes"')
        assert driver.call("wait_json") == {"a": [1]}
        assert driver.call("wait_json", timeout=DEADLINE) == "bytes"

    def test_null_is_a_value_and_not_the_end(self, driver: Driver) -> None:
        driver.receive("null", "1")
        assert driver.call("wait_json") is None
        assert driver.call("wait_json") == 1

    @pytest.mark.parametrize("message", ["", "{", "no", b"\xff"])
    def test_message_that_is_no_json_raises_and_is_taken(
        self, driver: Driver, message: str | bytes
    ) -> None:
        driver.receive(message, "2")
        with pytest.raises(ValueError):  # noqa: PT011 - any of the two that json.loads raises
            driver.call("wait_json")
        assert driver.call("wait_json") == 2

    @pytest.mark.parametrize("timeout", [0, A_MOMENT])
    def test_time_that_runs_out_raises(self, driver: Driver, timeout: float) -> None:
        with pytest.raises(TimeoutError, match=f"within {timeout} seconds"):
            driver.call("wait_json", timeout)

    def test_end_raises_connection_closed_behind_the_queue(self, driver: Driver) -> None:
        driver.receive("1")
        driver.end(1001, "gone")
        assert driver.call("wait_json") == 1
        for _ in range(2):
            with pytest.raises(ConnectionClosed) as caught:
                driver.call("wait_json")
            assert caught.value.code == 1001


class TestSeveralWaiting:
    def test_each_message_goes_to_one_and_the_end_wakes_all(self, driver: Driver) -> None:
        waiting = [driver.begin("wait") for _ in range(6)]
        driver.until_waiting(6)
        driver.receive("a", "b", "c")
        driver.end()
        outcomes = [future.exception(DEADLINE) or future.result() for future in waiting]
        messages = [outcome for outcome in outcomes if isinstance(outcome, str)]
        assert sorted(messages) == ["a", "b", "c"]
        assert outcomes.count(None) == 1
        assert sum(isinstance(outcome, ConnectionClosed) for outcome in outcomes) == 2

    def test_nothing_is_lost_or_doubled_under_load(self, make_driver: MakeDriver) -> None:
        driver = make_driver(Limits(inbox_messages=10_000))
        driver.call("accept")
        takers = [driver.begin_draining() for _ in range(4)]
        messages = [str(number) for number in range(2000)]
        for start in range(0, len(messages), 7):
            driver.receive(*messages[start : start + 7])
        driver.end()
        taken = [taker.result(DEADLINE) for taker in takers]
        assert sorted(itertools.chain(*taken), key=int) == messages
        for own in taken:
            assert own == sorted(own, key=int)


class TestIdentity:
    def test_socket_is_truthy_and_hashable_whatever_is_queued(self, driver: Driver) -> None:
        assert driver.socket
        assert {driver.socket: 1}[driver.socket] == 1
        driver.end()
        assert driver.socket

    def test_plain_attributes_may_be_set(self, driver: Driver) -> None:
        driver.socket.room = "lobby"
        assert driver.get("room") == "lobby"


class TestBlockingOnly:
    @pytest.mark.parametrize("timeout", [None, 0, A_MOMENT])
    def test_waiting_on_the_event_loop_raises(
        self, blocking: Driver, timeout: float | None
    ) -> None:
        for name in ["wait", "wait_json", "wait_closed"]:
            with pytest.raises(RuntimeError, match="would stop the event loop: make the view"):
                blocking.loop_thread.call(getattr(blocking.socket, name), timeout)

    def test_iterating_on_the_event_loop_raises(self, blocking: Driver) -> None:
        with pytest.raises(RuntimeError, match="would stop the event loop"):
            blocking.loop_thread.call(list, blocking.socket)

    def test_sending_to_a_slow_peer_on_the_event_loop_raises(self, blocking: Driver) -> None:
        blocking.loop_thread.call(blocking.channel.set_writable, False)
        with pytest.raises(RuntimeError, match="would stop the event loop"):
            blocking.loop_thread.call(blocking.socket.send, "slowly")

    def test_own_accept_is_known_before_the_loop_has_come_to_it(
        self, loop_thread: LoopThread
    ) -> None:
        driver = Driver(loop_thread, "blocking")
        with driver.loop_held():
            driver.socket.accept("chat")
            assert driver.socket.accepted
            assert driver.socket.subprotocol == "chat"

    def test_own_close_is_known_before_the_loop_has_come_to_it(self, blocking: Driver) -> None:
        socket = blocking.socket
        with blocking.loop_held():
            socket.close(4001, "done")
            assert socket.closed
            assert socket.is_closed()
            assert (socket.close_code, socket.close_reason) == (4001, "done")
            with pytest.raises(ConnectionClosed, match="code 4001, reason 'done'"):
                socket.send("too late")

    def test_sender_faster_than_the_loop_waits_for_it(self, blocking: Driver) -> None:
        messages = ["x" * 60, "y" * 60, "z" * 60]
        with blocking.loop_held():
            sending = blocking.begin_sending(messages)
            blocking.until_waiting()
            assert not sending.done()
        sending.result(DEADLINE)
        blocking.get("closed")
        assert blocking.channel.written == messages


class TestAsyncOnly:
    @on_event_loop
    async def test_for_without_async_says_how_it_is_written(self) -> None:
        socket = AsyncWebSocket(RecordingChannel(asyncio.get_running_loop()))
        with pytest.raises(TypeError, match="async for message in request"):
            iter(socket)

    @on_event_loop
    async def test_close_and_accept_need_no_await_and_take_one(self) -> None:
        for answer_awaited in (True, False):
            channel = RecordingChannel(asyncio.get_running_loop())
            socket = AsyncWebSocket(channel)
            accepting = socket.accept()
            assert channel.accepted
            if answer_awaited:
                await accepting
            closing = socket.close(4001)
            assert channel.closes == [(4001, "")]
            if answer_awaited:
                await closing

    @on_event_loop
    async def test_cancelled_wait_loses_no_message(self) -> None:
        channel = RecordingChannel(asyncio.get_running_loop())
        socket = AsyncWebSocket(channel)
        waiting = asyncio.create_task(socket.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        channel.inbox.put("kept")
        assert await socket.wait() == "kept"

    @pytest.mark.parametrize("others", [0, 1])
    def test_message_that_woke_a_cancelled_wait_goes_to_the_next(self, others: int) -> None:
        @on_event_loop
        async def run() -> None:
            channel = RecordingChannel(asyncio.get_running_loop())
            socket = AsyncWebSocket(channel)
            first, *rest = [asyncio.create_task(socket.wait()) for _ in range(1 + others)]
            await asyncio.sleep(0)
            channel.inbox.put("kept")
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            last = rest[0] if rest else asyncio.create_task(socket.wait())
            assert await last == "kept"

        run()

    @on_event_loop
    async def test_message_in_the_moment_of_a_timeout_is_not_lost(self) -> None:
        channel = RecordingChannel(asyncio.get_running_loop())
        socket = AsyncWebSocket(channel)
        taken = []
        for number in range(50):
            asyncio.get_running_loop().call_later(A_MOMENT / 10, channel.inbox.put, str(number))
            taken.append(await socket.wait(A_MOMENT / 10))
        channel.end(1001, "")
        taken += [message async for message in socket]
        assert [message for message in taken if message] == [str(number) for number in range(50)]

    @on_event_loop
    async def test_cancelled_send_to_a_slow_peer_was_sent_whole(self) -> None:
        channel = RecordingChannel(asyncio.get_running_loop())
        socket = AsyncWebSocket(channel)
        socket.accept()
        channel.set_writable(False)
        sending = asyncio.create_task(socket.send("whole"))
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert channel.written == ["whole"]
        channel.set_writable(True)
        await socket.send("next")
        assert channel.written == ["whole", "next"]
