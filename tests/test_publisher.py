"""A query becomes visible whole, and a failure in the worker is not swallowed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from threading import Lock

import numpy as np
import pytest

from pairplay.envs.base import PicturePainter
from pairplay.labels.store import LabelStore
from pairplay.packing import segment_id
from pairplay.publisher import Publisher
from pairplay.run.clips import decode, encode
from pairplay.types import Array, Footage, Picture, Query, Segment

ROOT = Path(__file__).resolve().parent.parent


def footage(seed: int) -> Footage:
    noise = np.random.default_rng(seed)
    frames = noise.integers(0, 255, (4, 8, 8), dtype=np.uint8)
    action = noise.integers(0, 4, 4)
    segment = Segment(segment_id(frames, 0, action), frames, 0, action, env=0, step=0, iteration=0)
    return Footage(segment, noise.integers(0, 255, (4, 32, 32, 3), dtype=np.uint8), np.zeros(4, np.float32))


def query(left: int, right: int) -> Query:
    return Query(footage(left), footage(right), "uniform", 0.0, "Which?")


class CountingPainter(PicturePainter):
    drawn = 0

    def draw(self, captures: Array) -> Picture:
        self.drawn += 1
        return captures


class BrokenPainter(PicturePainter):
    def draw(self, captures: Array) -> Picture:
        raise RuntimeError("no paint")


def test_a_query_is_visible_only_after_its_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LabelStore.open(tmp_path / "labels.db") as store:
        publisher = Publisher(store, tmp_path, PicturePainter(), clip_fps=15.0)
        add, clips_on_disk = store.add_query, []

        def spy(query: Query, *, left_clip: str, right_clip: str, step: int) -> int:
            clips_on_disk.append(all((tmp_path / f"{sha}.mp4").exists() for sha in (left_clip, right_clip)))
            return add(query, left_clip=left_clip, right_clip=right_clip, step=step)

        monkeypatch.setattr(store, "add_query", spy)
        publisher.publish(query(0, 1), step=5)
        publisher.publish(query(0, 2), step=5)
        publisher.flush()
        publisher.close()
        assert clips_on_disk == [True, True]
        assert store.counts().pending == 2


def test_workers_wait_until_they_may_begin(tmp_path: Path) -> None:
    with LabelStore.open(tmp_path / "labels.db") as store:
        painter = CountingPainter()
        publisher = Publisher(store, tmp_path, painter, clip_fps=15.0)
        publisher.publish(query(0, 1), step=0)
        publisher.publish(query(0, 2), step=0)
        publisher._drawer.submit(lambda: None).result()
        assert painter.drawn == 0
        assert publisher.waiting == 2
        publisher.begin()
        publisher.publish(query(0, 3), step=0)
        publisher._clerk.submit(lambda: None).result()
        assert (painter.drawn, publisher.waiting, store.counts().asked) == (3, 1, 2)
        publisher.close()
        assert (painter.drawn, publisher.waiting, store.counts().asked) == (4, 0, 3)


def test_a_segment_is_drawn_once(tmp_path: Path) -> None:
    with LabelStore.open(tmp_path / "labels.db") as store:
        painter = CountingPainter()
        publisher = Publisher(store, tmp_path, painter, clip_fps=15.0)
        for right in (1, 2, 3):
            publisher.publish(query(0, right), step=0)
        publisher.close()
        assert painter.drawn == 4
        assert publisher.waiting == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere os.setpriority knows processes, not threads")
def test_whoever_plays_comes_before_whoever_draws(tmp_path: Path) -> None:
    priorities = []

    class Noting(PicturePainter):
        def draw(self, captures: Array) -> Picture:
            priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return captures

    ours = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    with LabelStore.open(tmp_path / "labels.db") as store:
        publisher = Publisher(store, tmp_path, Noting(), clip_fps=15.0)
        publisher.publish(query(0, 1), step=0)
        publisher.close()
    assert len(priorities) == 2
    assert min(priorities) > ours


def test_rows_keep_the_order_in_which_they_were_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever clip is encoded first: training depends on the numbers of queries. Few pictures wait meanwhile."""
    monkeypatch.setattr("pairplay.publisher.available_cores", lambda: 16)
    delays, ahead, most = iter([0.3, 0.0, 0.0, 0.2, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]), 0, 0
    lock = Lock()

    class Painter(PicturePainter):
        def draw(self, captures: Array) -> Picture:
            nonlocal ahead, most
            with lock:
                ahead += 1
                most = max(most, ahead)
            return captures

    def slow(pictures: Picture, fps: float) -> bytes:
        nonlocal ahead
        with lock:
            delay = next(delays)
        time.sleep(delay)
        with lock:
            ahead -= 1
        return encode(pictures, fps)

    monkeypatch.setattr("pairplay.publisher.encode", slow)
    with LabelStore.open(tmp_path / "labels.db") as store:
        publisher = Publisher(store, tmp_path, Painter(), clip_fps=15.0)
        asked = [query(2 * i, 2 * i + 1) for i in range(6)]
        for number, one in enumerate(asked):
            publisher.publish(one, step=number)
        publisher.close()
        assert [pair.left_id for pair in store.asked_pairs(after=0)] == [one.left.segment.id for one in asked]
    assert 2 <= most <= 5, "four encoders, and one picture that waits for the next"


