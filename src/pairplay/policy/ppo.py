"""PPO: one update of the policy from one rollout and whatever reward it is given. Knows no environment.

The names are CleanRL's, the metrics carry Stable-Baselines3's tags.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from pairplay.config import PPOConfig
from pairplay.hardware import half_the_threads
from pairplay.observations import stack_frames
from pairplay.policy.adam import Adam, BlockAdam, SeparateAdam
from pairplay.policy.distributions import Estimates
from pairplay.policy.halves import Halves
from pairplay.policy.networks import Policy, RunningNorm
from pairplay.policy.objective import MEASURED, Samples, gradient, losses
from pairplay.policy.returns import explained_variance, gae
from pairplay.recorded import Recorded
from pairplay.types import Array, EnvSpec, FloatArray, Rollout, UserError

# T steps, N environments, K stacked frames, M minibatches, B samples of a minibatch (of T·N, flattened step-major)


class PPO:
    """The policy, its optimizer and the update. Schulman et al. 2017."""

    def __init__(
        self, policy: Policy, spec: EnvSpec, config: PPOConfig, *, num_envs: int, device: torch.device
    ) -> None:
        batch = num_envs * config.num_steps
        if batch % config.minibatch_size:
            sizes = [s for s in range(32, batch + 1) if batch % s == 0]
            near = sorted(sizes, key=lambda s: abs(s - config.minibatch_size))[:2]
            raise UserError(
                f"minibatch_size={config.minibatch_size} does not divide num_envs*num_steps={batch}: "
                f"use {' or '.join(map(str, sorted(near)))}"
            )
        self.policy = policy
        self.spec = spec
        self.config = config
        self.device = device
        self.optimizer: Adam = (
            SeparateAdam(list(policy.parameters()))
            if policy.twins is None
            else BlockAdam(policy.twins.block, policy.twins.gradient)
        )
        self._halves = Halves(policy, config) if self._in_halves() else None
        self._descend = self._gradient_steps()
        self.updates = 0

    def update(
        self, rollout: Rollout, reward_TN: FloatArray, *, lr_scale: float, rng: np.random.Generator
    ) -> dict[str, float | None]:
        """Improve the policy on `reward_TN`, which stands in for `rollout.env_reward` (never read here).

        FloatingPointError once its loss is not a finite number; then it is good for nothing any more.
        """
        cfg = self.config
        learning_rate = cfg.learning_rate * (lr_scale if cfg.anneal_lr else 1.0)
        self.optimizer.set_rate(learning_rate)
        advantage_TN = gae(
            reward_TN,
            rollout.value,
            rollout.terminated,
            rollout.truncated,
            rollout.final_value,
            rollout.last_value,
            gamma=cfg.gamma,
            gae_lambda=cfg.gae_lambda,
        )
        frames, age, action = self._tensors(
            rollout.frames, rollout.age, rollout.action.reshape(-1, *rollout.action.shape[2:])
        )
        target_TN = advantage_TN + rollout.value
        samples = Samples(
            *(of_all.flatten() for of_all in self._tensors(rollout.log_prob, advantage_TN, rollout.value, target_TN))
        )
        with half_the_threads() if self._halves else nullcontext():
            measured = self._epochs(samples, self._observations(frames, age), action, rng)
        means = torch.cat(measured, 1).mean(1).tolist()
        if not all(map(math.isfinite, means)):
            raise FloatingPointError(
                "the policy's loss is not a finite number: if that comes again, train anew with a smaller "
                "--ppo.learning-rate"
            )
        self.updates += len(measured)
        # After the update: the log probabilities above belong to the statistics the actions were drawn under.
        self.observe(rollout)
        return {
            **{f"train/{name}": mean for name, mean in zip(MEASURED, means, strict=True)},
            "train/clip_range": cfg.clip_coef,
            "train/learning_rate": learning_rate,
            "train/explained_variance": explained_variance(rollout.value, target_TN),
            "train/n_updates": float(self.updates),
        }

    def _epochs(
        self, samples: Samples, obs: Callable[[Tensor], Tensor], action: Tensor, rng: np.random.Generator
    ) -> list[Tensor]:
        """Pass over the samples again and again; `MEASURED` of the minibatches of each epoch, `[6, M]`.

        `obs` gives the observations of an index `[B]`.
        """
        cfg, measured = self.config, []
        for _ in range(cfg.update_epochs):
            order_MB = torch.from_numpy(rng.permutation(len(action))).to(self.device).view(-1, cfg.minibatch_size)
            old_MB = samples.at(order_MB)
            if cfg.norm_adv:
                old_MB = old_MB.normalised()
            now = [
                self._descend(obs(index_B), action[index_B], *old_B)
                for index_B, *old_B in zip(order_MB, *old_MB, strict=True)
            ]
            # Read once an update: a number taken from a GPU now would wait for all that is queued there.
            measured.append(losses(Estimates(*map(torch.stack, zip(*now, strict=True))), old_MB, cfg))
            if cfg.target_kl and measured[-1][MEASURED.index("approx_kl"), -1] > cfg.target_kl:
                break
        return measured

    def _in_halves(self) -> bool:
        # State vectors are too small to share, and a GPU has no cores to share.
        enough = torch.get_num_threads() > 1 and self.config.minibatch_size > 1
        return self.spec.is_image and self.device.type == "cpu" and enough

    def _gradient_steps(self) -> Callable[..., tuple[Tensor, ...]]:
        # The optimizer of state vectors counts its steps in Python, which no recording would do.
        return Recorded(self._minibatch, self.device) if self.spec.is_image else self._minibatch

    def _minibatch(self, obs: Tensor, action: Tensor, *old: Tensor) -> tuple[Tensor, ...]:
        """One gradient step on `Samples(*old)`; what the policy said of them before it, as in `Estimates`."""
        if self._halves is not None:
            now = self._halves(obs, action, Samples(*old))
        else:
            estimates, backward = self.policy.evaluate(obs, action)
            now = Estimates(*(estimate.detach() for estimate in estimates))
            backward(gradient(now, Samples(*old), self.config))
        self.optimizer.step(self.config.max_grad_norm)
        return now

    def _tensors(self, *arrays: Array) -> Iterator[Tensor]:
        return (torch.from_numpy(array).to(self.device) for array in arrays)

    def _observations(self, frames: Tensor, age: Tensor) -> Callable[[Tensor], Tensor]:
        """From an index of samples `[B]` to their observations `[B, K, *F]`."""
        T, N = len(age) - 1, age.shape[1]

        def stack(index: Tensor) -> Tensor:
            return stack_frames(frames, age, index // N, index % N, self.spec.stack)

        if self.spec.is_image:
            return stack
        # State vectors are small: all of them at once. Pictures are stacked one minibatch at a time.
        whole = stack(torch.arange(T * N, device=self.device))
        return lambda index: whole[index]

    def observe(self, rollout: Rollout) -> None:
        """Let the observation statistics (state vectors only) take in a rollout without learning from it."""
        if isinstance(self.policy.torso, RunningNorm):
            seen = torch.from_numpy(rollout.frames[self.spec.stack - 1 : -1]).to(self.device)
            self.policy.torso.update(seen.flatten(0, 1).flatten(1))

    def state(self) -> dict[str, Tensor]:
        """Everything that learning changes, as named tensors for a checkpoint."""
        tensors = {f"policy.{name}": tensor for name, tensor in self.policy.state_dict().items()}
        for name, parameter in self.policy.named_parameters():
            for moment, tensor in self.optimizer.moments(parameter).items():
                tensors[f"optimizer.{name}.{moment}"] = tensor
        return tensors | {"ppo.updates": torch.tensor(self.updates)}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state`. UserError, with nothing changed, for that of another network."""
        policy = {n.removeprefix("policy."): t for n, t in tensors.items() if n.startswith("policy.")}
        shapes = {name: tensor.shape for name, tensor in self.policy.state_dict().items()}
        if {name: tensor.shape for name, tensor in policy.items()} != shapes:
            raise UserError(
                "the saved policy has other layers: resume with the configuration and the version of Pairplay that it "
                "was trained with"
            )
        self.policy.load_state_dict(policy)
        for name, parameter in self.policy.named_parameters():
            prefix = f"optimizer.{name}."
            moments = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            if moments:
                self.optimizer.restore(parameter, moments)
        self._descend = self._gradient_steps()  # what was recorded moves other moments
        self.updates = int(tensors["ppo.updates"])
