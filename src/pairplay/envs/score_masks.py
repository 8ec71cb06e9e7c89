"""Where Atari games show score, distance and progress: blacked out for the networks, never for people.

A reward model that can read the score learns to read, not to judge the play. Lives stay visible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Mask = tuple[slice, slice]
"""Rows and columns of a network's frame."""
ROWS_AT_A_TIME = 4
"""What the policy's first convolution moves on by: cut in fours, it sees the rest in the same windows as before."""


@dataclass(frozen=True)
class Rectangle:
    """Rows top..bottom-1 and columns left..right-1 of the emulator's screen."""

    top: int
    bottom: int
    left: int = 0
    right: int = 160

    def scaled(self, height: int, width: int, size: int) -> Mask:
        """The rows and columns of a `size` x `size` frame into which any part of the rectangle falls."""
        rows = slice(self.top * size // height, -(-self.bottom * size // height))
        columns = slice(self.left * size // width, -(-self.right * size // width))
        return rows, columns


_RECTANGLES: dict[str, tuple[Rectangle, ...]] = {
    "alien": (Rectangle(175, 186, left=19, right=70),),
    "assault": (Rectangle(1, 11, left=54, right=104),),
    "asterix": (Rectangle(183, 192, left=54, right=104),),
    "beam_rider": (Rectangle(8, 31, left=56, right=112), Rectangle(31, 42, left=16, right=36)),  # sector; ships left
    "boxing": (Rectangle(4, 13),),  # both scores; the clock below stays
    "breakout": (Rectangle(4, 16, left=32, right=84),),  # beside it: lives
    "enduro": (Rectangle(155, 210),),  # the dashboard: distance, whose last digit spins with the speed, and cars left
    "freeway": (Rectangle(4, 14),),
    "montezuma_revenge": (Rectangle(6, 14, left=56, right=104),),
    "ms_pacman": (Rectangle(186, 195, left=54, right=104),),
    "pong": (Rectangle(0, 22),),
    "qbert": (Rectangle(5, 15, left=32, right=75),),
    "riverraid": (Rectangle(164, 174, left=55, right=104),),  # the fuel gauge below stays
    "seaquest": (Rectangle(8, 18),),
    "space_invaders": (Rectangle(9, 21),),  # the command ship crosses here too, and is hidden with the score
}


def rectangles(game: str) -> tuple[Rectangle, ...]:
    """The rectangles of a game by its ROM name; none for a game that is not listed."""
    return _RECTANGLES.get(game, ())


def rows_to_see(masks: Sequence[Mask], size: int) -> slice:
    """The rows of a `size` x `size` frame without those at its edges that are black from side to side.

    No network need look at rows that never change. In Enduro that is a quarter of the frame, and of all arithmetic.
    """
    across = [rows for rows, columns in masks if columns == slice(0, size)]
    top = max((rows.stop for rows in across if rows.start == 0), default=0)
    bottom = min((rows.start for rows in across if rows.stop == size), default=size)
    return slice(top // ROWS_AT_A_TIME * ROWS_AT_A_TIME, min(size, -(-bottom // ROWS_AT_A_TIME) * ROWS_AT_A_TIME))
