"""The learned reward r̂(o, a): an ensemble, its optimizer and its normalisers. Knows nothing of answers or storage."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairplay.config import RewardModelConfig
from pairplay.hardware import Precision
from pairplay.observations import stack_frames
from pairplay.reward.networks import make_network
from pairplay.reward.normaliser import InputMoments, RewardScale
from pairplay.types import Array, EnvSpec, FloatArray, Rollout, Segment, UserError

# T steps, N environments, L segment length, K stacked frames, E ensemble members, S segments, B states, A action width

CHUNK = {"cpu": 256, "cuda": 4096}
"""States in one pass: a larger first layer falls out of the CPU's caches, a smaller one leaves a GPU idle."""
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps of each parameter."""


@dataclass(frozen=True)
class RewardEstimate:
    """The reward that the policy learns from, and how far the members disagree about it."""

    mean: FloatArray
    """`[T, N]` normalised predictions averaged over the members."""
    std: FloatArray
    """`[T, N]` their standard deviation over the members, in the same unit."""


class RewardModel:
    """E members in one pass, each with its own weights, input for input the same."""

    def __init__(
        self,
        spec: EnvSpec,
        config: RewardModelConfig,
        *,
        seed: int,
        device: torch.device,
        precision: Precision = "fp32",
    ) -> None:
        self.spec = spec
        self.config = config
        self.seed = seed
        self.device = device
        self.autocast = precision == "bf16"
        self.network = make_network(spec, config, seed=seed).to(device)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.l2, fused=True
        )
        self.inputs = InputMoments.empty(math.prod(spec.frame_shape) if not spec.is_image else 0, device)
        self.scale = RewardScale.empty(config.members, device)

    def observe(self, rollout: Rollout) -> None:
        """Widen what is known of the inputs' mean and variance (state vectors only). `relabel` does it by itself."""
        if not self.spec.is_image:
            rows = rollout.frames[self.spec.stack - 1 : -1]
            self.inputs.update(self._tensor(rows).flatten(0, 1).flatten(1))

    @torch.no_grad()
    def score(self, rollout: Rollout) -> FloatArray:
        """Raw predictions of every member for every step, `[E, T, N]`."""
        return self._score(rollout).cpu().numpy()

    @torch.no_grad()
    def relabel(self, rollout: Rollout) -> RewardEstimate:
        """What the policy learns from: each member on its own scale, then averaged (Christiano et al. 2017, §2.2.1).

        Advances the normalisers by this rollout. Never reads `rollout.env_reward`.
        """
        self.observe(rollout)
        reward_ETN = self._score(rollout)
        self.scale.update(reward_ETN)
        reward_ETN = self.scale.normalise(reward_ETN) * self.config.target_std
        std_TN = reward_ETN.std(0, correction=0)
        return RewardEstimate(mean=reward_ETN.mean(0).cpu().numpy(), std=std_TN.cpu().numpy())

    @torch.no_grad()
    def segment_returns(self, segments: Sequence[Segment]) -> FloatArray:
        """Raw predictions summed over each segment, `[E, S]`."""
        return self.returns(segments).cpu().numpy()

    def returns(
        self, segments: Sequence[Segment], *, stride: int = 1, rng: np.random.Generator | None = None
    ) -> Tensor:
        """The same as a tensor with gradients, `[E, S]`. Segments may differ in length.

        With a `stride` only every stride-th step is predicted, from an offset drawn with `rng`, and stands for its
        neighbours: an estimate of the sum for a fraction of the work.
        """
        if not segments:
            return torch.zeros(self.config.members, 0, device=self.device)
        offsets = [0 if rng is None else int(rng.integers(min(stride, len(segment)))) for segment in segments]
        taken = [np.arange(offset, len(s), stride) for offset, s in zip(offsets, segments, strict=True)]
        starts = np.cumsum([0] + [len(segment.frames) for segment in segments[:-1]])
        # One tall film of all segments; the step of a state is the row of its oldest possible frame.
        frames = self._tensor(np.concatenate([segment.frames for segment in segments]))[:, None]
        action = self._tensor(np.concatenate([s.action[steps] for s, steps in zip(segments, taken, strict=True)]))
        within = np.concatenate(taken)
        owner = np.repeat(np.arange(len(segments)), [len(steps) for steps in taken])
        row = starts[owner] + within
        age = np.zeros((len(frames), 1), dtype=np.int64)
        age[row, 0] = np.array([segment.age for segment in segments])[owner] + within
        weight = np.array([len(s) / len(steps) for s, steps in zip(segments, taken, strict=True)], np.float32)
        row_B, owner_B, weight_S = (self._tensor(array) for array in (row, owner, weight))
        reward_EB = self._predict(frames, self._tensor(age), row_B, torch.zeros_like(row_B), action)
        total_ES = reward_EB.new_zeros(len(reward_EB), len(segments)).index_add(1, owner_B, reward_EB)
        return total_ES * weight_S

    def state(self) -> dict[str, Tensor]:
        """Everything that learning has changed: weights, optimizer, normalisers. Copies, on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self._state()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Become the model that `state` was taken from. UserError if it was built from another configuration."""
        shapes = {name: tensor.shape for name, tensor in self.network.state_dict().items()}
        found = {name: state[f"network/{name}"].shape for name in shapes if f"network/{name}" in state}
        if found != shapes:
            raise UserError(
                "the saved reward model has other layers: resume with the configuration it was trained with"
            )
        saved = {name: tensor.to(self.device) for name, tensor in state.items()}
        self.network.load_state_dict({name: saved[f"network/{name}"] for name in shapes})
        self.optimizer.state.clear()
        for name, parameter in self.network.named_parameters():
            if f"optimizer/{name}/step" in saved:
                # clone: without it the optimizer would write into the caller's checkpoint.
                moments = {key: saved[f"optimizer/{name}/{key}"].clone() for key in MOMENTS}
                self.optimizer.state[parameter] = moments
        self.inputs = InputMoments(**{key: saved[f"inputs/{key}"].clone() for key in self.inputs.state()})
        self.scale = RewardScale(**{key: saved[f"scale/{key}"].clone() for key in self.scale.state()})

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.network.state_dict().items():
            yield f"network/{name}", tensor
        for name, parameter in self.network.named_parameters():
            for key in MOMENTS if parameter in self.optimizer.state else ():
                yield f"optimizer/{name}/{key}", self.optimizer.state[parameter][key]
        for key, tensor in self.inputs.state().items():
            yield f"inputs/{key}", tensor
        for key, tensor in self.scale.state().items():
            yield f"scale/{key}", tensor

    def _score(self, rollout: Rollout) -> Tensor:
        T, N = rollout.shape
        step_B = torch.arange(T, device=self.device).repeat_interleave(N)
        env_B = torch.arange(N, device=self.device).repeat(T)
        action_B = self._tensor(rollout.action).flatten(0, 1)
        frames, age = self._tensor(rollout.frames), self._tensor(rollout.age)
        return self._predict(frames, age, step_B, env_B, action_B).reshape(-1, T, N)

    def _predict(self, frames: Tensor, age: Tensor, step_B: Tensor, env_B: Tensor, action_B: Tensor) -> Tensor:
        """`[E, B]` float32, chunk by chunk."""
        chunks = zip(*(torch.split(index, CHUNK[self.device.type]) for index in (step_B, env_B, action_B)), strict=True)
        return torch.cat([self._forward(frames, age, *chunk) for chunk in chunks], dim=1)

    def _forward(self, frames: Tensor, age: Tensor, step_B: Tensor, env_B: Tensor, action_B: Tensor) -> Tensor:
        obs = stack_frames(frames, age, step_B, env_B, self.spec.stack)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            if self.spec.is_image:
                obs = obs.to(torch.bfloat16 if self.autocast else torch.float32)
                obs = obs.contiguous(memory_format=torch.channels_last)
            else:
                obs = self.inputs.normalise(obs.flatten(2)).float()
            reward_EB: Tensor = self.network(obs, self._action_input(action_B))
        return reward_EB.float()

    def _action_input(self, action: Tensor) -> Tensor:
        """`[B, A]`: one-hot, or scaled so that the bounds are ±1."""
        if self.spec.discrete:
            return F.one_hot(action, self.spec.num_actions).float()
        low = torch.tensor(self.spec.action_low, device=self.device)
        high = torch.tensor(self.spec.action_high, device=self.device)
        bounded = torch.isfinite(low) & torch.isfinite(high)
        # Clipped first: the environment never saw what lies beyond the bounds.
        scaled = (torch.minimum(torch.maximum(action, low), high) - low) / (high - low) * 2.0 - 1.0
        return torch.where(bounded, scaled, action)

    def _tensor(self, array: Array) -> Tensor:
        # Arrays that come out of a database are read-only, and torch warns of those.
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self.device)
