"""permessage-deflate by itself: RFC 7692 sections 7.1 and 7.2, and what means harm."""

from __future__ import annotations

import random
import tracemalloc
import zlib

import pytest
from client_frames import binaries, split
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.headers import parse_extension

from adwebsocket.exceptions import ProtocolError
from adwebsocket.protocol.deflate import Deflate, DeflateOptions, negotiate

PROPERTY = settings(max_examples=150, deadline=None, derandomize=True)
TAIL = b"\x00\x00\xff\xff"
OPTIONS = DeflateOptions()
HELLO = bytes.fromhex("f2 48 cd c9 c9 07 00")
# The same in a block that says it is the last one, and the byte which that makes necessary.
FINAL_HELLO = bytes.fromhex("f3 48 cd c9 c9 07 00 00")

# Pays for a large window only: the same again, 20,000 bytes behind.
FAR_REPETITION = random.Random(1).randbytes(20_000) * 2


def offer(*values: str, options: DeflateOptions | None = OPTIONS) -> tuple[str, Deflate] | None:
    headers = [(b"sec-websocket-extensions", value.encode()) for value in values]
    return negotiate([(b"host", b"x"), *headers], options)


def agree(
    value: str = "permessage-deflate", **options: int
) -> tuple[dict[str, str | None], Deflate]:
    """Give the parameters of the answer and the compression."""
    agreed = offer(value, options=DeflateOptions(**options))
    assert agreed is not None
    ((name, parameters),) = parse_extension(agreed[0])
    assert name == "permessage-deflate"
    assert len(dict(parameters)) == len(parameters)
    return dict(parameters), agreed[1]


def new_deflate(*, takeover: bool = False, **options: int) -> Deflate:
    return agree(
        "permessage-deflate; client_max_window_bits", context_takeover=takeover, **options
    )[1]


class ClientDeflate:
    """The client's side, by zlib alone."""

    def __init__(self, *, takeover: bool = False, bits: int = 12) -> None:
        self._takeover = takeover
        self._bits = bits
        self._begin()

    def _begin(self) -> None:
        self._deflater = zlib.compressobj(wbits=-self._bits)
        self._inflater = zlib.decompressobj(-self._bits)

    def compress(self, payload: bytes) -> bytes:
        if not self._takeover:
            self._begin()
        compressed = self._deflater.compress(payload) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
        return compressed.removesuffix(TAIL)

    def inflate(self, payload: bytes) -> bytes:
        if not self._takeover:
            self._begin()
        return self._inflater.decompress(payload + TAIL)


# Negotiation (section 7.1)


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("",),
        ("x-webkit-deflate-frame",),
        ("permessage-deflate; unknown",),
        ("permessage-deflate; server_no_context_takeover=1",),
        ("permessage-deflate; server_max_window_bits",),
        ("permessage-deflate; server_max_window_bits=7",),
        ("permessage-deflate; server_max_window_bits=16",),
        ("permessage-deflate; server_max_window_bits=012",),
        ("permessage-deflate; client_max_window_bits=7",),
        ("permessage-deflate; client_max_window_bits=x",),
        ("permessage-deflate; client_no_context_takeover; client_no_context_takeover",),
        ("permessage-deflate; =",),
        (";;;",),
        ("permessage-deflate \x01",),
    ],
)
def test_offer_that_cannot_be_taken_leads_to_no_compression(values: tuple[str, ...]) -> None:
    assert offer(*values) is None


def test_smallest_window_that_zlib_cannot_write_is_declined() -> None:
    assert offer("permessage-deflate; server_max_window_bits=8") is None


def test_offer_is_declined_where_compression_is_off() -> None:
    assert offer("permessage-deflate", options=None) is None


def test_bytes_outside_ascii_are_no_offer() -> None:
    headers = [(b"sec-websocket-extensions", b"permessage-deflate; \xff")]

    assert negotiate(headers, DeflateOptions()) is None


def test_first_offer_that_can_be_taken_is_taken() -> None:
    agreed = offer(
        "x-other, permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=10, permessage-deflate",
    )

    assert agreed is not None
    assert "server_max_window_bits=10" in agreed[0]


def test_answer_without_context_takeover_says_so_for_both_sides() -> None:
    parameters, deflate = agree()

    assert parameters == {
        "server_no_context_takeover": None,
        "client_no_context_takeover": None,
        "server_max_window_bits": "12",
    }
    assert not deflate.is_stateful


@pytest.mark.parametrize(
    ("value", "stateful", "said"),
    [
        ("permessage-deflate", True, set()),
        (
            "permessage-deflate; server_no_context_takeover",
            False,
            {"server_no_context_takeover"},
        ),
        ("permessage-deflate; client_no_context_takeover", True, {"client_no_context_takeover"}),
    ],
)
def test_answer_with_context_takeover_says_what_the_client_asked_for(
    value: str, stateful: bool, said: set[str]
) -> None:
    parameters, deflate = agree(value, context_takeover=True)

    assert {name for name in parameters if name.endswith("takeover")} == said
    assert deflate.is_stateful is stateful


