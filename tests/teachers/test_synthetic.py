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
from pairplay.teachers.context import TeacherContext
from pairplay.types import Answer

NOW = TeacherContext()
rewards = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=6)
contexts = st.just(NOW) | st.builds(TeacherContext, st.floats(-1e4, 1e4), st.floats(1, 1e3))


def exhibit(*reward: float, context: TeacherContext = NOW) -> Exhibit:
    return Exhibit(str(reward), Path("none.mp4"), 10.0, "Env-v0", np.array(reward, np.float32), context)


def ask(teacher: Teacher, left: Exhibit, right: Exhibit, seed: int = 0) -> Answer:
    return teacher(left, right, np.random.default_rng(seed))


def judge(name: str, left: float, right: float, context: TeacherContext) -> Answer:
    """Two clips of ten steps that sum to `left` and `right`."""
    nine = [0.0] * 9
    return ask(load_teacher(name), exhibit(*nine, left, context=context), exhibit(*nine, right, context=context))


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


@pytest.mark.parametrize(("name", "rate"), [("mistake", 0.1), ("mistake:0.3", 0.3), ("mistake:0", 0.0)])
def test_mistake_is_wrong_so_often(name: str, rate: float) -> None:
    # Four standard errors of 2000 answers.
    allowed = 4 * math.sqrt(rate * (1 - rate) / 2000)
    answers = rates(name, exhibit(1), exhibit(0))
    assert answers.get("right", 0.0) == pytest.approx(rate, abs=allowed)
    assert rates(name, exhibit(0), exhibit(1)).get("left", 0.0) == pytest.approx(rate, abs=allowed)
    assert answers.keys() <= {"left", "right"}
    assert rates(name, exhibit(1), exhibit(1)) == {"tie": 1.0}


def test_always_mistaken() -> None:
    assert rates("mistake:1", exhibit(1), exhibit(0)) == {"right": 1.0}


def test_noisy_follows_the_logistic_law() -> None:
    # σ(ln 3) = 3/4; with twice the β, σ(2 ln 3) = 9/10; with β = 0 a coin.
    better, nothing = exhibit(math.log(3.0) / 2, math.log(3.0) / 2), exhibit(0)
    for name, share in (("noisy", 0.75), ("noisy:2", 0.9), ("noisy:0", 0.5)):
        assert rates(name, better, nothing)["left"] == pytest.approx(share, abs=0.04)
        assert rates(name, nothing, better)["right"] == pytest.approx(share, abs=0.04)
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
    # 0.5 · 0.5 · 1 = 0.25 against 0.3; at γ = 0 the last step alone, at γ = 1 the sum.
    assert ask(load_teacher("myopic:0.5"), exhibit(1, 0, 0), exhibit(0, 0, 0.3)) == "right"
    assert ask(load_teacher("myopic:0"), exhibit(9, 9, 1), exhibit(0, 0, 1)) == "tie"
    assert ask(load_teacher("myopic:1"), exhibit(9, 9, 1), exhibit(0, 0, 1)) == "left"


# A usual step earns 2, so a usual clip of ten steps U = 20; costs 2, so U = -20; or wins and losses, U = -2.
EARNING = TeacherContext(mean_return=100.0, mean_length=50.0)
COSTING = TeacherContext(mean_return=-100.0, mean_length=50.0)
MIXED = TeacherContext(mean_return=-10.0, mean_length=50.0)


