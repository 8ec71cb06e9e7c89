"""Find what a user names: where their own modules are, and which known name is nearest to an unknown one."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Iterable


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """`unknown teacher 'orcale'. Did you mean 'oracle'?`, or the list of all when none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(names)}"
    return f"unknown {kind} '{name}'. {hint}"


def search_here() -> str:
    """Let imports look into the working directory first, where the user's own modules are; the directory.

    A console script's search path does not hold it.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    return here
