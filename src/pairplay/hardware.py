"""Choose device, number format and threads from what the machine has. Knows no network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from pairplay.cores import available_cores
from pairplay.types import UserError

Precision = Literal["bf16", "fp32"]


@dataclass(frozen=True)
class Hardware:
    """Where and how the networks compute."""

    device: torch.device
    precision: Precision
    threads: int

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        return f"{name}, {self.precision}, {self.threads} thread{'s' if self.threads > 1 else ''}"


def choose_hardware(device: str, precision: str, *, is_image: bool) -> Hardware:
    """Resolve `auto` settings and set torch's thread count for the process.

    bf16 is chosen only where it is faster: on a CPU that multiplies in it (AMX, AVX-512 BF16). On others it is slower,
    and on a GPU it gained nothing where that was measured (docs/decisions/028). State vectors are too
    small to share between threads: one is fastest; nor are they worth a GPU's latency, which each step of a few rows
    would pay several times. OMP_NUM_THREADS bounds the threads.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "--device cuda: torch sees no CUDA device here. Use --device cpu, or install a CUDA build of torch"
        )
    wants_cuda = device == "cuda" or (device == "auto" and is_image and torch.cuda.is_available())
    chosen = torch.device("cuda" if wants_cuda else "cpu")
    gains = is_image and chosen.type == "cpu" and _computes_bf16()
    number_format: Precision = "bf16" if precision == "bf16" or (precision == "auto" and gains) else "fp32"
    threads = _most_threads() if is_image and chosen.type == "cpu" else 1
    torch.set_num_threads(threads)
    return Hardware(chosen, number_format, threads)


@contextmanager
def small_numbers_are_zero(*, here: bool = True) -> Iterator[None]:
    """In here what is too small to be a normal number is 0, in this thread and in those that it starts meanwhile.

    Adam's moments of a weight that is no longer used shrink until they are such numbers, and stay there: a twelfth of a
    policy's after 35 iterations of Enduro. An Intel server takes forty times as long to multiply them
    (docs/decisions/046).
    """
    torch.set_flush_denormal(here)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def half_the_threads() -> Iterator[None]:
    """In here torch computes on half of its threads (at least one), beside something else that keeps the cores busy.

    Its threads wait for one another in a loop: as many as there are cores would hold up whatever else runs there.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // 2))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def pair_of_threads() -> ThreadPoolExecutor | None:
    """Two threads that share those of torch, for work that can be cut in pieces; None if torch has only one.

    All of torch's threads on one layer wait for one another at its end, layer after layer; these wait once.
    """
    half = torch.get_num_threads() // 2
    return ThreadPoolExecutor(2, "sharing", lambda: torch.set_num_threads(half)) if half else None


def _most_threads() -> int:
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(available_cores(), max(1, int(wanted))) if wanted.isdigit() else available_cores()


def _computes_bf16() -> bool:
    """Whether the CPU does."""
    # torch has no public question for this: its capability string says AVX512 on chips with and without bf16.
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
