"""Pictures on their way through convolutions, and gradients on their way back. Knows no network."""

from __future__ import annotations

import torch
from torch import Tensor

# B batch, K stacked frames, C channels, H x W a picture

BLOCKS = (2, 4)
"""Pixels each way of the blocks in which pictures may come."""


def as_numbers(pixels: Tensor) -> Tensor:
    """`[B, K, H, W]` bytes as what convolutions compute with at the moment, 0…255, channels last in memory."""
    device = pixels.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
    # Cast before the layout change: integers to 255 are exact in bf16 too.
    return pixels.to(dtype).contiguous(memory_format=torch.channels_last)


def blocks(weight: Tensor, block: int) -> Tensor:
    """`[out, K, h, w]` weights as `[out, K·block², h/block, w/block]`: for pictures that come in blocks.

    A convolution that moves by a block sees each as one pixel of many channels. So it adds up the same products, and
    matrix units take in a block at once where they would take a few pixels (docs/decisions/047).
    """
    if block == 1:
        return weight
    out, planes, height, width = weight.shape
    parts = weight.view(out, planes, height // block, block, width // block, block)
    return parts.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


def back_as_it_came(features: Tensor) -> Tensor:
    """The same `[B, C, H, W]`; their gradient will have the channels last, as they do.

    What makes rows of them hands it back with the channels first, and on a CPU each layer before that then takes
    several times as long (docs/decisions/042).
    """
    if features.requires_grad and features.device.type == "cpu":
        features.register_hook(_channels_last)  # type: ignore[no-untyped-call]
    return features


def _channels_last(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)
