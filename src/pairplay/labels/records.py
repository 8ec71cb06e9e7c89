"""What the label store hands out: plain frozen values. Knows no SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pairplay.types import Answer

LabelerKind = Literal["human", "synthetic"]
LABELER_KINDS: tuple[LabelerKind, ...] = ("human", "synthetic")

NO_CLIP = ""
"""In place of a clip's sha256: nothing was drawn, for nobody was to look at it."""

ConflictCode = Literal[
    "unknown_query", "already_answered", "leased_by_other", "uuid_reused", "unknown_answer", "not_undoable"
]


class Conflict(Exception):  # noqa: N818 - a state of affairs that callers handle, not a fault
    """The store's state refuses what a labeler asked for; nothing was changed. `code` is for machines."""

    def __init__(self, code: ConflictCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class LeasedQuery:
    """A query that one labeler alone may answer until its lease expires."""

    id: int
    question: str
    left_id: str
    right_id: str
    left_clip: str
    """sha256 of the clip shown on the left: its file is `<sha256>.mp4`. `NO_CLIP` where none was drawn."""
    right_clip: str
    lease_expires_at: datetime


@dataclass(frozen=True)
class Given:
    """An answer that a labeler gives; times are the labeler's clock."""

    query_id: int
    answer: Answer
    client_uuid: str
    shown_at: datetime | None = None
    answered_at: datetime | None = None


@dataclass(frozen=True)
class Receipt:
    """Proof that an answer, or its withdrawal, is on the disk."""

    id: int
    query_id: int
    answer: Answer | Literal["withdrawn"]
    client_uuid: str
    recorded_at: datetime
    replay: bool
    """True when the row had been recorded before: this call changed nothing."""
    query: LeasedQuery | None = None
    """After an undo, the query that the labeler holds again; None when it is no longer theirs."""


@dataclass(frozen=True)
class RecentAnswer:
    """One of a labeler's own live answers, with what is needed to show it once more."""

    id: int
    client_uuid: str
    query_id: int
    answer: Answer
    question: str
    left_id: str
    right_id: str
    left_clip: str
    right_clip: str
    recorded_at: datetime


@dataclass(frozen=True)
class AnswerRow:
    """One row of `answers` with all that belongs to it, superseded and withdrawn rows included."""

    id: int
    client_uuid: str
    query_id: int
    labeler_id: int
    labeler: str
    kind: LabelerKind
    answer: Answer | Literal["withdrawn"]
    mu: float | None
    left_id: str
    right_id: str
    left_shown: str
    """Which of the two segments was on the left of the screen."""
    left_clip: str
    right_clip: str
    strategy: str
    score: float
    question: str
    step: int
    shown_at: datetime | None
    """By the labeler's clock, like `answered_at`."""
    answered_at: datetime | None
    recorded_at: datetime
    """By the database's clock."""
    supersedes: int | None
    live: bool
    """Neither superseded nor a withdrawal: the row that counts."""


@dataclass(frozen=True)
class Counts:
    """How many queries there are in each state: asked = pending + leased + answered + expired."""

    asked: int
    """All there ever were."""
    pending: int
    """Open, and held by nobody now."""
    leased: int
    """Open, and held by a labeler now."""
    answered: int
    """With a live answer, skips included."""
    skipped: int
    """Those among `answered` that were skipped."""
    expired: int = 0
    """Withdrawn before anybody answered."""

    @property
    def open(self) -> int:
        """Those that wait for an answer, whoever holds them."""
        return self.pending + self.leased

    @property
    def total(self) -> int:
        return self.answered


@dataclass(frozen=True)
class Progress:
    """What the trainer is doing, for people who watch. Not a record: each one overwrites the last."""

    phase: str
    step: int
    total_timesteps: int
    labels_budget: int
    fps: float | None = None
    """Agent steps a second."""
    true_return: float | None = None
    predicted_return: float | None = None
    next_due_at_step: int | None = None
    notice: str | None = None
    """A sentence for the person who labels, until the next report."""
    updated_at: datetime | None = None
    """When it was posted, by the database's clock: the store fills it in."""
