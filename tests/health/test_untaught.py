"""Answers that teach nothing are named as such, and only then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pairplay.health.untaught import LEAST_ANSWERS, untaught
from pairplay.labels.records import Counts
from pairplay.types import Comparison, Segment

COUNTS = Counts(asked=0, pending=0, leased=0, answered=0, skipped=0)


def comparisons(*mus: float) -> list[Comparison]:
    side = Segment("s", np.zeros((3, 2)), 0, np.zeros(3, np.int64), env=0, step=0, iteration=0)
    return [Comparison(key, side, side, mu) for key, mu in enumerate(mus)]


def say(mus: tuple[float, ...], skipped: int, budget: int = 100) -> str | None:
    counts = replace(COUNTS, answered=len(mus) + skipped, skipped=skipped)
    return untaught(comparisons(*mus), counts, budget=budget)


@pytest.mark.parametrize(
    ("mus", "skipped"),
    [
        ((), 0),
        ((), LEAST_ANSWERS - 1),
        ((0.5,) * (LEAST_ANSWERS - 1), 50),
        ((0.5,) * LEAST_ANSWERS + (1.0,), 50),
        ((0.0,), 50),
    ],
)
def test_nothing_is_said_of_few_answers_or_where_one_prefers_a_side(mus: tuple[float, ...], skipped: int) -> None:
    assert say(mus, skipped) is None


def test_all_skips_and_what_to_do() -> None:
    told = say((), LEAST_ANSWERS)
    assert told is not None
    assert "All 10 answers so far are skips" in told
    assert "explores until" in told
    spent = say((), LEAST_ANSWERS, budget=LEAST_ANSWERS)
    assert spent is not None
    assert "more --labels" in spent


def test_all_ties_and_what_to_do() -> None:
    told = say((0.5,) * LEAST_ANSWERS, 3)
    assert told is not None
    assert "All 10 answers so far call both clips equally good" in told
    assert "--question" in told
