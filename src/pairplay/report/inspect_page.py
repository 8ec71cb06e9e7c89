"""The page of `pairplay inspect`: from findings to HTML. Measures nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from pairplay import __version__
from pairplay.config import TrainConfig
from pairplay.health.agreement import RECENT, Agreement, Interval, moving_accuracy
from pairplay.health.alarms import Alarm
from pairplay.health.watch import agree, informed, predictions_and_answers
from pairplay.labels.records import AnswerRow
from pairplay.report.figure import as_svg
from pairplay.report.inspect_charts import accuracy_over_answers, claimed_and_observed, predicted_and_true
from pairplay.report.inspect_clips import film, reward_line, signed, strip
from pairplay.report.inspect_findings import SHOWN, Clip, Disagreement, Group, Judged
from pairplay.report.page import document
from pairplay.run.predictions import Prediction
from pairplay.types import ANSWERS

_STYLE = """
.tiles, .charts, .columns, .pair { display: grid; gap: 1.5rem 2rem; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); margin: 1.5rem 0; }
.tiles b { display: block; font-size: 1.7rem; font-weight: 600; line-height: 1.2;
           font-variant-numeric: tabular-nums; }
.charts { grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); }
.columns { grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); align-items: start; }
.pair { grid-template-columns: 1fr 1fr; gap: .9rem; }
h3 { font-size: .95rem; margin: .75rem 0 .25rem; }
.charts p, .columns p, .clip p { margin: .2rem 0; } .charts svg { margin: .5rem 0; }
.alarm { border-left: 4px solid #D55E00; background: #fdf3ec; padding: .7rem 1rem; margin: .6rem 0;
         border-radius: 0 6px 6px 0; max-width: none; }
.calm { border-left: 4px solid #009E73; background: #eef8f4; padding: .7rem 1rem; border-radius: 0 6px 6px 0;
        max-width: none; }
