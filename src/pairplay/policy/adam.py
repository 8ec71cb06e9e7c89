"""Adam with clipped gradients (Kingma and Ba 2015): over separate parameters, or over one block that holds them all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-5

Moments = Mapping[str, Tensor]
"""What is kept of a parameter, named as in `torch.optim.Adam`: `step`, `exp_avg` and `exp_avg_sq`."""


class Adam(Protocol):
    """Moves parameters by their gradients."""

    def set_rate(self, learning_rate: float) -> None:
        """The size of the steps from now on."""

    def step(self, max_norm: float) -> None:
        """One step down gradients that are first scaled to a norm of at most `max_norm`, and are then used up."""

    def moments(self, parameter: Tensor) -> Moments:
        """Empty before the first step."""

    def restore(self, parameter: Tensor, moments: Moments) -> None:
        """The inverse of `moments`."""


class SeparateAdam:
    """For parameters that autograd differentiates, each with memory of its own. On a GPU its steps can be recorded."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._parameters = parameters
        device = parameters[0].device
        on_gpu = device.type == "cuda"
        # A tensor there: in a recording a number would stay what it was.
        rate: float | Tensor = torch.zeros((), device=device) if on_gpu else 0.0
        self._adam = torch.optim.Adam(
            parameters, rate, betas=(BETA1, BETA2), eps=EPSILON, fused=True, capturable=on_gpu
        )

    def set_rate(self, learning_rate: float) -> None:
        for group in self._adam.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(learning_rate)
            else:
                group["lr"] = learning_rate

    def step(self, max_norm: float) -> None:
        nn.utils.clip_grad_norm_(self._parameters, max_norm)
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)

    def moments(self, parameter: Tensor) -> Moments:
        kept: Moments = self._adam.state.get(parameter, {})
        return kept

    def restore(self, parameter: Tensor, moments: Moments) -> None:
        self._adam.state[parameter] = {
            "step": moments["step"].clone().to(parameter.device),
            # The fused kernel walks parameter and moments in step: they must have the same memory layout.
            **{name: torch.empty_like(parameter).copy_(moments[name]) for name in ("exp_avg", "exp_avg_sq")},
        }


class BlockAdam:
    """For `block` and its `gradient`, whose parts the parameters are.

    The same arithmetic in a handful of calls: the bookkeeping of `torch.optim` costs ten times as much as it.
    """

    def __init__(self, block: Tensor, gradient: Tensor) -> None:
        self._block, self._gradient = block, gradient
        self._mean, self._square = torch.zeros_like(block), torch.zeros_like(block)
        self._steps = 0
        self._rate = 0.0

    def set_rate(self, learning_rate: float) -> None:
        self._rate = learning_rate

    @torch.no_grad()
    def step(self, max_norm: float) -> None:
        gradient = self._gradient
        # The norm plus a little, as in torch's clip_grad_norm_.
        gradient.mul_((max_norm / (torch.linalg.vector_norm(gradient) + 1e-6)).clamp_(max=1.0))
        self._steps += 1
        self._mean.lerp_(gradient, 1.0 - BETA1)
        self._square.mul_(BETA2).addcmul_(gradient, gradient, value=1.0 - BETA2)
        deviation = self._square.sqrt().div_(math.sqrt(1.0 - BETA2**self._steps)).add_(EPSILON)
        self._block.addcdiv_(self._mean, deviation, value=-self._rate / (1.0 - BETA1**self._steps))

    def moments(self, parameter: Tensor) -> Moments:
        if not self._steps:
            return {}
        step = torch.tensor(float(self._steps))
        return {"step": step, "exp_avg": part(self._mean, parameter), "exp_avg_sq": part(self._square, parameter)}

    def restore(self, parameter: Tensor, moments: Moments) -> None:
        self._steps = int(moments["step"])
        part(self._mean, parameter).copy_(moments["exp_avg"])
        part(self._square, parameter).copy_(moments["exp_avg_sq"])


def part(block: Tensor, parameter: Tensor) -> Tensor:
    """Where a block that is laid out like the parameters holds what belongs to `parameter`, itself a view of one."""
    start = parameter.storage_offset()
    return block[start : start + parameter.numel()].view(parameter.shape)
