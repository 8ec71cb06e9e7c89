"""Pages that need nothing but themselves: no script, no network, no other file. Here too, the comparison of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from pairplay import __version__
from pairplay.report.curves import Final
from pairplay.report.figure import COLOURS

_STYLE = """
:root { color-scheme: light; }
body { margin: 2.5rem auto; max-width: 76rem; padding: 0 1.5rem; color: #1c1e21; background: #fff;
       font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.05rem; margin: 2.25rem 0 .5rem; }
p, li { max-width: 46rem; } .quiet { color: #6b7075; }
svg { width: 100%; height: auto; display: block; margin: 1rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .4rem 1.25rem .4rem 0; border-bottom: 1px solid #e6e8ea;
         white-space: nowrap; vertical-align: top; }
th { color: #6b7075; font-weight: 500; }
th:first-child, td:first-child { text-align: left; white-space: normal; }
td small { display: block; color: #6b7075; }
i { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .55em; }
pre { overflow-x: auto; background: #f6f7f8; padding: .9rem 1rem; border-radius: 6px; font-size: 13px; }
"""


@dataclass(frozen=True)
class SettingSummary:
    """One line of the table. A metric that was never recorded is None."""

    label: str
    seeds: tuple[int, ...]
    steps: int
    reward: Final | None
    episode_return: Final | None
    answers: Final | None
    seconds: Final | None
    """Wall-clock, pauses left out."""
    options: dict[str, object]
    """The options in which the settings differ."""
    commands: tuple[str, ...]


def document(title: str, body: str, style: str = "") -> str:
    """A whole page around `body`. `title` is escaped; `body` and `style` go in as they are."""
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(title)}</title>
<style>{_STYLE}{style}</style>
{body}
</html>
"""


def page(env_id: str, figure_svg: str, settings: Sequence[SettingSummary], notes: Sequence[str]) -> str:
    """The whole page. `figure_svg` goes in as it is; everything else is escaped."""
    title = f"Pairplay on {env_id}"
    head = "".join(f"<th scope=col>{name}</th>" for name in ("Setting", "Seeds", "Agent steps", *_COLUMNS))
    rows = "\n".join(_row(setting, COLOURS[i % len(COLOURS)]) for i, setting in enumerate(settings))
    runs = sum(len(setting.seeds) for setting in settings)
    counts = f"{_count(runs, 'run')} in {_count(len(settings), 'setting')}"
    commands = "\n".join(escape(command) for setting in settings for command in setting.commands)
    body = f"""<h1>{escape(title)}</h1>
<p class="quiet">{counts}. Pairplay {__version__}.</p>
{figure_svg}
<h2>At the end</h2>
<div class="wide"><table>
<tr>{head}</tr>
{rows}
</table></div>
<ul class="quiet">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>
{_differences(settings)}
<h2>The same again</h2>
<pre>{commands}</pre>"""
    return document(title, body)


_COLUMNS = ("Accumulated true reward", "Episode return", "Answers", "Wall-clock")


def _row(setting: SettingSummary, colour: str) -> str:
    seeds = f"{len(setting.seeds)}<small>{', '.join(map(str, sorted(setting.seeds)))}</small>"
    cells = (
        f'<i style="background:{colour}"></i>{escape(setting.label)}',
        seeds,
        f"{setting.steps:,}",
        *(_number(final) for final in (setting.reward, setting.episode_return, setting.answers)),
        _duration(setting.seconds),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _number(final: Final | None) -> str:
    if final is None:
        return "–"
    spread = f"<small>{final.low:,.4g} … {final.high:,.4g}</small>" if final.low < final.high else ""
    return f"<b>{final.mean:,.4g}</b>{spread}"


def _duration(final: Final | None) -> str:
    if final is None:
        return "–"
    minutes, seconds = divmod(round(final.mean), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def _differences(settings: Sequence[SettingSummary]) -> str:
    names = list(dict.fromkeys(name for setting in settings for name in setting.options))
    if not names:
        return ""
    head = "".join(f"<th scope=col><code>{escape(name)}</code></th>" for name in names)
    rows = "\n".join(
        f"<tr><td>{escape(setting.label)}</td>"
        + "".join(f"<td>{escape(str(setting.options.get(name, '–')))}</td>" for name in names)
        + "</tr>"
        for setting in settings
    )
    return f"""<h2>What the settings differ in</h2>
<div class="wide"><table>
<tr><th scope=col>Setting</th>{head}</tr>
{rows}
</table></div>"""
