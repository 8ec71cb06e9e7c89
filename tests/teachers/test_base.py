"""Teachers are found by name, or in the user's own files, or not at all with a clear word."""

import sys
from collections.abc import Iterator
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from pairplay.run.clips import encode, save_clip
from pairplay.teachers import synthetic
from pairplay.teachers.base import OPTIONS, TEACHERS, Exhibit, load_teacher
from pairplay.types import Answer, UserError

OWN = """
def brighter(left, right, rng):
    return "left" if left.pictures.mean() > right.pictures.mean() else "right"

class Patient:
    def __init__(self):
        self.seen = 0
    def __call__(self, left, right, rng):
        self.seen += 1
        return "skip" if self.seen < 3 else "tie"

def wordy(left, right, rng):
    return "the left one"

constant = 7
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[str]:
    """A module of the user's, in the working directory, of a name that no other test has imported."""
    name = f"my_teacher_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(OWN)
    path = list(sys.path)
    yield name
    sys.path[:] = path
    sys.modules.pop(name, None)


def ask(name: str, left: Exhibit, right: Exhibit) -> Answer:
    return load_teacher(name)(left, right, np.random.default_rng(0))


def film(tmp_path: Path, grey: int) -> Exhibit:
    pictures = np.full((3, 16, 16, 3), grey, np.uint8)
    clip = tmp_path / f"{save_clip(tmp_path, encode(pictures, 15.0))}.mp4"
    return Exhibit(str(grey), clip, 15.0, "Env-v0", np.array([grey], np.float32))


@pytest.mark.parametrize("name", TEACHERS)
def test_every_built_in_teacher_answers(name: str, tmp_path: Path) -> None:
    assert ask(name, film(tmp_path, 10), film(tmp_path, 200)) in ("left", "right")


def test_a_function_of_the_users_sees_the_pictures(own: str, tmp_path: Path) -> None:
    assert ask(f"{own}:brighter", film(tmp_path, 30), film(tmp_path, 200)) == "right"
    assert ask(f"{own}:brighter", film(tmp_path, 200), film(tmp_path, 30)) == "left"


def test_a_class_is_instantiated_and_remembers(own: str, tmp_path: Path) -> None:
    teacher, exhibit = load_teacher(f"{own}:Patient"), film(tmp_path, 0)
    answers = [teacher(exhibit, exhibit, np.random.default_rng(0)) for _ in range(4)]
    assert answers == ["skip", "skip", "tie", "tie"]


def test_pictures_are_decoded_when_asked_for_and_once(tmp_path: Path) -> None:
    exhibit = film(tmp_path, 100)
    assert exhibit.pictures.shape == (3, 16, 16, 3)
    assert abs(int(exhibit.pictures.mean()) - 100) <= 2
    assert exhibit.pictures is exhibit.pictures
    missing = Exhibit("m", tmp_path / "missing.mp4", 15.0, "Env-v0", np.zeros(1, np.float32))
    with pytest.raises(UserError, match=r"missing\.mp4"):
        _ = missing.pictures


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown teacher 'orcale'\. Did you mean 'oracle'\?.*pkg\.module:function"):
        load_teacher("orcale")


@pytest.mark.parametrize("name", ["", ":", "module:", ":function"])
def test_half_a_name(name: str) -> None:
    with pytest.raises(UserError, match="unknown teacher"):
        load_teacher(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("oracle:0.2", "oracle takes no number; write oracle"),
        ("random:1", "random takes no number; write random"),
        ("mistake:2", r"rate must be a number from 0 to 1, such as mistake:0\.1"),
        ("mistake:-0.1", "rate must be a number from 0 to 1"),
        ("mistake:", "rate must be a number from 0 to 1"),
        ("mistake:nan", "rate must be a number from 0 to 1"),
        ("mistake:0.1.2", "rate must be a number from 0 to 1"),
        ("noisy:inf", "beta must be a number, 0 or more, such as noisy:1"),
        ("skip:1.5", r"share must be a number from 0 to 1, such as skip:0\.1"),
        ("equal:1.5", "share must be"),
        ("myopic:1.1", r"gamma must be a number from 0 to 1, such as myopic:0\.9"),
        ("mistake:often", r"The teacher mistake takes a number from 0 to 1, such as mistake:0\.1"),
        ("mistak:0.2", r"unknown teacher 'mistak'\. Did you mean 'mistake'"),
    ],
)
def test_a_number_that_is_none(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_teacher(name)


def test_the_number_after_a_name_replaces_the_usual_one(tmp_path: Path) -> None:
    better, worse = film(tmp_path, 2), film(tmp_path, 1)
    assert ask("mistake:1", better, worse) == "right"
    assert ask("mistake:0", better, worse) == "left"


def test_the_usual_numbers_are_those_of_the_teachers() -> None:
    for name, option in OPTIONS.items():
        parameter = signature(getattr(synthetic, name)).parameters[option.keyword]
        assert parameter.default == option.usual


def test_a_module_of_the_users_may_be_named_like_a_teacher(tmp_path: Path) -> None:
    (tmp_path / "mistake.py").write_text(OWN)
    path = list(sys.path)
    exhibit = film(tmp_path, 0)
    try:
        with pytest.raises(UserError, match="answered 'the left one'"):
            ask("mistake:wordy", exhibit, exhibit)
    finally:
        sys.path[:] = path
        sys.modules.pop("mistake", None)


def test_a_missing_module_suggests_a_file_of_the_directory(own: str) -> None:
    with pytest.raises(UserError, match=f"unknown module '{own}x'. Did you mean '{own}'"):
        load_teacher(f"{own}x:brighter")
    with pytest.raises(UserError, match=r"unknown module 'no\.such\.module'"):
        load_teacher("no.such.module:brighter")


def test_a_missing_function_suggests_one_of_the_module(own: str) -> None:
    with pytest.raises(UserError, match=r"unknown teacher 'brightr'\. Did you mean 'brighter'"):
        load_teacher(f"{own}:brightr")


def test_what_the_users_module_lacks_is_named(own: str, tmp_path: Path) -> None:
    (tmp_path / f"{own}.py").write_text("import no_such_library\n")
    with pytest.raises(UserError, match=f"module {own} imports no_such_library"):
        load_teacher(f"{own}:brighter")


def test_what_cannot_be_called_is_no_teacher(own: str) -> None:
    with pytest.raises(UserError, match="is no teacher"):
        load_teacher(f"{own}:constant")


def test_what_is_no_answer_is_refused(own: str, tmp_path: Path) -> None:
    exhibit = film(tmp_path, 0)
    with pytest.raises(UserError, match="answered 'the left one': return one of left, right, tie, skip"):
        ask(f"{own}:wordy", exhibit, exhibit)
