"""When the answers so far can teach nothing, and what a person can do about it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pairplay.labels.records import Counts
from pairplay.types import Comparison

LEAST_ANSWERS = 10
"""Fewer may be alike by chance."""


def untaught(comparisons: Sequence[Comparison], counts: Counts, *, budget: int) -> str | None:
    """One sentence where all answers are skips or all are ties; skips are counted, and not among the comparisons."""
    if not comparisons and counts.skipped >= LEAST_ANSWERS:
        advice = (
            "the budget is spent, so the agent will not begin to learn: go on with `pairplay resume` and more --labels"
            if counts.answered >= budget
            else "the agent explores until some pairs are answered left, right or about the same"
        )
        return f"All {counts.skipped} answers so far are skips, which teach nothing: {advice}."
    if len(comparisons) >= LEAST_ANSWERS and all(comparison.mu == 0.5 for comparison in comparisons):
        return (
            f"All {len(comparisons)} answers so far call both clips equally good, so what the agent learns from is "
            "noise: ask about something in which its clips differ (--question), or explore for longer "
            "(--queries.explore-steps)."
        )
    return None
