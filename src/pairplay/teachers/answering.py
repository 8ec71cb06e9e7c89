"""Let a teacher answer: a labeler like any other, through the same store. Reads only the store and the clips."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np

from pairplay.labels.store import Conflict, LabelStore, LeasedQuery
from pairplay.teachers.base import Exhibit, Teacher
from pairplay.types import EnvSpec

LEASED_AT_ONCE = 8


def answer_pending(
    store: LabelStore,
    teacher: Teacher,
    *,
    labeler_id: int,
    clips_dir: Path,
    spec: EnvSpec,
    rng: np.random.Generator,
    limit: int | None = None,
) -> int:
    """Lease and answer until nothing is pending, or `limit` queries are answered; how many were.

    The same store, teacher and generator give the same answers. If the teacher raises, what it holds is released.
    """
    answered = 0
    while limit is None or answered < limit:
        room = LEASED_AT_ONCE if limit is None else min(LEASED_AT_ONCE, limit - answered)
        held = store.lease(labeler_id, limit=room)
        if not held:
            break
        open_ids = [query.id for query in held]
        try:
            for query in held:
                answered += _answer(store, teacher, query, labeler_id, clips_dir, spec, rng)
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
    rng: np.random.Generator,
) -> bool:
    shown_at = datetime.now(UTC)
    left, right = (
        Exhibit(
            segment_id=segment_id,
            clip=clips_dir / f"{clip}.mp4",
            clip_fps=spec.clip_fps,
            env_id=spec.env_id,
            env_reward=store.audit_rewards(segment_id),
        )
        for segment_id, clip in ((query.left_id, query.left_clip), (query.right_id, query.right_clip))
    )
    answer = teacher(left, right, rng)
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
