"""Pairs are new, of two different segments, fairly sided; disagreement finds what the members dispute."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from time import perf_counter
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairplay.config import Strategy
from pairplay.queries.asked import Asked
from pairplay.queries.segments import SegmentPool
from pairplay.queries.selection import STRATEGIES, select
from pairplay.types import Array, FloatArray, Footage, Query, Segment, UserError

from .examples import make_footage


class Table:
    """An ensemble that knows each segment's returns by heart: `[E, S]`, by the segment's iteration."""

    def __init__(self, returns: Array, features: Array | None = None) -> None:
        self.returns = returns
        self.described = returns.T if features is None else features
        self.calls: list[int] = []

    def segment_returns(self, segments: Sequence[Segment]) -> FloatArray:
        self.calls.append(len(segments))
        found: FloatArray = self.returns[:, [segment.iteration for segment in segments]].astype(np.float32)
        return found

    def features(self, segments: Sequence[Segment]) -> FloatArray:
        found: FloatArray = self.described[[segment.iteration for segment in segments]].astype(np.float32)
        return found


POOL = [make_footage(i) for i in range(8)]


def choose(pool: Sequence[Footage] = POOL, seed: int = 0, **options: Any) -> list[Query]:
    defaults: dict[str, Any] = {"count": 3, "strategy": "uniform", "candidates": 10, "model": None}
    shelf = SegmentPool(999)
    shelf.add(pool)
    return select(
        shelf,
        **(defaults | {"already_asked": set(), "question": "Which is faster?"} | options),
        rng=np.random.default_rng(seed),
    )


def pair(query: Query) -> frozenset[int]:
    return frozenset((query.left.segment.iteration, query.right.segment.iteration))


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
    for strategy in STRATEGIES:
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
    strategy=st.sampled_from(STRATEGIES),
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


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_generator_decides_everything(strategy: str) -> None:
    table = Table(np.random.default_rng(0).normal(size=(3, 8)))
    sides = [
        [(q.left.segment.id, q.right.segment.id) for q in choose(seed=5, strategy=strategy, model=table)]
        for _ in range(2)
    ]
    assert sides[0] == sides[1]


def test_unknown_strategy() -> None:
    with pytest.raises(UserError, match=r"unknown query strategy 'disagreemnt'\. Did you mean 'disagreement'"):
        choose(strategy="disagreemnt")


# -- the other strategies --------------------------------------------------------------------------------------------


def test_the_strategies_are_those_of_the_configuration() -> None:
    assert get_args(Strategy) == STRATEGIES
    for strategy in STRATEGIES:
        queries = choose(count=2, strategy=strategy, model=Table(np.random.default_rng(0).normal(size=(3, 8))))
        assert [query.strategy for query in queries] == [strategy] * 2
    for strategy in set(STRATEGIES) - {"uniform"}:
        with pytest.raises(ValueError, match="measured with a model"):
            choose(strategy=strategy)


def test_entropy_picks_the_closest_pair_not_the_most_disputed() -> None:
    # 2 and 3 are as good as each other for every member; about 6 and 7 the members dispute, but most say 7.
    returns = np.tile(np.arange(8.0) * 20, (3, 1))
    returns[:, 3] = returns[:, 2]
    returns[0, [6, 7]] = returns[0, [7, 6]]
    (query,) = choose(count=1, strategy="entropy", candidates=28, model=Table(returns))
    assert pair(query) == {2, 3}
    assert query.score == pytest.approx(np.log(2.0))
    (query,) = choose(count=1, strategy="disagreement", candidates=28, model=Table(returns))
    assert pair(query) == {6, 7}


def corners(returns: Array | None = None) -> Table:
    """Segments 0–3 and 4–7 are like each other; 7 is like nothing else."""
    described = np.array([[0.0, 0], [0, 0.1], [0.1, 0], [0.1, 0.1], [5, 5], [5, 5.1], [5.1, 5], [90, -90]])
    return Table(np.zeros((3, 8)) if returns is None else returns, described)


def test_kcenter_asks_about_what_is_unlike_the_rest() -> None:
    found = [choose(seed=s, count=2, strategy="kcenter", candidates=14, model=corners()) for s in range(20)]
    # The first is any pair; the second is the farthest from it.
    assert all(7 in pair(queries[0]) | pair(queries[1]) for queries in found)
    assert any(7 not in pair(queries[0]) for queries in found)
    assert all(queries[0].score == 0.0 < queries[1].score for queries in found)


def test_kcenter_keeps_away_from_what_was_asked() -> None:
    ids = [piece.segment.id for piece in POOL]
    for other in (4, 5, 6):
        # All eight segments are used once, so that none is fresher than another.
        pairs = [(7, other), (0, 1), (2, 3), tuple({4, 5, 6} - {other})]
        asked = {frozenset((ids[a], ids[b])) for a, b in pairs}
        (query,) = choose(count=1, strategy="kcenter", candidates=28, model=corners(), already_asked=asked)
        # Near (7, other) and near (0, 1) is known; what is left is one of the near ones with 7.
        assert 7 in pair(query)
        assert pair(query) & {0, 1, 2, 3}
        assert query.score > 0.0


@pytest.mark.parametrize("strategy", ["kcenter_disagreement", "kcenter_entropy"])
def test_hybrids_spread_over_the_better_half(strategy: str) -> None:
    # All think that 7 is best by far. It is unlike the rest, but there is nothing to learn about it.
    returns = np.random.default_rng(0).normal(size=(3, 8)) / 10
    returns[:, 7] = 100.0
    options: dict[str, Any] = {"count": 2, "candidates": 14, "model": corners(returns)}
    spread, best = (
        [choose(seed=seed, strategy=name, **options) for seed in range(10)]
        for name in (strategy, strategy.removeprefix("kcenter_"))
    )
    assert all(7 not in pair(query) for queries in spread for query in queries)
    for some, others in zip(spread, best, strict=True):
        assert pair(some[0]) == pair(others[0]), "the best first"
        assert some[1].score <= others[1].score
    assert any(pair(some[1]) != pair(others[1]) for some, others in zip(spread, best, strict=True))
    (query,) = choose(
        count=1, strategy=strategy, candidates=28, model=Table(np.array([[0.0, 9, 9, 9, 9, 9, 9, 9]] * 3))
    )
    assert query.score == pytest.approx(0.0 if strategy == "kcenter_disagreement" else np.log(2.0))


# -- fresh, recent, different ----------------------------------------------------------------------------------------


def asked_of(*pairs: tuple[int, int]) -> Asked:
    return Asked(frozenset((POOL[a].segment.id, POOL[b].segment.id)) for a, b in pairs)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_fresh_segments_come_first(strategy: str) -> None:
    # 0 and 1 are what everybody disputes, and unlike the rest; but they were asked about.
    returns = np.zeros((3, 8))
    returns[0, :2] = 50
    for seed in range(20):
        queries = choose(seed=seed, count=3, strategy=strategy, model=corners(returns), already_asked=asked_of((0, 1)))
        assert sorted(i for query in queries for i in pair(query)) == [2, 3, 4, 5, 6, 7]


def test_the_least_used_segments_come_when_none_is_fresh() -> None:
    asked = asked_of((0, 1), (0, 2), (0, 3), (1, 4), (2, 5), (3, 6), (4, 6), (1, 5))
    # 7 is fresh; 0, 1 stand in three queries, the others in two.
    for seed in range(20):
        first, second = choose(seed=seed, count=2, already_asked=asked)
        assert 7 in pair(first)
        assert not pair(first) & {0, 1}
        assert not pair(second) & {0, 1}
    assert [len(choose(count=3, already_asked=asked, repeat=False)), len(choose(count=5, repeat=False))] == [0, 4]


def test_every_fresh_segment_is_used_before_any_comes_twice() -> None:
    pool = [make_footage(i) for i in range(60)]
    returns = np.random.default_rng(0).normal(size=(3, 60)).cumsum(1)
    for strategy in STRATEGIES:
        queries = choose(pool, count=30, strategy=strategy, candidates=2, model=Table(returns))
        assert len(frozenset().union(*map(pair, queries))) == 60


def test_the_newest_behaviour_comes_first() -> None:
    pool = [make_footage(i) for i in range(200)]
    for strategy in STRATEGIES:
        (query,) = choose(pool, count=1, strategy=strategy, candidates=10, model=Table(np.zeros((3, 200))))
        assert min(pair(query)) >= 180, "ten pairs are drawn from the twenty newest segments"


def test_segments_of_one_iteration_are_as_new_as_each_other() -> None:
    pool = [
        replace(p, segment=replace(p.segment, iteration=i // 50)) for i, p in enumerate(map(make_footage, range(100)))
    ]
    seen = set()
    for seed in range(200):
        (query,) = choose(pool, seed, count=1, candidates=2)
        seen |= {query.left.segment.id, query.right.segment.id}
    assert {piece.segment.id for piece in pool[50:]} >= seen
    assert len(seen) > 45


def like(piece: Footage, **changes: Any) -> Footage:
    """Another segment that looks the same."""
    return replace(piece, segment=replace(piece.segment, id=piece.segment.id[::-1], **changes))


def test_what_looks_the_same_is_not_compared() -> None:
    twin = like(POOL[0], action=np.ones(2, np.int64))
    nearly = replace(like(POOL[1]), segment=replace(like(POOL[1]).segment, held=POOL[1].segment.frames + 1e-4))
    assert choose([POOL[0], twin]) == []
    assert choose([POOL[1], nearly]) == []
    assert len(choose([POOL[0], twin, POOL[1]])) == 2


def test_what_looks_like_a_shown_segment_is_not_fresh() -> None:
    pool = [*POOL[:6], like(POOL[0])]
    for seed in range(20):
        queries = choose(pool, seed, count=2, already_asked=asked_of((0, 1)))
        assert frozenset().union(*map(pair, queries)) == {2, 3, 4, 5}


def test_a_large_pool_and_many_answers_are_no_work() -> None:
    pool = [make_footage(i) for i in range(512)]
    rng = np.random.default_rng(0)
    ids = [piece.segment.id for piece in pool] + [f"gone {i}" for i in range(6000)]
    asked = Asked(frozenset(ids[i] for i in rng.choice(len(ids), 2, replace=False)) for _ in range(5000))
    table = Table(rng.normal(size=(3, 512)))
    began = perf_counter()
    for strategy in STRATEGIES:
        assert len(choose(pool, count=20, strategy=strategy, model=table, already_asked=asked)) == 20
    assert (perf_counter() - began) / len(STRATEGIES) < 0.5
