"""When something is missing: pairs, the server, the trainer, the token, a clip."""

from __future__ import annotations

import time
from typing import Any

import pytest
from playwright.sync_api import expect

from .conftest import Note, Visit
from .studio import QUESTION, Studio, moving_square

pytestmark = pytest.mark.browser


def test_an_empty_queue_wakes_by_itself(own_studio: Studio, visit: Visit, note: Note) -> None:
    person = visit(own_studio.start())
    page = person.page
    expect(page.get_by_role("heading", name="Nothing to compare while training rests")).to_be_visible()
    expect(page.locator("#status")).to_contain_text("Training is not running; answers are still saved")

    own_studio.post(phase="exploring", step=2048, fps=100.0, next_due_at_step=5048)
    expect(page.get_by_role("heading", name="All caught up")).to_be_visible()
    expect(page.get_by_text("The next pairs come in about 30 seconds")).to_be_visible()
    expect(page.locator("#status")).to_contain_text("The agent is exploring · step 2,048 of 10,000 · 100 steps/s")

    asked = set(own_studio.ask(2))
    published = time.monotonic()
    first = person.wait_for_pair()
    note(f"pair published → answerable: {time.monotonic() - published:.2f} s (0.27 s of it the dead time)")
    expect(page.get_by_role("heading", name=QUESTION)).to_be_visible()
    person.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="All caught up")).to_be_visible()
    assert page.locator("[data-query-id]").count() == 0
    expect(page.locator("#saved")).to_contain_text("2 answers")
    assert set(own_studio.answers()) == asked

    page.keyboard.press("z")
    assert person.wait_for_pair() in asked - {first}
    person.page.keyboard.press("ArrowUp")
    expect(page.locator("#saved")).to_contain_text("about the same. 2 answers")
    assert own_studio.answers() == {first: "left", (asked - {first}).pop(): "tie"}


def test_answers_outlive_a_killed_server_and_a_closed_page(
    own_studio: Studio, visit: Visit, complaints: list[str]
) -> None:
    studio = own_studio
    studio.ask(8)
    person = visit(studio.start())
    first = person.wait_for_pair()
    expect(person.page.locator("#depth")).to_have_text("8")
    studio.kill()
    second = person.press("ArrowLeft") and person.query_id
    expect(person.page.get_by_text("1 answer waiting to be sent")).to_be_visible()
    expect(person.page.locator("#status")).to_contain_text("Label server unreachable, trying again")
    assert studio.answers() == {}

    studio.start()
    person.saved("left. 1 answer")
    expect(person.page.get_by_text("waiting to be sent")).to_have_count(0)
    expect(person.page.locator("#status")).not_to_contain_text("unreachable")
    assert studio.answers() == {first: "left"}

    studio.kill()
    person.press("ArrowRight")
    third = person.press("ArrowDown")
    person.press("z")
    person.press("ArrowUp")
    expect(person.page.get_by_text("waiting to be sent")).to_be_visible()
    context = person.page.context
    person.page.close()
    studio.start()
    page = context.new_page()
    page.goto(studio.url)
    expect(page.locator("#saved")).to_contain_text("about the same. 3 answers")
    assert studio.answers() == {first: "left", second: "right", third: "tie"}

    assert [line for line in complaints if "Failed to load resource" not in line and "ERR_" not in line] == []
    complaints.clear()


@pytest.mark.parametrize("fragment", ["", "#token=not-the-token-of-this-run-at-all"])
def test_without_its_link_the_page_says_where_to_find_it(
    studio: Studio, visit: Visit, complaints: list[str], fragment: str
) -> None:
    person = visit(studio.url.partition("#")[0] + fragment)
    expect(person.page.get_by_role("heading", name="Open the link printed in the terminal")).to_be_visible()
    assert "token" not in person.page.url
    assert person.page.locator("[data-query-id]").count() == 0
    assert complaints
    assert [line for line in complaints if "401" not in line] == []
    complaints.clear()
    # The right link, pasted into the same tab, changes only the fragment.
    person.page.evaluate("(url) => { location.href = url; }", studio.url)
    person.wait_for_pair()
    assert "token" not in person.page.url