@pytest.mark.parametrize(
    ("value", "server", "client"),
    [
        ("permessage-deflate", "12", None),
        ("permessage-deflate; client_max_window_bits", "12", "12"),
        ("permessage-deflate; client_max_window_bits=9", "12", "9"),
        ("permessage-deflate; client_max_window_bits=15", "12", "12"),
        ("permessage-deflate; server_max_window_bits=9", "9", None),
        ("permessage-deflate; server_max_window_bits=15", "12", None),
    ],
)
def test_windows_are_the_smaller_of_offer_and_options(
    value: str, server: str, client: str | None
) -> None:
    parameters, _ = agree(value)

    assert parameters.get("server_max_window_bits") == server
    assert parameters.get("client_max_window_bits") == client


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("bits", [9, 12, 15])
def test_client_of_websockets_agrees_to_the_answer(takeover: bool, bits: int) -> None:
    factory = ClientPerMessageDeflateFactory(client_max_window_bits=True)
    value = "permessage-deflate" + "".join(
        f"; {name}" if argument is None else f"; {name}={argument}"
        for name, argument in factory.get_request_params()
    )
    parameters, _ = agree(value, context_takeover=takeover, window_bits=bits)

    extension = factory.process_response_params(list(parameters.items()), [])

    assert extension.local_no_context_takeover is not takeover
    assert extension.local_max_window_bits == extension.remote_max_window_bits == bits


# The examples of section 7.2.3


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(["f2 48 cd c9 c9 07 00"], id="7.2.3.1 one block"),
        pytest.param(["f2 48 cd", "c9 c9 07 00"], id="7.2.3.1 in two fragments"),
        pytest.param(["00 05 00 fa ff 48 65 6c 6c 6f 00"], id="7.2.3.3 not compressed"),
        pytest.param(["f3 48 cd c9 c9 07 00 00"], id="7.2.3.4 in a final block"),
        pytest.param(["f2 48 05 00 00 00 ff ff ca c9 c9 07 00"], id="7.2.3.5 two blocks"),
    ],
)
def test_example_is_inflated(pieces: list[str]) -> None:
    deflate = new_deflate()
    *before, last = map(bytes.fromhex, pieces)
    inflated = b"".join(deflate.inflate(piece, final=False, room=100) for piece in before)

    assert inflated + deflate.inflate(last, final=True, room=100) == b"Hello"


def test_example_of_two_messages_that_share_a_window_is_inflated() -> None:
    deflate = new_deflate(takeover=True)

    assert deflate.inflate(HELLO, final=True, room=5) == b"Hello"
    assert deflate.inflate(bytes.fromhex("f2 00 11 00 00"), final=True, room=5) == b"Hello"


def test_example_of_an_empty_message_is_inflated() -> None:
    assert new_deflate().inflate(b"\x00", final=True, room=0) == b""


@pytest.mark.parametrize("takeover", [True, False])
def test_message_behind_one_in_a_final_block_is_inflated(takeover: bool) -> None:
    deflate = new_deflate(takeover=takeover)

    for _ in range(3):
        assert deflate.inflate(FINAL_HELLO, final=True, room=5) == b"Hello"
    assert deflate.inflate(HELLO, final=True, room=5) == b"Hello"


@pytest.mark.parametrize("takeover", [True, False])
def test_what_stands_behind_a_final_block_is_not_dropped_in_silence(takeover: bool) -> None:
    deflate = new_deflate(takeover=takeover)
    try:
        inflated = deflate.inflate(FINAL_HELLO[:-1] + HELLO, final=True, room=100)
    except ProtocolError as error:
        assert error.code == 1002  # noqa: PT017 - either outcome is right
    else:
        assert inflated == b"HelloHello"


def test_what_stands_behind_a_final_block_fails_at_once_however_small_its_pieces() -> None:
    # zlib joins it to what came before, so a megabyte in pieces of a byte costs half a minute.
    deflate = new_deflate()
    deflate.inflate(FINAL_HELLO, final=False, room=100)

    with pytest.raises(ProtocolError) as caught:  # noqa: PT012
        for _ in range(10):
            deflate.inflate(b"\x00", final=False, room=100)

    assert caught.value.code == 1002


# Compressing


@pytest.mark.parametrize("length", [0, 255, 256, 1000])
def test_short_messages_are_not_worth_it(length: int) -> None:
    assert new_deflate(minimum_size=256).compresses(bytes(length)) == (length >= 256)


@pytest.mark.parametrize("takeover", [True, False])
@PROPERTY
@given(payloads=st.lists(binaries, max_size=4))
def test_client_inflates_what_was_compressed(takeover: bool, payloads: list[bytes]) -> None:
    deflate = new_deflate(takeover=takeover)
    client = ClientDeflate(takeover=takeover)

    for payload in payloads:
        assert client.inflate(deflate.compress(payload)) == payload


