"""On a GPU the same is computed as on the CPU, recorded or not. Needs one; everything else is tested without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pairplay import recorded
from pairplay.config import PPOConfig, RewardModelConfig, preset
from pairplay.hardware import Hardware
from pairplay.policy.networks import Policy
from pairplay.policy.ppo import PPO
from pairplay.policy.rollout import PolicyActor, begin, collect
from pairplay.recorded import WARM_UP, Recorded
from pairplay.reward.film import Shelf
from pairplay.reward.fit import fit
from pairplay.reward.model import RewardModel
from pairplay.run.layout import RunDir
from pairplay.run.metrics import read_metrics
from pairplay.trainer import Trainer
from pairplay.types import Array, Comparison, EnvSpec, Rollout, Segment, Step

# There is nothing to compare where there is no GPU; what the CPU computes is tested in the rooms' own tests.
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SPEC = EnvSpec("Noise-v0", (40, 40), 3, 4, (), (), 10.0)
CONFIG = PPOConfig(num_steps=16, minibatch_size=32, learning_rate=1e-3, update_epochs=2, clip_coef=0.2)


class Noise:
    """Pictures of noise, in two parts. Every fifth step ends an episode, and every seventh cuts one off."""

    spec = SPEC
    num_envs = 4
    recordable = 0
    parts = (slice(0, 1), slice(1, 4))

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.steps = [0, 0]
        self.sent: dict[int, Array] = {}

    def reset(self) -> Array:
        return self._pictures(self.num_envs)

    def step(self, action: Array) -> Step:
        answers = [self._step(part, action[envs]) for part, envs in enumerate(self.parts)]
        return Step(*(np.concatenate([getattr(a, f.name) for a in answers]) for f in fields(Step)))

    def send(self, part: int, action: Array) -> None:
        self.sent[part] = action.copy()

    def receive(self, part: int) -> Step:
        return self._step(part, self.sent.pop(part))

    def _step(self, part: int, action: Array) -> Step:
        self.steps[part] += 1
        terminated, truncated = (np.full(len(action), self.steps[part] % often == 0) for often in (5, 7))
        reward = (action == 1).astype(np.float32)
        frames, final = self._pictures(len(action)), self._pictures(len(action))
        return Step(frames, reward, terminated, truncated & ~terminated, final, terminated)

    def _pictures(self, count: int) -> Array:
        return self.random.integers(0, 256, (count, 40, 40), dtype=np.uint8)


@pytest.fixture
def exact() -> Iterator[None]:
    """Convolutions in fp32, not TF32, in an order that does not change."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = before


def make_ppo(device: torch.device) -> PPO:
    torch.manual_seed(0)
    return PPO(Policy(SPEC, CONFIG).to(device), SPEC, CONFIG, num_envs=4, device=device)


def play(policy: Policy, device: torch.device, seed: int = 0) -> Rollout:
    envs = Noise()
    actor = PolicyActor(policy, torch.Generator(device).manual_seed(seed))
    return collect(actor, envs, begin(envs), num_steps=16, value_of=policy, device=device)[0]  # type: ignore[arg-type]


