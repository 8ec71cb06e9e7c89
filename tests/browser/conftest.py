"""A real Chromium, a fresh browser context for each person, and no error in any console."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, sync_playwright

from .studio import Labeler, Studio

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-quic",
    "--disable-sync",
    "--disable-component-update",
    "--no-first-run",
]

Visit = Callable[..., Labeler]
Note = Callable[[str], None]


# Not for the session: while Playwright is there, the main thread has a running event loop, and asyncio.run() in the
# tests of other rooms would fail.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def shared_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    studio = Studio(tmp_path_factory.mktemp("studio") / "run")
    studio.start()
    yield studio
    studio.close()


@pytest.fixture
def studio(shared_studio: Studio) -> Studio:
    """A served run with pairs to spare. Earlier tests left answers and leases in it: compare only what you saw."""
    shared_studio.ask(max(0, 12 - shared_studio.store.counts().pending))
    return shared_studio


@pytest.fixture
def own_studio(tmp_path: Path) -> Iterator[Studio]:
    """A run of one's own, without pairs; its server is not started."""
    studio = Studio(tmp_path / "run")
    yield studio
    studio.close()


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the consoles said. A test that breaks something on purpose looks at it and clears it."""
    said: list[str] = []
    yield said
    assert said == []


@pytest.fixture
def note(capsys: pytest.CaptureFixture[str]) -> Note:
    """Write a measurement into the test output, where it is seen without an option."""

    def note(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{text}\n")

    return note


@pytest.fixture
def visit(browser: Browser, complaints: list[str]) -> Iterator[Visit]:
    """`visit(url, **context options)` opens the page as a new person."""
    contexts = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def visit(url: str, **options: Any) -> Labeler:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
        context.set_default_timeout(30_000)
        context.on("console", heard)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        contexts.append(context)
        page = context.new_page()
        page.goto(url)
        return Labeler(page)

    yield visit
    for context in contexts:
        context.close()
