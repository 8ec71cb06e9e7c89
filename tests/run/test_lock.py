"""One trainer a run; the lock dies with its holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pairplay.run.layout import RunDir
from pairplay.run.lock import trainer_lock, trainer_pid
from pairplay.types import UserError

HOLD = """
import sys, time
from pathlib import Path
from pairplay.run.layout import RunDir
from pairplay.run.lock import trainer_lock
with trainer_lock(RunDir(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


def test_lock_is_seen_while_held_and_gone_after(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert trainer_pid(run) is None
    with trainer_lock(run):
        assert trainer_pid(run) == os.getpid()
        assert trainer_pid(run) == os.getpid()  # looking does not take it
    assert trainer_pid(run) is None
    with trainer_lock(run):
        pass


def test_second_trainer_is_refused_by_pid_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"process {other.pid}:"), trainer_lock(run):
            pass
        assert trainer_pid(run) == other.pid
        other.send_signal(signal.SIGKILL)
    assert trainer_pid(run) is None
    with trainer_lock(run):
        assert trainer_pid(run) == os.getpid()


def test_an_error_inside_gives_the_lock_back(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with pytest.raises(ZeroDivisionError), trainer_lock(run):
        raise ZeroDivisionError
    assert trainer_pid(run) is None
