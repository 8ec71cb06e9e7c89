"""PPO: one update of the policy from one rollout and whatever reward it is given. Knows no environment.

The names are CleanRL's, the metrics carry Stable-Baselines3's tags.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from pairplay.config import PPOConfig
from pairplay.observations import stack_frames
from pairplay.policy.adam import Adam, BlockAdam, SeparateAdam
from pairplay.policy.distributions import Estimates
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
        self._descend = self._gradient_steps()
        self.updates = 0

    def update(
        self, rollout: Rollout, reward_TN: FloatArray, *, lr_scale: float, rng: np.random.Generator
    ) -> dict[str, float | None]:
        """Improve the policy on `reward_TN`, which stands in for `rollout.env_reward` (never read here).

        FloatingPointError once its loss is not a finite number; then it is good for nothing any more.
        """
        cfg, (T, N) = self.config, rollout.shape
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
            rollout.frames, rollout.age, rollout.action.reshape(T * N, *rollout.action.shape[2:])
        )
        target_TN = advantage_TN + rollout.value
        samples = Samples(
            *(of_all.flatten() for of_all in self._tensors(rollout.log_prob, advantage_TN, rollout.value, target_TN))
        )
        # State vectors are small: all of them at once. Pictures are stacked one minibatch at a time.
        whole = None if self.spec.is_image else self._stack(frames, age, torch.arange(T * N, device=self.device))
        measured: list[Tensor] = []
        epochs_done = 0
        for _ in range(cfg.update_epochs):
            order_MB = torch.from_numpy(rng.permutation(T * N)).to(self.device).view(-1, cfg.minibatch_size)
            old_MB = samples.at(order_MB)
            if cfg.norm_adv:
                old_MB = old_MB.normalised()
            now = []
            for index_B, *old_B in zip(order_MB, *old_MB, strict=True):
                obs = self._stack(frames, age, index_B) if whole is None else whole[index_B]
                now.append(self._descend(obs, action[index_B], *old_B))
            # Read once an update: a number taken from a GPU now would wait for all that is queued there.
            measured.append(losses(Estimates(*map(torch.stack, zip(*now, strict=True))), old_MB, cfg))
            epochs_done += 1
            if cfg.target_kl and measured[-1][MEASURED.index("approx_kl"), -1] > cfg.target_kl:
                break
        means = torch.cat(measured, 1).mean(1).tolist()
        if not all(map(math.isfinite, means)):
            raise FloatingPointError(
                "the policy's loss is not a finite number: if that comes again, train anew with a smaller "
                "--ppo.learning-rate"
            )
        self.updates += epochs_done
        # After the update: the log probabilities above belong to the statistics the actions were drawn under.
        self.observe(rollout)
        return {
            **{f"train/{name}": mean for name, mean in zip(MEASURED, means, strict=True)},
            "train/clip_range": cfg.clip_coef,
            "train/learning_rate": learning_rate,
            "train/explained_variance": explained_variance(rollout.value, target_TN),
            "train/n_updates": float(self.updates),
        }

    def _gradient_steps(self) -> Callable[..., tuple[Tensor, ...]]:
        # The optimizer of state vectors counts its steps in Python, which no recording would do.
        return Recorded(self._minibatch, self.device) if self.spec.is_image else self._minibatch

    def _minibatch(self, obs: Tensor, action: Tensor, *old: Tensor) -> tuple[Tensor, ...]:
        """One gradient step on `Samples(*old)`; what the policy said of them before it, as in `Estimates`."""
        estimates, backward = self.policy.evaluate(obs, action)
        now = Estimates(*(estimate.detach() for estimate in estimates))
        backward(gradient(now, Samples(*old), self.config))
        self.optimizer.step(self.config.max_grad_norm)
        return now

    def _tensors(self, *arrays: Array) -> Iterator[Tensor]:
        return (torch.from_numpy(array).to(self.device) for array in arrays)

    def _stack(self, frames: Tensor, age: Tensor, index: Tensor) -> Tensor:
        """`[B, K, *F]`, the observations of these samples."""
        envs = frames.shape[1]
        return stack_frames(frames, age, index // envs, index % envs, self.spec.stack)

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
