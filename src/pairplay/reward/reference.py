"""Reference states: a small sample of the latest rollouts, on which the scale of the reward is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pairplay.observations import stack_frames
from pairplay.types import EnvSpec, Rollout

# R reference states, B new ones, K stacked frames, E ensemble members

ROLLOUTS = 10
"""So many of the latest rollouts are remembered, in equal shares."""
SIZE = {True: 256, False: 2048}
"""States in all, of pictures or not: enough to know a standard deviation to some per cent, and 6.6 MB at most."""


@dataclass
class Reference:
    """States and actions with their raw predictions under the current parameters, all on the CPU."""

    obs: Tensor
    """`[R, K, *F]`, pictures as uint8."""
    action: Tensor
    reward: Tensor
    """`[R, E]` float32; NaN where they were not predicted yet."""
    rollout: Tensor
    """`[R]` which rollout a state is from, counted from 1."""
    rank: Tensor
    """`[R]` its place in the random order in which that rollout's states are kept."""
    count: Tensor
    """Rollouts seen."""

    @classmethod
    def empty(cls, spec: EnvSpec, members: int) -> Reference:
        index = torch.zeros(0, dtype=torch.int64)
        dtype = torch.uint8 if spec.is_image else torch.float32
        action = index if spec.discrete else torch.zeros(0, spec.action_dim)
        return cls(
            obs=torch.zeros((0, spec.stack, *spec.frame_shape), dtype=dtype),
            action=action,
            reward=torch.zeros(0, members),
            rollout=index,
            rank=index.clone(),
            count=torch.tensor(0),
        )

    def add(self, rollout: Rollout, rng: np.random.Generator, reward_EB: Tensor | None = None) -> None:
        """Take in a random share of a rollout, with its predictions if there are any, `[E, T·N]`."""
        stack, image = self.obs.shape[1], self.obs.dtype == torch.uint8
        self.count = self.count + 1
        share = SIZE[image] // min(int(self.count), ROLLOUTS)
        keep = (self.rollout > self.count - ROLLOUTS) & (self.rank < share)
        T, N = rollout.shape
        chosen = rng.permutation(T * N)[:share]
        frames, age = torch.from_numpy(rollout.frames), torch.from_numpy(rollout.age)
        step, env = torch.from_numpy(chosen // N), torch.from_numpy(chosen % N)
        unknown = torch.full((len(chosen), self.reward.shape[1]), torch.nan)
        new = {
            "obs": stack_frames(frames, age, step, env, stack).contiguous(),
            "action": torch.from_numpy(rollout.action)[step, env],
            "reward": unknown if reward_EB is None else reward_EB.cpu().T[torch.from_numpy(chosen)],
            "rollout": self.count.expand(len(chosen)),
            "rank": torch.arange(len(chosen)),
        }
        out = torch.nonzero(~keep).flatten()
        for name, tensor in new.items():
            held = getattr(self, name)
            if len(out) == len(chosen):  # as soon as all rollouts have their share: megabytes stay where they are
                held[out] = tensor
            else:
                setattr(self, name, torch.cat([held[keep], tensor]))

    def __len__(self) -> int:
        return len(self.obs)

    def state(self) -> dict[str, Tensor]:
        return dict(vars(self))
