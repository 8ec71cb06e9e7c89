"""Answering: by keyboard, by mouse, by touch; taken back; twice in a hurry; two people at once."""

from __future__ import annotations

import statistics

import pytest
from playwright.sync_api import expect

from .conftest import Note, Visit
from .studio import DEAD_MS, Studio

pytestmark = pytest.mark.browser

BY_KEY = {
    "ArrowLeft": "left",
    "ArrowRight": "right",
    "ArrowUp": "tie",
    "ArrowDown": "skip",
    "1": "left",
    "2": "right",
    "3": "tie",
    "4": "skip",
}
BY_NAME = {"Left": "left", "Right": "right", "About the same": "tie", "Can't tell": "skip"}

# From the key to the frame in which the browser has painted another pair; and how many clips are kept in memory.
MEASURE = """
window.swaps_ms = [];
addEventListener("keydown", (event) => {
  const before = document.querySelector("[data-query-id]")?.dataset.queryId;
  const look = () => {
    const now = document.querySelector("[data-query-id]")?.dataset.queryId;
    const videos = [...document.querySelectorAll("[data-query-id] video")];
    if (now === before || videos.some((video) => video.readyState < 2)) return requestAnimationFrame(look);
    // The callback runs before its frame is painted, the next task after it.
    requestAnimationFrame((started) => setTimeout(() => window.swaps_ms.push(performance.now() - event.timeStamp)));
  };
  look();
}, true);
window.clips = 0;
const create = URL.createObjectURL, revoke = URL.revokeObjectURL;
URL.createObjectURL = (blob) => { window.clips += 1; return create.call(URL, blob); };
URL.revokeObjectURL = (url) => { window.clips -= 1; return revoke.call(URL, url); };
"""


