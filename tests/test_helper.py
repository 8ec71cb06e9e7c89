"""A process beside ours: it answers, says what went wrong, hears no Ctrl-C, and never stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pairplay.helper import Helper, shared_memory
from pairplay.types import UserError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="elsewhere no process inherits what it is spoken to through")

PROGRAM = """
import os, sys, time
from pairplay.helper import serve
from pairplay.types import UserError

def do(command):
    if command == b"user":
        raise UserError("say it otherwise")
    if command == b"bug":
        raise KeyError("no such thing")
    if command == b"long":
        time.sleep(60)
    if command == b"die":
        os._exit(7)
    return command[::-1] + os.pread(int(sys.argv[2]), 4, 0)

serve(int(sys.argv[1]), do)
"""


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = shared_memory()
    os.pwrite(descriptor, b" ok.", 0)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def helper(memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Helper]:
    (tmp_path / "backwards.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    made = Helper("backwards", memory, memory=memory, does="says things backwards", patience_s=1.0)
    yield made
    made.close()


def test_it_does_what_it_is_told_with_what_lies_in_memory(helper: Helper, memory: int) -> None:
    assert helper.answer() == b"", "nothing was asked"
    helper.ask(b"abc")
    assert helper.answer() == b"cba ok."
    helper.ask(b"first")
    helper.ask(b"second")
    assert helper.answer() == b"dnoces ok."
    os.pwrite(memory, b" new", 0)
    helper.ask(b"")
    assert helper.answer() == b" new"


def test_no_file_of_the_working_directory_takes_a_librarys_place(
    memory: int, helper: Helper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "subprocess.py").write_text("raise SystemExit('not the library')")
    monkeypatch.chdir(tmp_path / "here")
    here = Helper("backwards", memory, memory=memory, does="says things backwards", patience_s=1.0)
    here.ask(b"abc")
    assert here.answer() == b"cba ok."
    here.close()


def test_what_goes_wrong_there_is_raised_here_and_it_goes_on(helper: Helper) -> None:
    helper.ask(b"user")
    with pytest.raises(UserError, match="say it otherwise"):
        helper.answer()
    helper.ask(b"bug")
    with pytest.raises(RuntimeError, match="KeyError: 'no such thing'"):
        helper.answer()
    helper.ask(b"abc")
    assert helper.answer() == b"cba ok."


def test_one_that_has_ended_says_so(helper: Helper) -> None:
    helper.ask(b"die")
    with pytest.raises(ChildProcessError, match=r"a process that says things backwards has ended \(exit code 7\)"):
        helper.answer()
    with pytest.raises(ChildProcessError, match="exit code 7"):
        helper.ask(b"abc")


def test_it_hears_neither_ctrl_c_nor_a_request_to_end(helper: Helper) -> None:
    helper.ask(b"abc")
    helper.answer()
    assert os.getpgid(helper._process.pid) != os.getpgid(0), "a terminal interrupts the group"
    assert os.getsid(helper._process.pid) == os.getsid(0), "Linux shares cores out between sessions first"
    for interruption in (signal.SIGINT, signal.SIGTERM):
        helper._process.send_signal(interruption)
    helper.ask(b"abc")
    assert helper.answer() == b"cba ok."


def test_closing_lets_it_end_and_waits_for_no_work(helper: Helper) -> None:
    helper.ask(b"abc")
    helper.close()
    assert helper._process.returncode == 0
    helper.close()


def test_whoever_is_busy_is_ended(memory: int, helper: Helper) -> None:
    busy = Helper("backwards", memory, memory=memory, does="sleeps", patience_s=0.2)
    busy.ask(b"long")
    began = time.monotonic()
    busy.close()
    assert time.monotonic() - began < 5
    assert busy._process.returncode == -signal.SIGKILL


def test_nobody_is_left_behind(helper: Helper, tmp_path: Path) -> None:
    """Whether its user forgets it or is killed."""
    program = (
        "import os, pathlib\n"
        "from pairplay.helper import Helper, shared_memory\n"
        "memory = shared_memory()\n"
        "helper = Helper('backwards', memory, memory=memory, does='', patience_s=1.0)\n"
        "helper.ask(b'')\n"
        "helper.answer()\n"
        "pathlib.Path('pid').write_text(str(helper._process.pid))\n"
    )
    for end, code in (("", 0), (f"os.kill(os.getpid(), {int(signal.SIGKILL)})", -signal.SIGKILL)):
        ended = subprocess.run([sys.executable, "-c", program + end], cwd=tmp_path, check=False)
        assert ended.returncode == code
        assert gone(int((tmp_path / "pid").read_text()))


def gone(pid: int, within_s: float = 10.0) -> bool:
    """Whether that process ends."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            # A zombie has ended; whoever adopted it has not looked yet.
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False
