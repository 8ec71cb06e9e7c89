"""The update moves the policy towards reward, exactly as far as the clip allows, and survives a checkpoint."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pairplay.config import PPOConfig
from pairplay.policy.networks import Policy, RunningNorm
from pairplay.policy.ppo import PPO
from pairplay.policy.rollout import PolicyActor, begin, collect
from pairplay.types import EnvSpec, FloatArray, Rollout, UserError

from .counting_envs import CountingEnvs

CPU = torch.device("cpu")
SPEC = EnvSpec("Counting-v0", (2,), 1, 4, (), (), 10.0)
CONFIG = PPOConfig(num_steps=32, minibatch_size=64, learning_rate=3e-3, hidden=16, clip_coef=0.2, ent_coef=0.0)


class VectorEnvs(CountingEnvs):
    """The counting environments as state vectors."""

    def __init__(self) -> None:
        super().__init__(4, length=8, stack=1)
        self.spec = SPEC

    def _frames(self) -> FloatArray:
        return np.stack([self.age, self.episode % 2], 1).astype(np.float32)


def make_ppo(config: PPOConfig = CONFIG, seed: int = 0) -> PPO:
    torch.manual_seed(seed)
    return PPO(Policy(SPEC, config), SPEC, config, num_envs=4, device=CPU)


def play(ppo: PPO, seed: int = 0) -> Rollout:
    envs = VectorEnvs()
    actor = PolicyActor(ppo.policy, torch.Generator().manual_seed(seed))
    return collect(actor, envs, begin(envs), num_steps=32, value_of=ppo.policy)[0]


def test_learns_to_take_the_rewarded_action() -> None:
    ppo = make_ppo()
    for i in range(25):
        rollout = play(ppo, i)
        metrics = ppo.update(
            rollout, (rollout.action == 2).astype(np.float32), lr_scale=1.0, rng=np.random.default_rng(i)
        )
    assert (play(ppo, 99).action == 2).mean() > 0.9
    assert metrics["train/approx_kl"] is not None


def test_never_reads_the_environments_reward() -> None:
    rollout = play(make_ppo())
    reward = (rollout.action == 1).astype(np.float32)
    after = []
    for scramble in (0.0, 1e6, np.nan):
        ppo = make_ppo()
        ppo.update(
            replace(rollout, env_reward=np.full_like(reward, scramble)),
            reward,
            lr_scale=1.0,
            rng=np.random.default_rng(0),
        )
        after.append(ppo.state())
    for name, tensor in after[0].items():
        assert torch.equal(tensor, after[1][name]), name
        assert torch.equal(tensor, after[2][name]), name


def test_a_policy_that_has_blown_up_is_not_played_on() -> None:
    ppo = make_ppo()
    rollout = play(ppo)
    ppo.policy.move_value(float("nan"), 0.0)
    with pytest.raises(FloatingPointError, match="smaller --ppo"):
        ppo.update(rollout, rollout.env_reward, lr_scale=1.0, rng=np.random.default_rng(0))


def test_a_saved_learner_goes_on_as_if_never_stopped() -> None:
    first, second = make_ppo(seed=0), make_ppo(seed=1)
    rollout = play(first)
    reward = rollout.action.astype(np.float32)
    first.update(rollout, reward, lr_scale=1.0, rng=np.random.default_rng(0))
    second.load({name: tensor.clone() for name, tensor in first.state().items()})
    for ppo in (first, second):
        ppo.update(rollout, reward, lr_scale=0.5, rng=np.random.default_rng(1))
    for name, tensor in first.state().items():
        assert torch.equal(tensor, second.state()[name]), name


def test_a_saved_image_learner_goes_on_as_if_never_stopped() -> None:
    # Moments of channels-last weights come back from a file in another memory layout.
    spec = EnvSpec("Counting-v0", (40, 40), 2, 4, (), (), 10.0)
    config = replace(CONFIG, num_steps=8, minibatch_size=16)
    envs = CountingEnvs(2, length=5, stack=2)
    envs.spec = spec
    noise = np.random.default_rng(0)
    envs._frames = lambda: noise.integers(0, 255, (2, 40, 40), dtype=np.uint8)  # type: ignore[method-assign]
    learners = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        learners.append(PPO(Policy(spec, config), spec, config, num_envs=2, device=CPU))
    first, second = learners
    actor = PolicyActor(first.policy, torch.Generator().manual_seed(0))
    rollout, _, _ = collect(actor, envs, begin(envs), num_steps=8, value_of=first.policy)
    reward = rollout.action.astype(np.float32)
    first.update(rollout, reward, lr_scale=1.0, rng=np.random.default_rng(0))
    second.load({name: tensor.contiguous().clone() for name, tensor in first.state().items()})
    for ppo in (first, second):
        ppo.update(rollout, reward, lr_scale=1.0, rng=np.random.default_rng(1))
    for name, tensor in first.state().items():
        torch.testing.assert_close(tensor, second.state()[name], rtol=0, atol=1e-6, msg=name)


def test_annealing_scales_the_learning_rate() -> None:
    ppo = make_ppo()
    rollout = play(ppo)
    metrics = ppo.update(rollout, rollout.env_reward, lr_scale=0.25, rng=np.random.default_rng(0))
    assert metrics["train/learning_rate"] == pytest.approx(0.25 * CONFIG.learning_rate)
    ppo = make_ppo(replace(CONFIG, anneal_lr=False))
    metrics = ppo.update(rollout, rollout.env_reward, lr_scale=0.25, rng=np.random.default_rng(0))
    assert metrics["train/learning_rate"] == CONFIG.learning_rate


def test_target_kl_ends_the_epochs_early() -> None:
    eager = replace(CONFIG, learning_rate=0.03, update_epochs=10, norm_adv=True)
    counts = {}
    for target_kl in (0.0, 1e-4):
        ppo = make_ppo(replace(eager, target_kl=target_kl))
        rollout = play(ppo)
        ppo.update(rollout, rollout.env_reward, lr_scale=1.0, rng=np.random.default_rng(0))
        counts[target_kl] = ppo.updates
    assert counts[0.0] == 10
    assert counts[1e-4] < 10


def test_a_minibatch_that_does_not_divide_the_batch_is_explained() -> None:
    with pytest.raises(UserError, match=r"minibatch_size=60 does not divide num_envs\*num_steps=128: use (32 or )?64"):
        make_ppo(replace(CONFIG, minibatch_size=60))


def test_continuous_log_probabilities_by_hand() -> None:
    spec = EnvSpec("Pendulum-v1", (3,), 1, 0, (-2.0,), (2.0,), 20.0)
    policy = Policy(spec, CONFIG)
    with torch.no_grad():
        policy.log_std.fill_(float(np.log(2.0)))
    obs = torch.zeros(1, 1, 3)
    mean = policy.mode(obs)
    (log_prob, entropy, _), _ = policy.evaluate(obs, mean + 2.0)
    # N(mean, 2²) one standard deviation out: -½ - log 2 - ½ log 2π
    assert log_prob.item() == pytest.approx(-0.5 - np.log(2.0) - 0.5 * np.log(2 * np.pi), abs=1e-5)
    assert entropy.item() == pytest.approx(0.5 * np.log(2 * np.pi * np.e) + np.log(2.0), abs=1e-5)


def test_discrete_entropy_of_a_fresh_policy_is_nearly_uniform() -> None:
    (_, entropy, _), _ = make_ppo().policy.evaluate(torch.zeros(1, 1, 2), torch.zeros(1, dtype=torch.int64))
    assert entropy.item() == pytest.approx(np.log(4), abs=1e-3)


def test_running_norm_equals_the_statistics_of_all_data() -> None:
    data = torch.from_numpy(np.random.default_rng(0).normal(3.0, 2.0, (90, 5)).astype(np.float32))
    norm = RunningNorm(5)
    for part in data.split([20, 1, 69]):  # type: ignore[no-untyped-call]
        norm.update(part)
    torch.testing.assert_close(norm.mean, data.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.var, data.var(0, correction=0), rtol=1e-4, atol=1e-4)


def test_the_state_of_another_network_is_refused_and_changes_nothing() -> None:
    ppo = make_ppo()
    before = {name: tensor.clone() for name, tensor in ppo.state().items()}
    with pytest.raises(UserError, match="other layers"):
        ppo.load(make_ppo(replace(CONFIG, hidden=CONFIG.hidden + 1)).state())
    renamed = {name.replace("policy.actor", "policy.player"): tensor for name, tensor in before.items()}
    with pytest.raises(UserError, match="other layers"):
        ppo.load(renamed)
    assert all(torch.equal(tensor, before[name]) for name, tensor in ppo.state().items())
