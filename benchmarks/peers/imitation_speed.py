"""imitation's preference comparisons on the pictures of an Atari game, with its ensemble of three CNNs: how fast?

    .venv-imitation/bin/python benchmarks/peers/imitation_speed.py --env-id ALE/Enduro-v5 --run-dir runs/try
    .venv-imitation/bin/python benchmarks/peers/imitation_speed.py --fit-only --run-dir runs/try

Knows nothing of Pairplay: it runs in an environment of its own, with what stands in imitation.txt. Leaves
metrics.jsonl in the run directory, a line an iteration, with the steps played and the seconds since learning began.

An iteration plays 256 steps, asks for one comparison of 25-step fragments, and trains on all of them for three epochs,
imitation's own number. There are two comparisons at first, so that each of three members visits about as many of them
for a step as Pairplay's does (64 in 1,888 steps) in the first iterations; later it has more, and the ratio of the first
round is the fairest. A real run would hold hundreds and visit each in every iteration.
Also in imitation's favour: the first training is not prolonged, as it is by 200 times there, and episodes end after 32
steps, so that fragments need no extra play. With --fit-only nothing is played: 8 comparisons of noise are trained on, a
line an epoch, with the comparisons visited so far; all three members in turn make one visit.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, TextIO

import ale_py
import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import TimeLimit
from imitation.algorithms import preference_comparisons as pc
from imitation.data.types import TrajectoryWithRew
from imitation.rewards.reward_nets import CnnRewardNet, RewardEnsemble
from imitation.util.util import make_vec_env
from stable_baselines3 import PPO
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.vec_env import VecFrameStack

NUM_ENVS, NUM_STEPS, MEMBERS, FRAGMENT = 8, 32, 3, 25
ITERATIONS, FIRST, EPOCHS, FIT_PAIRS = 400, 2, 3, 8
PPO_SETTINGS = {"n_steps": NUM_STEPS, "batch_size": 256, "n_epochs": 4, "learning_rate": 2.5e-4, "clip_range": 0.1}


def ensemble(observations: Any, actions: Any) -> RewardEnsemble:
    """Three of imitation's own picture networks; frames come last, as stable-baselines3 stacks them."""
    return RewardEnsemble(observations, actions, [CnnRewardNet(observations, actions) for _ in range(MEMBERS)])


def trainer(net: RewardEnsemble, rng: np.random.Generator, epochs: int) -> pc.EnsembleTrainer:
    return pc.EnsembleTrainer(pc.PreferenceModel(net), pc.CrossEntropyRewardLoss(), rng=rng, epochs=epochs)


def environments(env_id: str, rng: np.random.Generator) -> VecFrameStack:
    def atari(env: Any, _: int) -> Any:
        return TimeLimit(AtariWrapper(env, terminal_on_life_loss=False), NUM_STEPS)

    made = make_vec_env(env_id, rng=rng, n_envs=NUM_ENVS, post_wrappers=[atari], env_make_kwargs={"frameskip": 1})
    return VecFrameStack(made, 4)


def play(env_id: str, rng: np.random.Generator, file: TextIO) -> None:
    """The whole of preference comparisons, a line an iteration."""
    envs = environments(env_id, rng)
    net = ensemble(envs.observation_space, envs.action_space)
    agent = PPO("CnnPolicy", envs, device="cpu", **PPO_SETTINGS)
    learner = pc.PreferenceComparisons(
        pc.AgentTrainer(agent, net, envs, rng),
        net,
        num_iterations=ITERATIONS,
        fragmenter=pc.RandomFragmenter(rng=rng, warning_threshold=0),
        preference_gatherer=pc.SyntheticGatherer(rng=rng),
        reward_trainer=trainer(net, rng, EPOCHS),
        fragment_length=FRAGMENT,
        initial_comparison_frac=FIRST / (ITERATIONS + FIRST),
        initial_epoch_multiplier=1.0,
        allow_variable_horizon=True,
        query_schedule="constant",
    )
    steps, began = NUM_ENVS * NUM_STEPS, time.perf_counter()
    learner.train(ITERATIONS * steps, ITERATIONS + FIRST, lambda done: write(file, (done + 1) * steps, began))


def fit(rng: np.random.Generator, file: TextIO) -> None:
    """The training of the reward networks alone, a line an epoch."""
    pixels = gymnasium.spaces.Box(0, 255, (84, 84, 4), np.uint8)
    net = ensemble(pixels, gymnasium.spaces.Discrete(18))

    def fragment() -> TrajectoryWithRew:
        obs = rng.integers(0, 256, (FRAGMENT + 1, 84, 84, 4), dtype=np.uint8)
        return TrajectoryWithRew(obs, rng.integers(0, 18, FRAGMENT), None, terminal=False, rews=np.zeros(FRAGMENT))

    comparisons = pc.PreferenceDataset()
    answers = rng.integers(0, 2, FIT_PAIRS).astype(np.float32)
    comparisons.push([(fragment(), fragment()) for _ in range(FIT_PAIRS)], answers)
    one_epoch, began = trainer(net, rng, epochs=1), time.perf_counter()
    for number in range(1, 1_000_000):
        one_epoch.train(comparisons)
        write(file, number * FIT_PAIRS, began)


def write(file: TextIO, steps: int, began: float) -> None:
    line = {"time/total_timesteps": steps, "time/time_elapsed": time.perf_counter() - began}
    file.write(json.dumps(line) + "\n")
    file.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env-id", default="ALE/Enduro-v5")
    parser.add_argument("--fit-only", action="store_true")
    parser.add_argument("--total-timesteps", type=int, help="taken for the others' sake: it plays until it is ended")
    parser.add_argument("--run-dir", type=Path, required=True)
    options = parser.parse_args()
    options.run_dir.mkdir(parents=True)
    assert ale_py.__version__, "imported, so that its games are known"
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    with (options.run_dir / "metrics.jsonl").open("w") as file:
        if options.fit_only:
            fit(rng, file)
        else:
            play(options.env_id, rng, file)


if __name__ == "__main__":
    main()
