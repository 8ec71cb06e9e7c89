"""Clips by name, by bytes and by time."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairplay.run.clips import encode, save_clip
from pairplay.web.media import byte_range, clip_times, find_clip


@pytest.mark.parametrize(("length", "fps"), [(25, 15.0), (30, 20.0), (1, 15.0), (13, 12.5), (25, 60 / 7)])
def test_the_times_of_a_clip_are_those_it_was_encoded_with(tmp_path: Path, length: int, fps: float) -> None:
    name = save_clip(tmp_path, encode(np.zeros((length, 16, 16, 3), np.uint8), fps))
    times = clip_times(tmp_path / f"{name}.mp4")
    assert times is not None
    assert times.fps == pytest.approx(fps, rel=1e-3)
    assert times.seconds == pytest.approx(length / fps, rel=1e-3)


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def test_what_is_no_film_has_no_times(tmp_path: Path) -> None:
    header = box(b"mdhd", bytes(12) + struct.pack(">II", 0, 0))  # no ticks a second
    table = box(b"minf", box(b"stbl", box(b"stts", bytes(8))))
    for number, data in enumerate(
        [
            b"",
            b"no film",
            bytes(8),
            struct.pack(">I4s", 1, b"moov"),
            struct.pack(">I4sQ", 1, b"free", 0),
            struct.pack(">I4s", 7, b"moov"),
            box(b"moov", b""),
            box(b"moov", box(b"trak", box(b"mdia", box(b"mdhd", b"")))),
            box(b"moov", box(b"trak", box(b"mdia", header + table))),
            box(b"moov", box(b"trak", box(b"mdia", header + box(b"minf", box(b"stbl", box(b"stts", b"\xff" * 8)))))),
        ]
    ):
        path = tmp_path / str(number)
        path.write_bytes(data)
        assert clip_times(path) is None, data
    assert clip_times(tmp_path / "absent") is None


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("clip") / "x.mp4"
    path.write_bytes(box(b"moov", box(b"trak", box(b"mdia", data))))
    clip_times(path)


def test_a_clip_is_found_by_its_whole_name_only(tmp_path: Path) -> None:
    name = "0123456789abcdef" * 4
    (tmp_path / f"{name}.mp4").write_bytes(b"film")
    assert find_clip(tmp_path, name) == tmp_path / f"{name}.mp4"
    (tmp_path / f"{'a' * 64}.mp4").symlink_to(tmp_path / f"{name}.mp4")
    (tmp_path / f"{'b' * 64}.mp4").mkdir()
    for other in ("", name[:-1], name + "0", name.upper(), f"../{name}", f"{name}\n", "a" * 64, "b" * 64, "c" * 64):
        assert find_clip(tmp_path, other) is None
    inner = tmp_path / "clips"
    (inner / name).mkdir(parents=True)
    assert find_clip(inner, f"{name}/../../{name}") is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", range(0, 1)),
        ("bytes=2-5", range(2, 6)),
        ("bytes=2-", range(2, 10)),
        ("bytes=2-99", range(2, 10)),
        ("bytes=-3", range(7, 10)),
        ("bytes=-99", range(0, 10)),
        ("bytes=-0", range(10, 10)),
        ("bytes=10-", range(10, 10)),
        ("bytes=50-60", range(50, 10)),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes", None),
        (f"bytes={'9' * 30}-", None),
    ],
)
def test_ranges_by_hand(header: str | None, expected: range | None) -> None:
    assert byte_range(header, 10) == expected
