"""What travels between processes: it comes as it went, and nothing else does any harm."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwebsocket.groups.messages import (
    Closing,
    Envelope,
    ForeignEnvelopeError,
    Position,
    check_name,
    decode,
    deployment_tag,
    encode,
)
from adwebsocket.protocol.codes import is_close_code_for_wire

PROPERTY = settings(max_examples=60, deadline=None, derandomize=True)
TAG = deployment_tag("secret")
PREFIX = encode(Envelope("room", b""), TAG).partition(b"{")[0]
ALPHABET = "ABCXYZabcxyz0189_.:@/+-"

names = st.text(ALPHABET, min_size=1, max_size=150)
positions = st.builds(Position, st.text(max_size=20), st.integers(0, 10**18 - 1))
addresses = st.builds("{:x}.{}".format, st.integers(0, 2**64), st.integers(0, 10**18 - 1))
bodies = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.binary())
envelopes = st.builds(
    Envelope,
    names,
    bodies,
    st.none() | st.text(st.characters()),
    st.none() | addresses,
    st.none() | positions,
)
reasons = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
codes = st.integers(1000, 4999).filter(is_close_code_for_wire)
closings = st.builds(Closing, names, st.none(), codes, reasons) | st.builds(
    Closing, st.none(), st.text(max_size=40), codes, reasons
)
values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**30)
    | st.floats()
    | st.text()
    | st.sampled_from(["room", "4000", "0a.1", "0a.", ".", "0a.x", "0a.²"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "group": values | st.just("room"),
        "text": values,
        "key": values,
        "exclude": values,
        "position": values | st.lists(values, min_size=2, max_size=2),
        "close": values | st.lists(values, min_size=4, max_size=4),
        "other": values,
    },
)


def decode_or_refuse(data: bytes) -> None:
    """Decode whatever comes; what is taken must be what an honest publisher may send."""
    try:
        item = decode(data, TAG)
    except ForeignEnvelopeError:
        return
    if isinstance(item, Envelope):
        check_name(item.group)
        assert isinstance(item.body, (str, bytes))
        assert item.key is None or isinstance(item.key, str)
    assert decode(encode(item, TAG), TAG) == item
    hash(item)


@PROPERTY
@given(envelopes | closings)
def test_item_comes_as_it_went(item: Envelope | Closing) -> None:
    decoded = decode(encode(item, TAG), TAG)
    assert decoded == item
    assert type(decoded) is type(item)


@PROPERTY
@given(st.binary())
def test_any_bytes_are_refused_in_one_way(data: bytes) -> None:
    decode_or_refuse(data)
    decode_or_refuse(PREFIX + data)


@PROPERTY
@given(values | headers, st.binary(max_size=10))
def test_any_header_is_read_or_refused_in_one_way(header: Any, body: bytes) -> None:
    decode_or_refuse(PREFIX + json.dumps(header).encode() + b"\n" + body)


@PROPERTY
@given(envelopes | closings, st.data())
def test_damaged_item_is_read_or_refused_in_one_way(
    item: Envelope | Closing, data: st.DataObject
) -> None:
    encoded = bytearray(encode(item, TAG))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] = data.draw(st.integers(0, 255))
    decode_or_refuse(bytes(encoded))
    decode_or_refuse(bytes(encoded[:place]))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b'"close"',
        b"null",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"group":' * 100_000,
        b'{"group":"room","position":["a",' + b"9" * 5000 + b"]}",
        b'{"group":"room","position":["a",1000000000000000000]}',
        b'{"group":"room","position":["a",-1]}',
        b'{"group":"room","position":["a",1.0]}',
        b'{"group":"room","position":["a",true]}',
        b'{"group":"room","position":["a",NaN]}',
        b'{"group":"room","position":[1,1]}',
        b'{"group":"room","position":["a"]}',
        b'{"group":"room","position":"a-1"}',
        b'{"group":"room","key":1}',
        b'{"group":"room","key":["x"]}',
        b'{"group":"room","exclude":7}',
        b'{"group":"room","exclude":"here"}',
        b'{"group":"room","exclude":"0a.' + b"9" * 5000 + b'"}',
        b'{"group":""}',
        b'{"group":"a b"}',
        b'{"group":["room"]}',
        b'{"close":"room"}',
        b'{"close":["room",null,1000]}',
        b'{"close":["room",null,"1000","x"]}',
        b'{"close":["room",null,1005,"x"]}',
        b'{"close":["room",null,1e3,"x"]}',
        b'{"close":["room",null,1000,5]}',
        b'{"close":["room",null,1000,"' + b"x" * 124 + b'"]}',
        b'{"close":["room",null,1000,"\\ud800"]}',
        b'{"close":[null,5,1000,""]}',
        b'{"close":[5,null,1000,""]}',
    ],
    ids=lambda header: header[:40].decode("latin-1"),
)
def test_header_with_a_mistake_is_refused(header: bytes) -> None:
    with pytest.raises(ForeignEnvelopeError, match="header cannot be read"):
        decode(PREFIX + header + b"\nbody", TAG)


def test_text_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(ForeignEnvelopeError):
        decode(PREFIX + b'{"group":"room","text":true}\n\xff', TAG)


def test_items_of_another_version_and_of_another_project_are_told_apart() -> None:
    data = encode(Envelope("room", "x"), deployment_tag("another secret"))
    with pytest.raises(ForeignEnvelopeError, match="SECRET_KEY"):
        decode(data, TAG)
    for foreign in (b"", b"adwebsocket/2\n" + data[14:], b'{"type": "chat.message"}'):
        with pytest.raises(ForeignEnvelopeError, match="another version"):
            decode(foreign, TAG)


@pytest.mark.parametrize("name", ["a", "room", ALPHABET, "x" * 150, "user:17", "a/b@c+d-e.f"])
def test_name_of_a_group(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name", ["", "x" * 151, "a b", "a\n", "room*", "{room}", "é", "²", "a\0", "a\ud800", "r[oo]m?"]
)
def test_what_is_no_name_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(ValueError, match=r"1 to 150 letters .*, not "):
        check_name(name)


@pytest.mark.parametrize("name", [None, 5, b"room", ["room"]])
def test_name_of_another_type_is_refused(name: Any) -> None:
    with pytest.raises(TypeError, match=r"must be a str, not "):
        check_name(name)


@PROPERTY
@given(positions)
def test_position_is_read_as_it_was_written(position: Position) -> None:
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    "text", ["", "5", "a", "a-", "a-x", "a-1.0", "a-²", "a-٣", "a-" + "9" * 19, "a-1\n", "a--"]
)
def test_what_is_no_position_is_told(text: str) -> None:
    assert Position.parse(text) is None


@PROPERTY
@given(st.text())
def test_clients_may_send_any_text_as_a_position(text: str) -> None:
    position = Position.parse(text)
    assert position is None or str(position).rpartition("-")[0] == text.rpartition("-")[0]
