"""The opening handshake of RFC 6455 section 4.2: every rule, and nothing smuggled in."""

from __future__ import annotations

import base64
from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from adwebsocket.exceptions import HandshakeError
from adwebsocket.protocol.handshake import (
    UpgradeRequest,
    _known_lines,
    check_header,
    check_upgrade,
    choose_subprotocol,
    encode_accept,
    encode_refusal,
    offered_subprotocols,
    parse_request,
    wants_websocket,
)

PROPERTY = settings(max_examples=300, deadline=None, derandomize=True)

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HEADERS = {
    b"host": b"server.example.com",
    b"upgrade": b"websocket",
    b"connection": b"Upgrade",
    b"sec-websocket-key": KEY,
    b"sec-websocket-version": b"13",
}


def headers_with(**changes: bytes | None) -> list[tuple[bytes, bytes]]:
    """Give the headers of a good request with some changed, or left out where None."""
    changed = {name.replace("_", "-").encode(): value for name, value in changes.items()}
    return [(name, value) for name, value in {**HEADERS, **changed}.items() if value is not None]


def refusal_of(
    *, method: str = "GET", version: str = "1.1", headers: list[tuple[bytes, bytes]] | None = None
) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        check_upgrade(method, version, headers_with() if headers is None else headers)
    return caught.value


# Section 1.3: the example of the RFC, from the request to the answer


def test_example_of_section_1_3_is_answered_byte_for_byte() -> None:
    request = parse_request(
        b"GET /chat HTTP/1.1\r\n"
        b"Host: server.example.com\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Origin: http://example.com\r\n"
        b"Sec-WebSocket-Protocol: chat, superchat\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
        b"\r\n"
    )
    key = check_upgrade(request.method, request.http_version, request.headers)
    subprotocol = choose_subprotocol(offered_subprotocols(request.headers), ["chat"])

    assert encode_accept(key, subprotocol) == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"Sec-WebSocket-Protocol: chat\r\n"
        b"\r\n"
    )


@PROPERTY
@given(subprotocol=st.sampled_from([None, "chat", "v2.chat"]))
def test_client_of_websockets_agrees_to_the_answer(subprotocol: str | None) -> None:
    client = ClientProtocol(
        parse_uri("ws://example.com/chat"),
        subprotocols=["chat", "v2.chat"],  # type: ignore[list-item]
    )
    client.send_request(client.connect())
    request = parse_request(b"".join(client.data_to_send()))
    key = check_upgrade(request.method, request.http_version, request.headers)
    client.receive_data(encode_accept(key, subprotocol, [(b"X-Extra", b"1")]))

    assert client.handshake_exc is None
    assert client.subprotocol == subprotocol


# parse_request


def test_request_is_read_with_names_in_lower_case_and_values_without_margins() -> None:
    request = parse_request(
        b"GET /a%20b?c=d HTTP/1.1\r\nHost:x\r\nX-Two: \t two words\t \r\nX-Empty:\r\n\r\n"
    )

    assert request == UpgradeRequest(
        "GET",
        b"/a%20b?c=d",
        "1.1",
        [(b"host", b"x"), (b"x-two", b"two words"), (b"x-empty", b"")],
    )


def test_headers_that_repeat_are_shared_and_secrets_are_not() -> None:
    def parse(*lines: bytes) -> list[tuple[bytes, bytes]]:
        return parse_request(b"\r\n".join([b"GET / HTTP/1.1", *lines, b"", b""])).headers

    lines = [b"Host: x", b"User-Agent: " + b"a" * 200, b"Cookie: a=b", b"authorization: c"]
    lines += [b"X-Long: " + b"a" * 300, b"Sec-WebSocket-Protocol: token"]
    first, second = parse(*lines), parse(*lines)

    assert first == second
    is_shared = [one is other for one, other in zip(first, second, strict=True)]
    assert is_shared == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    "name",
    [
        b"Sec-WebSocket-Key",
        b"SEC-WEBSOCKET-PROTOCOL",
        b"Cookie",
        b"cookie",
        b"Authorization",
        b"Proxy-Authorization",
        b"X-CSRFToken",
        b"X-Forwarded-For",
        b"Referer",
    ],
)
def test_nothing_of_one_client_alone_is_kept(name: bytes) -> None:
    parse_request(b"GET /a-secret HTTP/1.1\r\nHost: x\r\n" + name + b": a-secret\r\n\r\n")

    assert b"secret" not in repr(_known_lines).encode()


