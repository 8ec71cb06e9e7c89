from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from pairplay.config import EnvConfig
from pairplay.envs.base import Envs
from pairplay.envs.make import make_envs
from pairplay.types import Array, Picture


def made(env_id: str = "HalfCheetah-v5", num_envs: int = 1, config: EnvConfig | None = None) -> Envs:
    return make_envs(env_id, num_envs, config or EnvConfig(), seed=1)


def film(envs: Envs, steps: int) -> Array:
    rng = np.random.default_rng(0)
    envs.reset()
    captures = [envs.capture(0)]
    for _ in range(steps):
        envs.step(rng.uniform(-1, 1, size=(envs.num_envs, envs.spec.action_dim)).astype(np.float32))
        captures.append(envs.capture(0))
    return np.stack(captures)


def test_a_state_is_redrawn_the_same_to_the_bit() -> None:
    """By another painter, in another thread, in another order, while the simulator has gone on."""
    envs = made()
    captures = film(envs, 12)
    painter = envs.painter()
    pictures = painter.draw(captures)
    film(envs, 3)

    def redraw() -> Picture:
        other = envs.painter()
        redrawn = other.draw(captures[::-1])[::-1]
        other.close()
        return redrawn

    with ThreadPoolExecutor(1) as pool:
        np.testing.assert_array_equal(pool.submit(redraw).result(), pictures)
    painter.close()
    assert pictures.shape == (13, 240, 320, 3)
    assert (pictures[0] != pictures[-1]).any(axis=2).mean() > 0.01, "nothing moved"


def test_drawing_and_filming_do_not_disturb_the_simulator() -> None:
    filmed, left_alone = made("Hopper-v5", 2), made("Hopper-v5", 2)
    np.testing.assert_array_equal(filmed.reset(), left_alone.reset())
    painter = filmed.painter()
    rng = np.random.default_rng(0)
    for _ in range(30):
        action = rng.normal(size=(2, 3)).astype(np.float32)
        painter.draw(filmed.capture(0)[None])
        np.testing.assert_array_equal(filmed.step(action).frames, left_alone.step(action).frames)
    painter.close()


def test_the_frames_are_those_of_gymnasium() -> None:
    envs = made(config=EnvConfig(max_episode_steps=5))
    frames = envs.reset()
    assert envs.spec.frame_shape == (17,)
    assert envs.spec.clip_fps == 20
    one = gymnasium.make("HalfCheetah-v5")
    one.reset(seed=0)
    # Observation without the position x; the capture is time, positions, velocities.
    state = envs.capture(0)
    assert state.shape == (1 + 9 + 9,)
    np.testing.assert_allclose(frames[0], state[2:], rtol=1e-6)
    simulator = one.unwrapped
    simulator.set_state(state[1:10], state[10:])  # type: ignore[attr-defined]
    action = np.full(6, 0.5, np.float32)
    expected, reward, *_ = one.step(action)
    step = envs.step(action[None])
    np.testing.assert_allclose(step.frames[0], expected, rtol=1e-5, atol=1e-6)
    assert step.env_reward[0] == pytest.approx(reward, rel=1e-5)


@pytest.mark.parametrize("env_id", ["Reacher-v5", "InvertedPendulum-v5"])
def test_models_without_a_tracking_camera_are_seen_too(env_id: str) -> None:
    envs = made(env_id)
    painter = envs.painter()
    picture = painter.draw(film(envs, 1))[0]
    painter.close()
    assert picture.std() > 5, "an empty picture"


def test_mujoco_writes_its_warnings_to_the_log_and_not_to_a_file(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="pairplay.envs.mujoco"):
        made("HalfCheetah-v5")
    assert not Path("MUJOCO_LOG.TXT").exists()
    assert all(record.levelno == logging.DEBUG for record in caplog.records), "nothing here that users could mend"


WITHOUT_GRAPHICS = """
import ctypes, sys
real = ctypes.CDLL
class NoEGL(real):
    def __init__(self, name, *rest, **options):
        if name and "EGL" in str(name):
            raise OSError(f"{name}: cannot open shared object file")
        super().__init__(name, *rest, **options)
ctypes.CDLL = NoEGL

from pairplay.config import EnvConfig
from pairplay.envs.make import make_envs
from pairplay.types import UserError
envs = make_envs("HalfCheetah-v5", 1, EnvConfig(), seed=0)
envs.reset()
try:
    envs.painter().draw(envs.capture(0)[None])
except UserError as error:
    sys.exit(f"UserError: {error}")
"""


def test_a_machine_without_graphics_is_told_which_package_to_install() -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")}
    run = subprocess.run([sys.executable, "-c", WITHOUT_GRAPHICS], env=environment, capture_output=True, text=True)
    assert run.stderr.startswith("UserError: MuJoCo cannot draw pictures"), run.stderr
    assert "apt install libegl1 libgl1-mesa-dri" in run.stderr
