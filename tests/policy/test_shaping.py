"""Shaping changes when reward is told, never how much a whole episode is worth."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pairplay.policy.shaping import shape_by_own_past


def test_by_hand() -> None:
    # κ = 1 / (1 - .5) = 2;  r' = r_t + 2 (.5 r_t - r_{t-1}) = 2 (r_t - r_{t-1})
    reward = np.array([[1], [3], [3], [0]], np.float32)
    shaped, last = shape_by_own_past(reward, np.array([1.0], np.float32), reward < 0, gamma=0.5, scale=1.0)
    assert shaped[:, 0].tolist() == [0, 4, 0, -6]
    assert last.tolist() == [0.0]


def test_nothing_is_shaped_at_scale_zero() -> None:
    reward = np.array([[1], [3]], np.float32)
    shaped, _ = shape_by_own_past(reward, np.ones(1, np.float32), reward < 0, gamma=0.9, scale=0.0)
    assert np.array_equal(shaped, reward)


def test_the_past_of_one_episode_is_not_the_next_ones() -> None:
    reward, ended = np.array([[5], [1]], np.float32), np.array([[True], [False]])
    shaped, last = shape_by_own_past(reward, np.zeros(1, np.float32), ended, gamma=0.5, scale=1.0)
    assert shaped[:, 0].tolist() == [5, 1 + 2 * 0.5 * 1]  # the end has no future, the beginning no past
    assert last.tolist() == [1.0]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.5, 0.99), st.floats(0.0, 1.0), st.integers(1, 9))
def test_an_episodes_discounted_return_stays_the_same(seed: int, gamma: float, scale: float, cut: int) -> None:
    # One episode from its first step to its end, in two rollouts.
    reward = np.random.default_rng(seed).normal(size=(10, 1)).astype(np.float32)
    ended = np.zeros((10, 1), np.bool_)
    ended[-1] = True
    first, last = shape_by_own_past(reward[:cut], np.zeros(1, np.float32), ended[:cut], gamma=gamma, scale=scale)
    second, _ = shape_by_own_past(reward[cut:], last, ended[cut:], gamma=gamma, scale=scale)
    discount = gamma ** np.arange(10)
    shaped = np.concatenate([first, second])[:, 0]
    np.testing.assert_allclose((discount * shaped).sum(), (discount * reward[:, 0]).sum(), rtol=1e-3, atol=1e-3)
