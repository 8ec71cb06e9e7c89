"""Each promise in docs/guarantees.md, and each item of docs/guide/recipe.md, names tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("page", ["guarantees.md", "guide/recipe.md"])
def test_every_promise_is_held_by_a_test_that_exists(page: str) -> None:
    tests = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    promises = [line for line in (ROOT / "docs" / page).read_text().splitlines() if line.startswith("| ")][1:]
    assert len(promises) >= 20
    for promise in promises:
        named = re.findall(r"`(test_\w+)`", promise)
        assert named, f"no test holds: {promise}"
        assert set(named) <= tests, f"{set(named) - tests} do not exist"
