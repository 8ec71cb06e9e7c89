"""One run of imitation's preference comparisons, with our steps, comparisons and oracle and its own settings.

    .venv-imitation/bin/python benchmarks/peers/imitation_run.py --env-id HalfCheetah-v5 --total-timesteps 512000 \
        --labels 700 --seed 1 --run-dir runs/try

Knows nothing of Pairplay: it runs in an environment of its own, with what stands in imitation.txt. Leaves
metrics.jsonl and versions.json in the run directory, in the form that the harness reads.

Settings are imitation's own: for MuJoCo those of its `train_preference_comparisons` command, with the named
configuration tuned for the task (`seals_half_cheetah`, `seals_hopper`) and its 50 iterations; for Pendulum those of its
tutorial, which calls them approximately fine-tuned, and its 60 iterations; for Enduro those that its tutorial on
pictures names for training on Atari, with what it leaves open chosen for it: fragments as long as ours, and iterations
that hold an episode of 640 steps. The oracle is deterministic, as ours is.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import ale_py
import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import TimeLimit
from imitation.algorithms import preference_comparisons as pc
from imitation.policies.base import FeedForward32Policy, NormalizeFeaturesExtractor
from imitation.rewards.reward_nets import BasicRewardNet, CnnRewardNet, NormalizedRewardNet, RewardNet
from imitation.util.networks import RunningNorm
from imitation.util.util import make_vec_env
from stable_baselines3 import PPO
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.env_util import make_vec_env as make_picture_env
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack

NUM_ENVS = 8
EPISODE = 640
"""Pictures: agent steps of an episode, a multiple of PPO's rollouts; a little longer than ours."""
LIBRARIES = ("imitation", "stable-baselines3", "torch", "numpy", "gymnasium", "mujoco", "ale-py")


@dataclass(frozen=True)
class Settings:
    """What imitation documents for a task."""

    gym_id: str
    """gymnasium 0.29 has the v4 of our v5 tasks: the same bodies and rewards, in MuJoCo 2."""
    batch_size: int
    """Steps of one PPO rollout, over all environments."""
    ppo: dict[str, Any]
    make: dict[str, Any] = field(default_factory=dict)
    policy: Any = FeedForward32Policy
    policy_kwargs: dict[str, Any] = field(default_factory=dict)
    iterations: int = 50
    normalise_reward: bool = True
    exploration_frac: float = 0.0
    initial_epoch_multiplier: float = 200.0
    fragment_length: int = 100
    pictures: bool = False


SETTINGS = {
    "HalfCheetah-v5": Settings(
        "HalfCheetah-v4",
        512,
        {
            "batch_size": 64,
            "clip_range": 0.1,
            "ent_coef": 3.794797423594763e-06,
            "gae_lambda": 0.95,
            "gamma": 0.95,
            "learning_rate": 0.0003286871805949382,
            "max_grad_norm": 0.8,
            "n_epochs": 5,
            "vf_coef": 0.11483689492120866,
        },
    ),
    "Hopper-v5": Settings(
        "Hopper-v4",
        2048,
        {
            "batch_size": 512,
            "clip_range": 0.1,
            "ent_coef": 0.0010159833764878474,
            "gae_lambda": 0.98,
            "gamma": 0.995,
            "learning_rate": 0.0003904770450788824,
            "max_grad_norm": 0.9,
            "n_epochs": 20,
            "vf_coef": 0.20315938606555833,
        },
        # imitation refuses episodes of different lengths, and rightly: they tell the task.
        make={"terminate_when_unhealthy": False},
        policy="MlpPolicy",
        policy_kwargs={"activation_fn": torch.nn.ReLU, "net_arch": {"pi": [64, 64], "vf": [64, 64]}},
    ),
    "Pendulum-v1": Settings(
        "Pendulum-v1",
        2048,
        {
            "batch_size": 64,
            "clip_range": 0.1,
            "ent_coef": 0.01,
            "gae_lambda": 0.95,
            "gamma": 0.97,
            "learning_rate": 2e-3,
            "n_epochs": 10,
        },
        policy_kwargs={
            "features_extractor_class": NormalizeFeaturesExtractor,
            "features_extractor_kwargs": {"normalize_class": RunningNorm},
        },
        iterations=60,
        normalise_reward=False,
        exploration_frac=0.05,
        initial_epoch_multiplier=4.0,
    ),
    "ALE/Enduro-v5": Settings(
        "ALE/Enduro-v5",
        1024,
        {"batch_size": 256, "ent_coef": 0.01, "learning_rate": 2.5e-4, "n_epochs": 4},
        policy="CnnPolicy",
        iterations=6,
        initial_epoch_multiplier=1.0,
        fragment_length=25,
        pictures=True,
    ),
}


class Ledger(VecEnvWrapper):
    """Counts every step and every true reward, those sampled for queries included."""

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self.steps = 0
        self.total = 0.0

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        obs, reward, done, infos = self.venv.step_wait()
        self.steps += len(reward)
        self.total += float(reward.sum(dtype=np.float64))
        return obs, reward, done, infos


