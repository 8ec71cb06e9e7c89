"""Everybody who answers one run: a person, synthetic teachers, or both in one queue, and who gets which query."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pairplay.config import TeacherConfig, TrainConfig
from pairplay.labels.store import LabelStore
from pairplay.seeding import rng
from pairplay.teachers.answering import answer_pending
from pairplay.teachers.availability import answerable, check
from pairplay.teachers.base import HUMAN, Teacher, find_teacher, load_teacher
from pairplay.teachers.context import TeacherContext
from pairplay.types import EnvSpec, UserError


def parse_teachers(names: str) -> tuple[bool, tuple[str, ...]]:
    """Whether a person answers, and the names of the synthetic teachers: `human+oracle+mistake:0.2`.

    UserError for an unknown name, an empty one, and one that is there twice.
    """
    parts = [part.strip() for part in names.split("+")]
    for part in parts:
        if not part:
            raise UserError(f"teacher '{names}' names nobody on one side of a +: write, for example, human+oracle")
        if parts.count(part) > 1:
            raise UserError(f"teacher '{names}' names {part} twice: once is enough")
        if part != HUMAN:
            find_teacher(part)
    return HUMAN in parts, tuple(part for part in parts if part != HUMAN)


def check_teachers(config: TrainConfig) -> tuple[bool, tuple[str, ...]]:
    """As `parse_teachers`, of a run's options; a UserError also when its other options do not go with them."""
    human, synthetic = parse_teachers(config.teacher)
    check(config.teaching)
    if human and config.queries.clips == "none":
        raise UserError(
            "with --queries.clips none a person has nothing to look at: leave it out, or name a synthetic --teacher"
        )
    if human and synthetic and config.teaching.share == 1.0 and not config.teaching.delay_steps:
        raise UserError(
            f"with --teaching.share 1, {', '.join(synthetic)} would answer everything at once and leave the person "
            "nothing: use a smaller share, or --teaching.delay-steps to let the person go first"
        )
    return human, synthetic


def seat_of(query_id: int, *, seed: int, seats: int, share: float) -> int | None:
    """Which of the synthetic teachers a query belongs to, from 0 to `seats` - 1; None if it is the person's.

    A hash of `seed` and `query_id`: a share of the queries goes to synthetic teachers, to each as many, and always to
    the same one. A larger share takes queries from the person and moves none between teachers.
    """
    draw = rng(seed, "seats", query_id)
    if draw.random() >= share:
        return None
    return int(draw.integers(seats))


@dataclass(frozen=True)
class Seat:
    """A synthetic teacher at work on one store."""

    name: str
    """As the user wrote it, `mistake:0.2`: so every answer says who gave it."""
    teacher: Teacher
    labeler_id: int


@dataclass(frozen=True)
class Panel:
    """Who answers the queries of one run."""

    store: LabelStore
    clips_dir: Path
    spec: EnvSpec
    seed: int
    teaching: TeacherConfig
    human: bool
    """Whether a person answers too."""
    seats: tuple[Seat, ...]

    @classmethod
    def from_config(cls, config: TrainConfig, store: LabelStore, spec: EnvSpec, clips_dir: Path) -> Panel:
        """The panel that the options describe; its synthetic teachers become labelers of `store`.

        UserError as `check_teachers`.
        """
        human, synthetic = check_teachers(config)
        seats = tuple(Seat(name, load_teacher(name), store.labeler(name, "synthetic")) for name in synthetic)
        return cls(store, clips_dir, spec, config.seed, config.teaching, human, seats)

    def answer(self, step: int, context: TeacherContext) -> int:
        """Let each synthetic teacher answer what is its own and due at agent step `step`; how many answers were given.

        A query that is the person's is never leased here. One that is a teacher's may be taken by a person who is
        quicker; then it is theirs.
        """
        if not self.seats:
            return 0
        due = answerable(self.store.open_steps(), step, self.teaching)
        answered = 0
        for number, seat in enumerate(self.seats):
            answered += answer_pending(
                self.store,
                seat.teacher,
                query_ids=self._of_seat(number, due),
                labeler_id=seat.labeler_id,
                clips_dir=self.clips_dir,
                spec=self.spec,
                seed=self.seed,
                context=context,
            )
        return answered

    def of_the_person(self, query_ids: Collection[int]) -> list[int]:
        """Those that no teacher answers, oldest first."""
        share, seats = self.teaching.share, len(self.seats)
        if not self.human or not seats:
            return sorted(query_ids) if self.human else []
        return [id for id in sorted(query_ids) if seat_of(id, seed=self.seed, seats=seats, share=share) is None]

    def _of_seat(self, number: int, query_ids: Collection[int]) -> list[int]:
        # Without a person nobody else would answer the rest.
        share = self.teaching.share if self.human else 1.0
        return [id for id in query_ids if seat_of(id, seed=self.seed, seats=len(self.seats), share=share) == number]
