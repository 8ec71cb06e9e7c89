"""One run of Stable-Baselines3's PPO on the true reward, to see how fast it is.

    .venv-sb3/bin/python benchmarks/peers/sb3_run.py --env-id ALE/Enduro-v5 --total-timesteps 8192 --run-dir runs/try

Knows nothing of Pairplay: it runs in an environment of its own, with what stands in sb3.txt. Leaves metrics.jsonl
in the run directory, a line a rollout, with the steps played and the seconds since learning began.

Atari as its documentation and its Zoo have it: `make_atari_env`, 8 environments, four frames, n_steps 128, batches of
256, 4 epochs. MuJoCo with 8 environments and the rollouts, batches and epochs of Pairplay's preset, so that both do the
same work; --batch-size 64 is what it has by itself.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import ale_py
import gymnasium
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack

NUM_ENVS = 8
ATARI = {"n_steps": 128, "n_epochs": 4, "learning_rate": 2.5e-4, "clip_range": 0.1, "ent_coef": 0.01}
MUJOCO = {"n_steps": 256, "n_epochs": 10, "learning_rate": 1e-3}


class Record(BaseCallback):
    """One line of metrics a rollout, written when the next one begins: then the update is over."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.file = path.open("w")
        self.began = time.perf_counter()

    def _on_training_start(self) -> None:
        self.began = time.perf_counter()

    def _on_rollout_start(self) -> None:
        line = {
            "time/total_timesteps": self.num_timesteps,
            "time/time_elapsed": time.perf_counter() - self.began,
        }
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def _on_training_end(self) -> None:
        self._on_rollout_start()

    def _on_step(self) -> bool:
        return True


def make(env_id: str, seed: int) -> tuple[VecEnv, str, dict[str, Any]]:
    """The environments, the policy and the settings for them."""
    if env_id.startswith("ALE/"):
        gymnasium.register_envs(ale_py)
        # Its wrapper skips frames, so the game must not: by itself a v5 game skips four.
        games = make_atari_env(env_id, NUM_ENVS, seed=seed, env_kwargs={"frameskip": 1})
        return VecFrameStack(games, 4), "CnnPolicy", ATARI
    return make_vec_env(env_id, NUM_ENVS, seed=seed), "MlpPolicy", MUJOCO


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env-id", required=True)
    parser.add_argument("--total-timesteps", type=int, required=True)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run-dir", type=Path, required=True)
    options = parser.parse_args()
    options.run_dir.mkdir(parents=True)
    envs, policy, settings = make(options.env_id, options.seed)
    agent = PPO(policy, envs, batch_size=options.batch_size, seed=options.seed, device="cpu", **settings)
    agent.learn(options.total_timesteps, callback=Record(options.run_dir / "metrics.jsonl"))


if __name__ == "__main__":
    main()