def test_lines_that_are_kept_have_a_bound_and_make_room_for_others() -> None:
    def parse(host: bytes) -> tuple[bytes, bytes]:
        return parse_request(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").headers[0]

    for number in range(2000):
        assert parse(b"%d" % number) == (b"host", b"%d" % number)
        assert len(_known_lines) <= 512
    parse(b"x" * 300)

    assert parse(b"behind.example") is parse(b"behind.example")
    assert max(map(len, _known_lines)) <= 256


def test_kept_line_gives_its_name_in_lower_case_whatever_the_client_wrote() -> None:
    head = b"GET / HTTP/1.1\r\nHOST: A\r\nHost: A\r\nhost:A\r\n\r\n"

    assert parse_request(head).headers == parse_request(head).headers == [(b"host", b"A")] * 3


@pytest.mark.parametrize("line", [b"Host : x", b"Host: a\x00b", b"Host"])
def test_malformed_line_is_refused_each_time(line: bytes) -> None:
    for _ in range(2):
        with pytest.raises(HandshakeError, match="header"):
            parse_request(b"GET / HTTP/1.1\r\n" + line + b"\r\n\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET",
        b"GET /",
        b"GET / HTTP/1.1 more",
        b"GET  / HTTP/1.1",
        b"G@T / HTTP/1.1",
        b" / HTTP/1.1",
        b"GET / http/1.1",
        b"GET / FTP/1.1",
        b"GET /\xe9 HTTP/1.1",
    ],
)
def test_malformed_request_line_is_refused(line: bytes) -> None:
    with pytest.raises(HandshakeError, match="request line") as caught:
        parse_request(line + b"\r\nHost: x\r\n\r\n")

    assert caught.value.status == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a?b", b"/a?b"),
        (b"http://example.com/a?b", b"/a?b"),
        (b"HTTPS://example.com:80/a", b"/a"),
        (b"ws://example.com", b"/"),
        (b"wss://example.com/?b", b"/?b"),
        (b"/http://example.com/a", b"/http://example.com/a"),
        (b"ftp://example.com/a", b"ftp://example.com/a"),
        (b"*", b"*"),
    ],
)
def test_target_in_absolute_form_loses_its_origin(target: bytes, path: bytes) -> None:
    assert parse_request(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n").target == path


@pytest.mark.parametrize(
    "line",
    [
        b"no colon",
        b": no name",
        b"space before : colon",
        b" folded: line",
        b"na\xefve: x",
        b"x: a\x00b",
        b"x: a\nb",
        b"x: a\rb",
        b"x: a\x7fb",
        b"",
    ],
)
def test_malformed_header_is_refused(line: bytes) -> None:
    with pytest.raises(HandshakeError, match="header"):
        parse_request(b"GET / HTTP/1.1\r\n" + line + b"\r\nHost: x\r\n\r\n")


@PROPERTY
@given(
    head=st.one_of(
        st.binary(max_size=80), st.binary(max_size=40).map(b"GET / HTTP/1.1\r\n".__add__)
    )
)
def test_any_bytes_are_a_request_or_a_handshake_error(head: bytes) -> None:
    try:
        request = parse_request(head)
    except HandshakeError as error:
        assert error.message  # noqa: PT017 - either outcome is right
    else:
        assert isinstance(request, UpgradeRequest)


# check_upgrade: section 4.2.1, in its order


def test_good_request_gives_its_key() -> None:
    assert check_upgrade("GET", "1.1", headers_with()) == KEY


@pytest.mark.parametrize("method", ["POST", "HEAD", "get", "CONNECT"])
def test_method_other_than_get_is_refused_naming_it(method: str) -> None:
    error = refusal_of(method=method)

    assert error.status == HTTPStatus.BAD_REQUEST
    assert method in error.message


@pytest.mark.parametrize("version", ["0.9", "1.0"])
def test_http_before_1_1_is_refused_naming_it(version: str) -> None:
    assert f"HTTP/{version}" in refusal_of(version=version).message


def test_missing_host_is_refused() -> None:
    assert "Host" in refusal_of(headers=headers_with(host=None)).message


def test_second_host_is_refused() -> None:
    assert "Host" in refusal_of(headers=[*headers_with(), (b"host", b"other")]).message


@pytest.mark.parametrize(
    "value", [None, b"", b"h2c", b"websockets", b"web socket", b"websocket/13"]
)
def test_upgrade_to_something_else_is_refused(value: bytes | None) -> None:
    assert "Upgrade header" in refusal_of(headers=headers_with(upgrade=value)).message


@pytest.mark.parametrize(
    "value", [b"WebSocket", b"WEBSOCKET", b"h2c, websocket", b"websocket ,h2c"]
)
def test_upgrade_is_a_list_without_regard_to_case(value: bytes) -> None:
    assert check_upgrade("GET", "1.1", headers_with(upgrade=value)) == KEY


@pytest.mark.parametrize("value", [None, b"", b"keep-alive", b"close", b"upgraded"])
def test_connection_that_does_not_name_upgrade_is_refused(value: bytes | None) -> None:
    assert "Connection header" in refusal_of(headers=headers_with(connection=value)).message


@pytest.mark.parametrize("value", [b"upgrade", b"keep-alive, Upgrade", b"UPGRADE,close"])
def test_connection_is_a_list_without_regard_to_case(value: bytes) -> None:
    assert check_upgrade("GET", "1.1", headers_with(connection=value)) == KEY


def test_list_header_in_several_lines_is_read_as_one() -> None:
    headers = [*headers_with(connection=b"keep-alive"), (b"connection", b"Upgrade")]

    assert check_upgrade("GET", "1.1", headers) == KEY


def test_missing_version_is_refused() -> None:
    error = refusal_of(headers=headers_with(sec_websocket_version=None))

    assert error.status == HTTPStatus.BAD_REQUEST
    assert "Sec-WebSocket-Version" in error.message


@pytest.mark.parametrize("value", [b"8", b"12", b"14", b"013", b"13, 8", b"\xff"])
def test_version_other_than_13_is_answered_with_426_and_the_right_one(value: bytes) -> None:
    error = refusal_of(headers=headers_with(sec_websocket_version=value))

    assert error.status == HTTPStatus.UPGRADE_REQUIRED
    assert error.headers == ((b"sec-websocket-version", b"13"),)
    assert repr(value.decode("latin-1")) in error.message


def test_second_version_is_refused() -> None:
    error = refusal_of(headers=[*headers_with(), (b"sec-websocket-version", b"13")])

    assert error.status == HTTPStatus.UPGRADE_REQUIRED


def test_endless_version_is_not_repeated_in_full() -> None:
    assert len(refusal_of(headers=headers_with(sec_websocket_version=b"9" * 5000)).message) < 200


def test_missing_key_is_refused() -> None:
    assert "got 0" in refusal_of(headers=headers_with(sec_websocket_key=None)).message


def test_second_key_is_refused() -> None:
    assert "got 2" in refusal_of(headers=[*headers_with(), (b"sec-websocket-key", KEY)]).message


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"x",
        b"not base64 at all!",
        base64.b64encode(b"x" * 15),
        base64.b64encode(b"x" * 17),
        KEY.rstrip(b"="),
        KEY + b"=",
        KEY + b"\n",
        b"\xff" * 24,
    ],
)
def test_key_that_is_not_16_bytes_in_base64_is_refused(key: bytes) -> None:
    assert "16 bytes" in refusal_of(headers=headers_with(sec_websocket_key=key)).message


