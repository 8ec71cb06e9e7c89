"""The scale of the environment's own reward."""

from __future__ import annotations

import numpy as np
import pytest

from pairplay.policy.return_scale import ReturnScale
from pairplay.types import BoolArray, FloatArray


def column(*values: float) -> FloatArray:
    return np.array(values, np.float32)[:, None]


def ends(*steps: bool) -> BoolArray:
    return np.array(steps)[:, None]


def test_by_hand() -> None:
    # Sums with γ = ½: 4, 2 + 4 = 6, 3 - 1 = 2; their variance is 8/3.
    scaled = ReturnScale(1, 0.5)(column(4, 4, -1), ends(False, False, False))
    np.testing.assert_allclose(scaled[:, 0], np.array([4, 4, -1]) / np.sqrt(8 / 3), rtol=1e-5)


def test_an_episode_begins_from_nothing() -> None:
    scale = ReturnScale(1, 0.5)
    scale(column(4, 4), ends(True, False))
    assert scale.running_N == pytest.approx(4.0)


def test_the_unit_of_the_reward_does_not_matter() -> None:
    rewards = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    never = np.zeros((50, 3), np.bool_)
    small, large = ReturnScale(3, 0.99)(rewards, never), ReturnScale(3, 0.99)(100 * rewards, never)
    np.testing.assert_allclose(small, large, rtol=1e-3)


def test_what_was_learnt_is_kept() -> None:
    first, second = ReturnScale(1, 0.5), ReturnScale(1, 0.5)
    first(column(4, 4, -1), ends(False, False, True))
    second.load(first.state())
    assert np.array_equal(first(column(1.0), ends(True)), second(column(1.0), ends(True)))
