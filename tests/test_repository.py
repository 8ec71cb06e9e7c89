"""The promises of the repository as a whole: its commands, its pins, its walls, what it ships and what it says."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pairplay
from pairplay.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "pairplay"
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = sorted(SOURCE.rglob("*.py"))
PROGRAMS = MODULES + sorted((ROOT / "benchmarks").rglob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tool(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment at the repository's root."""
    program = Path(sys.executable).with_name(command)
    return subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


# Commands


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_readme_names_the_two_commands() -> None:
    assert {"make train", "make test"} <= set(re.findall(r"make [a-z]+", (ROOT / "README.md").read_text()))


def code(page: Path) -> list[str]:
    """The pieces of a page set as code: prose may "make sure"."""
    return re.findall(r"^```.*?^```|`[^`\n]+`", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_documented_tasks_exist(page: Path) -> None:
    documented = {task for piece in code(page) for task in re.findall(r"(?:^|`|\$ |&& )make ([a-z]+)", piece, re.M)}
    assert documented <= make_targets()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_documented_commands_exist(page: Path) -> None:
    documented = {
        (command, option)
        for piece in code(page)
        for command, options in re.findall(
            r"(?:^|`|\$ |/)pairplay +([a-z]+)((?:[^`\n]|\\\n)*)",
            piece.replace('make train ARGS="', "pairplay train "),
            re.M,
        )
        for option in {"", *re.findall(r"(?<=\s)--[a-z][a-z.-]*", options)}
    }
    assert {command for command, _ in documented} <= COMMANDS.keys()
    for command in sorted({command for command, option in documented if option}):
        usage = tool("pairplay", command, "--help").stdout
        known = set(re.findall(r"--[a-z][a-z.-]*", usage))
        assert {option for its, option in documented if its == command and option} <= known


def test_ci_is_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert commands == ["set -euo pipefail", 'cd "$(dirname "${BASH_SOURCE[0]}")/.."', "make test"]


@pytest.mark.parametrize("task", ["train", "test", "check", "bench"])
def test_tasks_set_up_first(task: str) -> None:
    assert re.search(rf"^{task}: \$\(READY\)", (ROOT / "Makefile").read_text(), re.MULTILINE)


# What `make check` checks. `make test` is all that guards what lands, so it is checked here too.


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "command", ["ruff format --check .", "ruff check .", "mypy", "lint-imports --no-logo"], ids=lambda c: c.split()[0]
)
def test_checks_pass(command: str) -> None:
    assert f"$(BIN)/{command}" in (ROOT / "Makefile").read_text()
    done = tool(*command.split())
    assert done.returncode == 0, done.stdout + done.stderr


# Pins


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    # An option, an address or a path would make the set-up depend on somebody's machine.
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in pinned)
    versions = dict(line.split("==") for line in pinned)
    assert len(versions) == len(pinned), "pinned twice"
    return {canonicalize_name(package): version for package, version in versions.items()}


def declared() -> list[Requirement]:
    project = PYPROJECT["project"]
    groups = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *PYPROJECT["dependency-groups"].values(),
    ]
    return [Requirement(line) for group in groups for line in group]


def installed_needs(requirement: Requirement) -> Iterator[Requirement]:
    """What an installed package asks for in turn, on this platform and with these extras."""
    try:
        lines = metadata.requires(requirement.name) or []
    except metadata.PackageNotFoundError:  # an optional extra that is not installed
        return
    for need in map(Requirement, lines):
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in {"", *requirement.extras}):
            yield need


def test_torch_is_pinned() -> None:
    assert pins()["torch"] == "2.13.0"


def test_pins_satisfy_what_is_declared() -> None:
    pinned = pins()
    for requirement in declared():
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(version), f"{requirement} is pinned to {version}"


def test_pins_cover_everything_that_gets_installed() -> None:
    pinned, seen, queue = pins(), set[str](), declared()
    while queue:
        requirement = queue.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        assert canonicalize_name(requirement.name) in pinned, f"{requirement} is installed, but not in constraints.txt"
        queue.extend(installed_needs(requirement))


