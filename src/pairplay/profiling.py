"""Where the time of a run went: a table of its phases, and a trace of two iterations. Changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

from rich.table import Table
from torch.profiler import profile, record_function

from pairplay.stopwatch import Stopwatch
from pairplay.trainer import Snapshot

WARM_UP = 2
"""Iterations of learning before the trace: the first are slower than those that follow."""
TRACED = 2

MEANINGS = {
    "collect": "rollouts, beside the next three; cutting segments",
    "film": "states or pictures kept for clips",
    "act": "the policy chooses actions",
    "step": "the environments",
    "relabel": "the reward model pays for the rollout",
    "update": "PPO",
    "ask": "choosing and publishing queries, synthetic answers",
    "watch": "accuracy, calibration, alarms",
    "fit": "the reward model learns from the answers",
    "record": "metrics",
    "save": "checkpoints",
    "wait": "waiting for a person (--queries.behind)",
    "trace": "writing the trace itself",
}


class Profiler:
    """To be called after each iteration; `finish` gives the table."""

    def __init__(self, stopwatch: Stopwatch, trace: Path) -> None:
        """`trace` is where the trace is written, in the format of Chrome's tracing and of Perfetto."""
        self._stopwatch = stopwatch
        self._path = trace
        self._learnt = 0
        self._profile: profile | None = None

    def __call__(self, snapshot: Snapshot) -> None:
        self._learnt += snapshot.phase == "learning"
        if self._learnt == WARM_UP and self._profile is None:
            os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or it reports its own beginning and end
            self._profile = profile()
            self._profile.start()
            self._stopwatch.label = record_function
        elif self._learnt == WARM_UP + TRACED and self._profile is not None:
            self._stop()

    def _stop(self) -> None:
        assert self._profile is not None
        with self._stopwatch.phase("trace"):
            self._stopwatch.label = None
            self._profile.stop()
            self._profile.export_chrome_trace(str(self._path))

    def finish(self) -> Table:
        """The shares of the time by phase, the longest first; says where the trace is, or why there is none."""
        if self._profile is not None and self._stopwatch.label is not None:
            self._stop()  # the run ended while it was traced
        self._stopwatch.lap()
        total = self._stopwatch.total
        everything = sum(total.values())
        caption = f"Trace of {TRACED} iterations: {self._path} (open it at https://ui.perfetto.dev)"
        if self._profile is None:
            caption = f"No trace: it begins after {WARM_UP} iterations of learning"
        table = Table("phase", "seconds", "share", "", title="Where the time went", title_justify="left")
        table.caption, table.caption_justify = caption, "left"
        for name, spent in sorted(total.items(), key=lambda item: -item[1]):
            table.add_row(name, f"{spent:,.1f}", f"{spent / everything:.1%}", MEANINGS.get(name, ""))
        table.add_row("all", f"{everything:,.1f}", "", "", end_section=True)
        return table
