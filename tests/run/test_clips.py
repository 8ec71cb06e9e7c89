from __future__ import annotations

import hashlib
import os
from pathlib import Path

import av
import numpy as np
import pytest

from pairplay.run.clips import SMALL_SIDE, decode, encode, save_clip
from pairplay.types import Picture, UserError


def game(length: int = 25, height: int = 210, width: int = 160) -> Picture:
    """Pixel art: a flat background, a bar, and a red dot one pixel wide that crosses the screen."""
    pictures = np.full((length, height, width, 3), (40, 90, 60), np.uint8)
    pictures[:, height // 3 : height // 3 + 2] = (200, 200, 60)
    for t in range(length):
        pictures[t, height // 2, (3 * t) % width] = (255, 0, 0)
    return pictures


def film(tmp_path: Path, pictures: Picture, fps: float = 15.0) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(encode(pictures, fps))
    return path


@pytest.mark.parametrize(
    "size", [(210, 160), (250, 160), (31, 21), (33, 64), (240, 320), (266, 400), (301, 255), (80, 400)]
)
def test_decode_gives_back_what_encode_took(tmp_path: Path, size: tuple[int, int]) -> None:
    pictures = game(6, *size)
    decoded = decode(film(tmp_path, pictures))
    assert decoded.shape == pictures.shape
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - pictures).mean() < 4


def test_a_single_coloured_pixel_survives(tmp_path: Path) -> None:
    """Without doubling, four pixels share one colour and the dot is smeared over them."""
    decoded = decode(film(tmp_path, game()))
    dots = decoded[np.arange(25), 105, 3 * np.arange(25)].astype(int)
    assert (dots[:, 0] - dots[:, 1:].max(1)).min() > 90, dots


def test_a_pixels_colour_does_not_leak_into_the_next(tmp_path: Path) -> None:
    # Converting a doubled picture blends neighbours: tiles of 8 pixels came back 3 grey levels off on average.
    tiles = np.random.default_rng(0).integers(0, 256, (4, 27, 20, 3), dtype=np.uint8)
    pictures = tiles.repeat(8, axis=1).repeat(8, axis=2)[:, :210]
    error = np.abs(decode(film(tmp_path, pictures)).astype(int) - pictures)
    assert error.mean() < 1.0
    assert np.quantile(error, 0.99) < 10


def test_plain_colours_come_back_to_the_last_step(tmp_path: Path) -> None:
    for colour in [(255, 255, 255), (0, 0, 0), (192, 80, 48), (24, 120, 200), (60, 60, 200), (110, 156, 66)]:
        picture = np.full((1, 210, 160, 3), colour, np.uint8)
        off = np.abs(decode(film(tmp_path, picture)).astype(int) - picture).max((0, 1, 2))
        # One byte of film is 1.2 of light and up to 2 of a colour.
        assert off.max() <= 3, (colour, off)


def test_pictures_above_the_limit_are_not_doubled(tmp_path: Path) -> None:
    with av.open(film(tmp_path, game(2, SMALL_SIDE, 100))) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (100, SMALL_SIDE)
    with av.open(film(tmp_path, game(2, SMALL_SIDE - 1, 100))) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (200, 2 * SMALL_SIDE - 2)


@pytest.mark.parametrize("fps", [15.0, 50.0, 125.0, 29.97])
def test_browsers_can_play_it(tmp_path: Path, fps: float) -> None:
    path = film(tmp_path, game(10, 33, 35), fps)
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat"), (
        "the index must come first, or playing waits for the last byte"
    )
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate or 0) == pytest.approx(fps, rel=1e-3)
        assert stream.frames == 10


def test_the_same_pictures_look_the_same(tmp_path: Path) -> None:
    # Not byte for byte: x264 is not that steady, seen once in some hundred encodings on a busy machine.
    first, second = (decode(film(tmp_path, game())).astype(int) for _ in range(2))
    assert np.abs(first - second).mean() < 1.0
    assert np.abs(first - decode(film(tmp_path, 255 - game()))).mean() > 1.0


def test_a_clip_is_small() -> None:
    assert len(encode(game(), 15.0)) < 20_000


def test_one_picture_is_a_clip_and_none_is_not(tmp_path: Path) -> None:
    assert decode(film(tmp_path, game(1))).shape[0] == 1
    with pytest.raises(ValueError, match="at least one picture"):
        encode(game(0), 15.0)


def test_a_film_of_somebody_else_is_decoded_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(game(1, 48, 64)[0], format="rgb24")))
        container.mux(stream.encode(None))
    assert decode(path).shape == (1, 48, 64, 3)


@pytest.mark.parametrize("content", [None, b"", b"no film at all"])
def test_what_is_no_film_is_an_error_that_names_it(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.mp4"):
        decode(path)


def test_save_clip_names_the_file_by_its_content(tmp_path: Path) -> None:
    name = save_clip(tmp_path, b"a film")
    assert name == hashlib.sha256(b"a film").hexdigest()
    assert (tmp_path / f"{name}.mp4").read_bytes() == b"a film"
    assert save_clip(tmp_path, b"a film") == name
    assert len(list(tmp_path.iterdir())) == 1


def test_save_clip_syncs_the_file_before_the_rename_and_the_directory_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(descriptor: int) -> None:
        events.append("directory" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def watched_replace(self: Path, target: Path) -> Path:
        assert self.parent == target.parent, "a rename is only atomic within one file system"
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    save_clip(tmp_path, b"a film")
    assert events == ["file", "rename", "directory"]


def test_save_clip_leaves_nothing_behind_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        save_clip(tmp_path, b"a film")
    assert list(tmp_path.iterdir()) == []