.clip { border: 1px solid #e6e8ea; border-radius: 8px; padding: .8rem .9rem; margin: 0 0 1rem; }
.clip > .row { display: flex; gap: .8rem; align-items: start; margin-top: .5rem; }
.clip .along { flex: 1; min-width: 0; }
.strip { display: block; width: 100%; border-radius: 4px; background: #f6f7f8; }
.line { margin: .15rem 0 0 !important; overflow: visible; }
video { width: 8.5rem; border-radius: 4px; background: #f6f7f8; }
.chosen { box-shadow: 0 0 0 2px #009E73; border-radius: 6px; padding: .35rem; } .other { padding: .35rem; }
tbody + tbody th { padding-top: 1.5rem; }
small { font-size: .85em; } .quiet small { color: inherit; }
"""


@dataclass(frozen=True)
class Inspection:
    """All that the page shows."""

    config: TrainConfig
    run: str
    clips: Path
    step: int | None
    """Of the checkpoint; None without one."""
    learning: bool
    """Whether the reward model had been trained by then."""
    alarms: tuple[Alarm, ...] | None
    """None when the run kept no watch."""
    rows: Sequence[AnswerRow]
    """The answers that count, oldest first."""
    corrected: int
    """Rows that were undone or replaced, and the undoings."""
    predictions: Sequence[Prediction]
    judged: Judged | None
    labelers: Sequence[Group]
    strategies: Sequence[Group]


def page(of: Inspection) -> str:
    """The whole page. Text from the run is escaped."""
    title = f"What the reward model of {of.config.env_id} has learnt"
    step = "no checkpoint yet" if of.step is None else f"step {of.step:,} of {of.config.total_timesteps:,}"
    body = f"""<h1>{escape(title)}</h1>
<p class="quiet">Run {escape(of.run)}, {step}, seed {of.config.seed}. Pairplay {__version__}.<br>
Asked: “{escape(of.config.question)}”</p>
{_tiles(of)}
{_alarms(of)}
<h2>Does it foresee the answers?</h2>
{_charts(of)}
{_clips(of)}
{_disagreements(of)}
<h2>The answers</h2>
{_answers(of)}"""
    return document(title, body, _STYLE)


def percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"


def _tiles(of: Inspection) -> str:
    counts = Counter(row.answer for row in of.rows)
    told = ", ".join(f"{counts[answer]} {answer}" for answer in ANSWERS if counts[answer])
    kinds = Counter(row.kind for row in of.rows)
    who = " and ".join(f"{kinds[kind]} {kind}" for kind in ("human", "synthetic") if kinds[kind])
    ahead = agree(informed(of.predictions)[-RECENT:])
    tiles = [
        (f"{len(of.rows)}", "answers" + (f": {told}<br>{who}" if of.rows else "")),
        _agreement_tile(ahead, f"foreseen before it learnt from them, of the last {ahead.strict} that prefer a side"),
    ]
    if of.judged is not None:
        held = of.judged.held_out
        tiles.append(_agreement_tile(held, f"foreseen of {held.strict} held-out answers, by the model as it is now"))
        rank = of.judged.correlation.spearman
        tiles.append(("–" if rank is None else f"{rank:.2f}", "rank correlation with the true reward<br>(audit only)"))
    cells = "".join(f'<div><b>{number}</b><span class="quiet">{caption}</span></div>' for number, caption in tiles)
    return f'<div class="tiles">{cells}</div>'


def _agreement_tile(of: Agreement, caption: str) -> tuple[str, str]:
    if of.accuracy.value is None:
        return "–", "foreseen: no answer was predicted yet"
    return percent(of.accuracy.value), f"{caption} ({_range(of.accuracy)})"


def _alarms(of: Inspection) -> str:
    if of.alarms is None:
        return '<p class="quiet">Nobody kept watch over this run, so nothing is known of alarms.</p>'
    if not of.alarms:
        return '<p class="calm">No alarm is in force.</p>'
    return "".join(
        f'<p class="alarm"><b>Since step {alarm.since_step:,}.</b> {escape(alarm.message)}</p>' for alarm in of.alarms
    )


def _charts(of: Inspection) -> str:
    charts = [_ahead_chart(of)]
    if of.judged is None:
        return f'<div class="charts">{charts[0]}</div><p>{_no_model(of)}</p>'
    judged = of.judged
    error = judged.calibration.error
    if error is None:
        charts.append(_empty("Is it as right as it is sure?", "No answer is held out of any member yet."))
    else:
        loss = judged.held_out.loss
        charts.append(
            _chart(
                "Is it as right as it is sure?",
                as_svg(claimed_and_observed(judged.calibration)),
                "How often the side it favours was the answer, of held-out answers; a number is how many, a bar the "
                f"95 % interval. On the dashed line it would be honest; it is off by {percent(error)} on average. "
                f"Log loss {loss:.2f} (a coin: 0.69).",
            )
        )
    fit = judged.correlation
    if fit.pearson is None or fit.spearman is None:
        charts.append(_empty("Against the true reward (audit only)", "The true reward of all clips is the same."))
    else:
        x = np.array([clip.value for clip in judged.clips])
        y = np.array([clip.true_reward.mean() for clip in judged.clips])
        charts.append(
            _chart(
                "Against the true reward (audit only)",
                as_svg(predicted_and_true(x, y)),
                "True reward a step, less --env.end-penalty where a life is lost, against predicted, one point for "
                f"each of {fit.of} clips: Pearson {fit.pearson:.2f}, Spearman {fit.spearman:.2f}. Neither the agent "
                "nor the model ever sees the true reward; a person may want something else.",
            )
        )
    return f'<div class="charts">{"".join(charts)}</div>'


def _ahead_chart(of: Inspection) -> str:
    heading = "Before it learnt the answer"
    known = informed(of.predictions)
    p, mu = predictions_and_answers(known)
    accuracy = moving_accuracy(p, mu)
    if not any(point.value is not None for point in accuracy):
        return _empty(heading, "No answer has been predicted yet: the first ones teach the model to begin with.")
    first = len(of.predictions) - len(known)
    chart = as_svg(accuracy_over_answers(range(first + 1, first + 1 + len(known)), accuracy))
    return _chart(
        heading,
        chart,
        f"Share foreseen of the last {RECENT} answers, ties left out; the band is the 95 % interval (Wilson). "
        "Pairs are chosen to be hard, so this is lower than on any pair.",
    )


def _chart(heading: str, svg: str, caption: str) -> str:
    return f'<div><h3>{heading}</h3>{svg}<p class="quiet"><small>{caption}</small></p></div>'


def _empty(heading: str, text: str) -> str:
    return f'<div><h3>{heading}</h3><p class="quiet">{text}</p></div>'


def _no_model(of: Inspection) -> str:
    if of.step is None:
        return "There is no checkpoint yet, so there is no model to ask: one is written now and then, and on Ctrl-C."
    if not of.learning:
        return "The reward model had not been trained when the checkpoint was written: it waits for the first answers."
    return "There is no answer yet that the model could learn from."


def _clips(of: Inspection) -> str:
    if of.judged is None:
        return ""
    clips = of.judged.clips
    bottom, top = _scale(clips)
    most = min(SHOWN, len(clips) // 2)
    best, worst = clips[:most], clips[::-1][:most]
    columns = "".join(
        f"<div><h3>{name}</h3>{''.join(_clip(of, clip, bottom, top) for clip in some)}</div>"
        for name, some in (("Best", best), ("Worst", worst))
    )
    return f"""<h2>What it likes, and what it does not</h2>
<p class="quiet">The best and the worst of {len(clips)} clips that were compared, by predicted reward. The line is the
predicted reward along the clip, below the pictures of the same moments; the band is how far the members of the ensemble
disagree (one standard deviation); the dashed line is the average of all the agent has lately done. All lines have one
scale, {signed(bottom)} to {signed(top)}.</p>
<div class="columns">{columns}</div>"""


def _clip(of: Inspection, clip: Clip, bottom: float, top: float) -> str:
    path = of.clips / f"{clip.clip}.mp4"
    pictures = strip(path) or '<p class="quiet">The film of this clip is missing.</p>'
    true = f"true {signed(float(clip.true_reward.mean()))}"
    return f"""<div class="clip"><p><b>{signed(clip.value)}</b> a step
<span class="quiet">± {clip.spread.mean():.2g} · {true} (audit) · played at step {clip.step:,}</span></p>
<div class="row">{film(path) or ""}<div class="along">{pictures}
{reward_line(clip.reward, clip.spread, bottom, top)}</div></div></div>"""


def _disagreements(of: Inspection) -> str:
    if of.judged is None:
        return ""
    judged = of.judged
    if not judged.disagreements:
        text = f"It agrees with each of {judged.strict} answers that prefer a side."
        return f"<h2>Where it still disagrees</h2><p>{text}</p>"
    bottom, top = _scale(judged.clips)
    cards = "".join(_disagreement(of, one, bottom, top) for one in judged.disagreements)
    return f"""<h2>Where it still disagrees</h2>
<p class="quiet">The latest of {judged.wrong} answers (of {judged.strict}) that it holds to be unlikely although it
learnt from them. Either the model cannot see what you saw, or the answer was a slip: would you answer so again?</p>
<div class="columns">{cards}</div>"""


def _disagreement(of: Inspection, one: Disagreement, bottom: float, top: float) -> str:
    against = one.p_left if one.answer == "right" else 1 - one.p_left
    other = "left" if one.answer == "right" else "right"
    sides = "".join(
        f'<div class="{"chosen" if one.answer == side else "other"}">'
        f"{strip(of.clips / f'{clip.clip}.mp4', frames=4) or '<p class=quiet>The film is missing.</p>'}"
        f"{reward_line(clip.reward, clip.spread, bottom, top)}"
        f'<small class="quiet">{side}, {signed(clip.value)} a step</small></div>'
        for side, clip in (("left", one.left), ("right", one.right))
    )
    return f"""<div class="clip"><p>{escape(one.labeler)} answered <b>{one.answer}</b>
<span class="quiet">query {one.query_id}; the model holds {other} to be {percent(against)} likely</span></p>
<div class="pair">{sides}</div></div>"""


def _scale(clips: Sequence[Clip]) -> tuple[float, float]:
    """One scale for all drawings: nearly all rewards with their spread, and 0."""
    low = np.concatenate([clip.reward - clip.spread for clip in clips])
    high = np.concatenate([clip.reward + clip.spread for clip in clips])
    return min(0.0, float(np.quantile(low, 0.01))), max(0.0, float(np.quantile(high, 0.99)))


def _answers(of: Inspection) -> str:
    if not of.rows:
        return "<p>There are no answers yet. Open the labelling page with <code>pairplay label</code>.</p>"
    note = f"{of.corrected} more rows are answers that were undone or replaced. " if of.corrected else ""
    return f"""<p class="quiet">{note}Intervals are 95 % (Wilson). Left share is of the answers that prefer a side: far
from a half, somebody has a habit.</p>
<div class="wide"><table>
{_table("Who answered", of.labelers)}
{_table("Why the pair was asked", of.strategies)}
</table></div>"""


def _table(first: str, groups: Sequence[Group]) -> str:
    names = (first, "Answers", "Left share", "About the same", "Cannot tell", "Seconds an answer", "Foreseen")
    head = "".join(f"<th scope=col>{name}</th>" for name in names)
    rows = "".join(
        "<tr>"
        + f"<td>{escape(group.name)}{f'<small>{escape(group.note)}</small>' if group.note else ''}</td>"
        + f"<td>{group.total}</td>"
        + f"<td>{_share(group.left)}</td>"
        + "".join(f"<td>{percent(group.counts[name] / group.total)}</td>" for name in ("tie", "skip"))
        + f"<td>{'–' if group.seconds is None else f'{group.seconds:.1f}'}</td>"
        + f"<td>{_share(group.foreseen.accuracy)}</td></tr>"
        for group in groups
    )
    return f"<tbody><tr>{head}</tr>{rows}</tbody>"


def _share(of: Interval) -> str:
    return "–" if of.value is None else f"<b>{percent(of.value)}</b><small>{_range(of)}</small>"


def _range(of: Interval) -> str:
    return f"{percent(of.low or 0.0)} to {percent(of.high or 0.0)}"