class Record(BaseCallback):
    """One line of metrics a rollout. Episodes are those of training: the last 100, as stable-baselines3 keeps them."""

    def __init__(self, path: Path, ledger: Ledger) -> None:
        super().__init__()
        self.file = path.open("w")
        self.ledger = ledger
        self.began = time.perf_counter()
        self.answers = 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.write()

    def write(self) -> None:
        episodes = self.model.ep_info_buffer or []
        line = {
            "time/total_timesteps": self.ledger.steps,
            "time/time_elapsed": time.perf_counter() - self.began,
            "rollout/ep_rew_mean": float(np.mean([episode["r"] for episode in episodes])) if episodes else None,
            "rollout/true_reward_accumulated": self.ledger.total,
            "labels/total": self.answers,
        }
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()


class Oracle(pc.SyntheticGatherer):
    """imitation's own synthetic teacher without its noise (temperature 0), counting its answers."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(temperature=0, rng=rng)
        self.record: Record | None = None

    def __call__(self, fragment_pairs: Any) -> Any:
        if self.record is not None:
            self.record.answers += len(fragment_pairs)
        return super().__call__(fragment_pairs)


def environments(settings: Settings, seed: int, rng: np.random.Generator) -> VecEnv:
    """Eight of them. Pictures are stable-baselines3's: grey, 84x84, four stacked, the score in them."""
    if not settings.pictures:
        return make_vec_env(settings.gym_id, rng=rng, n_envs=NUM_ENVS, env_make_kwargs=settings.make)

    def atari() -> Any:
        # stable-baselines3's ends with a life keep the game going over a reset, up to an end that comes too early.
        game = gymnasium.make(settings.gym_id, frameskip=1)
        return TimeLimit(AtariWrapper(game, terminal_on_life_loss=False, clip_reward=False), EPISODE)

    return VecFrameStack(make_picture_env(atari, n_envs=NUM_ENVS, seed=seed), 4)


def reward_network(settings: Settings, venv: VecEnv) -> RewardNet:
    if settings.pictures:
        net: RewardNet = CnnRewardNet(venv.observation_space, venv.action_space)
    else:
        net = BasicRewardNet(venv.observation_space, venv.action_space, normalize_input_layer=RunningNorm)
    return NormalizedRewardNet(net, RunningNorm) if settings.normalise_reward else net


def train(env_id: str, *, total_timesteps: int, labels: int, seed: int, run_dir: Path, iterations: int = 0) -> None:
    """Run it, and write metrics after every rollout. `iterations` replaces imitation's own number, for short trials."""
    settings = SETTINGS[env_id]
    iterations = iterations or settings.iterations
    whole = iterations * settings.batch_size
    if total_timesteps % whole:
        raise SystemExit(
            f"--total-timesteps {total_timesteps}: {iterations} iterations of rollouts of {settings.batch_size} steps "
            f"would play more. Take a multiple of {whole}, such as {(total_timesteps // whole + 1) * whole}"
        )
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    ledger = Ledger(environments(settings, seed, rng))
    reward_net = reward_network(settings, ledger)
    agent = PPO(
        settings.policy,
        ledger,
        policy_kwargs=dict(settings.policy_kwargs),
        n_steps=settings.batch_size // NUM_ENVS,
        seed=seed,
        device="cpu",
        **settings.ppo,
    )
    generator = pc.AgentTrainer(agent, reward_net, ledger, rng, exploration_frac=settings.exploration_frac)
    record = Record(run_dir / "metrics.jsonl", ledger)
    generator.log_callback = CallbackList([generator.log_callback, record])
    oracle = Oracle(rng)
    oracle.record = record
    trainer = pc.BasicRewardTrainer(pc.PreferenceModel(reward_net), loss=pc.CrossEntropyRewardLoss(), rng=rng, epochs=3)
    learner = pc.PreferenceComparisons(
        generator,
        reward_net,
        num_iterations=iterations,
        fragmenter=pc.RandomFragmenter(rng=rng, warning_threshold=0),
        preference_gatherer=oracle,
        reward_trainer=trainer,
        fragment_length=settings.fragment_length,
        initial_comparison_frac=0.1,
        initial_epoch_multiplier=settings.initial_epoch_multiplier,
        query_schedule="hyperbolic",
    )
    learner.train(total_timesteps, labels)
    record.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env-id", required=True, choices=SETTINGS)
    parser.add_argument("--total-timesteps", type=int, required=True)
    parser.add_argument("--labels", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    # An iteration has to hold a whole episode of each environment, or imitation plays extra ones to cut clips from.
    parser.add_argument("--iterations", type=int, default=0, help="fewer than imitation's own, for a short trial")
    options = parser.parse_args()
    assert ale_py.__version__, "imported, so that its games are known"
    options.run_dir.mkdir(parents=True)
    versions = {"python": platform.python_version(), **{name: metadata.version(name) for name in LIBRARIES}}
    (options.run_dir / "versions.json").write_text(json.dumps(versions))
    train(
        options.env_id,
        total_timesteps=options.total_timesteps,
        labels=options.labels,
        seed=options.seed,
        run_dir=options.run_dir,
        iterations=options.iterations,
    )


if __name__ == "__main__":
    main()
