"""Say that a name is unknown, and which known one is nearest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """`unknown teacher 'orcale'. Did you mean 'oracle'?`, or the list of all when none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(names)}"
    return f"unknown {kind} '{name}'. {hint}"
