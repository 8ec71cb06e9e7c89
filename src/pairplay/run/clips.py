"""Clips: short H.264 films that any browser plays, named by the sha256 of their bytes. Knows no environment."""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from pairplay.types import Picture, UserError

# L pictures, H x W their size

SMALL_SIDE = 256
"""Pictures whose sides are all below this are doubled before encoding.

H.264 as browsers play it keeps one colour for each 2 x 2 pixels; doubling gives each pixel of the game its own.
"""
# One thread: clips are encoded beside training, and a second thread would only take its time.
_OPTIONS = {"preset": "veryfast", "crf": "20", "threads": "1"}


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
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=_OPTIONS)
            stream.width, stream.height, stream.pix_fmt = even_width, even_height, "yuv420p"
            # What the conversion from RGB does; a player that has to guess may show other colours.
            stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.SMPTE170M, ColorRange.MPEG
            for picture in pictures:
                if scale > 1:
                    picture = picture.repeat(scale, axis=0).repeat(scale, axis=1)
                margin = ((0, even_height - picture.shape[0]), (0, even_width - picture.shape[1]), (0, 0))
                frame = av.VideoFrame.from_ndarray(np.pad(picture, margin, mode="edge"), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path.read_bytes()


def decode(path: Path) -> Picture:
    """The pictures of a clip, `[L, H, W, 3]`, in the size they had before encoding."""
    try:
        with av.open(path) as container:
            size = container.metadata.get("comment", "")
            pictures = np.stack([_rgb(frame) for frame in container.decode(video=0)])
    except (OSError, av.FFmpegError, ValueError) as error:
        raise UserError(f"cannot read the clip {path}: {error}") from error
    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        return pictures  # not one of ours
    scale = _scale(int(height), int(width))
    pictures = pictures[:, : int(height) * scale, : int(width) * scale]
    if scale == 1:
        return pictures
    shape = (int(width), int(height))
    return np.stack([np.asarray(cv2.resize(p, shape, interpolation=cv2.INTER_AREA), np.uint8) for p in pictures])


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


def _rgb(frame: av.VideoFrame) -> Picture:
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def _scale(height: int, width: int) -> int:
    return 2 if max(height, width) < SMALL_SIDE else 1


def _even(side: int) -> int:
    return side + side % 2
