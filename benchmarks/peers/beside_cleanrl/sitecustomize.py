"""What CleanRL needs and cannot have any more. Python reads this file when it starts with its folder on the path.

See `cleanrl_run.py`, which starts it so.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import ale_py
import gym
import numpy as np
from ale_py import roms

MAX_FRAMES = 400_000


class Game(gym.Env):  # type: ignore[misc,unused-ignore]
    """One Atari game, a frame a step: the interface that `ppo_atari.py`'s wrappers expect."""

    def __init__(self, game: str) -> None:
        self.ale = ale_py.ALEInterface()
        self.ale.setLoggerMode(ale_py.LoggerMode.Error)
        self.ale.setFloat("repeat_action_probability", 0.0)
        self._rom = roms.get_rom_path(game)
        self.actions = self._load(0)
        self.observation_space = gym.spaces.Box(0, 255, (210, 160, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(len(self.actions))
        self.np_random = np.random.RandomState(0)

    def _load(self, seed: int) -> list[Any]:
        self.ale.setInt("random_seed", seed)
        self.ale.loadROM(self._rom)
        return list(self.ale.getMinimalActionSet())

    def seed(self, seed: int | None = None) -> list[int | None]:
        self.np_random = np.random.RandomState(seed)
        self._load(seed or 0)
        return [seed]

    def get_action_meanings(self) -> list[str]:
        return [action.name for action in self.actions]

    def reset(self) -> Any:
        self.ale.reset_game()
        return self.ale.getScreenRGB()

    def step(self, action: int) -> tuple[Any, float, bool, dict[str, Any]]:
        reward = self.ale.act(self.actions[action])
        return self.ale.getScreenRGB(), reward, self.ale.game_over(), {}


class Record:
    """In the place of TensorBoard's writer: one line of metrics a rollout."""

    began = time.perf_counter()

    def __init__(self, log_dir: str) -> None:
        self.file = Path(os.environ["METRICS"]).open("w")  # noqa: SIM115 - closed by `close`

    def add_text(self, tag: str, text: str) -> None:
        """Its settings; they are its own."""

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        if tag == "charts/learning_rate":  # the first of those that it writes after an update
            line = {"time/total_timesteps": step, "time/time_elapsed": time.perf_counter() - self.began}
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()

    def close(self) -> None:
        self.file.close()


def stand_in(name: str, **contents: object) -> None:
    """A module of this name with these contents, for whoever imports it."""
    module = ModuleType(name)
    vars(module).update(contents)
    sys.modules[name] = module


gym.register(
    os.environ["GAME_ID"],
    entry_point=Game,
    max_episode_steps=MAX_FRAMES,
    kwargs={"game": os.environ["GAME_ID"].partition("NoFrameskip")[0].lower()},
)
stand_in("torch.utils.tensorboard", SummaryWriter=Record)
stand_in("pybullet_envs")
