"""What a teacher is, what it is shown, and how one is found by name. Knows no store."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pairplay.names import unknown
from pairplay.run.clips import decode
from pairplay.types import ANSWERS, Answer, FloatArray, Picture, UserError

# L segment length

TEACHERS = {
    name: f"pairplay.teachers.synthetic:{target}"
    for name, target in {
        "oracle": "oracle",
        "mistake": "mistake",
        "noisy": "noisy",
        "skip": "Skip",
        "equal": "Equal",
        "myopic": "myopic",
        "random": "random",
    }.items()
}
"""The teachers that come with Pairplay, found in the same way as a user's own."""


@dataclass(frozen=True)
class Exhibit:
    """One side of a query: what a person would see, and what only a synthetic teacher may know."""

    segment_id: str
    clip: Path
    """The MP4 that the page plays."""
    clip_fps: float
    env_id: str
    env_reward: FloatArray
    """`[L]` the environment's own reward of each step."""

    @cached_property
    def pictures(self) -> Picture:
        """`[L, H, W, 3]` RGB, decoded from the clip when first asked for."""
        return decode(self.clip)


Teacher = Callable[[Exhibit, Exhibit, np.random.Generator], Answer]
"""Left, right and a generator for all of its randomness → `left`, `right`, `tie` or `skip`."""


def load_teacher(name: str) -> Teacher:
    """A teacher by its name or as `pkg.module:function`; the working directory is searched first.

    The function takes (left, right, rng). A class is instantiated first, so that a teacher can remember what it has
    seen. UserError when there is no such teacher, module or function; calling the teacher raises it too when what
    comes back is no answer.
    """
    target = TEACHERS.get(name, name)
    module_name, colon, attribute = target.partition(":")
    if not (colon and module_name and attribute):
        raise UserError(f"{unknown('teacher', name, TEACHERS)}. Your own is named pkg.module:function")
    found = _find(_import(module_name), attribute)
    teacher: Teacher = found() if isinstance(found, type) else found
    if not callable(teacher):
        raise UserError(f"{target} is no teacher: it must be a function of (left, right, rng), not {teacher!r}")

    def checked(left: Exhibit, right: Exhibit, rng: np.random.Generator) -> Answer:
        answer = teacher(left, right, rng)
        if answer not in ANSWERS:
            raise UserError(f"teacher {name} answered {answer!r}: return one of {', '.join(ANSWERS)}")
        return answer

    return checked


def _import(name: str) -> ModuleType:
    here = os.getcwd()
    # A console script's search path has no working directory, and there the user's own modules are.
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise UserError(f"the teacher's module {name} imports {error.name}, which is not installed") from error
        nearby = [path.stem for path in Path(here).glob("*.py")]
        raise UserError(f"{unknown('module', name, nearby)} (looked in {here} and in what is installed)") from error


def _find(module: ModuleType, name: str) -> Any:
    if not hasattr(module, name):
        named = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UserError(f"{unknown('teacher', name, named)} (looked in {module.__name__})")
    return getattr(module, name)