@pytest.mark.parametrize(
    ("name", "context", "left", "right", "answer"),
    [
        # ε · U = 2: one clip above it is enough.
        ("skip", EARNING, 2.0, 1.0, "skip"),
        ("skip", EARNING, 2.25, 1.0, "left"),
        ("skip", EARNING, 0.0, 2.25, "right"),
        ("skip", EARNING, -5.0, -9.0, "skip"),
        ("skip", EARNING, 20.0, 20.0, "tie"),
        # ε · U = 10.
        ("skip:0.5", EARNING, 10.0, 3.0, "skip"),
        ("skip:0.5", EARNING, 10.25, 3.0, "left"),
        # U - 0.9 · 20 = -38: as far below the usual as 2 is below 20. Good clips, those near 0, are judged.
        ("skip", COSTING, -38.0, -50.0, "skip"),
        ("skip", COSTING, -37.5, -50.0, "left"),
        ("skip", COSTING, -0.25, -0.125, "right"),
        ("skip", COSTING, -20.0, -20.0, "tie"),
        # U - 0.9 · 2 = -3.8: one loss more than usual is judged, two clips of four losses are not.
        ("skip", MIXED, 1.0, -1.0, "left"),
        ("skip", MIXED, -4.0, -3.0, "right"),
        ("skip", MIXED, -4.0, -5.0, "skip"),
        # ε · |U| = 2, and not as near as that: less.
        ("equal", EARNING, 11.75, 10.0, "tie"),
        ("equal", EARNING, 12.0, 10.0, "left"),
        ("equal", COSTING, -11.75, -10.0, "tie"),
        ("equal", COSTING, -12.0, -10.0, "right"),
        ("equal", MIXED, 0.0, 0.125, "tie"),
        ("equal", MIXED, 0.0, 0.25, "right"),
        ("equal:0.5", EARNING, 19.75, 10.0, "tie"),
        ("equal:0.5", EARNING, 20.0, 10.0, "left"),
    ],
)
def test_thresholds_by_hand(name: str, context: TeacherContext, left: float, right: float, answer: Answer) -> None:
    assert judge(name, left, right, context) == answer


def test_the_usual_sum_is_that_of_clips_as_long_as_these() -> None:
    # Two and four steps, mean 3, of 2 each.
    assert synthetic.usual_sum(exhibit(0, 0, context=EARNING), exhibit(0, 0, 0, 0, context=EARNING)) == 6.0


def test_before_an_episode_ends_the_two_clips_are_the_measure() -> None:
    assert synthetic.usual_sum(exhibit(1, 1), exhibit(4)) == 3.0
    assert ask(synthetic.skip, exhibit(-5), exhibit(-9)) == "left"
    assert ask(synthetic.equal, exhibit(100), exhibit(109)) == "tie"
    assert ask(synthetic.equal, exhibit(100), exhibit(112)) == "right"


def test_where_nothing_is_ever_rewarded() -> None:
    for context in (NOW, TeacherContext(0.0, 50.0)):
        assert judge("skip", 0.0, 0.0, context) == "skip"
        assert judge("equal", 0.0, 0.0, context) == "tie"


@pytest.mark.parametrize("name", ["skip", "equal", "skip:0.5", "equal:0.5"])
@given(pairs=st.lists(st.tuples(rewards, rewards), min_size=1, max_size=4), context=contexts)
@settings(max_examples=30)
def test_a_teacher_remembers_nothing(
    name: str, pairs: list[tuple[list[float], list[float]]], context: TeacherContext
) -> None:
    """What it answered before the process ended has no part in what it answers after."""
    sides = [(exhibit(*left, context=context), exhibit(*right, context=context)) for left, right in pairs]
    lasting = load_teacher(name)
    answers = [ask(lasting, left, right) for left, right in sides]
    assert answers == [ask(load_teacher(name), left, right) for left, right in sides]


@pytest.mark.parametrize("name", ["oracle", "skip", "equal", "myopic", "skip:0.7", "equal:0.7", "myopic:0.3"])
@settings(max_examples=50)
@given(left=rewards, right=rewards, context=contexts)
def test_the_side_does_not_matter(name: str, left: list[float], right: list[float], context: TeacherContext) -> None:
    a, b = exhibit(*left, context=context), exhibit(*right, context=context)
    mirrored = {"left": "right", "right": "left", "tie": "tie", "skip": "skip"}
    assert ask(load_teacher(name), a, b) == mirrored[ask(load_teacher(name), b, a)]


@pytest.mark.parametrize("name", ["oracle", "skip", "equal"])
def test_the_scale_of_rewards_does_not_matter(name: str) -> None:
    """What a teacher with a threshold answers is the same in cents and in dollars."""
    random = np.random.default_rng(1)
    for _ in range(100):
        left, right = random.integers(-8, 9, 2).tolist()
        rate = int(random.integers(-8, 9))
        plain, larger = (TeacherContext(factor * rate, 10.0) for factor in (1.0, 64.0))
        assert judge(name, left, right, plain) == judge(name, 64.0 * left, 64.0 * right, larger)


@pytest.mark.parametrize("name", TEACHERS)
def test_answers_are_a_function_of_the_generator(name: str) -> None:
    pairs = [(exhibit(i % 3), exhibit(1)) for i in range(30)]
    runs = []
    for _ in range(2):
        teacher, rng = load_teacher(name), np.random.default_rng(4)
        runs.append([teacher(left, right, rng) for left, right in pairs])
    assert runs[0] == runs[1]
