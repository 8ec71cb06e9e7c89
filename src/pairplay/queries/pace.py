"""Whether to play on when the person who answers is behind schedule. Pure, but for a wait that is handed its clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pairplay.types import UserError

Behind = Literal["continue", "slow", "pause"]

SLOW_S = 3.0
"""Seconds to wait for each second of work when playing slowly: a quarter of the speed."""
POLL_S = 0.25
TELL_S = 10.0
"""How often a wait says that it goes on: whoever watches takes half a minute of silence for death."""


@dataclass(frozen=True)
class Verdict:
    """What to do before the next iteration."""

    state: Literal["go", "slow", "wait"]
    wait_s: float = 0.0
    """For each second of work: 0 goes on at once, infinity waits for answers."""
    sentence: str | None = None
    """What the person should know; None when there is nothing to say."""


@dataclass(frozen=True)
class Pace:
    """The rule for a person who is behind: play on, play slowly, or wait."""

    behind: Behind
    least: int = 5
    """So many missing answers are no matter, …"""
    share: float = 0.1
    """… nor is this share of those due."""

    def __post_init__(self) -> None:
        if self.least < 0 or not 0.0 <= self.share < 1.0:
            raise UserError(f"least={self.least}, share={self.share}: use a number from 0 and a share from 0 to 1")

    def judge(self, *, due: int, given: int, waiting: int) -> Verdict:
        """`due` answers by now, `given` so far, and `waiting` published queries that can be answered at this moment.

        Nobody waits for an answer that could not be given: once all that was published is answered, play goes on.
        """
        missing = min(due - given - max(self.least, math.floor(self.share * due)), waiting)
        if self.behind == "continue" or missing <= 0:
            return Verdict("go")
        answers = "1 more answer" if missing == 1 else f"{missing} more answers"
        if self.behind == "slow":
            return Verdict("slow", SLOW_S, f"Playing at a quarter of the speed until {answers} from you.")
        return Verdict("wait", math.inf, f"Paused until {answers} from you.")


def hold(
    judge: Callable[[], Verdict],
    *,
    worked_s: float,
    stopping: Callable[[], bool],
    tell: Callable[[Verdict], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """Wait as long as `judge` says after `worked_s` seconds of work, asking it anew all the while. The seconds waited.

    Returns at once when `stopping()`, or when answers have come. `tell` hears the verdict at the beginning of a wait,
    when its sentence changes, and now and then, so that it can be shown; never when there is no wait.
    """
    began = told = clock()
    said: Verdict | None = None
    while not stopping():
        verdict = judge()
        now = clock()
        left = math.inf if verdict.state == "wait" else verdict.wait_s * worked_s - (now - began)
        if left <= 0.0:
            break
        if verdict != said or now - told >= TELL_S:
            tell(verdict)
            said, told = verdict, now
        sleep(min(POLL_S, left))
    return clock() - began
