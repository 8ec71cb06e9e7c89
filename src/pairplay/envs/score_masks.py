"""Where Atari games show score, lives and speed: blacked out for the networks, never for people.

A reward model that can read the score would learn to read, not to judge the play.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Rectangle:
    """Rows top..bottom-1 and columns left..right-1 of the emulator's screen."""

    top: int
    bottom: int
    left: int = 0
    right: int = 160

    def scaled(self, height: int, width: int, size: int) -> tuple[slice, slice]:
        """The rows and columns of a `size` x `size` frame that any pixel of the rectangle reaches."""
        rows = slice(self.top * size // height, math.ceil(self.bottom * size / height))
        columns = slice(self.left * size // width, math.ceil(self.right * size / width))
        return rows, columns


_MASKS: dict[str, tuple[Rectangle, ...]] = {
    "enduro": (Rectangle(160, 210),),
}


def rectangles(game: str) -> tuple[Rectangle, ...]:
    """The rectangles of a game by its ROM name; none for a game that is not listed."""
    return _MASKS.get(game, ())
