"""The gradient of a minibatch of pictures from both of its halves at once. Knows no optimizer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from pairplay.config import PPOConfig
from pairplay.policy.distributions import Estimates
from pairplay.policy.networks import Policy
from pairplay.policy.objective import Samples, gradient


class Halves:
    """Differentiates the loss of a minibatch, one half of it in a thread of its own, each on half of torch's threads.

    All threads at work on one layer wait for one another at its end, layer after layer, and whoever else needs a core
    holds them all up. Two that differentiate a half each wait once: with another program on one of two cores an update
    takes a third of the time (docs/decisions/037).
    """

    def __init__(self, policy: Policy, config: PPOConfig) -> None:
        self._policy = policy
        self._config = config
        self._parameters = list(policy.parameters())
        threads = max(1, torch.get_num_threads() // 2)
        self._worker = ThreadPoolExecutor(
            1, thread_name_prefix="second-half", initializer=lambda: torch.set_num_threads(threads)
        )

    def __call__(self, obs: Tensor, action: Tensor, old: Samples) -> Estimates:
        """Leaves the gradient in the parameters' `grad`; what the policy said of the samples, without gradients.

        To be called within `half_the_threads`: it is entered once for many calls, for threads have to be made anew.
        """
        first, second = zip(*(tensor.tensor_split(2) for tensor in (obs, action, *old)), strict=True)
        other = self._worker.submit(self._differentiate, len(action), *second)
        one_now, one_gradient = self._differentiate(len(action), *first)
        other_now, other_gradient = other.result()
        for parameter, one, more in zip(self._parameters, one_gradient, other_gradient, strict=True):
            if one is not None and more is not None:
                # In the parameter's own memory layout, which fused optimizers rely on.
                parameter.grad = torch.add(one, more, out=torch.empty_like(parameter))
        return Estimates(*map(torch.cat, zip(one_now, other_now, strict=True)))

    def _differentiate(
        self, size: int, obs: Tensor, action: Tensor, *old: Tensor
    ) -> tuple[Estimates, tuple[Tensor | None, ...]]:
        """Of some samples of a minibatch of `size`: what the policy says of them, and their part of the gradient."""
        estimates, _ = self._policy.evaluate(obs, action)
        now = Estimates(*(estimate.detach() for estimate in estimates))
        part = len(action) / size
        derivatives = [derivative * part for derivative in gradient(now, Samples(*old), self._config)]
        # Not `backward`: two threads must not add to one `grad`.
        return now, torch.autograd.grad(estimates, self._parameters, derivatives, allow_unused=True)
