"""The figures of a run, one JSON line an iteration and the same in TensorBoard. Decides nothing by them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from pairplay.run.layout import RunDir
from pairplay.types import UserError

STEP = "time/total_timesteps"

Metrics = dict[str, float | int | None]


class MetricsWriter:
    """Appends to `metrics.jsonl` and to TensorBoard. One writer a run.

    With `resume_step`, what was recorded after that step is forgotten first: those iterations are about to
    be played again. A last line torn by a crash is always dropped.
    """

    def __init__(self, run: RunDir, *, resume_step: int | None = None) -> None:
        # Here, for half of the commands never write a metric and torch takes seconds.
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
        from torch.utils.tensorboard import SummaryWriter

        path = run.metrics_jsonl
        if path.exists():
            _rewrite(path, [row for row in read_metrics(path) if resume_step is None or _step(row) <= resume_step])
        self._file = path.open("a", encoding="utf-8")
        purge_step = None if resume_step is None else resume_step + 1
        self._board: Any = SummaryWriter(str(run.tensorboard), purge_step=purge_step)
        self._summary: Any = Summary

    def write(self, step: int, values: Mapping[str, float | int | None]) -> None:
        """One line at `step` agent steps. A value that is not finite is written as null and left out of TensorBoard."""
        row: Metrics = {STEP: step}
        row |= {name: _finite(value) for name, value in values.items() if name != STEP}
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()
        # One record a line: a record for each value takes six times as long.
        known = ((name, value) for name, value in row.items() if value is not None)
        shown = [self._summary.Value(tag=name, simple_value=value) for name, value in known]
        self._board.file_writer.add_summary(self._summary(value=shown), step)

    def close(self) -> None:
        self._file.close()
        self._board.close()

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_metrics(path: Path) -> list[Metrics]:
    """The lines of `metrics.jsonl` in order; `[]` when there is no file.

    A last line without its end is being written, or was when the trainer died: it is left out.
    UserError for any other line that is no JSON object with its step.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [_parse(line, number, path) for number, line in enumerate(lines[:-1], start=1)]


def _parse(line: bytes, number: int, path: Path) -> Metrics:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict) or not isinstance(row.get(STEP), int):
        raise UserError(f"{path}, line {number} is damaged: remove that line to go on")
    return row


def _step(row: Metrics) -> float:
    step = row[STEP]
    return math.inf if step is None else step


def _finite(value: float | int | None) -> float | int | None:
    if value is None or isinstance(value, int):
        return value
    number = float(value)  # numpy's scalars too
    return number if math.isfinite(number) else None


def _rewrite(path: Path, rows: list[Metrics]) -> None:
    partial = path.with_name(path.name + ".part")
    with partial.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
