"""The data set holds every answer, and can be read without Pairplay."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from pairplay.config import TrainConfig
from pairplay.labels.store import LabelStore
from pairplay.packing import segment_id
from pairplay.report.export import SCHEMA, export
from pairplay.run.clips import save_clip
from pairplay.run.layout import RunDir
from pairplay.types import Footage, Query, Segment, UserError

MakeRun = Callable[..., RunDir]


def footage(number: int) -> Footage:
    frames, action = np.full((5, 4, 4), number, np.uint8), np.arange(2)
    segment = Segment(segment_id(frames, 3, action), frames, 3, action, env=1, step=40, iteration=2)
    return Footage(segment, np.zeros((2, 4, 4, 3), np.uint8), np.array([number, -1], np.float32))


@pytest.fixture
def run(make_run: MakeRun) -> RunDir:
    """Four pairs asked: one answered, one skipped, one answered, undone and answered otherwise, one left open."""
    run = make_run("taught", TrainConfig(env_id="ALE/Enduro-v5", question="Größer?"), [1.0])
    with LabelStore.open(run.labels_db) as store:
        for n in range(4):
            left, right = (save_clip(run.clips, f"film {2 * n + side}".encode()) for side in (0, 1))
            query = Query(footage(2 * n), footage(2 * n + 1), "uniform", 0.0, "Größer?")
            store.add_query(query, left_clip=left, right_clip=right, step=100 * n)
        ann, robot = store.labeler("ann", "human"), store.labeler("oracle", "synthetic")
        store.answer(ann, 1, "left", client_uuid="a")
        store.answer(ann, 2, "skip", client_uuid="b")
        store.answer(robot, 3, "right", client_uuid="c")
        store.undo(robot, client_uuid="c")
        store.answer(robot, 3, "tie", client_uuid="d")
    return run


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "preferences.jsonl").read_text().splitlines()]


def test_every_answer_with_what_it_supersedes(tmp_path: Path, run: RunDir) -> None:
    summary = export(run, tmp_path / "out")
    assert (summary.answers, summary.live, summary.segments, summary.clips) == (5, 3, 6, 6)
    assert str(summary) == "5 answers (3 that count), 6 segments and 6 clips"
    rows = lines(tmp_path / "out")
    told = [(row["query_id"], row["answer"], row["mu"], row["live"], row["supersedes"], row["labeler"]) for row in rows]
    assert told == [
        (1, "left", 1.0, True, None, "ann"),
        (2, "skip", None, True, None, "ann"),
        (3, "right", 0.0, False, None, "oracle"),
        (3, "withdrawn", None, False, 3, "oracle"),
        (3, "tie", 0.5, True, 4, "oracle"),
    ]
    assert rows[4]["left_segment"] == footage(4).segment.id
    assert rows[4]["question"] == "Größer?"


def test_the_card_describes_what_is_there(tmp_path: Path, run: RunDir) -> None:
    export(run, tmp_path / "out")
    card = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert (card["env_id"], card["question"]) == ("ALE/Enduro-v5", "Größer?")
    assert card["counts"]["by_answer"] == {"left": 1, "right": 0, "tie": 1, "skip": 1}
    assert card["labelers"] == [
        {"name": "ann", "kind": "human", "live_answers": 2},
        {"name": "oracle", "kind": "synthetic", "live_answers": 1},
    ]
    assert "gymnasium" in card["versions"]
    for row in lines(tmp_path / "out"):
        assert set(row) == set(SCHEMA["preferences.jsonl"])


def test_segments_and_clips_come_back_bit_for_bit(tmp_path: Path, run: RunDir) -> None:
    export(run, tmp_path / "out")
    for row in lines(tmp_path / "out"):
        for side in ("left", "right"):
            path = tmp_path / "out" / "segments" / f"{row[side + '_segment']}.safetensors"
            arrays = safetensors.numpy.load_file(path)
            with safetensors.safe_open(path, "numpy") as file:
                place = json.loads(file.metadata()["segment"])
            assert place == {"age": 3, "env": 1, "step": 40, "iteration": 2}
            assert segment_id(arrays["frames"], place["age"], arrays["action"]) == row[side + "_segment"]
            assert arrays["audit_reward"].tolist() == [arrays["frames"][0, 0, 0], -1]
            clip = f"{row[side + '_clip']}.mp4"
            assert (tmp_path / "out" / "clips" / clip).read_bytes() == (run.clips / clip).read_bytes()


def test_a_missing_clip_is_told_and_does_not_stop_the_rest(tmp_path: Path, run: RunDir) -> None:
    gone = next(run.clips.iterdir())
    with LabelStore.open(run.labels_db) as store:
        asked = {clip for row in store.iter_answers() for clip in (row.left_clip, row.right_clip)}
    while gone.stem not in asked:
        gone.unlink()
        gone = next(run.clips.iterdir())
    gone.unlink()
    summary = export(run, tmp_path / "out")
    assert summary.missing_clips == (gone.stem,)
    assert "1 clips are missing" in str(summary)


def test_a_run_without_answers_is_an_empty_data_set(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run("new", TrainConfig(), [1.0])
    with pytest.raises(UserError, match=r"no labels\.db"):
        export(run, tmp_path / "out")
    assert not run.labels_db.exists()
    LabelStore.open(run.labels_db).close()
    assert export(run, tmp_path / "out").answers == 0


def test_nothing_is_written_over(tmp_path: Path, run: RunDir) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").touch()
    for taken in (out, out / "mine.txt"):
        with pytest.raises(UserError, match="not an empty folder"):
            export(run, taken)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
