"""Each member's training and held-out comparisons by hand, then: no segment is ever on both sides."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairplay.reward import split as split_module
from pairplay.reward.split import Split, Splitter
from pairplay.types import Array, IntArray, Pair

SHARE = 1 / math.e


def divide(
    pairs: list[Pair], *, seed: int = 0, members: int = 3, held_out: float = SHARE, bootstrap: bool = True
) -> Split:
    splitter = Splitter(seed, members, held_out=held_out, bootstrap=bootstrap, pairs=pairs)
    return splitter.split([pair.key for pair in pairs])


def fresh(count: int) -> list[Pair]:
    """Pairs of segments that nothing else asks about."""
    return [Pair(key, f"{key}a", f"{key}b") for key in range(1, count + 1)]


@st.composite
def pair_lists(draw: st.DrawFn) -> list[Pair]:
    """Pairs of few segments, so that most are in several; keys as a database gives them, with gaps."""
    names = st.integers(0, draw(st.integers(2, 30)))
    couples = draw(st.lists(st.tuples(names, names).filter(lambda two: two[0] != two[1]), max_size=40))
    keys = draw(st.lists(st.integers(1, 2000), min_size=len(couples), max_size=len(couples), unique=True))
    return [Pair(key, str(a), str(b)) for key, (a, b) in zip(keys, couples, strict=True)]


def test_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs 1 and 3 found families; the first member holds out 1, the second 3."""
    held = {1: (0.1, 0.9), 3: (0.9, 0.1)}

    def draws(seed: int, members: int, key_D: IntArray) -> Array:
        # Of the others no draw may count: were it read, it would turn their side round.
        side = [[held.get(int(key), (0.1, 0.1) if key in {2, 4} else (0.9, 0.9))[e] for key in key_D] for e in (0, 1)]
        return np.stack([np.array(side), np.full((2, len(key_D)), 0.0)], axis=2)

    monkeypatch.setattr(split_module, "_draws", draws)
    pairs = [
        Pair(1, "a", "b"),
        Pair(2, "b", "c"),  # c joins a and b
        Pair(3, "x", "y"),
        Pair(4, "z", "y"),  # z joins x and y
        Pair(5, "a", "c"),  # within the first family
        Pair(6, "c", "z"),  # across: on different sides for both members
    ]
    found = divide(pairs, members=2, held_out=0.5)
    assert found.held_ED.tolist() == [[True, True, False, False, True, False], [False, False, True, True, False, False]]
    assert found.weight_ED.tolist() == [[0, 0, 1, 1, 0, 0], [1, 1, 0, 0, 1, 0]]


@given(pair_lists(), st.integers(0, 2**31), st.integers(1, 4), st.floats(0.0, 1.0), st.booleans())
def test_no_segment_is_on_both_sides_of_any_member(
    pairs: list[Pair], seed: int, members: int, held_out: float, bootstrap: bool
) -> None:
    found = divide(pairs, seed=seed, members=members, held_out=held_out, bootstrap=bootstrap)
    assert found.weight_ED.shape == found.held_ED.shape == (members, len(pairs))
    for view in (found, found.take(range(len(pairs))), found.take(range(0, len(pairs), 2))):
        rows = pairs if view.weight_ED.shape[1] == len(pairs) else pairs[::2]
        for weight_D, held_D in zip(view.weight_ED, view.held_ED, strict=True):
            trained, held = set[str](), set[str]()
            for pair, weight, is_held in zip(rows, weight_D, held_D, strict=True):
                trained |= {pair.left_id, pair.right_id} if weight else set()
                held |= {pair.left_id, pair.right_id} if is_held else set()
            assert not trained & held
            assert trained or not rows or view is found


@given(pair_lists(), st.integers(0, 2**31), st.data())
def test_later_pairs_and_more_members_change_nothing_earlier(pairs: list[Pair], seed: int, data: st.DataObject) -> None:
    whole = divide(pairs, seed=seed)
    last = data.draw(st.sampled_from([0, *(pair.key for pair in pairs)]))
    early = [row for row, pair in enumerate(pairs) if pair.key <= last]
    before = divide([pairs[row] for row in early], seed=seed, members=2)
    np.testing.assert_array_equal(before.weight_ED, whole.weight_ED[:2, early])
    np.testing.assert_array_equal(before.held_ED, whole.held_ED[:2, early])


