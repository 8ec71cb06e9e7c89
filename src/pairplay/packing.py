"""A segment's name, and its bytes: what is hashed and what is stored. Knows no room.

A packed segment is a zlib-compressed safetensors file of `frames` and `action`. The same segment
always packs to the same bytes, and bytes that do not hash to the name they carry are refused.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from pairplay.types import Array, Segment, UserError

# K stacked frames, L segment length, F the shape of one frame, A action dimensions

MAX_BYTES = 64 * 2**20
"""An unpacked segment is never larger: a small malicious blob must not fill the memory."""

_PLACE = ("age", "env", "step", "iteration")


def segment_id(frames: Array, age: int, action: Array) -> str:
    """sha256 (hex) of `frames [K-1 + L, *F]`, `age` and `action [L]` or `[L, A]`, their types and shapes included."""
    digest = hashlib.sha256(f"age {int(age)}".encode())
    for name, array in (("frames", _canonical(frames)), ("action", _canonical(action))):
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def pack_segment(segment: Segment) -> bytes:
    """The bytes to store: deterministic for one zlib version. UserError when it is no well-formed segment."""
    fault = _fault(segment)
    if fault:
        raise UserError(f"cannot store segment {segment.id}: {fault}")
    place = {key: int(getattr(segment, key)) for key in _PLACE}
    # One metadata key: safetensors writes several of them in an order that changes from call to call.
    plain = safetensors.numpy.save(
        {"frames": _canonical(segment.frames), "action": _canonical(segment.action)},
        metadata={"segment": json.dumps(place, sort_keys=True)},
    )
    if len(plain) > MAX_BYTES:
        raise UserError(f"cannot store segment {segment.id}: {len(plain)} bytes, at most {MAX_BYTES} are allowed")
    return zlib.compress(plain)


def unpack_segment(data: bytes, id: str) -> Segment:
    """The segment named `id` from its stored bytes. UserError naming it when the bytes are not that segment's."""
    try:
        plain = _decompress(data)
        tensors: dict[str, Array] = safetensors.numpy.load(plain)
        place = _place(plain)
        segment = Segment(id=id, held=tensors["frames"], action=tensors["action"], **place)
    except (zlib.error, safetensors.SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"segment {id} is damaged: {error}. Restore the label store from a copy.") from error
    fault = _fault(segment)
    if fault:
        raise UserError(f"segment {id} is damaged: {fault}. Restore the label store from a copy.")
    return segment


def _canonical(array: Array) -> Array:
    """The same values in C order and little-endian, so that one behaviour has one name on every machine."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def _decompress(data: bytes) -> bytes:
    inflate = zlib.decompressobj()
    plain = inflate.decompress(data, MAX_BYTES)
    if not inflate.eof:
        raise ValueError(f"its bytes are cut short, or unpack to more than {MAX_BYTES}")
    if inflate.unused_data:
        raise ValueError("there are bytes behind its end")
    return plain


def _place(plain: bytes) -> dict[str, int]:
    """Where the segment came from. Reads the header itself: `safetensors.numpy.load` drops the metadata."""
    header_end = 8 + int.from_bytes(plain[:8], "little")
    place: Any = json.loads(json.loads(plain[8:header_end])["__metadata__"]["segment"])
    if not isinstance(place, dict) or sorted(place) != sorted(_PLACE):
        raise ValueError(f"its metadata are not {', '.join(_PLACE)}")
    if any(type(value) is not int for value in place.values()):
        raise ValueError("its metadata are not integers")
    return place


def _fault(segment: Segment) -> str | None:
    """What is wrong with a segment, in words; None when it is sound."""
    frames, action = segment.frames, segment.action
    if frames.dtype not in (np.uint8, np.float32) or frames.ndim < 2:
        return f"frames must be uint8 or float32 [K-1 + L, *F], not {frames.dtype} {frames.shape}"
    if not ((action.dtype == np.int64 and action.ndim == 1) or (action.dtype == np.float32 and action.ndim == 2)):
        return f"action must be int64 [L] or float32 [L, A], not {action.dtype} {action.shape}"
    if not 1 <= len(action) <= len(frames):
        return f"{len(action)} actions do not fit {len(frames)} frames"
    if segment.age < 0:
        return f"age {segment.age} is negative"
    if segment_id(frames, segment.age, action) != segment.id:
        return "its content does not hash to its id"
    return None
