"""The libraries that Pairplay is compared with, each in a virtual environment of its own. Runs nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rows import ROOT


def python_of(library: str) -> Path:
    """Its interpreter, from the repository's root."""
    return Path(f".venv-{library}") / "bin" / "python"


def needs_of(library: str) -> Path:
    """The list of every version that its programs in peers/ run with, from the repository's root."""
    return Path("benchmarks/peers") / f"{library}.txt"


def install(library: str) -> None:
    """Make its virtual environment, unless it is there with what the list says today.

    The list is whole, so nothing is looked for beside it. `peers/<library>-build.txt`, where there is one, says what
    its packages are built with.
    """
    python, needs = ROOT / python_of(library), ROOT / needs_of(library)
    installed = python.parent.parent / needs.name
    if installed.exists() and installed.read_text() == needs.read_text():
        return
    environment, builders = dict(os.environ), needs.with_name(f"{library}-build.txt")
    if builders.exists():
        environment["PIP_CONSTRAINT"] = str(builders)
    subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
    words = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", str(needs)]
    subprocess.run(words, check=True, env=environment)
    installed.write_text(needs.read_text())
