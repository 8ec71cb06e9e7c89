"""What the reward model thought of each pair before it learnt the answer, one JSON line an answer. Judges nothing."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from pairplay.types import UserError

# E ensemble members


@dataclass(frozen=True)
class Prediction:
    """One answer, and what each member expected of it before any of them had trained on it."""

    query_id: int
    step: int
    """Agent steps of the run when the prediction was made."""
    strategy: str
    """Why the pair was asked: pairs chosen because they are hard are harder to predict."""
    labeler: str
    kind: str
    """`human` or `synthetic`."""
    answer: str
    mu: float
    """Weight on the left segment: 1 left, 0 right, ½ tie. A skip is not predicted: nothing can be right about it."""
    p: tuple[float, ...]
    """`[E]` each member's P[left]."""
    answers_before: int
    """How many answers the model had learnt from by then; 0 is a model that has learnt nothing yet."""


class PredictionLog:
    """Appends to `predictions.jsonl`. The first prediction of a query stands for good.

    A trainer that was killed asks a model it has rolled back about answers it had met before; and after an undo the
    model has trained on the pair already. Both come too late: only the first prediction was made in ignorance.
    A last line torn by a crash is dropped.
    """

    def __init__(self, path: Path) -> None:
        self._predictions = {prediction.query_id: prediction for prediction in read_predictions(path)}
        if path.exists():
            _drop_torn_line(path)
        self._file = path.open("a", encoding="utf-8")

    def __len__(self) -> int:
        return len(self._predictions)

    def __contains__(self, query_id: object) -> bool:
        return query_id in self._predictions

    @property
    def predictions(self) -> list[Prediction]:
        """All of them, in the order in which they were made."""
        return list(self._predictions.values())

    def write(self, predictions: Iterable[Prediction]) -> None:
        """Record those whose query is new, and leave the others out."""
        for prediction in predictions:
            if prediction.query_id in self._predictions:
                continue
            if not all(math.isfinite(p) for p in prediction.p):
                raise FloatingPointError(f"the reward model's prediction of query {prediction.query_id} is not finite")
            self._predictions[prediction.query_id] = prediction
            self._file.write(json.dumps(asdict(prediction), allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> PredictionLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_predictions(path: Path) -> list[Prediction]:
    """The lines of `predictions.jsonl` in order; `[]` when there is no file.

    A last line without its end is being written, or was when the trainer died: it is left out. UserError for any
    other line that is not a prediction.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [_parse(line, number, path) for number, line in enumerate(lines[:-1], start=1)]


def _parse(line: bytes, number: int, path: Path) -> Prediction:
    try:
        match json.loads(line):
            case {
                "query_id": int(query_id),
                "step": int(step),
                "strategy": str(strategy),
                "labeler": str(labeler),
                "kind": str(kind),
                "answer": str(answer),
                "mu": float() | int() as mu,
                "p": list(p),
                "answers_before": int(before),
            }:
                members = tuple(float(member) for member in p)
                return Prediction(query_id, step, strategy, labeler, kind, answer, float(mu), members, before)
    except (ValueError, TypeError, RecursionError):
        pass
    raise UserError(f"{path}, line {number} is damaged: remove that line to go on")


def _drop_torn_line(path: Path) -> None:
    with path.open("r+b") as file:
        data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            file.truncate(whole)
            os.fsync(file.fileno())
