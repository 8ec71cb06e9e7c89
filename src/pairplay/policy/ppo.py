"""PPO: one update of the policy from one rollout and whatever reward it is given. Knows no environment.

The names are CleanRL's, the metrics carry Stable-Baselines3's tags.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from pairplay.config import PPOConfig
from pairplay.observations import stack_frames
from pairplay.policy.networks import Policy, RunningNorm
from pairplay.policy.returns import explained_variance, gae
from pairplay.types import EnvSpec, FloatArray, Rollout, UserError

# T steps, N environments, K stacked frames, B batch (T·N, flattened step-major)

MEASURED = ("loss", "policy_gradient_loss", "value_loss", "entropy_loss", "approx_kl", "clip_fraction")
"""Of each minibatch, in this order."""


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
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate, eps=1e-5, fused=True)
        self.updates = 0

    def update(
        self, rollout: Rollout, reward_TN: FloatArray, *, lr_scale: float, rng: np.random.Generator
    ) -> dict[str, float | None]:
        """Improve the policy on `reward_TN`, which stands in for `rollout.env_reward` (never read here)."""
        cfg, (T, N) = self.config, rollout.shape
        learning_rate = cfg.learning_rate * (lr_scale if cfg.anneal_lr else 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

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
        frames, age, action, log_prob, advantage, value, target = (
            torch.from_numpy(a).to(self.device)
            for a in (
                rollout.frames,
                rollout.age,
                rollout.action.reshape(T * N, *rollout.action.shape[2:]),
                rollout.log_prob.reshape(-1),
                advantage_TN.reshape(-1),
                rollout.value.reshape(-1),
                (advantage_TN + rollout.value).reshape(-1),
            )
        )

        measured: list[Tensor] = []
        epochs_done = 0
        for _ in range(cfg.update_epochs):
            order = torch.from_numpy(rng.permutation(T * N)).to(self.device)
            for batch in torch.split(order, cfg.minibatch_size):
                obs = stack_frames(frames, age, batch // N, batch % N, self.spec.stack)
                measured.append(
                    self._minibatch(obs, action[batch], log_prob[batch], advantage[batch], value[batch], target[batch])
                )
            epochs_done += 1
            if cfg.target_kl and measured[-1][MEASURED.index("approx_kl")] > cfg.target_kl:
                break
        self.updates += epochs_done
        # After the update: the log probabilities above belong to the statistics the actions were drawn under.
        self.observe(rollout)
        return {
            **{
                f"train/{name}": mean
                for name, mean in zip(MEASURED, torch.stack(measured).mean(0).tolist(), strict=True)
            },
            "train/clip_range": cfg.clip_coef,
            "train/learning_rate": learning_rate,
            "train/explained_variance": explained_variance(rollout.value, advantage_TN + rollout.value),
            "train/n_updates": float(self.updates),
        }

    def _minibatch(
        self, obs: Tensor, action: Tensor, old_log_prob: Tensor, advantage: Tensor, old_value: Tensor, target: Tensor
    ) -> Tensor:
        """One gradient step; what is `MEASURED` of it."""
        cfg = self.config
        if cfg.norm_adv and len(advantage) > 1:
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        log_prob, entropy, value = self.policy.evaluate(obs, action)
        log_ratio = log_prob - old_log_prob
        ratio = log_ratio.exp()
        pg_loss = -torch.min(advantage * ratio, advantage * ratio.clamp(1 - cfg.clip_coef, 1 + cfg.clip_coef)).mean()
        error = (value - target).square()
        if cfg.clip_vloss:
            clipped = old_value + (value - old_value).clamp(-cfg.clip_coef, cfg.clip_coef)
            error = torch.max(error, (clipped - target).square())
        v_loss, entropy_loss = 0.5 * error.mean(), -entropy.mean()
        loss = pg_loss + cfg.ent_coef * entropy_loss + cfg.vf_coef * v_loss

        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.policy.parameters(), cfg.max_grad_norm)
        self.optimizer.step()
        with torch.no_grad():
            approx_kl = ((ratio - 1) - log_ratio).mean()
            clip_fraction = ((ratio - 1).abs() > cfg.clip_coef).float().mean()
            # Read once an update: a number taken from a GPU now would wait for all that is queued there.
            return torch.stack((loss, pg_loss, v_loss, entropy_loss, approx_kl, clip_fraction))

    def observe(self, rollout: Rollout) -> None:
        """Let the observation statistics (state vectors only) take in a rollout without learning from it."""
        if isinstance(self.policy.torso, RunningNorm):
            seen = torch.from_numpy(rollout.frames[self.spec.stack - 1 : -1]).to(self.device)
            self.policy.torso.update(seen.flatten(0, 1).flatten(1))

    def state(self) -> dict[str, Tensor]:
        """Everything that learning changes, as named tensors for a checkpoint."""
        tensors = {f"policy.{name}": tensor for name, tensor in self.policy.state_dict().items()}
        for name, parameter in self.policy.named_parameters():
            for moment, tensor in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{name}.{moment}"] = tensor
        return tensors | {"ppo.updates": torch.tensor(self.updates)}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        policy = {n.removeprefix("policy."): t for n, t in tensors.items() if n.startswith("policy.")}
        self.policy.load_state_dict(policy)
        for name, parameter in self.policy.named_parameters():
            if f"optimizer.{name}.step" not in tensors:
                continue
            self.optimizer.state[parameter] = {
                "step": tensors[f"optimizer.{name}.step"].clone().to(parameter.device),
                # The fused kernel walks parameter and moments in step: they must have the same memory layout.
                **{
                    moment: torch.empty_like(parameter).copy_(tensors[f"optimizer.{name}.{moment}"])
                    for moment in ("exp_avg", "exp_avg_sq")
                },
            }
        self.updates = int(tensors["ppo.updates"])
