"""A segment's name and bytes: by hand, round trips, and bytes that were tampered with."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pairplay.packing import MAX_BYTES, pack_segment, segment_id, unpack_segment
from pairplay.types import Array, Segment, UserError


def make_segment(
    frames: Array, action: Array, age: int = 0, env: int = 0, step: int = 0, iteration: int = 0
) -> Segment:
    return Segment(segment_id(frames, age, action), frames, age, action, env, step, iteration)


FRAMES = np.arange(6, dtype=np.uint8).reshape(3, 2)
ACTION = np.array([4, 5])
SEGMENT = make_segment(FRAMES, ACTION, age=7, env=1, step=2**40, iteration=3)


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    length, history = draw(st.integers(1, 5)), draw(st.integers(0, 3))
    frame_shape = draw(arrays.array_shapes(max_dims=2, max_side=4))
    shape = (history + length, *frame_shape)
    frames = draw(arrays.arrays(draw(st.sampled_from([np.uint8, np.float32])), shape))
    discrete = arrays.arrays(np.int64, length)
    continuous = arrays.arrays(np.float32, (length, draw(st.integers(1, 3))))
    place = [draw(st.integers(0, 2**50)) for _ in range(4)]
    return make_segment(frames, draw(st.one_of(discrete, continuous)), *place)


def test_id_is_the_sha256_of_what_happened() -> None:
    """So that the name never changes: every stored segment carries it."""
    text = b"age 7\nframes |u1 (3, 2)\n" + bytes([0, 1, 2, 3, 4, 5])
    text += b"\naction <i8 (2,)\n" + bytes([4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0])
    assert segment_id(FRAMES, 7, ACTION) == hashlib.sha256(text).hexdigest()


def test_id_tells_apart_what_is_not_the_same() -> None:
    ids = [
        segment_id(FRAMES, 7, ACTION),
        segment_id(FRAMES, 8, ACTION),
        segment_id(FRAMES.reshape(2, 3), 7, ACTION),
        segment_id(FRAMES.view(np.int8), 7, ACTION),
        segment_id(FRAMES + np.uint8(1), 7, ACTION),
        segment_id(FRAMES, 7, ACTION[::-1]),
        segment_id(FRAMES, 7, ACTION.astype(np.float32)),
    ]
    assert len(set(ids)) == len(ids)


def test_id_does_not_depend_on_how_memory_lies() -> None:
    """A view into a rollout, another byte order and a plain copy are one behaviour."""
    wanted = segment_id(FRAMES, 7, ACTION)
    assert segment_id(np.asfortranarray(FRAMES), 7, ACTION) == wanted
    assert segment_id(np.repeat(FRAMES, 2, axis=0)[::2], 7, ACTION.astype(">i8")) == wanted


@given(segments())
def test_what_is_packed_comes_back(segment: Segment) -> None:
    again = unpack_segment(pack_segment(segment), segment.id)
    for name in ("id", "age", "env", "step", "iteration"):
        assert getattr(again, name) == getattr(segment, name)
    for name in ("frames", "action"):
        found, wanted = getattr(again, name), getattr(segment, name)
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        assert found.tobytes() == wanted.tobytes()


def test_packing_is_deterministic() -> None:
    assert len({pack_segment(SEGMENT) for _ in range(20)}) == 1
    view = replace(SEGMENT, held=np.repeat(FRAMES, 2, axis=0)[::2])
    assert pack_segment(view) == pack_segment(SEGMENT)


@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    """Whatever is done to the bytes, the outcome is the same segment or a UserError that names it."""
    packed = bytearray(pack_segment(SEGMENT))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    _same_or_refused(bytes(packed))


@given(st.data())
def test_a_changed_byte_under_the_compression_is_noticed(data: st.DataObject) -> None:
    plain = bytearray(zlib.decompress(pack_segment(SEGMENT)))
    where = data.draw(st.integers(0, len(plain) - 1))
    plain[where] = data.draw(st.integers(0, 255))
    _same_or_refused(zlib.compress(plain), beside_content=True)


def _same_or_refused(packed: bytes, *, beside_content: bool = False) -> None:
    try:
        segment = unpack_segment(packed, SEGMENT.id)
    except UserError as error:
        assert SEGMENT.id in str(error)  # noqa: PT017 - both outcomes are right
        return
    assert segment.frames.tobytes() == FRAMES.tobytes()
    assert segment.action.tobytes() == ACTION.tobytes()
    assert segment.age == SEGMENT.age
    # Where it came from is not part of its name; zlib's checksum alone covers it.
    if not beside_content:
        assert (segment.env, segment.step, segment.iteration) == (1, 2**40, 3)


def blob(metadata: dict[str, str] | None, **tensors: Array) -> bytes:
    return zlib.compress(safetensors.numpy.save(tensors, metadata=metadata))


PLACE = {"segment": json.dumps({"age": 7, "env": 1, "step": 2, "iteration": 3})}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cut short"),
        (b"not compressed", "incorrect header"),
        (pack_segment(SEGMENT)[:-5], "cut short"),
        (pack_segment(SEGMENT) + b"more", "behind its end"),
        (zlib.compress(b"not safetensors"), "header"),
        (zlib.compress(bytes(MAX_BYTES + 1)), "more than 67108864"),
        (zlib.compress((2**63).to_bytes(8, "little") + b"{}"), "header"),
        (blob(None, frames=FRAMES, action=ACTION), "__metadata__"),
        (blob({"segment": "{"}, frames=FRAMES, action=ACTION), "Expecting"),
        (blob({"segment": "[" * 100_000}, frames=FRAMES, action=ACTION), "recursion"),
        (blob({"segment": '{"age": 7}'}, frames=FRAMES, action=ACTION), "metadata are not age"),
        (blob({"segment": PLACE["segment"].replace("7", "true")}, frames=FRAMES, action=ACTION), "not integers"),
        (blob({"segment": PLACE["segment"].replace("7", "8")}, frames=FRAMES, action=ACTION), "does not hash"),
        (blob(PLACE, frames=FRAMES), "action"),
        (blob(PLACE, frames=FRAMES, action=ACTION[::-1].copy()), "does not hash"),
        (blob(PLACE, frames=FRAMES.astype(np.float64), action=ACTION), "frames must be"),
        (blob(PLACE, frames=FRAMES[0], action=ACTION), "frames must be"),
        (blob(PLACE, frames=FRAMES, action=ACTION.astype(np.float32)), "action must be"),
        (blob(PLACE, frames=FRAMES, action=np.arange(4)), "4 actions do not fit 3 frames"),
    ],
)
def test_malformed_bytes_are_refused_by_name(data: bytes, reason: str) -> None:
    with pytest.raises(UserError, match=rf"segment {SEGMENT.id} is damaged: .*{re.escape(reason)}"):
        unpack_segment(data, SEGMENT.id)


def test_what_is_no_segment_is_not_packed() -> None:
    with pytest.raises(UserError, match=r"does not hash to its id"):
        pack_segment(replace(SEGMENT, age=8))
    with pytest.raises(UserError, match=r"age -1 is negative"):
        pack_segment(make_segment(FRAMES, ACTION, age=-1))
    with pytest.raises(UserError, match=r"0 actions do not fit"):
        pack_segment(make_segment(FRAMES, ACTION[:0]))
    with pytest.raises(UserError, match=r"at most 67108864 are allowed"):
        pack_segment(make_segment(np.zeros((1, MAX_BYTES + 1), np.uint8), ACTION[:1]))
