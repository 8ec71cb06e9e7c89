"""Choose which pairs of segments to ask about. Knows nothing of storage or the web."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, get_args

import numpy as np

from pairplay.config import Strategy
from pairplay.names import unknown
from pairplay.queries.asked import Asked
from pairplay.queries.candidates import Candidates
from pairplay.queries.scores import (
    farthest_first,
    pair_features,
    preference_entropy,
    preference_variance,
    standardise,
)
from pairplay.queries.segments import SegmentPool
from pairplay.types import Array, FloatArray, IntArray, Query, Segment, UserError

# E ensemble members, S segments, P candidate pairs, F features

STRATEGIES: tuple[str, ...] = get_args(Strategy)
SCORES = {"disagreement": preference_variance, "entropy": preference_entropy}
"""What of the returns `[E, P]` of either side is maximised, `[P]`; the others maximise nothing, or distance alone."""
RECENT_CENTRES = 16
"""k-center keeps away from so many of the pairs asked last: each costs a pass over two segments."""


class Ensemble(Protocol):
    """What pairs are judged with."""

    def segment_returns(self, segments: Sequence[Segment]) -> FloatArray:
        """Summed predictions, `[E, S]`."""
        ...

    def features(self, segments: Sequence[Segment]) -> FloatArray:
        """What sets a segment apart from others in the model's eyes, `[S, F]`."""
        ...


def select(
    pool: SegmentPool,
    *,
    count: int,
    strategy: str,
    candidates: int,
    model: Ensemble | None,
    rng: np.random.Generator,
    already_asked: Collection[frozenset[str]],
    question: str,
    repeat: bool = True,
) -> list[Query]:
    """Up to `count` new pairs: the best by `strategy` of `candidates` times as many drawn at random. Fewer if no more
    exist.

    A pair whose ids are in `already_asked` is never drawn, nor two segments that look the same. Segments that stand
    in no query yet come first, and a segment comes twice only when no fresher pair is left; never without `repeat`.
    Which segment is left is a fair coin. `model` is needed by every strategy but `uniform`. Pass an `Asked` that is
    kept between calls: of another collection one is made each time.
    """
    if strategy not in STRATEGIES:
        raise UserError(unknown("query strategy", strategy, STRATEGIES))
    if strategy != "uniform" and model is None:
        raise ValueError(f"{strategy} is measured with a model")
    segments = pool.segments()
    open_pairs = Candidates(segments, already_asked if isinstance(already_asked, Asked) else Asked(already_asked))
    judge = _Judge(strategy, model, segments, open_pairs)
    queries: list[Query] = []
    # Mostly one round. Another one pairs the fresh segments that shared each drawn pair with a chosen one.
    while (wanted := count - len(queries)) > 0:
        pair_P2 = open_pairs.draw(wanted * candidates, rng, repeat=repeat)
        if not len(pair_P2):
            break
        for p, score in judge.best(pair_P2, wanted):
            open_pairs.use(pair_P2[p])
            left, right = (pool[segments[i].id] for i in rng.permutation(pair_P2[p]))
            queries.append(Query(left, right, strategy, score, question))
    return queries


class _Judge:
    """One strategy over one pool; the model sees each segment once."""

    def __init__(
        self, strategy: str, model: Ensemble | None, segments: Sequence[Segment], open_pairs: Candidates
    ) -> None:
        self._score = SCORES.get(strategy.removeprefix("kcenter_"))
        self._spread = strategy.startswith("kcenter")
        self._look_S = open_pairs.look_S
        # The newest of those that are still here: by a rule, since a resumed run does not know in which order it asked.
        self._centre_P2 = open_pairs.asked_P2[np.argsort(open_pairs.asked_P2.max(1), kind="stable")[-RECENT_CENTRES:]]
        if model is not None:
            self._returns = _PerSegment(lambda some: model.segment_returns(some).T, segments)
            self._features = _PerSegment(lambda some: model.features(some), segments)

    def best(self, pair_P2: IntArray, count: int) -> list[tuple[int, float]]:
        """Up to `count` of the drawn pairs, no two of which share a segment, each with what it was chosen for."""
        score_P = np.zeros(len(pair_P2))
        if self._score is not None:
            return_P2E = self._returns[pair_P2]
            score_P = self._score(return_P2E[:, 0].T, return_P2E[:, 1].T)
        ranked_P = np.argsort(-score_P, kind="stable")
        if not self._spread:
            return [(p, float(score_P[p])) for p in self._apart(pair_P2, ranked_P)[:count]]
        if self._score is not None:  # B-Pref's hybrids: of the better half, those unlike each other
            ranked_P = ranked_P[: max(count, len(ranked_P) // 2)]
        feature_PF = standardise(pair_features(self._features[np.concatenate([pair_P2[ranked_P], self._centre_P2])]))
        feature_PF, centre_CF = feature_PF[: len(ranked_P)], feature_PF[len(ranked_P) :]
        look_P2 = self._look_S[pair_P2[ranked_P]]
        clash_PP = (look_P2[:, None, :, None] == look_P2[None, :, None, :]).any((2, 3))
        chosen = farthest_first(feature_PF, centre_CF, clash_PP, count)
        self._centre_P2 = np.concatenate([self._centre_P2, pair_P2[ranked_P[[i for i, _ in chosen]]]])
        return [
            (int(ranked_P[i]), float(score_P[ranked_P[i]]) if self._score is not None else distance)
            for i, distance in chosen
        ]

    def _apart(self, pair_P2: IntArray, ranked_P: IntArray) -> list[int]:
        """Of the pairs in this order, those that share no segment with one before them."""
        taken: set[int] = set()
        chosen = []
        for p, looks in zip(ranked_P.tolist(), self._look_S[pair_P2[ranked_P]].tolist(), strict=True):
            if taken.isdisjoint(looks):
                taken.update(looks)
                chosen.append(p)
        return chosen


class _PerSegment:
    """What `ask` says of single segments, a row each, asked once and only when needed."""

    def __init__(self, ask: Callable[[Sequence[Segment]], Array], segments: Sequence[Segment]) -> None:
        self._ask = ask
        self._segments = segments
        self._rows: dict[int, Array] = {}

    def __getitem__(self, pair_P2: IntArray) -> Array:
        """`[P, 2, …]`"""
        new = [i for i in np.unique(pair_P2).tolist() if i not in self._rows]
        if new:
            self._rows.update(zip(new, self._ask([self._segments[i] for i in new]), strict=True))
        return np.array([[self._rows[i], self._rows[j]] for i, j in pair_P2.tolist()])
