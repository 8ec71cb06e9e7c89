"""Two clips: in step, looping, under the person's control."""

from __future__ import annotations

from itertools import pairwise

import pytest
from playwright.sync_api import expect

from .conftest import Note, Visit
from .studio import FPS, LENGTH, Studio, moving_square

pytestmark = pytest.mark.browser

# Both positions at each painted frame, for so many milliseconds.
WATCH = """(duration_ms) => new Promise((resolve) => {
  const [left, right] = document.querySelectorAll("[data-query-id] video");
  const seen = [], until = performance.now() + duration_ms;
  const look = (now) => {
    seen.push([left.currentTime, right.currentTime, left.paused && right.paused]);
    if (now < until) requestAnimationFrame(look); else resolve(seen);
  };
  requestAnimationFrame(look);
})"""

# The time of the last frame of each clip that the browser has really put on the screen. While one clip has painted its
# next frame and the other not yet, they are one apart; a busy machine paints late, so this is noted and not judged.
WATCH_FRAMES = """(duration_ms) => new Promise((resolve) => {
  const shown = [null, null], apart = [];
  document.querySelectorAll("[data-query-id] video").forEach((video, side) => {
    const note = (now, frame) => {
      shown[side] = frame.mediaTime;
      if (shown[0] !== null && shown[1] !== null) apart.push(Math.abs(shown[0] - shown[1]));
      video.requestVideoFrameCallback(note);
    };
    video.requestVideoFrameCallback(note);
  });
  setTimeout(() => resolve(apart), duration_ms);
})"""


def test_clips_of_a_pair_are_in_step_and_loop(studio: Studio, visit: Visit, note: Note) -> None:
    person = visit(studio.url)
    person.wait_for_pair()
    seen = person.page.evaluate(WATCH, 4400)
    apart = [abs(left - right) * FPS for left, right, _ in seen]
    starts = sum(before[0] > 1 and after[0] < 0.3 for before, after in pairwise(seen))
    frames = sorted(gap * FPS for gap in person.page.evaluate(WATCH_FRAMES, 1200))
    note(f"apart, in frames: clocks at most {max(apart):.2f}; painted, 90 % {frames[int(0.9 * len(frames))]:.2f}")
    assert max(apart) <= 1.0
    assert starts >= 1, "4.4 s hold at least one loop of 1.7 s and its hold"


def test_pause_step_speed_and_replay(studio: Studio, visit: Visit) -> None:
    person = visit(studio.url)
    shown = person.wait_for_pair()
    page = person.page
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    page.keyboard.press("r")
    page.wait_for_timeout(300)
    page.keyboard.press("Space")
    before = page.evaluate(WATCH, 50)[-1]
    for key in (".", ".", ","):
        page.keyboard.press(key)
        page.wait_for_timeout(150)
    after = page.evaluate(WATCH, 50)[-1]
    assert after[2], "stepping pauses"
    assert after[0] == pytest.approx(after[1], abs=1e-3)
    assert int(after[0] * FPS) - int(before[0] * FPS) in (1, 2)
    page.keyboard.press("[")
    page.keyboard.press("Space")
    rates = "() => [...document.querySelectorAll('[data-query-id] video')].map((video) => video.playbackRate)"
    page.wait_for_timeout(200)
    assert max(page.evaluate(rates)) == 0.5
    page.keyboard.press("]")
    page.keyboard.press("]")
    assert max(page.evaluate(rates)) == 2
    assert person.query_id == shown


def test_a_focused_button_keeps_its_space_bar(studio: Studio, visit: Visit) -> None:
    person = visit(studio.url)
    shown = person.wait_for_pair()
    person.page.get_by_role("button", name="About the same", exact=True).focus()
    person.page.keyboard.press("Tab")
    person.page.keyboard.press("Shift+Tab")
    person.page.keyboard.press("Space")
    person.wait_for_pair(other_than=shown)
    person.saved("about the same")
    assert studio.answers()[shown] == "tie"


def test_clips_of_different_length_wait_for_one_another(studio: Studio, visit: Visit) -> None:
    studio.ask(4, lambda number: moving_square(number, LENGTH if number else 8), variety=2)
    person = visit(studio.url)
    person.wait_for_pair()
    positions = person.page.evaluate(WATCH, 2600)
    assert max(max(left, right) for left, right, _ in positions) > (LENGTH - 2) / FPS, "the longer is seen to its end"
    assert max(min(left, right) for left, right, _ in positions) <= 8 / FPS + 0.01


def test_reduced_motion_plays_only_when_asked(studio: Studio, visit: Visit) -> None:
    person = visit(studio.url, reduced_motion="reduce")
    person.wait_for_pair()
    assert person.page.evaluate(WATCH, 400)[-1] == [0, 0, True]
    person.page.get_by_role("button", name="Play", exact=True).click()
    person.page.wait_for_timeout(400)
    assert not person.page.evaluate(WATCH, 50)[-1][2]
    expect(person.page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    assert person.page.evaluate(WATCH, 700)[-1][2], "once, and no loop"
