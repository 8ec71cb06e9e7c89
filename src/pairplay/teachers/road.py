"""A teacher for Enduro that watches the road: `pairplay.teachers.road:progress`.

It judges the pictures of the two clips and nothing else, by what a person at the page would look at,
the motion of the road and of the cars:

- *speed*: the road is narrower at one place, and that narrowing rolls towards us as fast as we drive. Where it
  is hidden (fog, horizon) our own car tells: it climbs one row of the screen for every 8 units of speed up to 72;
- *overtaking*: the other cars are spots of colour on a ground of one colour. One that leaves at the bottom was
  passed; one that comes in there has passed us.

It reads neither the odometer nor the counter of cars. Colour is measured against the ground, so that snow, dusk,
night (only tail lights) and fog (only the near cars) need no case of their own. Distances and speeds were measured
at the usual four emulator frames a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from pairplay.types import Answer, BoolArray, Picture, UserError

# L frames, R rows and C columns of the ground, S places where the narrowing may be

Float64Array = npt.NDArray[np.float64]

TIE_MARGIN = 0.02
"""Clips whose scores are closer than this look the same: 2.5 units of speed."""

_GROUND = np.s_[:, 51:155, 8:160]  # between hills and dashboard; the first 8 columns are always black
_ROWS, _COLUMNS = 104, 152

# Depth is measured in the slots that the game puts cars into, 7 of them up to the horizon. Measured at each half slot:
# the row of the ground at which a car begins, and that of the narrowing's middle. The nearest lie below the picture.
_CAR_ROWS = [12, 14.3, 17.5, 20, 24, 28.7, 34, 40.5, 46.8, 55.5, 63.5, 74, 84.5, 96, 107.5]
_NARROWING_ROWS = [13, 15.2, 19.2, 24, 29.3, 36.3, 43, 50.5, 58.7, 68.5, 79.5, 90.5, 101.5, 112.5]
_CAR_SLOT = np.interp(np.arange(_ROWS + 1), _CAR_ROWS, np.arange(7, -0.5, -0.5))
_SLOT = np.interp(np.arange(_ROWS), _NARROWING_ROWS, np.arange(5.5, -1.5, -0.5))
_EXIT = float(_CAR_SLOT[_ROWS])
_SLOT_SPEED = 64.0  # this speed covers one slot in a step of four emulator frames
_CAR_SLOT_SPEED = 256 / 3  # the same for the other cars' slots, which are longer
_TRAFFIC_SPEED = 24.0  # of every other car
_TOP_CLOSING_SPEED = 64.0  # the game draws no car coming closer faster than this
_SPEED_SCALE = 128.0  # 120 is the fastest one can drive

_PERIOD = 8.0  # slots from one narrowing to the next
_PLACES = np.arange(-0.6, 4.9, 0.1)
_AWAY_SR = np.abs(_SLOT - _PLACES[:, None])
_THICKNESS = np.abs(np.gradient(_SLOT)).astype(np.float32)  # slots a row
_INSIDE_RS = ((_AWAY_SR <= 0.45) * _THICKNESS).T.astype(np.float32)
_BESIDE_RS = (((_AWAY_SR > 0.55) & (_AWAY_SR <= 1.0)) * _THICKNESS).T.astype(np.float32)
_DEPTH_S = np.interp(_PLACES, [-0.5, 5.0], [6.0, 2.0])  # columns the road loses there

_HILLS = 12  # rows into which a codec smears the colours of the hills
_LINE, _BODY, _TINT = 15, 25, 14  # grey levels: edge of the road, our own car, a colour
_YCC = np.array([[0.299, 0.587, 0.114], [0.5, -0.4187, -0.0813], [-0.1687, -0.3313, 0.5]])  # brightness, two colours
_ZERO = 128  # cv2.transform keeps bytes
_CAR_WIDTH = 2 + np.arange(_ROWS) // 40  # columns at least
_OWN_CAR_ROWS, _OWN_CAR_COLUMNS = 11, 16
_OWN_CAR_AREA, _CRAWLING = 78, 98  # first row to search; row of its middle at the lowest speed


class Clip(Protocol):
    """All that this teacher asks of an exhibit: what the person sees."""

    @property
    def pictures(self) -> Picture: ...


@dataclass(frozen=True)
class Drive:
    """What one clip shows."""

    passed: int
    """Cars we overtook, less those that overtook us."""
    speed: float
    """Mean speed in the game's units: 6 crawling, 24 the traffic, 120 flat out."""

    @property
    def score(self) -> float:
        """Cars passed, plus speed as a share of (more than) top speed: one car outweighs any speed.

        A clip in which more cars overtake us than we pass counts none: only slow driving brings that about, so the
        speed says it already, and how many cars happen to come along is no merit of the driver.
        """
        return max(self.passed, 0) + self.speed / _SPEED_SCALE


