"""The picture, the page and the tables say what the runs recorded."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pairplay.config import TrainConfig
from pairplay.report import compare as module
from pairplay.report.compare import compare
from pairplay.report.figure import _apart
from pairplay.run.layout import RunDir
from pairplay.types import UserError

MakeRun = Callable[..., RunDir]

LEARNED = TrainConfig(teacher="oracle")
ENV = TrainConfig(reward="env")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time, and most tests do not look."""
    monkeypatch.setattr(module, "as_png", lambda _: b"")
    monkeypatch.setattr(module, "as_svg", lambda _: "<svg></svg>")


def seeds(make_run: MakeRun, name: str, config: TrainConfig, *rewards: list[float]) -> list[RunDir]:
    return [make_run(f"{name}-{i}", replace(config, seed=i), r) for i, r in enumerate(rewards, start=1)]


def test_two_settings_of_three_seeds(tmp_path: Path, make_run: MakeRun) -> None:
    runs = seeds(make_run, "learned", LEARNED, [1, 10], [2, 20], [3, 30]) + seeds(make_run, "env", ENV, [0, 1], [0, 2])
    result = compare(runs, tmp_path / "out", references=[("published", 17.0)])
    learned, env = result.settings
    assert (learned.label, learned.seeds, learned.steps) == ("teacher=oracle", (1, 2, 3), 200)
    assert learned.reward is not None
    assert (learned.reward.mean, learned.reward.runs) == (20.0, (10.0, 20.0, 30.0))
    assert learned.reward.low == pytest.approx(20 - 4.303 * 10 / 3**0.5)
    assert learned.episode_return is not None
    assert learned.episode_return.mean == 10.0
    assert learned.seconds is not None
    assert learned.seconds.mean == 120.0
    assert env.commands[0] == f"pairplay train --config {runs[3].config_toml}"
    assert result.png.read_bytes().startswith(b"\x89PNG")
    said = json.loads(result.json.read_text())
    assert said["settings"][0]["reward"]["runs"] == [10, 20, 30]
    with result.csv.open() as file:
        table = list(csv.DictReader(file))
    assert table[1] == {
        "setting": "teacher=oracle",
        "metric": "rollout/true_reward_accumulated",
        "step": "200",
        "runs": "3",
        "mean": "20",
        "low_95": "-4.84338",
        "high_95": "44.8434",
    }


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def test_the_page_needs_nothing_else_and_runs_nothing(tmp_path: Path, make_run: MakeRun) -> None:
    evil = "<script>alert(1)</script>"
    runs = [make_run("a", LEARNED, [1.0, 2.0]), make_run("b", replace(LEARNED, question=evil), [2.0, 3.0])]
    html = compare(runs, tmp_path / "out").html.read_text()
    page = Page(html)
    assert page.tags.count("svg") == 1
    assert "script" not in page.tags
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"url\((?!#)", html)
    assert evil in page.text  # shown, in full, as text
    assert "One run each" in page.text


@pytest.mark.usefixtures("undrawn")
def test_runs_of_different_length_are_cut_and_it_is_said(tmp_path: Path, make_run: MakeRun) -> None:
    runs = [*seeds(make_run, "a", LEARNED, [1, 2, 3], [1, 2]), make_run("b", ENV, [1, 2, 3, 4])]
    result = compare(runs, tmp_path / "out")
    assert [setting.steps for setting in result.settings] == [200, 400]
    assert any("end between 200 and 300 steps" in note for note in result.notes)
    assert any("Settings end between 200 and 400" in note for note in result.notes)


@pytest.mark.usefixtures("undrawn")
def test_the_same_seed_twice_is_said(tmp_path: Path, make_run: MakeRun) -> None:
    runs = [make_run("a", LEARNED, [1.0]), make_run("b", LEARNED, [2.0])]
    assert any("same seed" in note for note in compare(runs, tmp_path / "out").notes)


def test_no_episode_has_ended_yet(tmp_path: Path, make_run: MakeRun) -> None:
    result = compare([make_run("a", LEARNED, [0.0, 0.0], returns=[None, None])], tmp_path / "out")
    assert result.settings[0].episode_return is None
    assert "–" in Page(result.html.read_text()).text


def test_many_settings_and_negative_rewards_are_drawn(tmp_path: Path, make_run: MakeRun) -> None:
    runs = [make_run(str(n), replace(LEARNED, labels=n), [-5.0 * n, -7.0 * n]) for n in range(1, 9)]
    result = compare(runs, tmp_path / "out")
    assert len(result.settings) == 8


def test_missing_metrics_are_named(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run("a", LEARNED, [])
    with pytest.raises(UserError, match=r"a has no metrics yet .*train it first"):
        compare([run], tmp_path / "out")
    run.metrics_jsonl.unlink()
    with pytest.raises(UserError, match="no metrics yet"):
        compare([run], tmp_path / "out")
    run.metrics_jsonl.write_text('{"time/total_timesteps": 1}\n')
    with pytest.raises(UserError, match="never mentions 'rollout/true_reward_accumulated'"):
        compare([run], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_move_apart_and_stay_in_order() -> None:
    places = _apart({"a": 5.0, "b": 5.5, "c": 9.9}, {"a": 2.0, "b": 2.0, "c": 2.0}, 0.0, 10.0)
    assert places == {"a": 5.0, "b": 7.0, "c": 9.0}
    crowded = _apart({"a": 0.0, "b": 0.0}, {"a": 2.0, "b": 2.0}, 0.0, 10.0)
    assert crowded == {"a": 1.0, "b": 3.0}
