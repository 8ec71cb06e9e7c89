"""The label server as a process: raw sockets, event streams, signals, and its files in the run."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pairplay.labels.store import LabelStore
from pairplay.run.layout import RunDir
from pairplay.types import UserError
from pairplay.web import server as web_server
from pairplay.web.security import SECURITY_HEADERS
from pairplay.web.server import LabelServer, find_server, start_server
from pairplay.web.serving import serve

from .site import ask, make_run


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[LabelServer]:
    """A server that the tests of this file share."""
    server = start_server(make_run(tmp_path_factory.mktemp("runs") / "live", empty_store))
    yield server
    server.stop()


def token_of(server: LabelServer) -> str:
    return server.url.partition("#token=")[2]


def talk(port: int, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the first response to these very bytes."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as connection:
        connection.sendall(data)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def request(server: LabelServer, target: str, *lines: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    head = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Connection: close", *lines, "", ""]
    return talk(server.port, "\r\n".join(head).encode("latin-1"))


def as_script(server: LabelServer) -> str:
    return f"Authorization: Bearer {token_of(server)}"


@contextmanager
def events(server: LabelServer, cookie: str) -> Iterator[http.client.HTTPResponse]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request("GET", "/api/v1/events", headers={"cookie": cookie})
        response = connection.getresponse()
        assert response.status == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield response


def next_status(stream: http.client.HTTPResponse) -> dict[str, Any]:
    """The next `status` event; keep-alive comments are passed over."""
    event = ""
    while True:
        line = stream.readline().decode().rstrip("\n")
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        if line.startswith("data: ") and event == "status":
            status: dict[str, Any] = json.loads(line.removeprefix("data: "))
            return status


def log_in(server: LabelServer) -> str:
    """A session's cookie."""
    body = json.dumps({"token": token_of(server)})
    lines = ["Content-Type: application/json", f"Content-Length: {len(body)}", "", body]
    head = ["POST /api/v1/session HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Connection: close", *lines]
    status, headers, _ = talk(server.port, "\r\n".join(head).encode())
    assert status == 200
    return headers["set-cookie"].split(";")[0]


# -- starting, finding, stopping ---------------------------------------------------------------------------------


