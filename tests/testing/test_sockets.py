"""The blocking client against views of all kinds: what it does, how it fails, what it leaves."""

# ruff: noqa: PT012, SIM117 (a failure is raised in the block of a socket, or at its end)

from __future__ import annotations

import inspect
import re
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.test import SimpleTestCase, override_settings

from adwebsocket import live
from adwebsocket.testing import ClientWebSocket, WebSocketClient
from tests.processes import wait_until

from . import other_views, views

if TYPE_CHECKING:
    from collections.abc import Callable

SHORT = 0.2
"""Seconds to wait for what is not going to come."""


def line_of(function: Callable[..., Any], text: str) -> str:
    """Give file and line of the line of a function that has this text in it."""
    lines, first = inspect.getsourcelines(inspect.unwrap(function))
    (number,) = [number for number, line in enumerate(lines, first) if text in line]
    return f"{inspect.getsourcefile(inspect.unwrap(function))}:{number}"


def count_backgrounds() -> int:
    return [each.name for each in threading.enumerate()].count("adwebsocket-testing")


class TestMessages:
    def test_text_bytes_and_json_come_back(self, client: WebSocketClient, colour: str) -> None:
        with client.websocket(f"/{colour}/echo/") as ws:
            assert ws.accepted
            assert not ws.closed
            ws.send("hällo")
            assert ws.receive() == "hällo"
            ws.send(b"\x00\xff")
            assert ws.receive() == b"\x00\xff"
            ws.send_json({"number": 1})
            assert ws.receive_json() == {"number": 1}
        assert ws.closed
        assert views.passed.is_set()

    def test_large_messages_come_back_whole(self, client: WebSocketClient, colour: str) -> None:
        with client.websocket(f"/{colour}/echo/") as ws:
            ws.send("x" * 1_000_000)
            assert ws.receive() == "x" * 1_000_000

    def test_iteration_ends_with_the_socket(self, client: WebSocketClient, colour: str) -> None:
        with client.websocket(f"/{colour}/closing/") as ws:
            assert list(ws) == ["last words"]
            ws.assert_closed(4001, "enough")

    def test_nothing_is_received_only_when_the_view_has_dealt_with_all(
        self, client: WebSocketClient, colour: str
    ) -> None:
        with client.websocket(f"/{colour}/late/") as ws:
            ws.assert_nothing_received()
            ws.send("hello")
            # By far not half a second, since a message ends it.
            with pytest.raises(AssertionError, match="expected no message, but this came: 'hello'"):
                ws.assert_nothing_received(timeout=5)
            assert ws.receive() == "hello"

    def test_settling_waits_for_all_that_was_sent(
        self, client: WebSocketClient, colour: str
    ) -> None:
        with client.websocket(f"/{colour}/late/") as ws:
            for number in range(3):
                ws.send(str(number))
            ws.settle()
            for number in range(3):
                assert ws.receive(timeout=0) == str(number)

    def test_settling_tells_where_a_view_stands_that_does_not(
        self, client: WebSocketClient
    ) -> None:
        with pytest.raises(AssertionError, match="did not come to wait for a message") as failure:
            with client.websocket("/async/hanging/") as ws:
                ws.timeout = SHORT
                ws.settle()
        assert line_of(views.async_hanging, "the line that hangs") in str(failure.value)


