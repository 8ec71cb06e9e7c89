"""Let a teacher answer: a labeler like any other, through the same store. Reads only the store and the clips."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from pairplay.labels.records import NO_CLIP
from pairplay.labels.store import Given, LabelStore, LeasedQuery, Receipt
from pairplay.run.clips import picture_stride
from pairplay.seeding import rng
from pairplay.teachers.base import Exhibit, Teacher
from pairplay.teachers.context import TeacherContext
from pairplay.types import EnvSpec

LEASED_AT_ONCE = 8
SAVED_WITHIN_S = 1.0
"""Quick answers are saved together, a slow teacher's one by one: the disk takes longer than most of them think."""


def answer_pending(
    store: LabelStore,
    teacher: Teacher,
    *,
    query_ids: Collection[int],
    labeler_id: int,
    clips_dir: Path,
    spec: EnvSpec,
    seed: int,
    context: TeacherContext = TeacherContext(),  # noqa: B008 - frozen
) -> int:
    """Lease and answer those of `query_ids` that are open and nobody else's; how many were answered.

    No other query is leased. Each answer draws from a generator of its own, a function of `seed` and the query's id,
    so neither order nor delay nor a restart changes it. If the teacher raises, what it has answered is saved and what
    it still holds is released.
    """
    wanted = sorted(query_ids)
    answered = 0
    for first in range(0, len(wanted), LEASED_AT_ONCE):
        batch = wanted[first : first + LEASED_AT_ONCE]
        held = store.lease(labeler_id, limit=len(batch), only=batch)
        open_ids = [query.id for query in held]
        given: list[Given] = []
        try:
            saved_at = time.monotonic()
            for query, (left, right) in zip(held, _exhibits(store, held, clips_dir, spec, context), strict=True):
                # The true times: a made-up time of reflection would pass for a measurement.
                shown_at = datetime.now(UTC)
                answer = teacher(left, right, rng(seed, "teacher", query.id))
                # A uuid names one act, not one query: a resumed run answers anew what was not on the disk.
                given.append(Given(query.id, answer, str(uuid4()), shown_at, datetime.now(UTC)))
                open_ids.remove(query.id)
                if time.monotonic() - saved_at > SAVED_WITHIN_S:
                    answered += _save(store, labeler_id, given, durable=True)
                    saved_at = time.monotonic()
        finally:
            if open_ids:
                store.release(labeler_id, open_ids)
            # They would be given again, and alike, which takes less time than the disk.
            answered += _save(store, labeler_id, given, durable=False)
    return answered


def _save(store: LabelStore, labeler_id: int, given: list[Given], *, durable: bool) -> int:
    """Record and forget them; how many were recorded.

    The others are conflicts: a lease ran out under a slow teacher, and somebody else was quicker.
    """
    receipts = store.answer_all(labeler_id, given, durable=durable)
    given.clear()
    return sum(isinstance(receipt, Receipt) for receipt in receipts)


def _exhibits(
    store: LabelStore, held: Sequence[LeasedQuery], clips_dir: Path, spec: EnvSpec, context: TeacherContext
) -> Iterator[tuple[Exhibit, Exhibit]]:
    """Both sides of each query."""
    sides = [side for query in held for side in ((query.left_id, query.left_clip), (query.right_id, query.right_clip))]
    rewards = store.audit_rewards([segment_id for segment_id, _ in sides])
    shown = iter(
        Exhibit(
            segment_id=segment_id,
            clip=None if clip == NO_CLIP else clips_dir / f"{clip}.mp4",
            clip_fps=spec.clip_fps / picture_stride(spec.clip_fps),
            env_id=spec.env_id,
            env_reward=env_reward,
            context=context,
            stride=picture_stride(spec.clip_fps),
        )
        for (segment_id, clip), env_reward in zip(sides, rewards, strict=True)
    )
    return zip(shown, shown, strict=True)
