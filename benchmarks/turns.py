"""Programs that take turns on one machine: while one runs, the others are held. Knows no benchmark.

Each is started once and brought into its stride; then they run one after the other, again and again, so that whatever
else slows the machine slows them alike. Those that are compared closely cut their turns in parts, which alternate: what
slows the machine for half a minute then slows both. And they are started anew for each round, for two processes of one
program differ too, by a tenth and for as long as they live. A program tells how far it is by a `metrics.jsonl` with a
line a cycle of its work, and is held just after such a line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

Line = Mapping[str, Any]

STEP = "time/total_timesteps"
POLL_S = 0.005
"""How often a program is looked at; what it does between its line and our look counts for its next turn."""
PARTS = 5
"""Of a turn of those that are compared closely."""


class TurnError(Exception):
    """A program that ended, or that does not get on; the message names its log."""


@dataclass(frozen=True)
class Contender:
    """A program that is to take turns."""

    name: str
    words: tuple[str, ...]
    metrics: Path
    """Where it writes a line a cycle, with the steps played so far."""
    turn_s: float = 6.0
    """A turn lasts so long, and then to the end of the cycle."""
    turn_steps: int = 0
    """Nor does it end before so many steps: what a program does once in so many is in each of its turns."""
    warm: Callable[[Line], bool] = field(default=lambda line: True)
    """Whether the cycle that this line ends was one of those to be measured."""
    patience_s: float = 300.0
    """It may take so long to get warm, or to end a cycle."""


class Turn(NamedTuple):
    """What a program did while it was its turn."""

    steps: int
    seconds: float


class Running:
    """A contender under way, in a process group of its own."""

    def __init__(self, contender: Contender, cwd: Path, environment: Mapping[str, str]) -> None:
        self.contender, self.cwd, self.environment = contender, cwd, environment
        self.run_dir = contender.metrics.parent
        self.log = self.run_dir.with_name(self.run_dir.name + ".log")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.starts = 0
        self._start()

    def _start(self) -> None:
        with self.log.open("ab" if self.starts else "wb") as log:
            self.process = subprocess.Popen(
                self.contender.words,
                cwd=self.cwd,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1
        self.read = self.step = 0

    def start_anew(self) -> None:
        """End the process, put what it wrote aside, and bring another into its stride. TurnError if it had failed."""
        self._see_that_it_runs()
        self._end()
        self.run_dir.rename(self.run_dir.with_name(f"{self.run_dir.name}-{self.starts}"))
        self._start()
        self.warm_up()

    def warm_up(self) -> None:
        """Run until a cycle has ended that is like those to come, and hold. Who does not get there is ended."""
        until = time.monotonic() + self.contender.patience_s
        try:
            while not any(self.contender.warm(line) for line in self._lines()):
                self._wait(until)
        except TurnError:
            self._end()
            raise
        self._signal(signal.SIGSTOP)

    def turn(self, parts: int = 1) -> Turn:
        """Run for a turn, or for one of so many parts of it, and hold."""
        contender, began, before = self.contender, time.perf_counter(), self.step
        self._signal(signal.SIGCONT)
        spent = 0.0
        while spent < contender.turn_s / parts or self.step - before < contender.turn_steps / parts:
            until = time.monotonic() + contender.patience_s
            while not self._lines():
                self._wait(until)
            spent = time.perf_counter() - began
        self._signal(signal.SIGSTOP)
        return Turn(self.step - before, spent)

    def _lines(self) -> list[Line]:
        """The lines written since the last look."""
        path = self.contender.metrics
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(self.read)
            *whole, _ = file.read().split(b"\n")
        self.read += sum(len(line) + 1 for line in whole)
        lines = [json.loads(line) for line in whole]
        self.step = int(lines[-1][STEP]) if lines else self.step
        return lines

    def _wait(self, until: float) -> None:
        self._see_that_it_runs()
        if time.monotonic() > until:
            raise TurnError(
                f"{self.contender.name} has ended no cycle in {self.contender.patience_s:.0f} s: see {self.log}"
            )
        time.sleep(POLL_S)

    def _see_that_it_runs(self) -> None:
        if self.process.poll() is not None:
            raise TurnError(f"{self.contender.name} ended with exit code {self.process.returncode}: see {self.log}")

    def _end(self) -> None:
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number: int) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()


@contextmanager
def started(
    contenders: Iterable[Contender],
    cwd: Path,
    environment: Mapping[str, str],
    say: Callable[[str], None],
    *,
    together: bool = False,
) -> Iterator[dict[str, Running]]:
    """Those that can be brought into their stride, warm and held; they end with the block, and with this process.

    They get warm one after the other, or `together`, where there are cores enough.
    """
    running: dict[str, Running] = {}
    with ExitStack() as stack:
        # A held process cannot end by itself: whoever ends us must not leave it so.
        for number in (signal.SIGTERM, signal.SIGHUP):
            stack.callback(signal.signal, number, signal.signal(number, lambda n, _: sys.exit(128 + n)))
        begun = (stack.enter_context(Running(contender, cwd, environment)) for contender in contenders)
        for one in list(begun) if together else begun:
            contender = one.contender
            say(f"warming up: {contender.name}")
            try:
                one.warm_up()
                running[contender.name] = one
            except TurnError as error:
                say(str(error))
        yield running


def take_turns(
    running: Mapping[str, Running], rounds: int, say: Callable[[str], None], close: Collection[str] = ()
) -> dict[str, list[float]]:
    """Steps a second of each contender in each round, in which they run one after the other.

    In every other round they run in the opposite order. The `close` ones run together, when it is the first one's turn,
    each for a part of its turn and then the next, until all have had all parts; they are other processes in each round.
    Who fails in a round has no figure in it, nor in those after it.
    """
    speeds: dict[str, list[float]] = {name: [] for name in running}
    together = [name for name in running if name in close]
    groups = [together if name in close else [name] for name in running if name not in together[1:]]
    for number in range(rounds):
        for group in groups if number % 2 == 0 else groups[::-1]:
            if number and len(group) > 1:
                _start_anew(running, group if number % 2 == 0 else group[::-1], say)
            for name, turn in _alternate(running, group, say).items():
                speeds[name].append(turn.steps / turn.seconds)
        shown = (f"{name} {found[-1]:,.0f}" for name, found in speeds.items() if len(found) == number + 1)
        say(f"round {number + 1} of {rounds}: {', '.join(shown)}")
    return speeds


def _start_anew(running: Mapping[str, Running], names: Iterable[str], say: Callable[[str], None]) -> None:
    """Other processes of those that still run, one after the other."""
    for name in names:
        try:
            running[name].start_anew()
        except TurnError as error:
            say(str(error))


def _alternate(running: Mapping[str, Running], group: Sequence[str], say: Callable[[str], None]) -> dict[str, Turn]:
    """A turn of each, in parts if there are several, every other time in the opposite order; without those who fail."""
    turns = dict.fromkeys(group, Turn(0, 0.0))
    parts = PARTS if len(group) > 1 else 1
    for number in range(parts):
        for name in [name for name in group[:: 1 if number % 2 == 0 else -1] if name in turns]:
            try:
                steps, seconds = running[name].turn(parts)
                turns[name] = Turn(turns[name].steps + steps, turns[name].seconds + seconds)
            except TurnError as error:
                say(str(error))
                del turns[name]
    return turns
