"""B-Pref's rules by hand, and their rates."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairplay.teachers import synthetic
from pairplay.teachers.base import TEACHERS, Exhibit, Teacher, load_teacher
from pairplay.types import Answer

rewards = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=6)


def exhibit(*reward: float, name: str = "") -> Exhibit:
    return Exhibit(name or str(reward), Path("none.mp4"), 10.0, "Env-v0", np.array(reward, np.float32))


def ask(teacher: Teacher, left: Exhibit, right: Exhibit, seed: int = 0) -> Answer:
    return teacher(left, right, np.random.default_rng(seed))


def rates(name: str, left: Exhibit, right: Exhibit, count: int = 2000) -> dict[Answer, float]:
    rng, teacher = np.random.default_rng(0), load_teacher(name)
    counts = Counter(teacher(left, right, rng) for _ in range(count))
    return {answer: n / count for answer, n in counts.items()}


def test_oracle_compares_sums() -> None:
    # The last step is worse and the sum is better.
    assert ask(synthetic.oracle, exhibit(5, 0), exhibit(1, 1)) == "left"
    assert ask(synthetic.oracle, exhibit(-1, -1), exhibit(-1)) == "right"
    assert ask(synthetic.oracle, exhibit(1, 2), exhibit(3, 0)) == "tie"
    assert ask(synthetic.oracle, exhibit(0, 0), exhibit(0, 0)) == "tie"
    # The same rewards in another order: in float32 one after the other they would differ.
    assert ask(synthetic.oracle, exhibit(1e8, 1, -1e8), exhibit(1e8, -1e8, 1)) == "tie"


def test_mistake_is_wrong_one_time_in_ten() -> None:
    answers = rates("mistake", exhibit(1), exhibit(0))
    assert answers.keys() == {"left", "right"}
    assert answers["right"] == pytest.approx(0.1, abs=0.025)
    assert rates("mistake", exhibit(1), exhibit(1)) == {"tie": 1.0}


def test_noisy_follows_the_logistic_law() -> None:
    # σ(ln 3) = 3/4.
    answers = rates("noisy", exhibit(math.log(3.0) / 2, math.log(3.0) / 2), exhibit(0))
    assert answers["left"] == pytest.approx(0.75, abs=0.03)
    assert rates("noisy", exhibit(1e6), exhibit(-1e6)) == {"left": 1.0}
    assert rates("noisy", exhibit(-1e6), exhibit(1e6)) == {"right": 1.0}


def test_random_is_a_fair_coin() -> None:
    answers = rates("random", exhibit(9), exhibit(0))
    assert answers.keys() == {"left", "right"}
    assert answers["left"] == pytest.approx(0.5, abs=0.04)


def test_myopic_sees_the_end() -> None:
    # 0.9 · 1 = 0.9 against 0.95 in the last step.
    assert ask(synthetic.myopic, exhibit(1, 0), exhibit(0, 0.95)) == "right"
    assert ask(synthetic.myopic, exhibit(1, 0), exhibit(0, 0.85)) == "left"
    assert ask(synthetic.myopic, exhibit(1, 0), exhibit(0, 1, 0)) == "tie"


def test_skip_and_equal_by_hand() -> None:
    """After sums of 10 and 30 the mean is 20; a pair more makes it (10 + 30 + a + b) / 4, and the threshold a tenth."""
    for a, b, skip, equal in (
        (0.5, 0.1, "skip", "tie"),
        (4.0, 3.5, "left", "tie"),  # mean 11.9, threshold 1.19
        (3.5, 4.8, "right", "right"),  # mean 12.1, threshold 1.21
        (2.0, 2.0, "left", "tie"),
    ):
        skipping, indifferent = synthetic.Skip(), synthetic.Equal()
        for teacher in (skipping, indifferent):
            ask(teacher, exhibit(5, 5), exhibit(15, 15))
        expected_skip = "tie" if a == b else skip
        assert ask(skipping, exhibit(a), exhibit(b)) == expected_skip
        assert ask(indifferent, exhibit(a), exhibit(b)) == equal


def test_the_threshold_counts_each_segment_once() -> None:
    threshold = synthetic.Threshold()
    for _ in range(5):
        threshold(exhibit(10, name="a"), exhibit(-20, name="b"))
    assert threshold(exhibit(10, name="a"), exhibit(30, name="c")) == pytest.approx(0.1 * 20)


def test_where_nothing_is_ever_rewarded() -> None:
    nothing = exhibit(0, 0)
    assert ask(synthetic.Skip(), nothing, nothing) == "skip"
    assert ask(synthetic.Equal(), nothing, nothing) == "tie"


def test_costs_are_not_skipped_for_being_negative() -> None:
    assert ask(synthetic.Skip(), exhibit(-5), exhibit(-9)) == "left"


@pytest.mark.parametrize("name", ["oracle", "skip", "equal", "myopic"])
@settings(max_examples=50)
@given(left=rewards, right=rewards)
def test_the_side_does_not_matter(name: str, left: list[float], right: list[float]) -> None:
    a, b = exhibit(*left, name="a"), exhibit(*right, name="b")
    mirrored = {"left": "right", "right": "left", "tie": "tie", "skip": "skip"}
    assert ask(load_teacher(name), a, b) == mirrored[ask(load_teacher(name), b, a)]


@pytest.mark.parametrize("name", TEACHERS)
def test_answers_are_a_function_of_the_generator(name: str) -> None:
    pairs = [(exhibit(i % 3), exhibit(1)) for i in range(30)]
    runs = []
    for _ in range(2):
        teacher, rng = load_teacher(name), np.random.default_rng(4)
        runs.append([teacher(left, right, rng) for left, right in pairs])
    assert runs[0] == runs[1]
