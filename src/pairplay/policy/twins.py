"""The actor and the critic of state vectors, computed together and differentiated by hand.

Two networks of two tanh layers are so little arithmetic that modules, autograd and an optimizer of thirteen parameters
cost several times as much. Here both halves share each matrix product, and all parameters lie in one block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairplay.policy.distributions import (
    Backward,
    Estimates,
    categorical,
    categorical_gradient,
    normal,
    normal_gradient,
)

# B batch, D inputs, H hidden width, A action dimensions; 2 halves: actor, critic; G = 2·H;
# d_x: derivative with respect to x


class _Weights(NamedTuple):
    """The block, part by part, in the order in which it is laid out."""

    w1_GD: Tensor
    b1_G: Tensor
    w2_2HH: Tensor
    b2_21H: Tensor
    actor_w_AH: Tensor
    actor_b_A: Tensor
    critic_w_1H: Tensor
    critic_b_1: Tensor
    log_std_A: Tensor
    """Empty where actions are discrete."""


class Twins:
    """`actor` and `critic` (linear, tanh, linear, tanh, linear, of equal width) and `log_std`, whose data it moves.

    The modules remain the names of the parameters: what is written to them is seen here, and the other way round. A
    move to another device or dtype gives each parameter memory of its own again: build the twins anew after it.
    """

    def __init__(self, actor: nn.Sequential, critic: nn.Sequential, log_std: Tensor) -> None:
        first, second, last = (
            [parameter for half in (actor, critic) for parameter in half[layer].parameters()] for layer in (0, 2, 4)
        )
        # Weights beside weights and biases beside biases, so that two matrices are one tensor.
        order = [*first[::2], *first[1::2], *second[::2], *second[1::2], *last, log_std]
        hidden, inputs = first[0].shape
        shapes = [
            (2 * hidden, inputs),
            (2 * hidden,),
            (2, hidden, hidden),
            (2, 1, hidden),
            *[p.shape for p in order[8:]],
        ]
        self.discrete = len(log_std) == 0
        self.block = torch.cat([parameter.detach().flatten() for parameter in order])
        """All parameters."""
        self.gradient = torch.zeros_like(self.block)
        """Of the last loss that was taken back; laid out like the block."""
        self.weights = _Weights(*_cut(self.block, shapes))
        self.d_weights = _Weights(*_cut(self.gradient, shapes))
        for parameter, part in zip(order, _cut(self.block, [p.shape for p in order]), strict=True):
            parameter.data = part

    def __call__(self, x_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (or means) `[B, A]` and values `[B]`, without gradients."""
        return _outputs(self.weights, _hidden(self.weights, x_BD, torch.tanh)[1])

    @torch.no_grad()
    def evaluate(self, x_BD: Tensor, action: Tensor) -> tuple[Estimates, Backward]:
        """What they say of given actions, and what writes `gradient`."""
        h1_2BH, h2_2BH = _hidden(self.weights, x_BD, _tanh_of_many)
        logits_BA, value_B = _outputs(self.weights, h2_2BH)
        if self.discrete:
            log_prob_B, entropy_B = categorical(logits_BA, action)
        else:
            log_prob_B, entropy_B = normal(logits_BA, self.weights.log_std_A, action)
        backward = partial(self._backward, x_BD, h1_2BH, h2_2BH, logits_BA, action)
        return Estimates(log_prob_B, entropy_B, value_B), backward

    @torch.no_grad()
    def _backward(
        self, x_BD: Tensor, h1_2BH: Tensor, h2_2BH: Tensor, logits_BA: Tensor, action: Tensor, d_said: Estimates
    ) -> None:
        w, d = self.weights, self.d_weights
        if self.discrete:
            d_logits_BA = categorical_gradient(logits_BA, action, d_said.log_prob, d_said.entropy)
        else:
            d_logits_BA, d_log_std_A = normal_gradient(logits_BA, w.log_std_A, action, d_said.log_prob, d_said.entropy)
            d.log_std_A.copy_(d_log_std_A)

        d_value_B1 = d_said.value[:, None]
        torch.mm(d_logits_BA.T, h2_2BH[0], out=d.actor_w_AH)
        torch.sum(d_logits_BA, 0, out=d.actor_b_A)
        torch.mm(d_value_B1.T, h2_2BH[1], out=d.critic_w_1H)
        torch.sum(d_value_B1, 0, out=d.critic_b_1)

        d_h2_2BH = torch.empty_like(h2_2BH)
        torch.mm(d_logits_BA, w.actor_w_AH, out=d_h2_2BH[0])
        torch.mul(d_value_B1, w.critic_w_1H, out=d_h2_2BH[1])
        d_z2_2BH = _through_tanh(d_h2_2BH, h2_2BH)
        torch.bmm(d_z2_2BH.mT, h1_2BH, out=d.w2_2HH)
        torch.sum(d_z2_2BH, 1, keepdim=True, out=d.b2_21H)

        d_z1_2BH = _through_tanh(torch.bmm(d_z2_2BH, w.w2_2HH), h1_2BH)
        torch.bmm(d_z1_2BH.mT, x_BD.expand(2, -1, -1), out=d.w1_GD.view(2, -1, x_BD.shape[1]))
        torch.sum(d_z1_2BH, 1, out=d.b1_G.view(2, -1))


def _hidden(w: _Weights, x_BD: Tensor, tanh: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Both hidden layers, `[2, B, H]` each."""
    h1_2BH = tanh(F.linear(x_BD, w.w1_GD, w.b1_G)).view(len(x_BD), 2, -1).transpose(0, 1)
    return h1_2BH, tanh(torch.baddbmm(w.b2_21H, h1_2BH, w.w2_2HH.mT))


def _outputs(w: _Weights, h2_2BH: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (or means) `[B, A]` and values `[B]`."""
    actor_h_BH, critic_h_BH = h2_2BH
    value_B1 = F.linear(critic_h_BH, w.critic_w_1H, w.critic_b_1)
    return F.linear(actor_h_BH, w.actor_w_AH, w.actor_b_A), value_B1.squeeze(1)


def _tanh_of_many(z: Tensor) -> Tensor:
    """tanh z = 2 σ(2z) - 1, to 2e-7: on AVX2 less than half the time of torch's own, but four calls. Overwrites `z`."""
    return z.mul_(2.0).sigmoid_().mul_(2.0).sub_(1.0)


def _through_tanh(d_h: Tensor, h: Tensor) -> Tensor:
    """d_z of h = tanh z:   d_h (1 - h²)."""
    return d_h.addcmul(d_h * h, h, value=-1.0)


def _cut(block: Tensor, shapes: list[Any]) -> list[Tensor]:
    """Consecutive parts of the block, as views."""
    parts = torch.split(block, [math.prod(shape) for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
