"""Compare runs: accumulated true reward, episode return and answers, as a picture, a page and tables."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pairplay import __version__
from pairplay.report.curves import Curve, Final, curve, load_metrics
from pairplay.report.figure import Panel, as_png, as_svg, draw
from pairplay.report.page import SettingSummary, page
from pairplay.report.settings import Setting, differing_options, group_by_setting
from pairplay.run.layout import RunDir

REWARD, RETURN, ANSWERS, SECONDS = (
    "rollout/true_reward_accumulated",
    "rollout/ep_rew_mean",
    "labels/total",
    "time/time_elapsed",
)


@dataclass(frozen=True)
class CompareResult:
    """The files that were written, and what they say."""

    png: Path
    html: Path
    csv: Path
    json: Path
    settings: tuple[SettingSummary, ...]
    notes: tuple[str, ...]
    """What a reader must know to read the curves rightly."""


def compare(runs: Sequence[RunDir], out: Path, *, references: Sequence[tuple[str, float]] = ()) -> CompareResult:
    """Write `compare.png`, `compare.html`, `compare.csv` and `compare.json` into `out`.

    Runs that differ only in their seed are one setting, shown as a mean with a 95 % interval. `references` are
    horizontal lines in the panel of accumulated true reward: published figures, for instance.
    UserError for runs without metrics, of different environments, or given twice.
    """
    settings = group_by_setting(runs)
    metrics = [[load_metrics(run, required=(REWARD, RETURN)) for run in setting.runs] for setting in settings]
    curves = {
        name: {
            setting.label: found
            for setting, rows in zip(settings, metrics, strict=True)
            if (found := curve(rows, name)) is not None
        }
        for name in (REWARD, RETURN, ANSWERS, SECONDS)
    }
    summaries = _summaries(settings, curves)
    last_steps = [[int(rows[-1]["time/total_timesteps"] or 0) for rows in of_setting] for of_setting in metrics]
    notes = tuple(_notes(settings, last_steps))

    env_id = settings[0].options["env_id"]
    figure = draw(
        str(env_id),
        [setting.label for setting in settings],
        [
            Panel("Accumulated true reward", curves[REWARD], references),
            Panel("Episode return, true reward", curves[RETURN]),
            Panel("Answers", curves[ANSWERS], counts=True),
        ],
    )
    out.mkdir(parents=True, exist_ok=True)
    result = CompareResult(
        out / "compare.png", out / "compare.html", out / "compare.csv", out / "compare.json", summaries, notes
    )
    result.png.write_bytes(as_png(figure))
    figure.suptitle("")  # the page has its own title
    result.html.write_text(page(str(env_id), as_svg(figure), summaries, notes), encoding="utf-8")
    _write_csv(result.csv, curves)
    _write_json(result.json, summaries, notes)
    return result


def _summaries(settings: Sequence[Setting], curves: Mapping[str, Mapping[str, Curve]]) -> tuple[SettingSummary, ...]:
    differing = differing_options([setting.options for setting in settings])
    return tuple(
        SettingSummary(
            label=setting.label,
            seeds=setting.seeds,
            steps=int(curves[REWARD][setting.label].step[-1]) if setting.label in curves[REWARD] else 0,
            reward=_final(curves[REWARD].get(setting.label)),
            episode_return=_final(curves[RETURN].get(setting.label)),
            answers=_final(curves[ANSWERS].get(setting.label)),
            seconds=_final(curves[SECONDS].get(setting.label)),
            options={name: setting.options[name] for name in differing if name in setting.options},
            commands=tuple(shlex.join(["pairplay", "train", "--config", str(run.config_toml)]) for run in setting.runs),
        )
        for setting in settings
    )


def _final(of: Curve | None) -> Final | None:
    if of is None:
        return None
    return Final(float(of.mean[-1]), float(of.low[-1]), float(of.high[-1]), tuple(of.values[:, -1].tolist()))


def _notes(settings: Sequence[Setting], last_steps: Sequence[Sequence[int]]) -> Iterator[str]:
    if any(len(setting.runs) > 1 for setting in settings):
        yield (
            "Pale lines are single runs, strong lines their mean, and shades the 95 % interval of the mean: "
            "Student's t over seeds, which assumes that runs spread normally. Where it is wider than the picture, "
            "the table has its ends."
        )
    single = [setting.label for setting in settings if len(setting.runs) == 1]
    if single:
        yield f"One run each, so nothing is known of how much seeds differ: {'; '.join(single)}."
    for setting, steps in zip(settings, last_steps, strict=True):
        if min(steps) < max(steps):
            yield (
                f"{setting.label}: its runs end between {min(steps):,} and {max(steps):,} steps, "
                "and the mean ends with the first."
            )
        if len(set(setting.seeds)) < len(setting.seeds):
            yield f"{setting.label}: the same seed was run more than once, so its interval may be too narrow."
    ends = [min(steps) for steps in last_steps]
    if min(ends) < max(ends):
        yield f"Settings end between {min(ends):,} and {max(ends):,} steps: compare the curves, not only their ends."


def _write_csv(path: Path, curves: Mapping[str, Mapping[str, Curve]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("setting", "metric", "step", "runs", "mean", "low_95", "high_95"))
        for name, by_setting in curves.items():
            for label, of in by_setting.items():
                for row in zip(of.step.astype(int), of.mean, of.low, of.high, strict=True):
                    step, *numbers = row
                    table.writerow((label, name, step, len(of.values), *(f"{number:.6g}" for number in numbers)))


def _write_json(path: Path, summaries: Sequence[SettingSummary], notes: Sequence[str]) -> None:
    content = {"pairplay": __version__, "settings": [asdict(summary) for summary in summaries], "notes": list(notes)}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
