"""The doctor finds what is wrong, says what to do, and survives what it finds."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest

from pairplay.report import doctor as module
from pairplay.report.doctor import Finding, doctor, examine

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo's process takes a second; only one test looks at it."""
    monkeypatch.setattr(module, "_mujoco", lambda: Finding("MuJoCo pictures", "ok", ""))


def find(findings: list[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.name == name)


def test_this_machine_can_run_the_tests_so_nothing_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(tmp_path / "runs" / "later") == 0
    said = capsys.readouterr().out
    assert "Ready: pairplay train" in said
    assert "label store" in said
    assert list(tmp_path.iterdir()) == []  # looking leaves nothing behind


@pytest.mark.usefixtures("no_drawing")
def test_a_full_disk_and_a_closed_port_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def closed(*_: object, **__: object) -> None:
        raise OSError("Operation not permitted")

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 100 * 2**20))
    monkeypatch.setattr(socket, "create_server", closed)
    assert doctor(tmp_path) == 1
    said = capsys.readouterr().out
    assert "2 of 10 checks failed" in said
    assert "--run-dir DIR" in said


@pytest.mark.parametrize(("gib", "status"), [(0.4, "fail"), (2.0, "warn"), (50.0, "ok")])
def test_free_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gib: float, status: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, gib * 2**30))
    assert module._disk(tmp_path).status == status


def test_missing_and_old_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        metadata,
        "requires",
        lambda _: ["numpy>=99.5", "nowhere-to-be-found>=1.0", "rich>=1", 'psycopg>=3; extra == "p"'],
    )
    found = module._packages()
    assert found.status == "fail"
    assert found.found == f"missing: nowhere-to-be-found; too old: numpy {metadata.version('numpy')} (needs 99.5)"
    assert "make setup" in found.fix


@pytest.mark.parametrize(
    ("smaller", "larger"), [("1.9", "1.10"), ("2.13.0+cpu", "2.13.1"), ("1.0", "1.0.1"), ("2.0rc1", "2.1")]
)
def test_versions_compare_by_number(smaller: str, larger: str) -> None:
    assert module._numbers(smaller) < module._numbers(larger)


def test_equal_versions() -> None:
    assert module._numbers("1.0") == module._numbers("1") == module._numbers("1.0.0+cpu")


@pytest.mark.usefixtures("no_drawing")
def test_a_broken_library_is_a_finding_and_the_rest_is_still_examined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Finding:
        raise ImportError("libtorch.so: [undefined] symbol")

    monkeypatch.setattr(module, "_torch", broken)
    findings = examine(tmp_path)
    assert len(findings) == 10
    assert find(findings, "torch").status == "fail"
    assert "[undefined] symbol" in find(findings, "torch").found
    assert find(findings, "label store").status == "ok"


def test_without_graphics_mujoco_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def died(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], -11, "", "")

    monkeypatch.setattr(subprocess, "run", died)
    found = module._mujoco()
    assert (found.status, found.found) == ("warn", "died with status -11")
    assert "apt install" in found.fix


def test_a_store_that_cannot_be_opened_fails(tmp_path: Path) -> None:
    found = module._store(tmp_path / "nowhere")
    assert found.status == "fail"
    assert "--run-dir" in found.fix


def test_no_browser_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert module._chromium().status == "warn"


def test_brackets_in_messages_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "examine", lambda _: [Finding("x", "fail", "[bold]literal[/]", "")])
    assert doctor(tmp_path) == 1
    assert "[bold]literal[/]" in capsys.readouterr().out