def progress(left: Clip, right: Clip, rng: np.random.Generator) -> Answer:
    """Prefer the clip that passes more cars, and of equals the faster; a tie when they look the same.

    Draws nothing from `rng`: it makes no mistakes on purpose.
    """
    gain = progress_score(left.pictures) - progress_score(right.pictures)
    if abs(gain) < TIE_MARGIN:
        return "tie"
    return "left" if gain > 0 else "right"


def progress_score(pictures: Picture) -> float:
    """`Drive.score` of one clip `[L, 210, 160, 3]`: cars passed, net and at least 0, plus a speed term in (0, 1)."""
    return watch(pictures).score


def watch(pictures: Picture) -> Drive:
    """Read one clip `[L, 210, 160, 3]` of Enduro. UserError if its shape says that it is none."""
    if len(pictures) < 2 or pictures.shape[1:] != (210, 160, 3):
        raise UserError(
            f"pairplay.teachers.road:progress watches Enduro clips [L, 210, 160, 3], L > 1; this one is "
            f"{list(pictures.shape)}: use it with --env-id ALE/Enduro-v5"
        )
    contrast, coloured = _against_ground(pictures)
    way = _way(_rough_speed(contrast, coloured), _narrowing(contrast))
    speed = float(way[-1] - way[0]) * _SLOT_SPEED / (len(way) - 1)
    closing = np.minimum(np.diff(way) * _SLOT_SPEED - _TRAFFIC_SPEED, _TOP_CLOSING_SPEED) / _CAR_SLOT_SPEED
    return Drive(_net_passed(_cars(coloured), np.concatenate([[0.0], np.cumsum(closing)])), speed)


def _against_ground(pictures: Picture) -> tuple[Picture, BoolArray]:
    """How much lighter or darker than the ground each pixel is, and whether it has another colour: twice `[L, R, C]`.

    A mixture of the ground's colour with grey is no other colour: so look our own car and the edges of the road,
    which are grey, once a codec has smeared colours.
    """
    ground = np.ascontiguousarray(pictures[_GROUND])
    base_L3 = np.median(ground[:, ::8, ::8].reshape(len(ground), -1, 3), axis=1)
    contrast = np.empty(ground.shape[:3], np.uint8)
    coloured = np.empty(ground.shape[:3], np.bool_)
    for t, (frame, base) in enumerate(zip(ground, base_L3, strict=True)):
        grey, red, blue = _YCC @ base
        saturation = float(np.hypot(red, blue))
        if saturation < 6:
            saturation, red, blue = 0.0, 1.0, 0.0
        else:
            red, blue = red / saturation, blue / saturation
        # Axes: brightness above the ground's, colour towards the ground's, colour across that.
        axes = np.array([[1, 0, 0], [0, red, blue], [0, -blue, red]]) @ _YCC
        offset = [[_ZERO - grey], [_ZERO], [_ZERO]]
        seen = cv2.transform(frame, np.hstack([axes, offset])).astype(np.int16) - _ZERO
        contrast[t] = np.abs(seen[..., 0])
        coloured[t] = (seen[..., 1] > saturation + _TINT) | (seen[..., 1] < -_TINT) | (np.abs(seen[..., 2]) > _TINT)
    return contrast, coloured


def _rough_speed(contrast: Picture, coloured: BoolArray) -> Float64Array:
    """`[L]` our speed by the height of our own car, the grey block near the bottom: ±4 up to 72, then "fast"."""
    grey = (contrast[:, _OWN_CAR_AREA:] > _BODY) & ~coloured[:, _OWN_CAR_AREA:]
    window = (_OWN_CAR_COLUMNS, _OWN_CAR_ROWS)
    filled = [cv2.boxFilter(frame.astype(np.float32), -1, window, borderType=cv2.BORDER_CONSTANT) for frame in grey]
    middle = np.stack(filled).max(2).argmax(1) + _OWN_CAR_AREA
    climbed = np.clip(_CRAWLING - middle, 0, 9)
    return np.where(climbed == 0, 6.0, np.where(climbed == 9, 84.0, 8.0 * climbed + 4))