@pytest.mark.parametrize("bits", [9, 12, 15])
def test_window_that_was_agreed_on_suffices_for_what_was_compressed(bits: int) -> None:
    _, deflate = agree(f"permessage-deflate; server_max_window_bits={bits}", window_bits=15)
    inflater = zlib.decompressobj(-bits)
    compressed, inflated = deflate.compress(FAR_REPETITION) + TAIL, b""
    # In small steps, or zlib would look for repetitions in what it gives rather than its window.
    while compressed:
        inflated += inflater.decompress(compressed, 100)
        compressed = inflater.unconsumed_tail

    assert inflated == FAR_REPETITION


def test_compression_of_repeated_messages_pays_with_context_takeover() -> None:
    payload = bytes(value * value >> 3 & 255 for value in range(500))
    once = {takeover: new_deflate(takeover=takeover) for takeover in (True, False)}
    sizes = {
        takeover: [len(deflate.compress(payload)) for _ in range(2)]
        for takeover, deflate in once.items()
    }

    assert sizes[False][0] == sizes[False][1]
    assert sizes[True][1] < sizes[True][0] // 4


# Inflating


@pytest.mark.parametrize("takeover", [True, False])
@PROPERTY
@given(payloads=st.lists(binaries, max_size=4), cuts=st.lists(st.integers(0, 200), max_size=6))
def test_what_the_client_compressed_is_inflated_in_any_pieces(
    takeover: bool, payloads: list[bytes], cuts: list[int]
) -> None:
    deflate = new_deflate(takeover=takeover)
    client = ClientDeflate(takeover=takeover)

    for payload in payloads:
        *before, last = split(client.compress(payload), cuts)
        inflated = b""
        for piece in before:
            inflated += deflate.inflate(piece, final=False, room=len(payload) - len(inflated))
        inflated += deflate.inflate(last, final=True, room=len(payload) - len(inflated))
        assert inflated == payload


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        ("permessage-deflate", 15),  # a client that did not offer to may not be told to use less
        ("permessage-deflate; client_max_window_bits", 12),
        ("permessage-deflate; client_max_window_bits=9", 9),
    ],
)
def test_window_that_was_agreed_on_is_kept_for_what_the_client_compressed(
    value: str, bits: int
) -> None:
    _, deflate = agree(value)
    compressed = ClientDeflate(bits=bits).compress(FAR_REPETITION)
    *before, last = split(compressed, range(50, len(compressed), 50))
    inflated = b"".join(deflate.inflate(piece, final=False, room=100_000) for piece in before)

    assert inflated + deflate.inflate(last, final=True, room=100_000) == FAR_REPETITION


@pytest.mark.parametrize("size", [1, 100, 4096, 1024 * 1024])
@pytest.mark.parametrize("cuts", [[], [1], [5, 10, 50]], ids=str)
def test_message_that_inflates_to_one_byte_too_many_is_1009(size: int, cuts: list[int]) -> None:
    deflate = new_deflate()
    *before, last = split(ClientDeflate().compress(bytes(size)), cuts)
    room = size - 1

    with pytest.raises(ProtocolError) as caught:  # noqa: PT012
        for piece in before:
            room -= len(deflate.inflate(piece, final=False, room=room))
        deflate.inflate(last, final=True, room=room)

    assert caught.value.code == 1009


@pytest.mark.parametrize("room", [0, 1000])
def test_bomb_takes_no_more_memory_than_the_limit(room: int) -> None:
    bomb = ClientDeflate().compress(bytes(64 * 1024 * 1024))
    assert len(bomb) < 128 * 1024
    deflate = new_deflate()

    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError) as caught:
            deflate.inflate(bomb, final=False, room=room)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert caught.value.code == 1009
    assert peak < 1024 * 1024


@pytest.mark.parametrize(
    "payload",
    [b"\xff" * 10, b"\x07", bytes.fromhex("f2 00 11 00 00")],
    ids=["no block", "reserved block type", "reference to nothing"],
)
def test_what_is_no_deflate_data_is_1002(payload: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        new_deflate().inflate(payload, final=True, room=1000)

    assert caught.value.code == 1002


@PROPERTY
@given(pieces=st.lists(st.binary(max_size=60), min_size=1, max_size=4), room=st.integers(0, 2000))
def test_any_bytes_are_inflated_within_the_room_or_a_protocol_error(
    pieces: list[bytes], room: int
) -> None:
    deflate = new_deflate()
    inflated = b""
    try:
        for index, piece in enumerate(pieces, start=1):
            rest = room - len(inflated)
            inflated += deflate.inflate(piece, final=index == len(pieces), room=rest)
    except ProtocolError as error:
        assert error.code in (1002, 1009)  # noqa: PT017 - either outcome is right
    assert len(inflated) <= room
