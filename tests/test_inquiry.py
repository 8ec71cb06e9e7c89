"""What was answered, kept up to date piece by piece, is what a fresh look at the label store finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairplay.compressed import Compressed
from pairplay.config import PPOConfig, QueryConfig, RewardModelConfig, TrainConfig, preset
from pairplay.envs.base import Envs
from pairplay.envs.make import make_envs
from pairplay.helper import POSSIBLE
from pairplay.inquiry import Inquiry
from pairplay.labels.store import LabelStore
from pairplay.packing import segment_id
from pairplay.queries.schedule import LabelSchedule
from pairplay.run.layout import RunDir
from pairplay.trainer import Trainer
from pairplay.types import Answer, Footage, Query, Segment, Window

BUFFER = 6
CONFIG = TrainConfig(
    env_id="Pendulum-v1",
    num_envs=2,
    ppo=PPOConfig(num_steps=8, minibatch_size=8),
    reward_model=RewardModelConfig(buffer=BUFFER),
    queries=QueryConfig(pool=8),
)


def footage(number: int, *, pictures: bool = False) -> Footage:
    frames = np.full((4, 8, 8), number, np.uint8) if pictures else np.full((4, 3), number, np.float32)
    action = np.zeros(4, np.int64) if pictures else np.zeros((4, 1), np.float32)
    segment = Segment(segment_id(frames, 0, action), frames, 0, action, env=0, step=0, iteration=number)
    return Footage(segment, np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, np.float32))


class Desk:
    """Queries that are asked and answered by hand."""

    def __init__(self, inquiry: Inquiry, envs: Envs) -> None:
        self.inquiry = inquiry
        self.envs = envs
        self.ann = inquiry.store.labeler("Ann", "human")
        self.asked: list[int] = []

    def ask(self, left: Footage, right: Footage) -> int:
        query = Query(left, right, "uniform", 0.0, "Which?")
        self.asked.append(self.inquiry.store.add_query(query, left_clip="", right_clip="", step=0))
        return self.asked[-1]

    def answer(self, query_id: int, answer: Answer, uuid: str = "") -> None:
        self.inquiry.store.lease(self.ann, only=[query_id])
        self.inquiry.store.answer(self.ann, query_id, answer, client_uuid=uuid or f"{query_id}")

    def check(self) -> list[int]:
        """The keys of the comparisons, once they are seen to be those of a fresh look."""
        mine = self.inquiry.comparisons()
        with closing(Inquiry(self.inquiry.config, self.inquiry.run, self.inquiry.store, self.envs)) as fresh:
            theirs = fresh.comparisons()
            assert self.inquiry.trainable == fresh.trainable
        assert [(c.key, c.left.id, c.right.id, c.mu) for c in mine] == [
            (c.key, c.left.id, c.right.id, c.mu) for c in theirs
        ]
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one.left.frames, other.left.frames)
            np.testing.assert_array_equal(one.right.action, other.right.action)
        return [comparison.key for comparison in mine]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    envs = make_envs(CONFIG.env_id, CONFIG.num_envs, CONFIG.env, seed=1)
    with closing(envs), LabelStore.open(tmp_path / "labels.db") as store:
        run = RunDir.create(tmp_path / "run", CONFIG.env_id, CONFIG.seed)
        with closing(Inquiry(CONFIG, run, store, envs)) as inquiry:
            yield Desk(inquiry, envs)


def test_answers_in_order_out_of_order_changed_and_withdrawn(desk: Desk) -> None:
    pieces = [footage(number) for number in range(9)]
    queries = [desk.ask(left, right) for left, right in pairwise(pieces)]
    assert desk.check() == []
    desk.answer(queries[1], "left")
    desk.answer(queries[2], "skip")
    assert desk.check() == [queries[1]]
    desk.answer(queries[3], "tie")
    assert desk.check() == [queries[1], queries[3]]
    desk.answer(queries[0], "right")
    assert desk.check() == [queries[0], queries[1], queries[3]]
    desk.inquiry.store.undo(desk.ann, client_uuid=f"{queries[1]}")
    assert desk.check() == [queries[0], queries[3]]
    desk.answer(queries[1], "right", "again")
    assert desk.check() == [queries[0], queries[1], queries[3]]
    for query_id in queries[4:]:
        desk.answer(query_id, "left")
        desk.check()
    assert desk.check() == [queries[1], *queries[3:]], "the latest six"
    assert desk.inquiry.trainable == 7
    desk.inquiry.store.undo(desk.ann, client_uuid=f"{queries[7]}")
    assert desk.check() == [*queries[:2], *queries[3:7]], "what the buffer had no more room for is back"


def test_a_segment_is_in_memory_once(desk: Desk) -> None:
    pieces = [footage(number) for number in range(3)]
    first, second = desk.ask(pieces[0], pieces[1]), desk.ask(pieces[2], pieces[1])
    desk.answer(first, "left")
    [one] = desk.inquiry.comparisons()
    desk.answer(second, "left")
    again, other = desk.inquiry.comparisons()
    assert again is one
    assert other.right is one.right


def test_segments_of_the_pool_are_not_read_from_the_label_store(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = [footage(number, pictures=True) for number in range(2)]
    query_id = desk.ask(*pieces)
    desk.inquiry.pool.add(pieces)
    desk.answer(query_id, "left")

    def only_none(ids: Sequence[str]) -> Iterator[Segment]:
        assert list(ids) == []
        return iter(())

    monkeypatch.setattr(desk.inquiry.store, "segments", only_none)
    [comparison] = desk.inquiry.comparisons()
    assert isinstance(comparison.left.held, Compressed)
    assert comparison.left.id == pieces[0].segment.id
    np.testing.assert_array_equal(comparison.left.frames, pieces[0].segment.frames)


@pytest.mark.parametrize(("env_id", "at_once"), [("ALE/Enduro-v5", False), ("CartPole-v1", True)])
def test_games_are_drawn_while_the_next_rollout_is_played_and_simulators_at_once(
    tmp_path: Path, env_id: str, at_once: bool
) -> None:
    base = preset(env_id)
    config = replace(
        base,
        teacher="random",
        total_timesteps=40 * 64,
        num_envs=2,
        ppo=replace(base.ppo, num_steps=32, minibatch_size=32, update_epochs=1),
        queries=replace(base.queries, segment_length=4, explore_steps=64, min_answers=2, initial_share=0.1),
    )
    with closing(Trainer(config, RunDir.create(tmp_path / "run", config.env_id, 1))) as trainer:
        assert trainer.inquiry is not None
        publisher = trainer.inquiry.publisher
        while not trainer.learning:
            trainer.iterate()
        asked = trainer.store.counts().asked
        trainer.iterate()
        held = len(publisher._held)
        assert (held == 0) == at_once
        # What is drawn in a moment is encoded by a process that does not want Python's lock.
        assert (publisher._processes is None) == (at_once or not POSSIBLE)
        trainer.iterate()
        publisher.flush()
        assert trainer.store.counts().asked > asked


def test_the_budget_is_followed_without_being_counted_anew(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    inquiry = desk.inquiry
    inquiry.config = replace(CONFIG, labels=3, teacher="oracle", queries=replace(CONFIG.queries, expire_steps=100))
    inquiry.schedule = LabelSchedule(3, 1000, 1.0, 1e6)
    inquiry.publisher._painter = None

    def ask(step: int) -> int:
        before = inquiry.publisher.waiting + inquiry.store.counts().asked
        inquiry.ask(None, step=step, iteration=step, learning=False)
        inquiry.publisher.flush()
        return inquiry.store.counts().asked - before

    def windows(iteration: int) -> list[Window]:
        return inquiry.windows(iteration, step=0, learning=False)

    withdrawn: list[int] = []
    expire = inquiry.store.expire

    def counting(*words: Any, **more: Any) -> int:
        withdrawn.append(expire(*words, **more))
        return withdrawn[-1]

    monkeypatch.setattr(inquiry.store, "expire", counting)
    assert windows(0), "nothing was asked yet"
    inquiry.pool.add([footage(number) for number in range(4)])
    assert ask(0) == 2, "there are no more fresh segments"
    assert windows(1), "one question is left"
    assert withdrawn == [], "nothing was open"
    inquiry.pool.add([footage(number) for number in range(4, 8)])
    assert ask(50) == 1
    assert not windows(2), "all were asked"
    assert ask(60) == 0
    assert withdrawn == [0, 0]
    assert not windows(3)
    inquiry.pool.add([footage(number) for number in range(8, 12)])
    assert ask(101) == 2, "the first two were answered by nobody"
    assert withdrawn[2:] == [2]
    inquiry.pool.add([footage(number) for number in range(12, 14)])
    assert ask(151) == 1
    assert not windows(4)
    for row in inquiry.store.open_steps():
        desk.answer(row, "left")
    assert ask(400) == 0
    assert len(withdrawn) == 4, "none is open any more"


def test_no_more_is_filmed_than_will_be_looked_at(desk: Desk) -> None:
    inquiry = desk.inquiry
    queries = replace(CONFIG.queries, windows=12, candidates=3, segment_length=2)
    inquiry.config = replace(CONFIG, num_envs=8, queries=queries)  # 64 steps a rollout
    inquiry.segment_length, inquiry.recordable = 2, 8
    inquiry.schedule = LabelSchedule(1000, 64_000, 0.0, 1e12)  # one query in 64 steps

    def filmed(step: int = 640, *, learning: bool = True) -> int:
        return len(inquiry.windows(0, step=step, learning=learning))

    assert filmed() == 12, "what is filmed of a simulator is a few numbers"
    inquiry.spec = replace(inquiry.spec, frame_shape=(8, 8))
    assert inquiry.spec.is_image
    assert filmed(0, learning=False) == filmed(learning=False) == 12, "before the policy learns all are asked about"
    assert filmed() == 3, "one for each candidate pair"
    inquiry.schedule = LabelSchedule(3000, 64_000, 0.0, 1e12)
    assert filmed() == 9
    inquiry.schedule = LabelSchedule(9000, 64_000, 0.0, 1e12)
    assert filmed() == 12, "at most so many"
    inquiry.schedule = LabelSchedule(1, 64_000, 0.0, 1e12)
    assert filmed() == 3, "for whoever comes back to questions that waited"
    inquiry.config = replace(inquiry.config, queries=replace(queries, candidates=1))
    assert filmed() == 2, "no pair is made of one"