def test_what_a_server_leaves_in_the_run(live: LabelServer) -> None:
    info_path, token_path, log_path = (
        live.run.path / name for name in ("label-server.json", "token", "label-server.log")
    )
    info = json.loads(info_path.read_text())
    assert live.process is not None
    assert info["pid"] == live.process.pid
    assert info["url"] == f"http://127.0.0.1:{live.port}/"
    assert set(info) == {"pid", "port", "url", "started_at"}
    for path in (info_path, token_path, log_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert token_of(live) == token_path.read_text()
    assert token_of(live) not in info_path.read_text()


def test_the_server_of_a_run_is_found_and_not_started_twice(live: LabelServer) -> None:
    assert find_server(live.run) == live.info
    again = start_server(live.run, port=1)
    assert (again.url, again.info, again.process) == (live.url, live.info, None)
    assert again.alive()
    again.stop()  # it is not ours
    assert live.alive()
    assert find_server(live.run) == live.info


def test_labelling_a_run_that_is_served_says_where(live: LabelServer, capsys: pytest.CaptureFixture[str]) -> None:
    serve(live.run)
    assert capsys.readouterr().out == f"Label at {live.url}\n"


def test_traces_of_a_dead_server_or_of_another_runs_server_are_no_server(
    live: LabelServer, tmp_path: Path, empty_store: Path
) -> None:
    run = make_run(tmp_path / "run", empty_store)
    assert find_server(run) is None
    (run.path / "token").write_text("some-other-token-0123456789")
    info = {"pid": os.getpid(), "port": live.port, "url": live.info.url, "started_at": ""}
    for text in (
        "",
        "[]",
        '{"pid": 1}',
        json.dumps(info),
        json.dumps(info | {"pid": 2**22 + 1}),
        json.dumps(info | {"port": 9}),
    ):
        (run.path / "label-server.json").write_text(text)
        assert find_server(run) is None, text


def test_a_port_in_use_is_an_error_at_once(live: LabelServer, tmp_path: Path, empty_store: Path) -> None:
    run = make_run(tmp_path / "run", empty_store)
    began = time.monotonic()
    with pytest.raises(UserError, match=rf"^port {live.port} is in use: .* --port 0$"):
        serve(run, port=live.port)
    assert time.monotonic() - began < 1.0
    for port in (65536, -1):
        with pytest.raises(UserError, match="does not exist"):
            serve(run, port=port)
    assert not (run.path / "label-server.json").exists()


def test_a_server_that_cannot_start_says_why(live: LabelServer, tmp_path: Path, empty_store: Path) -> None:
    run = make_run(tmp_path / "run", empty_store)
    with pytest.raises(UserError, match=rf"did not start: .*port {live.port} is in use.*--port 0$"):
        start_server(run, port=live.port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", ""])
def test_only_loopback_can_be_bound(host: str, tmp_path: Path, empty_store: Path) -> None:
    with pytest.raises(UserError, match="would show the run to the network"):
        serve(make_run(tmp_path / "run", empty_store), host=host)


def test_a_server_that_is_slow_is_given_up(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", empty_store)
    monkeypatch.setattr(web_server, "START_S", 0.1)
    monkeypatch.setattr(web_server, "_command", lambda *_: [sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(UserError, match="did not answer"):
        start_server(run)


def test_ctrl_c_while_it_starts_leaves_no_server(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, popen = make_run(tmp_path / "run", empty_store), subprocess.Popen
    started: list[subprocess.Popen[bytes]] = []

    def noted(*words: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*words, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", noted)

    def ctrl_c() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start_server(run, meanwhile=ctrl_c)
    assert started[0].poll() is not None


def test_killed_and_restarted_it_knows_its_people_and_their_answers(tmp_path: Path, empty_store: Path) -> None:
    run = make_run(tmp_path / "run", empty_store)
    first = start_server(run)
    assert first.process is not None
    with LabelStore.open(run.labels_db) as store:
        cookie = log_in(first)
        with events(first, cookie) as stream:
            assert next_status(stream)["counts"]["asked"] == 0
            delays = []
            for number in (1, 2, 3):
                began = time.monotonic()
                query_id = ask(run, store, number)
                assert next_status(stream)["counts"]["pending"] == number
                delays.append(time.monotonic() - began)
            assert sorted(delays)[1] < 1.0
        body = json.dumps({"answer": "left", "client_uuid": str(uuid4())})
        lines = [f"Cookie: {cookie}", "Content-Type: application/json", f"Content-Length: {len(body)}", "", body]
        head = [f"POST /api/v1/queries/{query_id}/answer HTTP/1.1", f"Host: 127.0.0.1:{first.port}", *lines]
        assert talk(first.port, "\r\n".join(head).encode())[0] == 201
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
        assert not first.alive()
        assert [preference.answer for preference in store.preferences()] == ["left"]

    second = start_server(run)
    try:
        # At the same address, so an open page finds it.
        assert (second.url, second.process is not None) == (first.url, True)
        status, _, reply = request(second, "/api/v1/status", f"Cookie: {cookie}")
        assert (status, json.loads(reply)["mine"]) == (200, {"answered": 1})
        # An open stream does not keep it from stopping.
        with events(second, cookie) as stream:
            next_status(stream)
            assert second.process is not None
            second.process.send_signal(signal.SIGTERM)
            assert b"event" not in stream.read()  # to its end
            assert second.process.wait(5) == 0
    finally:
        second.stop()
    assert not (run.path / "label-server.json").exists()
    assert find_server(run) is None
    # uvicorn says so when it has to cut requests short.
    assert (run.path / "label-server.log").read_text() == ""


def test_the_server_loads_nothing_heavy() -> None:
    heavy = ["torch", "gymnasium", "mujoco", "ale_py", "cv2", "av", "alembic", "matplotlib"]
    code = f"import sys, pairplay.web.serving; sys.exit(', '.join(set({heavy}) & set(sys.modules)) or 0)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


# -- what arrives on a raw socket --------------------------------------------------------------------------------

STEPS = [
    "../",
    "..%2f",
    "%2e%2e/",
    "%2e%2e%2f",
    "..%5c",
    "..\\",
    "....//",
    "%252e%252e%252f",
    "..%c0%af",
    "..;/",
    "./../",
]
TARGETS = ["token", "config.toml", "labels.db", "etc/passwd", "src/pairplay/web/app.py", "app.py"]
PREFIXES = ["/", "/static/", "/api/v1/clips/"]
ODD = [
    "//etc/passwd",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/C:%5cWindows%5cwin.ini",
    "/static/%00",
    "/static/app.js%00.txt",
    "/static/" + "a" * 5000,
    "/static/.",
    "/static/..",
    "/static/",
    "/static",
    "/api/v1/clips/..mp4",
    "/api/v1/clips/.mp4",
    "/api/v1/clips/%2e%2e%2ftoken%00.mp4",
    "/api/v1/clips/" + "0" * 64 + ".mp4",
    "/api/v1/clips/" + "0" * 63 + "%0a.mp4",
    "/api/v1/clips/" + "A" * 64 + ".mp4",
    "/api/v1/clips/" + "0" * 64 + ".mp4/../../token",
    "http://evil.example/token",
    "file:///etc/passwd",
    "*",
]


def traversals() -> Iterator[str]:
    for prefix in PREFIXES:
        for number, step in enumerate(STEPS):
            for depth in (1, 4):
                target = TARGETS[(number + depth) % len(TARGETS)]
                yield f"{prefix}{step * depth}{target}" + (".mp4" if "clips" in prefix and depth == 1 else "")
    yield from ODD


def test_no_path_leads_out_of_the_page_and_the_clips(live: LabelServer) -> None:
    secrets = [token_of(live).encode(), b"root:", b"SQLite format", b"env_id =", b"import annotations"]
    payloads = list(traversals())
    assert len(payloads) >= 80
    for target in payloads:
        status, headers, body = request(live, target, as_script(live))
        assert status in (400, 404, 405), (target, status)
        assert not [secret for secret in secrets if secret in body], target
        assert headers["content-security-policy"] == SECURITY_HEADERS["content-security-policy"]
    assert live.alive()


HOST = "Host: 127.0.0.1:{port}\r\n"
MALFORMED = [
    "\r\n\r\n\r\nnonsense\r\n\r\n",
    "GET\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",  # no host
    "GET / HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.1\r\n" + HOST + HOST + "\r\n",
    "GET / HTTP/1.1\r\n" + HOST + "Host: evil.example\r\n\r\n",
    "GET / HTTP/1.1\r\n" + HOST + "No colon\r\n\r\n",
    "GET / HTTP/1.1\r\n" + HOST + "A: b\r\n c\x00d\r\n\r\n",
    "GET /\x00 HTTP/1.1\r\n" + HOST + "\r\n",
    "GET / HTTP/1.1\r\n" + HOST + "Content-Length: -1\r\n\r\n",
    "GET / HTTP/1.1\r\n" + HOST + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "POST / HTTP/1.1\r\n" + HOST + "Transfer-Encoding: gzip\r\n\r\n",
    "POST / HTTP/1.1\r\n" + HOST + "Transfer-Encoding: chunked\r\n\r\nnot hex\r\n",
    "POST /api/v1/session HTTP/1.1\r\n" + HOST + "Content-Length: 70000\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.mark.parametrize("data", MALFORMED)
def test_what_is_no_proper_request_gets_a_proper_refusal(live: LabelServer, data: str) -> None:
    status, headers, body = talk(live.port, data.replace("{port}", str(live.port)).encode("latin-1"))
    assert 400 <= status < 500
    assert {name: headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert set(json.loads(body)) == {"error"}


def test_clients_who_never_finish_keep_nobody_waiting(live: LabelServer) -> None:
    slow = [socket.create_connection(("127.0.0.1", live.port)) for _ in range(50)]
    try:
        for number, connection in enumerate(slow):
            started = b"POST /api/v1/session HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 10\r\n\r\n" % live.port
            connection.sendall(started if number % 2 else started[:20])
        delays = []
        for _ in range(3):
            began = time.monotonic()
            assert request(live, "/healthz")[0] == 200
            delays.append(time.monotonic() - began)
        assert sorted(delays)[1] < 0.25
    finally:
        for connection in slow:
            connection.close()


def test_a_reply_leaves_at_once(live: LabelServer) -> None:
    """Nagle's algorithm against delayed acknowledgements would cost 40 ms each time, however fast the machine."""
    delays = []
    with closing(http.client.HTTPConnection("127.0.0.1", live.port, timeout=10)) as connection:
        for _ in range(40):
            began = time.monotonic()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            delays.append(time.monotonic() - began)
    assert min(delays[20:]) < 0.03


def test_the_log_holds_no_token(live: LabelServer) -> None:
    token = token_of(live)
    request(live, f"/?token={token}")
    request(live, f"/api/v1/run?token={token}")
    request(live, f"/api/v1/nothing/{token}", as_script(live))
    request(live, "/api/v1/run", f"Authorization: Bearer {token}x")
    talk(live.port, f"{token}\r\n\r\n".encode())
    body = json.dumps({"token": token, "name": 1})
    lines = ["Content-Type: application/json", f"Content-Length: {len(body)}", "", body]
    head = ["POST /api/v1/session HTTP/1.1", f"Host: 127.0.0.1:{live.port}", *lines]
    status, _, reply = talk(live.port, "\r\n".join(head).encode())
    assert status == 422
    assert token.encode() not in reply
    log = (live.run.path / "label-server.log").read_text()
    assert "Invalid HTTP request" in log  # it is being written
    assert token not in log


def test_runs_are_found_by_path_or_name(live: LabelServer) -> None:
    assert find_server(RunDir.open(live.run.path)) == live.info
