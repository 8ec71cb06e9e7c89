"""What `collect` stores is what the networks saw, across resets and across rollouts."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor

from pairplay.config import PPOConfig
from pairplay.observations import stack_frames
from pairplay.policy.networks import Policy
from pairplay.policy.rollout import Explorer, PolicyActor, begin, collect
from pairplay.types import Array, EnvSpec, Rollout, Step, Window

from .counting_envs import CountingEnvs


class Recorder:
    """An actor that keeps every observation it is shown."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, obs: Tensor, age: Tensor, envs: slice) -> tuple[Tensor, Tensor, Tensor]:
        self.seen.append(obs.clone())
        return torch.full((len(obs),), len(self.seen) % 4), torch.zeros(len(obs)), torch.zeros(len(obs))


def test_stacks_by_hand() -> None:
    envs, actor = CountingEnvs(2, length=3), Recorder()
    collect(actor, envs, begin(envs), num_steps=5)
    first_env = [obs[0, :, 0, 0].tolist() for obs in actor.seen]
    # Age 0 repeats the first frame; after three steps the next episode (tens digit 1) begins afresh.
    assert first_env == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [10, 10, 10], [10, 10, 11]]
    assert [obs[1, -1, 0, 0].item() for obs in actor.seen] == [100, 101, 102, 110, 111]


def test_indexing_rebuilds_every_observation_across_rollouts() -> None:
    envs, actor = CountingEnvs(3, length=4), Recorder()
    standing = begin(envs)
    for _ in range(4):
        actor.seen.clear()
        rollout, standing, _ = collect(actor, envs, standing, num_steps=7)
        step, env = torch.arange(7).repeat_interleave(3), torch.arange(3).repeat(7)
        rebuilt = stack_frames(torch.from_numpy(rollout.frames), torch.from_numpy(rollout.age), step, env, 3)
        assert torch.equal(rebuilt, torch.cat(actor.seen))


def test_actions_rewards_and_ends_are_kept() -> None:
    envs, actor = CountingEnvs(2, length=3), Recorder()
    film = [Window(env=0, start=1, length=3), Window(env=1, start=3, length=1), Window(env=0, start=3, length=1)]
    rollout, _, captures = collect(actor, envs, begin(envs), num_steps=4, film=film)
    assert rollout.action[:, 0].tolist() == [1, 2, 3, 0]
    assert rollout.env_reward[:, 1].tolist() == [1, 2, 3, 0]
    assert rollout.terminated[:, 0].tolist() == [False, False, True, False]
    assert rollout.age[:, 0].tolist() == [0, 1, 2, 0, 1]
    assert [reel[:, 0, 0].tolist() for reel in captures] == [[1, 2, 10], [110], [10]]


def test_a_truncation_is_valued_at_its_own_last_frames() -> None:
    envs = CountingEnvs(1, length=3, truncates=True)
    policy = Policy(
        EnvSpec("Counting-v0", (84, 84), 3, 4, (), (), 10.0), PPOConfig()
    )  # weights are not used: the value is planted below

    def read(obs: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(obs), 4), obs[:, :, 0, 0].float() @ torch.tensor([1.0, 10.0, 100.0])

    policy.forward = read  # type: ignore[method-assign]
    rollout, _, _ = collect(Recorder(), envs, begin(envs), num_steps=4, value_of=policy)
    assert rollout.final_value[:, 0].tolist() == [0, 0, 1 + 20 + 300, 0]
    assert rollout.last_value.tolist() == [10 + 100 + 1100]


class Halves:
    """Two lots of counting environments, the first of one and the second of two, that can be ahead of each other."""

    def __init__(self) -> None:
        self.lots = [CountingEnvs(1, length=3), CountingEnvs(2, length=4, truncates=True)]
        self.parts = (slice(0, 1), slice(1, 3))
        self.spec, self.num_envs, self.recordable = self.lots[0].spec, 3, 3
        self.under_way: dict[int, Array] = {}
        self.order: list[str] = []

    def reset(self) -> Array:
        return np.concatenate([lot.reset() for lot in self.lots])

    def step(self, action: Array) -> Step:
        answers = [lot.step(action[envs]) for lot, envs in zip(self.lots, self.parts, strict=True)]
        return Step(*(np.concatenate([getattr(a, f.name) for a in answers]) for f in fields(Step)))

    def send(self, part: int, action: Array) -> None:
        assert part not in self.under_way
        self.under_way[part] = action.copy()
        self.order.append(f"send {part}")

    def receive(self, part: int) -> Step:
        self.order.append(f"receive {part}")
        return self.lots[part].step(self.under_way.pop(part))

    def capture(self, env: int) -> Array:
        assert (env > 0) not in self.under_way, "it plays"
        return self.lots[env > 0].capture(max(0, env - 1))


class Reader(Recorder):
    """Acts by what it sees, environment by environment; says of a value what it saw last."""

    def __call__(self, obs: Tensor, age: Tensor, envs: slice) -> tuple[Tensor, Tensor, Tensor]:
        super().__call__(obs, age, envs)
        newest = obs[:, -1, 0, 0].long()
        return newest % 4, age.float(), newest.float()


