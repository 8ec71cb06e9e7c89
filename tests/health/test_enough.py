"""A ranking that stays is enough, one that moves is not, and a model that knows nothing never."""

import json

import numpy as np

from pairplay.health.agreement import correlation
from pairplay.health.enough import Enough, top_agreement
from pairplay.types import Array

IDS = [f"{i:02}" for i in range(40)]


def returns(value_S: Array) -> dict[str, float]:
    return {id: float(value) for id, value in zip(IDS, value_S, strict=True)}


def watch(enough: Enough, *, answers: int, moved: float, right: int = 80, judged: int = 100, seed: int = 0) -> bool:
    """One check: what was watched is predicted anew, a little moved; then forty other segments are watched."""
    rng = np.random.default_rng([seed, answers])
    now = {id: value + moved * rng.normal() for id, value in enough.watched.items()}
    return enough.check(answers=answers, now=now, recent=returns(rng.normal(size=40)), right=right, judged=judged)


# -- pieces ----------------------------------------------------------------------------------------------------------


def test_top_quarter_by_hand() -> None:
    before = np.arange(8.0)
    assert top_agreement(before, before * 2) == 1.0
    assert top_agreement(before, np.array([0.0, 1, 2, 3, 4, 9, 6, 7])) == 0.5
    assert top_agreement(before, -before) == 0.0
    assert top_agreement(np.array([]), np.array([])) == 0.0


# -- the rule --------------------------------------------------------------------------------------------------------


def test_a_ranking_that_stays_is_enough_after_three_checks() -> None:
    enough = Enough(least=100)
    assert not watch(enough, answers=200, moved=0.0), "nothing was watched before"
    said = [watch(enough, answers=answers, moved=0.02) for answers in (210, 221, 233)]
    assert said == [False, False, True]
    assert enough.sentence == "You can stop now: the last 33 answers changed little in what the agent aims at."
    assert enough.last is not None
    assert enough.last.correlation > 0.95
    assert watch(enough, answers=245, moved=0.02)
    # The agent does something new, and the answers teach something new.
    assert not watch(enough, answers=258, moved=3.0)
    assert enough.sentence is None


def test_a_model_that_has_hardly_learnt_since_is_not_asked() -> None:
    """A ranking that stays says something of the answers only once the model has met them."""
    enough = Enough()
    assert [enough.due(50, visits) for visits in (49, 50)] == [False, True]
    watch(enough, answers=100, moved=0.0)
    assert [enough.due(120, visits) for visits in (16, 119, 120)] == [False, False, True]


def test_never_before_the_least_number_of_answers() -> None:
    enough = Enough(least=100)
    said = [watch(enough, answers=answers, moved=0.0) for answers in range(10, 140, 10)]
    assert said == [False] * 9 + [True] * 4


def test_a_ranking_that_moves_is_never_enough() -> None:
    for seed in range(5):
        enough = Enough(least=0)
        assert not any(watch(enough, answers=answers, moved=3.0, seed=seed) for answers in range(10, 500, 10))


def test_a_model_that_learnt_nothing_is_never_enough() -> None:
    untaught, constant = Enough(least=0), Enough(least=0)
    for answers in range(10, 500, 10):
        # It ranks the same each time, and is right as often as a coin: 56 of 100 is chance still.
        assert not watch(untaught, answers=answers, moved=0.0, right=56)
        same = returns(np.ones(40))
        assert not constant.check(answers=answers, now=same, recent=same, right=80, judged=100)
    assert not any(watch(untaught, answers=answers, moved=0.0, right=0, judged=0) for answers in range(500, 600, 10))


def test_the_best_have_to_stay_the_best() -> None:
    """Correlation alone forgives a swap at the top, where it matters."""
    before = np.arange(40.0)
    now = before.copy()
    now[27:33] = [32, 31, 30, 29, 28, 27]
    spearman = correlation(before, now).spearman
    assert spearman is not None
    assert spearman > 0.95
    assert top_agreement(before, now) == 0.7
    enough = Enough(least=0, checks=1)
    enough.check(answers=100, now={}, recent=returns(before), right=80, judged=100)
    assert not enough.check(answers=110, now=returns(now), recent=returns(before), right=80, judged=100)
    assert enough.check(answers=120, now=returns(before), recent=returns(before), right=80, judged=100)


def test_a_restart_that_has_lost_the_segments_takes_nothing_back() -> None:
    enough = Enough(least=0, checks=2)
    watch(enough, answers=100, moved=0.0)
    watch(enough, answers=110, moved=0.0)
    assert watch(enough, answers=120, moved=0.0)
    again = Enough(least=0, checks=2)
    again.load(enough.state())
    new = returns(np.arange(40.0))
    assert again.check(answers=130, now={}, recent=new, right=80, judged=100)
    assert again.check(answers=140, now=new, recent=new, right=80, judged=100)
    assert not again.check(answers=150, now=returns(-np.arange(40.0)), recent=new, right=80, judged=100)


def test_few_segments_say_nothing() -> None:
    enough = Enough(least=0, checks=1)
    few = dict(list(returns(np.arange(40.0)).items())[:19])
    assert not watch(enough, answers=100, moved=0.0)
    assert not enough.check(answers=110, now={id: enough.watched[id] for id in few}, recent=few, right=80, judged=100)


def test_checks_are_ten_answers_or_a_twentieth_apart() -> None:
    enough = Enough()
    assert enough.due(0, 0)
    watch(enough, answers=100, moved=0.0)
    assert [enough.due(answers, 10_000) for answers in (100, 109, 110)] == [False, False, True]
    watch(enough, answers=1000, moved=0.0)
    assert [enough.due(answers, 10_000) for answers in (1049, 1050)] == [False, True]


def test_a_saved_watch_goes_on() -> None:
    enough, other = Enough(), Enough()
    for answers in (200, 210, 221):
        watch(enough, answers=answers, moved=0.01)
    other.load(json.loads(json.dumps(enough.state())))
    assert other.state() == enough.state()
    for one in (enough, other):
        assert watch(one, answers=233, moved=0.01)
        assert one.sentence == "You can stop now: the last 33 answers changed little in what the agent aims at."
