"""A run with clips to compare, a label server over it, and a person at the browser: what the browser tests stand on."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from playwright.sync_api import Page

from pairplay.config import TrainConfig
from pairplay.labels.store import LabelStore, Progress
from pairplay.packing import segment_id
from pairplay.run.clips import encode, save_clip
from pairplay.run.config_file import write_config
from pairplay.run.layout import RunDir
from pairplay.types import Footage, Picture, Query, Segment

FPS = 15.0
LENGTH = 25
QUESTION = "Overtake as many cars as you can"


def moving_square(seed: int, length: int = LENGTH) -> Picture:
    """`[L, 210, 160, 3]` a square of a random colour that crosses a coloured field."""
    rng = np.random.default_rng(seed)
    ground, square = rng.integers(0, 120, 3), rng.integers(130, 256, 3)
    x, y, speed = rng.integers(0, 100), rng.integers(20, 150), rng.integers(-6, 7)
    pictures = np.empty((length, 210, 160, 3), np.uint8)
    pictures[:] = ground
    for t in range(length):
        left = int(x + speed * t) % 120
        pictures[t, y : y + 40, left : left + 40] = square
        pictures[t, 200:206, : 6 * (t + 1)] = 255  # a clock on the picture: frame t is 6 (t + 1) wide
    return pictures


class Studio:
    """One run: ask queries like a trainer, serve them, read what was answered."""

    def __init__(self, path: Path, *, labels: int = 100, question: str = QUESTION) -> None:
        self.run = RunDir.create(path, "ALE/Enduro-v5", seed=1)
        write_config(self.run.config_toml, TrainConfig(labels=labels, question=question))
        self.store = LabelStore.open(self.run.labels_db)
        self.asked = 0
        self.port = _free_port()
        self.url = ""
        self._server: subprocess.Popen[str] | None = None

    def ask(self, count: int, pictures: Callable[[int], Picture] = moving_square, variety: int = 6) -> list[int]:
        """Publish `count` pairs, made of `variety` different clips, as a trainer does. Their ids."""
        clips = [save_clip(self.run.clips, encode(pictures(number), FPS)) for number in range(variety)]
        ids = []
        for _ in range(count):
            left, right = _footage(2 * self.asked), _footage(2 * self.asked + 1)
            query = Query(left=left, right=right, strategy="uniform", score=0.0, question=QUESTION)
            first, second = clips[self.asked % variety], clips[(self.asked + 1) % variety]
            ids.append(self.store.add_query(query, left_clip=first, right_clip=second, step=1024))
            self.asked += 1
        return ids

    def post(
        self,
        *,
        phase: str,
        step: int,
        fps: float,
        next_due_at_step: int,
        notice: str | None = None,
        labels_budget: int = 100,
    ) -> None:
        """Say what the trainer is doing, as a trainer does."""
        now = Progress(
            phase,
            step,
            total_timesteps=10_000,
            labels_budget=labels_budget,
            fps=fps,
            next_due_at_step=next_due_at_step,
            notice=notice,
        )
        self.store.post_progress(now)

    def answers(self) -> dict[int, str]:
        """The answers that count, by query."""
        return {preference.query_id: preference.answer for preference in self.store.preferences()}

    def start(self) -> str:
        """Start the label server as a process of its own; the link it printed."""
        command = "import sys; from pairplay.cli import main; sys.exit(main())"
        arguments = ["label", str(self.run.path), "--port", str(self.port), "--no-open"]
        self._server = subprocess.Popen(
            [sys.executable, "-c", command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self.url = _printed_link(self._server)
        return self.url

    def kill(self) -> None:
        """`kill -9` the server, as a power cut would."""
        if self._server is not None:
            self._server.kill()
            self._server.wait(10)
            assert self._server.stdout is not None
            self._server.stdout.close()
            self._server = None

    def close(self) -> None:
        self.kill()
        self.store.close()


class Labeler:
    """A person in front of the page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @property
    def query_id(self) -> int:
        """The pair on the screen."""
        return int(self.page.locator("[data-query-id]").get_attribute("data-query-id") or 0)

    def wait_for_pair(self, other_than: int = 0, timeout_ms: float = 60_000) -> int:
        """Until a pair other than that one can be answered; its id."""
        self.page.locator(f"[data-query-id]:not([data-query-id='{other_than}'])").wait_for(timeout=timeout_ms)
        self.page.wait_for_timeout(DEAD_MS)
        return self.query_id

    def press(self, key: str) -> int:
        """Answer (or undo) by keyboard and wait for the next pair. The id of the pair that was on the screen."""
        shown = self.query_id
        self.page.keyboard.press(key)
        self.wait_for_pair(other_than=shown)
        return shown

    def saved(self, text: str) -> None:
        """Wait for the page to say that an answer is saved."""
        self.page.get_by_text(f"Saved: {text}").wait_for()


DEAD_MS = 270
"""A little longer than the page ignores answers after a swap."""


def _footage(number: int) -> Footage:
    """A small segment, different for each number; what the clip shows does not matter to the store."""
    frames = np.full((4 + LENGTH - 1, 8, 8), number % 256, np.uint8)
    frames[0, 0, 0], frames[0, 0, 1] = number // 256, number % 256
    action = np.zeros(LENGTH, np.int64)
    name = segment_id(frames, 10, action)
    segment = Segment(id=name, held=frames, age=10, action=action, env=0, step=1024, iteration=1)
    return Footage(segment, np.zeros((LENGTH, 1, 1, 3), np.uint8), np.zeros(LENGTH, np.float32))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _printed_link(server: subprocess.Popen[str], patience_s: float = 30.0) -> str:
    assert server.stdout is not None
    said = []
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if not select.select([server.stdout], [], [], 0.2)[0]:
            continue
        line = server.stdout.readline()
        said.append(line)
        if "#token=" in line:
            return next(word for word in line.split() if "#token=" in word)
        if line == "":
            break
    raise AssertionError(f"the label server printed no link:\n{''.join(said)}")
