"""What was predicted in ignorance is kept, once, whatever happens to the trainer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pairplay.run.predictions import Prediction, PredictionLog, read_predictions
from pairplay.types import UserError


def prediction(query_id: int, *, mu: float = 1.0, p: tuple[float, ...] = (0.7, 0.8, 0.6)) -> Prediction:
    return Prediction(query_id, 100 * query_id, "disagreement", "ann", "human", "left", mu, p, query_id - 1)


def test_a_line_says_everything(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    with PredictionLog(path) as log:
        log.write([prediction(1)])
        assert json.loads(path.read_text()) == {  # at once, not when the file is closed
            "query_id": 1,
            "step": 100,
            "strategy": "disagreement",
            "labeler": "ann",
            "kind": "human",
            "answer": "left",
            "mu": 1.0,
            "p": [0.7, 0.8, 0.6],
            "answers_before": 0,
        }
        log.write([prediction(2, mu=0.5), prediction(3, mu=0.0)])
        assert len(log) == 3
    assert read_predictions(path) == [prediction(1), prediction(2, mu=0.5), prediction(3, mu=0.0)]


def test_the_first_prediction_stands(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    with PredictionLog(path) as log:
        log.write([prediction(1), prediction(2)])
        log.write([prediction(2, p=(0.1,)), prediction(3)])
    # The trainer dies here, goes back to a checkpoint and meets the same answers once more.
    with PredictionLog(path) as log:
        assert 2 in log
        assert 4 not in log
        log.write([replace(prediction(n), p=(0.9,)) for n in (1, 2, 3, 4)])
        assert log.predictions == [prediction(1), prediction(2), prediction(3), prediction(4, p=(0.9,))]
    assert read_predictions(path) == [prediction(1), prediction(2), prediction(3), prediction(4, p=(0.9,))]


@pytest.mark.parametrize("torn", ['{"query_id": 2', json.dumps({"query_id": 2}), "\x00\x00"])
def test_a_torn_last_line_is_dropped_by_reader_and_writer(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "predictions.jsonl"
    with PredictionLog(path) as log:
        log.write([prediction(1)])
    with path.open("a") as file:
        file.write(torn)
    assert read_predictions(path) == [prediction(1)]
    with PredictionLog(path) as log:
        log.write([prediction(2)])
    assert read_predictions(path) == [prediction(1), prediction(2)]


@pytest.mark.parametrize("line", ["nonsense", "[]", "{}", '{"query_id": "1"}', "[" * 100_000])
def test_any_other_damage_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "predictions.jsonl"
    with PredictionLog(path) as log:
        log.write([prediction(1)])
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=r"predictions\.jsonl, line 2 is damaged"):
        read_predictions(path)


def test_no_file_is_no_predictions(tmp_path: Path) -> None:
    assert read_predictions(tmp_path / "predictions.jsonl") == []


def test_what_is_not_finite_is_never_written(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    with PredictionLog(path) as log, pytest.raises(FloatingPointError, match="query 1"):
        log.write([prediction(1, p=(0.5, float("nan")))])
    assert read_predictions(path) == []