header_names = st.sampled_from([*HEADERS, b"cookie"])
header_values = st.one_of(st.sampled_from([*HEADERS.values(), b""]), st.binary(max_size=30))


@PROPERTY
@given(headers=st.lists(st.tuples(header_names, header_values), max_size=8))
def test_any_headers_give_a_key_or_a_handshake_error(headers: list[tuple[bytes, bytes]]) -> None:
    try:
        key = check_upgrade("GET", "1.1", headers)
    except HandshakeError as error:
        assert 400 <= error.status < 500  # noqa: PT017 - either outcome is right
    else:
        assert (b"sec-websocket-key", key) in headers


# wants_websocket


@pytest.mark.parametrize("value", [b"websocket", b"WebSocket", b"h2c, websocket"])
def test_request_with_the_upgrade_header_wants_a_websocket(value: bytes) -> None:
    assert wants_websocket([(b"host", b"x"), (b"upgrade", value)])


@pytest.mark.parametrize("headers", [[], [(b"upgrade", b"h2c")], [(b"connection", b"websocket")]])
def test_request_without_it_does_not(headers: list[tuple[bytes, bytes]]) -> None:
    assert not wants_websocket(headers)


# Subprotocols


def test_offered_subprotocols_keep_the_order_of_the_client_over_several_lines() -> None:
    headers = [
        (b"sec-websocket-protocol", b"b, a ,"),
        (b"cookie", b"x"),
        (b"sec-websocket-protocol", b",c"),
    ]

    assert offered_subprotocols(headers) == ["b", "a", "c"]


