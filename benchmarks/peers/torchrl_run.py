"""One run of PPO made of TorchRL's parts on the true reward of an Atari game, to see how fast it is.

    .venv-torchrl/bin/python benchmarks/peers/torchrl_run.py --env-id ALE/Enduro-v5 --total-timesteps 8192 \
        --run-dir runs/try

Knows nothing of Pairplay: it runs in an environment of its own, with what stands in torchrl.txt. Leaves
metrics.jsonl in the run directory, a line a cycle of rollout and update, with the steps played and the seconds since
learning began.

TorchRL's collector, advantage estimation and clipped loss around the network and settings of sb3_run.py: 8
environments, rollouts of 128 steps, batches of 256, 4 epochs. Pictures in channels-last order; bf16 where the processor
has it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import ale_py
import gymnasium
import torch
from ale_py.vector_env import AtariVectorEnv
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import GymWrapper
from torchrl.modules import ActorValueOperator, OneHotCategorical, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

NUM_ENVS, NUM_STEPS, MINIBATCH, EPOCHS = 8, 128, 256, 4
BF16 = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


class NatureCNN(nn.Module):
    """Mnih et al. 2015, from four frames of 84x84 in uint8, with any batch dimensions before them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4, 32, 8, 4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, 2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(3136, 512),
            nn.ReLU(),
        ).to(memory_format=torch.channels_last)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        flat = pixels.flatten(0, -4).float().contiguous(memory_format=torch.channels_last) / 255.0
        features: torch.Tensor = self.layers(flat)
        return features.view(*pixels.shape[:-3], -1)


def environments(env_id: str) -> Any:
    """Eight games in ale-py's C++ vector environment, the fastest that TorchRL takes; rewards are clipped by it."""
    game = gymnasium.spec(env_id).kwargs["game"]
    return GymWrapper(AtariVectorEnv(game, NUM_ENVS, repeat_action_probability=0.25, autoreset_mode="SameStep"))


def networks(actions: int) -> ActorValueOperator:
    """Policy and value over one torso."""
    policy = ProbabilisticActor(
        TensorDictModule(nn.Linear(512, actions), ["features"], ["logits"]),
        in_keys=["logits"],
        distribution_class=OneHotCategorical,
        return_log_prob=True,
    )
    torso = TensorDictModule(NatureCNN(), ["observation"], ["features"])
    return ActorValueOperator(torso, policy, ValueOperator(nn.Linear(512, 1), in_keys=["features"]))


def train(env_id: str, total_timesteps: int, run_dir: Path) -> None:
    """Play and learn, and write a line after each update."""
    env = environments(env_id)
    operator = networks(env.action_spec.shape[-1])
    policy, value = operator.get_policy_operator(), operator.get_value_operator()
    advantage = GAE(gamma=0.99, lmbda=0.95, value_network=value, average_gae=False, shifted=True, deactivate_vmap=True)
    loss = ClipPPOLoss(
        policy,
        value,
        clip_epsilon=0.1,
        entropy_coeff=0.01,
        critic_coeff=0.5,
        loss_critic_type="l2",
        normalize_advantage=True,
    )
    optimizer = torch.optim.Adam(loss.parameters(), lr=2.5e-4, fused=True)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=BF16)
    frames = NUM_ENVS * NUM_STEPS
    # Without the next observations, which only double what each minibatch gathers.
    collector = Collector(
        env, policy, frames_per_batch=frames, total_frames=total_timesteps, compact_obs=True, track_traj_ids=False
    )
    with (run_dir / "metrics.jsonl").open("w", buffering=1) as file:
        began = time.perf_counter()
        for number, rollout in enumerate(collector, 1):
            with torch.no_grad(), autocast:
                advantage(rollout)
            samples = rollout.reshape(-1).exclude("features", "logits")
            for _ in range(EPOCHS):
                for index in torch.randperm(frames).split(MINIBATCH):
                    with autocast:
                        losses = loss(samples[index])
                    optimizer.zero_grad(set_to_none=True)
                    sum(losses[name] for name in ("loss_objective", "loss_critic", "loss_entropy")).backward()
                    torch.nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                    optimizer.step()
            line = {"time/total_timesteps": number * frames, "time/time_elapsed": time.perf_counter() - began}
            file.write(json.dumps(line) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env-id", required=True)
    parser.add_argument("--total-timesteps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run-dir", type=Path, required=True)
    options = parser.parse_args()
    options.run_dir.mkdir(parents=True)
    torch.manual_seed(options.seed)
    gymnasium.register_envs(ale_py)
    train(options.env_id, options.total_timesteps, options.run_dir)


if __name__ == "__main__":
    main()
