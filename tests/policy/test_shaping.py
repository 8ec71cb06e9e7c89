"""Shaping changes when reward is told, never how much a whole episode is worth."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pairplay.policy.returns import gae
from pairplay.policy.shaping import Shaping, shape_by_own_past
from pairplay.types import BoolArray, FloatArray

NEVER = np.zeros((10, 1), np.bool_)


def shape(
    reward: FloatArray, potential: FloatArray, terminated: BoolArray, *, gamma: float, scale: float
) -> tuple[FloatArray, FloatArray]:
    kappa = scale / (1.0 - gamma)
    return shape_by_own_past(reward, potential, terminated, NEVER[: len(reward)], gamma=gamma, kappa=kappa)


def test_by_hand() -> None:
    # κ = 1 / (1 - .5) = 2;  r' = r_t + 2 (.5 r_t - r_{t-1}) = 2 (r_t - r_{t-1})
    reward = np.array([[1], [3], [3], [0]], np.float32)
    shaped, potential = shape(reward, np.array([2.0], np.float32), reward < 0, gamma=0.5, scale=1.0)
    assert shaped[:, 0].tolist() == [0, 4, 0, -6]
    assert potential.tolist() == [0.0]


def test_nothing_is_shaped_at_scale_zero() -> None:
    reward = np.array([[1], [3]], np.float32)
    shaping = Shaping(1, gamma=0.9, scale=0.0)
    for step in (0, 2):  # nor by the past of the rollout before
        assert np.array_equal(shaping(reward, reward < 0, reward < 0, step=step), reward)


def test_the_past_of_one_episode_is_not_the_next_ones() -> None:
    reward, ended = np.array([[5], [1]], np.float32), np.array([[True], [False]])
    shaped, potential = shape(reward, np.zeros(1, np.float32), ended, gamma=0.5, scale=1.0)
    assert shaped[:, 0].tolist() == [5, 1 + 2 * 0.5 * 1]  # the end has no future, the beginning no past
    assert potential.tolist() == [2.0]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.5, 0.99), st.floats(0.0, 1.0), st.integers(0, 20), st.integers(1, 9))
def test_an_episodes_discounted_return_stays_the_same(
    seed: int, gamma: float, scale: float, steps: int, cut: int
) -> None:
    # One episode from its first step to its end, in two rollouts, between which shaping may fade.
    reward = np.random.default_rng(seed).normal(size=(10, 1)).astype(np.float32)
    ended = np.zeros((10, 1), np.bool_)
    ended[-1] = True
    shaping = Shaping(1, gamma=gamma, scale=scale, steps=steps)
    first = shaping(reward[:cut], ended[:cut], NEVER[:cut], step=0)
    second = shaping(reward[cut:], ended[cut:], NEVER[cut:], step=cut)
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
    shaped, after = shape_by_own_past(reward[:10], np.zeros(1, np.float32), NEVER, cut, gamma=gamma, kappa=kappa)
    advantage = gae(shaped, shaped_value[:10], NEVER, cut, finals, shaped_value[10], gamma=gamma, gae_lambda=gae_lambda)
    np.testing.assert_allclose(advantage, 0.0, atol=2e-3)
    assert after == np.float32(kappa * reward[9])


def test_it_fades_linearly() -> None:
    shaping = Shaping(1, gamma=0.5, scale=0.8, steps=100)
    assert [shaping.scale(step) for step in (0, 50, 100, 1000)] == [0.8, 0.4, 0.0, 0.0]
    assert Shaping(1, gamma=0.5, scale=0.8).scale(10**9) == 0.8


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.5, 2.0), st.floats(-3.0, 3.0), st.floats(0.0, 1.0))
def test_a_refit_between_two_rollouts_is_as_if_it_had_come_before_both(
    seed: int, unit: float, shift: float, scale: float
) -> None:
    # Environment 0 plays on, environment 1 ends with the first rollout.
    reward = np.random.default_rng(seed).normal(size=(6, 2)).astype(np.float32)
    ended = np.zeros((6, 2), np.bool_)
    ended[2, 1] = True
    never = np.zeros((3, 2), np.bool_)
    moved = (unit * reward + shift).astype(np.float32)
    after, before = (Shaping(2, gamma=0.9, scale=scale) for _ in range(2))
    after(reward[:3], ended[:3], never, step=0)
    after.follow(unit, shift, np.array([True, False]))
    before(moved[:3], ended[:3], never, step=0)
    second = after(moved[3:], ended[3:], never, step=3)
    np.testing.assert_allclose(second, before(moved[3:], ended[3:], never, step=3), rtol=1e-3, atol=1e-3)


def test_a_value_rises_with_all_rewards_less_what_shaping_takes() -> None:
    # V = r / (1 - γ) for ever, less Φ = κ r.
    assert Shaping(1, gamma=0.5, scale=0.0).shift_of_value(3.0) == 6.0
    assert Shaping(1, gamma=0.5, scale=1.0).shift_of_value(3.0) == 0.0
    assert Shaping(1, gamma=0.5, scale=0.5).shift_of_value(3.0) == 3.0
