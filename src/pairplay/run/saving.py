"""Write checkpoints beside the loop, one at a time: what they hold is taken at once, and written while play goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

from pairplay.cores import step_back
from pairplay.run.checkpoint import finite, plain, save
from pairplay.types import Array

Part = tuple[Mapping[str, Tensor | Array], Mapping[str, Any]]
"""Some of a checkpoint's tensors, and some of its state."""


def nothing() -> Part:
    """A part of which there is none."""
    return {}, {}


class Saver:
    """Saves into one directory. A failure is raised by the next call: OSError for a full disk, say."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="saving", initializer=step_back)
        self._under_way: Future[Path] | None = None

    def begin(
        self,
        step: int,
        tensors: Mapping[str, Tensor | Array],
        state: Mapping[str, Any],
        later: Callable[[], Part] = nothing,
    ) -> None:
        """Save checkpoint `step` of copies of `tensors` and `state`, and of what `later` gives in another thread.

        So `later` is for what takes long and will not change. Waits for the checkpoint before.
        """
        self.finish()
        now = {name: plain(tensor) for name, tensor in tensors.items()}, finite(state)
        self._under_way = self._writer.submit(self._write, step, now, later)

    def finish(self) -> None:
        """Wait until what was begun is on disk."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def close(self) -> None:
        """Wait for what was begun, whatever comes of it."""
        self._writer.shutdown(wait=True)

    def _write(self, step: int, now: Part, later: Callable[[], Part]) -> Path:
        tensors, state = later()
        return save(self._directory, step, {**now[0], **tensors}, {**now[1], **state})
