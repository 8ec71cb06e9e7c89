"""Queries made of next to nothing, for tests that care about the store and not about what is on the clips."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from pairplay.labels.store import LabelStore
from pairplay.packing import segment_id
from pairplay.types import Footage, Query, Segment


def make_footage(number: int, length: int = 3) -> Footage:
    """A segment that differs from that of any other `number`; its rewards are `number, number + 1, …`."""
    frames = np.full((length, 2), number, np.float32)
    action = np.arange(length)
    segment = Segment(segment_id(frames, 0, action), frames, 0, action, env=0, step=number, iteration=1)
    return Footage(segment, np.zeros((length, 2, 2, 3), np.uint8), number + np.arange(length, dtype=np.float32))


def make_query(number: int) -> Query:
    return Query(make_footage(2 * number), make_footage(2 * number + 1), "uniform", 0.0, f"Question {number}?")


def add(store: LabelStore, number: int) -> int:
    return store.add_query(make_query(number), left_clip=clip(2 * number), right_clip=clip(2 * number + 1), step=number)


def clip(number: int) -> str:
    return f"{number:064x}"


class Clock:
    """A clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.time = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def move(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
