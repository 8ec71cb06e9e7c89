"""The processor cores: how many this process may use, and which of its threads come last."""

from __future__ import annotations

import os
import sys
import threading

STEPS_BACK = 10
"""Of nice: a tenth of what another thread gets of a core that both want."""
LAST = 19


def available_cores() -> int:
    """At least 1. Fewer than the machine has where the process is bound to some of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def step_back() -> None:
    """From now on the calling thread gives way to others that want its core, and so do threads that it starts.

    For work that nobody waits for. Only on Linux does `os.setpriority` know threads; elsewhere nothing changes.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(LAST, os.getpriority(os.PRIO_PROCESS, thread) + STEPS_BACK))