def test_thirty_pairs_by_keyboard_some_taken_back(studio: Studio, visit: Visit, note: Note) -> None:
    studio.ask(34)
    person = visit("about:blank")
    person.page.add_init_script(MEASURE)
    person.page.goto(studio.url)
    person.wait_for_pair()
    expected = {}
    for number in range(30):
        key = list(BY_KEY)[number % len(BY_KEY)]
        shown = person.press(key)
        expected[shown] = BY_KEY[key]
        if number % 7 == 3:
            undo = ("z", "Backspace", "Control+z", "z")[number // 7]
            person.press(undo)
            assert person.query_id == shown, "an undo brings the pair back"
            assert person.press("ArrowRight") == shown
            expected[shown] = "right"
    expect(person.page.locator("#saved")).to_contain_text("30 answers")
    given = studio.answers()
    assert {query_id: given[query_id] for query_id in expected} == expected
    assert len(expected) == 30
    swaps_ms = person.page.evaluate("window.swaps_ms")
    note(
        f"key → next pair painted, {len(swaps_ms)} times: median {statistics.median(swaps_ms):.0f} ms, "
        f"95 % {statistics.quantiles(swaps_ms, n=20)[-1]:.0f} ms, longest {max(swaps_ms):.0f} ms"
    )
    # Two each for the shown pair, three ahead and five kept for undo.
    assert person.page.evaluate("window.clips") <= 2 * (1 + 3 + 5)


def test_the_four_buttons(studio: Studio, visit: Visit) -> None:
    person = visit(studio.url)
    shown = person.wait_for_pair()
    for name, answer in BY_NAME.items():
        person.page.get_by_role("button", name=name, exact=True).click()
        before, shown = shown, person.wait_for_pair(other_than=shown)
        expect(person.page.locator("#saved")).to_contain_text("Saved")
        assert studio.answers()[before] == answer


def test_a_click_on_a_clip_chooses_it(studio: Studio, visit: Visit) -> None:
    person = visit(studio.url)
    shown = person.wait_for_pair()
    person.page.locator("[data-query-id] .clip.right").click()
    person.saved("right. 1 answer")
    assert studio.answers()[shown] == "right"


def test_a_double_press_answers_once(studio: Studio, visit: Visit) -> None:
    person = visit(studio.url)
    first = person.wait_for_pair()
    # Both in one task of the browser: however slow the machine, they are less than the dead time apart.
    person.page.evaluate(
        """() => {
             for (let press = 0; press < 2; press += 1) {
               document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft", bubbles: true }));
             }
           }"""
    )
    second = person.wait_for_pair(other_than=first)
    expect(person.page.locator("#session-count")).to_have_text("1")
    person.saved("left. 1 answer")
    assert person.query_id == second
    assert second not in studio.answers()


def test_a_held_key_answers_once(studio: Studio, visit: Visit) -> None:
    person = visit(studio.url)
    first = person.wait_for_pair()
    for _ in range(4):
        person.page.keyboard.down("ArrowLeft")  # after the first, these are key repeats
        person.page.wait_for_timeout(DEAD_MS / 2)
    person.page.keyboard.up("ArrowLeft")
    person.saved("left. 1 answer")
    assert person.query_id not in studio.answers()
    assert studio.answers()[first] == "left"


def test_a_held_enter_on_a_button_answers_once(studio: Studio, visit: Visit) -> None:
    person = visit(studio.url)
    first = person.wait_for_pair()
    person.page.locator("button[data-answer=left]").focus()
    for _ in range(6):
        person.page.keyboard.down("Enter")
        person.page.wait_for_timeout(DEAD_MS / 2)
    person.page.keyboard.up("Enter")
    person.saved("left. 1 answer")
    assert person.query_id not in studio.answers()
    assert studio.answers()[first] == "left"


def test_other_shortcuts_of_the_browser_are_left_alone(studio: Studio, visit: Visit) -> None:
    person = visit(studio.url)
    shown = person.wait_for_pair()
    for key in ("Control+ArrowLeft", "Alt+ArrowUp", "Meta+1", "Control+r"):
        person.page.evaluate(
            """([key, modifier]) => document.body.dispatchEvent(
                 new KeyboardEvent("keydown", { key, [modifier]: true, bubbles: true, cancelable: true }))""",
            [key.split("+")[1], {"Control": "ctrlKey", "Alt": "altKey", "Meta": "metaKey"}[key.split("+")[0]]],
        )
    assert person.query_id == shown


def test_an_answer_given_before_a_reload_can_be_taken_back(studio: Studio, visit: Visit) -> None:
    person = visit(studio.url)
    first = person.wait_for_pair()
    person.press("ArrowUp")
    person.saved("about the same. 1 answer")
    person.page.reload()
    second = person.wait_for_pair()
    assert second != first
    person.page.get_by_role("button", name="Undo").click()
    assert person.wait_for_pair(other_than=second) == first
    assert first not in studio.answers()
    assert person.press("ArrowDown") == first
    assert person.query_id == second, "what an undo pushed aside comes next"


def test_two_people_never_see_the_same_pair(studio: Studio, visit: Visit) -> None:
    people = [visit(studio.url), visit(studio.url)]
    seen: list[set[int]] = [set(), set()]
    for person in people:
        person.wait_for_pair()
    for _ in range(4):
        for person, pairs in zip(people, seen, strict=True):
            pairs.add(person.press("ArrowLeft"))
    assert [len(pairs) for pairs in seen] == [4, 4]
    assert not seen[0] & seen[1]


def test_a_pair_answered_in_another_tab_is_passed_over(studio: Studio, visit: Visit, complaints: list[str]) -> None:
    person = visit(studio.url)
    shown = person.wait_for_pair()
    person.page.evaluate(
        """(id) => fetch(`/api/v1/queries/${id}/answer`, {
             method: "POST",
             headers: { "content-type": "application/json" },
             body: JSON.stringify({ answer: "tie", client_uuid: crypto.randomUUID() }),
           })""",
        shown,
    )
    person.press("ArrowLeft")
    expect(person.page.locator("#notice")).to_contain_text("answered already")
    assert studio.answers()[shown] == "tie"
    assert [complaint for complaint in complaints if "409" not in complaint] == []
    complaints.clear()
