"""Serve clips: which file a name means, how long it plays, which bytes were asked for. Decodes nothing.

A label server imports no video library: two numbers from an MP4's index are all it needs.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_CLIP_NAME = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True)
class ClipTimes:
    """How a clip plays."""

    seconds: float
    fps: float


def find_clip(directory: Path, sha256: str) -> Path | None:
    """The file of a clip; None unless `sha256` is 64 lower-case hex digits and names a plain file in `directory`."""
    if not _CLIP_NAME.fullmatch(sha256):
        return None
    path = directory / f"{sha256}.mp4"
    return path if path.is_file() and not path.is_symlink() else None


@lru_cache(maxsize=4096)
def clip_times(path: Path) -> ClipTimes | None:
    """Duration and rate of the MP4 at `path`; None when it is no MP4. Remembered: a clip never changes."""
    try:
        media = _box(_box(_box(path.read_bytes(), b"moov"), b"trak"), b"mdia")
        header = _box(media, b"mdhd")
        (ticks_per_s,) = struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)
        table = _box(_box(_box(media, b"minf"), b"stbl"), b"stts")
        (entries,) = struct.unpack_from(">I", table, 4)
        runs = [struct.unpack_from(">II", table, 8 + 8 * entry) for entry in range(entries)]
        frames, seconds = sum(count for count, _ in runs), sum(count * ticks for count, ticks in runs) / ticks_per_s
        return ClipTimes(seconds, frames / seconds)
    except (OSError, ValueError, struct.error, IndexError, ZeroDivisionError):
        return None


def byte_range(header: str | None, size: int) -> range | None:
    """The bytes that a `Range` header asks for: empty when there are none such; None to send everything.

    Everything is also the answer to what we do not understand, several ranges among them (RFC 9110, §14.2).
    """
    asked = _RANGE.fullmatch(header.replace(" ", "")) if header else None
    if asked is None or asked.group(1, 2) == ("", ""):
        return None
    first, last = asked.groups()
    if first == "":
        return range(max(0, size - int(last)), size)
    if last != "" and int(last) < int(first):
        return None
    return range(int(first), min(size, int(last) + 1) if last else size)


def _box(data: bytes, name: bytes) -> bytes:
    """The content of the first box called `name` (ISO/IEC 14496-12). ValueError without one."""
    start = 0
    while start + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            head = 16
        end = start + size if size else len(data)
        if end < start + head:
            raise ValueError("a box shorter than its own head")
        if kind == name:
            return data[start + head : end]
        start = end
    raise ValueError(f"no {name!r} box")
