"""The road teacher against hand-drawn roads, then against the game itself through the codec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any, NoReturn

import ale_py
import gymnasium
import numpy as np
import pytest

from pairplay.run.clips import decode, encode
from pairplay.teachers import road
from pairplay.teachers.base import load_teacher
from pairplay.types import Answer, Picture, UserError

LENGTH = 25
Colour = tuple[int, int, int]


@dataclass
class Shown:
    """One side of a query, on which looking at the reward is a mistake."""

    pictures: Picture

    @property
    def env_reward(self) -> NoReturn:
        raise AssertionError("the road teacher read the environment's reward")


def answer(left: Picture, right: Picture) -> Answer:
    return road.progress(Shown(left), Shown(right), np.random.default_rng(0))


# Hand-drawn clips: one speed, at most one other car. The game's geometry, in plain numbers.

DAY, SNOW, NIGHT, FOG = (0, 68, 0), (236, 236, 236), (0, 0, 0), (74, 74, 74)
ORANGE, TEAL, TAIL_LIGHT = (198, 108, 58), (66, 158, 130), (184, 70, 162)
NARROWING_ROWS = [107, 96, 85, 74, 64, 55, 47, 40, 33, 27, 22, 17, 14]  # at slots -¾, -¼, …
CAR_ROWS = [107, 96, 85, 74, 64, 55, 47, 40, 34, 29, 24, 20, 17, 14, 12]  # at slots 0, ½, … 7


SLOT_OF_ROW = np.interp(np.arange(104), NARROWING_ROWS[::-1], np.arange(5.25, -1.25, -0.5))


def paint(speed: float, car: float | None = None, ground: Colour = DAY, colour: Colour = ORANGE) -> Picture:
    """A straight road at one speed. `car`: the slot in which another car starts; it drives at 24.

    A slot of the road is 64 units of speed a step, one of the traffic 256/3, and the game draws no difference above 64.
    """
    pictures = np.zeros((LENGTH, 210, 160, 3), np.uint8)
    rows = np.arange(52 if ground == FOG else 4, 104)
    for t, picture in enumerate(pictures):
        field = picture[51:155, 8:]
        field[:] = ground
        narrowing = (3 - speed / 64 * t + 1) % 8 - 1
        width = rows - 2 - 6 * (abs(SLOT_OF_ROW[rows] - narrowing) < 0.5)
        field[rows, 76 - (width + 1) // 2] = field[rows, 76 + width // 2] = 150
        own = 93 - min(int(speed) // 8, 9)
        field[own : own + 11, 68:84] = 192
        slot = np.inf if car is None else car - min(speed - 24, 64) * 3 / 256 * t
        if 0 < slot < 7:
            row = int(np.interp(slot, np.arange(0, 7.5, 0.5), CAR_ROWS))
            field[row : row + 2 + row // 12, 92 : 94 + row // 8] = colour
    return pictures


@pytest.mark.parametrize("ground", [DAY, SNOW, NIGHT, FOG])
@pytest.mark.parametrize("speed", [6.0, 24.0, 45.0, 68.0, 110.0])
def test_reads_the_speed_of_a_road(speed: float, ground: Colour) -> None:
    drive = road.watch(paint(speed, ground=ground))
    assert drive.passed == 0
    # In fog the narrowing is hidden most of the time, and above 72 our own car says nothing more.
    assert drive.speed == pytest.approx(speed, abs=20 if ground == FOG and speed > 72 else 4)


@pytest.mark.parametrize(
    ("ground", "colour"), [(DAY, ORANGE), (DAY, TEAL), (SNOW, TEAL), (NIGHT, TAIL_LIGHT), (FOG, TAIL_LIGHT)]
)
@pytest.mark.parametrize(
    ("speed", "car", "passed"),
    [
        (68.0, 3.0, 1),
        (68.0, 6.5, 1),
        (110.0, 6.0, 1),
        (45.0, 1.5, 1),
        (45.0, 6.9, 0),
        (24.0, 2.0, 0),
        (6.0, 2.0, 0),
        (6.0, -1.0, -1),
    ],
)
def test_counts_a_car_that_leaves_or_comes_in_at_the_bottom(
    speed: float, car: float, passed: int, ground: Colour, colour: Colour
) -> None:
    assert road.watch(paint(speed, car, ground, colour)).passed == passed


def test_one_car_outweighs_any_speed_and_being_overtaken_only_shows_in_the_speed() -> None:
    assert road.Drive(passed=1, speed=6).score > road.Drive(passed=0, speed=120).score
    assert road.Drive(passed=-3, speed=30).score == road.Drive(passed=0, speed=30).score
    assert road.progress_score(paint(64.0)) == pytest.approx(0.5, abs=0.02)


def test_says_which_clip_and_ties_what_looks_the_same() -> None:
    slow, fast, passing = paint(20.0), paint(60.0), paint(50.0, 2.0)
    assert answer(fast, slow) == answer(passing, fast) == "left"
    assert answer(slow, fast) == answer(fast, passing) == "right"
    assert answer(fast, fast.copy()) == answer(fast, paint(61.0)) == "tie"


@pytest.mark.parametrize("shape", [(LENGTH, 64, 64, 3), (1, 210, 160, 3)])
def test_refuses_clips_that_are_not_of_enduro(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="ALE/Enduro-v5"):
        road.watch(np.zeros(shape, np.uint8))


def test_is_found_by_its_name_and_never_looks_at_the_reward() -> None:
    teacher: Any = load_teacher("pairplay.teachers.road:progress")
    assert teacher(Shown(paint(60.0)), Shown(paint(20.0)), np.random.default_rng(0)) == "left"


# The game itself. Speed and position from the console's memory are the truth here, and nothing that the teacher sees.

NOOP, FIRE, DOWN, FIRE_RIGHT, FIRE_LEFT = 0, 1, 5, 11, 12
SPEED, POSITION, CARS_LEFT = 22, 46, 44


@dataclass(frozen=True)
class Clip:
    """A clip as a teacher gets it, with what really happened in it."""

    pictures: Picture
    passed: float
    speed: float
    counted: bool
    """False at the start of the day's count, where the game does not count the cars that overtake us."""