def declared_beside(path: Path) -> list[Requirement]:
    """What a program that runs in its library's environment, `<library>_….py`, may use: `<library>.txt` beside it.

    What lies in `beside_<library>/` runs there too.
    """
    own = path.with_name(f"{path.stem.partition('_')[0]}.txt")
    if path.parent.name.startswith("beside_"):
        own = path.parent.with_name(f"{path.parent.name.removeprefix('beside_')}.txt")
    lines = own.read_text().splitlines() if path in PROGRAMS and own.exists() else []
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_every_import_is_declared() -> None:
    """Nothing is there only because something else happens to need it."""
    providers = metadata.packages_distributions()
    library = sys.stdlib_module_names | {"compression"}  # since Python 3.14
    for path in [*PROGRAMS, *sorted((ROOT / "tests").rglob("*.py"))]:
        beside = {file.stem for file in path.parent.glob("*.py")} if path not in MODULES else set[str]()
        names = {canonicalize_name(requirement.name) for requirement in [*declared(), *declared_beside(path)]}
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for module in {module.split(".")[0] for module in modules} - library - {"pairplay", "tests", *beside}:
                # Without an optional extra nobody provides its module; then it goes by its own name.
                found = {canonicalize_name(distribution) for distribution in providers.get(module, [module])}
                assert found & names, f"{name(path)} imports {module}, which pyproject.toml does not name"


def test_the_pinned_versions_are_the_tested_ones() -> None:
    for package, version in pins().items():
        try:
            installed = metadata.version(package)
        except metadata.PackageNotFoundError:  # an optional extra
            continue
        assert installed.split("+")[0] == version, f"{package} {installed} is installed, {version} is pinned"


# The code


@pytest.mark.parametrize("path", PROGRAMS, ids=name)
def test_no_code_from_data(path: Path) -> None:
    """Nothing that is loaded from a file or a request can run as code."""
    # What no program may import: each can run what it reads.
    modules = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "runpy"}
    functions = {"eval", "exec", "compile", "torch.load"}
    for node in ast.walk(ast.parse(path.read_text())):
        where = f"{name(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            assert not modules & {alias.name.split(".")[0] for alias in node.names}, where
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in modules, where
        elif isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in functions, where
            assert not any(keyword.arg in {"allow_pickle", "shell"} for keyword in node.keywords), where


@pytest.mark.parametrize("path", PROGRAMS, ids=name)
def test_every_file_says_what_it_is_and_is_short(path: Path) -> None:
    source = path.read_text()
    assert not source or ast.get_docstring(ast.parse(source)), "no docstring"
    assert len(source.splitlines()) <= 400


# What is shipped


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    directory = tmp_path_factory.mktemp("wheel")
    done = tool("hatchling", "build", "-t", "wheel", "-d", str(directory))
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(directory.glob("*.whl"))) as archive:
        return set(archive.namelist())


def test_wheel_holds_the_page_and_the_migrations(wheel: set[str]) -> None:
    assert "pairplay/web/static/index.html" in wheel
    assert any(re.fullmatch(r"pairplay/labels/migrations/versions/\w+\.py", file) for file in wheel)
    assert "pairplay/py.typed" in wheel


def test_wheel_holds_every_file_of_the_package(wheel: set[str]) -> None:
    files = {f"pairplay/{path.relative_to(SOURCE).as_posix()}" for path in SOURCE.rglob("*") if path.is_file()}
    assert {file for file in files if "__pycache__" not in file} <= wheel


def test_one_version() -> None:
    assert pairplay.__version__ == PYPROJECT["project"]["version"] == metadata.version("pairplay")


# What is written


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text()) + re.findall(r'src="([^"]+)"', page.read_text())
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing


def test_decisions_are_numbered_short_and_complete() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(path.name[:3]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        text = path.read_text()
        assert text.startswith(f"# {path.name[:3]} "), name(path)
        assert all(f"\n## {part}\n" in text for part in ("Context", "Decision", "Consequences")), name(path)
        assert len(text.splitlines()) <= 40, name(path)


def test_changelog_has_an_unreleased_section() -> None:
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text()
