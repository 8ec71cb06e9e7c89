"""Clips that a process of its own encodes: the same clips, and an end with the run."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pairplay.helper import Helper
from pairplay.run.clips import decode, encode
from pairplay.run.encoders import FIRST, Encoders
from pairplay.types import Picture

pytestmark = pytest.mark.skipif(os.name != "posix", reason="elsewhere clips are encoded by threads")


def pictures(seed: int, length: int = 6, height: int = 33, width: int = 21) -> Picture:
    tiles = np.random.default_rng(seed).integers(0, 255, (length, height // 3, width // 3, 3), dtype=np.uint8)
    return tiles.repeat(3, axis=1).repeat(3, axis=2)


@pytest.fixture
def encoders(tmp_path: Path) -> Iterator[Encoders]:
    made = Encoders(tmp_path, 2)
    yield made
    made.close()


def seen(clip: Path | bytes, tmp_path: Path) -> Picture:
    if isinstance(clip, bytes):
        path = tmp_path / "here.mp4"
        path.write_bytes(clip)
        clip = path
    return decode(clip)


def test_a_clip_is_what_it_would_be_here(encoders: Encoders, tmp_path: Path) -> None:
    # Large, small, and not in one piece in memory: nothing of the one before is left.
    for film in (pictures(0, length=9), pictures(1, length=2), pictures(2)[:, :, ::-1]):
        clip = seen(tmp_path / f"{encoders(film, 15.0)}.mp4", tmp_path).astype(int)
        here = seen(encode(film, 15.0), tmp_path).astype(int)
        assert clip.shape == here.shape
        # x264 is not steady to the last byte.
        assert np.abs(clip - here).mean() < 1.0


def test_several_threads_each_get_their_own(encoders: Encoders, tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def one(seed: int) -> float:
        together.wait(10)
        name = encoders(pictures(seed), 15.0)
        return float(np.abs(decode(tmp_path / f"{name}.mp4").astype(int) - pictures(seed)).mean())

    with ThreadPoolExecutor(4) as threads:
        assert max(threads.map(one, range(4))) < 15, "two different clips are 85 apart"


def waiting(encoders: Encoders) -> Helper:
    """The process that encodes next."""
    encoder = encoders._free.get()
    encoders._free.put(encoder)
    return encoder.helper


def off(name: str, film: Picture, tmp_path: Path) -> float:
    return float(np.abs(decode(tmp_path / f"{name}.mp4").astype(int) - film).mean())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priority of their own")
def test_whoever_plays_comes_before_whoever_encodes(tmp_path: Path) -> None:
    encoders = Encoders(tmp_path, 1)
    process = waiting(encoders)._process.pid
    for number in range(FIRST):
        encoders(pictures(number, length=1), 15.0)
    assert os.getpriority(os.PRIO_PROCESS, process) > os.getpriority(os.PRIO_PROCESS, 0)
    assert os.sched_getscheduler(process) == os.SCHED_OTHER, "somebody may be waiting for the first pairs"
    encoders(pictures(FIRST, length=1), 15.0)
    assert os.sched_getscheduler(process) == os.SCHED_IDLE
    encoders.close()


def test_one_that_gets_no_core_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoders = Encoders(tmp_path, 1)
    encoders(pictures(0), 15.0)
    helper = waiting(encoders)
    monkeypatch.setattr("pairplay.run.encoders.PATIENCE_S", 0.05)
    os.kill(helper._process.pid, signal.SIGSTOP)
    # The second finds it at work on the first, whose pictures it must not overwrite.
    for seed in (1, 2):
        assert off(encoders(pictures(seed), 15.0), pictures(seed), tmp_path) < 15, "two different clips are 85 apart"
    os.kill(helper._process.pid, signal.SIGCONT)
    assert helper.idle(10.0)
    monkeypatch.setattr("pairplay.run.encoders.PATIENCE_S", 10.0)
    monkeypatch.delattr("pairplay.run.encoders.encode")  # nobody encodes here any more
    assert off(encoders(pictures(3), 15.0), pictures(3), tmp_path) < 15, "its late answer was for another clip"
    encoders.close()


def test_what_goes_wrong_is_raised_here_and_the_next_clip_is_encoded(encoders: Encoders, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a clip needs at least one picture"):
        encoders(pictures(0)[:0], 15.0)
    assert (tmp_path / f"{encoders(pictures(0), 15.0)}.mp4").exists()


def test_closing_ends_them_at_once_and_twice_is_once(tmp_path: Path) -> None:
    encoders = Encoders(tmp_path, 1)  # still importing its libraries
    encoder = encoders._free.get()
    encoders._free.put(encoder)
    encoders.close()
    assert encoder.helper._process.returncode is not None
    encoders.close()