def test_a_failure_in_the_worker_reaches_the_trainer(tmp_path: Path) -> None:
    with LabelStore.open(tmp_path / "labels.db") as store:
        publisher = Publisher(store, tmp_path, BrokenPainter(), clip_fps=15.0)
        publisher.publish(query(0, 1), step=0)
        with pytest.raises(RuntimeError, match="no paint"):
            publisher.flush()
        publisher.close()
        assert store.counts().asked == 0


def test_several_failures_are_raised_once_and_closing_raises_none(tmp_path: Path) -> None:
    with LabelStore.open(tmp_path / "labels.db") as store:
        publisher = Publisher(store, tmp_path, BrokenPainter(), clip_fps=15.0)
        for right in (1, 2, 3):
            publisher.publish(query(0, right), step=0)
        with pytest.raises(RuntimeError, match="no paint"):
            publisher.flush()
        publisher.close()
        assert publisher.waiting == 0


@pytest.mark.parametrize("cores", [2, 16])
@pytest.mark.parametrize("fails", ["draw", "encode", "save_clip"])
def test_more_failures_than_pictures_may_wait_end_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, fails: str
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr("pairplay.publisher.available_cores", lambda: cores)
    painter = PicturePainter()
    if fails == "draw":
        monkeypatch.setattr(painter, "draw", broken)
    else:
        monkeypatch.setattr(f"pairplay.publisher.{fails}", broken)
    with LabelStore.open(tmp_path / "labels.db") as store:
        publisher = Publisher(store, tmp_path, painter, clip_fps=15.0)
        for i in range(8):
            publisher.publish(query(i, i + 1), step=0)
        for _ in range(8):
            with pytest.raises(OSError, match="no room"):
                publisher.flush()
        publisher.close()
        assert store.counts().asked == 0


@pytest.mark.parametrize("how", ["exit", "interrupt"])
def test_nobody_waits_for_ever_for_a_publisher_that_was_not_closed(tmp_path: Path, how: str) -> None:
    program = f"""
import time, numpy as np
from pathlib import Path
from pairplay.labels.store import LabelStore
from pairplay.publisher import Publisher
from pairplay.envs.base import PicturePainter
import pairplay.publisher
from tests.test_publisher import query
pairplay.publisher.available_cores = lambda: 2
encode = pairplay.publisher.encode
pairplay.publisher.encode = lambda *a: (time.sleep(0.2), encode(*a))[1]
publisher = Publisher(LabelStore.open(Path("labels.db")), Path("."), PicturePainter(), clip_fps=15.0)
for i in range(6):
    publisher.publish(query(2 * i, 2 * i + 1), step=0)
if {how!r} == "interrupt":
    import signal, threading, os
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    publisher.close()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        timeout=60,
        capture_output=True,
        check=False,
    )
    assert ended.returncode in ((0,) if how == "exit" else (1, 130, -2)), ended.stderr.decode()


def test_clips_of_games_are_encoded_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairplay.publisher.encode", None)  # nobody encodes here
    with LabelStore.open(tmp_path / "labels.db") as store:
        publisher = Publisher(store, tmp_path, PicturePainter(), clip_fps=15.0, aside=True)
        for right in (1, 2):
            publisher.publish(query(0, right), step=0)
        publisher.flush()
        assert store.counts().asked == 2
        assert sorted(len(decode(path)) for path in tmp_path.glob("*.mp4")) == [4, 4, 4]
        assert publisher._processes is not None
        encoder = publisher._processes._free.get()
        publisher._processes._free.put(encoder)
        encoder.helper._process.kill()
        publisher.publish(query(3, 4), step=0)
        with pytest.raises(ChildProcessError, match="encoded clips has ended"):
            publisher.flush()
        publisher.close()
        assert encoder.helper._process.returncode is not None


def test_fast_simulators_are_thinned_to_what_a_person_sees(tmp_path: Path) -> None:
    with LabelStore.open(tmp_path / "labels.db") as store:
        publisher = Publisher(store, tmp_path, PicturePainter(), clip_fps=60.0)
        publisher.publish(query(0, 1), step=0)
        publisher.close()
        assert [len(decode(path)) for path in tmp_path.glob("*.mp4")] == [2, 2]


def test_what_cannot_be_drawn_shows_at_the_start(tmp_path: Path) -> None:
    with LabelStore.open(tmp_path / "labels.db") as store:
        publisher = Publisher(store, tmp_path, BrokenPainter(), clip_fps=15.0)
        with pytest.raises(RuntimeError, match="no paint"):
            publisher.rehearse(footage(0).captures)
        publisher.close()
