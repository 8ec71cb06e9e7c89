"""Rollouts and footage whose every number says where it came from."""

from __future__ import annotations

import numpy as np

from pairplay.packing import segment_id
from pairplay.types import BoolArray, Footage, Rollout, Segment


def make_rollout(done: BoolArray, *, stack: int = 4, truncated: BoolArray | None = None) -> Rollout:
    """Episodes end where `done [T, N]` is true. A frame is `[episode, age]` of its environment, so no two are alike."""
    T, N = done.shape
    truncated = np.zeros_like(done) if truncated is None else truncated
    rows = np.zeros((stack + T, N, 2), np.float32)
    age = np.zeros((T + 1, N), np.int64)
    episode = np.zeros(N)
    for row in range(stack + T):
        t = row - (stack - 1)
        if t > 0:
            age[t] = np.where(done[t - 1], 0, age[t - 1] + 1)
            episode += done[t - 1]
        # Rows before the rollout belong to an earlier episode: every environment starts at age 0.
        rows[row] = np.stack([episode, age[t]] if t >= 0 else [np.full(N, -1.0), np.full(N, row)], axis=-1)
    step = np.arange(T * N).reshape(T, N)
    nothing = np.zeros((T, N), np.float32)
    return Rollout(
        frames=rows,
        age=age,
        action=step,
        log_prob=nothing,
        value=nothing,
        terminated=done & ~truncated,
        truncated=done & truncated,
        final_value=nothing,
        last_value=nothing[0],
        env_reward=(step / 10).astype(np.float32),
        lost=done & ~truncated,
    )


def make_footage(i: int, length: int = 2) -> Footage:
    frames = np.full((length, 1), i, np.float32)
    action = np.zeros(length, np.int64)
    segment = Segment(segment_id(frames, 0, action), frames, 0, action, env=0, step=0, iteration=i)
    captures = np.full((length, 4, 4, 3), i % 256, np.uint8)
    return Footage(segment, captures, np.zeros(length, np.float32))
