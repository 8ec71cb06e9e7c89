"""Look whether this machine has what Pairplay needs, and say how to get what it lacks. Changes nothing."""

from __future__ import annotations

import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from pairplay import __version__

# The libraries are imported inside the checks: one that is broken must not keep the others from being looked at.

Status = Literal["ok", "warn", "fail"]
_MARKS: dict[Status, str] = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "fail": "[bold red]FAIL[/]"}
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_REINSTALL = "install Pairplay anew in its own environment: make setup"
_GL_TIMEOUT_S = 20
_DRAW = """
from pairplay.envs import headless
headless.prepare()
import os, mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><light pos="0 0 3"/><geom size="1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 48, 48)
renderer.update_scene(data)
assert renderer.render().any(), "the picture is black"
print(os.environ.get("MUJOCO_GL", "the screen"))
"""


@dataclass(frozen=True)
class Finding:
    """What one check found. `warn`: something optional is missing; `fail`: Pairplay will not work."""

    name: str
    status: Status
    found: str
    fix: str = ""


def doctor(directory: Path = Path("runs")) -> int:
    """Print what every check found; `directory` is where runs will be written. 1 when a check failed, else 0."""
    console = Console(highlight=False)
    with console.status("Looking at this machine"):
        findings = examine(directory)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("", "", "Found", "What to do"):
        table.add_column(column, header_style="dim", overflow="fold")
    for finding in findings:
        table.add_row(_MARKS[finding.status], finding.name, _plain(finding.found), _plain(finding.fix))
    console.print(table)
    failed = sum(finding.status == "fail" for finding in findings)
    console.print(f"\n{failed} of {len(findings)} checks failed." if failed else "\nReady: pairplay train")
    return 1 if failed else 0


def examine(directory: Path) -> list[Finding]:
    """Every finding, in the order of the table. Never raises: what a broken library raises is a finding."""
    place = _nearest_directory(directory)
    checks: dict[str, Callable[[], Finding]] = {
        "Python": _python,
        "packages": _packages,
        "torch": _torch,
        "Atari games": _atari,
        "MuJoCo pictures": _mujoco,
        "H.264 clips": _clips,
        "label store": lambda: _store(place),
        "free disk": lambda: _disk(place),
        "loopback port": _port,
        "Chromium": _chromium,
    }
    with ThreadPoolExecutor(max_workers=1) as pool:
        # MuJoCo draws in a process of its own: it may as well do so while the others are looked at.
        meanwhile = pool.submit(_examined, "MuJoCo pictures", _mujoco)
        return [meanwhile.result() if check is _mujoco else _examined(name, check) for name, check in checks.items()]


def _examined(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - see `examine`
        return Finding(name, "fail", f"{type(error).__name__}: {error}", _REINSTALL)


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("Python", "ok", found)


def _packages() -> Finding:
    missing, old, present = [], [], 0
    for requirement in metadata.requires("pairplay") or ():
        match = re.match(r"([\w.-]+)(?:\[.*?\])?>=([\d.]+)$", requirement)  # those of extras have a marker after it
        if match is None:
            continue
        name, least = match.groups()
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        present += 1
        if _numbers(version) < _numbers(least):
            old.append(f"{name} {version} (needs {least})")
    if missing or old:
        found = [f"{fault}: {', '.join(names)}" for fault, names in (("missing", missing), ("too old", old)) if names]
        return Finding("packages", "fail", "; ".join(found), _REINSTALL)
    return Finding("packages", "ok", f"pairplay {__version__}, and {present} packages it needs")


def _torch() -> Finding:
    import torch

    from pairplay.hardware import choose_hardware

    threads = torch.get_num_threads()
    try:
        hardware = choose_hardware("auto", "auto", is_image=True)
    finally:
        torch.set_num_threads(threads)  # choosing sets it
    return Finding("torch", "ok", f"{torch.__version__}: {hardware}")


def _atari() -> Finding:
    import ale_py
    from ale_py import roms

    if roms.get_rom_path("enduro") is None:
        return Finding("Atari games", "fail", f"ale-py {ale_py.__version__} without its games", _REINSTALL)
    return Finding("Atari games", "ok", f"ale-py {ale_py.__version__} with {len(roms.get_all_rom_ids())} games")


def _mujoco() -> Finding:
    name = "MuJoCo pictures"
    fix = "only MuJoCo tasks need it; on Debian or Ubuntu: apt install libegl1 libgl1-mesa-dri"
    # In a process of its own, for a bad driver can take the whole process with it.
    with tempfile.TemporaryDirectory() as scratch:  # MuJoCo writes a log where it stands
        try:
            drawn = subprocess.run(
                [sys.executable, "-c", _DRAW],
                cwd=scratch,
                capture_output=True,
                text=True,
                timeout=_GL_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Finding(name, "warn", f"drew nothing in {_GL_TIMEOUT_S} s", fix)
    if drawn.returncode:
        last = drawn.stderr.strip().splitlines()[-1:] or [f"died with status {drawn.returncode}"]
        return Finding(name, "warn", last[0], fix)
    return Finding(name, "ok", f"mujoco {metadata.version('mujoco')} draws with {drawn.stdout.strip()}")


def _clips() -> Finding:
    import av
    import numpy as np

    from pairplay.run.clips import decode, encode

    ramp = np.linspace(0, 255, 160).astype(np.uint8)
    pictures = np.broadcast_to(ramp[None, None, :, None], (4, 210, 160, 3)).copy()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "clip.mp4"
        path.write_bytes(encode(pictures, 15.0))
        back = decode(path)
    if back.shape != pictures.shape or np.abs(back.astype(int) - pictures).mean() > 4:
        return Finding("H.264 clips", "fail", f"PyAV {av.__version__}: pictures do not come back", _REINSTALL)
    return Finding("H.264 clips", "ok", f"PyAV {av.__version__}: pictures come back as they went in")


def _store(place: Path) -> Finding:
    from pairplay.labels.store import LabelStore
    from pairplay.types import UserError

    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".doctor-") as scratch:
            LabelStore.open(Path(scratch) / "labels.db").close()  # asserts WAL and FULL itself
    except (UserError, OSError) as error:
        return Finding("label store", "fail", str(error), "write runs to a local disk: --run-dir DIR")
    return Finding("label store", "ok", f"SQLite keeps labels safely (WAL, synchronous) in {place}")


def _disk(place: Path) -> Finding:
    free = shutil.disk_usage(place).free / 2**30
    found = f"{free:,.1f} GiB in {place}"
    fix = "a long run takes a few GiB: make room, or write it elsewhere with --run-dir DIR"
    return Finding("free disk", "fail" if free < 0.5 else "warn" if free < 5 else "ok", found, fix if free < 5 else "")


def _port() -> Finding:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port), timeout=2):
                pass
    except OSError as error:
        fix = "the labelling page needs 127.0.0.1: look at the firewall or the container's settings"
        return Finding("loopback port", "fail", str(error), fix)
    return Finding("loopback port", "ok", f"127.0.0.1:{port} could be bound and reached")


def _chromium() -> Finding:
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        fix = "label in any browser; only Pairplay's own tests need it: apt install chromium"
        return Finding("Chromium", "warn", "not found", fix)
    return Finding("Chromium", "ok", path)


def _nearest_directory(path: Path) -> Path:
    """`path`, or what there is of it: looking must not create it."""
    path = path.resolve()
    return next(place for place in (path, *path.parents) if place.is_dir())


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"\d+", re.split(r"[+a-z]", version, maxsplit=1)[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _plain(text: str) -> str:
    """Brackets in a message are no markup."""
    return text.replace("[", r"\[")
