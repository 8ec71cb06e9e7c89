"""From rows to a page of Markdown and its picture. Knows no benchmark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from harness import Job
from intervals import Estimate, figure
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from rows import ACCUMULATED, ANSWERS, FINAL_RETURN, RETURN, ROOT, Row

from pairplay.report.curves import curve, interval_95
from pairplay.report.figure import COLOURS, Panel, as_png, draw

HERE = Path(__file__).resolve().parent
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#e6e8ea",
}


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def mean_of(rows: Sequence[Row]) -> float:
    """Mean final return over seeds; NaN without a run in which an episode ended."""
    values = finals(rows)
    return float(np.mean(values)) if values else math.nan


def finals(rows: Sequence[Row]) -> list[float]:
    return [row.final_return for row in rows if row.final_return is not None]


def seeds_shown(values: Sequence[float]) -> str:
    """The mean over seeds, and each seed: with few, that says more than any interval."""
    if not values:
        return "–"
    return f"**{figure(float(np.mean(values)))}** ({', '.join(figure(value) for value in values)})"


def t_interval(values: Sequence[float]) -> str:
    """Mean with its 95 % interval by Student's t over seeds, the honest one for three of them."""
    if len(values) < 2:
        return "–"
    mean, low, high = interval_95(np.asarray(values, np.float64))
    return str(Estimate(float(mean), float(low), float(high)))


def group(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """By environment and setting, each in the order of seeds."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.seed):
        found.setdefault((row.env_id, row.setting), []).append(row)
    return found


def outcomes(rows: Sequence[Row], settings: Sequence[str]) -> Iterator[tuple[list[Row], tuple[str, str, str]]]:
    """Of each setting that has rows, in this order: its rows, and its name, final returns and accumulated rewards."""
    groups = {setting: found for (_, setting), found in group(rows).items()}
    for setting in settings:
        if found := groups.get(setting):
            yield found, (setting, seeds_shown(finals(found)), seeds_shown([row.accumulated for row in found]))


def write(name: str, title: str, parts: Sequence[str], rows: Sequence[Row], jobs: Sequence[Job], png: bytes) -> Path:
    """Write `<name>_<hardware>_<date>.md` and its picture; a trial's go to runs/. Returns the page's path.

    The date is that of the newest row, so that the same rows write the same page.
    """
    folder = ROOT / "runs" / "trials" if jobs[0].trial else HERE
    folder.mkdir(parents=True, exist_ok=True)
    machine = rows[0].origin.hardware["machine"]
    path = folder / f"{name}_{machine}_{max(row.origin.date for row in rows)}.md"
    path.with_suffix(".png").write_bytes(png)
    picture = f"![{title}]({path.with_suffix('.png').name})"
    path.write_text("\n\n".join([f"# {title}", *parts, picture, *provenance(name, rows, jobs)]) + "\n")
    return path


def provenance(name: str, rows: Sequence[Row], jobs: Sequence[Job]) -> Iterator[str]:
    """Where the figures come from: machine, versions, commits, commands."""
    yield "## Where this comes from"
    if len(rows) < len(jobs):
        yield f"**Incomplete:** {len(rows)} of {len(jobs)} runs are there."
    machines = {
        f"{h['cpu']}, {h['cores']} cores, {h['threads']} thread(s) a run, {h['system']}"
        + (f", {h['gpu']}" if "gpu" in h else "")
        + (f", {row.origin.beside} runs beside each other" if row.origin.beside > 1 else "")
        for row in rows
        for h in [row.origin.hardware]
    }
    loads = [float(h["load_15min"]) for row in rows for h in [row.origin.hardware] if "load_15min" in h]
    busy = f" Whatever else ran on the machine, its load was {min(loads):g} to {max(loads):g}." if loads else ""
    yield f"Measured on {'; '.join(sorted(machines))}.{busy} Seconds are worth no more than that."
    yield f"Final return: {FINAL_RETURN}."
    versions = sorted({", ".join(f"{k} {v}" for k, v in row.origin.versions.items()) for row in rows})
    commits = sorted({row.origin.commit for row in rows})
    dates = sorted({row.origin.date for row in rows})
    yield f"Commits {', '.join(commits)}; {dates[0]} to {dates[-1]}; {'; '.join(versions)}."
    resumed = sum(row.origin.interruptions > 0 for row in rows)
    if resumed:
        yield f"{resumed} of the runs were interrupted and resumed, which begins new episodes."
    commands = dict.fromkeys(_without_place(row) for row in sorted(rows, key=lambda row: (row.env_id, row.setting)))
    yield "\n".join(["```", f"python benchmarks/{name}.py", *(f"# {command}" for command in commands), "```"])


def command(words: Sequence[str]) -> str:
    """A command with paths from the project's root; by their names alone where they lie elsewhere, as Python may."""
    return " ".join(map(_from_root, words))


def _from_root(word: str) -> str:
    path = Path(word)
    if not path.is_absolute():
        return word
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def _without_place(row: Row) -> str:
    """The command without seed and directory: what all seeds of a setting share."""
    words = row.origin.command.split(" --seed ")
    return f"{words[0]} --seed …"


def progress_picture(title: str, rows: Sequence[Row], references: Sequence[tuple[str, float]] = ()) -> bytes:
    """Accumulated reward, episode return and answers, if any were given, over steps; of one environment's settings."""
    settings = {setting: [row.metrics() for row in found] for (_, setting), found in group(rows).items()}
    panels = [
        Panel(name, {s: found for s, runs in settings.items() if (found := curve(runs, metric))}, lines, counts=counts)
        for name, metric, lines, counts in (
            ("Accumulated true reward", ACCUMULATED, references, False),
            ("Episode return, true reward", RETURN, (), False),
            ("Answers", ANSWERS, (), True),
        )
        if metric != ANSWERS or any(row.answers for row in rows)
    ]
    return as_png(draw(title, list(settings), panels))


def curves_picture(rows: Sequence[Row], settings: Sequence[str], *, level: str | None = None) -> bytes:
    """Episode return over steps, a panel an environment. The setting `level` is drawn as a horizontal line."""
    groups = group(rows)
    env_ids = list(dict.fromkeys(env_id for env_id, _ in groups))
    columns = min(4, len(env_ids))
    lines = math.ceil(len(env_ids) / columns)
    with mpl.rc_context(STYLE):
        drawing = Figure(figsize=(3.4 * columns, 2.6 * lines + 0.5), dpi=150, layout="constrained")
        axes = drawing.subplots(lines, columns, squeeze=False).ravel()
        for ax, env_id in zip(axes, env_ids, strict=False):
            ax.set_title(env_id)
            ax.xaxis.set_major_formatter(EngFormatter(sep=""))
            ax.xaxis.set_major_locator(MaxNLocator(4))
            for setting, colour in zip(settings, COLOURS * 3, strict=False):
                runs = groups.get((env_id, setting), [])
                if setting == level:
                    if runs:
                        ax.axhline(mean_of(runs), color="#6b7075", linewidth=1, linestyle=(0, (4, 3)), label=setting)
                elif runs and (found := curve([row.metrics() for row in runs], RETURN)):
                    for run in found.values:
                        ax.plot(found.step, run, color=colour, alpha=0.3, linewidth=0.8)
                    ax.plot(found.step, found.mean, color=colour, linewidth=1.8, label=setting)
        for ax in axes[len(env_ids) :]:
            ax.axis("off")
        handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        drawing.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=4, frameon=False)
        drawing.supxlabel("agent steps; pale: each seed, strong: their mean", fontsize=8)
    return as_png(drawing)


