"""From footage to comparisons: which clips are kept, which pairs are asked, what was answered. Learns nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from torch import Tensor

from pairplay.config import TrainConfig
from pairplay.envs.base import Envs
from pairplay.labels.answered import Answered
from pairplay.labels.records import Counts
from pairplay.labels.store import LabelStore
from pairplay.publisher import Publisher
from pairplay.queries.asked import Asked
from pairplay.queries.pace import Pace, Verdict, hold
from pairplay.queries.schedule import LabelSchedule
from pairplay.queries.segments import SegmentPool, cut, draw_windows
from pairplay.queries.selection import Ensemble, select
from pairplay.run.layout import RunDir
from pairplay.run.saving import Part
from pairplay.seeding import rng
from pairplay.teachers.context import TeacherContext
from pairplay.teachers.panel import Panel
from pairplay.types import Array, Comparison, EnvSpec, Pair, Rollout, Segment, UserError, Window

# T steps, N environments, L segment length

FIRST_ANSWERS = 10
"""Answers that a person gives before learning starts: less teaches nothing, more is a long wait."""

MOMENTS = {"InvertedPendulum-v5": 10}
"""Steps of a segment where what matters is over in a moment: longer clips show it and its opposite, all alike."""

LEAST_PART = {True: 2, False: 8}
"""An episode's end may cut a segment to one part in so many, but no shorter, by whether it is of pictures: what they
show takes a moment to be seen."""


class Inquiry:
    """What a run asks its labelers. The label store is the record; this object decides what goes in."""

    def __init__(self, config: TrainConfig, run: RunDir, store: LabelStore, envs: Envs) -> None:
        self.config = config
        self.run = run
        self.store = store
        self.spec: EnvSpec = envs.spec
        self.filmed = config.queries.clips != "none"
        self.recordable = envs.recordable if self.filmed else envs.num_envs
        if self.recordable == 0 and self.spec.is_image and config.env.colour_envs == 0:
            raise UserError(
                "--env.colour-envs 0 leaves no clips that could be shown: use 1 or more, or let a synthetic teacher "
                "judge by rewards alone (--teacher oracle --queries.clips none)"
            )
        if self.recordable == 0:
            raise UserError(
                f"{config.env_id} draws no pictures that a person could compare. Let a synthetic teacher judge by its "
                "rewards (--teacher oracle --queries.clips none), or train on them (--reward env)"
            )
        painter = envs.painter() if self.filmed else None
        # The clips of a simulator take longer to draw than to encode, and drawing has to be done here.
        self.publisher = Publisher(
            store,
            run.clips,
            painter,
            clip_fps=envs.spec.clip_fps,
            still=config.queries.clips == "still",
            aside=envs.spec.is_image,
        )
        self.panel = Panel.from_config(config, store, envs.spec, run.clips)
        self.pace = Pace(config.queries.behind)
        self.schedule = LabelSchedule(
            config.labels, config.total_timesteps, config.queries.initial_share, config.queries.anneal_steps
        )
        self.segment_length = config.queries.segment_length or default_segment_length(config.env_id, envs.spec.clip_fps)
        self.pool = SegmentPool(config.queries.pool)
        self.pairs: list[Pair] = []
        """Every pair in the label store, by query id: the reward model splits training from held-out data by them."""
        self._read_pairs()
        self.asked = Asked(frozenset((pair.left_id, pair.right_id)) for pair in self.pairs)
        """The same pairs and those on their way into the store."""
        self.answered = Answered(store)
        self.trainable = 0
        """Answers so far that train, those included which the buffer holds no more."""
        self._left: int | None = None
        """Of the budget, after the last `ask`; None before the first. Meanwhile only a late answer to a withdrawn query
        spends of it."""
        self._comparisons: dict[int, Comparison] = {}
        self._segments: WeakValueDictionary[str, Segment] = WeakValueDictionary()
        """Those that stand in comparisons."""

    # -- what is filmed ------------------------------------------------------------------------------------------

    def windows(self, iteration: int, *, step: int, learning: bool) -> list[Window]:
        """What to film of the rollout that begins at `step`; nothing once the budget is spent.

        Once the policy learns, no more pictures than will be looked at: for each query that falls due in this rollout,
        one segment for every candidate pair. Then each is a candidate about twice before it makes room.
        """
        if self._left is not None and self._left <= 0:
            return []
        config, count = self.config, self.config.queries.windows
        if learning and self.spec.is_image:  # what is filmed of a simulator is a few numbers
            played = config.ppo.num_steps * config.num_envs
            due = self.schedule.target(step + played) - self.schedule.target(step)
            count = min(count, max(1, due) * max(2, config.queries.candidates))
        return draw_windows(
            rng(config.seed, "windows", iteration),
            num_steps=config.ppo.num_steps,
            recordable=self.recordable,
            length=self.segment_length,
            count=count,
        )

    def film(self, windows: Sequence[Window]) -> Sequence[Window]:
        """Those of them that a camera must see: none where no clip is drawn."""
        return windows if self.filmed else ()

    def keep(
        self,
        rollout: Rollout,
        windows: Sequence[Window],
        captures: Sequence[Array],
        *,
        step: int,
        iteration: int,
    ) -> None:
        """Cut what was filmed into segments: candidates for the next queries."""
        if not self.filmed:
            captures = [np.empty((window.length, 0), np.uint8) for window in windows]
        cuts = (
            cut(
                rollout,
                window,
                seen,
                stack=self.spec.stack,
                step=step,
                iteration=iteration,
                min_length=max(1, self.segment_length // LEAST_PART[self.spec.is_image]),
                end_penalty=self.config.env.end_penalty,
            )
            for window, seen in zip(windows, captures, strict=True)
        )
        self.pool.add(footage for footage in cuts if footage is not None)

    # -- what is asked -------------------------------------------------------------------------------------------

    def ask(self, model: Ensemble | None, *, step: int, iteration: int, learning: bool) -> None:
        """Publish the queries that are due, and withdraw those that nobody answered in time.

        `model` is needed once the policy learns.
        """
        counts, waiting = self.tally()
        if counts.open and self._withdraw(step):
            counts, waiting = self.tally()
        self._left = self.config.labels - counts.answered - waiting
        wanted = self._wanted(step, counts, waiting, learning=learning)
        if not wanted:
            return
        queries = select(
            self.pool,
            count=wanted,
            strategy=self.config.queries.strategy if learning else "uniform",
            candidates=self.config.queries.candidates,
            model=model,
            rng=rng(self.config.seed, "queries", iteration),
            already_asked=self.asked,
            question=self.config.question,
            # Before anything is learnt there is time to wait for behaviour that was not shown yet.
            repeat=learning,
        )
        self._left -= len(queries)
        for query in queries:
            self.asked.add(frozenset((query.left.segment.id, query.right.segment.id)))
            self.publisher.publish(query, step=step)
        if not self.spec.is_image:  # a simulator takes longer to draw than the loop to come round
            self.publisher.begin()

    def _withdraw(self, step: int) -> int:
        """Take back what nobody answered in time; how many.

        Beside teachers, a person who does not answer holds nobody up: their oldest queries go, if they are many.
        """
        queries, withdrawn = self.config.queries, 0
        if queries.expire_steps:
            withdrawn = self.store.expire(step - queries.expire_steps)
        if self.panel.human and self.panel.seats:
            theirs = self.panel.of_the_person(self.store.open_steps())
            surplus = theirs[: max(0, len(theirs) - queries.max_pending)]
            withdrawn += self.store.expire(step + 1, only=surplus)
        return withdrawn

    def answer(self, step: int, context: TeacherContext) -> None:
        """Let synthetic teachers answer what is theirs and due by now; a slow one answers what was asked long ago."""
        if self.panel.seats:
            self.publisher.flush()
            self.panel.answer(step, context)

    def tally(self) -> tuple[Counts, int]:
        """What the store counts, and how many queries are asked and not answered."""
        # In this order a query that enters the store meanwhile counts twice, and the budget is never overdrawn.
        drawing = self.publisher.waiting
        counts = self.store.counts()
        return counts, counts.open + drawing

    def verdict(self, step: int) -> Verdict:
        """Whether to play on now, given what the person has answered."""
        if not self.panel.human:
            return Verdict("go")
        counts, theirs = self.store.counts(), len(self.panel.of_the_person(self.store.open_steps()))
        # What teachers have not answered yet is no matter of the person's.
        given = counts.answered + max(0, counts.open - theirs)
        return self.pace.judge(due=self.schedule.target(step), given=given, waiting=theirs)

    def keep_pace(
        self, step: int, *, worked_s: float, stopping: Callable[[], bool], tell: Callable[[Verdict], None]
    ) -> None:
        """Wait for a person who is behind, as `hold` does."""
        # What is still being drawn could be answered in a moment.
        self.publisher.flush()
        hold(lambda: self.verdict(step), worked_s=worked_s, stopping=stopping, tell=tell)

    @property
    def enough_to_begin(self) -> bool:
        """Whether the policy may learn: enough answers train, or all that there will be."""
        spent = self.store.counts().answered >= self.config.labels
        return self.trainable >= self.first_answers or (spent and self.trainable > 0)

    @property
    def first_answers(self) -> int:
        """Answers needed before the policy learns."""
        if self.config.queries.min_answers or self.panel.human:
            return self.config.queries.min_answers or FIRST_ANSWERS
        return max(1, self.schedule.target(0))

    def _wanted(self, step: int, counts: Counts, waiting: int, *, learning: bool) -> int:
        """How many queries to publish now, given the `tally`."""
        queries, due = self.config.queries, self.schedule.target(step)
        if not learning:
            # Skips do not count as first answers; and a person should find a queue that does not run dry.
            needed = self.first_answers * (2 if self.panel.human else 1) + counts.skipped
            due = max(due, min(needed, self.config.labels))
        # A long queue is stale for a person; synthetic teachers empty it by the next iteration, unless they are slow.
        alone = self.panel.human and not self.panel.seats
        room = queries.max_pending - waiting if alone else self.config.labels
        return max(0, min(due - counts.answered - waiting, room))

    # -- what was answered ---------------------------------------------------------------------------------------

    def comparisons(self) -> list[Comparison]:
        """The latest answers that train, with their segments, by query id; skips are not among them."""
        self._read_pairs()
        kept, rows = self._comparisons, self.answered.update()
        if rows is None:  # one was changed, or came late
            kept, rows, self.trainable = {}, self.answered.rows(), 0
        buffer = self.config.reward_model.buffer
        training = [(row, row.mu) for row in rows if row.mu is not None]
        self.trainable += len(training)
        training = training[-buffer:]
        segments = self._segments_of([id for row, _ in training for id in (row.left_id, row.right_id)])
        for row, mu in training:
            kept[row.query_id] = Comparison(row.query_id, segments[row.left_id], segments[row.right_id], mu)
        for key in list(islice(kept, max(0, len(kept) - buffer))):
            del kept[key]
        self._comparisons = kept
        return list(kept.values())

    def _segments_of(self, ids: Sequence[str]) -> dict[str, Segment]:
        """By id, each small and once in memory; from the label store only if it is nowhere nearer."""
        found = {id: self._segments.get(id) or self.pool.segment(id) for id in ids}
        missing = [id for id, segment in found.items() if segment is None]
        found |= {segment.id: segment for segment in self.store.segments(missing)}
        small = {id: segment.small() for id, segment in found.items() if segment is not None}
        self._segments.update(small)
        return small

    def _read_pairs(self) -> None:
        last = self.pairs[-1].key if self.pairs else 0
        self.pairs += self.store.asked_pairs(after=last)

    # -- what is written down ------------------------------------------------------------------------------------

    def state(self) -> Callable[[], Part]:
        """What gives the candidates of now, as part of a checkpoint, in any thread. All else is in the label store."""
        pool = self.pool.copy()

        def candidates() -> Part:
            arrays, pieces = pool.state()
            return {f"pool.{name}": array for name, array in arrays.items()}, {"pool": pieces}

        return candidates

    def load(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """The inverse of `state`, from a whole checkpoint."""
        arrays = {name.removeprefix("pool."): t.numpy() for name, t in tensors.items() if name.startswith("pool.")}
        self.pool.load(arrays, state["pool"])

    def close(self) -> None:
        """Finish what is queued."""
        self.publisher.close()


def default_segment_length(env_id: str, clip_fps: float) -> int:
    """25 agent steps for Atari (1.7 s at 15 a second); `MOMENTS`; elsewhere 1.5 seconds, but 15 to 60 steps.

    Christiano et al. 2017, A.1–A.2. Some simulators take 125 steps a second: 1.5 seconds of those would leave room for
    one segment in a rollout.
    """
    if env_id in MOMENTS:
        return MOMENTS[env_id]
    return 25 if env_id.startswith("ALE/") else min(60, max(15, round(1.5 * clip_fps)))