class TestHandshakes:
    def test_subprotocol_is_settled_on(self, client: WebSocketClient, colour: str) -> None:
        with client.websocket(f"/{colour}/echo/", subprotocols=["news", "chat"]) as ws:
            assert ws.subprotocol == "chat"
        with client.websocket(f"/{colour}/echo/") as ws:
            assert ws.subprotocol is None

    def test_one_subprotocol_is_a_list_too(self, client: WebSocketClient) -> None:
        with pytest.raises(TypeError, match="list of strings"):
            client.websocket("/sync/echo/", subprotocols="chat").__enter__()

    def test_request_is_that_of_a_page_of_the_host(self, client: WebSocketClient) -> None:
        with client.websocket("/describing/") as ws:
            told = ws.receive_json()
        assert told["address"] == "http://testserver/describing/"
        assert told["client"] == "127.0.0.1"
        assert told["headers"]["Origin"] == "http://testserver"

    def test_request_can_be_told_otherwise(self, nothing_left: None) -> None:
        client = WebSocketClient(headers={"X-Of-Client": "one"}, REMOTE_ADDR="192.0.2.1")
        with (
            override_settings(ALLOWED_HOSTS=["shop.example"]),
            client.websocket(
                "/describing/",
                headers={"X-Of-Call": "two", "host": "shop.example"},
                query_params={"a": ["ö", 1]},
                secure=True,
            ) as ws,
        ):
            told = ws.receive_json()
        assert told["address"] == "https://shop.example/describing/?a=%C3%B6&a=1"
        assert told["client"] == "192.0.2.1"
        assert told["headers"]["X-Of-Client"] == "one"
        assert told["headers"]["X-Of-Call"] == "two"
        assert told["headers"]["Origin"] == "https://shop.example"

    def test_client_that_is_no_browser_sends_no_origin(self, client: WebSocketClient) -> None:
        with client.websocket("/describing/?a=ö", headers={"Origin": None}) as ws:
            told = ws.receive_json()
        assert "Origin" not in told["headers"]
        assert told["address"].endswith("?a=%C3%B6")

    def test_foreign_page_is_refused(self, client: WebSocketClient, colour: str) -> None:
        origin = {"Origin": "https://evil.example"}
        with client.websocket(f"/{colour}/echo/", headers=origin) as ws:
            assert ws.response.status_code == 403
            assert "evil.example" in ws.response.content.decode()

    def test_cookies_go_both_ways(self, client: WebSocketClient, colour: str) -> None:
        client.cookies["taste"] = "sweet"
        with client.websocket(f"/{colour}/baking/") as ws:
            assert ws.response.cookies["flavour"].value == "vanilla"
            assert ws.receive_json() == {"taste": "sweet"}
        assert client.cookies["flavour"].value == "vanilla"
        with client.websocket(f"/{colour}/baking/") as ws:
            assert ws.receive_json() == {"taste": "sweet", "flavour": "vanilla"}

    def test_response_is_one_of_django(self, client: WebSocketClient) -> None:
        with client.websocket("/sync/echo/") as ws:
            assert ws.response.status_code == 101
            assert ws.response["Upgrade"] == "websocket"
            assert ws.response.wsgi_request.path == "/sync/echo/"
            assert ws.response.resolver_match.func is views.echo

    def test_malformed_handshake_is_told_its_fault(self, client: WebSocketClient) -> None:
        with client.websocket("/sync/echo/", headers={"Sec-WebSocket-Version": "8"}) as ws:
            assert ws.response.status_code == 426

    def test_pages_are_those_of_any_client(self, client: WebSocketClient) -> None:
        assert client.get("/page/").content == b"a page"


class TestRefusals:
    def test_refusal_is_a_response_and_raises_when_the_socket_is_used(
        self, client: WebSocketClient, colour: str
    ) -> None:
        with client.websocket(f"/{colour}/refusing/") as ws:
            assert not ws.accepted
            assert ws.closed
            assert ws.close_code is None
            SimpleTestCase().assertContains(ws.response, "not for you", status_code=403)
            assert ws.response["X-Reason"] == "a test"
            assert client.cookies["seen"].value == "yes"
            uses: list[Callable[[], Any]] = [
                lambda: ws.send("hello"),
                ws.receive,
                ws.close,
                ws.assert_closed,
                ws.assert_nothing_received,
            ]
            for use in uses:
                with pytest.raises(AssertionError, match="403 Forbidden: not for you"):
                    use()

    def test_redirect_can_be_asserted(self, client: WebSocketClient) -> None:
        with client.websocket("/redirecting/") as ws:
            SimpleTestCase().assertRedirects(
                ws.response, "/elsewhere/", fetch_redirect_response=False
            )

    def test_page_without_a_socket_and_no_page_at_all(self, client: WebSocketClient) -> None:
        for path, status in [("/page/", 400), ("/nowhere/", 404)]:
            with client.websocket(path) as ws:
                assert ws.response.status_code == status

    def test_socket_cannot_be_used_outside_its_block(self, client: WebSocketClient) -> None:
        ws = client.websocket("/sync/echo/")
        with pytest.raises(AssertionError, match="with block"):
            ws.send("hello")
        with ws:
            pass
        with pytest.raises(RuntimeError, match="ask the client for another"):
            ws.__enter__()