def dots_picture(title: str, values: Mapping[str, Mapping[str, Sequence[float]]]) -> bytes:
    """A line a setting, a panel a task, a dot a seed, and a bar at their mean: `values[task][setting]`."""
    settings = list(dict.fromkeys(setting for by_setting in values.values() for setting in by_setting))
    with mpl.rc_context(STYLE):
        drawing = Figure(figsize=(4.2 * len(values) + 1, 0.3 * len(settings) + 1.4), dpi=150, layout="constrained")
        axes = drawing.subplots(1, len(values), sharey=True, squeeze=False)[0]
        for ax, (task, by_setting) in zip(axes, values.items(), strict=True):
            ax.set_title(task)
            for place, setting in enumerate(settings):
                dots = by_setting.get(setting, [])
                ax.plot(dots, [place] * len(dots), "o", color=COLOURS[0], alpha=0.55, markersize=5)
                if dots:
                    ax.plot(float(np.mean(dots)), place, "|", color=COLOURS[1], markersize=14, markeredgewidth=2.5)
            if by_setting.get(settings[0]):
                ax.axvline(float(np.mean(by_setting[settings[0]])), color="#6b7075", linewidth=1, linestyle=(0, (4, 3)))
            ax.set_yticks(range(len(settings)), settings)
        axes[0].invert_yaxis()
        drawing.supxlabel(title, fontsize=9)
    return as_png(drawing)
