"""The page shows what the model has learnt, and says so in words where there is nothing to show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pairplay.cli import main
from pairplay.config import RewardModelConfig, TrainConfig
from pairplay.envs.make import make_envs
from pairplay.health.agreement import calibration, wilson
from pairplay.health.alarms import Alarms, Vitals
from pairplay.labels.store import LabelStore
from pairplay.packing import segment_id
from pairplay.report.inspect import inspect
from pairplay.report.inspect_charts import accuracy_over_answers, claimed_and_observed, predicted_and_true
from pairplay.report.inspect_clips import FILM_BYTES, WIDTH, film, reward_line, strip
from pairplay.report.inspect_findings import group_answers, judge_answers
from pairplay.report.inspect_model import Judge, load_judge
from pairplay.reward.estimate import RewardEstimate
from pairplay.reward.fit import split_of
from pairplay.reward.model import RewardModel
from pairplay.run.checkpoint import load_newest, save
from pairplay.run.clips import encode, save_clip
from pairplay.run.config_file import write_config
from pairplay.run.layout import RunDir
from pairplay.run.predictions import Prediction, PredictionLog
from pairplay.types import Answer, BoolArray, Comparison, FloatArray, Footage, Pair, Query, Segment, UserError

CONFIG = TrainConfig(env_id="CartPole-v1", question="Grün <b>oder</b> rot?", reward_model=RewardModelConfig(hidden=8))
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANSWERS: tuple[Answer, ...] = ("left", "right", "left", "tie", "skip", "right", "left", "left")
LENGTH = 6


def footage(number: int) -> Footage:
    rng = np.random.default_rng(number)
    frames, action = rng.normal(size=(LENGTH, 4)).astype(np.float32), rng.integers(0, 2, LENGTH)
    segment = Segment(segment_id(frames, 0, action), frames, 0, action, env=0, step=100 * number, iteration=1)
    pictures = np.full((LENGTH, 32, 48, 3), 10 * number, np.uint8)
    pictures[np.arange(LENGTH), :, 8 * np.arange(LENGTH)] = 255
    return Footage(segment, pictures, np.full(LENGTH, number, np.float32))


def model() -> RewardModel:
    with closing(make_envs(CONFIG.env_id, 1, CONFIG.env, seed=1)) as envs:
        spec = envs.spec
    made = RewardModel(spec, CONFIG.reward_model, seed=CONFIG.seed, device=torch.device("cpu"))
    # As after some rollouts: each member on a scale of its own.
    members = CONFIG.reward_model.members
    made.scale.take(torch.randn(members, 64, generator=torch.Generator().manual_seed(0)) * 0.3)
    return made


def ask(store: LabelStore, run: RunDir, answers: Sequence[Answer]) -> None:
    ann, robot = store.labeler("ann <i>", "human"), store.labeler("oracle", "synthetic")
    for n, answer in enumerate(answers):
        left, right = footage(2 * n), footage(2 * n + 1)
        clips = [save_clip(run.clips, encode(side.captures, 10)) for side in (left, right)]
        query = Query(left, right, "uniform" if n < 2 else "disagreement", 0.0, CONFIG.question)
        store.add_query(query, left_clip=clips[0], right_clip=clips[1], step=100 * n)
        shown = NOW + timedelta(minutes=n)
        store.answer(
            robot if n % 4 == 3 else ann,
            n + 1,
            answer,
            client_uuid=str(n),
            shown_at=shown,
            answered_at=shown + timedelta(seconds=n),
        )


@pytest.fixture
def new(tmp_path: Path) -> RunDir:
    run = RunDir.create(tmp_path / "new & run", CONFIG.env_id, CONFIG.seed)
    write_config(run.config_toml, CONFIG)
    return run


@pytest.fixture
def taught(new: RunDir) -> RunDir:
    with LabelStore.open(new.labels_db) as store:
        ask(store, new, ANSWERS)
    with PredictionLog(new.predictions_jsonl) as log:
        log.write(
            Prediction(n + 1, 100 * n, "disagreement", "ann", "human", answer, {"left": 1.0, "right": 0.0}[answer],
                       (0.7, 0.8, 0.9), n)
            for n, answer in enumerate(ANSWERS) if answer in ("left", "right")
        )  # fmt: skip
    return new


def checkpoint(run: RunDir, *, learning: bool = True, sick: bool | None = False) -> None:
    state: dict[str, Any] = {"learning": learning}
    if sick is not None:
        alarms = Alarms()
        for step in range(5):
            alarms.look(Vitals(step, outside_share=0.5 if sick else 0.0))
        state["oversight"] = {"watch": {"alarms": alarms.state()}}
    save(run.checkpoints, 4096, {f"reward.{name}": t for name, t in model().state().items()}, state)


class Oracle(Judge):
    """A judge that values each clip by its true reward, and one pair wrongly."""

    def __init__(self, wrong: int) -> None:
        self.wrong = wrong

    def probabilities(self, comparisons: Sequence[Comparison]) -> FloatArray:
        p_D = [abs(c.mu * 0.8 + 0.1 - (c.key == self.wrong)) for c in comparisons]
        return np.array([p_D, p_D, p_D], np.float32)

    def segment_rewards(self, segments: Sequence[Segment]) -> list[RewardEstimate]:
        return [RewardEstimate(np.full(len(s), s.step, np.float32), np.ones(len(s), np.float32)) for s in segments]

    def held_out(self, comparisons: Sequence[Comparison]) -> BoolArray:
        return np.array([[c.key != 1 for c in comparisons]] * 3)


# What the model says


def test_the_judge_is_the_saved_model(taught: RunDir) -> None:
    checkpoint(taught)
    saved = load_newest(taught.checkpoints)
    assert saved is not None
    segments = [footage(n).segment for n in range(6)]
    asked = [Pair(7, segments[0].id, segments[1].id), Pair(9, segments[2].id, segments[0].id)]
    judge, original = load_judge(saved, CONFIG, asked), model()
    returns_ES = original.segment_returns(segments)
    comparisons = [Comparison(7, segments[0], segments[1], 1.0), Comparison(9, segments[2], segments[0], 0.0)]
    delta_ED = returns_ES[:, [0, 2]] - returns_ES[:, [1, 0]]
    assert judge.probabilities(comparisons) == pytest.approx(0.9 / (1 + np.exp(-delta_ED)) + 0.05, abs=1e-6)
    assert judge.held_out(comparisons).tolist() == split_of(original, comparisons).held_ED.tolist()
    # A clip's rewards are those the policy is paid: each member on its own scale, then averaged.
    raw_EL = np.stack([original.segment_returns([piece])[:, 0] for piece in one_step_pieces(segments[3])], axis=1)
    paid_EL = original.scale.normalise(torch.from_numpy(raw_EL)).numpy() * CONFIG.reward_model.target_std
    got = judge.segment_rewards(segments)[3]
    assert got.mean == pytest.approx(paid_EL.mean(0), abs=1e-6)
    assert got.std == pytest.approx(paid_EL.std(0), abs=1e-6)


def one_step_pieces(segment: Segment) -> list[Segment]:
    return [
        Segment("", segment.frames[t : t + 1], segment.age + t, segment.action[t : t + 1], 0, 0, 0)
        for t in range(len(segment))
    ]


def test_findings_by_hand(taught: RunDir) -> None:
    with LabelStore.open(taught.labels_db) as store:
        rows = [row for row in store.iter_answers() if row.live]
        judged = judge_answers(Oracle(wrong=6), store, rows)
    assert judged is not None
    assert judged.strict == 6  # all but the tie and the skip
    assert [clip.step for clip in judged.clips][:2] == [1500, 1400]
    assert judged.clips[-1].step == 0
    assert judged.correlation.spearman == pytest.approx(1.0)
    # Held out of nobody: query 1. Of the five others that prefer a side, one is wrong.
    assert judged.held_out.accuracy == wilson(4, 5)
    assert judged.held_out.count == 6
    (wrong,) = judged.disagreements
    assert (wrong.query_id, wrong.answer, wrong.left.step, judged.wrong) == (6, "right", 1000, 1)
    assert wrong.p_left == pytest.approx(0.9)


def test_groups_by_hand(taught: RunDir) -> None:
    with LabelStore.open(taught.labels_db) as store:
        rows = list(store.iter_answers())
    predictions = [Prediction(n, 0, "u", "ann", "human", "left", 1.0, (0.9,), n - 1) for n in (1, 2, 3)]
    ann, oracle = group_answers(rows, predictions, lambda row: (row.labeler, row.kind))
    assert (ann.name, ann.note, ann.total, ann.counts) == (
        "ann <i>", "human", 6, {"left": 3, "right": 2, "tie": 0, "skip": 1}
    )  # fmt: skip
    assert ann.left == wilson(3, 5)
    assert ann.seconds == 3.0  # the median of 0, 1, 2, 4, 5, 6
    assert oracle.seconds is None  # a program's haste is no news
    assert ann.foreseen.strict == 2  # a prediction before any learning is none


# Pictures


def test_a_strip_shows_the_middle_of_each_part(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(encode(footage(3).captures, 10))
    image = strip(clip)
    assert image is not None
    assert 'alt="6 pictures of the clip"' in image
    assert strip(tmp_path / "none.mp4") is None


def test_a_large_film_stays_out(tmp_path: Path) -> None:
    small, large = tmp_path / "small.mp4", tmp_path / "large.mp4"
    small.write_bytes(b"x" * FILM_BYTES)
    large.write_bytes(b"x" * (FILM_BYTES + 1))
    assert (film(small) or "").startswith("<video controls")
    assert film(large) is None
    assert film(tmp_path / "none.mp4") is None


def test_the_line_follows_the_reward() -> None:
    svg = reward_line(np.array([-1, 0, 1], np.float32), np.array([0, 0.5, 0], np.float32), -1.0, 1.0)
    (line,) = re.findall(r'<polyline points="([^"]+)"', svg)
    points = [tuple(map(float, point.split(","))) for point in line.split()]
    assert [x for x, _ in points] == [WIDTH / 6, WIDTH / 2, 5 * WIDTH / 6]
    assert points[0][1] > points[1][1] > points[2][1]  # downward on the screen is less
    assert "step 2: +0 ± 0.5" in svg
    (band,) = re.findall(r'<polygon points="([^"]+)"', svg)
    assert len(band.split()) == 6


def test_charts_of_little_are_drawn() -> None:
    table = calibration(np.array([0.9]), np.array([1.0]))
    for figure in (
        accuracy_over_answers([1], [wilson(1, 1)]),
        accuracy_over_answers([1, 2], [wilson(0, 0), wilson(1, 1)]),
        claimed_and_observed(table),
        predicted_and_true(np.array([1.0]), np.array([2.0])),
    ):
        figure.draw_without_rendering()


# The page


def sections(html: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", html)


def test_the_page_needs_nothing_but_itself(taught: RunDir) -> None:
    checkpoint(taught)
    result = inspect(taught)
    html = result.html.read_text(encoding="utf-8")
    assert result.html == taught.path / "inspect.html"
    assert sections(html) == [
        "Does it foresee the answers?",
        "What it likes, and what it does not",
        "Where it still disagrees",
        "The answers",
    ]
    assert "<script" not in html
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', html) == []
    assert "No alarm is in force." in html
    assert html.count("<video") == 8
    # What people wrote is text, never markup.
    assert "Grün &lt;b&gt;oder&lt;/b&gt; rot?" in html
    assert "ann &lt;i&gt;" in html
    assert "new &amp; run" in html
    assert any("8 answers (ann <i> 6, oracle 2)" in line for line in result.lines)


def test_an_alarm_stands_on_the_page_and_in_the_result(taught: RunDir) -> None:
    checkpoint(taught, sick=True)
    result = inspect(taught)
    assert [alarm.code for alarm in result.alarms] == ["out_of_range"]
    assert result.alarms[0].message in result.html.read_text()


def test_a_run_without_a_watch_says_so(taught: RunDir) -> None:
    checkpoint(taught, sick=None)
    html = inspect(taught).html.read_text()
    assert "Nobody kept watch" in html
    assert "No alarm" not in html


def test_an_empty_run_says_so(new: RunDir) -> None:
    html = inspect(new).html.read_text()
    assert "There is no checkpoint yet" in html
    assert "No answer has been predicted yet" in html
    assert "There are no answers yet" in html
    assert not new.labels_db.exists()
    checkpoint(new, learning=False)
    LabelStore.open(new.labels_db).close()
    assert "it waits for the first answers" in inspect(new).html.read_text()
    checkpoint(new)
    assert "no answer yet that the model could learn from" in inspect(new).html.read_text()


def test_missing_clips_are_told_and_the_lines_stay(taught: RunDir) -> None:
    checkpoint(taught)
    for clip in taught.clips.iterdir():
        clip.unlink()
    html = inspect(taught).html.read_text()
    assert html.count("The film of this clip is missing.") == 8
    assert html.count('class="line"') >= 8


def test_only_skips_teach_nothing(new: RunDir) -> None:
    with LabelStore.open(new.labels_db) as store:
        ask(store, new, ["skip"])
    checkpoint(new)
    assert "no answer yet that the model could learn from" in inspect(new).html.read_text()


def test_mistakes_are_named(taught: RunDir, tmp_path: Path) -> None:
    checkpoint(taught)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="choose another place with --out"):
        inspect(taught, tmp_path / "file" / "page.html")
    write_config(taught.config_toml, TrainConfig(env_id="CartPole-v1"))
    with pytest.raises(UserError, match="other layers"):
        inspect(taught)
    write_config(taught.config_toml, TrainConfig(env_id="CartPole-v1", reward="env"))
    with pytest.raises(UserError, match=r"no reward model to inspect.*pairplay play .*pairplay compare"):
        inspect(taught)


def test_the_command(taught: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint(taught, sick=True)
    out = tmp_path / "pages" / "page.html"
    assert main(["inspect", str(taught.path), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "CartPole-v1 at step 4,096: 8 answers" in said
    assert "Alarm since step 4: 50 % of the rewards" in said
    assert said.splitlines()[-1] == f"Wrote {out}"
    assert out.read_text().startswith("<!doctype html>")
    assert main(["inspect", str(tmp_path / "nowhere")]) == 2
