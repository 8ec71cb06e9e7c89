"""Pixels multiplied as the bytes they are: what floats would give, to a fraction of a per cent, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairplay.observations import interleaved
from pairplay.reward import integers
from pairplay.reward.fit import fit
from pairplay.reward.model import RewardModel
from pairplay.reward.networks import BatchNorm, Convolutions

from .examples import IMAGE, compare, make_rollout, make_segment
from .test_networks import NORMED

# By what the CPU has, not by what the program says of it: that is among what is tested.
HAS_BOTH = torch.cpu._is_vnni_supported() and torch.cpu._is_avx512_bf16_supported()
needs_it = pytest.mark.skipif(not HAS_BOTH, reason="this CPU has no instructions that multiply bytes and bf16")
CPU = torch.device("cpu")
convolve = integers.convolve


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    integers.supported.cache_clear()
    yield
    integers.supported.cache_clear()


def picture(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, 4, 20, 24), generator=generator, dtype=torch.uint8)


@needs_it
def test_a_cpu_that_multiplies_bytes_is_asked_to() -> None:
    assert integers.supported()


def convolved(pixels: Tensor, weight: Tensor, bias: Tensor, block: int = 1) -> Tensor:
    height, width = pixels.shape[2:]
    planes = interleaved(list(pixels.transpose(0, 1).contiguous().numpy()), block)
    return integers.convolve(planes, integers.pack(weight, bias, 4, (height, width), block))


@needs_it
@pytest.mark.parametrize("block", [1, 2, 4])
def test_weights_that_are_integers_are_multiplied_exactly(block: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-integers.MOST, integers.MOST + 1, (16, 4, 8, 8), generator=generator).float()
    weight[:, 0, 0, 0] = float(integers.MOST)  # so that one step of each channel is one
    found = convolved(picture(), weight, torch.arange(16.0), block)
    expected = F.conv2d(picture().double(), weight.double(), torch.arange(16.0).double(), stride=4)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.double(), expected, rtol=2**-8, atol=0.0), "rounded once, at the end"


def _off(found: Tensor, expected: Tensor) -> float:
    """The largest error of a channel, in parts of what it holds."""
    error = (found.double() - expected).pow(2).mean((0, 2, 3)).sqrt()
    return float((error / expected.pow(2).mean((0, 2, 3)).sqrt().clamp_min(1e-9)).max())


def _weights() -> Tensor:
    weight = torch.randn(16, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return weight * torch.logspace(-3, 3, 16)[:, None, None, None]


@needs_it
def test_other_weights_to_a_step_each() -> None:
    weight = _weights()
    weight[5] = 0.0
    found = convolved(picture(), weight, torch.zeros(16))
    assert _off(found, F.conv2d(picture().double(), weight.double(), stride=4)) < 0.02
    assert (found[:, 5] == 0).all()


@needs_it
@pytest.mark.parametrize("block", [2, 4])
def test_pictures_in_blocks_are_multiplied_by_the_same_integers(block: int) -> None:
    pixels, weight, bias = picture(), _weights(), torch.arange(16.0)
    assert torch.equal(convolved(pixels, weight, bias, block), convolved(pixels, weight, bias))


@needs_it
@pytest.mark.parametrize("block", [1, 4])
def test_where_neighbouring_pixels_are_alike_errors_cancel(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = torch.rand(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)) * 255
    smooth = F.interpolate(coarse, (60, 72), mode="bilinear").to(torch.uint8)
    exact = F.conv2d(smooth.double(), _weights().double(), stride=4)
    together = _off(convolved(smooth, _weights(), torch.zeros(16), block), exact)
    monkeypatch.setattr(integers, "_rounded", torch.round)
    each_for_itself = _off(convolved(smooth, _weights(), torch.zeros(16), block), exact)
    assert together < 0.006
    assert together < 0.6 * each_for_itself


def _too_narrow(x: Tensor, packed: integers.Packed) -> Tensor:
    """As a CPU adds that stops at 32,767 steps."""
    return convolve(x, packed).clamp(-32767 / 127, 32767 / 127)


def _wrong_in_blocks(x: Tensor, packed: integers.Packed) -> Tensor:
    return convolve(x, packed) * (0.5 if x.shape[1] == 4 * 16 else 1.0)


def _missing(*_: object) -> Tensor:
    raise AttributeError("no such operator")


@pytest.mark.parametrize("broken", [_too_narrow, _wrong_in_blocks, _missing])
def test_where_it_goes_wrong_it_is_not_used(broken: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integers, "convolve", broken)
    assert not integers.supported()
    assert np.isfinite(rough().score(make_rollout(IMAGE))).all()


def rough(precision: str = "bf16") -> RewardModel:
    return RewardModel(IMAGE, NORMED, seed=0, device=CPU, precision="bf16" if precision == "bf16" else "fp32")


@needs_it
def test_predictions_take_it_and_learning_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Size] = []

    def noting(x: Tensor, packed: integers.Packed) -> Tensor:
        seen.append(x.shape)
        return convolve(x, packed)

    monkeypatch.setattr(integers, "convolve", noting)
    assert integers.supported()
    seen.clear()
    model, exact = rough(), rough("fp32")
    segments = [make_segment(IMAGE, str(i), length=3, seed=i) for i in range(4)]
    comparisons = compare(segments, lambda s: s.frames.mean(), 4)
    fit(model, comparisons, pairs=4, rng=np.random.default_rng(0))
    exact.score(make_rollout(IMAGE))
    assert not seen
    exact.load(model.state())
    rollout = make_rollout(IMAGE)
    found, expected = model.score(rollout), exact.score(rollout)
    assert seen
    assert np.abs(found - expected).max() < 0.05 * expected.std() + 0.01


@needs_it
def test_weights_are_packed_once_and_anew_when_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[int] = []
    pack = integers.pack

    def counting(*words: Any) -> integers.Packed:
        packed.append(1)
        return pack(*words)

    assert integers.supported()
    monkeypatch.setattr(integers, "pack", counting)
    model, fresh = rough(), rough()
    rollout, segments = make_rollout(IMAGE), [make_segment(IMAGE, str(i), length=3, seed=i) for i in range(4)]
    before = model.score(rollout)
    assert np.array_equal(model.score(rollout), before)
    model.segment_returns(segments)
    assert len(packed) == 1
    fit(model, compare(segments, lambda s: s.frames.mean(), 4), pairs=4, rng=np.random.default_rng(0))
    after = model.score(rollout)
    assert len(packed) == 2
    # What was packed before would not do, neither after learning nor after loading.
    fresh.score(rollout)
    fresh.load(model.state())
    assert np.array_equal(fresh.score(rollout), after)
    assert not np.array_equal(before, after)


@needs_it
@pytest.mark.parametrize("name", ["convs.0.weight", "convs.0.bias", "norms.0.gain", "norms.0.bias"])
def test_each_tensor_that_is_packed_is_watched(name: str) -> None:
    model = rough()
    rollout = make_rollout(IMAGE)
    before = model.score(rollout)
    with torch.no_grad():
        dict(model.network.torso.named_parameters())[name].add_(1.0)
    after = model.score(rollout)
    assert not np.array_equal(before, after)


@needs_it
def test_a_norm_that_saw_a_mini_batch_is_packed_anew() -> None:
    model = rough()
    rollout = make_rollout(IMAGE)
    before = model.score(rollout)
    assert isinstance(model.network.torso, Convolutions)
    norm = model.network.torso.norms[0]
    assert isinstance(norm, BatchNorm)
    with model.training(np.random.default_rng(0)):
        norm(torch.randn(4, norm.gain.numel(), 3, 3) + 5.0)
    assert not np.array_equal(model.score(rollout), before)
