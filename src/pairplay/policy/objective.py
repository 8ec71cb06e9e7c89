"""PPO's objective and its derivative. Pure functions of what a policy says of a minibatch; know no network.

The derivative is written out because it is short, and autograd through these many small steps is not; a test holds
the two against each other.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pairplay.config import PPOConfig
from pairplay.policy.distributions import Estimates

# M minibatches, B samples of a minibatch; d_x is the derivative of the loss with respect to x

MEASURED = ("loss", "policy_gradient_loss", "value_loss", "entropy_loss", "approx_kl", "clip_fraction")
"""Of each minibatch, in this order."""


class Samples(NamedTuple):
    """What is known of samples since they were played, `[B]` each."""

    log_prob: Tensor
    advantage: Tensor
    value: Tensor
    target: Tensor

    def at(self, index: Tensor) -> Samples:
        """The samples of an index of any shape."""
        return Samples(*(of_all[index] for of_all in self))

    def normalised(self) -> Samples:
        """Advantages with mean 0 and deviation 1 along the last axis, each minibatch by itself."""
        if self.advantage.shape[-1] < 2:
            return self
        std, mean = torch.std_mean(self.advantage, -1, keepdim=True)
        return self._replace(advantage=(self.advantage - mean) / (std + 1e-8))


def losses(now: Estimates, old: Samples, config: PPOConfig) -> Tensor:
    """`MEASURED` of each minibatch, `[6, …]` from `[…, B]`; the first is minimised. Schulman et al. 2017, eq. 9.

    -E[min(A r, A clip(r, 1 ± ε))] - c_entropy E[H] + ½ c_value E[(V - target)²],   r = π(a) / π_old(a)
    """
    epsilon, log_ratio = config.clip_coef, now.log_prob - old.log_prob
    ratio = log_ratio.exp()
    clipped = old.advantage * ratio.clamp(1 - epsilon, 1 + epsilon)
    pg_loss = -torch.min(old.advantage * ratio, clipped).mean(-1)
    error = (now.value - old.target).square()
    if config.clip_vloss:
        error = torch.max(error, (_near(now.value, old.value, epsilon) - old.target).square())
    v_loss, entropy_loss = 0.5 * error.mean(-1), -now.entropy.mean(-1)
    loss = pg_loss + config.ent_coef * entropy_loss + config.vf_coef * v_loss
    approx_kl = ((ratio - 1) - log_ratio).mean(-1)
    clip_fraction = ((ratio - 1).abs() > epsilon).float().mean(-1)
    return torch.stack((loss, pg_loss, v_loss, entropy_loss, approx_kl, clip_fraction))


def gradient(now: Estimates, old: Samples, config: PPOConfig) -> Estimates:
    """The derivative of the loss of one minibatch.

    d_log π = -A r / B, but 0 where r has left 1 ± ε on the side to which A pulls it;   d_H = -c_entropy / B;
    d_V = c_value (V - target) / B, but with `clip_vloss` 0 where V has moved beyond ε and the clipped error is larger.
    """
    epsilon, size = config.clip_coef, now.value.shape[-1]
    ratio = (now.log_prob - old.log_prob).exp()
    gain = old.advantage * ratio
    unclipped = gain <= old.advantage * ratio.clamp(1 - epsilon, 1 + epsilon)
    d_value = error = now.value - old.target
    if config.clip_vloss:
        within = (now.value - old.value).abs() <= epsilon
        d_value = error * (within | (error.abs() >= (_near(now.value, old.value, epsilon) - old.target).abs()))
    return Estimates(
        log_prob=(gain * unclipped).mul_(-1.0 / size),
        entropy=torch.full_like(now.entropy, -config.ent_coef / size),
        value=d_value * (config.vf_coef / size),
    )


def _near(value: Tensor, old_value: Tensor, epsilon: float) -> Tensor:
    """V_old + clip(V - V_old, ±ε)."""
    return old_value + (value - old_value).clamp(-epsilon, epsilon)
