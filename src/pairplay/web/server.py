"""Find the label server of a run, or start it as a process of its own. Serves nothing itself: see `serving`."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pairplay.run.layout import RunDir
from pairplay.types import UserError
from pairplay.web.security import Sessions, read_or_create_token

START_S = 60.0
"""How long a new server may take until it answers: 2 seconds alone, far more on a machine that is busy."""
STOP_S = 5.0
_HEALTH_S = 1.0


@dataclass(frozen=True)
class ServerInfo:
    """A label server that serves a run: what its `label-server.json` says."""

    pid: int
    port: int
    url: str
    """Without the token."""
    started_at: str


@dataclass(frozen=True)
class LabelServer:
    """A label server that answers, as the process that wanted it sees it."""

    run: RunDir
    info: ServerInfo
    url: str
    """With the token in its fragment: whoever has it may answer."""
    process: subprocess.Popen[bytes] | None
    """None when somebody else started it."""

    @property
    def port(self) -> int:
        return self.info.port

    def alive(self) -> bool:
        """Is the process there? Costs microseconds."""
        return _is_alive(self.info.pid) if self.process is None else self.process.poll() is None

    def stop(self) -> None:
        """End the server if it is ours. Open pages find the run's next one by themselves."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def find_server(run: RunDir) -> ServerInfo | None:
    """The live server of this run; None when there is none, whatever a killed one left behind."""
    try:
        info = ServerInfo(**json.loads(info_path(run).read_bytes()))
        token = token_path(run).read_text().strip()
    except (OSError, ValueError, TypeError):
        return None
    if not _is_alive(info.pid):
        return None
    # Another process may have got the pid, and another run's server the port: ask who it is.
    return info if _name_of_server(info) == Sessions(token).server_name else None


def start_server(run: RunDir, port: int = 0, *, meanwhile: Callable[[], object] | None = None) -> LabelServer:
    """The server of this run: the one that is there, or a new process that outlives this one.

    `meanwhile` is called while a new process comes up, which takes a second or two on a core of its own. Its errors go
    to `label-server.log` in the run. UserError with the last of them when it does not come up.
    """
    token = read_or_create_token(token_path(run))
    info = find_server(run)
    if info is not None:
        return LabelServer(run, info, with_token(info, token), None)
    descriptor = os.open(_log_path(run), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as log:
        process = subprocess.Popen(
            _command(run, port),
            stdin=subprocess.DEVNULL,
            # What the command prints holds the token, which belongs in no log.
            stdout=subprocess.DEVNULL,
            stderr=log,
            # Ctrl-C in the trainer's terminal is not meant for it.
            start_new_session=True,
        )
    try:
        if meanwhile is not None:
            meanwhile()
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            ended = process.poll() is not None
            info = find_server(run)
            if info is not None and (ended or info.pid == process.pid):
                # Ended, and yet there is a server: somebody else was faster.
                return LabelServer(run, info, with_token(info, token), None if ended else process)
            if ended:
                break
            time.sleep(0.05)
    except BaseException:  # Ctrl-C, or what `meanwhile` raises: nobody would know of the process
        process.kill()
        process.wait()
        raise
    why = _last_line(_log_path(run)) if process.poll() is not None else f"it did not answer within {START_S:.0f} s"
    process.kill()
    process.wait()
    raise UserError(f"the label server did not start: {why}")


def _command(run: RunDir, port: int) -> list[str]:
    # -P: a file in the working directory must not pass for one of our modules.
    return [sys.executable, "-P", "-m", "pairplay", "label", str(run.path.resolve()), "--port", str(port), "--no-open"]


def _name_of_server(info: ServerInfo) -> str | None:
    connection = http.client.HTTPConnection("::1" if "[::1]" in info.url else "127.0.0.1", info.port, timeout=_HEALTH_S)
    try:
        connection.request("GET", "/healthz")
        return str(json.loads(connection.getresponse().read(4096))["server"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def with_token(info: ServerInfo, token: str) -> str:
    """The address that lets whoever has it answer: the token is in the fragment, which browsers never send."""
    return f"{info.url}#token={token}"


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), f"see {path}")


def info_path(run: RunDir) -> Path:
    """Where the server of a run says that it is there."""
    return run.path / "label-server.json"


def _log_path(run: RunDir) -> Path:
    return run.path / "label-server.log"


def token_path(run: RunDir) -> Path:
    """What whoever may answer knows."""
    return run.path / "token"
