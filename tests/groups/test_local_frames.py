"""Frames between processes: whatever the bytes are cut into, the same frames come out."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as some

from adwebsocket.groups.local.frames import ANSWER, MESSAGE, FrameReader, pack, pack_json, read_json
from adwebsocket.groups.messages import ForeignEnvelopeError

MOST = 1000


def read_all(reader: FrameReader) -> list[tuple[bytes, bytes]]:
    frames = []
    while (frame := reader.next_frame()) is not None:
        frames.append(frame)
    return frames


class TestFrameReader:
    @given(
        payloads=some.lists(some.binary(max_size=MOST - 1), max_size=10),
        cuts=some.lists(some.integers(0, 5000)),
    )
    def test_any_cut_gives_the_same_frames(self, payloads: list[bytes], cuts: list[int]) -> None:
        data = b"".join(pack(MESSAGE, payload) for payload in payloads)
        reader = FrameReader(MOST)
        frames = []
        places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        for start, end in itertools.pairwise(places):
            reader.feed(data[start:end])
            frames += read_all(reader)
        assert frames == [(MESSAGE, payload) for payload in payloads]

    @given(data=some.binary())
    def test_any_bytes_are_frames_or_foreign(self, data: bytes) -> None:
        reader = FrameReader(MOST)
        reader.feed(data)
        try:
            read_all(reader)
        except ForeignEnvelopeError:
            pass

    def test_frame_that_is_too_long_is_foreign_before_it_has_come(self) -> None:
        reader = FrameReader(MOST)
        reader.feed(pack(ANSWER, bytes(MOST))[:4])
        with pytest.raises(ForeignEnvelopeError, match="1 to 1000 bytes, not 1001"):
            reader.next_frame()


class TestJson:
    def test_what_was_packed_is_read(self) -> None:
        frame = pack_json(ANSWER, b"tag", ["é", 1])
        reader = FrameReader(MOST)
        reader.feed(frame)
        assert [(kind, read_json(payload, b"tag")) for kind, payload in read_all(reader)] == [
            (ANSWER, ["é", 1])
        ]

    @pytest.mark.parametrize("payload", [b"", b"gat[]", b"tag", b"tag[", b"tag" + b"[" * 100_000])
    def test_what_is_none_of_ours_is_foreign(self, payload: bytes) -> None:
        with pytest.raises(ForeignEnvelopeError):
            read_json(payload, b"tag")
