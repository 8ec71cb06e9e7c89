"""Stacks of frames by index: of pictures laid out for convolutions, of anything else as they come."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pairplay.observations import interleaved, stack_frames

STACK = 4


def by_hand(frames: Tensor, age: Tensor, step: Tensor, env: Tensor) -> Tensor:
    stacks = []
    for t, n in zip(step.tolist(), env.tolist(), strict=True):
        newest = STACK - 1 + t
        stacks.append(torch.stack([frames[newest - min(back, int(age[t, n])), n] for back in (3, 2, 1, 0)]))
    return torch.stack(stacks)


@pytest.mark.parametrize("shape", [(6, 5), (3,)], ids=["pictures", "vectors"])
def test_a_stack_is_the_latest_frames_of_one_episode(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    numbers = random.integers(0, 256, (STACK - 1 + 7, 3, *shape))
    frames = torch.from_numpy(numbers.astype(np.uint8 if len(shape) == 2 else np.float32))
    age = torch.from_numpy(random.integers(0, 6, (7, 3)))
    step, env = torch.from_numpy(random.integers(0, 7, 20)), torch.from_numpy(random.integers(0, 3, 20))
    found = stack_frames(frames, age, step, env, STACK)
    assert found.dtype == frames.dtype
    assert torch.equal(found, by_hand(frames, age, step, env))


@pytest.mark.parametrize("age", [9, 0], ids=["grown", "young"])
def test_whole_steps_are_stacked_where_they_lie(age: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    frames = torch.from_numpy(random.integers(0, 256, (STACK - 1 + 7, 3, 6, 5)).astype(np.uint8))
    ages = torch.arange(age, age + 7)[:, None].expand(7, 3).contiguous()
    step, env = torch.arange(7).repeat_interleave(3)[4:17], torch.arange(3).repeat(7)[4:17]
    expected = by_hand(frames, ages, step, env)
    gathered: list[int] = []
    gather = Tensor.index_select

    def counting(*words: Any) -> Tensor:
        gathered.append(1)
        return gather(*words)

    monkeypatch.setattr(Tensor, "index_select", counting)
    assert torch.equal(stack_frames(frames, ages, step, env, STACK), expected)
    assert len(gathered) == (age == 0), "an episode's first frame stands for those before it"
    # One picture that lies elsewhere, and all have to be gathered.
    step[5] = 6
    assert torch.equal(stack_frames(frames, ages, step, env, STACK), by_hand(frames, ages, step, env))
    assert len(gathered) == 1 + (age == 0)


def test_the_values_of_a_pixel_are_side_by_side() -> None:
    planes = [np.full((2, 3, 5), plane, np.uint8) for plane in range(STACK)]
    found = interleaved(planes)
    assert found.shape == (2, STACK, 3, 5)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found.permute(0, 2, 3, 1).flatten()[: 2 * STACK].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    # Becoming numbers keeps it so: nothing has to be moved for a convolution.
    assert found.to(torch.bfloat16).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("planes", "pictures"), [(1, 2), (4, 0), (7, 2)])
def test_one_plane_many_planes_and_no_pictures(planes: int, pictures: int) -> None:
    random = np.random.default_rng(0).integers(0, 256, (planes, pictures, 3, 5)).astype(np.uint8)
    assert torch.equal(interleaved(list(random)), torch.from_numpy(random).transpose(0, 1))


def by_hand_in_blocks(pictures: Tensor, block: int) -> Tensor:
    """`[B, K·block², H/block, W/block]`: plane by plane, and in each a block's rows one after the other."""
    rows = [
        pictures[:, plane, row::block, column::block]
        for plane in range(pictures.shape[1])
        for row in range(block)
        for column in range(block)
    ]
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("block", [2, 4])
@pytest.mark.parametrize(("planes", "pictures"), [(1, 2), (4, 3), (4, 0)])
def test_in_blocks_a_blocks_pixels_are_side_by_side(planes: int, pictures: int, block: int) -> None:
    random = np.random.default_rng(0).integers(0, 256, (planes, pictures, 12, 8)).astype(np.uint8)
    found = interleaved(list(random), block)
    assert found.dtype == torch.uint8
    assert torch.equal(found, by_hand_in_blocks(torch.from_numpy(random).transpose(0, 1), block))
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("whole", [True, False])
def test_stacks_come_in_blocks_from_where_they_lie_and_gathered(whole: bool) -> None:
    random = np.random.default_rng(0)
    frames = torch.from_numpy(random.integers(0, 256, (STACK - 1 + 7, 3, 8, 12)).astype(np.uint8))
    age = torch.from_numpy(random.integers(0, 6, (7, 3))) if not whole else torch.full((7, 3), 9)
    step, env = torch.arange(7).repeat_interleave(3), torch.arange(3).repeat(7)
    found = stack_frames(frames, age, step, env, STACK, block=4)
    assert torch.equal(found, by_hand_in_blocks(by_hand(frames, age, step, env), 4))
