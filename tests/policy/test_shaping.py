"""Shaping changes when reward is told, never how much a whole episode is worth."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pairplay.policy.returns import gae
from pairplay.policy.shaping import shape_by_own_past
from pairplay.types import BoolArray, FloatArray

NEVER = np.zeros((10, 1), np.bool_)


def shape(
    reward: FloatArray, before: FloatArray, terminated: BoolArray, *, gamma: float, scale: float
) -> tuple[FloatArray, FloatArray]:
    return shape_by_own_past(reward, before, terminated, NEVER[: len(reward)], gamma=gamma, scale=scale)


def test_by_hand() -> None:
    # κ = 1 / (1 - .5) = 2;  r' = r_t + 2 (.5 r_t - r_{t-1}) = 2 (r_t - r_{t-1})
    reward = np.array([[1], [3], [3], [0]], np.float32)
    shaped, last = shape(reward, np.array([1.0], np.float32), reward < 0, gamma=0.5, scale=1.0)
    assert shaped[:, 0].tolist() == [0, 4, 0, -6]
    assert last.tolist() == [0.0]


def test_nothing_is_shaped_at_scale_zero() -> None:
    reward = np.array([[1], [3]], np.float32)
    shaped, _ = shape(reward, np.ones(1, np.float32), reward < 0, gamma=0.9, scale=0.0)
    assert np.array_equal(shaped, reward)


def test_the_past_of_one_episode_is_not_the_next_ones() -> None:
    reward, ended = np.array([[5], [1]], np.float32), np.array([[True], [False]])
    shaped, last = shape(reward, np.zeros(1, np.float32), ended, gamma=0.5, scale=1.0)
    assert shaped[:, 0].tolist() == [5, 1 + 2 * 0.5 * 1]  # the end has no future, the beginning no past
    assert last.tolist() == [1.0]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.5, 0.99), st.floats(0.0, 1.0), st.integers(1, 9))
def test_an_episodes_discounted_return_stays_the_same(seed: int, gamma: float, scale: float, cut: int) -> None:
    # One episode from its first step to its end, in two rollouts.
    reward = np.random.default_rng(seed).normal(size=(10, 1)).astype(np.float32)
    ended = np.zeros((10, 1), np.bool_)
    ended[-1] = True
    first, last = shape(reward[:cut], np.zeros(1, np.float32), ended[:cut], gamma=gamma, scale=scale)
    second, _ = shape(reward[cut:], last, ended[cut:], gamma=gamma, scale=scale)
    discount = gamma ** np.arange(10)
    shaped = np.concatenate([first, second])[:, 0]
    np.testing.assert_allclose((discount * shaped).sum(), (discount * reward[:, 0]).sum(), rtol=1e-3, atol=1e-3)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.5, 0.99), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_time_limit_is_no_news_to_who_knows_all_values(
    seed: int, gamma: float, gae_lambda: float, scale: float
) -> None:
    # An episode goes on for ever and is cut after its fifth step; a new one begins. Values are exact, shaped ones too.
    reward = np.random.default_rng(seed).normal(size=(11, 1)).astype(np.float32)
    cut = np.zeros((10, 1), np.bool_)
    cut[4] = True
    value = np.zeros((11, 1), np.float32)  # of the moment before each step; after the tenth nothing is earned
    final = np.float32(7.0)  # of the moment after the cut
    for t in reversed(range(10)):
        value[t] = reward[t] + gamma * (final if cut[t] else value[t + 1])
    kappa = scale / (1 - gamma)
    potential = kappa * np.concatenate([np.zeros((1, 1)), reward[:10]])
    potential[5] = 0.0  # the next episode begins
    shaped_value = (value - potential).astype(np.float32)
    shaped_final = (final - kappa * reward[4]).astype(np.float32)
    finals = np.where(cut, shaped_final, 0.0).astype(np.float32)
    shaped, last = shape_by_own_past(reward[:10], np.zeros(1, np.float32), NEVER, cut, gamma=gamma, scale=scale)
    advantage = gae(shaped, shaped_value[:10], NEVER, cut, finals, shaped_value[10], gamma=gamma, gae_lambda=gae_lambda)
    np.testing.assert_allclose(advantage, 0.0, atol=2e-3)
    assert last == reward[9]