def test_parts_give_the_rollout_that_all_give_together(monkeypatch: pytest.MonkeyPatch) -> None:
    film = [Window(env=0, start=0, length=6), Window(env=1, start=3, length=2), Window(env=2, start=1, length=5)]
    policy = Policy(EnvSpec("Counting-v0", (84, 84), 3, 4, (), (), 10.0), PPOConfig())

    def read(obs: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(obs), 4), obs[:, :, 0, 0].float() @ torch.tensor([1.0, 10.0, 100.0])

    policy.forward = read  # type: ignore[method-assign]

    def play(halves: Halves) -> list[tuple[Rollout, list[Array]]]:
        standing, found = begin(halves), []  # type: ignore[arg-type]
        for _ in range(3):
            rollout, standing, captures = collect(Reader(), halves, standing, num_steps=6, film=film, value_of=policy)  # type: ignore[arg-type]
            found.append((rollout, captures))
        return found

    together, apart = Halves(), Halves()
    monkeypatch.setattr("pairplay.policy.rollout.available_cores", lambda: 1)
    whole = play(together)
    monkeypatch.setattr("pairplay.policy.rollout.available_cores", lambda: 2)
    in_parts = play(apart)
    assert together.order == []
    assert apart.order[:6] == ["send 0", "send 1", "receive 0", "send 0", "receive 1", "send 1"]
    assert any(rollout.final_value[:, 1:].all(1).any() for rollout, _ in whole), "nobody was cut off"
    for (rollout, captures), (other, others) in zip(whole, in_parts, strict=True):
        for field in fields(Rollout):
            np.testing.assert_array_equal(getattr(rollout, field.name), getattr(other, field.name), field.name)
        for window, reel, other_reel in zip(film, captures, others, strict=True):
            assert len(reel) == window.length
            np.testing.assert_array_equal(reel, other_reel)


def test_the_actor_leaves_half_of_the_threads_to_the_environments() -> None:
    found = []

    class Counting(Recorder):
        def __call__(self, obs: Tensor, age: Tensor, envs: slice) -> tuple[Tensor, Tensor, Tensor]:
            found.append(torch.get_num_threads())
            return super().__call__(obs, age, envs)

    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        envs = CountingEnvs(2, length=5)
        collect(Counting(), envs, begin(envs), num_steps=2)
        assert found == [2, 2]
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_the_same_seed_plays_the_same_rollout() -> None:
    def play() -> list[int]:
        envs = CountingEnvs(2, length=5)
        envs.spec = EnvSpec("Counting-v0", (40, 40), 3, 4, (), (), 10.0)
        torch.manual_seed(0)
        policy = Policy(envs.spec, PPOConfig())
        envs._frames = lambda: np.full((2, 40, 40), 7, np.uint8)  # type: ignore[method-assign]
        actor = PolicyActor(policy, torch.Generator().manual_seed(3))
        rollout, _, _ = collect(actor, envs, begin(envs), num_steps=16)
        return [int(a) for a in rollout.action.ravel()]

    assert play() == play()
    assert len(set(play())) > 1


def test_exploration_holds_actions_within_an_episode() -> None:
    spec = EnvSpec("Counting-v0", (2, 2), 1, 18, (), (), 10.0)
    explorer = Explorer(spec, np.random.default_rng(0), persistence=0.9)
    obs, age = torch.zeros(8, 1, 2, 2), torch.ones(8, dtype=torch.int64)
    actions = torch.stack([explorer(obs, age, slice(0, len(obs)))[0] for _ in range(2000)])
    kept = (actions[1:] == actions[:-1]).float().mean().item()
    assert abs(kept - (0.9 + 0.1 / 18)) < 0.01
    assert set(actions.flatten().tolist()) == set(range(18))


def test_exploration_holds_each_environments_own_action() -> None:
    """Parts differ in size, and one is looked at between two looks at the other."""
    spec = EnvSpec("Counting-v0", (2, 2), 1, 18, (), (), 10.0)
    explorer = Explorer(spec, np.random.default_rng(0), persistence=1.0)
    parts = slice(0, 3), slice(3, 8)
    played: list[set[tuple[int, ...]]] = [set(), set()]
    for age in range(5):
        for part, actions in zip(parts, played, strict=True):
            count = part.stop - part.start
            chosen, _, _ = explorer(torch.zeros(count, 1, 2, 2), torch.full((count,), age), part)
            actions.add(tuple(chosen.tolist()))
    assert [len(actions) for actions in played] == [1, 1]


def test_exploration_stays_within_continuous_bounds() -> None:
    spec = EnvSpec("Pendulum-v1", (3,), 1, 0, (-2.0, -0.5), (2.0, 0.5), 20.0)
    explorer = Explorer(spec, np.random.default_rng(0), persistence=0.5)
    obs, age = torch.zeros(4, 1, 3), torch.ones(4, dtype=torch.int64)
    actions = torch.stack([explorer(obs, age, slice(0, len(obs)))[0] for _ in range(500)])
    assert actions.shape == (500, 4, 2)
    assert actions[..., 0].abs().max() <= 2.0
    assert actions[..., 1].abs().max() <= 0.5
    assert actions[..., 0].abs().max() > 1.8
