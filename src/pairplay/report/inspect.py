"""What has the reward model learnt? One page about a run's answers, its model and its clips. Trains nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pairplay.config import TrainConfig
from pairplay.health.agreement import RECENT, Agreement
from pairplay.health.alarms import Alarm, Alarms
from pairplay.health.watch import agree, informed
from pairplay.labels.records import AnswerRow
from pairplay.labels.store import LabelStore
from pairplay.report.inspect_findings import Judged, group_answers, judge_answers
from pairplay.report.inspect_model import load_judge
from pairplay.report.inspect_page import Inspection, page, percent
from pairplay.run.checkpoint import Checkpoint, Rejected, load_newest
from pairplay.run.config_file import read_config
from pairplay.run.layout import RunDir
from pairplay.run.predictions import read_predictions
from pairplay.types import UserError


@dataclass(frozen=True)
class InspectResult:
    """The page, and the same in a few lines."""

    html: Path
    lines: tuple[str, ...]
    alarms: tuple[Alarm, ...]
    rejected: tuple[Rejected, ...]
    """Newer checkpoints that are damaged."""


def inspect(run: RunDir, out: Path | None = None) -> InspectResult:
    """Write one page that needs nothing but itself, by default `inspect.html` in the run.

    A run without answers, clips or a checkpoint gets a page that says so. UserError when the run learns from the
    environment's own reward, when its checkpoint does not fit its options, and when the page cannot be written.
    """
    config = read_config(run.config_toml)
    if config.reward == "env":
        raise UserError(
            f"{run.path} learns from the environment's own reward, so it has no reward model to inspect. See what the "
            f"agent does with `pairplay play {run.path}` and how it improved with `pairplay compare {run.path}`"
        )
    checkpoint = load_newest(run.checkpoints)
    predictions = read_predictions(run.predictions_jsonl)
    rows, judged = _read_answers(run, config, checkpoint)
    live = [row for row in rows if row.live]
    inspection = Inspection(
        config=config,
        run=run.name,
        clips=run.clips,
        step=checkpoint.step if checkpoint else None,
        learning=checkpoint is not None and bool(checkpoint.state.get("learning")),
        alarms=_alarms(checkpoint),
        rows=live,
        corrected=len(rows) - len(live),
        predictions=predictions,
        judged=judged,
        labelers=group_answers(live, predictions, lambda row: (row.labeler, row.kind)),
        strategies=group_answers(live, predictions, lambda row: (row.strategy, "")),
    )
    path = out or run.path / "inspect.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(inspection), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): choose another place with --out") from error
    rejected = checkpoint.rejected if checkpoint else ()
    return InspectResult(path, tuple(_lines(inspection)), inspection.alarms or (), rejected)


def _read_answers(
    run: RunDir, config: TrainConfig, checkpoint: Checkpoint | None
) -> tuple[list[AnswerRow], Judged | None]:
    """Every answer, and what the model says of those that count."""
    if not run.labels_db.is_file():  # opening would create one
        return [], None
    with LabelStore.open(run.labels_db) as store:
        rows = list(store.iter_answers())
        if checkpoint is None or not checkpoint.state.get("learning") or not any(row.live for row in rows):
            return rows, None
        return rows, judge_answers(
            load_judge(checkpoint, config, store.asked_pairs()), store, [row for row in rows if row.live]
        )


def _alarms(checkpoint: Checkpoint | None) -> tuple[Alarm, ...] | None:
    """Those in force when the checkpoint was written; None when nobody watched."""
    if checkpoint is None or not checkpoint.state.get("oversight"):
        return None
    alarms = Alarms()
    alarms.load(checkpoint.state["oversight"]["watch"]["alarms"])
    return alarms.in_force


def _lines(of: Inspection) -> Iterator[str]:
    at = "without a checkpoint" if of.step is None else f"at step {of.step:,}"
    who = ", ".join(f"{group.name} {group.total}" for group in of.labelers)
    yield f"{of.config.env_id} {at}: {len(of.rows)} answers" + (f" ({who})" if who else "")
    ahead = agree(informed(of.predictions)[-RECENT:])
    yield f"Predicted before learning: {_said(ahead)}"
    if of.judged is not None:
        yield f"Held out, now: {_said(of.judged.held_out)}"
        rank = of.judged.correlation.spearman
        if rank is not None:
            clips = of.judged.correlation.of
            yield f"Rank correlation with the true reward (audit only): {rank:.2f} over {clips} clips"


def _said(of: Agreement) -> str:
    value, low, high = of.accuracy
    if value is None or low is None or high is None:
        return "nothing yet"
    return f"{percent(value)} right ({percent(low)} to {percent(high)}, {of.strict} answers)"
