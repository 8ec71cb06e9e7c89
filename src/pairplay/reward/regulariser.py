"""How strongly each member's weights are pulled to zero, moved by how it does on what it never trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pairplay.types import Array, FloatArray

# E ensemble members, D comparisons

OVERFIT, UNDERFIT = 1.5, 1.1
"""Held-out over training loss: above the first the coefficient rises, below the second it falls (§2.2.3)."""
FACTOR = 2.0
"""By which it moves, each time."""
LOW, HIGH = 1e-4, 10.0
"""Its bounds. AdamW moves a weight by about the learning rate a step, so a coefficient c keeps weights below 1/c:
below the lower bound nothing is felt, and at 100 a network forgot all it had learnt."""
DECAY = 0.9
"""Of what earlier fits showed: one fit holds out a dozen comparisons, and so few scatter widely."""


@dataclass
class Regulariser:
    """L2 coefficient of each member and moving sums of what it is decided by, `[E]` float64 on the CPU."""

    coefficient: Tensor
    train_loss: Tensor
    """Sum of the losses of training comparisons, by bootstrap weight."""
    train_weight: Tensor
    held_loss: Tensor
    held_weight: Tensor
    """How many losses are in the sum: their quotient is a mean per comparison, whatever the size of either side."""

    @classmethod
    def empty(cls, members: int, coefficient: float) -> Regulariser:
        zeros = torch.zeros(members, dtype=torch.float64)
        return cls(zeros + coefficient, zeros.clone(), zeros.clone(), zeros.clone(), zeros.clone())

    def update(self, loss_ED: Array, train_ED: Array, held_ED: Array, *, move: bool = True) -> None:
        """Take in the losses of a fit, weighted by `train_ED` and `held_ED`; with `move`, move the coefficients.

        A member with nothing on either side stays as it is. The quotient of two sums that decay alike needs no bias
        correction.
        """
        train_weight, held_weight = torch.from_numpy(train_ED.sum(1)), torch.from_numpy(held_ED.sum(1))
        both = (train_weight > 0) & (held_weight > 0)
        for name, new in (
            ("train_loss", torch.from_numpy((loss_ED * train_ED).sum(1))),
            ("train_weight", train_weight),
            ("held_loss", torch.from_numpy((loss_ED * held_ED).sum(1))),
            ("held_weight", held_weight),
        ):
            old = getattr(self, name)
            setattr(self, name, torch.where(both, DECAY * old + new, old))
        if move:
            train, held = self._means()
            factor = torch.ones_like(self.coefficient)
            # Products, not a quotient: a training loss of 0 is the worst overfit there is.
            factor[held > OVERFIT * train] = FACTOR
            factor[held < UNDERFIT * train] = 1.0 / FACTOR
            moved = (self.coefficient * factor).clamp(LOW, HIGH)
            self.coefficient = torch.where(both & (factor != 1.0), moved, self.coefficient)

    def ratio(self) -> FloatArray:
        """Held-out over training loss per comparison, `[E]`; NaN where either side is still empty."""
        train, held = self._means()
        return (held / train).float().numpy()

    def _means(self) -> tuple[Tensor, Tensor]:
        return self.train_loss / self.train_weight, self.held_loss / self.held_weight

    def state(self) -> dict[str, Tensor]:
        return dict(vars(self))


@torch.no_grad()
def shrink(weights: list[Tensor], coefficient_E: Tensor, learning_rate: float) -> None:
    """w ← (1 - lr · c_e) w for the weights of member e, which are the e-th part of the first axis of each tensor.

    Decoupled from the gradient's moments, as in AdamW (Loshchilov and Hutter 2019), but with a coefficient a member.
    """
    keep_E = 1.0 - learning_rate * coefficient_E
    for weight in weights:
        keep = keep_E.to(weight).repeat_interleave(len(weight) // len(keep_E))
        weight.mul_(keep.reshape(-1, *[1] * (weight.ndim - 1)))
