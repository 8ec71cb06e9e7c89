from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from pairplay.run import checkpoint
from pairplay.run.checkpoint import load_newest
from pairplay.run.saving import Part, Saver
from pairplay.types import UserError


def test_what_changes_while_it_is_written_is_saved_as_it_was(tmp_path: Path) -> None:
    saver, go_on, written_by = Saver(tmp_path), threading.Event(), []

    def later() -> Part:
        assert go_on.wait(10)
        written_by.append(threading.current_thread())
        return {"late": np.arange(3)}, {"pieces": [1]}

    tensors, state = {"weights": torch.zeros(2)}, {"seen": [1.0, float("nan")]}
    saver.begin(7, tensors, state, later)
    assert load_newest(tmp_path) is None, "nobody waited"
    tensors["weights"] += 1
    state["seen"].append(2.0)
    go_on.set()
    saver.finish()
    saver.close()
    saved = load_newest(tmp_path)
    assert saved is not None
    assert saved.step == 7
    assert saved.tensors["weights"].tolist() == [0, 0]
    assert saved.tensors["late"].tolist() == [0, 1, 2]
    assert saved.state == {"seen": [1.0, None], "pieces": [1]}
    assert written_by != [threading.current_thread()]


def test_the_next_checkpoint_waits_for_the_one_before(tmp_path: Path) -> None:
    saver, written = Saver(tmp_path), list[int]()

    def note(step: int) -> Part:
        written.append(step)
        return {}, {}

    for step in (1, 2, 3):
        saver.begin(step, {}, {}, partial(note, step))
        assert written[: step - 1] == list(range(1, step))
    saver.finish()
    assert written == [1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{step:012d}" for step in (1, 2, 3)]
    saver.close()


def test_a_failure_is_raised_once_and_by_the_next_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    saver = Saver(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_write", full)
        saver.begin(1, {}, {})
        with pytest.raises(OSError, match="No space left"):
            saver.begin(2, {}, {})
    saver.begin(3, {}, {})
    saver.finish()
    assert [path.name for path in tmp_path.iterdir()] == [f"{3:012d}"]
    saver.close()


def test_closing_waits_and_tells_nothing(tmp_path: Path) -> None:
    saver, started = Saver(tmp_path), threading.Event()

    def wrong() -> Part:
        started.set()
        raise UserError("no")

    saver.begin(1, {}, {}, wrong)
    saver.close()
    assert started.is_set()