class TestEnds:
    def test_view_closes(self, client: WebSocketClient, colour: str) -> None:
        with client.websocket(f"/{colour}/closing/") as ws:
            assert ws.receive() == "last words"
            ws.assert_closed(4001, "enough")
            assert (ws.close_code, ws.close_reason) == (4001, "enough")
            with pytest.raises(AssertionError, match=r"nothing can be sent: .* 4001 'enough'"):
                ws.send("hello")
            with pytest.raises(AssertionError, match=r"no message came: .* 4001 'enough'"):
                ws.receive()
            with pytest.raises(AssertionError, match=r"expected a close with 1000, but .* 4001"):
                ws.assert_closed(1000)

    def test_client_closes(self, client: WebSocketClient, colour: str) -> None:
        with client.websocket(f"/{colour}/echo/") as ws:
            ws.close(4002, "bye")
            assert ws.closed
            assert (ws.close_code, ws.close_reason) == (4002, "bye")
            ws.assert_closed(4002)

    def test_open_socket_is_no_closed_one(self, client: WebSocketClient, colour: str) -> None:
        with client.websocket(f"/{colour}/echo/") as ws:
            ws.send("unread")
            with pytest.raises(AssertionError, match=r"was not closed .*; unread: 'unread'"):
                ws.assert_closed(timeout=SHORT)

    def test_error_of_the_view_is_raised_where_a_message_is_missed(
        self, client: WebSocketClient, colour: str
    ) -> None:
        with pytest.raises(ValueError, match="wrong: hello"):
            with client.websocket(f"/{colour}/raising/") as ws:
                ws.send("hello")
                ws.receive()
                pytest.fail("not reached")

    def test_error_of_the_view_is_raised_at_the_end_of_the_block(
        self, client: WebSocketClient, colour: str
    ) -> None:
        with pytest.raises(ValueError, match="wrong: None"):
            with client.websocket(f"/{colour}/raising/"):
                pass

    def test_error_before_the_answer_is_raised_at_once(
        self, client: WebSocketClient, colour: str
    ) -> None:
        with pytest.raises(ValueError, match="wrong from the start"):
            with client.websocket(f"/{colour}/raising_early/"):
                pytest.fail("not reached")

    def test_error_of_the_view_stands_below_another_one_of_the_test(
        self, client: WebSocketClient, colour: str
    ) -> None:
        with pytest.raises(KeyError) as failure, client.websocket(f"/{colour}/raising/"):
            raise KeyError("of the test")
        assert "ValueError: wrong: None" in "".join(failure.value.__notes__)

    def test_errors_are_responses_and_codes_to_a_client_that_wants_them_so(
        self, client: WebSocketClient, colour: str
    ) -> None:
        client.raise_request_exception = False
        with client.websocket(f"/{colour}/raising_early/") as ws:
            assert ws.response.status_code == 500
        with client.websocket(f"/{colour}/raising/") as ws:
            ws.send("hello")
            ws.assert_closed(1011)


class TestViewsThatHang:
    def test_missed_message_tells_where_the_view_stands(
        self, client: WebSocketClient, colour: str
    ) -> None:
        hanging = views.hang if colour == "sync" else views.async_hanging
        place = line_of(hanging, "the line that hangs")
        with pytest.raises(AssertionError) as failure:
            with client.websocket(f"/{colour}/hanging/") as ws:
                assert ws.receive() == "hanging"
                ws.timeout = SHORT
                ws.receive()
        assert re.search(rf"no message came within 0.2 seconds; .*{place}", str(failure.value))
        (note,) = failure.value.__notes__
        assert "still runs 0.2 seconds after its socket was closed" in note
        assert place in note

    def test_view_that_goes_on_fails_the_block(self, client: WebSocketClient, colour: str) -> None:
        hanging = views.hang if colour == "sync" else views.async_hanging
        with pytest.raises(AssertionError, match="the view still runs") as failure:
            with client.websocket(f"/{colour}/hanging/") as ws:
                ws.timeout = SHORT
        assert line_of(hanging, "the line that hangs") in str(failure.value)
        assert "django" not in str(failure.value)

    def test_handshake_that_is_never_answered_fails(
        self, client: WebSocketClient, colour: str
    ) -> None:
        with pytest.raises(AssertionError, match=r"was not answered within 0.2 seconds; .* is at "):
            with client.websocket(f"/{colour}/never_answering/", timeout=SHORT):
                pytest.fail("not reached")

    def test_async_view_that_blocks_the_loop_is_named_and_harms_no_other_test(
        self, client: WebSocketClient
    ) -> None:
        place = line_of(views.blocking, "the line that blocks the loop")
        with pytest.raises(AssertionError, match=f"blocks it at .*{place}"):
            with client.websocket("/blocking/") as ws:
                ws.send("hello")
                ws.timeout = SHORT
                try:
                    ws.receive()
                finally:
                    views.released.set()
        with client.websocket("/async/echo/") as ws:
            ws.send("hello")
            assert ws.receive() == "hello"
        wait_until(lambda: live.count_live() == 0, "the end of the view")
        wait_until(lambda: count_backgrounds() == 1, "the end of the thread")

    def test_nothing_is_received_from_a_view_that_does_something_else(
        self, client: WebSocketClient
    ) -> None:
        with pytest.raises(AssertionError, match="the view still runs"):
            with client.websocket("/async/hanging/") as ws:
                ws.receive()
                ws.timeout = SHORT
                ws.assert_nothing_received()


