"""Fit the reward ensemble to answers, for a bounded number of visits. Knows the model and its loss, no storage."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pairplay.config import RewardModelConfig
from pairplay.reward.film import Inputs, unique
from pairplay.reward.losses import preference_loss
from pairplay.reward.model import RewardModel
from pairplay.reward.split import Split, Splitter
from pairplay.types import Array, BoolArray, Comparison, IntArray, Pair

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
    l2: float | None = None
    """L2 coefficient after the fit, averaged over members."""
    loss_ratio: float | None = None
    """Held-out over training loss per comparison, smoothed over fits: what moves `l2`; averaged over members."""


ROUND = 64
"""Visits between two moves of the L2 coefficients within a fit, or a whole pass if that is more: among the first few
answers every pass would be one. The end of a fit moves them too, by the latest loss of each comparison that it met."""


def fit(
    model: RewardModel,
    comparisons: Sequence[Comparison],
    *,
    pairs: int,
    rng: np.random.Generator,
    splitter: Splitter | None = None,
    first: Collection[int] = frozenset(),
) -> FitMetrics:
    """Visit up to `pairs` comparisons in mini-batches, one gradient step each, all members in one pass.

    Those with a key in `first` come before the others, which are drawn at random. Only the last `config.buffer`
    comparisons count. `splitter` knows all pairs asked about so far, by which segments
    are split into training and held-out ones; without it, only the comparisons themselves. A mini-batch holds each
    comparison at most once; the held-out figures come from the same passes, so they cost nothing, and both kinds of
    loss are measured alike: under the parameters of the moment, just before that visit's step.

    Raises UserError for observations that are not finite, with the parameters untouched, and FloatingPointError before
    a step whose loss is not finite.
    """
    comparisons = comparisons[-model.config.buffer :]
    if not comparisons or pairs <= 0:
        return FitMetrics(None, None, None, None, 0, *_l2(model))
    parts = split_of(model, comparisons, splitter)
    weight_ED, held_ED = parts.weight_ED, parts.held_ED
    mu_D = np.array([comparison.mu for comparison in comparisons], dtype=np.float32)
    seen_D = np.zeros(len(comparisons), dtype=np.bool_)
    loss_ED = np.zeros(weight_ED.shape)
    delta_ED = np.zeros(weight_ED.shape)
    first_D = np.array([comparison.key in first for comparison in comparisons])
    batches = list(_batches(rng, first_D, model.config.batch_pairs, pairs))
    visits = 0
    _, segments = unique([comparisons[i] for i in np.unique(np.concatenate(batches))])
    model.check(segments)
    with model.training(rng):
        inputs = model.prepare(segments)
        for number, batch in enumerate(batches, 1):
            chosen = [comparisons[i] for i in batch]
            loss_ED[:, batch], delta_ED[:, batch] = _step(model, chosen, weight_ED[:, batch], rng, inputs)
            seen_D[batch] = True
            visits += len(batch)
            if visits >= max(ROUND, len(comparisons)) or number == len(batches):
                model.regulariser.update(loss_ED, weight_ED * seen_D, held_ED & seen_D, move=model.config.adaptive_l2)
                visits = 0
    right_ED = (delta_ED > 0) == (mu_D > 0.5)
    held_ED = held_ED & seen_D
    strict_D = mu_D != 0.5
    return FitMetrics(
        _mean(loss_ED, weight_ED * seen_D),
        _mean(right_ED, weight_ED * seen_D * strict_D),
        _mean(loss_ED, held_ED),
        _mean(right_ED, held_ED & strict_D),
        pairs,
        *_l2(model),
    )


def splitter_of(config: RewardModelConfig, seed: int, pairs: Iterable[Pair] = ()) -> Splitter:
    """What divides the pairs of a run among the members of its reward model."""
    return Splitter(seed, config.members, held_out=config.held_out, bootstrap=config.bootstrap, pairs=pairs)


def split_of(model: RewardModel, comparisons: Sequence[Comparison], splitter: Splitter | None = None) -> Split:
    """Who trains on these comparisons, given all that was ever asked."""
    splitter = splitter or splitter_of(model.config, model.seed)
    new = (comparison for comparison in comparisons if comparison.key not in splitter)
    splitter.add(Pair(comparison.key, comparison.left.id, comparison.right.id) for comparison in new)
    return splitter.split([comparison.key for comparison in comparisons]).take(range(len(comparisons)))


def _l2(model: RewardModel) -> tuple[float, float | None]:
    ratio_E = model.regulariser.ratio()
    known_E = ratio_E[np.isfinite(ratio_E)]
    return float(model.regulariser.coefficient.mean()), float(known_E.mean()) if len(known_E) else None


def _batches(rng: np.random.Generator, first_D: BoolArray, batch: int, visits: int) -> Iterator[IntArray]:
    """Indices of comparisons, without replacement within a pass, `visits` of them in all; `first_D` lead each pass."""
    while visits > 0:
        order = rng.permutation(len(first_D))
        order = order[np.argsort(~first_D[order], kind="stable")][:visits]
        visits -= len(order)
        for start in range(0, len(order), batch):
            yield order[start : start + batch]


def _step(
    model: RewardModel,
    batch: Sequence[Comparison],
    weight_EB: IntArray,
    rng: np.random.Generator,
    inputs: Inputs | None,
) -> tuple[Array, Array]:
    """One gradient step; each comparison's loss and predicted difference before it, `[E, B]` each."""
    place, segments = unique(batch)
    return_ES = model.returns(segments, stride=model.config.fit_stride, rng=rng, inputs=inputs)
    left_EB = return_ES[:, [place[comparison.left.id] for comparison in batch]]
    right_EB = return_ES[:, [place[comparison.right.id] for comparison in batch]]
    mu_B = torch.tensor([comparison.mu for comparison in batch], dtype=torch.float32, device=model.device)
    loss_EB = preference_loss(left_EB, right_EB, mu_B, model.config.error_rate)
    weight = torch.from_numpy(weight_EB).to(model.device)
    # Summed over members: each learns as if it were alone.
    loss = (loss_EB * weight).sum() / len(batch)
    if not torch.isfinite(loss):
        raise FloatingPointError("the reward model's loss is not finite")
    model.descend(loss)
    return loss_EB.detach().cpu().numpy(), (left_EB - right_EB).detach().cpu().numpy()


def _mean(value_ED: Array, weight_ED: IntArray | BoolArray) -> float | None:
    total = weight_ED.sum()
    return float((value_ED * weight_ED).sum() / total) if total else None