def keep_to_the_middle(ram: Picture) -> int:
    offset = (int(ram[POSITION]) + 128) % 256 - 128
    return FIRE_LEFT if offset < -4 else FIRE_RIGHT if offset > 4 else FIRE


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Clip]:
    """Two dozen clips of a drive that stands, speeds up, coasts, brakes, wanders and collides, through the codec."""
    gymnasium.register_envs(ale_py)
    env: Any = gymnasium.make("ALE/Enduro-v5", full_action_space=True)
    env.reset(seed=5)
    rng = np.random.default_rng(5)
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    clips, mood = [], NOOP
    for clip in range(24):
        if clip % 3 == 0:
            mood = int(rng.choice([NOOP, DOWN, FIRE, -1, -1, -1]))
        frames, rewards, memory = [], [], []
        for _ in range(LENGTH):
            ram = env.unwrapped.ale.getRAM()
            action = keep_to_the_middle(ram) if mood == -1 else int(rng.integers(18)) if rng.random() < 0.05 else mood
            frame, reward, *_ = env.step(action)
            frames.append(frame)
            rewards.append(float(reward))
            memory.append(env.unwrapped.ale.getRAM())
        path.write_bytes(encode(np.stack(frames), 15))
        ram_T = np.stack(memory)
        clips.append(
            Clip(decode(path), sum(rewards[1:]), float(ram_T[1:, SPEED].mean()), bool((ram_T[:, CARS_LEFT] < 2).all()))
        )
    env.close()
    return clips


@pytest.fixture(scope="module")
def scores(clips: Sequence[Clip]) -> Sequence[float]:
    return [road.progress_score(clip.pictures) for clip in clips]


def test_reads_what_really_happened(clips: Sequence[Clip]) -> None:
    drives = [road.watch(clip.pictures) for clip in clips]
    speed_error = [abs(drive.speed - clip.speed) for drive, clip in zip(drives, clips, strict=True)]
    assert max(speed_error) < 4
    # A car at the very edge of the picture in the first or last frame may be counted there or not.
    passed_error = [abs(drive.passed - clip.passed) for drive, clip in zip(drives, clips, strict=True) if clip.counted]
    assert max(passed_error) <= 1
    assert np.mean(passed_error) < 0.2


def test_prefers_moving_to_standing_and_full_speed_to_half(clips: Sequence[Clip]) -> None:
    standing = min(clips, key=lambda clip: clip.speed)
    full = max(clips, key=lambda clip: clip.speed)
    half = min(clips, key=lambda clip: abs(clip.speed - full.speed / 2))
    assert standing.speed < 8
    assert full.speed > 60
    assert answer(half.pictures, standing.pictures) == answer(full.pictures, half.pictures) == "left"
    assert answer(standing.pictures, half.pictures) == answer(half.pictures, full.pictures) == "right"
    assert answer(full.pictures, full.pictures) == "tie"


def test_scores_rise_from_one_band_of_speed_to_the_next(clips: Sequence[Clip], scores: Sequence[float]) -> None:
    bands = [(0, 10), (10, 25), (25, 36), (36, 45), (45, 120)]
    means = [
        np.mean([score for clip, score in zip(clips, scores, strict=True) if low <= clip.speed < high])
        for low, high in bands
    ]
    assert all(below < above for below, above in pairwise(means))


def agreement(clips: Sequence[Clip], scores: Sequence[float]) -> float:
    """Share of pairs answered as by someone who knows how many cars were passed, and of equals how fast we were."""
    right = []
    for (a, score_a), (b, score_b) in combinations(zip(clips, scores, strict=True), 2):
        truth = (a.passed - b.passed) or (a.speed - b.speed) / 128
        if a.counted and b.counted and abs(truth) > road.TIE_MARGIN:
            right.append(abs(score_a - score_b) > road.TIE_MARGIN and (score_a > score_b) == (truth > 0))
    return float(np.mean(right))


def test_agrees_with_the_true_reward(clips: Sequence[Clip], scores: Sequence[float]) -> None:
    assert agreement(clips, scores) >= 0.9
    assert agreement(clips, [-score for score in scores]) < 0.1
    assert agreement(clips, [0.0] * len(clips)) == 0
