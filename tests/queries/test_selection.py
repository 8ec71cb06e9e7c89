"""Pairs are new, of two different segments, fairly sided; disagreement finds what the members dispute."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairplay.queries.selection import preference_variance, select
from pairplay.types import Array, FloatArray, Footage, Query, Segment, UserError

from .examples import make_footage


class Table:
    """An ensemble that knows each segment's returns by heart: `[E, S]`, by the segment's iteration."""

    def __init__(self, returns: Array) -> None:
        self.returns = returns
        self.calls: list[int] = []

    def segment_returns(self, segments: Sequence[Segment]) -> FloatArray:
        self.calls.append(len(segments))
        found: FloatArray = self.returns[:, [segment.iteration for segment in segments]].astype(np.float32)
        return found


POOL = [make_footage(i) for i in range(8)]


def choose(pool: Sequence[Footage] = POOL, seed: int = 0, **options: Any) -> list[Query]:
    defaults: dict[str, Any] = {"count": 3, "strategy": "uniform", "candidates": 10, "model": None}
    return select(
        pool,
        **(defaults | {"already_asked": set(), "question": "Which is faster?"} | options),
        rng=np.random.default_rng(seed),
    )


def pair(query: Query) -> frozenset[int]:
    return frozenset((query.left.segment.iteration, query.right.segment.iteration))


def test_variance_by_hand() -> None:
    # σ(0) = 1/2 and σ(ln 3) = 3/4: variance (1/8)². A huge difference neither overflows nor warns.
    left = np.array([[0.0, 1e4], [np.log(3.0), 1e4]], np.float32)
    right = np.array([[0.0, -1e4], [0.0, 1e5]], np.float32)
    np.testing.assert_allclose(preference_variance(left, right), [1 / 64, 1 / 4], rtol=1e-6)


def test_disagreement_picks_the_most_disputed_pair() -> None:
    # All agree on everything, but for the order of segments 2 and 3.
    returns = np.tile(np.arange(8.0) * 20, (3, 1))
    returns[0, [2, 3]] = returns[0, [3, 2]]
    table = Table(returns)
    (query,) = choose(count=1, strategy="disagreement", candidates=28, model=table)
    assert pair(query) == {2, 3}
    assert query.strategy == "disagreement"
    # Two members say σ(±20) = 0 or 1, the third the opposite: p = (1, 1, 0) or (0, 0, 1).
    assert query.score == pytest.approx(2 / 9, abs=1e-4)
    assert table.calls == [8]


def test_each_segment_is_evaluated_once_and_only_candidates_are() -> None:
    table = Table(np.zeros((3, 8)))
    choose(count=1, strategy="disagreement", candidates=2, model=table)
    assert len(table.calls) == 1
    assert table.calls[0] <= 4


def test_disagreement_prefers_the_best_of_its_candidates_only() -> None:
    """With few candidates it is nearly uniform; with all of them it is greedy."""
    returns = np.random.default_rng(0).normal(size=(3, 8))
    greedy, modest = (
        np.mean(
            [
                choose(seed=seed, count=1, strategy="disagreement", candidates=c, model=Table(returns))[0].score
                for seed in range(40)
            ]
        )
        for c in (28, 2)
    )
    assert greedy > 1.5 * modest


def test_uniform_says_so() -> None:
    for query in choose():
        assert (query.strategy, query.score, query.question) == ("uniform", 0.0, "Which is faster?")


def test_uniform_draws_all_pairs_alike() -> None:
    counts: dict[frozenset[int], int] = {}
    for seed in range(1400):
        (query,) = choose(seed=seed, count=1)
        counts[pair(query)] = counts.get(pair(query), 0) + 1
    assert len(counts) == 28
    assert min(counts.values()) > 20
    assert max(counts.values()) < 90


def test_sides_are_a_fair_coin() -> None:
    returns = np.arange(24.0).reshape(3, 8)
    for strategy in ("uniform", "disagreement"):
        queries = [choose(seed=s, count=1, strategy=strategy, model=Table(returns))[0] for s in range(400)]
        older_left = np.mean([q.left.segment.iteration < q.right.segment.iteration for q in queries])
        assert 0.42 < older_left < 0.58


def test_one_call_spreads_over_the_segments() -> None:
    # Segment 0 is the most disputed with everyone, yet it comes once.
    returns = np.zeros((3, 8))
    returns[0, 0] = 50
    queries = choose(count=4, strategy="disagreement", candidates=7, model=Table(returns))
    assert len(frozenset().union(*(pair(query) for query in queries))) == 8
    assert 0 in pair(queries[0])


def test_what_was_asked_is_not_asked_again() -> None:
    ids = {piece.segment.iteration: piece.segment.id for piece in POOL}
    asked = {frozenset((ids[a], ids[b])) for a, b in combinations(range(8), 2) if (a, b) != (3, 6)}
    asked |= {frozenset((ids[1], "a segment that left the pool"))}
    (query,) = choose(count=5, already_asked=asked)
    assert pair(query) == {3, 6}


@given(
    size=st.integers(0, 7),
    repeated=st.integers(0, 3),
    count=st.integers(0, 30),
    candidates=st.integers(1, 10),
    strategy=st.sampled_from(["uniform", "disagreement"]),
    seed=st.integers(0, 99),
)
def test_pairs_are_different_and_as_many_as_asked_or_exist(
    size: int, repeated: int, count: int, candidates: int, strategy: str, seed: int
) -> None:
    pool = [*POOL[:size], *POOL[: min(repeated, size)]]
    model = Table(np.random.default_rng(seed).normal(size=(3, 8)))
    queries = choose(pool, seed, count=count, strategy=strategy, candidates=candidates, model=model)
    pairs = [pair(query) for query in queries]
    assert len(pairs) == min(count, size * (size - 1) // 2) == len(set(pairs))
    assert all(len(p) == 2 for p in pairs)


def test_the_generator_decides_everything() -> None:
    table = Table(np.random.default_rng(0).normal(size=(3, 8)))
    sides = [
        [(q.left.segment.id, q.right.segment.id) for q in choose(seed=5, strategy="disagreement", model=table)]
        for _ in range(2)
    ]
    assert sides[0] == sides[1]


def test_unknown_strategy() -> None:
    with pytest.raises(UserError, match=r"unknown query strategy 'disagreemnt'\. Did you mean 'disagreement'"):
        choose(strategy="disagreemnt")
