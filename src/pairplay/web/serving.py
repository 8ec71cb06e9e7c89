"""Be the label server of a run, until told to stop: the process that `server` starts."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from types import FrameType

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pairplay.labels.store import LabelStore
from pairplay.run.layout import RunDir
from pairplay.types import UserError
from pairplay.web.app import create_app
from pairplay.web.events import ChangeFeed
from pairplay.web.security import SECURITY_HEADERS, own_port, read_or_create_token
from pairplay.web.server import ServerInfo, find_server, info_path, token_path, with_token

_HOSTS = {"127.0.0.1": socket.AF_INET, "localhost": socket.AF_INET, "::1": socket.AF_INET6}


def serve(run: RunDir, *, host: str = "127.0.0.1", port: int = 0, open_page: bool = False) -> None:
    """Serve a run until SIGINT or SIGTERM; in the main thread of a process that does nothing else.

    Writes `Label at URL` to standard output once it listens. `port=0` takes the run's own port, the same at each start,
    so that open pages survive a restart; or any other if that one is taken. Where the run is served already, says so
    and returns. UserError at once when the port is in use, or when `host` is not this machine alone.
    """
    if host not in _HOSTS:
        raise UserError(f"--host {host} would show the run to the network: use 127.0.0.1, localhost or ::1")
    already = find_server(run)
    if already is not None:
        _announce(with_token(already, read_or_create_token(token_path(run))), open_page)
        return
    token = read_or_create_token(token_path(run))
    # Before anything slow, so that a port in use is an error at once.
    with _bind(host, port, own_port(token)) as listener:
        bound = int(listener.getsockname()[1])
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        store = LabelStore.open(run.labels_db)
        feed = ChangeFeed(store.change_token)
        url = f"http://{'[::1]' if host == '::1' else '127.0.0.1'}:{bound}/"
        info = ServerInfo(os.getpid(), bound, url, datetime.now(UTC).isoformat(timespec="seconds"))

        def ready() -> None:
            _write_info(run, info)
            _announce(with_token(info, token), open_page)

        config = uvicorn.Config(
            create_app(run, store, token, port=bound, feed=feed),
            http=_Protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            # No access log: it would be the one place where a token typed into the wrong spot of a URL is kept.
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=1,
        )
        # uvicorn raises the signal anew when it is done, and would die of it here, before the cleaning.
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            _Server(config, feed, ready).run(sockets=[listener])
        except KeyboardInterrupt:
            pass
        finally:
            signal.signal(signal.SIGTERM, before)
            _remove_info(run, info)
            store.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, feed: ChangeFeed, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._feed = feed
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Open event streams never end by themselves, and uvicorn waits for them.
        self._feed.close()
        await super().shutdown(sockets)


class _Protocol(H11Protocol):
    """HTTP as uvicorn speaks it, but its answer to what is not HTTP carries our headers too, and never fails."""

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"error": {"code": "bad_request", "message": msg}})
            head = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
            lines = [f"{name}: {value}" for name, value in (head | SECURITY_HEADERS).items()]
            self.transport.write("\r\n".join(("HTTP/1.1 400 Bad Request", *lines, "", body)).encode())
        self.transport.close()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _bind(host: str, port: int, preferred: int) -> socket.socket:
    """A bound socket; for port 0 the preferred port, or any."""
    candidates = [preferred, 0] if port == 0 else [port]
    address = "::1" if host == "::1" else "127.0.0.1"
    for candidate in candidates:
        # TCP by name: asyncio turns Nagle's delay (40 ms an answer) off only where the socket says that it is TCP.
        listener = socket.socket(_HOSTS[host], socket.SOCK_STREAM, socket.IPPROTO_TCP)
        # After a kill the port lingers, and the next server of the run must have it all the same.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, candidate))
            # Two servers may bind the same port; only one may listen.
            listener.listen(2048)
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE and candidate != candidates[-1]:
                continue
            why = {errno.EADDRINUSE: "is in use", errno.EACCES: "is reserved for the system"}
            raise UserError(
                f"port {candidate} {why.get(error.errno or 0, f'cannot be used ({error.strerror})')}: "
                "choose another one, or let Pairplay choose with --port 0"
            ) from error
        except OverflowError as error:
            listener.close()
            raise UserError(f"port {port} does not exist: choose 1 to 65535, or --port 0") from error
        else:
            return listener
    raise AssertionError("unreachable: the last candidate returns or raises")


def _announce(url: str, open_page: bool) -> None:
    sys.stdout.write(f"Label at {url}\n")
    sys.stdout.flush()
    if open_page:
        # In a thread: a text browser would keep the server from serving.
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def _write_info(run: RunDir, info: ServerInfo) -> None:
    partial = info_path(run).with_suffix(f".{info.pid}.part")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(info), file, indent=2)
    partial.replace(info_path(run))


def _remove_info(run: RunDir, info: ServerInfo) -> None:
    try:
        if json.loads(info_path(run).read_bytes())["pid"] == info.pid:
            info_path(run).unlink()
    except (OSError, ValueError, KeyError, TypeError):
        return  # gone, or another server's
