"""The product whole: `pairplay train` on Enduro, a person at the browser, and an agent that learns meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from pairplay.labels.store import LabelStore

from .conftest import Note, Visit

pytestmark = pytest.mark.browser

OPTIONS = [
    "--num-envs", "4", "--ppo.num-steps", "32", "--ppo.minibatch-size", "64", "--labels", "200",
    "--queries.explore-steps", "256", "--queries.min-answers", "10",
    "--reward-model.pretrain-pairs", "32", "--reward-model.fit-pairs", "16",
]  # fmt: skip


@pytest.fixture
def training(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run on Enduro with a person for a teacher, in `tmp_path / "run"`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pairplay", "train", *OPTIONS, "--no-open", "--run-dir", "run"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)


def rows(run: Path) -> list[dict[str, float | None]]:
    path = run / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def test_thirty_pairs_while_the_agent_trains_on(
    training: subprocess.Popen[str], tmp_path: Path, visit: Visit, note: Note
) -> None:
    began = time.monotonic()
    assert training.stdout is not None
    url = training.stdout.readline().strip().removeprefix("Label at ")
    person = visit(url)
    person.page.set_default_timeout(120_000)
    expected: dict[int, str] = {}
    keys = {"ArrowLeft": "left", "ArrowRight": "right", "ArrowUp": "tie", "ArrowDown": "skip"}
    for number in range(30):
        person.wait_for_pair()
        if number == 0:
            note(f"from the command to the first pair on the page: {time.monotonic() - began:.1f} s")
        key = list(keys)[number % 4 if number % 5 else 0]
        shown = person.press(key)
        expected[shown] = keys[key]
        if number in (6, 17):
            person.press("z")
            person.press("ArrowRight")
            expected[shown] = "right"
    expect(person.page.locator("#saved")).to_contain_text("30 answers")
    answered_at = rows(tmp_path / "run")[-1]["time/total_timesteps"] or 0

    def learning() -> bool:
        last = rows(tmp_path / "run")[-1]
        return last.get("train/n_updates") is not None and (last["time/total_timesteps"] or 0) > answered_at

    deadline = time.monotonic() + 120
    while not learning():
        assert time.monotonic() < deadline, rows(tmp_path / "run")[-1]
        assert training.poll() is None
        time.sleep(0.1)
    assert answered_at > 128, "training went on while the person answered"
    with LabelStore.open(tmp_path / "run" / "labels.db") as store:
        assert {p.query_id: p.answer for p in store.preferences()} == expected
    if folder := os.environ.get("PAIRPLAY_SCREENSHOTS"):
        person.wait_for_pair()
        person.page.screenshot(path=Path(folder) / "training.png")
