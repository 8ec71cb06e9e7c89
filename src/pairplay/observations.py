"""Build stacked observations by index from frames that are stored once. Knows no network and no environment."""

from __future__ import annotations

import torch
from torch import Tensor

# T steps, N environments, K stacked frames, B batch, F the shape of one frame


def stack_frames(frames: Tensor, age: Tensor, step: Tensor, env: Tensor, stack: int) -> Tensor:
    """The observations `(step[b], env[b])`, oldest frame first: `[B, K, *F]`, of the dtype of `frames`.

    `frames` is `[K-1 + T, N, *F]` with the newest frame of step t in row `K-1+t`; `age` is `[T, N]`.
    A stack never reaches across a reset: younger than K steps, it repeats the episode's first frame.
    """
    back_BK = torch.arange(stack - 1, -1, -1, device=step.device).expand(len(step), stack)
    back_BK = torch.minimum(back_BK, age[step, env][:, None])
    row_BK = (step[:, None] + (stack - 1) - back_BK) * frames.shape[1] + env[:, None]
    # Whole rows by one index: a twentieth of the time of an index for each axis.
    chosen = frames.flatten(0, 1).index_select(0, row_BK.flatten())
    return chosen.view(*row_BK.shape, *frames.shape[2:])