@given(pair_lists(), st.randoms(use_true_random=False))
def test_the_order_in_which_answers_arrive_does_not_matter(pairs: list[Pair], random: object) -> None:
    whole = divide(pairs)
    order = np.random.default_rng(0).permutation(len(pairs))
    shuffled = divide([pairs[row] for row in order])
    np.testing.assert_array_equal(shuffled.weight_ED, whole.weight_ED[:, order])
    np.testing.assert_array_equal(shuffled.held_ED, whole.held_ED[:, order])


@given(pair_lists(), st.data())
def test_in_whatever_portions_pairs_are_added_their_sides_are_those_of_the_whole(
    pairs: list[Pair], data: st.DataObject
) -> None:
    splitter = Splitter(0, 3, held_out=SHARE, bootstrap=True)
    rest = list(data.draw(st.permutations(pairs)))
    while rest:
        count = data.draw(st.integers(1, len(rest)))
        splitter.add(rest[:count])
        splitter.add(pair for pair in rest[:count])  # again: nothing is to change
        rest = rest[count:]
    keys = [pair.key for pair in pairs]
    whole = divide(pairs)
    np.testing.assert_array_equal(splitter.split(keys).weight_ED, whole.weight_ED)
    np.testing.assert_array_equal(splitter.split(keys).held_ED, whole.held_ED)
    part = keys[1::2]
    np.testing.assert_array_equal(splitter.split(part).weight_ED, whole.weight_ED[:, 1::2])


def test_fresh_segments_make_the_online_bootstrap() -> None:
    found = divide(fresh(6000))
    np.testing.assert_allclose(found.held_ED.mean(1), SHARE, atol=0.02)
    np.testing.assert_array_equal(found.held_ED, found.weight_ED == 0)
    # Poisson(1): mean and variance 1, each member on its own.
    np.testing.assert_allclose(found.weight_ED.mean(1), 1.0, atol=0.05)
    np.testing.assert_allclose(found.weight_ED.var(1), 1.0, atol=0.08)
    np.testing.assert_allclose(np.corrcoef(found.weight_ED), np.eye(3), atol=0.05)


@settings(max_examples=20)
@given(pair_lists(), st.integers(0, 2**31))
def test_nothing_held_out_trains_on_all(pairs: list[Pair], seed: int) -> None:
    found = divide(pairs, seed=seed, held_out=0.0)
    assert (found.weight_ED >= 1).all()
    assert not found.held_ED.any()


def test_without_bootstrap_all_members_train_on_the_same_once() -> None:
    found = divide(fresh(2000), bootstrap=False)
    assert set(found.weight_ED.flat) == {0, 1}
    assert (found.weight_ED == found.weight_ED[0]).all()
    assert (found.held_ED == found.held_ED[0]).all()
    assert found.held_ED.mean() == pytest.approx(SHARE, abs=0.03)


def test_a_member_that_nothing_would_train_trains_on_all() -> None:
    everything = Split(np.array([[0, 0], [0, 2]]), np.array([[True, False], [True, False]]))
    taken = everything.take([0, 1])
    assert taken.weight_ED.tolist() == [[1, 1], [0, 2]]
    assert taken.held_ED.tolist() == [[False, False], [True, False]]
    assert everything.take([1, 0]).weight_ED.tolist() == [[1, 1], [2, 0]]


def test_no_pairs() -> None:
    assert divide([]).weight_ED.shape == divide([]).held_ED.shape == (3, 0)
    assert divide([]).take([]).weight_ED.shape == (3, 0)


def test_a_pair_is_walked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or each fit would take longer than the last."""
    splitter = Splitter(0, 3, held_out=SHARE, bootstrap=True, pairs=fresh(50))
    walked: list[int] = []
    first = split_module._first

    def counted(own: int | None, other: int | None, new: int) -> int:
        walked.append(new)
        return first(own, other, new)

    monkeypatch.setattr(split_module, "_first", counted)
    splitter.add(fresh(52))
    assert walked == [51, 51, 52, 52]
