"""A clip on a page: a strip of its pictures, the film itself, and the predicted reward along it. All inline."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np

from pairplay.report.figure import COLOURS
from pairplay.run.clips import decode
from pairplay.types import FloatArray, Picture, UserError

# L pictures, steps of a clip

FILM_BYTES = 100_000
"""Larger films stay out of the page."""
FRAMES = 6
"""Pictures in a strip."""
FRAME_SIDE = 160
"""Their longer side at most, in pixels."""
WIDTH, HEIGHT = 600, 110
"""Of the drawing of rewards, in its own units."""
_MARGIN = 6
_GAP = np.array([230, 232, 234], np.uint8)
"""The colour between two pictures."""


def strip(path: Path, frames: int = FRAMES) -> str | None:
    """An image of pictures from the whole clip, side by side, each above the middle of its time; None without a clip.

    One picture for each equal part of the clip: the drawing below it has the same axis of time.
    """
    try:
        pictures = decode(path)
    except UserError:
        return None
    times = ((np.arange(frames) + 0.5) * len(pictures) / frames).astype(int)
    row = [part for t in times for part in (_small(pictures[t]), _gap(pictures[t]))][:-1]
    data = base64.b64encode(_png(np.concatenate(row, axis=1))).decode()
    return f'<img class="strip" alt="{frames} pictures of the clip" src="data:image/png;base64,{data}">'


def film(path: Path) -> str | None:
    """The clip as a player; None when it is missing or too large."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if len(data) > FILM_BYTES:
        return None
    source = base64.b64encode(data).decode()
    return f'<video controls loop muted playsinline src="data:video/mp4;base64,{source}"></video>'


def reward_line(reward_L: FloatArray, spread_L: FloatArray, bottom: float, top: float) -> str:
    """Predicted reward along a clip, its band one standard deviation of the ensemble, on the scale `bottom … top`.

    A step's values appear where the pointer rests on it.
    """
    length, room = len(reward_L), (top - bottom) or 1.0
    x = ((np.arange(length) + 0.5) * WIDTH / length).astype(np.float32)

    def height(value: FloatArray | float) -> FloatArray:
        share = (np.clip(np.asarray(value, np.float32), bottom, top) - bottom) / room
        return np.asarray(HEIGHT - _MARGIN - share * (HEIGHT - 2 * _MARGIN), np.float32)

    line = _points(x, height(reward_L))
    upper, lower = _points(x, height(reward_L + spread_L)), _points(x[::-1], height(reward_L - spread_L)[::-1])
    zero = float(height(0.0))
    marks = "".join(
        f'<rect x="{t * WIDTH / length:.1f}" width="{WIDTH / length:.1f}" height="{HEIGHT}" fill="transparent">'
        f"<title>step {t + 1}: {signed(reward)} ± {spread:.2g}</title></rect>"
        for t, (reward, spread) in enumerate(zip(reward_L, spread_L, strict=True))
    )
    return (
        f'<svg class="line" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="predicted reward along the clip, {signed(reward_L.mean())} a step on average">'
        f'<line x1="0" x2="{WIDTH}" y1="{zero:.1f}" y2="{zero:.1f}" stroke="#8b9096" stroke-dasharray="5 4"/>'
        f'<polygon points="{upper} {lower}" fill="{COLOURS[0]}" fill-opacity=".18"/>'
        f'<polyline points="{line}" fill="none" stroke="{COLOURS[0]}" stroke-width="2" stroke-linejoin="round"/>'
        f"{marks}</svg>"
    )


def signed(value: float) -> str:
    """Three digits, with a sign that is as wide as the plus."""
    return f"{value:+.3g}".replace("-", "−")


def _points(x: FloatArray, y: FloatArray) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _small(picture: Picture) -> Picture:
    height, width, _ = picture.shape
    share = min(1.0, FRAME_SIDE / max(height, width))
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _gap(picture: Picture) -> Picture:
    return np.broadcast_to(_GAP, (len(_small(picture)), 3, 3))


def _png(picture: Picture) -> bytes:
    done, data = cv2.imencode(".png", picture[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert done
    return bytes(data)
