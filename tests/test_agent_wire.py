"""The codec: frames come out as they went in, however the bytes are cut."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuplug.agent import wire

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
HEADERS = st.dictionaries(st.text(), VALUES, max_size=4)
FRAMES = st.tuples(HEADERS, st.binary(max_size=200))


@given(st.lists(FRAMES, max_size=5))
def test_frames_come_out_as_they_went_in(frames: list[wire.Frame]) -> None:
    decoder = wire.Decoder()
    whole = b"".join(wire.pack(*frame) for frame in frames)
    assert list(decoder.feed(whole)) == frames
    assert (decoder.consumed, decoder.pending) == (len(whole), 0)


@given(FRAMES, FRAMES)
def test_a_cut_at_any_byte_changes_nothing(first: wire.Frame, second: wire.Frame) -> None:
    whole = wire.pack(*first) + wire.pack(*second)
    for cut in range(len(whole) + 1):
        decoder = wire.Decoder()
        found = [*decoder.feed(whole[:cut])]
        assert decoder.consumed + decoder.pending == cut
        assert [*found, *decoder.feed(whole[cut:])] == [first, second]


@given(FRAMES)
def test_single_bytes_are_enough(frame: wire.Frame) -> None:
    decoder = wire.Decoder()
    found = [each for byte in wire.pack(*frame) for each in decoder.feed(bytes([byte]))]
    assert found == [frame]


@given(FRAMES, st.binary(max_size=100))
def test_what_the_caller_does_not_take_stays(frame: wire.Frame, payload: bytes) -> None:
    decoder = wire.Decoder()
    taken = next(iter(decoder.feed(wire.pack(*frame) + wire.pack({"next": 1}, payload))))
    assert taken == frame
    assert decoder.consumed == len(wire.pack(*frame))
    assert list(decoder.feed(b"")) == [({"next": 1}, payload)]


@given(st.binary(max_size=300))
def test_random_bytes_are_frames_or_refused(data: bytes) -> None:
    decoder = wire.Decoder()
    try:
        for header, payload in decoder.feed(data):
            assert isinstance(header, dict)
            assert isinstance(payload, bytes)
    except wire.WireError:
        pass


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">II", wire.MAX_HEADER + 1, 0),
        struct.pack(">II", 2, wire.MAX_PAYLOAD + 1),
        struct.pack(">II", 2, 0) + b"[]",
        struct.pack(">II", 2, 0) + b"\xff\xfe",
        struct.pack(">II", 3, 0) + b"nil",
        b"GPUPLUG 1 error wrong digest\n",
    ],
)
def test_what_is_no_frame_is_refused_before_it_is_waited_for(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        list(wire.Decoder().feed(data))


def test_nothing_over_the_limit_is_packed() -> None:
    with pytest.raises(wire.WireError, match="over the limit"):
        wire.pack({"a": "x" * wire.MAX_HEADER})
    with pytest.raises(wire.WireError, match="over the limit"):
        wire.pack({}, memoryview(bytearray(wire.MAX_PAYLOAD + 1)))


@given(HEADERS, st.binary(max_size=200))
def test_a_value_comes_out_as_it_went_in(header: dict[str, Any], payload: bytes) -> None:
    assert wire.unpack_value(wire.pack_value(header, payload)) == (header, payload)


@given(HEADERS, st.binary(max_size=50), st.binary(min_size=1, max_size=3))
def test_a_value_that_is_cut_or_too_long_is_refused(header: dict[str, Any], payload: bytes, more: bytes) -> None:
    blob = wire.pack_value(header, payload)
    for wrong in [*(blob[:cut] for cut in range(len(blob))), blob + more]:
        with pytest.raises(wire.WireError):
            wire.unpack_value(wrong)


def test_a_header_that_is_no_object_is_refused_in_a_value_too() -> None:
    text = json.dumps([1]).encode()
    with pytest.raises(wire.WireError, match="no object"):
        wire.unpack_value(struct.pack(">IQ", len(text), 0) + text)
