"""Build stacked observations by index from frames that are stored once. Knows no network and no environment."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from pairplay.types import Array

# T steps, N environments, K stacked frames, B batch, F the shape of one frame, H x W a picture


def stack_frames(frames: Tensor, age: Tensor, step: Tensor, env: Tensor, stack: int, *, block: int = 1) -> Tensor:
    """The observations `(step[b], env[b])`, oldest frame first: `[B, K, *F]`, of the dtype of `frames`.

    `frames` is `[K-1 + T, N, *F]` with the newest frame of step t in row `K-1+t`; `age` is `[T, N]`.
    A stack never reaches across a reset: younger than K steps, it repeats the episode's first frame. On a CPU stacks of
    pictures are `interleaved`, in blocks if that is asked for.
    """
    back_BK = torch.arange(stack - 1, -1, -1, device=step.device).expand(len(step), stack)
    back_BK = torch.minimum(back_BK, age[step, env][:, None])
    row_BK = (step[:, None] + (stack - 1) - back_BK) * frames.shape[1] + env[:, None]
    pictures = frames.dtype == torch.uint8 and frames.dim() == 4 and frames.device.type == "cpu"
    row = row_BK.T if pictures else row_BK
    whole = frames.flatten(0, 1)
    if pictures and _runs(row):
        return interleaved([whole[first : first + len(step)].numpy() for first in row[:, 0].tolist()], block)
    # Whole rows by one index: a twentieth of the time of an index for each axis.
    chosen = whole.index_select(0, row.flatten()).view(*row.shape, *frames.shape[2:])
    return interleaved(list(chosen.numpy()), block) if pictures else chosen


def _runs(row_KB: Tensor) -> bool:
    """Whether the rows lie side by side for each of the K, so that nothing need be gathered, as in a whole rollout."""
    B = row_KB.shape[1]
    return B > 0 and bool((row_KB[:, -1] - row_KB[:, 0] == B - 1).all()) and bool((row_KB.diff(dim=1) == 1).all())


def interleaved(planes: Sequence[Array], block: int = 1) -> Tensor:
    """`[B, K, H, W]` from K planes `[B, H, W]` of uint8, a pixel's K values side by side in memory (channels last).

    So convolutions on a CPU read them. While they are bytes this takes a fraction of what it takes afterwards.
    In blocks of so many pixels each way, 2 or 4, it is `[B, K·block², H/block, W/block]`: what a convolution that moves
    by a block sees of one is in one place, plane by plane and row by row.
    """
    K, (B, H, W) = len(planes), planes[0].shape
    if B == 0:
        shape = (0, K * block**2, H // block, W // block)
        return torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
    # A row of a block is one number of so many bytes. As tall pictures, the channels of one.
    number = np.dtype(f"i{block}")
    tall = [plane.view(number).reshape(-1, block, W // block)[:, row] for plane in planes for row in range(block)]
    pixels = np.empty((B * H // block, W // block, len(tall)), number)
    cv2.merge(tall, pixels)
    return torch.from_numpy(pixels.view(np.uint8)).view(B, H // block, W // block, -1).permute(0, 3, 1, 2)
