"""Draw pairs that are worth a question: new, of fresh segments, of recent behaviour, different to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pairplay.queries.asked import Asked
from pairplay.types import IntArray, Segment

# S segments, P candidate pairs


class Candidates:
    """The pairs of `[S]` segments that may still be asked. Each `use` narrows them."""

    def __init__(self, segments: Sequence[Segment], asked: Asked) -> None:
        self.look_S = looks(segments)
        """Segments with the same number look the same."""
        index = {segment.id: i for i, segment in enumerate(segments)}
        self._iteration_S = np.array([segment.iteration for segment in segments], np.int64)
        uses_S = np.array([len(asked.partners(segment.id)) for segment in segments], np.int64)
        # What looks like a segment that was shown is not fresh either: one may be trained on and the other held out.
        self._uses_S = np.bincount(self.look_S, weights=uses_S, minlength=1).astype(np.int64)[self.look_S]
        self.asked_P2 = np.array(
            [
                (i, index[partner])
                for i, segment in enumerate(segments)
                for partner in asked.partners(segment.id)
                if i < index.get(partner, -1)
            ],
            np.int64,
        ).reshape(-1, 2)
        """Asked pairs of which both segments are here."""
        self._free_SS = np.triu(self.look_S[:, None] != self.look_S, k=1)
        self._free_SS[self.asked_P2[:, 0], self.asked_P2[:, 1]] = False

    def draw(self, wanted: int, rng: np.random.Generator, *, repeat: bool) -> IntArray:
        """Up to `wanted` different free pairs in random order, `[P, 2]`, all of the least-used kind that there is.

        Two fresh segments come before a fresh one and a used one, and those before two used ones; then the fewest
        uses. Among equals the newest: pairs are drawn from as few iterations as hold two segments for each pair
        wanted. Without `repeat` only pairs of two fresh segments are drawn.
        """
        order_S = np.lexsort((-self._iteration_S, self._uses_S))
        reach, size = 2 * wanted, len(order_S)
        while wanted and size:
            pair_P2 = self._within(order_S, min(reach, size), repeat=repeat)
            if len(pair_P2):
                return pair_P2[rng.permutation(len(pair_P2))[:wanted]]
            if reach >= size:
                break
            reach *= 2
        return np.empty((0, 2), np.int64)

    def use(self, pair: IntArray) -> None:
        """This pair is going to be asked: it is free no longer, and its segments are used once more."""
        i, j = np.sort(pair)
        self._free_SS[i, j] = False
        for look in self.look_S[[i, j]]:
            self._uses_S[self.look_S == look] += 1

    def _within(self, order_S: IntArray, reach: int, *, repeat: bool) -> IntArray:
        """The least-used free pairs of the first `reach` segments and of those that are in nothing behind the last."""
        last = order_S[reach - 1]
        equal_S = (self._uses_S == self._uses_S[last]) & (self._iteration_S == self._iteration_S[last])
        within = np.union1d(order_S[:reach], np.flatnonzero(equal_S))
        pair_P2: IntArray = within[np.argwhere(self._free_SS[np.ix_(within, within)])]
        uses_P2: IntArray = self._uses_S[pair_P2]
        cost_P = (uses_P2 > 0).sum(1) * (1 + 2 * self._uses_S.max()) + uses_P2.sum(1)
        least: IntArray = pair_P2[cost_P == (cost_P.min(initial=np.iinfo(np.int64).max) if repeat else 0)]
        return least


def looks(segments: Sequence[Segment]) -> IntArray:
    """`[S]` numbers, equal for segments that look the same."""
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(segment.look, len(seen)) for segment in segments], np.int64)
