"""One trainer a run: a lock that the kernel gives back when the trainer dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pairplay.run.layout import RunDir
from pairplay.types import UserError

_PATIENCE_S = 0.5


@contextmanager
def trainer_lock(run: RunDir) -> Iterator[None]:
    """Hold the right to train `run`. UserError with the other trainer's pid when somebody has it.

    The lock lasts as long as this process *and every child forked from it* (not started afresh) lives.
    """
    descriptor = os.open(run.trainer_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        # A moment's patience: `trainer_pid` in another process takes the lock for an instant to look at it.
        deadline = time.monotonic() + _PATIENCE_S
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise UserError(
                    f"{run.path} is being trained by process {_read_pid(descriptor) or '?'}: "
                    "stop that one first, or train another run"
                )
            time.sleep(0.02)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        # The file stays: removing it would let two trainers hold two files of the same name.
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def trainer_pid(run: RunDir) -> int | None:
    """The process that is training `run` now, or None. 0 when it holds the lock but has not signed yet."""
    try:
        descriptor = os.open(run.trainer_lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if _try_lock(descriptor) else _read_pid(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_pid(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else 0
