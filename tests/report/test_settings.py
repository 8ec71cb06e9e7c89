"""What counts as the same setting, and what it is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pairplay.config import PPOConfig, TrainConfig
from pairplay.report.settings import group_by_setting
from pairplay.run.layout import RunDir
from pairplay.types import UserError

MakeRun = Callable[..., RunDir]

LEARNED = TrainConfig(teacher="oracle")
ENV = TrainConfig(reward="env")


def labels(make_run: MakeRun, *configs: TrainConfig) -> list[str]:
    runs = [make_run(str(i), config, [1.0]) for i, config in enumerate(configs)]
    return [setting.label for setting in group_by_setting(runs)]


def test_seeds_are_grouped_in_order_of_appearance(make_run: MakeRun) -> None:
    configs = [ENV, LEARNED, replace(ENV, seed=2), replace(LEARNED, seed=5), replace(ENV, seed=3)]
    runs = [make_run(str(i), config, [1.0]) for i, config in enumerate(configs)]
    first, second = group_by_setting(runs)
    assert (first.label, first.seeds, first.runs) == ("reward=env", (1, 2, 3), (runs[0], runs[2], runs[4]))
    assert (second.label, second.seeds) == ("teacher=oracle", (1, 5))


def test_options_without_effect_do_not_split_the_baseline(make_run: MakeRun) -> None:
    assert labels(make_run, ENV, replace(ENV, seed=2, labels=5, teacher="oracle", question="?")) == ["reward=env"]


@pytest.mark.parametrize(
    ("configs", "expected"),
    [
        ([LEARNED], ["teacher=oracle"]),
        ([LEARNED, replace(LEARNED, labels=70)], ["labels=700", "labels=70"]),
        (
            [LEARNED, replace(ENV, ppo=PPOConfig(gamma=0.9))],
            ["teacher=oracle, ppo.gamma=0.99", "reward=env, ppo.gamma=0.9"],
        ),
        (
            [LEARNED, replace(LEARNED, teacher="my.teachers.road:speed")],
            ["teacher=oracle", "teacher=road:speed"],
        ),
        (
            [LEARNED, replace(LEARNED, question="Which of the two is the more beautiful?")],
            ["question=Which clip is better?", "question=Which of the two is the…"],
        ),
    ],
)
def test_a_label_says_what_differs(make_run: MakeRun, configs: list[TrainConfig], expected: list[str]) -> None:
    assert labels(make_run, *configs) == expected


def test_many_differences_are_counted_and_labels_stay_different(make_run: MakeRun) -> None:
    changed = [
        replace(LEARNED, labels=1, num_envs=2, total_timesteps=3, ppo=PPOConfig(gamma=gamma)) for gamma in (0.9, 0.8)
    ]
    got = labels(make_run, LEARNED, *changed)
    assert got[1] == "total_timesteps=3, labels=1, num_envs=2 +1"
    assert got[2] == got[1] + " (2)"


def test_mistakes_are_named(make_run: MakeRun) -> None:
    run = make_run("a", LEARNED, [1.0])
    with pytest.raises(UserError, match="no runs"):
        group_by_setting([])
    with pytest.raises(UserError, match="a is given twice"):
        group_by_setting([run, RunDir(run.path / ".." / "a")])
    with pytest.raises(UserError, match=r"different environments.*ALE/Enduro-v5 in .*a, CartPole-v1 in .*b"):
        group_by_setting([run, make_run("b", TrainConfig(env_id="CartPole-v1"), [1.0])])
