"""Turn queries into rows that a labeler can see, in a background worker. Knows no learning."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from pairplay.envs.base import Painter
from pairplay.labels.records import NO_CLIP
from pairplay.labels.store import LabelStore
from pairplay.run.clips import encode, picture_stride, save_clip
from pairplay.types import Array, Footage, Query


class Publisher:
    """Draws, encodes and writes the clips of queries, then commits the rows that name them.

    One thread, so that a simulator's renderer lives in the thread that uses it. The queue is as long as the number
    of queries `publish` was given room for: ask `waiting` first. A failure in the worker is raised by the next call.
    `still` draws the middle picture of each clip only; without a painter nothing is drawn, and clips have no name.
    """

    def __init__(
        self, store: LabelStore, clips: Path, painter: Painter | None, *, clip_fps: float, still: bool = False
    ) -> None:
        self._store = store
        self._clips = clips
        self._painter = painter
        self._every = picture_stride(clip_fps)
        self._clip_fps = clip_fps / self._every
        self._still = still
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="clips")
        self._queue: deque[Future[None]] = deque()
        self._shas: dict[str, str] = {}
        self._broken = False

    @property
    def waiting(self) -> int:
        """Queries given to `publish` whose row is not committed yet."""
        while self._queue and self._queue[0].done():
            self._collect()
        return len(self._queue)

    def rehearse(self, captures: Array) -> None:
        """Draw and encode `[L, ...]` captures for nobody: what is missing on this machine shows now, not in an hour.

        Raises UserError, from the painter, that names what to install.
        """
        if self._painter is not None:
            self._worker.submit(lambda painter: encode(painter.draw(captures), self._clip_fps), self._painter).result()

    def publish(self, query: Query, *, step: int) -> None:
        """Queue one query; returns at once."""
        self._queue.append(self._worker.submit(self._develop, query, step))

    def flush(self) -> None:
        """Wait until every query is visible to labelers."""
        while self._queue:
            self._collect()

    def close(self) -> None:
        """Finish what is queued, then stop the worker. After a failure that was raised, what is queued is dropped."""
        if self._broken:
            for queued in self._queue:
                queued.cancel()
            self._queue.clear()
        if self._painter is not None:
            self._worker.submit(self._painter.close)
        self._worker.shutdown(wait=True)
        self.flush()

    def _collect(self) -> None:
        try:
            self._queue.popleft().result()
        except BaseException:
            self._broken = True
            raise

    def _develop(self, query: Query, step: int) -> None:
        left, right = self._clip(query.left), self._clip(query.right)
        # Row last: a query must never point at a clip that is not on disk yet.
        self._store.add_query(query, left_clip=left, right_clip=right, step=step)

    def _clip(self, footage: Footage) -> str:
        """A segment is drawn and encoded once, in however many queries it stands."""
        if self._painter is None:
            return NO_CLIP
        name = footage.segment.id
        if name not in self._shas:
            middle = len(footage.captures) // 2
            shown = footage.captures[middle : middle + 1] if self._still else footage.captures[:: self._every]
            pictures = self._painter.draw(shown)
            self._shas[name] = save_clip(self._clips, encode(pictures, self._clip_fps))
        return self._shas[name]
