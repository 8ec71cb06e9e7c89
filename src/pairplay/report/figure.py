"""Draw curves of several settings side by side. Knows nothing of runs and files."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, MaxNLocator

from pairplay.report.curves import Curve

# Okabe and Ito's colours, which stay apart for colour-blind eyes; the palest two left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)))
_INK, QUIET, _GRID = "#1c1e21", "#6b7075", "#e6e8ea"
_NAME_WIDTH = 24
_HALO = withStroke(linewidth=3, foreground="white")
_CAPTION = "Pale: single runs. Strong: their mean. Shade: 95 % interval of the mean (Student's t over seeds)."
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so the picture is the same everywhere
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": "#b9bdc1",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True)
class Panel:
    """One metric: a curve for each setting that has it."""

    title: str
    curves: Mapping[str, Curve]
    """By the label of the setting."""
    references: Sequence[tuple[str, float]] = ()
    """Horizontal lines: a name and a value."""
    counts: bool = False
    """The metric is a count that follows a schedule: draw stairs, and no interval."""


def draw(title: str, labels: Sequence[str], panels: Sequence[Panel]) -> Figure:
    """A row of panels over agent steps. The first is wider and names the settings at the ends of their lines.

    Pale lines are single runs, the strong line is their mean, and the shade its interval.
    """
    looks: dict[str, dict[str, Any]] = {
        label: {"color": COLOURS[i % len(COLOURS)], "linestyle": _DASHES[i // len(COLOURS) % len(_DASHES)]}
        for i, label in enumerate(labels)
    }
    names = {label: label + _runs(label, panels) for label in labels}
    with mpl.rc_context(STYLE):
        widths = [1.45, *([1.0] * (len(panels) - 1))]
        figure = Figure(figsize=(4.1 * sum(widths), 4.5), dpi=200)
        figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08, wspace=0.02))
        figure.suptitle(title, x=0.012, ha="left", fontsize=13, fontweight="bold")
        axes = figure.subplots(1, len(panels), width_ratios=widths, squeeze=False)[0]
        last_step = max((curve.step[-1] for panel in panels for curve in panel.curves.values()), default=1.0)
        for ax, panel in zip(axes, panels, strict=True):
            _draw_panel(ax, panel, looks)
            ax.set_xlim(0, last_step)
        named = _label_ends(axes[0], panels[0], looks, names)
        for ax, panel in zip(axes[1:], panels[1:], strict=True):
            _label_ends(ax, panel, looks, {})
        several = any(len(curve.values) > 1 for panel in panels for curve in panel.curves.values())
        if not named:
            figure.legend(
                [Line2D([], [], linewidth=2, **looks[label]) for label in labels], names.values(),
                loc="outside lower left", ncols=2, frameon=False, fontsize=9,
                title=_CAPTION if several else None, title_fontsize=8.5, alignment="left",
            )  # fmt: skip
        elif several:
            figure.supxlabel(_CAPTION, x=0.012, ha="left", fontsize=8.5, color=QUIET)
    return figure


def as_png(figure: Figure) -> bytes:
    """The drawing as a PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def as_svg(figure: Figure) -> str:
    """The drawing as an element of a page, as wide as there is room."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    element = text[text.index("<svg") :]  # without the prologue that a file has
    return re.sub(r'\s(width|height)="[^"]*pt"', "", element, count=2)


def _runs(label: str, panels: Sequence[Panel]) -> str:
    count = max((len(panel.curves[label].values) for panel in panels if label in panel.curves), default=1)
    return f" (n={count})" if count > 1 else ""


def _draw_panel(ax: Any, panel: Panel, looks: Mapping[str, dict[str, Any]]) -> None:
    ax.set_title(panel.title)
    ax.set_xlabel("agent steps")
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    for name, value in panel.references:
        ax.axhline(value, color=QUIET, linewidth=1, linestyle=(0, (4, 3)), zorder=1.5)
        ax.annotate(
            f"{name}: {value:,g}", (0.015, value), xycoords=("axes fraction", "data"), xytext=(0, 3),
            textcoords="offset points", color=QUIET, fontsize=8.5, zorder=5, path_effects=[_HALO],
        )  # fmt: skip
    style = "steps-post" if panel.counts else "default"
    for label, curve in panel.curves.items():
        look, colour = looks[label], looks[label]["color"]
        if len(curve.values) > 1:
            if not panel.counts:
                ax.fill_between(curve.step, curve.low, curve.high, color=colour, alpha=0.14, linewidth=0)
            for run in curve.values:
                ax.plot(curve.step, run, color=colour, alpha=0.35, linewidth=0.8, drawstyle=style)
        ax.plot(curve.step, curve.mean, **look, linewidth=2, drawstyle=style)
        ax.plot(curve.step[-1], curve.mean[-1], "o", color=colour, markersize=4.5, clip_on=False, zorder=4)
    if panel.curves:
        _limit(ax, panel)
    else:
        ax.set_yticks([])
        ax.text(0.5, 0.5, "nothing recorded yet", transform=ax.transAxes, ha="center", color=QUIET)


def _limit(ax: Any, panel: Panel) -> None:
    """Fit what was measured. The interval of two or three runs can be so wide that the curves would vanish in it."""
    curves = panel.curves.values()
    bounds = [bound for curve in curves for bound in (curve.low.min(), curve.high.max()) if not panel.counts]
    measured = [bound for curve in curves for bound in (curve.values.min(), curve.values.max())]
    measured += [value for _, value in panel.references]
    low, high = min(0.0, *measured), max(0.0, *measured)
    room = (high - low) or 1.0
    bottom = max(min([low, *bounds]), low - 0.25 * room) - 0.02 * room if low < 0 else 0.0
    top = min(max([high, *bounds]), high + 0.35 * room)
    ax.set_ylim(bottom, top + 0.06 * room)


def _label_ends(ax: Any, panel: Panel, looks: Mapping[str, dict[str, Any]], names: Mapping[str, str]) -> bool:
    """Write the last value of each line beside its end, and its name below. False when the names had no room."""
    ends = {label: float(curve.mean[-1]) for label, curve in panel.curves.items()}
    values = {label: f"{end:,.4g}" if abs(end) < 1e4 else f"{end:,.0f}" for label, end in ends.items()}
    wrapped = {label: textwrap.wrap(name, _NAME_WIDTH, break_long_words=False) for label, name in names.items()}
    bottom, top = ax.get_ylim()
    line = 0.06 * (top - bottom)  # the height of one line of text, in data
    heights = {label: line * (1 + len(wrapped.get(label, ()))) for label in values}
    named = sum(heights.values()) <= top - bottom and len(panel.curves) == len(names)
    if not named:
        heights = dict.fromkeys(values, line)
    places = _apart({label: float(panel.curves[label].mean[-1]) for label in values}, heights, bottom, top)
    for label, value in values.items():
        look: dict[str, Any] = {"color": looks[label]["color"], "annotation_clip": False, "linespacing": 1.25}
        at: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        head = places[label] + heights[label] / 2
        ax.annotate(value, (1, head), xytext=(8, 0), va="top", fontsize=10, fontweight="bold", **look, **at)
        if named:
            text = "\n".join(wrapped[label])
            ax.annotate(text, (1, head), xytext=(8, -14), va="top", fontsize=9, **look, **at)
    return named


def _apart(wanted: Mapping[str, float], heights: Mapping[str, float], bottom: float, top: float) -> dict[str, float]:
    """Centres as near to `wanted` as fits, in the same order, none overlapping."""
    order = sorted(wanted, key=lambda label: wanted[label])
    places: dict[str, float] = {}
    floor = bottom
    for label in order:
        places[label] = max(wanted[label], floor + heights[label] / 2)
        floor = places[label] + heights[label] / 2
    ceiling = max(top, bottom + sum(heights.values()))
    for label in reversed(order):
        places[label] = min(places[label], ceiling - heights[label] / 2)
        ceiling = places[label] - heights[label] / 2
    return places
