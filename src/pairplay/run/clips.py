"""Clips: short H.264 films that any browser plays, named by the sha256 of their bytes. Knows no environment."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace

from pairplay.types import Picture, UserError

# L pictures, H x W their size

SMALL_SIDE = 256
"""Pictures whose sides are all below this are doubled before encoding.

H.264 as browsers play it keeps one colour for each 2 x 2 pixels; doubling gives each pixel of the game its own.
"""
MOST_FPS = 30.0
"""Simulators may take 125 steps a second; a person sees no more in so many pictures, and drawing them is dear."""
# One thread: clips are encoded beside training, and a second thread would only take its time. The quickest preset looks
# at no picture twice: doubled pictures take less than half the time of "veryfast", for two thirds more bytes. Nor is a
# quantiser chosen for each: that alone took a third of the time (docs/decisions/047). What the preset leaves out and
# costs next to nothing stays, the better coder; and colours, of which there are few, are kept better than light.
# MuJoCo's pictures gain nothing by it.
_DOUBLED = {
    "preset": "ultrafast",
    "coder": "cabac",
    "qp": "22",
    "x264-params": "chroma-qp-offset=-3",
    "threads": "1",
}
_AS_THEY_ARE = {"preset": "superfast", "crf": "23", "threads": "1"}

_LIGHT_RED_BLUE = np.array([[0.299, 0.587, 0.114], [0.5, -0.418688, -0.081312], [-0.168736, -0.331264, 0.5]])
_TO_FILM = np.hstack([_LIGHT_RED_BLUE * [[219 / 255], [224 / 255], [224 / 255]], [[16], [128], [128]]])
"""From RGB to light and both colour differences in the range of films (ITU-R BT.601), and what is added to each."""


def picture_stride(steps_per_second: float) -> int:
    """Steps from one picture of a clip to the next: 1 up to `MOST_FPS`."""
    return math.ceil(steps_per_second / MOST_FPS)


def encode(pictures: Picture, fps: float) -> bytes:
    """`[L, H, W, 3]` pictures as an MP4 (H.264, yuv420p, index first).

    The same pictures look the same each time, but their bytes may differ: now and then x264 decides otherwise. Nothing
    may rely on a clip encoded twice having one name.
    """
    length, height, width, _ = pictures.shape
    if length == 0:
        raise ValueError("a clip needs at least one picture")
    scale = _scale(height, width)
    even_height, even_width = _even(height * scale), _even(width * scale)
    # The muxer rewrites the file's beginning at the end, so it needs a file and not a buffer.
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "clip.mp4"
        container_options = {"movflags": "+faststart", "fflags": "+bitexact"}
        with av.open(path, "w", container_options=container_options) as container:
            container.metadata["comment"] = f"{width}x{height}"
            options = _DOUBLED if scale == 2 else _AS_THEY_ARE
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
            stream.width, stream.height, stream.pix_fmt = even_width, even_height, "yuv420p"
            # What the conversion from RGB does; a player that has to guess may show other colours.
            stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.SMPTE170M, ColorRange.MPEG
            margin = ((0, even_height - height * scale), (0, even_width - width * scale), (0, 0))
            for frame in _doubled(pictures) if scale == 2 else _as_they_are(pictures, margin):
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path.read_bytes()


def decode(path: Path) -> Picture:
    """The pictures of a clip, `[L, H, W, 3]`, in the size they had before encoding."""
    try:
        with av.open(path) as container:
            size = container.metadata.get("comment", "")
            frames = list(container.decode(video=0))
    except (OSError, av.FFmpegError, ValueError) as error:
        raise UserError(f"cannot read the clip {path}: {error}") from error
    if not frames:
        raise UserError(f"cannot read the clip {path}: there is no picture in it")
    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()):  # not one of ours
        return np.stack([np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in frames])
    if _scale(int(height), int(width)) == 2:
        frames = [_halved(frame) for frame in frames]
    pictures = np.stack([np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in frames])
    return pictures[:, : int(height), : int(width)]


def save_clip(directory: Path, data: bytes) -> str:
    """Write `<sha256>.mp4`, whole or not at all, even through a power cut; returns the sha256."""
    name = hashlib.sha256(data).hexdigest()
    clip = directory / f"{name}.mp4"
    if not clip.exists():
        part = directory / f"{name}.{uuid.uuid4().hex}.part"
        try:
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(clip)
        finally:
            part.unlink(missing_ok=True)
    # The new name must be on disk too, before anybody writes down that the clip exists.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return name


def _as_they_are(pictures: Picture, margin: Sequence[tuple[int, int]]) -> Iterator[av.VideoFrame]:
    """A frame for each, its last rows and columns repeated to fill so much of a margin."""
    for picture in pictures:
        yield av.VideoFrame.from_ndarray(np.pad(picture, margin, mode="edge"), format="rgb24")


def _doubled(pictures: Picture) -> Iterator[av.VideoFrame]:
    """A frame of twice the size for each: a pixel's light four times, and its colour once, for all four.

    So no pixel's colour leaks into the next. All are converted at once, as one tall picture, and only then doubled.
    """
    length, height, width, _ = pictures.shape
    converted = cv2.transform(pictures.reshape(length * height, width, 3), _TO_FILM).reshape(pictures.shape)
    # Each byte twice, side by side.
    wide = (converted[..., 0].astype(np.uint16) * 0x0101).view(np.uint8)
    for light, red, blue in zip(wide, converted[..., 1], converted[..., 2], strict=True):
        frame = av.VideoFrame(2 * width, 2 * height, "yuv420p")
        lights, blues, reds = map(_values, frame.planes)
        lights[0::2] = lights[1::2] = light
        blues[:], reds[:] = blue, red
        yield frame


def _halved(frame: av.VideoFrame) -> av.VideoFrame:
    """The inverse of `_doubled`: the mean light of four pixels, and the colour that they share."""
    small = av.VideoFrame(frame.width // 2, frame.height // 2, "yuv444p")
    small.colorspace, small.color_range = Colorspace.SMPTE170M, ColorRange.MPEG
    light, *colours = map(_values, frame.planes)
    pairs = light[0::2].astype(np.uint16) + light[1::2]
    _values(small.planes[0])[:] = (pairs[:, 0::2] + pairs[:, 1::2] + 2) // 4
    for plane, colour in zip(small.planes[1:], colours, strict=True):
        _values(plane)[:] = colour
    return small


def _values(plane: VideoPlane) -> Picture:
    """A plane's own memory, `[height, width]`."""
    memory: Any = plane  # a buffer, which its stubs do not say
    rows = np.frombuffer(memory, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


def _scale(height: int, width: int) -> int:
    return 2 if max(height, width) < SMALL_SIDE else 1


def _even(side: int) -> int:
    return side + side % 2
