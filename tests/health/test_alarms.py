"""Planted failures are found within ten iterations, and healthy runs are left in peace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from pairplay.health.agreement import RECENT, Agreement, agreement
from pairplay.health.alarms import CALM, Alarms, Vitals, fell, kendall_z

SEEDS = range(20)
ITERATIONS = 80
ANSWERS = 8
"""Of one iteration."""


def of(accuracy: float, count: int = 50, claimed: float | None = None) -> Agreement:
    """`count` answers of which that share is right, from a model that expected as much (or what it claimed)."""
    right = round(accuracy * count)
    p = np.full(count, accuracy if claimed is None else claimed)
    return agreement(p, (np.arange(count) < right).astype(float))


@dataclass
class Life:
    """An imaginary run: a model that foresees answers as well as it claims to, and an agent that improves."""

    seed: int
    claims: tuple[float, float] = (0.6, 0.95)
    """How sure it is of a pair: anything in between."""
    p: list[float] = field(default_factory=list)
    mu: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.step = 0
        self.level = 0.0
        self.rewards: list[float] = []

    def vitals(
        self,
        *,
        truth: float | None = None,
        rise: float = 0.3,
        outside: float = 0.03,
        reward_std: float = 0.8,
        spread: float = 0.3,
        harder: float = 0.0,
    ) -> Vitals:
        """One more iteration. `truth` replaces the rate at which the favoured side is the answer."""
        rng = self.rng
        self.step += 1000
        low, high = self.claims
        for sure in rng.uniform(low, high, ANSWERS) * (1 - harder) + 0.5 * harder:
            left = rng.random() < 0.5
            right = rng.random() < (sure if truth is None else truth)
            self.p.append(sure if left else 1 - sure)
            self.mu.append(0.5 if rng.random() < 0.05 else float(left == right))
        # The agent's mean reward goes up; of each rollout some states are known.
        self.level += rise
        self.rewards.append(self.level + rng.normal())
        p, mu = np.array(self.p), np.array(self.mu)
        held = rng.choice(len(p), min(len(p), 70), replace=False)
        return Vitals(
            step=self.step,
            rewards=self.rewards[-10:],
            recent=agreement(p[-RECENT:], mu[-RECENT:]),
            earlier=agreement(p[-250:-RECENT], mu[-250:-RECENT]),
            prequential=agreement(p[-200:], mu[-200:]),
            held_out=agreement(p[held], mu[held]),
            outside_share=float(np.clip(rng.normal(outside, 0.03), 0, 1)),
            reward_std=reward_std * float(rng.uniform(0.8, 1.2)),
            spread=spread * float(rng.uniform(0.8, 1.2)),
        )

    def healthy(self, iterations: int) -> Iterator[Vitals]:
        """Pairs become harder as the agent gets better, and the model knows it."""
        for i in range(iterations):
            yield self.vitals(harder=0.6 * i / ITERATIONS)


def codes(alarms: Alarms) -> set[str]:
    return {alarm.code for alarm in alarms.in_force}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_healthy_run_raises_no_alarm(seed: int) -> None:
    alarms = Alarms()
    for vitals in Life(seed).healthy(ITERATIONS):
        assert alarms.look(vitals) == ()


PLANTED = {
    # The agent finds what the model likes and people do not: its claims stay, their truth goes.
    "exploited": {"truth": 0.25, "rise": 2.0},
    "out_of_range": {"outside": 0.6},
    "constant_reward": {"reward_std": 0.0, "spread": 0.0},
    "collapsed_ensemble": {"spread": 0.0},
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("code", PLANTED)
def test_a_planted_failure_is_found_within_ten_iterations(code: str, seed: int) -> None:
    life, alarms = Life(seed), Alarms()
    for vitals in life.healthy(30):
        alarms.look(vitals)
    for _ in range(10):
        alarms.look(life.vitals(**PLANTED[code]))
        if code in codes(alarms):
            break
    assert codes(alarms) == {code}


@pytest.mark.parametrize("seed", SEEDS)
def test_shuffled_labels_are_found_within_ten_iterations_of_fifty_answers(seed: int) -> None:
    life, alarms = Life(seed), Alarms()
    for _ in range(RECENT // ANSWERS + 10):
        alarms.look(life.vitals(truth=0.5))
        if alarms.in_force:
            break
    assert codes(alarms) == {"chance"}
    assert len(life.p) > 50
    assert "no more than a coin" in alarms.in_force[0].message


def test_few_answers_prove_nothing() -> None:
    alarms = Alarms()
    for step in range(20):
        assert alarms.look(Vitals(step, prequential=of(0.5, 48), held_out=of(0.5, 48))) == ()


def test_what_the_held_out_answers_show_to_be_learnt_is_learnt() -> None:
    alarms = Alarms()
    for step in range(20):
        # Pairs chosen because they are hard are foreseen no better than by a coin; the others are.
        assert alarms.look(Vitals(step, prequential=of(0.5, 100), held_out=of(0.8, 70))) == ()


def test_harder_pairs_are_no_fall_and_false_claims_are() -> None:
    assert not fell(of(0.9, 200), of(0.55, 50))  # and claimed no more
    assert fell(of(0.9, 200), of(0.55, 50, claimed=0.9))
    assert not fell(of(0.9, 200), of(0.55, 10, claimed=0.9))  # too few to tell


@pytest.mark.parametrize(
    ("rewards", "exploited"),
    [(range(10), True), (range(10, 0, -1), False), ([3.0] * 10, False), ([0, 1, 0, 1, 0, 1, 0, 1, 0, 1], False)],
)
def test_a_fall_alone_is_no_exploitation(rewards: list[float], exploited: bool) -> None:
    alarms = Alarms()
    alarms.look(Vitals(9, rewards, recent=of(0.4, claimed=0.85), earlier=of(0.85, 200)))
    assert ("exploited" in codes(alarms)) == exploited


def test_held_out_answers_can_fall_when_nobody_answers_any_more() -> None:
    was, worse = of(0.9, 60), of(0.5, 60, claimed=0.9)
    for held_out, exploited in ((was, False), (worse, True)):
        alarms = Alarms()
        alarms.look(Vitals(9, range(10), held_out=held_out, held_out_before=was))
        assert ("exploited" in codes(alarms)) == exploited
    assert "from 90 % to 50 %" in alarms.in_force[0].message
    alarms = Alarms()
    alarms.look(Vitals(9, range(10, 0, -1), held_out=worse, held_out_before=was))
    assert codes(alarms) == set(), "predicted reward did not rise"


def test_kendall_by_hand() -> None:
    # Seven rising values: all 21 pairs agree; variance 7 · 6 · 19 / 18.
    assert kendall_z([1, 2, 3, 4, 5, 6, 7]) == pytest.approx(20 / (7 * 6 * 19 / 18) ** 0.5)
    assert kendall_z([7, 6, 5, 4, 3, 2, 1]) == pytest.approx(-20 / (7 * 6 * 19 / 18) ** 0.5)
    assert kendall_z([1, 2, 3, 4, 5]) == 0.0


def test_an_alarm_waits_stays_and_goes() -> None:
    alarms = Alarms()
    sick, well = 0.5, 0.02
    for step in range(4):
        assert alarms.look(Vitals(step, outside_share=sick)) == ()
    alarms.look(Vitals(4, outside_share=well))  # not in a row
    for step in range(5, 9):
        assert alarms.look(Vitals(step, outside_share=sick)) == ()
    (alarm,) = alarms.look(Vitals(9, outside_share=sick))
    assert (alarm.code, alarm.since_step) == ("out_of_range", 9)
    (alarm,) = alarms.look(Vitals(10, outside_share=0.7))
    assert alarm.since_step == 9
    assert alarm.message.startswith("70 % of the rewards")
    for step in range(11, 10 + CALM):
        assert len(alarms.look(Vitals(step, outside_share=well))) == 1
    assert alarms.look(Vitals(20, outside_share=well)) == ()


def test_a_restored_watch_goes_on_as_if_nothing_had_been() -> None:
    one, life = Alarms(), Life(3)
    for vitals in life.healthy(20):
        one.look(vitals)
    for _ in range(7):
        one.look(life.vitals(truth=0.25, rise=2.0, outside=0.6))
    two = Alarms()
    two.load(json.loads(json.dumps(one.state())))
    assert two.in_force == one.in_force
    for _ in range(10):
        vitals = life.vitals(truth=0.25, rise=2.0, spread=0.0)
        assert two.look(vitals) == one.look(vitals)
    assert two.state() == one.state()


def test_nothing_measured_is_no_news() -> None:
    alarms = Alarms()
    for step in range(20):
        assert alarms.look(Vitals(step)) == ()


@pytest.mark.parametrize("code", [*PLANTED, "chance"])
def test_a_message_is_one_sentence_that_says_what_to_do(code: str) -> None:
    life, alarms = Life(1), Alarms()
    for vitals in life.healthy(20) if code != "chance" else ():
        alarms.look(vitals)
    for _ in range(15):
        alarms.look(life.vitals(**PLANTED.get(code, {"truth": 0.5})))
    message = next(alarm.message for alarm in alarms.in_force if alarm.code == code)
    assert message.endswith(".")
    assert ". " not in message
    assert any(verb in message for verb in ("answer", "check", "begin again"))