class TestFaults:
    @pytest.mark.parametrize("fault", [ClientWebSocket.drop, ClientWebSocket.reset])
    def test_lost_connection_ends_the_view(
        self, client: WebSocketClient, colour: str, fault: Callable[[ClientWebSocket], None]
    ) -> None:
        with client.websocket(f"/{colour}/echo/") as ws:
            fault(ws)
            ws.assert_closed(1006)
            wait_until(views.passed.is_set, "the end of the view")

    def test_half_closed_connection_is_closed(self, client: WebSocketClient, colour: str) -> None:
        with client.websocket(f"/{colour}/echo/") as ws:
            ws.half_close()
            ws.assert_closed(1006)
            wait_until(views.passed.is_set, "the end of the view")

    @pytest.mark.parametrize(
        "fault",
        [
            ClientWebSocket.drop,
            ClientWebSocket.reset,
            ClientWebSocket.half_close,
            ClientWebSocket.send_invalid_frame,
        ],
    )
    def test_block_can_be_left_and_faults_repeated_behind_any_fault(
        self, client: WebSocketClient, colour: str, fault: Callable[[ClientWebSocket], None]
    ) -> None:
        with client.websocket(f"/{colour}/echo/") as ws:
            ws.send("hello")
            fault(ws)
        assert ws.closed
        with client.websocket(f"/{colour}/echo/") as ws:
            for again in (fault, ClientWebSocket.half_close, ClientWebSocket.drop, fault):
                again(ws)
        assert views.passed.is_set()

    def test_slow_reader_holds_up_the_view_and_gets_all(
        self, client: WebSocketClient, colour: str
    ) -> None:
        with client.websocket(f"/{colour}/pushing/") as ws:
            ws.stop_reading()
            channel = ws._conversation.record.channel
            assert channel is not None
            wait_until(lambda: not channel.writable, "a view that has to wait")
            ws.resume_reading()
            for _ in range(50):
                assert ws.receive() == "x" * 20_000

    def test_socket_that_does_not_read_can_be_left(
        self, client: WebSocketClient, colour: str
    ) -> None:
        with client.websocket(f"/{colour}/pushing/") as ws:
            ws.stop_reading()

    def test_invalid_frames_are_closed_with_1002(
        self, client: WebSocketClient, colour: str
    ) -> None:
        with client.websocket(f"/{colour}/echo/") as ws:
            ws.send_invalid_frame()
            ws.assert_closed(1002)
        with client.websocket(f"/{colour}/echo/") as ws:
            ws.send_raw(b"\x81\x05hello")  # without a mask
            ws.assert_closed(1002, "frames of a client must be masked")

    def test_message_in_pieces_is_put_together(self, client: WebSocketClient, colour: str) -> None:
        with client.websocket(f"/{colour}/echo/") as ws:
            for byte in b"\x01\x82\x00\x00\x00\x00he\x80\x83\x00\x00\x00\x00llo":
                ws.send_raw(bytes([byte]))
            assert ws.receive() == "hello"


class TestSettings:
    def test_those_of_a_test_hold_in_the_view(self, client: WebSocketClient, colour: str) -> None:
        with override_settings(WEBSOCKET_MAX_MESSAGE_SIZE=3):
            with client.websocket(f"/{colour}/echo/") as ws:
                ws.send("hello")
                ws.assert_closed(1009)
        with override_settings(ROOT_URLCONF=other_views.__name__):
            with client.websocket("/sync/echo/") as ws:
                assert ws.receive() == "from elsewhere"
        with override_settings(MIDDLEWARE=[f"{views.__name__}.Middleware"]):
            with client.websocket(f"/{colour}/echo/") as ws:
                assert ws.response.content == b"the middleware was here"
        with client.websocket(f"/{colour}/echo/") as ws:
            ws.send("hello")
            assert ws.receive() == "hello"


class TestWhatIsLeft:
    def test_threads_of_many_sockets_end(self, client: WebSocketClient, colour: str) -> None:
        for _ in range(20):
            with client.websocket(f"/{colour}/echo/") as ws:
                ws.send("hello")
                ws.receive()
        prefixes = ("websocket-view-", "websocket-greenlets-")
        wait_until(
            lambda: not [each for each in threading.enumerate() if each.name.startswith(prefixes)],
            "the end of all threads",
        )
        assert count_backgrounds() == 1

    def test_sockets_side_by_side_in_threads_of_the_test(self, client: WebSocketClient) -> None:
        answers = []

        def converse() -> None:
            with client.websocket("/sync/echo/") as ws:
                ws.send("hello")
                answers.append(ws.receive())

        threads = [threading.Thread(target=converse) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert answers == ["hello"] * 5

    def test_connection_that_cannot_be_made_leaves_nothing(
        self, client: WebSocketClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise OSError("no more sockets")

        monkeypatch.setattr(socket, "create_server", refuse)
        with pytest.raises(OSError, match="no more sockets"):
            with client.websocket("/sync/echo/"):
                pytest.fail("not reached")
