"""Threads that come last."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pairplay import cores
from pairplay.cores import LAST, STEPS_BACK, sleep_while_waiting, step_back, take_what_is_left


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


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing changes")
def test_a_thread_that_takes_what_is_left_takes_nobody_along() -> None:
    with ThreadPoolExecutor(1, initializer=take_what_is_left) as last, ThreadPoolExecutor(1) as beside:
        assert last.submit(os.sched_getscheduler, 0).result() == os.SCHED_IDLE
        assert beside.submit(os.sched_getscheduler, 0).result() == os.SCHED_OTHER
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is asked of the system")
def test_where_that_is_forbidden_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object) -> None:
        raise PermissionError("not here")

    monkeypatch.setattr(os, "sched_setscheduler", forbid)
    take_what_is_left()


def test_where_threads_have_no_priority_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(os, "setpriority")
    monkeypatch.delattr(os, "sched_setscheduler", raising=False)
    step_back()
    take_what_is_left()


@pytest.mark.parametrize(
    ("count", "before", "after"), [(2, None, "PASSIVE"), (3, "ACTIVE", "ACTIVE"), (4, None, None), (1, None, "PASSIVE")]
)
def test_on_few_cores_threads_that_wait_sleep(
    monkeypatch: pytest.MonkeyPatch, count: int, before: str | None, after: str | None
) -> None:
    monkeypatch.setattr(cores, "available_cores", lambda: count)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if before is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", before)
    sleep_while_waiting()
    found = os.environ.pop("OMP_WAIT_POLICY", None)
    assert found == after


def test_the_command_decides_that_before_torch_is_imported() -> None:
    program = (
        "import os, sys\n"
        "import pairplay.cores\n"
        "pairplay.cores.available_cores = lambda: 2\n"
        "import pairplay.cli as cli\n"
        "def look(words):\n"
        "    print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])\n"
        "    return 0\n"
        "cli.COMMANDS['train'] = look, ''\n"
        "cli.main(['train'])\n"
    )
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    said = subprocess.run([sys.executable, "-c", program], env=kept, check=True, capture_output=True, text=True)
    assert said.stdout.split() == ["False", "PASSIVE"]
