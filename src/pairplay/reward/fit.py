"""Fit the reward ensemble to answers, for a bounded number of visits. Knows the model and its loss, no storage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from pairplay.reward.losses import preference_loss
from pairplay.reward.model import RewardModel
from pairplay.seeding import rng as seeded
from pairplay.types import Array, BoolArray, Comparison, IntArray, Segment

# E ensemble members, D comparisons, B comparisons of a mini-batch


@dataclass(frozen=True)
class FitMetrics:
    """How a fit went: each comparison as it was predicted just before its last visit. None where nothing counts."""

    loss: float | None
    """Cross-entropy of the comparisons a member trains on, by bootstrap weight, averaged over members."""
    train_accuracy: float | None
    """Share of those whose order the member predicts; ties excluded."""
    val_loss: float | None
    """Cross-entropy of the comparisons a member never trains on."""
    val_accuracy: float | None
    """Share of those whose order the member predicts; ties excluded."""
    pairs: int
    """Visits made."""


@lru_cache(maxsize=2**14)
def _draws(seed: int, members: int, key: int) -> tuple[int, ...]:
    return tuple(int(n) for n in seeded(seed, "bootstrap", key).poisson(1.0, members))


def bootstrap_weights(seed: int, members: int, keys: Sequence[int]) -> IntArray:
    """How often each member trains on each comparison, `[E, D]`: Poisson(1), fixed by (seed, member, key).

    The streaming form of |D| draws with replacement (Oza & Russell 2001): a draw never changes when more
    answers arrive, so what is held out of a member (weight 0, a share 1/e) stays held out for good.
    A member left with no comparison at all, which happens to the very first few, trains on every one instead.
    """
    draws = [_draws(seed, members, key) for key in keys]
    weight_ED = np.array(draws, dtype=np.int64).reshape(len(draws), members).T.copy()
    weight_ED[weight_ED.sum(1) == 0] = 1
    return weight_ED


def fit(model: RewardModel, comparisons: Sequence[Comparison], *, pairs: int, rng: np.random.Generator) -> FitMetrics:
    """Visit up to `pairs` comparisons in mini-batches, one gradient step each, all members in one pass.

    Only the last `config.buffer` comparisons count. A mini-batch holds each at most once; the held-out figures come
    from the same passes, so they cost nothing. Raises FloatingPointError, with the parameters untouched, if a loss is
    not finite.
    """
    comparisons = comparisons[-model.config.buffer :]
    if not comparisons:
        return FitMetrics(None, None, None, None, 0)
    keys = [comparison.key for comparison in comparisons]
    weight_ED = bootstrap_weights(model.seed, model.config.members, keys)
    mu_D = np.array([comparison.mu for comparison in comparisons], dtype=np.float32)
    seen_D = np.zeros(len(comparisons), dtype=np.bool_)
    loss_ED = np.zeros(weight_ED.shape)
    delta_ED = np.zeros(weight_ED.shape)
    for batch in _batches(rng, len(comparisons), model.config.batch_pairs, pairs):
        loss_ED[:, batch], delta_ED[:, batch] = _step(model, [comparisons[i] for i in batch], weight_ED[:, batch], rng)
        seen_D[batch] = True
    right_ED = (delta_ED > 0) == (mu_D > 0.5)
    held_out_ED = (weight_ED == 0) & seen_D
    strict_D = mu_D != 0.5
    return FitMetrics(
        loss=_mean(loss_ED, weight_ED * seen_D),
        train_accuracy=_mean(right_ED, weight_ED * seen_D * strict_D),
        val_loss=_mean(loss_ED, held_out_ED),
        val_accuracy=_mean(right_ED, held_out_ED & strict_D),
        pairs=max(0, pairs),
    )


def _batches(rng: np.random.Generator, size: int, batch: int, visits: int) -> Iterator[IntArray]:
    """Indices below `size`, without replacement within a pass, `visits` of them in all."""
    while visits > 0:
        order = rng.permutation(size)[:visits]
        visits -= len(order)
        for start in range(0, len(order), batch):
            yield order[start : start + batch]


def _step(
    model: RewardModel, batch: Sequence[Comparison], weight_EB: IntArray, rng: np.random.Generator
) -> tuple[Array, Array]:
    """One gradient step; each comparison's loss and predicted difference before it, `[E, B]` each."""
    place: dict[str, int] = {}
    segments: list[Segment] = []
    for segment in (side for comparison in batch for side in (comparison.left, comparison.right)):
        # A segment that is in several comparisons is evaluated once.
        if place.setdefault(segment.id, len(segments)) == len(segments):
            segments.append(segment)
    return_ES = model.returns(segments, stride=model.config.fit_stride, rng=rng)
    left_EB = return_ES[:, [place[comparison.left.id] for comparison in batch]]
    right_EB = return_ES[:, [place[comparison.right.id] for comparison in batch]]
    mu_B = torch.tensor([comparison.mu for comparison in batch], dtype=torch.float32, device=model.device)
    loss_EB = preference_loss(left_EB, right_EB, mu_B, model.config.error_rate)
    weight = torch.from_numpy(weight_EB).to(model.device)
    # Summed over members: each learns as if it were alone.
    loss = (loss_EB * weight).sum() / len(batch)
    if not torch.isfinite(loss):
        raise FloatingPointError("the reward model's loss is not finite")
    model.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    model.optimizer.step()
    return loss_EB.detach().cpu().numpy(), (left_EB - right_EB).detach().cpu().numpy()


def _mean(value_ED: Array, weight_ED: IntArray | BoolArray) -> float | None:
    total = weight_ED.sum()
    return float((value_ED * weight_ED).sum() / total) if total else None
