"""Scores of pairs by hand: variance, entropy, and the farthest of the far."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairplay.queries.scores import (
    farthest_first,
    nearest_centre,
    pair_features,
    preference_entropy,
    preference_variance,
    standardise,
)

NONE = np.zeros((0, 1))


def test_variance_by_hand() -> None:
    # σ(0) = 1/2 and σ(ln 3) = 3/4: variance (1/8)². A huge difference neither overflows nor warns.
    left = np.array([[0.0, 1e4], [np.log(3.0), 1e4]], np.float32)
    right = np.array([[0.0, -1e4], [0.0, 1e5]], np.float32)
    np.testing.assert_allclose(preference_variance(left, right), [1 / 64, 1 / 4], rtol=1e-6)


def test_entropy_by_hand() -> None:
    # Means of σ: 1/2 (of a dispute), 3/4, 1. The entropy of 3/4 is 2 ln 2 - ¾ ln 3.
    left = np.array([[50.0, np.log(3.0), 1e4], [-50.0, np.log(3.0), 1e4]], np.float32)
    wanted = [np.log(2.0), 2 * np.log(2.0) - 0.75 * np.log(3.0), 0.0]
    np.testing.assert_allclose(preference_entropy(left, np.zeros_like(left)), wanted, rtol=1e-6, atol=1e-12)


@given(st.integers(0, 99))
def test_a_score_does_not_know_left_from_right(seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = rng.normal(size=(2, 3, 5)) * 10
    for score in (preference_variance, preference_entropy):
        np.testing.assert_allclose(score(left, right), score(right, left), atol=1e-9)
    both = rng.normal(size=(5, 2, 4))
    np.testing.assert_array_equal(pair_features(both), pair_features(both[:, ::-1]))


def test_pair_features_by_hand() -> None:
    np.testing.assert_allclose(pair_features(np.array([[[1.0, 5.0], [4.0, 3.0]]])), [[3, 2, 5, 8]])


def test_standardised_features_weigh_the_same() -> None:
    found = standardise(np.array([[1.0, 1000.0, 7.1], [3.0, 3000.0, 7.1]]))
    np.testing.assert_allclose(found, [[-1, -1, 0], [1, 1, 0]])


def test_farthest_first_by_hand() -> None:
    line = np.array([[0.0], [1.0], [10.0], [6.0]])
    nobody = np.eye(4, dtype=np.bool_)
    assert nearest_centre(line, np.array([[2.0], [9.0]])).tolist() == [2, 1, 1, 3]
    # From 0: 10 is farthest; then 6, four from 10; then 1.
    assert farthest_first(line, NONE, nobody, 4) == [(0, 0.0), (2, 10.0), (3, 4.0), (1, 1.0)]
    assert farthest_first(line, np.array([[10.0]]), nobody, 2) == [(0, 10.0), (3, 4.0)]
    clash = nobody.copy()
    clash[0, 2] = clash[2, 0] = True
    assert [i for i, _ in farthest_first(line, NONE, clash, 4)] == [0, 3, 1]


def test_greedy_is_within_twice_the_best_radius() -> None:
    """The guarantee of Gonzalez 1985, on points small enough to try every choice of three centres."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = rng.normal(size=(8, 2))
        chosen = [i for i, _ in farthest_first(points, np.zeros((0, 2)), np.eye(8, dtype=np.bool_), 3)]
        best = min(
            nearest_centre(points, points[[i, j, k]]).max() for i in range(8) for j in range(i) for k in range(j)
        )
        assert nearest_centre(points, points[chosen]).max() <= 2 * best + 1e-9


def test_nothing_to_choose_from() -> None:
    assert farthest_first(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 0), np.bool_), 3) == []
    with pytest.raises(ValueError, match="broadcast"):
        nearest_centre(np.zeros((2, 3)), np.zeros((1, 2)))
