"""Device, number format and threads follow the machine and what the environments show; options overrule both."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from pairplay import hardware
from pairplay.hardware import Hardware, choose_hardware, half_the_threads, small_numbers_are_zero
from pairplay.policy.adam import SeparateAdam
from pairplay.types import UserError


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Four cores, no bf16 and no GPU, unless a test says otherwise."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(hardware, "available_cores", lambda: 4)
    monkeypatch.setattr(hardware, "_computes_bf16", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return monkeypatch


CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_pictures_take_all_cores_and_state_vectors_one(machine: pytest.MonkeyPatch) -> None:
    assert choose_hardware("auto", "auto", is_image=True) == Hardware(CPU, "fp32", 4)
    assert torch.get_num_threads() == 4
    assert choose_hardware("auto", "auto", is_image=False) == Hardware(CPU, "fp32", 1)
    assert torch.get_num_threads() == 1


def test_the_environment_bounds_the_threads(machine: pytest.MonkeyPatch) -> None:
    for wanted, threads in (("2", 2), ("64", 4), ("0", 1), ("many", 4)):
        machine.setenv("OMP_NUM_THREADS", wanted)
        assert choose_hardware("auto", "auto", is_image=True).threads == threads


def test_a_processor_that_computes_in_bf16_does_so_with_pictures(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(hardware, "_computes_bf16", lambda: True)
    assert choose_hardware("auto", "auto", is_image=True).precision == "bf16"
    assert choose_hardware("auto", "fp32", is_image=True).precision == "fp32"
    assert choose_hardware("auto", "auto", is_image=False).precision == "fp32"


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this CPU has no such mode")
def test_moments_of_what_is_no_longer_used_vanish() -> None:
    def moments() -> tuple[Tensor, Tensor]:
        parameter = nn.Parameter(torch.ones(8))
        adam = SeparateAdam([parameter])
        for number in range(1200):
            parameter.grad = torch.full_like(parameter, 0.0 if number else 1e-3)
            adam.step(1.0)
        return adam.moments(parameter)["exp_avg"], adam.moments(parameter)["exp_avg_sq"]

    for vanish in (True, False):
        with small_numbers_are_zero(here=vanish), ThreadPoolExecutor(1) as later:
            for mean, square in (moments(), later.submit(moments).result()):
                assert (mean == 0).all() == vanish, "else they stay at the smallest number that there is"
                assert (square > 1e-12).all(), "a normal number"
        assert torch.tensor([1e-39]) * 0.5 > 0, "whoever comes later is not concerned"


def test_a_gpu_takes_pictures_in_fp32(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.cuda, "is_available", lambda: True)
    machine.setattr(hardware, "_computes_bf16", lambda: True)
    assert choose_hardware("auto", "auto", is_image=True) == Hardware(GPU, "fp32", 1)
    assert choose_hardware("auto", "bf16", is_image=True) == Hardware(GPU, "bf16", 1)
    assert choose_hardware("cpu", "auto", is_image=True) == Hardware(CPU, "bf16", 4)
    assert choose_hardware("auto", "auto", is_image=False).device == CPU
    assert choose_hardware("cuda", "auto", is_image=False).device == GPU


def test_a_gpu_that_is_not_there_is_an_error_that_says_what_to_do(machine: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--device cpu"):
        choose_hardware("cuda", "auto", is_image=True)


@pytest.mark.parametrize(("threads", "half"), [(8, 4), (3, 1), (1, 1)])
def test_half_the_threads_are_left_to_others_and_all_come_back(threads: int, half: int) -> None:
    torch.set_num_threads(threads)

    @half_the_threads()
    def play() -> None:
        assert torch.get_num_threads() == half
        raise RuntimeError("lost")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="lost"):
            play()
        assert torch.get_num_threads() == threads
