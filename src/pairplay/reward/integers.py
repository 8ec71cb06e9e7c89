"""A convolution of bytes, multiplied as the integers they are. Knows no network.

A CPU multiplies bytes twice as fast as bf16. Pixels are bytes already; of the weights of each channel whole numbers of
steps remain, and how large a step is.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from pairplay.pixels import BLOCKS, blocks

MOST = 126
"""Steps of the largest weight of a channel; rounded it may have one more, and 127 is the most that a byte holds."""


class Packed(NamedTuple):
    """Weights of a convolution as it multiplies bytes with them."""

    weight: Tensor
    """In a layout of its own, for pictures in `blocks`."""
    step: Tensor
    bias: Tensor
    geometry: tuple[list[int], list[int], list[int], int]
    """Stride, margin and distance of its pixels, and groups."""


@torch.no_grad()
def pack(weight: Tensor, bias: Tensor, stride: int, picture: tuple[int, ...], block: int = 1) -> Packed:
    """Round `[out, K, h, w]` weights for pictures of this size, which come in blocks (1: as pixels)."""
    step = weight.abs().amax((1, 2, 3)).float().clamp_min(1e-30) / MOST
    # Rounded pixel by pixel, whatever the order in which the CPU then takes them.
    steps = blocks(_rounded(weight / step[:, None, None, None]).to(torch.int8), block)
    geometry = [stride // block] * 2, [0, 0], [1, 1], 1
    height, width = picture
    shape = [1, steps.shape[1], height // block, width // block]
    # torch's own quantised models compute with these operators; they are not promised to anybody else.
    packed = torch.ops.onednn.qconv_prepack(steps, step, 1.0, 0, *geometry, shape)
    return Packed(packed, step, bias.float(), geometry)


@torch.no_grad()
def convolve(x: Tensor, packed: Packed) -> Tensor:
    """`[B, K, H, W]` uint8 → `[B, out, H', W']` bf16, channels last. Only where it is `supported`."""
    found: Tensor = torch.ops.onednn.qconv2d_pointwise(
        x.contiguous(memory_format=torch.channels_last),
        *(1.0, 0, packed.weight, packed.step, torch.zeros(len(packed.step), dtype=torch.long), packed.bias),
        *(*packed.geometry, 1.0, 0, torch.bfloat16, "none", [], ""),
    )
    return found


def _rounded(weight: Tensor) -> Tensor:
    """Whole numbers whose running sums are those of the weights, rounded: what one is too large its neighbour is too
    small, and neighbouring pixels are much alike. So they are as exact as bf16 (docs/decisions/043).
    """
    sums = weight.flatten(1).float().cumsum(1).round()
    return sums.diff(dim=1, prepend=torch.zeros(len(sums), 1)).view_as(weight)


@cache
def supported() -> bool:
    """Whether this CPU and this torch can do it, and do it right: older CPUs stop counting at 32,767."""
    weight = torch.linspace(-1.0, 1.0, 16)[:, None, None, None].expand(16, 4, 8, 8).contiguous()
    expected = 255.0 * weight.sum((1, 2, 3))
    for block in (1, *BLOCKS):
        pixels = torch.full((1, 4 * block**2, 8 // block, 8 // block), 255, dtype=torch.uint8)
        try:
            found = convolve(pixels, pack(weight, torch.zeros(16), 4, (8, 8), block))
        except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError):
            return False
        if found.numel() != len(expected) or not torch.allclose(found.float().flatten(), expected, rtol=0.01):
            return False
    return True
