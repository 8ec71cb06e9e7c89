"""A fresh site for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pairplay.labels.store import LabelStore

from .site import Clock, Site, make_run


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store's file, to be copied: migrating takes a hundred times as long."""
    path = tmp_path_factory.mktemp("empty") / "labels.db"
    LabelStore.open(path).close()
    return path


@pytest.fixture
def site(tmp_path: Path, empty_store: Path) -> Iterator[Site]:
    run, clock = make_run(tmp_path / "enduro-1", empty_store), Clock()
    with LabelStore.open(run.labels_db, clock=clock) as store:
        site = Site(run, store, clock)
        yield site
        for client in site.clients:
            client.close()
