"""The first clips come from two environments, while the others are still loading."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pairplay import opening, session
from pairplay.config import EnvConfig, PPOConfig, QueryConfig, TrainConfig
from pairplay.envs.base import Envs
from pairplay.envs.make import make_envs
from pairplay.labels.store import LabelStore
from pairplay.opening import ask_first
from pairplay.run.layout import RunDir
from pairplay.types import UserError

CONFIG = TrainConfig(num_envs=32, ppo=PPOConfig(num_steps=59, minibatch_size=118))


def new_run(path: Path, config: TrainConfig = CONFIG) -> RunDir:
    return RunDir.create(path, config.env_id, config.seed)


def answer_one(run: RunDir) -> None:
    with LabelStore.open(run.labels_db) as store:
        ann = store.labeler("ann", "human")
        store.answer(ann, store.lease(ann)[0].id, "left", client_uuid="a")


def test_two_environments_are_enough_for_pairs_that_a_person_can_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def count(env_id: str, num_envs: int, config: EnvConfig, *, seed: int) -> Envs:
        made.append(num_envs)
        return make_envs(env_id, num_envs, config, seed=seed)

    monkeypatch.setattr(opening, "make_envs", count)
    run = new_run(tmp_path / "run")
    ask_first(CONFIG, run)
    with LabelStore.open(run.labels_db) as store:
        # Two windows of 25 steps fit into 59, in each environment; no segment is shown twice.
        assert list(store.open_steps().values()) == [0, 0]
        shown = [id for pair in store.asked_pairs() for id in (pair.left_id, pair.right_id)]
        assert len(set(shown)) == 4
    assert len(list(run.clips.iterdir())) == 4
    ask_first(CONFIG, run)  # a run that goes on
    assert made == [2]


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, teacher="oracle"),
        replace(CONFIG, reward="env"),
        replace(CONFIG, env_id="Pendulum-v1"),
        replace(CONFIG, num_envs=2),
        replace(CONFIG, queries=QueryConfig(clips="none")),
        replace(CONFIG, env=EnvConfig(colour_envs=0)),
    ],
)
def test_nothing_is_asked_where_nobody_waits(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Envs:
        raise AssertionError("no environment is needed")

    monkeypatch.setattr(opening, "make_envs", refuse)
    run = new_run(tmp_path / "run", config)
    ask_first(config, run)
    with LabelStore.open(run.labels_db) as store:
        assert store.counts().asked == 0


def test_a_mistake_that_shows_later_leaves_no_run_behind_but_for_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False, True])

    def fail_late(config: TrainConfig, run: RunDir, **_: object) -> int:
        ask_first(config, run)
        if next(answers):
            answer_one(run)
        raise UserError("too late")

    monkeypatch.setattr(session, "go_on", fail_late)
    for name in ("nobody", "answered"):
        with pytest.raises(UserError, match="too late"):
            session.start(CONFIG, tmp_path / name, port=0, open_page=False)
    assert not (tmp_path / "nobody").exists()
    with LabelStore.open(tmp_path / "answered" / "labels.db") as store:
        assert store.counts().answered == 1
