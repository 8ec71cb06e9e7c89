"""A process that helps this one: it does what it is told, one thing at a time. Knows no work of its own.

Not by `multiprocessing`: its children import the program that was started, which need not expect that.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

from pairplay.types import UserError

POSSIBLE = os.name == "posix"
"""Elsewhere a process does not inherit the descriptors through which it is spoken to."""
DONE, FAILED = b"+", b"-"
"""How an answer begins."""
ENDING_S = 5.0
"""How long a process that speaks no more may take to end."""


class Helper:
    """The process, as seen from here. It ends when nobody can speak to it any more, and hears no Ctrl-C: that is for
    the run, which ends its helpers when it has saved.
    """

    def __init__(self, module: str, *arguments: object, memory: int, does: str, patience_s: float) -> None:
        """Starts `python -m module`, which is to call `serve` with its arguments behind the descriptor of a connection.

        It inherits `memory`, a descriptor. `does` completes "a process that … has ended". What it is doing when it is
        closed it may finish for so many seconds.
        """
        ours, theirs = socket.socketpair()
        self._does = does
        with theirs:
            # -P: no file of the working directory takes the place of a library's.
            words = [sys.executable, "-P", "-m", module, str(theirs.fileno()), *map(str, arguments)]
            # A group of its own, which a terminal does not interrupt. Not a session: Linux shares cores out between
            # sessions first, and would not let this one come last.
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(), memory), process_group=0
            )
        self._connection = Connection(ours.detach())
        self._asked = False
        # Whoever forgets to close should not be left with processes.
        self._end = weakref.finalize(self, _end, self._connection, self._process, patience_s)

    def ask(self, command: bytes) -> None:
        """Give it something to do, once it has done what it was asked before."""
        self.answer()
        try:
            self._connection.send_bytes(command)
        except OSError as error:
            raise self._death() from error
        self._asked = True

    def idle(self, within_s: float = 0.0) -> bool:
        """Whether it has done what it was asked, or will have in so many seconds."""
        return not self._asked or self._connection.poll(within_s)

    def answer(self) -> bytes:
        """Wait until it has done what it was asked, and hear what came of it. Raises what went wrong there."""
        if not self._asked:
            return b""
        self._asked = False
        try:
            said = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._death() from error
        if said.startswith(DONE):
            return said.removeprefix(DONE)
        wrong = json.loads(said.removeprefix(FAILED))
        raise UserError(wrong["text"]) if wrong["users"] else RuntimeError(wrong["text"])

    def close(self) -> None:
        self._end()

    def _death(self) -> ChildProcessError:
        code = self._process.wait(ENDING_S)
        return ChildProcessError(f"a process that {self._does} has ended (exit code {code}). Resume the run")


def serve(descriptor: int, do: Callable[[bytes], bytes]) -> None:
    """In the helper: do what is asked, and say what came of it or what went wrong, until nobody asks any more."""
    for interruption in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interruption, signal.SIG_IGN)
    # The other side may have ended, or have been killed, in the middle of anything.
    with suppress(EOFError, ConnectionError), Connection(descriptor) as connection:
        while True:
            command = connection.recv_bytes()
            try:
                said = DONE + do(command)
            except UserError as error:
                said = _failed(str(error), users=True)
            except Exception:  # noqa: BLE001 - whatever it is, the run has to hear of it
                said = _failed(traceback.format_exc(), users=False)
            connection.send_bytes(said)


def shared_memory() -> int:
    """The descriptor of a file that no folder shows, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("pairplay")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _failed(text: str, *, users: bool) -> bytes:
    return FAILED + json.dumps({"users": users, "text": text}).encode()


def _end(connection: Connection, process: subprocess.Popen[bytes], patience_s: float) -> None:
    connection.close()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
