"""For everyone: phones, contrast, names, size; and nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

import pairplay.web

from .conftest import Visit
from .studio import Studio

STATIC = Path(pairplay.web.__file__).parent / "static"
TEXT_ON = [
    ("ink", "paper"),
    ("ink", "card"),
    ("soft", "paper"),
    ("soft", "card"),
    ("accent", "paper"),
    ("on-accent", "accent"),
    ("warm", "paper"),
    ("bad", "paper"),
]


@pytest.mark.browser
def test_a_phone_in_portrait(studio: Studio, visit: Visit) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
    person = visit(studio.url, **phone)
    shown = person.wait_for_pair()
    person.page.locator("[data-query-id] .clip.left").tap()
    person.wait_for_pair(other_than=shown)
    person.saved("left. 1 answer")
    assert studio.answers()[shown] == "left"
    assert person.page.evaluate("document.documentElement.scrollWidth") <= 360
    for button in person.page.get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 44, button.get_attribute("id")
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
    left, right = (person.page.locator(f"[data-query-id] .clip.{side}").bounding_box() for side in ("left", "right"))
    assert left is not None
    assert right is not None
    assert (left["width"], left["height"]) == (right["width"], right["height"])
    assert left["width"] > 160


@pytest.mark.browser
def test_a_laptop_needs_no_scrolling(studio: Studio, visit: Visit) -> None:
    person = visit(studio.url)
    person.wait_for_pair()
    for width, height in ((1280, 720), (1024, 640), (1920, 1080)):
        person.page.set_viewport_size({"width": width, "height": height})
        size = person.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
        assert size[0] <= width
        assert size[1] <= height
        for name in ("Left", "Right", "About the same", "Can't tell"):
            expect(person.page.get_by_role("button", name=name, exact=True)).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(scheme: str) -> None:
    colours = _palette(scheme)
    for text, ground in TEXT_ON:
        assert _contrast(colours[text], colours[ground]) >= 4.5, f"{text} on {ground}"
    assert _contrast(colours["edge"], colours["paper"]) >= 3, "the outline of a control"


def test_script_and_style_are_small_and_from_here() -> None:
    files = [path for path in STATIC.iterdir() if path.suffix in (".js", ".css", ".html", ".svg")]
    assert sum(path.stat().st_size for path in files) < 150_000
    for path in files:
        elsewhere = re.findall(r"(?:src|href|url|from|import)\W{1,3}(?:https?:)?//\S+", path.read_text())
        assert elsewhere == [], path.name


def _palette(scheme: str) -> dict[str, str]:
    """The colours of `style.css`: those of the dark scheme over those of the light one."""
    blocks = re.findall(r":root \{(.*?)\}", (STATIC / "style.css").read_text(), re.DOTALL)
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block)) for block in blocks)
    return light if scheme == "light" else light | dark


def _contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio of two colours, 1 to 21."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
