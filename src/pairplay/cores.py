"""The processor cores: how many this process may use, which of its threads come last, and how they wait."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

STEPS_BACK = 10
"""Of nice: a tenth of what another thread gets of a core that both want."""
LAST = 19
PLENTY = 4
"""Cores: what is computed in halves then has two threads for each."""


def available_cores() -> int:
    """At least 1. Fewer than the machine has where the process is bound to some of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def sleep_while_waiting() -> None:
    """Let threads that share one of torch's operations sleep once it is done. To be called before torch is imported.

    They would look for the next one for some milliseconds, on a core that on small machines somebody else needs. Where
    there are many cores they may: there they are called again at once. OMP_WAIT_POLICY, if it is set, stays.
    """
    if available_cores() < PLENTY:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def step_back() -> None:
    """From now on the calling thread gives way to others that want its core, and so do threads that it starts.

    For work that nobody waits for. Only on Linux does `os.setpriority` know threads; elsewhere nothing changes.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(LAST, os.getpriority(os.PRIO_PROCESS, thread) + STEPS_BACK))


def take_what_is_left() -> None:
    """From now on the calling thread computes while nobody else wants its core: whoever wakes takes it at once.

    For work that somebody else would do if it took too long: beside another program that is always busy it gets three
    thousandths of a core. A user cannot take it back. Only on Linux; elsewhere, or where it is forbidden, nothing
    changes.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