def _narrowing(contrast: Picture) -> Float64Array:
    """`[L]` the slot at which the road is narrower than above and below; NaN where that is not seen."""
    line = contrast > _LINE
    first, last = line.argmax(2), _COLUMNS - 1 - line[:, :, ::-1].argmax(2)
    lost = np.arange(_ROWS) - 2 - (last - first)  # a straight road is as wide as its row says
    seen = (first > 0) & (last < _COLUMNS - 1) & (np.abs(lost) < 14)
    seen[:, :_HILLS] = False
    lost_LR, seen_LR = np.where(seen, lost, 0).astype(np.float32), seen.astype(np.float32)
    inside_LS, beside_LS = seen_LR @ _INSIDE_RS, seen_LR @ _BESIDE_RS
    # Against its surroundings, because a bend narrows the road too, but smoothly.
    step_LS = lost_LR @ _INSIDE_RS / np.maximum(inside_LS, 1e-6) - lost_LR @ _BESIDE_RS / np.maximum(beside_LS, 1e-6)
    step_LS /= _DEPTH_S
    step_LS[(inside_LS < 0.6 * _INSIDE_RS.sum(0)) | (beside_LS < 0.3 * _BESIDE_RS.sum(0))] = 0
    place = step_LS.argmax(1)
    found = (step_LS.max(1) > 0.45) & (place < len(_PLACES) - 1)
    return np.where(found, _PLACES[place], np.nan)


def _way(rough_speed: Float64Array, narrowing: Float64Array) -> Float64Array:
    """`[L]` slots driven since an arbitrary point: dead reckoning, corrected wherever the narrowing is seen."""
    reckoned = np.concatenate([[0.0], np.cumsum(rough_speed[1:])]) / _SLOT_SPEED
    fixes: list[int] = []
    corrections: list[float] = []
    for t in np.flatnonzero(np.isfinite(narrowing)):
        # The narrowing comes closer as we drive, and a new one follows after each period.
        error = -narrowing[t] - reckoned[t]
        if fixes:
            drift = np.mod(error - corrections[-1] + _PERIOD / 2, _PERIOD) - _PERIOD / 2
            if abs(drift) > 0.4 + 0.8 * (t - fixes[-1]):  # no speed explains it: something else looked like it
                continue
            error = corrections[-1] + drift
        fixes.append(int(t))
        corrections.append(float(error))
    if not fixes:
        return reckoned
    return reckoned + np.interp(np.arange(len(reckoned)), fixes, corrections)


def _cars(coloured: BoolArray) -> list[Float64Array]:
    """The slots of the cars in each frame, farthest first, by the top row of each spot of colour."""
    wide: BoolArray = np.count_nonzero(coloured, axis=2) >= _CAR_WIDTH
    wide[:, :_HILLS] = False
    return [_CAR_SLOT[np.flatnonzero(np.diff(row.astype(np.int8), prepend=0) == 1)] for row in wide]


@dataclass
class _Car:
    home: float
    """Its slot plus our way relative to the traffic: constant for a car."""
    sightings: int
    first: int


def _net_passed(cars: list[Float64Array], gained: Float64Array) -> int:
    """Cars that left at the bottom less cars that came in there. `gained` `[L]`: our way relative to the traffic.

    All other cars drive alike, so our way tells where each must be next: only what is where no car can be is new.
    """
    passed = 0
    tracks: list[_Car] = []
    for t, slots in enumerate(cars):
        free = list(slots)
        for car in list(tracks):
            expected = car.home - gained[t]
            nearest = min(free, key=lambda slot: abs(slot - expected), default=np.inf)
            if abs(nearest - expected) < 0.5:
                free.remove(nearest)
                car.home += 0.5 * (nearest - expected)
                car.sightings += 1
            elif expected < _EXIT + 0.2:
                tracks.remove(car)
                passed += car.sightings > 1 or car.first == 0
        for slot in free:
            if t and slot < _EXIT + 0.9 and gained[t] - gained[t - 1] < 0.1:
                passed -= 1
            tracks.append(_Car(slot + gained[t], 1, t))
    return passed
