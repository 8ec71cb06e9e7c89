"""A teacher works the queue like any labeler: each pair once, on the side shown, and lets go when it fails."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pairplay.labels.store import Conflict, Given, LabelStore, Receipt
from pairplay.packing import segment_id
from pairplay.run.clips import encode, save_clip
from pairplay.teachers import answering
from pairplay.teachers.answering import LEASED_AT_ONCE, answer_pending
from pairplay.teachers.base import Exhibit, Teacher, load_teacher
from pairplay.teachers.context import TeacherContext
from pairplay.types import Answer, EnvSpec, Footage, Query, Segment

CONTEXT = TeacherContext(12.0, 34.0)
SPEC = EnvSpec("Env-v0", (1,), 1, 2, (), (), 15.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    with LabelStore.open(tmp_path / "labels.db") as opened:
        yield opened


def footage(i: int) -> Footage:
    """Segment i is worth i // 2, so there are ties, and its clip is as bright as i."""
    frames, action = np.full((2, 1), i, np.float32), np.zeros(2, np.int64)
    segment = Segment(segment_id(frames, 0, action), frames, 0, action, env=0, step=0, iteration=0)
    return Footage(segment, np.full((2, 16, 16, 3), 10 * i, np.uint8), np.full(2, i // 2 / 2, np.float32))


def publish(store: LabelStore, clips: Path, pairs: list[tuple[int, int]]) -> None:
    for left, right in pairs:
        query = Query(footage(left), footage(right), "uniform", 0.0, "Which?")
        names = [save_clip(clips, encode(side.captures, 15.0)) for side in (query.left, query.right)]
        store.add_query(query, left_clip=names[0], right_clip=names[1], step=0)


def work(store: LabelStore, teacher: Teacher, clips: Path, *, only: list[int] | None = None, seed: int = 0) -> int:
    return answer_pending(
        store,
        teacher,
        query_ids=store.open_steps() if only is None else only,
        labeler_id=store.labeler("test", "synthetic"),
        clips_dir=clips,
        spec=SPEC,
        seed=seed,
        context=CONTEXT,
    )


def test_answers_everything_on_the_side_that_was_shown(store: LabelStore, tmp_path: Path) -> None:
    pairs = [(a, b) for a in range(5) for b in range(5) if a != b]
    assert len(pairs) > 2 * LEASED_AT_ONCE
    publish(store, tmp_path, pairs)
    began = datetime.now(UTC)
    assert work(store, load_teacher("oracle"), tmp_path) == len(pairs)
    expected: list[Answer] = ["left" if a // 2 > b // 2 else "right" if a // 2 < b // 2 else "tie" for a, b in pairs]
    assert [preference.answer for preference in store.preferences()] == expected
    for row in store.iter_answers():
        assert (row.labeler, row.kind) == ("test", "synthetic")
        assert row.shown_at is not None
        assert row.answered_at is not None
        assert began <= row.shown_at <= row.answered_at <= datetime.now(UTC)
    assert work(store, load_teacher("oracle"), tmp_path) == 0


def test_nothing_pending(store: LabelStore, tmp_path: Path) -> None:
    assert work(store, load_teacher("oracle"), tmp_path) == 0


@pytest.mark.parametrize("wanted", [0, 1, LEASED_AT_ONCE, LEASED_AT_ONCE + 1])
def test_only_what_is_named_is_leased_and_nothing_stays_so(store: LabelStore, tmp_path: Path, wanted: int) -> None:
    publish(store, tmp_path, [(i, i + 1) for i in range(LEASED_AT_ONCE + 2)])
    only = sorted(store.open_steps())[:wanted]
    assert work(store, load_teacher("oracle"), tmp_path, only=only) == wanted
    assert [preference.query_id for preference in store.preferences()] == only
    counts = store.counts()
    assert (counts.answered, counts.leased, counts.pending) == (wanted, 0, LEASED_AT_ONCE + 2 - wanted)


def test_what_another_holds_is_left_to_them(store: LabelStore, tmp_path: Path) -> None:
    publish(store, tmp_path, [(i, i + 1) for i in range(3)])
    (held,) = store.lease(store.labeler("Ada", "human"))
    assert work(store, load_teacher("oracle"), tmp_path) == 2
    assert list(store.open_steps()) == [held.id]


def test_skips_are_answers_too(store: LabelStore, tmp_path: Path) -> None:
    publish(store, tmp_path, [(0, 1)])
    assert work(store, lambda left, right, rng: "skip", tmp_path) == 1
    assert store.counts().skipped == 1


def test_the_teacher_is_shown_what_a_person_would_see(store: LabelStore, tmp_path: Path) -> None:
    publish(store, tmp_path, [(3, 9)])
    seen: list[Exhibit] = []

    def look(left: Exhibit, right: Exhibit, rng: np.random.Generator) -> Answer:
        seen.extend((left, right))
        return "tie"

    work(store, look, tmp_path)
    left, right = seen
    assert (left.segment_id, right.segment_id) == (footage(3).segment.id, footage(9).segment.id)
    assert abs(float(left.pictures.mean()) - 30) < 3
    assert abs(float(right.pictures.mean()) - 90) < 3
    assert (left.env_id, left.clip_fps, left.stride) == ("Env-v0", 15.0, 1)
    assert right.env_reward.tolist() == [2.0, 2.0]
    assert left.context == right.context == CONTEXT


def test_of_a_fast_simulator_the_teacher_hears_how_its_clips_are_thinned(store: LabelStore, tmp_path: Path) -> None:
    publish(store, tmp_path, [(3, 9)])
    seen: list[Exhibit] = []

    def look(left: Exhibit, right: Exhibit, rng: np.random.Generator) -> Answer:
        seen.append(left)
        return "tie"

    answer_pending(
        store,
        look,
        query_ids=store.open_steps(),
        labeler_id=store.labeler("judge", "synthetic"),
        clips_dir=tmp_path,
        spec=replace(SPEC, clip_fps=125.0),
        seed=1,
    )
    assert [(left.clip_fps, left.stride) for left in seen] == [(25.0, 5)]


def test_a_teacher_that_fails_holds_nothing(store: LabelStore, tmp_path: Path) -> None:
    publish(store, tmp_path, [(0, 1), (1, 2), (2, 3)])
    calls = 0

    def tired(left: Exhibit, right: Exhibit, rng: np.random.Generator) -> Answer:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("enough")
        return "left"

    with pytest.raises(RuntimeError, match="enough"):
        work(store, tired, tmp_path)
    counts = store.counts()
    assert (counts.answered, counts.leased, counts.pending) == (1, 0, 2)


def test_quick_answers_are_saved_together_and_slow_ones_at_once(
    store: LabelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow teacher's work is dear: neither a crash nor a power cut may cost more than one answer of it."""
    saved: list[int] = []
    batches: list[tuple[int, bool]] = []
    answer_all = store.answer_all

    def noted(labeler_id: int, given: Sequence[Given], *, durable: bool) -> list[Receipt | Conflict]:
        batches.append((len(given), durable))
        return answer_all(labeler_id, given, durable=durable)

    def watched(left: Exhibit, right: Exhibit, rng: np.random.Generator) -> Answer:
        saved.append(store.counts().answered)
        return "left"

    monkeypatch.setattr(store, "answer_all", noted)
    publish(store, tmp_path, [(i, i + 1) for i in range(3)])
    work(store, watched, tmp_path)
    monkeypatch.setattr(answering, "SAVED_WITHIN_S", -1.0)
    publish(store, tmp_path, [(i, i + 2) for i in range(3)])
    work(store, watched, tmp_path)
    assert saved == [0, 0, 0, 3, 4, 5]
    assert batches == [(3, False), (1, True), (1, True), (1, True), (0, False)]


def test_somebody_quicker_is_no_failure(store: LabelStore, tmp_path: Path) -> None:
    publish(store, tmp_path, [(0, 1), (1, 2)])
    mine, other = store.labeler("test", "synthetic"), store.labeler("Ada", "human")

    def slow(left: Exhibit, right: Exhibit, rng: np.random.Generator) -> Answer:
        if store.counts().answered == 0:
            first = min(store.open_steps())
            store.release(mine, [first])
            store.answer(other, first, "right", client_uuid="ada-1")
        return "left"

    assert work(store, slow, tmp_path) == 1
    assert sorted((p.labeler, p.answer) for p in store.preferences()) == [("Ada", "right"), ("test", "left")]


def test_neither_order_nor_restart_changes_an_answer(tmp_path: Path) -> None:
    """Each answer is a function of the seed and the query's id, in one sweep, one by one from the end, or reopened."""
    runs = []
    for name in ("sweep", "backwards", "reopened"):
        with LabelStore.open(tmp_path / f"{name}.db") as store:
            publish(store, tmp_path, [(i, i + 1) for i in range(20)])
            if name == "sweep":
                work(store, load_teacher("random"), tmp_path, seed=3)
            if name == "backwards":
                for query_id in sorted(store.open_steps(), reverse=True):
                    work(store, load_teacher("random"), tmp_path, only=[query_id], seed=3)
            if name == "reopened":
                work(store, load_teacher("random"), tmp_path, only=sorted(store.open_steps())[5:9], seed=3)
        with LabelStore.open(tmp_path / f"{name}.db") as store:
            work(store, load_teacher("random"), tmp_path, seed=3)
            runs.append([preference.answer for preference in store.preferences()])
    assert runs[0] == runs[1] == runs[2]
    assert len(runs[0]) == 20
    assert set(runs[0]) == {"left", "right"}
