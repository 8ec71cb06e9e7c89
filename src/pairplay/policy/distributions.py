"""What a policy's outputs say of actions, and the derivatives of that. Pure functions; autograd can differentiate them.

The derivatives are for networks so small that autograd costs more than they do (`twins.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

# B batch, A action dimensions; d_x is the derivative of a loss with respect to x


class Estimates(NamedTuple):
    """What a policy says of samples, `[B]` each. As derivatives: of a loss, with respect to each of these."""

    log_prob: Tensor
    entropy: Tensor
    value: Tensor


Backward = Callable[[Estimates], None]
"""Turns the derivatives of a loss into gradients of the parameters that the estimates came from."""

Draw = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""From a policy's outputs `[B, A]` to actions and their log probabilities."""

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def categorical(logits_BA: Tensor, action_B: Tensor) -> tuple[Tensor, Tensor]:
    """Log probability of the actions and entropy, `[B]` each."""
    log_p_BA = logits_BA.log_softmax(1)
    return log_p_BA.gather(1, action_B[:, None]).squeeze(1), -(log_p_BA.exp() * log_p_BA).sum(1)


def categorical_gradient(logits_BA: Tensor, action_B: Tensor, d_log_prob_B: Tensor, d_entropy_B: Tensor) -> Tensor:
    """d_logits `[B, A]`:   ∂ log p_a / ∂ l = 1_a - p,   ∂ H / ∂ l = -p (log p + H)."""
    log_p_BA = logits_BA.log_softmax(1)
    p_BA = log_p_BA.exp()
    entropy_B1 = -(p_BA * log_p_BA).sum(1, keepdim=True)
    d_log_prob_B1 = d_log_prob_B[:, None]
    d_logits_BA = -p_BA * (d_log_prob_B1 + d_entropy_B[:, None] * (log_p_BA + entropy_B1))
    return d_logits_BA.scatter_add(1, action_B[:, None], d_log_prob_B1)


def normal(mean_BA: Tensor, log_std_A: Tensor, action_BA: Tensor) -> tuple[Tensor, Tensor]:
    """Log probability of the actions and entropy, `[B]` each, of independent normals."""
    z_BA = (action_BA - mean_BA) / log_std_A.exp()
    scale = (log_std_A + _HALF_LOG_2PI).sum()
    return -0.5 * z_BA.square().sum(1) - scale, (scale + 0.5 * len(log_std_A)).expand(len(mean_BA))


def normal_gradient(
    mean_BA: Tensor, log_std_A: Tensor, action_BA: Tensor, d_log_prob_B: Tensor, d_entropy_B: Tensor
) -> tuple[Tensor, Tensor]:
    """d_mean `[B, A]` and d_log_std `[A]`, with z = (a - μ) / σ:

    ∂ log p / ∂ μ = z / σ,   ∂ log p / ∂ log σ = z² - 1,   ∂ H / ∂ log σ = 1.
    """
    std_A = log_std_A.exp()
    z_BA = (action_BA - mean_BA) / std_A
    weighted_BA = d_log_prob_B[:, None] * z_BA
    d_log_std_A: Tensor = (weighted_BA * z_BA).sum(0) + (d_entropy_B.sum() - d_log_prob_B.sum())
    return weighted_BA / std_A, d_log_std_A


def draw_categorical(logits_BA: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Actions and their log probabilities, `[B]` each."""
    return race(logits_BA, torch.empty_like(logits_BA).exponential_(generator=generator))


def race(logits_BA: Tensor, wait_BA: Tensor) -> tuple[Tensor, Tensor]:
    """`draw_categorical` with its noise given: exponential, of rate 1.

    Who waits an exponential time of rate p comes first with probability p. torch.multinomial does the same after it
    has looked at all p, for which it waits for a GPU twice.
    """
    action_B = (logits_BA.softmax(1) / wait_BA).argmax(1)
    return action_B, logits_BA.log_softmax(1).gather(1, action_B[:, None]).squeeze(1)


def draw_normal(mean_BA: Tensor, log_std_A: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Actions `[B, A]` and their log probabilities `[B]`."""
    return normal_draws(log_std_A)(mean_BA, generator)


def normal_draws(log_std_A: Tensor) -> Draw:
    """`draw_normal` of one spread: what it takes of that is taken once."""
    std_A, scale = log_std_A.exp(), (log_std_A + _HALF_LOG_2PI).sum()

    def draw(mean_BA: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        z_BA = torch.randn(mean_BA.shape, generator=generator, device=mean_BA.device)
        return torch.addcmul(mean_BA, z_BA, std_A), z_BA.square().sum(1).mul_(-0.5).sub_(scale)

    return draw
