"""Who trains on what: each member's training and held-out comparisons, split by segment. Knows no network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pairplay.seeding import rng as seeded
from pairplay.types import Array, BoolArray, IntArray, Pair

# E ensemble members, D pairs

BLOCK = 256
"""Keys that share one generator: a generator a key would take longer than all the rest."""
_POISSON = np.array([math.exp(-1.0) / math.factorial(k) for k in range(1, 16)])
TRUNCATED = np.cumsum(_POISSON) / (1.0 - math.exp(-1.0))
"""P[n ≤ 1], P[n ≤ 2], … of Poisson(1) given n ≥ 1."""


@dataclass(frozen=True)
class Split:
    """What every member does with every pair. Weight 0 and not held: it sits out."""

    weight_ED: IntArray
    """How often the member trains on the pair."""
    held_ED: BoolArray
    """Whether the pair validates the member, which then never trains on either of its segments."""

    def take(self, rows: Sequence[int]) -> Split:
        """The split of these rows, the answered ones. A member that none would train trains on all and holds out none.

        That happens among the very first answers only; with no training data there is nothing to validate.
        """
        weight_ED, held_ED = self.weight_ED[:, rows], self.held_ED[:, rows]
        idle_E1 = weight_ED.sum(1, keepdims=True) == 0
        return Split(np.where(idle_E1, 1, weight_ED), held_ED & ~idle_E1)


class Splitter:
    """The sides of all pairs a run asks about: no segment is ever on both sides of a member.

    Pairs are walked by key. One of two unknown segments founds a family; it is held out of a member with probability
    `held_out`, a draw fixed by (seed, member, key). A pair with one known segment gives the other to its family. A
    pair across two families trains a member if both do, validates it if both do, and sits out otherwise. So pairs
    that are added later change nothing for earlier ones, in whatever order answers arrive.

    With `bootstrap` a training pair counts Poisson(1) times, given at least once. With `held_out` = 1/e a pair of two
    unknown segments is then drawn Poisson(1) times in all, the streaming form of |D| draws with replacement (Oza and
    Russell 2001); what is not drawn is held out, as in Christiano et al. 2017, §2.2.3. Without, it counts once and
    all members share the first one's draws.
    """

    def __init__(
        self, seed: int, members: int, *, held_out: float, bootstrap: bool, pairs: Iterable[Pair] = ()
    ) -> None:
        self.seed = seed
        self.members = members
        self.held_out = held_out
        self.bootstrap = bootstrap
        self._pairs: dict[int, Pair] = {}
        self._last = 0
        self._family: dict[int, tuple[int, int]] = {}
        """By key: the keys of the pairs that founded the families of its left and of its right segment."""
        self._founder: dict[str, int] = {}
        self.add(pairs)

    def add(self, pairs: Iterable[Pair]) -> None:
        """Take more pairs in; those that are known already are passed over.

        Costs nothing for the known ones as long as keys rise, as those of a label store do. One that comes in between
        has all pairs walked anew: the sides are those of the whole set, however it was added.
        """
        new = sorted((pair for pair in pairs if pair.key not in self._pairs), key=lambda pair: pair.key)
        self._pairs |= {pair.key: pair for pair in new}
        if new and new[0].key < self._last:
            self._founder, new = {}, [self._pairs[key] for key in sorted(self._pairs)]
        for pair in new:
            left, right = self._founder.get(pair.left_id), self._founder.get(pair.right_id)
            left, right = _first(left, right, pair.key), _first(right, left, pair.key)
            self._founder[pair.left_id], self._founder[pair.right_id] = left, right
            self._family[pair.key] = left, right
            self._last = pair.key

    def __contains__(self, key: int) -> bool:
        return key in self._pairs

    def split(self, keys: Sequence[int]) -> Split:
        """The side of each of these pairs for each member, `[E, D]`. KeyError for one that was never added."""
        family_D2 = np.array([self._family[key] for key in keys], dtype=np.int64).reshape(-1, 2)
        members = self.members if self.bootstrap else 1
        held_ED2 = np.stack(
            [_draws(self.seed, members, family_D)[:, :, 0] < self.held_out for family_D in family_D2.T], axis=2
        )
        times_ED: IntArray = np.ones((members, len(keys)), dtype=np.int64)
        if self.bootstrap:
            draw_ED = _draws(self.seed, members, np.array(keys, dtype=np.int64))[:, :, 1]
            times_ED += np.searchsorted(TRUNCATED, draw_ED, side="right")
        weight_ED = np.where(held_ED2.any(2), 0, times_ED)
        shape = (self.members, len(keys))
        return Split(np.broadcast_to(weight_ED, shape), np.broadcast_to(held_ED2.all(2), shape))


def _first(own: int | None, other: int | None, new: int) -> int:
    return own if own is not None else other if other is not None else new


def _draws(seed: int, members: int, key_D: IntArray) -> Array:
    """Two uniform numbers for each member and key, `[E, D, 2]`."""
    block_D, row_D = np.divmod(key_D, BLOCK)
    draw_ED2 = np.empty((members, len(key_D), 2))
    for block in np.unique(block_D):
        here = np.flatnonzero(block_D == block)
        for member in range(members):
            draw_ED2[member, here] = _block(seed, member, int(block))[row_D[here]]
    return draw_ED2


@lru_cache(maxsize=2**10)
def _block(seed: int, member: int, block: int) -> Array:
    return seeded(seed, f"split/{member}", block).random((BLOCK, 2))