def test_a_recording_computes_what_was_recorded_for_every_input() -> None:
    total, calls = torch.zeros(3, device=GPU), 0

    def compute(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        nonlocal calls
        calls += 1
        total.add_(x.sum(0))
        return x * y, (x - y).square()

    both = Recorded(compute, GPU)
    expected = torch.zeros(3, device=GPU)
    kept = []
    for number in range(3 * WARM_UP):
        for rows in (2, 5):
            x, y = torch.randn(rows, 3, device=GPU), torch.full((rows, 3), float(number), device=GPU)
            expected += x.sum(0)
            kept.append((x, y, both(x, y)))
    for x, y, (product, square) in kept:
        torch.testing.assert_close(product, x * y)
        torch.testing.assert_close(square, (x - y).square())
    torch.testing.assert_close(total, expected)
    assert calls == 2 * (WARM_UP + 1)


@pytest.mark.usefixtures("exact")
def test_recorded_updates_are_those_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = play(make_ppo(CPU).policy, CPU)
    learners = {"cpu": make_ppo(CPU), "recorded": make_ppo(GPU)}
    with monkeypatch.context() as patched:
        patched.setattr(recorded, "WARM_UP", 10**9)
        learners["plain"] = make_ppo(GPU)
        run_updates(learners["plain"], rollout)
    run_updates(learners["cpu"], rollout)
    run_updates(learners["recorded"], rollout)
    first = make_ppo(CPU).state()
    for name, tensor in learners["cpu"].state().items():
        if name.startswith("policy.") and tensor.numel():
            moved = float((tensor - first[name]).abs().max())
            for kind in ("plain", "recorded"):
                apart = float((learners[kind].state()[name].cpu() - tensor).abs().max())
                assert apart <= 0.02 * moved, f"{kind}: {name} is {apart:g} off after having moved by {moved:g}"


def run_updates(ppo: PPO, rollout: Rollout) -> None:
    reward = (rollout.action == 2).astype(np.float32)
    for number in range(3):
        ppo.update(rollout, reward, lr_scale=1.0 - 0.3 * number, rng=np.random.default_rng(number))


@pytest.mark.usefixtures("exact")
def test_the_rate_of_learning_can_change_after_recording() -> None:
    ppo, rollout = make_ppo(GPU), play(make_ppo(CPU).policy, CPU)
    run_updates(ppo, rollout)
    before = {name: tensor.clone() for name, tensor in ppo.policy.state_dict().items()}
    ppo.update(rollout, rollout.env_reward, lr_scale=0.0, rng=np.random.default_rng(0))
    for name, tensor in ppo.policy.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.usefixtures("exact")
def test_a_learner_goes_on_from_a_checkpoint_after_it_was_recorded() -> None:
    rollout, first, second = play(make_ppo(CPU).policy, CPU), make_ppo(GPU), make_ppo(GPU)
    run_updates(first, rollout)
    run_updates(second, rollout)
    run_updates(second, rollout)
    second.load({name: tensor.clone() for name, tensor in first.state().items()})
    run_updates(first, rollout)
    run_updates(second, rollout)
    for name, tensor in first.state().items():
        torch.testing.assert_close(tensor, second.state()[name], rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.usefixtures("exact")
def test_a_rollout_on_the_gpu_holds_what_the_networks_said() -> None:
    policy = make_ppo(GPU).policy
    rollout = play(policy, GPU)
    copy = make_ppo(CPU).policy
    # The same weights on the CPU, asked about the same observations.
    for t in (0, WARM_UP, 6, 15):
        back = np.minimum(np.arange(2, -1, -1)[None], rollout.age[t][:, None])
        obs = torch.from_numpy(rollout.frames[t + 2 - back, np.arange(4)[:, None]])
        logits, value = copy(obs)
        log_prob = logits.log_softmax(1).gather(1, torch.from_numpy(rollout.action[t])[:, None]).squeeze(1)
        torch.testing.assert_close(torch.from_numpy(rollout.value[t]), value.detach(), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(torch.from_numpy(rollout.log_prob[t]), log_prob.detach(), rtol=1e-3, atol=1e-4)
    assert rollout.final_value[6].all(), "cut off at the seventh step"
    assert rollout.last_value.all()


def segments(count: int) -> list[Segment]:
    random = np.random.default_rng(0)
    return [
        Segment(
            str(i),
            random.integers(0, 256, (2 + 10, 40, 40), dtype=np.uint8),
            1,
            random.integers(0, 4, 10),
            env=0,
            step=0,
            iteration=0,
        ).small()
        for i in range(count)
    ]


@pytest.mark.usefixtures("exact")
def test_the_reward_model_learns_as_on_the_cpu() -> None:
    shown = segments(12)
    comparisons = [Comparison(i, shown[2 * i], shown[2 * i + 1], float(i % 2)) for i in range(6)]
    returns = []
    for device in (CPU, GPU):
        model = RewardModel(SPEC, RewardModelConfig(network="small", held_out=0.0), seed=1, device=device)
        for number in range(3):
            fit(model, comparisons, pairs=12, rng=np.random.default_rng(number))
        returns.append(model.segment_returns(shown))
    apart, spread = np.abs(returns[1] - returns[0]).max(), np.ptp(returns[0])
    assert apart < 0.05 * spread, f"{apart:g} apart, where {spread:g} lie between the best and the worst"


def test_a_shelf_keeps_what_was_used_last() -> None:
    shown = segments(4)
    size = shown[0].frames.nbytes
    shelf = Shelf(GPU, most_bytes=2 * size)
    shelf.frames(shown[:2])
    shelf.frames([shown[0], shown[2]])
    assert list(shelf._kept) == ["0", "2"]
    kept = shelf.frames([shown[2]])[0]
    assert kept.device.type == "cuda"
    assert torch.equal(kept.cpu(), torch.from_numpy(shown[2].frames))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_whole_run(tmp_path: Path, precision: str) -> None:
    config = replace(
        preset("ALE/Enduro-v5"),
        teacher="oracle",
        total_timesteps=8 * 16 * 8,
        labels=24,
        num_envs=8,
        checkpoint_every=400,
        ppo=PPOConfig(num_steps=16, minibatch_size=64, update_epochs=2),
    )
    config = replace(
        config,
        env=replace(config.env, colour_envs=3, max_episode_steps=40),
        queries=replace(config.queries, segment_length=6, explore_steps=128, windows=8, min_answers=4),
    )
    run = RunDir.create(tmp_path / "run", config.env_id, config.seed)
    hardware = Hardware(GPU, "bf16" if precision == "bf16" else "fp32", 1)
    for begins, steps in ((0, 512), (512, 1024)):
        trainer = Trainer(replace(config, total_timesteps=steps), run, hardware)
        assert trainer.step == begins
        trainer.train(lambda snapshot: None)
        trainer.close()
    lines = read_metrics(run.metrics_jsonl)
    assert lines[-1]["time/total_timesteps"] == 1024
    learnt = [line for line in lines if line.get("train/loss") is not None]
    assert len(learnt) == 6, "all but the two exploring ones"
    # What is not a number is written as none.
    assert sum(line["reward_model/loss"] is not None for line in learnt) > 0
    assert all(line["rollout/ep_rew_pred_mean"] is not None for line in learnt[3:])
