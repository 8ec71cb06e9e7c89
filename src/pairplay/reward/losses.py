"""How likely an answer is under predicted rewards, and the loss that follows. Pure functions of tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

# E ensemble members, B comparisons; every function takes any leading shape


def preference_log_prob(return_left: Tensor, return_right: Tensor, error_rate: float = 0.1) -> Tensor:
    """log P[left ≻ right], Bradley–Terry on the summed rewards of two segments; the shape of `return_left`.

    With probability `error_rate` the labeler answers uniformly at random, so no answer is ever impossible:
    P = (1 - ε) · σ(R_left - R_right) + ε / 2.   Christiano et al. 2017, §2.2.3.
    """
    # In log space: σ underflows long before its logarithm does.
    meant = F.logsigmoid(return_left - return_right) + _log(1.0 - error_rate)
    return torch.logaddexp(meant, torch.full_like(meant, _log(error_rate / 2.0)))


def preference_loss(return_left: Tensor, return_right: Tensor, mu: Tensor, error_rate: float = 0.1) -> Tensor:
    """Cross-entropy between the answer and the prediction, one value a comparison: `[E, B]` or `[B]`.

    `mu` is the weight on the left segment: 1 left, 0 right, ½ about the same.
    """
    log_left = preference_log_prob(return_left, return_right, error_rate)
    log_right = preference_log_prob(return_right, return_left, error_rate)
    return -(mu * log_left + (1.0 - mu) * log_right)


def _log(x: float) -> float:
    return math.log(x) if x > 0.0 else -math.inf
