"""Runs are found again, and never written over."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pairplay.run.layout import RunDir, find_runs, safe_name
from pairplay.types import UserError


def make_run(path: Path, started: int = 0) -> Path:
    path.mkdir(parents=True)
    config = path / "config.toml"
    config.touch()
    os.utime(config, (started, started))
    return path


def test_default_path_is_env_then_time_then_seed(tmp_path: Path) -> None:
    run = RunDir.create(None, "ALE/Enduro-v5", 7, root=tmp_path)
    assert run.path.parent == tmp_path / "ALE-Enduro-v5"
    assert re.fullmatch(r"\d{8}-\d{6}-7", run.name)
    assert sorted(path.name for path in run.path.iterdir()) == ["checkpoints", "clips", "tensorboard", "videos"]


def test_two_runs_of_one_second_get_two_directories(tmp_path: Path) -> None:
    runs = {RunDir.create(None, "CartPole-v1", 1, root=tmp_path).path for _ in range(3)}
    assert len(runs) == 3


@pytest.mark.parametrize(
    ("env_id", "name"),
    [
        ("ALE/Enduro-v5", "ALE-Enduro-v5"),
        ("CartPole-v1", "CartPole-v1"),
        ("../../etc", "etc"),
        ("a b:C", "a-b-C"),
        ("..", "env"),
    ],
)
def test_env_ids_become_one_harmless_name(env_id: str, name: str) -> None:
    assert safe_name(env_id) == name


def test_an_existing_run_is_refused_with_the_way_to_continue_it(tmp_path: Path) -> None:
    path = make_run(tmp_path / "mine")
    with pytest.raises(UserError, match=f"pairplay resume {path}"):
        RunDir.create(path, "CartPole-v1", 1)


def test_a_directory_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="not empty"):
        RunDir.create(tmp_path, "CartPole-v1", 1)
    with pytest.raises(UserError, match="is a file"):
        RunDir.create(tmp_path / "thesis.tex", "CartPole-v1", 1)
    with pytest.raises(UserError, match="cannot create"):
        RunDir.create(tmp_path / "thesis.tex" / "run", "CartPole-v1", 1)


def test_an_empty_directory_is_welcome(tmp_path: Path) -> None:
    assert RunDir.create(tmp_path, "CartPole-v1", 1).path == tmp_path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    make_run(root / "CartPole-v1" / "20260101-120000-1", started=300)
    make_run(root / "CartPole-v1" / "20260102-130000-2", started=200)
    make_run(root / "ALE-Enduro-v5" / "20260103-140000-1", started=100)
    make_run(root / "mine", started=50)
    (root / "CartPole-v1" / "notes").mkdir()
    return root


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("20260102-130000-2", "CartPole-v1/20260102-130000-2"),
        ("20260102", "CartPole-v1/20260102-130000-2"),
        ("140000-1", "ALE-Enduro-v5/20260103-140000-1"),
        ("ALE-Enduro-v5", "ALE-Enduro-v5/20260103-140000-1"),
        ("mine", "mine"),
        ("latest", "CartPole-v1/20260101-120000-1"),
    ],
)
def test_open_by_a_part_of_the_name(root: Path, wanted: str, found: str) -> None:
    assert RunDir.open(wanted, root=root).path == root / found


def test_open_by_path(root: Path) -> None:
    path = root / "CartPole-v1" / "20260101-120000-1"
    assert RunDir.open(path, root=root).path == path


def test_a_part_that_fits_several_lists_them(root: Path) -> None:
    with pytest.raises(UserError, match=r"2 runs fit 'CartPole-v1'.*20260102-130000-2.*Give more"):
        RunDir.open("CartPole-v1", root=root)


def test_a_whole_name_is_that_run_however_others_begin(root: Path) -> None:
    for name in ("mine2", "notmine"):
        (root / name).mkdir()
        (root / name / "config.toml").touch()
    assert RunDir.open("mine", root=root).path == root / "mine"


def test_a_typing_error_gets_the_nearest_run(root: Path) -> None:
    with pytest.raises(UserError, match=r"not a run.*Did you mean .*20260103-140000-1"):
        RunDir.open(root / "ALE-Enduro-v5" / "20260103-140000-9", root=root)
    with pytest.raises(UserError, match=r"Runs here: .*mine"):
        RunDir.open("zzz", root=root)


def test_without_any_run_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    for wanted in ("latest", "x", ""):
        with pytest.raises(UserError, match="pairplay train"):
            RunDir.open(wanted, root=tmp_path / "runs")


def test_find_runs_is_oldest_first(root: Path) -> None:
    assert [run.name for run in find_runs(root)] == [
        "mine",
        "20260103-140000-1",
        "20260102-130000-2",
        "20260101-120000-1",
    ]
