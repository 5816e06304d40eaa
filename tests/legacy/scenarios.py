"""What a client does to the legacy project, move by move, and the transcript of what it sees.

The same scenarios are played against the original and against this package. A transcript has what
came over the wire, frame by frame, and what the views noted; nothing in it depends on the clock.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
import uuid
from typing import TYPE_CHECKING

from tests.hostile.asking import notes_of, open_gate
from tests.hostile.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Peer,
    ServerGone,
    close_frame,
    frame,
    handshake,
    parse_close,
)
from tests.legacy.serving import post
from tests.processes import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from tests.processes import ServerProcess

    Scenario: TypeAlias = "Callable[[Player], None]"

OPCODES = {CONTINUATION: "CONTINUATION", TEXT: "TEXT", BINARY: "BINARY", PING: "PING", PONG: "PONG"}
# Seconds after which what has not come counts as never to come. The original hangs in a few.
PATIENCE = 10.0


class Player:
    """A client that writes down what it sees.

    Attributes:
        name: what stands for ``{name}`` in paths; it is different each time, and never written.
        transcript: the lines so far.
    """

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.name = uuid.uuid4().hex
        self.transcript: list[str] = []
        self.peers: list[Peer] = []

    @property
    def peer(self) -> Peer:
        """The connection that was opened last."""
        return self.peers[-1]

    def write(self, line: str) -> None:
        self.transcript.append(line.replace(self.name, "{name}"))

    def shake_hands(
        self, path: str, *, behind: bytes = b"", without: str = "", **headers: str
    ) -> bool:
        """Ask for a WebSocket, with bytes behind the request or a header left out.

        Tells whether the server let it in.
        """
        peer = Peer(self.server)
        self.peers.append(peer)
        peer.socket.settimeout(PATIENCE)
        request = handshake(path.format(name=self.name), peer.port, headers)
        if without:
            request = re.sub(rf"{without}: .*?\r\n".encode(), b"", request)
        peer.send(request + behind)
        head = peer.read_head()
        status = head.split(" ", 2)[1]
        self.write(status)
        for line in sorted(head.lower().split("\r\n")[1:]):
            if line.startswith(("location:", "sec-websocket-protocol:")):
                self.write(line)
        return status == "101"

    def open(self, path: str) -> None:
        """Ask for a WebSocket that nothing is in the way of."""
        self.shake_hands(path)

    def send(self, *frames: bytes) -> None:
        self.peer.send(b"".join(frames))

    def read(self, count: int = 1, peer: Peer | None = None) -> None:
        """Write down the next frames, of the connection that was opened last or of another."""
        for _ in range(count):
            try:
                received = (peer or self.peer).read_frame()
            except TimeoutError:
                self.write("nothing comes")
            except (ServerGone, ConnectionError):
                self.write("the end comes")
            except AssertionError:
                self.write("no frame of a server comes")
            else:
                self.write(described(received.opcode, received.payload))

    def finish(self) -> None:
        """Say that nothing more will be sent, and write down everything up to the end."""
        with contextlib.suppress(OSError):
            self.peer.socket.shutdown(socket.SHUT_WR)
        self.peer.socket.settimeout(PATIENCE / 2)
        try:
            rest = self.peer.read_end()
        except TimeoutError:
            rest = bytes(self.peer._received) + b"HTTP/1.1 stays open"
        except ConnectionError:
            rest = bytes(self.peer._received)
        with contextlib.suppress(ServerGone, AssertionError, ConnectionError, ValueError):
            self.peer._received[:] = rest
            self.peer.socket.close()
            while self.peer._received and not self.peer._received.startswith(b"HTTP/"):
                received = self.peer.read_frame()
                self.write(described(received.opcode, received.payload))
        rest = bytes(self.peer._received)
        for head in re.findall(rb"HTTP/1.1 (\d+|stays open)", rest):
            self.write(f"and then: {head.decode()}")
        self.write("end")

    def notes(self, count: int) -> None:
        """Write down what the views noted, as soon as it is so much or time is up."""
        deadline = time.monotonic() + PATIENCE
        while len(noted := notes_of(self.server, self.name)) < count:
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        for line in noted:
            self.write(f"noted: {line if isinstance(line, str) else json.dumps(line)}")

    def open_gate(self) -> None:
        open_gate(self.server, self.name)

    def get(self, path: str) -> None:
        """Write down the answer to a plain request."""
        answer = self.server.get(path.format(name=self.name))
        self.write(f"{answer.status} {answer.text if answer.status == 200 else ''}")

    def post(self, path: str, **form: str) -> None:
        token = "a" * 32
        form["csrfmiddlewaretoken"] = token
        path = path.format(name=self.name)
        answer = post(self.server, path, form, {"Cookie": f"csrftoken={token}"})
        self.write(f"{answer.status} {answer.text if answer.status == 200 else ''}")

    def leave(self, *, abruptly: bool = False) -> None:
        self.peer.leave(abruptly=abruptly)

    def close(self) -> None:
        for peer in self.peers:
            peer.socket.close()


def described(opcode: int, payload: bytes) -> str:
    """Say what a frame is."""
    if opcode == CLOSE:
        try:
            closing = parse_close(payload)
        except UnicodeDecodeError:
            return f"CLOSE {payload!r}"
        return f"CLOSE {closing.code} {closing.reason!r}"
    text = repr(payload) if len(payload) < 100 else f"{len(payload)} bytes"
    return f"{OPCODES.get(opcode, opcode)} {text}"


def play(scenario: Scenario, server: ServerProcess) -> list[str]:
    """Play a scenario, and return its transcript."""
    player = Player(server)
    with contextlib.closing(player):
        try:
            scenario(player)
        except (ServerGone, OSError) as error:
            player.write(f"cut short: {type(error).__name__}")
    return player.transcript


SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__] = function
    return function


def variants(**arguments: Any) -> Callable[[Callable[..., None]], None]:
    """Make a scenario of each keyword, which is called with its value."""

    def register(function: Callable[..., None]) -> None:
        for suffix, argument in arguments.items():
            SCENARIOS[f"{function.__name__}_{suffix}"] = bind(function, argument)

    def bind(function: Callable[..., None], argument: Any) -> Scenario:
        return lambda player: function(player, argument)

    return register


def by_close_frame(player: Player) -> None:
    player.send(close_frame(1001))
    player.read()
    by_fin(player)  # as clients do, at the latest when some seconds have passed


def by_fin(player: Player) -> None:
    with contextlib.suppress(OSError):
        player.peer.socket.shutdown(socket.SHUT_WR)


def by_reset(player: Player) -> None:
    player.leave(abruptly=True)


ENDS: dict[str, Scenario] = {
    "by_close_frame": by_close_frame,
    "by_fin": by_fin,
    "by_reset": by_reset,
}


# --- receiving


@scenario
def receive_text_and_binary(player: Player) -> None:
    player.open("/record/{name}")
    player.send(frame(TEXT, b"one"), frame(TEXT, "\u4f60\u597d".encode()), frame(BINARY, b"\xff\0"))
    player.notes(3)


@scenario
def receive_empty(player: Player) -> None:
    player.open("/record/{name}")
    player.send(frame(TEXT), frame(BINARY), frame(TEXT, b"behind"))
    player.notes(3)


@variants(medium=126, large=70_000)
def receive(player: Player, size: int) -> None:
    player.open("/echo")
    player.send(frame(TEXT, b"x" * size))
    player.read()


@variants(**ENDS)
def iterate_to_the_end(player: Player, end: Scenario) -> None:
    player.open("/record/{name}")
    player.send(frame(TEXT, b"one"), frame(TEXT), frame(TEXT, b"two"))
    wait_for(player, 3)
    end(player)
    player.notes(4)


@variants(**ENDS)
def wait_to_the_end(player: Player, end: Scenario) -> None:
    player.open("/record_waiting/{name}")
    player.send(frame(TEXT, b"one"), frame(BINARY, b"two"))
    wait_for(player, 2)
    end(player)
    player.notes(7)


@scenario
def break_out_of_iterations(player: Player) -> None:
    player.open("/record_breaking/{name}")
    player.send(frame(TEXT, b"one"), frame(TEXT, b"two"), frame(TEXT, b"three"), close_frame())
    player.notes(4)


@scenario
def poll(player: Player) -> None:
    player.open("/polls/{name}")
    player.read()
    player.send(frame(TEXT, b"last"), close_frame())
    player.open_gate()
    player.notes(10)


@variants(**ENDS)
def poll_after_the_end(player: Player, end: Scenario) -> None:
    player.open("/polls_after_the_end/{name}")
    end(player)
    player.open_gate()
    player.notes(4)


@scenario
def wait_with_timeout(player: Player) -> None:
    player.open("/time_outs/{name}")
    player.read()
    for message in (b"polled", b"int", b"keyword", b"none"):
        player.send(frame(TEXT, message))
        if message != b"none":
            player.read()
    player.notes(8)


@scenario
def wait_with_negative_timeout(player: Player) -> None:
    player.open("/waits_for_ever/{name}")
    player.send(frame(TEXT, b"at last"))
    player.notes(1)


@scenario
def message_beside_the_handshake(player: Player) -> None:
    player.shake_hands("/record/{name}", behind=frame(TEXT, b"early"))
    player.notes(1)


@scenario
def ping(player: Player) -> None:
    player.open("/record/{name}")
    player.send(frame(PING, b"are you there"), frame(TEXT, b"message"))
    player.read()
    player.notes(1)


@scenario
def ping_while_polled(player: Player) -> None:
    player.open("/polls/{name}")
    player.read()
    player.send(frame(PING, b"are you there"), frame(TEXT, b"last"), close_frame())
    player.open_gate()
    player.read()
    player.notes(10)


@scenario
def unsolicited_pong(player: Player) -> None:
    player.open("/record/{name}")
    player.send(frame(PONG, b"heartbeat"), frame(TEXT, b"message"))
    player.notes(1)


@scenario
def fragments(player: Player) -> None:
    player.open("/record/{name}")
    player.send(frame(TEXT, b"one ", fin=False), frame(CONTINUATION, b"two"))
    player.send(frame(TEXT, b"whole"))
    player.notes(2)


@variants(
    unmasked=frame(TEXT, b"bare", mask=None),
    no_utf_8=frame(TEXT, b"\xff"),
    reserved_bit=frame(TEXT, b"marked", reserved=4),
    reserved_opcode=frame(3, b"unheard of"),
    close_code_1005=close_frame(1005),
    close_of_one_byte=frame(CLOSE, b"\x03"),
)
def broken_frame(player: Player, broken: bytes) -> None:
    player.open("/record/{name}")
    player.send(broken)
    player.read()
    player.notes(1)


# --- sending


@scenario
def send_all_types(player: Player) -> None:
    player.open("/sends/{name}")
    player.read(4)
    player.notes(4)


@scenario
def send_empty(player: Player) -> None:
    player.open("/sends_empty/{name}")
    player.read(2)
    player.notes(2)


@variants(
    chinese_bytes="/sends_chinese_bytes",
    chinese_text="/sends_chinese_text",
    bytes_that_are_no_text="/sends_no_text",
    medium="/sends_large/126",
    large="/sends_large/70000",
)
def send(player: Player, path: str) -> None:
    player.open(path)
    player.read()
    player.send(close_frame())
    player.read()


@scenario
def send_with_flag(player: Player) -> None:
    player.open("/sends_with_flag/{name}")
    player.notes(2)


@scenario
def send_nonsense(player: Player) -> None:
    player.open("/sends_nonsense/{name}")
    wait_for(player, 4)
    player.send(close_frame())
    player.notes(7)


@variants(**ENDS)
def send_after_the_end(player: Player, end: Scenario) -> None:
    player.open("/goes_on_sending/{name}")
    wait_for(player, 1)
    end(player)
    player.open_gate()
    player.notes(3)


@scenario
def send_before_any_read(player: Player) -> None:
    player.open("/sends_first/{name}")
    player.read(2)
    player.open_gate()
    player.read()


@scenario
def broadcast_past_the_dead(player: Player) -> None:
    for user in ("ada", "bob", "cyd"):
        player.open("/join/{name}/" + user)
        player.read()
    first, dead, last = player.peers
    dead.leave(abruptly=True)
    player.get("/broadcast/{name}?message=hello")
    player.read(peer=first)
    player.read(peer=last)


@scenario
def broadcast_twice_to_the_dead(player: Player) -> None:
    player.open("/join/{name}/ada")
    player.read()
    player.send(close_frame())
    player.read()
    player.get("/broadcast/{name}?message=one")
    player.get("/broadcast/{name}?message=two")


@scenario
def read_from_another_view(player: Player) -> None:
    player.open("/join/{name}/ada")
    player.read()
    player.get("/read/{name}/ada")


@scenario
def close_from_another_view(player: Player) -> None:
    player.open("/wait_in/{name}/ada")
    player.read()
    player.get("/close/{name}/ada")
    player.read()
    player.notes(1)


# --- requests


@scenario
def plain_http_and_socket(player: Player) -> None:
    player.open("/both/{name}")
    player.read()
    player.get("/both/{name}")
    player.post("/both/{name}", message="HELLO")
    player.notes(3)


@variants(inside="/exempt_inside", outside="/exempt_outside")
def csrf_exempt(player: Player, path: str) -> None:
    answer = post(player.server, path, {"message": "HELLO"}, {})
    player.write(f"{answer.status} {answer.text if answer.status == 200 else ''}")


@variants(required="/required", attributes="/attributes", names="/names", class_view="/class")
def plain_http(player: Player, path: str) -> None:
    player.get(path)


@variants(
    login_required="/members",
    middleware="/forbidden/",
    no_such_page="/no-such-page",
    plain_view="/attributes",
)
def refused(player: Player, path: str) -> None:
    player.shake_hands(path)


@variants(no_key="Sec-WebSocket-Key", no_version="Sec-WebSocket-Version")
def malformed_handshake(player: Player, header: str) -> None:
    player.shake_hands("/echo", without=header)


@scenario
def refused_inside(player: Player) -> None:
    player.open("/members_inside")
    player.finish()


@scenario
def decorator_that_hides_what_is_in_it(player: Player) -> None:
    if player.shake_hands("/hidden"):
        player.send(frame(TEXT, b"hello"))
        player.read()


@scenario
def what_the_request_tells(player: Player) -> None:
    path = "/everything/2019/hello-world/?q=1&q=%E4%BD%A0"
    player.shake_hands(path, **{"Cookie": "flavour=oatmeal", "User-Agent": "an old browser"})
    payload = json.loads(player.peer.read_frame().payload)
    payload["host"] = payload["host"].replace(str(player.server.port), "PORT")
    player.write(json.dumps(payload))


@scenario
def subprotocols(player: Player) -> None:
    player.shake_hands("/echo", **{"Sec-WebSocket-Protocol": "chat, superchat"})


@variants(dispatch="/class", get="/class/get", static="/class/static")
def method(player: Player, path: str) -> None:
    player.open(path)
    player.send(frame(TEXT, b"hello"))
    player.read()
    player.send(close_frame())
    player.read()


# --- the end of a view


@variants(none="none", response="response", json="json", zero="zero", false="false")
def view_returns(player: Player, kind: str) -> None:
    player.open(f"/returns/{kind}")
    player.finish()


@variants(none="none", response="response", zero="zero")
def view_returns_after_the_end(player: Player, kind: str) -> None:
    player.open(f"/returns_at_the_end/{kind}")
    player.send(close_frame(4001, b"bye"))
    player.finish()


@variants(
    raises="/raises",
    closes="/closes",
)
def view(player: Player, path: str) -> None:
    player.open(path)
    player.finish()


@variants(
    none_is_no_text="/raises_at_the_end/{name}",
    none_is_no_json="/loads_at_the_end/{name}",
    eof_error="/waits_too_often/{name}",
)
def exception_after_the_end(player: Player, path: str) -> None:
    player.open(path)
    player.send(close_frame())
    player.read()
    player.notes(1)


@variants(
    code_and_reason=close_frame(4001, b"bye"),
    code=close_frame(1001),
    nothing=close_frame(None),
)
def peer_closes_with(player: Player, closing: bytes) -> None:
    player.open("/echo")
    player.send(frame(TEXT, b"one"), closing)
    player.read(2)


@scenario
def closed_by_the_view(player: Player) -> None:
    player.open("/closed_by_itself/{name}")
    player.send(frame(TEXT, b"begin"))
    player.read(2)
    player.send(close_frame())
    player.notes(8)


@scenario
def closed_by_the_view_that_polls(player: Player) -> None:
    player.open("/polls_when_closed_by_itself/{name}")
    player.send(frame(TEXT, b"begin"))
    player.read()
    player.notes(4)


@scenario
def closed_by_the_view_in_a_loop(player: Player) -> None:
    player.open("/closed_in_a_loop/{name}")
    player.send(frame(TEXT, b"one"), frame(TEXT, b"quit"))
    player.read()
    player.notes(3)


@variants(**ENDS)
def is_closed_without_reading(player: Player, end: Scenario) -> None:
    player.open("/watches_is_closed/{name}")
    wait_for(player, 1)
    end(player)
    player.notes(2)


@scenario
def is_closed_with_messages_left(player: Player) -> None:
    player.open("/waits_while_open/{name}")
    wait_for(player, 1)
    player.send(frame(TEXT, b"one"), frame(TEXT, b"two"), close_frame())
    player.open_gate()
    player.notes(4)


@variants(**ENDS)
def closed_tells_of_the_view_only(player: Player, end: Scenario) -> None:
    player.open("/closed_by_the_peer/{name}")
    end(player)
    player.notes(1)


# --- the object


@scenario
def identity(player: Player) -> None:
    player.open("/identity/{name}")
    player.notes(1)


@scenario
def select(player: Player) -> None:
    player.open("/selects/{name}")
    player.read()
    player.send(frame(TEXT, b"one"), frame(TEXT, b"two"))
    wait_for(player, 3)
    player.send(close_frame())
    player.notes(4)


@scenario
def select_by_number(player: Player) -> None:
    player.open("/selects_by_number/{name}")
    player.read()
    for message in (b"one", b"two"):
        player.send(frame(TEXT, message))
        player.read()
    player.send(close_frame())
    player.notes(3)


@scenario
def protocol_close(player: Player) -> None:
    player.open("/protocol_closes/{name}")
    player.read()
    player.notes(2)


@scenario
def loop_of_send_and_wait(player: Player) -> None:
    player.open("/traps/sends_and_waits/{name}")
    for _ in range(2):
        player.read()
        player.send(frame(TEXT, b"tock"))
    player.read()
    player.send(close_frame())
    player.notes(3)


def wait_for(player: Player, count: int) -> None:
    """Wait until so much has been noted, and write nothing."""
    deadline = time.monotonic() + DEADLINE
    while len(notes_of(player.server, player.name)) < count and time.monotonic() < deadline:
        time.sleep(0.02)
