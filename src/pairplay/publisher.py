"""Turn queries into rows that a labeler can see, beside the loop. Knows no learning."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Semaphore
from typing import NamedTuple

from pairplay.cores import available_cores, step_back
from pairplay.envs.base import Painter
from pairplay.helper import POSSIBLE
from pairplay.labels.records import NO_CLIP
from pairplay.labels.store import LabelStore
from pairplay.run.clips import encode, picture_stride, save_clip
from pairplay.run.encoders import Encoders
from pairplay.types import Array, Footage, Picture, Query

CORES_AN_ENCODER = 4
"""A clip of Atari takes a core 60 ms and more, and a training with a GPU may ask for twenty a second."""

Clips = tuple[Future[str], Future[str]]
"""The names of a query's clips, left and right, once they are encoded and on disk."""


_NOTHING: Future[str] = Future()
"""The name of a clip that is not drawn."""
_NOTHING.set_result(NO_CLIP)


class _Job(NamedTuple):
    drawn: Future[Clips]
    filed: Future[None]


class Publisher:
    """Draws, encodes and writes the clips of queries, then commits the rows that name them, in the order of `publish`.

    Workers wait for `begin`: Python runs one thread at a time, so they had better work while the loop waits for its
    environments than while it launches computations. One thread draws, so that a simulator's renderer lives in the
    thread that uses it, several encode where there are many cores, and one files. The queue is as long as the number of
    queries `publish` was given room for: ask `waiting` first. A failure in a worker is raised by the next call. `still`
    draws the middle picture of each clip only; without a painter nothing is drawn, and clips have no name. `aside`
    lets processes of their own encode, where that is possible.
    """

    def __init__(
        self,
        store: LabelStore,
        clips: Path,
        painter: Painter | None,
        *,
        clip_fps: float,
        still: bool = False,
        aside: bool = False,
    ) -> None:
        self._store = store
        self._clips = clips
        self._painter = painter
        self._every = picture_stride(clip_fps)
        self._clip_fps = clip_fps / self._every
        self._still = still
        encoders = max(1, available_cores() // CORES_AN_ENCODER)
        self._drawer, self._encoders, self._clerk = (
            ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=step_back)
            for threads, name in ((1, "drawing"), (encoders, "encoding"), (1, "filing"))
        )
        self._processes = Encoders(clips, encoders) if aside and POSSIBLE and painter is not None else None
        # Pictures that are drawn and not encoded yet fill memory: the drawer waits.
        self._room = Semaphore(encoders + 1)
        self._held: deque[tuple[Query, int]] = deque()
        """What is not begun yet, and when it was asked."""
        self._queue: deque[_Job] = deque()
        self._shas: dict[str, Future[str]] = {}
        self._broken = False

    @property
    def waiting(self) -> int:
        """Queries given to `publish` whose row is not committed yet."""
        while self._queue and self._queue[0].filed.done():
            self._collect()
        return len(self._queue) + len(self._held)

    def rehearse(self, captures: Array) -> None:
        """Draw and encode `[L, ...]` captures for nobody: what is missing on this machine shows now, not in an hour.

        Raises UserError, from the painter, that names what to install.
        """
        if self._painter is not None:
            self._drawer.submit(lambda painter: encode(painter.draw(captures), self._clip_fps), self._painter).result()

    def publish(self, query: Query, *, step: int) -> None:
        """Queue one query; returns at once."""
        self._held.append((query, step))

    def begin(self) -> None:
        """Let the workers draw and file what is queued; returns at once."""
        while self._held:
            query, step = self._held.popleft()
            drawn = self._drawer.submit(self._draw, query)
            self._queue.append(_Job(drawn, self._clerk.submit(self._file, query, step, drawn)))

    def flush(self) -> None:
        """Wait until every query is visible to labelers."""
        self.begin()
        while self._queue:
            self._collect()

    def close(self) -> None:
        """Finish what is queued, then stop the workers. After a failure that was raised, what is queued is dropped."""
        if self._broken:
            for job in self._queue:
                job.drawn.cancel()
                job.filed.cancel()
            self._queue.clear()
            self._held.clear()
        self.begin()
        if self._painter is not None:
            self._drawer.submit(self._painter.close)
        workers = (self._drawer, self._encoders, self._clerk)
        try:
            for worker in workers:
                worker.shutdown(wait=True)
        except BaseException:
            # Somebody does not want to wait: nobody may wait for whoever is gone.
            for worker in workers:
                worker.shutdown(wait=False, cancel_futures=True)
            raise
        if self._processes is not None:
            self._processes.close()
        self.flush()

    def _collect(self) -> None:
        try:
            self._queue.popleft().filed.result()
        except BaseException:
            self._broken = True
            raise

    def _draw(self, query: Query) -> Clips:
        if self._painter is None:
            return _NOTHING, _NOTHING
        return self._clip(query.left, self._painter), self._clip(query.right, self._painter)

    def _clip(self, footage: Footage, painter: Painter) -> Future[str]:
        """A segment is drawn and encoded once, in however many queries it stands."""
        name = footage.segment.id
        if name not in self._shas:
            middle = len(footage.captures) // 2
            shown = footage.captures[middle : middle + 1] if self._still else footage.captures[:: self._every]
            self._room.acquire()
            try:
                self._shas[name] = self._encoders.submit(self._encode, painter.draw(shown))
            except BaseException:
                self._room.release()
                raise
        return self._shas[name]

    def _encode(self, pictures: Picture) -> str:
        try:
            if self._processes is not None:
                return self._processes(pictures, self._clip_fps)
            return save_clip(self._clips, encode(pictures, self._clip_fps))
        finally:
            self._room.release()

    def _file(self, query: Query, step: int, drawn: Future[Clips]) -> None:
        left, right = (clip.result() for clip in drawn.result())
        # Row last: a query must never point at a clip that is not on disk yet.
        self._store.add_query(query, left_clip=left, right_clip=right, step=step)
