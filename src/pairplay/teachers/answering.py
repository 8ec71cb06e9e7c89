"""Let a teacher answer: a labeler like any other, through the same store. Reads only the store and the clips."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from pairplay.labels.records import NO_CLIP
from pairplay.labels.store import Conflict, LabelStore, LeasedQuery
from pairplay.seeding import rng
from pairplay.teachers.base import Exhibit, Teacher
from pairplay.teachers.context import TeacherContext
from pairplay.types import EnvSpec

LEASED_AT_ONCE = 8


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
    so neither order nor delay nor a restart changes it. If the teacher raises, what it holds is released.
    """
    wanted = sorted(query_ids)
    answered = 0
    for first in range(0, len(wanted), LEASED_AT_ONCE):
        batch = wanted[first : first + LEASED_AT_ONCE]
        held = store.lease(labeler_id, limit=len(batch), only=batch)
        open_ids = [query.id for query in held]
        try:
            for query in held:
                answered += _answer(store, teacher, query, labeler_id, clips_dir, spec, seed, context)
                open_ids.remove(query.id)
        finally:
            if open_ids:
                store.release(labeler_id, open_ids)
    return answered


def _answer(
    store: LabelStore,
    teacher: Teacher,
    query: LeasedQuery,
    labeler_id: int,
    clips_dir: Path,
    spec: EnvSpec,
    seed: int,
    context: TeacherContext,
) -> bool:
    # The true times: a made-up time of reflection would pass for a measurement.
    shown_at = datetime.now(UTC)
    left, right = (
        Exhibit(
            segment_id=segment_id,
            clip=None if clip == NO_CLIP else clips_dir / f"{clip}.mp4",
            clip_fps=spec.clip_fps,
            env_id=spec.env_id,
            env_reward=store.audit_rewards(segment_id),
            context=context,
        )
        for segment_id, clip in ((query.left_id, query.left_clip), (query.right_id, query.right_clip))
    )
    answer = teacher(left, right, rng(seed, "teacher", query.id))
    try:
        # A uuid names one act, not one query: a resumed run answers anew what was not on the disk.
        store.answer(
            labeler_id,
            query.id,
            answer,
            client_uuid=str(uuid4()),
            shown_at=shown_at,
            answered_at=datetime.now(UTC),
        )
    except Conflict:
        # The lease ran out under a slow teacher, and somebody else was quicker.
        return False
    return True
