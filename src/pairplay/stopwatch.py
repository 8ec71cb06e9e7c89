"""Where the time of a loop goes, phase by phase. Measures; decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

OTHER = "other"
"""The phase of whatever is in no phase of its own."""


class Stopwatch:
    """Every moment belongs to one phase: within `phase(a)`, what `phase(b)` takes is counted for b alone.

    So the phases of a lap add up to the time that it took. Costs about a microsecond a phase; not for several threads.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._current = OTHER
        self._since = clock()
        self._seconds: dict[str, float] = {}
        self.total: dict[str, float] = {}
        """Seconds by phase over all laps."""
        self.label: Callable[[str], AbstractContextManager[object]] | None = None
        """Wrapped around each phase, so that a tracer can tell them apart."""

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Count what happens inside for `name`."""
        return _Phase(self, name)

    def lap(self) -> dict[str, float]:
        """Seconds by phase since the last lap, in the order in which they first began."""
        self.switch(self._current)
        seconds, self._seconds = self._seconds, {}
        for name, spent in seconds.items():
            self.total[name] = self.total.get(name, 0.0) + spent
        return seconds

    def switch(self, name: str) -> str:
        """From now on count for `name`; returns what was counted for until now."""
        now, before = self._clock(), self._current
        self._seconds[before] = self._seconds.get(before, 0.0) + now - self._since
        self._current, self._since = name, now
        return before


class _Phase(AbstractContextManager[None]):
    def __init__(self, stopwatch: Stopwatch, name: str) -> None:
        self._stopwatch = stopwatch
        self._name = name
        self._label = stopwatch.label(name) if stopwatch.label else None

    def __enter__(self) -> None:
        self._outer = self._stopwatch.switch(self._name)
        if self._label is not None:
            self._label.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._label is not None:
            self._label.__exit__(kind, error, trace)
        self._stopwatch.switch(self._outer)
