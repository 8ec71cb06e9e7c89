"""What every test stands on: one thread, no screen, and a working directory of its own."""

from __future__ import annotations

import os
import sys

# Before anything imports the libraries that read them; child processes inherit them. One thread, because tests compare
# runs bit by bit and the networks are small.
os.environ["OMP_NUM_THREADS"] = "1"
if sys.platform == "linux":
    os.environ["MUJOCO_GL"] = "egl"
os.environ["SDL_VIDEODRIVER"] = "dummy"
os.environ["SDL_AUDIODRIVER"] = "dummy"
os.environ["MPLBACKEND"] = "Agg"
os.environ["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"

from pathlib import Path

import hypothesis.configuration
import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)

# The suite says the same of the same code, on a slow machine too.
# `pytest --hypothesis-profile=explore` draws new examples and keeps those that failed.
hypothesis.configuration.set_hypothesis_home_dir(ROOT / ".hypothesis")
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test leaves behind (MuJoCo's log, a default run directory) stays out of the repository."""
    monkeypatch.chdir(tmp_path)
