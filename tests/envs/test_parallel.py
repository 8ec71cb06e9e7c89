"""Environments in several processes: what one process would play, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairplay.config import EnvConfig
from pairplay.envs import make
from pairplay.envs.base import Envs
from pairplay.envs.check import check_envs
from pairplay.envs.control import ControlEnvs
from pairplay.envs.hidden_ends import HiddenEnds
from pairplay.envs.make import make_envs
from pairplay.envs.parallel import ParallelEnvs, _worker
from pairplay.helper import shared_memory
from pairplay.types import UserError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="elsewhere one process plays them all")


CONFIG = EnvConfig(max_episode_steps=7)


def made(env_id: str = "HalfCheetah-v5", num_envs: int = 5, processes: int = 3, config: EnvConfig = CONFIG) -> Envs:
    return make_envs(env_id, num_envs, replace(config, processes=processes), seed=3)


@pytest.fixture
def envs() -> Iterator[ParallelEnvs]:
    made_envs = made(num_envs=2, processes=2)
    assert isinstance(made_envs, ParallelEnvs)
    yield made_envs
    made_envs.close()


def test_the_contract_is_kept() -> None:
    envs, twin = made(), made()
    assert isinstance(envs, ParallelEnvs)
    check_envs(envs, twin, steps=20, rng=np.random.default_rng(0), max_episode_steps=7)


@pytest.mark.parametrize(
    ("env_id", "config"),
    [
        ("HalfCheetah-v5", EnvConfig(max_episode_steps=20, torque_cost=False)),
        ("Hopper-v5", EnvConfig(max_episode_steps=60)),
        ("Hopper-v5", EnvConfig(max_episode_steps=60, ends="hide")),
        ("InvertedPendulum-v5", EnvConfig(max_episode_steps=60, ends="continue", play_on_steps=5)),
    ],
)
def test_they_play_what_one_process_plays(env_id: str, config: EnvConfig) -> None:
    several, one = made(env_id, config=config), made(env_id, config=config, processes=1)
    if config.ends == "hide":
        assert isinstance(several, HiddenEnds)
        assert isinstance(several._envs, ParallelEnvs)
    else:
        assert isinstance(several, ParallelEnvs)
        assert isinstance(one, ControlEnvs)
    np.testing.assert_array_equal(several.reset(), one.reset())
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(150):
        action = rng.uniform(-1, 1, (5, one.spec.action_dim)).astype(np.float32)
        here, there = several.step(action), one.step(action)
        over = there.terminated | there.truncated
        ended += over.sum()
        np.testing.assert_array_equal(here.final_frames[over], there.final_frames[over])
        for name in ("frames", "env_reward", "terminated", "truncated", "lost"):
            np.testing.assert_array_equal(getattr(here, name), getattr(there, name), name)
        for env in range(5):
            np.testing.assert_array_equal(several.capture(env), one.capture(env))
    assert ended >= 10
    several.close()
    one.close()


def test_a_step_is_not_changed_by_the_next(envs: ParallelEnvs) -> None:
    envs.reset()
    action = np.ones((2, 6), np.float32)
    step = envs.step(action)
    before = step.frames.copy()
    envs.step(-action)
    np.testing.assert_array_equal(step.frames, before)


def test_workers_end_with_their_environments_and_hear_no_ctrl_c(envs: ParallelEnvs) -> None:
    (worker,) = envs._workers
    assert os.getpgid(worker._process.pid) != os.getpgid(0)
    envs.close()
    assert worker._process.returncode == 0


def test_a_worker_that_dies_is_reported(envs: ParallelEnvs) -> None:
    envs.reset()
    envs._workers[0]._process.kill()
    with pytest.raises(ChildProcessError, match=r"--env.processes 1.* has ended \(exit code -9\)"):
        envs.step(np.zeros((2, 6), np.float32))


def test_what_goes_wrong_in_a_worker_is_raised_here() -> None:
    memory = shared_memory()
    worker = _worker(memory)
    job = {"env_id": "HalfCheeta-v5", "num_envs": 2, "config": {}, "seed": 0, "first": 1, "count": 1}
    worker.ask(json.dumps(job).encode())
    with pytest.raises(UserError, match="Did you mean 'HalfCheetah-v5'"):
        worker.answer()
    worker.ask(json.dumps(job | {"env_id": "HalfCheetah-v5", "count": "two"}).encode())
    with pytest.raises(RuntimeError, match="TypeError"):
        worker.answer()
    worker.close()
    os.close(memory)


def test_no_worker_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, pathlib\n"
        "from pairplay.config import EnvConfig\n"
        "from pairplay.envs.make import make_envs\n"
        "envs = make_envs('HalfCheetah-v5', 2, EnvConfig(processes=2), seed=0)\n"
        "envs.reset()\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(envs._workers[0]._process.pid))\n"
        f"os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 10
    while time.monotonic() < until and _runs(pid):
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        # A zombie has ended; whoever adopted it has not looked yet.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_process_a_core_and_no_more_than_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "available_cores", lambda: 64)
    envs = made(num_envs=2, processes=0)
    assert isinstance(envs, ParallelEnvs)
    assert len(envs._workers) == 1
    envs.close()
    alone = made(num_envs=1, processes=0)
    assert isinstance(alone, ControlEnvs)
    alone.close()


def test_only_slow_simulators_have_processes() -> None:
    with pytest.raises(UserError, match="CartPole-v1 is played in one process"):
        make_envs("CartPole-v1", 2, EnvConfig(processes=2), seed=0)
    with pytest.raises(UserError, match="must be at least 1"):
        made(processes=-1)
    make_envs("CartPole-v1", 2, EnvConfig(processes=1), seed=0).close()