def test_no_header_offers_nothing() -> None:
    assert offered_subprotocols([(b"host", b"x")]) == []


@pytest.mark.parametrize(
    ("offered", "supported", "chosen"),
    [
        (["a", "b"], ["b", "a"], "b"),
        (["a", "b"], ["c", "b"], "b"),
        (["a"], ["A"], None),
        (["a"], [], None),
        ([], ["a"], None),
    ],
)
def test_subprotocol_is_the_first_of_the_server_that_was_offered(
    offered: list[str], supported: list[str], chosen: str | None
) -> None:
    assert choose_subprotocol(offered, supported) == chosen


# The answers


def test_acceptance_carries_additional_headers_in_their_order() -> None:
    answer = encode_accept(KEY, None, [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")])

    assert answer.endswith(b"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n")
    assert b"Sec-WebSocket-Protocol" not in answer


def test_refusal_is_a_response_that_says_its_length_and_closes() -> None:
    assert encode_refusal(403, [(b"Content-Type", b"text/plain")], b"No.\n") == (
        b"HTTP/1.1 403 Forbidden\r\n"
        b"Content-Type: text/plain\r\n"
        b"Content-Length: 4\r\n"
        b"Connection: close\r\n"
        b"\r\n"
        b"No.\n"
    )


def test_refusal_replaces_headers_that_frame_the_response() -> None:
    answer = encode_refusal(
        302,
        [
            (b"Content-Length", b"1000"),
            (b"TRANSFER-ENCODING", b"chunked"),
            (b"connection", b"keep-alive"),
            (b"Location", b"/login"),
        ],
        b"",
    )

    assert answer == (
        b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )


def test_refusal_with_a_status_of_ones_own_has_no_phrase() -> None:
    assert encode_refusal(499).startswith(b"HTTP/1.1 499 \r\n")


INJECTIONS = [
    (b"X-Evil\r\nSet-Cookie", b"a=1"),
    (b"X-Evil", b"a\r\nSet-Cookie: b=1"),
    (b"X-Evil", b"a\nSet-Cookie: b=1"),
    (b"X-Evil", b"a\rb"),
    (b"X-Evil", b"a\x00b"),
    (b"X Evil", b"a"),
    (b"X-Evil:", b"a"),
    (b"", b"a"),
    (b"X-\xe9", b"a"),
]


@pytest.mark.parametrize(("name", "value"), INJECTIONS)
def test_header_that_would_break_out_raises(name: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match="cannot send the header"):
        encode_accept(KEY, None, [(name, value)])
    with pytest.raises(ValueError, match="cannot send the header"):
        encode_refusal(403, [(name, value)])
    with pytest.raises(ValueError, match="cannot send the header"):
        check_header(name, value)


@pytest.mark.parametrize("value", [b"", b"a b\tc", "é".encode("latin-1"), "é".encode()])
def test_header_that_can_stand_in_an_answer_is_written_as_it_is(value: bytes) -> None:
    check_header(b"X-Good", value)

    assert encode_accept(KEY, None, [(b"X-Good", value)]).endswith(
        b"\r\nX-Good: " + value + b"\r\n\r\n"
    )


@pytest.mark.parametrize("subprotocol", ["chat\r\nSet-Cookie: a=1", "chat\nx", "a\x00b"])
def test_subprotocol_that_would_break_out_raises(subprotocol: str) -> None:
    with pytest.raises(ValueError, match="cannot send the header"):
        encode_accept(KEY, subprotocol)


def test_subprotocol_outside_latin_1_raises() -> None:
    with pytest.raises(ValueError, match="latin-1"):
        encode_accept(KEY, "\u20ac")


@PROPERTY
@given(headers=st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=12)), max_size=4))
def test_no_header_adds_a_line_to_an_answer(headers: list[tuple[bytes, bytes]]) -> None:
    try:
        answer = encode_accept(KEY, None, headers)
    except ValueError:
        return
    assert answer.count(b"\n") == answer.count(b"\r\n") == 5 + len(headers)