def test_a_damaged_clip_is_put_aside(own_studio: Studio, visit: Visit, complaints: list[str]) -> None:
    broken = own_studio.ask(1, variety=1)[0]
    for clip in own_studio.run.clips.glob("*.mp4"):
        clip.write_bytes(b"not a film")
    fine = own_studio.ask(1, lambda number: moving_square(number + 50), variety=2)[0]
    person = visit(own_studio.start())
    assert person.wait_for_pair() == fine
    expect(person.page.locator("#notice")).to_contain_text("could not be loaded")
    person.page.keyboard.press("ArrowLeft")
    person.saved("left. 1 answer")
    assert person.page.locator("[data-query-id]").count() == 0
    assert broken not in own_studio.answers(), "no answer is made up"
    expect(person.page.get_by_role("heading", name="This pair cannot be shown here")).to_be_visible()
    complaints.clear()


def test_the_trainer_has_a_word_with_the_person(own_studio: Studio, visit: Visit) -> None:
    own_studio.ask(4)
    person = visit(own_studio.start())
    person.wait_for_pair()
    word = person.page.locator("#status").locator("[aria-live=polite]")
    expect(word).to_have_text("")
    facts: dict[str, Any] = {"phase": "learning", "step": 4096, "fps": 100.0, "next_due_at_step": 5048}
    own_studio.post(**facts, notice="Paused until 3 more answers from you.")
    expect(word).to_have_text("Paused until 3 more answers from you.")
    expect(person.page.locator("#status")).to_contain_text("step 4,096 of 10,000")
    assert person.page.evaluate("document.documentElement.scrollHeight") <= 800
    own_studio.post(**facts, notice="<b>You can stop now.</b>")
    expect(word).to_have_text("<b>You can stop now.</b>")
    own_studio.post(**facts)
    expect(word).to_have_text("")
    own_studio.post(**facts | {"phase": "stopped"}, notice="Paused until 3 more answers from you.")
    expect(person.page.locator("#status")).to_contain_text("Training is not running")
    expect(word).to_have_text("")


def test_a_pair_that_expired_in_hand_is_still_answered(own_studio: Studio, visit: Visit) -> None:
    """As after an hour in which the laptop slept: the leases are over, and the trainer has withdrawn the pairs."""
    ids = own_studio.ask(4)
    person = visit(own_studio.start())
    first = person.wait_for_pair()
    expect(person.page.locator("#depth")).to_have_text("4")
    # The page holds the four: now nobody does.
    (labeler_id,) = [number for number in range(1, 9) if own_studio.store.renew(number, [first])]
    own_studio.store.release(labeler_id, ids)
    assert own_studio.store.expire(10_000) == 4
    person.page.keyboard.press("ArrowLeft")
    person.saved("left. 1 answer")
    assert own_studio.answers() == {first: "left"}
    # A person who comes now gets nothing of them.
    expect(visit(own_studio.url).page.locator("#waiting-title")).to_be_visible()
    assert own_studio.store.counts().expired == 3


def test_help_and_welcome(studio: Studio, visit: Visit) -> None:
    person = visit(studio.url)
    shown = person.wait_for_pair()
    welcome = person.page.get_by_text("You are teaching the agent by comparing")
    expect(welcome).to_be_visible()
    person.page.keyboard.press("?")
    expect(person.page.get_by_role("heading", name="How to answer")).to_be_visible()
    person.page.keyboard.press("ArrowLeft")
    person.page.keyboard.press("Escape")
    expect(person.page.get_by_role("heading", name="How to answer")).to_be_hidden()
    assert person.query_id == shown, "keys do not answer behind the help"
    person.page.get_by_role("button", name="Got it").click()
    expect(welcome).to_be_hidden()
    person.page.reload()
    person.wait_for_pair()
    expect(welcome).to_be_hidden()


def test_who_has_answered_the_first_pair_is_promised_the_next(own_studio: Studio, visit: Visit) -> None:
    """Two environments show a first pair while the others still load: step 0 for a while after it."""
    own_studio.post(phase="starting", step=0, fps=0.0, next_due_at_step=0)
    person = visit(own_studio.start())
    expect(person.page.get_by_text("The first two clips come in a few seconds")).to_be_visible()
    own_studio.ask(1)
    person.wait_for_pair()
    person.page.keyboard.press("ArrowLeft")
    expect(person.page.get_by_text("The next two clips come in a few seconds")).to_be_visible()


def test_who_could_tell_nothing_is_not_promised_that_the_agent_learns(own_studio: Studio, visit: Visit) -> None:
    own_studio.post(phase="exploring", step=1024, fps=100.0, next_due_at_step=0, labels_budget=1)
    own_studio.ask(1)
    person = visit(own_studio.start())
    person.wait_for_pair()
    person.page.keyboard.press("ArrowDown")
    expect(person.page.get_by_text("That was the last answer")).to_be_visible()
    expect(person.page.get_by_text("so the agent cannot begin to learn")).to_be_visible()
