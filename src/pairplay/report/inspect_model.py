"""What a saved reward model says of clips and pairs. Trains nothing, and leaves the checkpoint as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TypeVar

import numpy as np
import torch
from rich.progress import track

from pairplay.config import TrainConfig
from pairplay.envs.make import make_envs
from pairplay.reward.estimate import RewardEstimate
from pairplay.reward.fit import split_of, splitter_of
from pairplay.reward.model import RewardModel
from pairplay.run.checkpoint import Checkpoint
from pairplay.types import BoolArray, Comparison, FloatArray, Pair, Segment

# L segment length, E ensemble members, D comparisons

CHUNK = 32
"""Segments or comparisons in one pass: it bounds the memory whatever the number of clips."""
MANY = 5
"""Passes that take seconds."""


class Judge:
    """A reward model to ask. It answers in the unit that the policy is paid in."""

    def __init__(self, model: RewardModel, pairs: Sequence[Pair]) -> None:
        """`pairs` are all that the run ever asked."""
        self.model = model
        self.splitter = splitter_of(model.config, model.seed, pairs)

    def probabilities(self, comparisons: Sequence[Comparison]) -> FloatArray:
        """`[E, D]` each member's P[left], the labeler's share of random answers included."""
        empty = np.zeros((self.model.config.members, 0), np.float32)
        return np.concatenate([empty, *(self.model.probabilities(chunk) for chunk in _chunks(comparisons))], axis=1)

    def segment_rewards(self, segments: Sequence[Segment]) -> list[RewardEstimate]:
        """For each segment its `[L]` rewards and their spread over the members."""
        return [estimate for chunk in _chunks(segments) for estimate in self.model.segment_rewards(chunk)]

    def held_out(self, comparisons: Sequence[Comparison]) -> BoolArray:
        """`[E, D]` which member never trains on which comparison."""
        return split_of(self.model, comparisons, self.splitter).held_ED


def load_judge(checkpoint: Checkpoint, config: TrainConfig, asked: Sequence[Pair]) -> Judge:
    """The reward model in `checkpoint`; `asked` are all pairs of the run. UserError if it does not fit the options."""
    with closing(make_envs(config.env_id, 1, config.env, seed=config.seed)) as envs:
        spec = envs.spec
    model = RewardModel(spec, config.reward_model, seed=config.seed, device=torch.device("cpu"))
    tensors = checkpoint.tensors.items()
    model.load({name.removeprefix("reward."): t for name, t in tensors if name.startswith("reward.")})
    return Judge(model, asked)


Item = TypeVar("Item")


def _chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """With a bar in a terminal while they are gone through, if they are many."""
    starts = range(0, len(items), CHUNK)
    for start in track(starts, "Asking the reward model", transient=True, disable=len(starts) < MANY):
        yield items[start : start + CHUNK]
