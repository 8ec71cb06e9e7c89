"""The number format and memory layout in which convolutions take pictures, there and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairplay.observations import interleaved
from pairplay.pixels import as_numbers, back_as_it_came, blocks


@pytest.mark.parametrize(("bf16", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_pixels_become_what_convolutions_compute_with(*, bf16: bool, dtype: torch.dtype) -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        numbers = as_numbers(pixels)
    assert numbers.dtype == dtype
    assert numbers.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(numbers.to(torch.uint8), pixels), "each byte is exact"


def test_the_gradient_comes_back_in_the_layout_of_the_features() -> None:
    pictures = torch.rand(2, 3, 5, 4).to(memory_format=torch.channels_last)
    layouts: list[tuple[int, ...]] = []
    gradients: list[Tensor] = []
    for keep in (back_as_it_came, lambda features: features):
        leaf = pictures.clone().requires_grad_()
        features = F.relu(leaf)
        rows = keep(features).flatten(1)
        features.register_hook(lambda gradient: layouts.append(gradient.stride()))  # type: ignore[no-untyped-call]
        (rows * torch.arange(60.0)).sum().backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    assert layouts == [pictures.stride(), pictures.contiguous().stride()], "without it the channels come first"
    assert torch.equal(gradients[0], gradients[1])


def test_what_nobody_differentiates_passes_through() -> None:
    features = torch.rand(2, 3, 5, 4)
    assert back_as_it_came(features) is features


@pytest.mark.parametrize(("kernel", "block"), [(8, 4), (4, 4), (4, 2), (6, 2), (5, 1)])
def test_a_convolution_of_blocks_is_that_of_their_pixels(kernel: int, block: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-9, 10, (5, 3, kernel, kernel), generator=generator).double()
    weight = weight.to(memory_format=torch.channels_last).requires_grad_()
    planes = np.random.default_rng(0).integers(0, 256, (3, 2, 16, 24)).astype(np.uint8)
    pixels, in_blocks = interleaved(list(planes)).double(), interleaved(list(planes), block).double()
    expected = F.conv2d(pixels, weight, stride=block)
    found = F.conv2d(in_blocks, blocks(weight, block))
    assert torch.equal(found, expected)
    d_y = torch.randint(-9, 10, expected.shape, generator=generator).double()
    (one,), (other,) = torch.autograd.grad(found, weight, d_y), torch.autograd.grad(expected, weight, d_y)
    assert torch.equal(one, other)
