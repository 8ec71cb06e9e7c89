"""One run of CleanRL's PPO for Atari on the true reward, to see how fast it is.

    .venv-cleanrl/bin/python benchmarks/peers/cleanrl_run.py --env-id ALE/Enduro-v5 --total-timesteps 8192 \
        --run-dir runs/try

Knows nothing of Pairplay: it runs in an environment of its own, with what stands in cleanrl.txt. Leaves metrics.jsonl
in the run directory, a line a rollout, with the steps played and the seconds since the program began.

CleanRL is single files, of which PyPI has those of 2021 (0.4.8), for the gym of that time. `ppo_atari.py` runs as it is
there, with all its own settings: 8 environments one after the other, n_steps 128, batches of 256, 4 epochs. What it
needs and cannot have any more is put beside it: the game, here by today's ale-py; TensorBoard's writer, whose place a
writer of metrics.jsonl takes; and two modules for videos and robots, which it imports and does not use here.
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import ale_py
import gym
import numpy as np
from ale_py import roms

NUM_ENVS, NUM_STEPS = 8, 128
GAME_ID = "{}NoFrameskip-v4"
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

    path: Path
    began = time.perf_counter()

    def __init__(self, log_dir: str) -> None:
        self.file = self.path.open("w")

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env-id", required=True)
    parser.add_argument("--total-timesteps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run-dir", type=Path, required=True)
    options = parser.parse_args()
    options.run_dir.mkdir(parents=True)
    game = options.env_id.removeprefix("ALE/").removesuffix("-v5")
    gym.register(GAME_ID.format(game), entry_point=Game, max_episode_steps=MAX_FRAMES, kwargs={"game": game.lower()})
    Record.path = options.run_dir / "metrics.jsonl"
    stand_in("torch.utils.tensorboard", SummaryWriter=Record)
    stand_in("pybullet_envs")
    sys.argv = ["ppo_atari.py", "--gym-id", GAME_ID.format(game), "--seed", str(options.seed)]
    sys.argv += ["--total-timesteps", str(options.total_timesteps)]
    runpy.run_module("cleanrl.ppo_atari", run_name="__main__")


if __name__ == "__main__":
    main()
