"""Threads that come last."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pairplay.cores import LAST, STEPS_BACK, step_back


def nice() -> int:
    """Of the calling thread."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere os.setpriority knows processes, not threads")
def test_a_thread_that_steps_back_takes_along_what_it_starts_and_nobody_else() -> None:
    before = nice()
    with ThreadPoolExecutor(1, initializer=step_back) as behind, ThreadPoolExecutor(1) as beside:
        assert behind.submit(nice).result() == min(LAST, before + STEPS_BACK)
        with behind.submit(ThreadPoolExecutor, 1).result() as started:
            assert behind.submit(lambda: started.submit(nice).result()).result() == min(LAST, before + STEPS_BACK)
        assert beside.submit(nice).result() == before
        behind.submit(step_back).result()
        assert behind.submit(nice).result() == LAST, "nobody can step back further"
    assert nice() == before


def test_where_threads_have_no_priority_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(os, "setpriority")
    step_back()
