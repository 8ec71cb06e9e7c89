"""What a saved reward model says of clips and pairs. Trains nothing, and leaves the checkpoint as it was."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import numpy as np
import torch

from pairplay.config import TrainConfig
from pairplay.envs.make import make_envs
from pairplay.reward.fit import bootstrap_weights
from pairplay.reward.losses import preference_log_prob
from pairplay.reward.model import RewardEstimate, RewardModel
from pairplay.run.checkpoint import Checkpoint
from pairplay.types import BoolArray, Comparison, FloatArray, Segment

# L segment length, E ensemble members, S segments, D comparisons

CHUNK = 32
"""Segments in one pass: it bounds the memory whatever the number of clips."""


class Judge:
    """A reward model to ask. It answers in the unit that the policy is paid in."""

    def __init__(self, model: RewardModel) -> None:
        self.model = model

    def probabilities(self, comparisons: Sequence[Comparison]) -> FloatArray:
        """`[E, D]` each member's P[left], the labeler's share of random answers included."""
        sides = [side for comparison in comparisons for side in (comparison.left, comparison.right)]
        return_ES = torch.from_numpy(self._returns(sides))
        log_p = preference_log_prob(return_ES[:, 0::2], return_ES[:, 1::2], self.model.config.error_rate)
        return log_p.exp().numpy()

    def segment_rewards(self, segments: Sequence[Segment]) -> list[RewardEstimate]:
        """For each segment its `[L]` rewards and their spread over the members."""
        raw_EB = self._returns([step for segment in segments for step in _steps(segment, self.model.spec.stack)])
        paid_EB = self.model.scale.normalise(torch.from_numpy(raw_EB)[:, None])[:, 0] * self.model.config.target_std
        ends = np.cumsum([len(segment) for segment in segments])[:-1]
        mean, std = paid_EB.mean(0).numpy(), paid_EB.std(0, correction=0).numpy()
        return [RewardEstimate(m, s) for m, s in zip(np.split(mean, ends), np.split(std, ends), strict=True)]

    def held_out(self, comparisons: Sequence[Comparison]) -> BoolArray:
        """`[E, D]` which member never trains on which comparison."""
        keys = [comparison.key for comparison in comparisons]
        weight_ED = bootstrap_weights(self.model.seed, self.model.config.members, keys)
        return np.equal(weight_ED, 0)

    def _returns(self, segments: Sequence[Segment]) -> FloatArray:
        chunks = (segments[start : start + CHUNK] for start in range(0, len(segments), CHUNK))
        empty = np.zeros((self.model.config.members, 0), np.float32)
        return np.concatenate([empty, *(self.model.segment_returns(chunk) for chunk in chunks)], axis=1)


def load_judge(checkpoint: Checkpoint, config: TrainConfig) -> Judge:
    """The reward model in `checkpoint`. UserError when it does not fit the options of the run."""
    with closing(make_envs(config.env_id, 1, config.env, seed=config.seed)) as envs:
        spec = envs.spec
    model = RewardModel(spec, config.reward_model, seed=config.seed, device=torch.device("cpu"))
    tensors = checkpoint.tensors.items()
    model.load({name.removeprefix("reward."): t for name, t in tensors if name.startswith("reward.")})
    return Judge(model)


def _steps(segment: Segment, stack: int) -> list[Segment]:
    """A segment as pieces of one step each."""
    return [
        Segment(
            id=segment.id,
            frames=segment.frames[t : t + stack],
            age=segment.age + t,
            action=segment.action[t : t + 1],
            env=segment.env,
            step=segment.step,
            iteration=segment.iteration,
        )
        for t in range(len(segment))
    ]
