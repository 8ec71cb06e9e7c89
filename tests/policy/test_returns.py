"""Advantages against numbers worked by hand, then against the definition as a double sum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairplay.policy.returns import explained_variance, gae
from pairplay.types import Array, Rollout


def column(*numbers: float) -> Array:
    return np.array(numbers, np.float32)[:, None]


def advantages(
    reward: Array,
    value: Array,
    terminated: Array,
    truncated: Array,
    final: Array,
    last: float,
    gamma: float,
    lam: float,
) -> Array:
    return gae(
        reward,
        value,
        terminated.astype(bool),
        truncated.astype(bool),
        final,
        np.full(reward.shape[1], last, np.float32),
        gamma=gamma,
        gae_lambda=lam,
    )


def test_two_steps_by_hand() -> None:
    no = column(0, 0)
    # δ1 = 2 + .5·4 - 1 = 3;  δ0 = 1 + .5·1 - 2 = -.5;  A0 = -.5 + .5·.5·3 = .25
    got = advantages(column(1, 2), column(2, 1), no, no, no, last=4.0, gamma=0.5, lam=0.5)
    np.testing.assert_allclose(got[:, 0], [0.25, 3.0])


def test_a_termination_has_no_future() -> None:
    got = advantages(column(1), column(2), column(1), column(0), column(7), last=9.0, gamma=0.5, lam=0.9)
    np.testing.assert_allclose(got[:, 0], [1 - 2])


def test_a_truncation_keeps_the_value_of_its_last_observation() -> None:
    got = advantages(column(1), column(2), column(0), column(1), column(7), last=9.0, gamma=0.5, lam=0.9)
    np.testing.assert_allclose(got[:, 0], [1 + 0.5 * 7 - 2])


def test_nothing_flows_back_across_an_episode_end() -> None:
    no = column(0, 0)
    for ends in ({"terminated": column(1, 0), "truncated": no}, {"terminated": no, "truncated": column(1, 0)}):
        small = advantages(column(1, 0), column(0, 0), final=no, last=0.0, gamma=0.9, lam=0.9, **ends)
        large = advantages(column(1, 1000), column(0, 0), final=no, last=0.0, gamma=0.9, lam=0.9, **ends)
        assert small[0, 0] == large[0, 0] == 1.0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_agrees_with_the_double_sum(seed: int, gamma: float, lam: float) -> None:
    rng = np.random.default_rng(seed)
    T = 12
    reward, value, final = (rng.normal(size=(T, 1)).astype(np.float32) for _ in range(3))
    terminated = rng.random((T, 1)) < 0.15
    truncated = (rng.random((T, 1)) < 0.15) & ~terminated
    last = float(rng.normal())
    following = np.append(value[1:, 0], last)
    following = np.where(terminated[:, 0], 0.0, np.where(truncated[:, 0], final[:, 0], following))
    delta = reward[:, 0] + gamma * following - value[:, 0]
    ended = (terminated | truncated)[:, 0]
    expected = []
    for t in range(T):
        total, weight = 0.0, 1.0
        for k in range(t, T):
            total += weight * delta[k]
            weight *= gamma * lam
            if ended[k]:
                break
        expected.append(total)
    got = advantages(reward, value, terminated, truncated, final, last, gamma, lam)
    np.testing.assert_allclose(got[:, 0], expected, rtol=1e-4, atol=1e-4)


def test_explained_variance() -> None:
    target = np.array([1.0, 2.0, 3.0], np.float32)
    assert explained_variance(target, target) == 1.0
    assert explained_variance(np.full(3, 2.0, np.float32), target) == pytest.approx(0.0)
    assert explained_variance(target, np.ones(3, np.float32)) is None


def test_values_that_move_with_their_rewards_scale_the_advantages() -> None:
    """r' = a r + (1 - γ) b and V' = a V + b: δ' = a δ wherever no episode ends by itself."""
    random, shape = np.random.default_rng(0), (9, 3)
    reward, value, final, noise = (random.normal(size=shape).astype(np.float32) for _ in range(4))
    no, truncated = np.zeros(shape, np.bool_), noise > 0.8
    final = np.where(truncated, final, 0.0).astype(np.float32)
    rollout = Rollout(
        frames=np.zeros((11, 3, 2), np.float32),
        age=np.zeros((10, 3), np.int64),
        action=np.zeros(shape, np.int64),
        log_prob=np.zeros(shape, np.float32),
        value=value,
        terminated=no,
        truncated=truncated,
        final_value=final,
        last_value=random.normal(size=3).astype(np.float32),
        env_reward=reward,
        lost=no,
    )

    def advantage(reward_TN: Array) -> Array:
        ends = rollout.terminated, rollout.truncated
        values = rollout.final_value, rollout.last_value
        return gae(reward_TN, rollout.value, *ends, *values, gamma=0.9, gae_lambda=0.8)

    before = advantage(reward)
    rollout.move_values(2.0, 0.5)
    moved = (2.0 * reward + 0.1 * 0.5).astype(np.float32)
    np.testing.assert_allclose(advantage(moved), 2.0 * before, atol=1e-5)
