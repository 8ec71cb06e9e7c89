"""A run with queries to answer, its label server's application, and browsers in front of it."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from starlette.testclient import TestClient

from pairplay.config import TrainConfig
from pairplay.labels.store import LabelStore
from pairplay.packing import segment_id
from pairplay.run.config_file import write_config
from pairplay.run.layout import RunDir
from pairplay.types import Footage, Query, Segment
from pairplay.web.app import create_app
from pairplay.web.security import Guard

TOKEN = "a-token-that-nobody-would-ever-guess-0123456789"
PORT = 8000
HOME = f"http://127.0.0.1:{PORT}"
SHOWN = "2026-01-02T03:04:05.678Z"


class Clock:
    """The clock that leases are measured by; it stands still until it is told to move."""

    def __init__(self) -> None:
        self.time = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def move(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


def make_run(path: Path, empty_store: Path) -> RunDir:
    run = RunDir.create(path, "ALE/Enduro-v5", seed=1)
    write_config(run.config_toml, TrainConfig(question="Overtake", labels=70))
    shutil.copy(empty_store, run.labels_db)
    return run


def ask(run: RunDir, store: LabelStore, number: int) -> int:
    """Publish query `number` as a trainer does; its id."""
    clips = []
    for side in (2 * number, 2 * number + 1):
        data = f"clip {side}".encode()
        clips.append(hashlib.sha256(data).hexdigest())
        (run.clips / f"{clips[-1]}.mp4").write_bytes(data)
    query = Query(_footage(2 * number), _footage(2 * number + 1), "uniform", 0.0, f"Question {number}?")
    return store.add_query(query, left_clip=clips[0], right_clip=clips[1], step=number)


def _footage(number: int) -> Footage:
    frames, action = np.full((3, 2), number, np.float32), np.arange(3)
    segment = Segment(segment_id(frames, 0, action), frames, 0, action, env=0, step=number, iteration=1)
    return Footage(segment, np.zeros((3, 2, 2, 3), np.uint8), np.zeros(3, np.float32))


@dataclass
class Site:
    run: RunDir
    store: LabelStore
    clock: Clock
    asked: int = 0
    clients: list[TestClient] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.app: Guard = create_app(self.run, self.store, TOKEN, port=PORT)

    def ask(self, count: int = 1) -> list[int]:
        self.asked += count
        return [ask(self.run, self.store, number) for number in range(self.asked - count, self.asked)]

    def stranger(self, **headers: str) -> TestClient:
        """A client without a session."""
        client = TestClient(self.app, HOME, raise_server_exceptions=False, follow_redirects=False, headers=headers)
        self.clients.append(client)
        return client

    def script(self) -> TestClient:
        """A client that shows the token itself."""
        return self.stranger(authorization=f"Bearer {TOKEN}")

    def browser(self, name: str | None = None) -> Browser:
        """A client that has exchanged the token for a cookie."""
        client = self.stranger()
        reply = client.post("/api/v1/session", json={"token": TOKEN} | ({"name": name} if name else {}))
        assert reply.status_code == 200, reply.text
        return Browser(client, reply.json()["labeler"])


@dataclass
class Browser:
    """What the page does."""

    client: TestClient
    labeler: str

    def lease(self, limit: int = 1, hold: tuple[int, ...] = ()) -> list[dict[str, Any]]:
        reply = self.client.post("/api/v1/queries/lease", json={"limit": limit, "hold": list(hold)})
        assert reply.status_code == 200, reply.text
        queries: list[dict[str, Any]] = reply.json()["queries"]
        return queries

    def answer(self, query_id: int, answer: str, uuid: str | None = None) -> Any:
        body = {"answer": answer, "client_uuid": uuid or str(uuid4()), "shown_at": SHOWN, "answered_at": SHOWN}
        return self.client.post(f"/api/v1/queries/{query_id}/answer", json=body)

    def undo(self, uuid: str) -> Any:
        return self.client.post(f"/api/v1/answers/{uuid}/undo", json={})

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.client.get("/api/v1/status").json()
        return status
