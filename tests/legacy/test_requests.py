"""From the request to the close frame: what surrounds a view, and how it ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import notes_of, wait_for_notes
from tests.hostile.wire import TEXT, Closing, Frame, Peer, close_frame, frame, handshake
from tests.legacy.serving import ask, post
from tests.servers.hosts import require

if TYPE_CHECKING:
    from tests.legacy.serving import Database
    from tests.processes import ServerProcess


def head_of_refusal(server: ServerProcess, path: str, **headers: str) -> str:
    """Shake hands, and give the head of what comes instead of a 101."""
    with Peer(server) as peer:
        peer.send(handshake(path, server.port, headers))
        return peer.read_head()


def test_07_is_websocket_is_callable_and_true_when_not_called(
    server: ServerProcess, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/both/{name}")
        assert peer.read_frame() == Frame(TEXT, b"socket")
    assert ask(server, f"/both/{name}") == {"page": True}

    assert notes_of(server, name) == [[True, True, True, False], [True, True, False, True]]


def test_09_one_thread_runs_middleware_and_view(server: ServerProcess, name: str) -> None:
    path = f"/where/{name}?times={name}"
    with Peer(server) as peer:
        peer.open(path)
        (begin, view, local) = wait_for_notes(server, name, 3)
        peer.send(frame(TEXT, b"that is all"))
        assert peer.read_close().code == 1000
        (end, process_response) = wait_for_notes(server, name, 5)[3:]

    thread = begin[1]
    assert [begin, view, local, end, process_response] == [
        ["process_request", thread],
        ["view", thread],
        ["local", f"/where/{name}"],
        ["end", thread],
        ["process_response", thread],
    ]


def test_09_every_request_has_a_thread_of_its_own(server: ServerProcess, name: str) -> None:
    with Peer(server) as one, Peer(server) as other:
        for peer in (one, other):
            peer.open(f"/echo?times={name}")
            peer.send(frame(TEXT, b"hello"))
            assert peer.read_frame() == Frame(TEXT, b"hello")
        (first, second) = notes_of(server, name)

    assert first[1] != second[1]


def test_10_plain_http_reaches_the_same_view(
    server: ServerProcess, database: Database, name: str
) -> None:
    token = "a" * 32
    headers = {"Cookie": f"csrftoken={token}"}
    form = {"message": "HELLO", "csrfmiddlewaretoken": token}

    assert ask(server, f"/both/{name}") == {"page": True}
    assert server.get("/echo").text == "no websocket"
    assert post(server, f"/both/{name}", form, headers).text == "hello"


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_10_csrf_exempt_counts_on_either_side(server: ServerProcess, where: str) -> None:
    answer = post(server, f"/exempt_{where}", {"message": "HELLO"}, {})

    assert (answer.status, answer.text) == (200, "hello")


def test_10_attributes_are_carried_by_the_wrapper(server: ServerProcess) -> None:
    assert ask(server, "/attributes") == [True, True, True, True, True, "required"]


def test_10_required_socket_is_400_to_plain_http(server: ServerProcess) -> None:
    assert server.get("/required").status == 400


def test_11_outer_decorator_answers_before_the_handshake(
    server: ServerProcess, database: Database
) -> None:
    head = head_of_refusal(server, "/members")
    assert head.startswith("HTTP/1.1 302 ")
    assert "/login/?next=/members" in head

    with Peer(server) as peer:
        peer.open("/members", {"Cookie": database.cookie})
        assert peer.read_frame() == Frame(TEXT, b"ada")


def test_11_middleware_answers_before_the_handshake(server: ServerProcess) -> None:
    assert head_of_refusal(server, "/forbidden/").startswith("HTTP/1.1 403 ")


def test_11_inner_decorator_answers_after_the_handshake(
    server: ServerProcess, database: Database
) -> None:
    with Peer(server) as peer:
        peer.open("/members_inside")
        assert peer.read_close() == Closing(1000, "")
        peer.send(close_frame())
        assert peer.read_end() == b""
    with Peer(server) as peer:
        peer.open("/members_inside", {"Cookie": database.cookie})
        assert peer.read_frame() == Frame(TEXT, b"ada")


def test_11_outer_decorator_may_hide_what_is_in_it(server: ServerProcess) -> None:
    with Peer(server) as peer:
        peer.open("/hidden")
        peer.send(frame(TEXT, b"hello"))
        assert peer.read_frame() == Frame(TEXT, b"hello")
    assert server.get("/hidden").text == "page"


def test_11_request_is_that_of_a_get(server: ServerProcess, database: Database) -> None:
    with Peer(server) as peer:
        path = "/everything/2019/hello-world/?q=1&q=%E4%BD%A0"
        cookies = f"{database.cookie}; flavour=oatmeal"
        peer.open(path, {"Cookie": cookies, "User-Agent": "an old browser"})
        told = json.loads(peer.read_frame().payload)

    assert told == {
        "method": "GET",
        "user": "ada",
        "session": "green",
        "cookie": "oatmeal",
        "get": ["1", "\u4f60"],
        "agent": "an old browser",
        "kwargs": ["2019", "hello-world"],
        "full_path": path,
        "host": f"127.0.0.1:{server.port}",
    }


@pytest.mark.parametrize("kind", ["none", "response", "json", "zero", "false"])
def test_12_any_return_value_ends_the_connection_quietly(server: ServerProcess, kind: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/returns/{kind}")
        assert peer.read_frame() == Frame(TEXT, b"last")
        assert peer.read_close() == Closing(1000, "")
        peer.send(close_frame())
        assert peer.read_end() == b""


@pytest.mark.parametrize("kind", ["none", "response", "json", "zero", "false"])
def test_12_nothing_follows_the_close_frame_that_answers_the_client(
    server: ServerProcess, kind: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/returns_at_the_end/{kind}")
        peer.send(close_frame(4001, b"bye"))
        assert peer.read_close() == Closing(4001, "bye")
        assert peer.read_end() == b""


def test_12_close_sends_1000(server: ServerProcess) -> None:
    with Peer(server) as peer:
        peer.open("/closes")
        assert peer.read_frame() == Frame(TEXT, b"last")
        assert peer.read_close() == Closing(1000, "")


def test_12_exception_sends_1000_and_is_logged(noisy_server: ServerProcess) -> None:
    before = noisy_server.output().count("a mistake in the view")
    with Peer(noisy_server) as peer:
        peer.open("/raises")
        assert peer.read_frame() == Frame(TEXT, b"last")
        assert peer.read_close() == Closing(1000, "")
        peer.send(close_frame())
        assert peer.read_end() == b""

    noisy_server.wait_for_output("a mistake in the view", count=before + 1)


def test_12_empty_close_frame_is_answered(server: ServerProcess, host: str) -> None:
    with Peer(server) as peer:
        peer.open("/echo")
        peer.send(close_frame(None))
        # uvicorn's own classes answer alike, with an empty frame; nobody asks the application.
        expected = 1000 if host == "adwebsocket" else 1005
        assert peer.read_close() == Closing(expected, "")
        assert peer.read_end() == b""


@pytest.mark.parametrize("path", ["/class", "/class/get", "/class/static"])
def test_19_decorators_work_on_methods(server: ServerProcess, path: str) -> None:
    with Peer(server) as peer:
        peer.open(path)
        peer.send(frame(TEXT, b"hello"))
        assert peer.read_frame() == Frame(TEXT, b"hello")
        peer.send(close_frame())
        assert peer.read_close() == Closing(1000, "")


def test_19_plain_request_reaches_a_method(server: ServerProcess) -> None:
    assert server.get("/class").text == "page of a class"
    assert server.get("/class/get").status == 400


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_19_both_requests_of_rest_framework_show_the_socket(
    server: ServerProcess, name: str, where: str
) -> None:
    require(["rest_framework"])
    with Peer(server) as peer:
        peer.open(f"/rest/{where}/{name}")
        if where == "inside":
            peer.send(frame(TEXT, b"hello"))
        assert peer.read_frame() == Frame(TEXT, b"hello")
        peer.send(close_frame())
        assert peer.read_close() == Closing(1000, "")
        assert peer.read_end() == b""
    assert ask(server, f"/rest/{where}/{name}") == {"page": "of the framework"}

    inner = "rest_framework.request"
    assert notes_of(server, name) == [
        [inner, True, True, True, True],
        [inner, True, False, False, True],
    ]


def test_19_function_view_of_rest_framework(server: ServerProcess, name: str) -> None:
    require(["rest_framework"])
    with Peer(server) as peer:
        peer.open(f"/rest/function/{name}")
        assert peer.read_frame() == Frame(TEXT, b"hello")
        assert peer.read_close() == Closing(1000, "")
        peer.send(close_frame())
        assert peer.read_end() == b""
    assert ask(server, f"/rest/function/{name}") == {"page": "of a function"}


def test_23_no_subprotocol_is_chosen(server: ServerProcess) -> None:
    with Peer(server) as peer:
        peer.send(handshake("/echo", server.port, {"Sec-WebSocket-Protocol": "chat, superchat"}))
        head = peer.read_head()

    assert head.startswith("HTTP/1.1 101 ")
    assert "sec-websocket-protocol" not in head.lower()
