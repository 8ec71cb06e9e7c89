"""What a teacher is, what it is shown, and how one is found by name. Knows no store."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pairplay.names import search_here, unknown
from pairplay.run.clips import decode
from pairplay.teachers.context import TeacherContext
from pairplay.types import ANSWERS, Answer, FloatArray, Picture, UserError

# L segment length

HUMAN = "human"
"""The name of the person among the teachers: no function, but somebody at the page."""

TEACHERS = {
    name: f"pairplay.teachers.synthetic:{name}"
    for name in ("oracle", "mistake", "noisy", "skip", "equal", "myopic", "random")
}
"""The teachers that come with Pairplay, found in the same way as a user's own."""


@dataclass(frozen=True)
class Option:
    """The number that may follow a teacher's name."""

    keyword: str
    most: float
    """The largest that makes sense; the least is 0."""
    usual: float

    @property
    def range(self) -> str:
        return f"a number from 0 to {self.most:g}" if math.isfinite(self.most) else "a number, 0 or more"


OPTIONS = {
    "mistake": Option("rate", 1.0, 0.1),
    "noisy": Option("beta", math.inf, 1.0),
    "skip": Option("share", 1.0, 0.1),
    "equal": Option("share", 1.0, 0.1),
    "myopic": Option("gamma", 1.0, 0.9),
}
"""Of the teachers in `TEACHERS` that have one: `mistake:0.2` is mistake with rate=0.2."""


@dataclass(frozen=True)
class Exhibit:
    """One side of a query: what a person would see, and what only a synthetic teacher may know."""

    segment_id: str
    clip: Path | None
    """The MP4 that the page plays; None where nothing was drawn (`--queries.clips none`)."""
    clip_fps: float
    """Pictures a second at natural speed."""
    env_id: str
    env_reward: FloatArray
    """`[L]` the environment's own reward of each step."""
    context: TeacherContext = TeacherContext()  # noqa: RUF009 - frozen
    """What the trainer knew when it had the query answered; the same on both sides."""
    stride: int = 1
    """Steps from one picture to the next: more than 1 where the simulator takes over 30 steps a second."""

    @cached_property
    def pictures(self) -> Picture:
        """`[P, H, W, 3]` RGB, P = ⌈L / stride⌉, decoded from the clip when first asked for; picture i shows the moment
        before step i · stride. With `--queries.clips still` there is one, of the middle. UserError where nothing was
        drawn."""
        if self.clip is None:
            raise UserError(
                "this teacher looks at pictures, and --queries.clips none draws none: start a run with clips whole"
            )
        return decode(self.clip)


Teacher = Callable[[Exhibit, Exhibit, np.random.Generator], Answer]
"""Left, right and a generator for all of its randomness → `left`, `right`, `tie` or `skip`."""


def load_teacher(name: str) -> Teacher:
    """A teacher by its name, with its option (`mistake:0.2`), or as `pkg.module:function`.

    The working directory is searched first. The function takes (left, right, rng). A class is instantiated first, so
    that a teacher can remember what it has seen; it forgets when the process ends. UserError when there is no such
    teacher, option, module or function; calling the teacher raises it too when what comes back is no answer.
    """
    found = find_teacher(name)
    teacher: Teacher = found() if isinstance(found, type) else found
    if not callable(teacher):
        raise UserError(f"{name} is no teacher: it must be a function of (left, right, rng), not {teacher!r}")

    def checked(left: Exhibit, right: Exhibit, rng: np.random.Generator) -> Answer:
        answer = teacher(left, right, rng)
        if answer not in ANSWERS:
            raise UserError(f"teacher {name} answered {answer!r}: return one of {', '.join(ANSWERS)}")
        return answer

    return checked


def find_teacher(name: str) -> Any:
    """What the name stands for, a function or a class; called it is only by `load_teacher`. UserError as there."""
    head, colon, tail = name.partition(":")
    options = _options(head, tail) if colon else {}
    target = TEACHERS[head] if head in TEACHERS and (options or not colon) else name
    module_name, _, attribute = target.partition(":")
    if not (module_name and attribute.isidentifier()):
        raise UserError(
            f"{unknown('teacher', head or name, (*TEACHERS, HUMAN))}. Your own is named pkg.module:function"
        )
    found = _find(_import(module_name), attribute)
    if not callable(found):
        raise UserError(f"{target} is no teacher: it must be a function of (left, right, rng), not {found!r}")
    return partial(found, **options) if options else found


def _options(head: str, tail: str) -> dict[str, float]:
    """The argument that the number `tail` is to the built-in teacher `head`; none when `tail` names a function."""
    if head not in TEACHERS or (tail.isidentifier() and tail not in ("inf", "nan")):
        return {}
    if head not in OPTIONS:
        raise UserError(f"teacher '{head}:{tail}': {head} takes no number; write {head}")
    option = OPTIONS[head]
    try:
        value = float(tail)
    except ValueError:
        value = math.nan
    if not (0.0 <= value <= option.most and math.isfinite(value)):
        raise UserError(
            f"teacher '{head}:{tail}': {option.keyword} must be {option.range}, such as {head}:{option.usual:g}"
        )
    return {option.keyword: value}


def _import(name: str) -> ModuleType:
    here = search_here()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise UserError(f"the teacher's module {name} imports {error.name}, which is not installed") from error
        if name in OPTIONS:
            raise UserError(
                f"unknown module '{name}'. The teacher {name} takes {OPTIONS[name].range}, such as "
                f"{name}:{OPTIONS[name].usual:g}"
            ) from error
        nearby = [path.stem for path in Path(here).glob("*.py")]
        raise UserError(f"{unknown('module', name, nearby)} (looked in {here} and in what is installed)") from error


def _find(module: ModuleType, name: str) -> Any:
    if not hasattr(module, name):
        named = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UserError(f"{unknown('teacher', name, named)} (looked in {module.__name__})")
    return getattr(module, name)
