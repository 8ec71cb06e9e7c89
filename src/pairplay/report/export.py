"""A run's answers as a data set of plain files that needs no Pairplay to read."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import safetensors.numpy

from pairplay.labels.records import NO_CLIP, AnswerRow
from pairplay.labels.store import LabelStore
from pairplay.run.config_file import read_config
from pairplay.run.layout import RunDir
from pairplay.types import ANSWERS, UserError

FORMAT = 1
_LIBRARIES = ("pairplay", "gymnasium", "ale-py", "mujoco", "numpy", "torch")

SCHEMA = {
    "preferences.jsonl": {
        "id": "number of the row; later rows are later answers",
        "query_id": "the pair that was asked; rows of one query form a chain by `supersedes`",
        "client_uuid": "one for each press of a button, given by the labeler's side",
        "labeler": "name of who answered; of a synthetic teacher with its option, such as mistake:0.2",
        "labeler_kind": "human or synthetic",
        "answer": "left, right, tie, skip (cannot tell), or withdrawn (an undo)",
        "mu": "weight on the left segment: 1, 0 or 0.5; null for skip and withdrawn, which never train",
        "live": "true for the row that counts: neither superseded nor withdrawn",
        "supersedes": "id of the row that this one replaces, or null",
        "left_segment": "id of the segment shown on the left; its file is segments/<id>.safetensors",
        "right_segment": "the same for the right",
        "left_clip": "sha256 of the film shown on the left; its file is clips/<sha256>.mp4; empty: none was drawn",
        "right_clip": "the same for the right",
        "question": "the text shown above the pair",
        "strategy": "why the pair was chosen",
        "score": "what the strategy maximised",
        "step": "agent steps of the run when the pair was asked",
        "shown_at": "when the pair appeared, by the labeler's clock (ISO 8601, UTC), or null",
        "answered_at": "when the button was pressed, by the labeler's clock, or null",
        "recorded_at": "when the row was committed, by the database's clock",
    },
    "segments/<id>.safetensors": {
        "frames": "[K-1 + L, *F] what the networks saw, stored once: row K-1+t is the newest frame of step t",
        "action": "[L] int64, or [L, A] float32 before clipping to the bounds",
        "audit_reward": "[L] float32, the environment's own reward, less env.end_penalty where a life is lost: "
        "what teachers judge by, and the agent never saw",
        "metadata.segment": "JSON: age (steps since the episode began), env, step, iteration",
    },
}


@dataclass(frozen=True)
class ExportSummary:
    """What was written."""

    answers: int
    """Rows, superseded and withdrawn ones included."""
    live: int
    segments: int
    clips: int
    missing_clips: tuple[str, ...] = ()
    """Films that the answers name and the run no longer has."""

    def __str__(self) -> str:
        text = f"{self.answers} answers ({self.live} that count), {self.segments} segments and {self.clips} clips"
        return text if not self.missing_clips else f"{text} ({len(self.missing_clips)} clips are missing)"


def export(run: RunDir, out: Path) -> ExportSummary:
    """Write `preferences.jsonl`, `segments/`, `clips/` and, last of all, the card `dataset.json` into `out`.

    A folder without its card is an export that did not finish. UserError when `out` is not empty and when the run
    has no label store or a damaged segment.
    """
    if not run.labels_db.is_file():  # opening would create one
        raise UserError(f"{run.path} has no {run.labels_db.name}: there is nothing to export")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not an empty folder: choose another with --out")
    config = read_config(run.config_toml)
    for folder in (out / "segments", out / "clips"):
        folder.mkdir(parents=True, exist_ok=True)
    with LabelStore.open(run.labels_db) as store:
        rows = list(store.iter_answers())
        _write_lines(out / "preferences.jsonl", (_preference(row) for row in rows))
        segment_ids = sorted({segment for row in rows for segment in (row.left_id, row.right_id)})
        for segment_id in segment_ids:
            _write_segment(out / "segments", store, segment_id)
    clips = sorted({clip for row in rows for clip in (row.left_clip, row.right_clip)} - {NO_CLIP})
    missing = tuple(clip for clip in clips if not _copied(run.clips / f"{clip}.mp4", out / "clips"))
    summary = ExportSummary(
        answers=len(rows),
        live=sum(row.live for row in rows),
        segments=len(segment_ids),
        clips=len(clips) - len(missing),
        missing_clips=missing,
    )
    counted = Counter(row.answer for row in rows if row.live)
    card = {
        "format": FORMAT,
        "run": run.name,
        "env_id": config.env_id,
        "question": config.question,
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "counts": asdict(summary) | {"by_answer": {answer: counted[answer] for answer in ANSWERS}},
        "labelers": [
            {"name": name, "kind": kind, "live_answers": count}
            for (name, kind), count in sorted(Counter((row.labeler, row.kind) for row in rows if row.live).items())
        ],
        "versions": dict(_versions()),
        "options": asdict(config),
        "schema": SCHEMA,
    }
    (out / "dataset.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return summary


def _preference(row: AnswerRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "query_id": row.query_id,
        "client_uuid": row.client_uuid,
        "labeler": row.labeler,
        "labeler_kind": row.kind,
        "answer": row.answer,
        "mu": row.mu,
        "live": bool(row.live),
        "supersedes": row.supersedes,
        "left_segment": row.left_id,
        "right_segment": row.right_id,
        "left_clip": row.left_clip,
        "right_clip": row.right_clip,
        "question": row.question,
        "strategy": row.strategy,
        "score": row.score,
        "step": row.step,
        "shown_at": _iso(row.shown_at),
        "answered_at": _iso(row.answered_at),
        "recorded_at": _iso(row.recorded_at),
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat()


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_segment(folder: Path, store: LabelStore, segment_id: str) -> None:
    segment = store.segment(segment_id)
    place = {name: getattr(segment, name) for name in ("age", "env", "step", "iteration")}
    arrays = {"frames": segment.frames, "action": segment.action, "audit_reward": store.audit_rewards([segment_id])[0]}
    data = safetensors.numpy.save(arrays, metadata={"segment": json.dumps(place)})
    (folder / f"{segment_id}.safetensors").write_bytes(data)


def _copied(clip: Path, folder: Path) -> bool:
    try:
        shutil.copyfile(clip, folder / clip.name)
    except FileNotFoundError:
        return False
    return True


def _versions() -> Iterable[tuple[str, str]]:
    for name in _LIBRARIES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue
