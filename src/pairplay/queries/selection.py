"""Choose which pairs of segments to ask about. Knows nothing of storage or the web."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

import numpy as np

from pairplay.names import unknown
from pairplay.types import Array, FloatArray, Footage, IntArray, Query, Segment, UserError

# E ensemble members, S segments, P candidate pairs

STRATEGIES = ("disagreement", "uniform")


class Ensemble(Protocol):
    """What disagreement is measured with."""

    def segment_returns(self, segments: Sequence[Segment]) -> FloatArray:
        """Summed predictions, `[E, S]`."""
        ...


def select(
    pool: Iterable[Footage],
    *,
    count: int,
    strategy: str,
    candidates: int,
    model: Ensemble | None,
    rng: np.random.Generator,
    already_asked: Collection[frozenset[str]],
    question: str,
) -> list[Query]:
    """Up to `count` new pairs: the best by `strategy` of `candidates · count` drawn at random. Fewer if no more exist.

    A pair whose ids are in `already_asked` is never drawn, nor a segment against itself. One call spreads over the
    segments before it repeats one. Which segment is left is a fair coin. `model` is needed by `disagreement` only.
    """
    if strategy not in STRATEGIES:
        raise UserError(unknown("query strategy", strategy, STRATEGIES))
    footage = list({piece.segment.id: piece for piece in pool}.values())
    pair_P2 = _draw_pairs(footage, count * candidates, rng, already_asked)
    score_P = np.zeros(len(pair_P2))
    if strategy == "disagreement" and len(pair_P2):
        if model is None:
            raise ValueError("disagreement is measured with a model")
        score_P = _disagreement(model, footage, pair_P2)
    queries = []
    for p in _spread(pair_P2, score_P, count, len(footage)):
        left, right = rng.permutation(pair_P2[p])
        queries.append(Query(footage[left], footage[right], strategy, float(score_P[p]), question))
    return queries


def preference_variance(return_left: Array, return_right: Array) -> Array:
    """Variance over the members of P[left ≻ right] = σ(R_left - R_right): `[E, P]` each → `[P]`."""
    # tanh never overflows: σ(x) = (1 + tanh(x / 2)) / 2.
    probability_EP = 0.5 * (1.0 + np.tanh(0.5 * (return_left.astype(np.float64) - return_right)))
    return np.asarray(probability_EP.var(axis=0))


def _draw_pairs(
    footage: Sequence[Footage], wanted: int, rng: np.random.Generator, already_asked: Collection[frozenset[str]]
) -> IntArray:
    """Up to `wanted` different unordered pairs of indices, in random order, `[P, 2]`."""
    index = {piece.segment.id: i for i, piece in enumerate(footage)}
    free = np.triu(np.ones((len(footage), len(footage)), dtype=np.bool_), k=1)
    for ids in already_asked:
        if len(ids) == 2 and ids <= index.keys():
            i, j = sorted(index[id] for id in ids)
            free[i, j] = False
    pair_P2 = np.argwhere(free)
    return pair_P2[rng.permutation(len(pair_P2))[:wanted]]


def _disagreement(model: Ensemble, footage: Sequence[Footage], pair_P2: IntArray) -> Array:
    """All candidates from one batched pass over the different segments among them."""
    used, place = np.unique(pair_P2, return_inverse=True)
    return_ES = model.segment_returns([footage[i].segment for i in used])
    place_P2 = place.reshape(pair_P2.shape)
    return preference_variance(return_ES[:, place_P2[:, 0]], return_ES[:, place_P2[:, 1]])


def _spread(pair_P2: IntArray, score_P: Array, count: int, segments: int) -> list[int]:
    """Indices of up to `count` pairs: least-used segments first, then the highest score, then the order drawn."""
    uses_S = np.zeros(segments, dtype=np.int64)
    chosen: list[int] = []
    rest_P = np.arange(len(pair_P2))
    while len(chosen) < count and len(rest_P):
        uses_P = uses_S[pair_P2[rest_P]].sum(1)
        best = np.lexsort((-score_P[rest_P], uses_P))[0]
        chosen.append(int(rest_P[best]))
        uses_S[pair_P2[rest_P[best]]] += 1
        rest_P = np.delete(rest_P, best)
    return chosen
