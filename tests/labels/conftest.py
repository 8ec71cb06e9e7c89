"""A fresh store for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pairplay.labels.store import LabelStore

from .making import Clock


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store's file, to be copied: migrating takes a hundred times as long."""
    path = tmp_path_factory.mktemp("empty") / "labels.db"
    LabelStore.open(path).close()
    return path


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a label store may be; there is none yet."""
    return tmp_path / "labels.db"


@pytest.fixture
def store(empty: Path, path: Path, clock: Clock) -> Iterator[LabelStore]:
    """A store at `path` whose leases are measured by `clock`."""
    shutil.copy(empty, path)
    with LabelStore.open(path, clock=clock) as store:
        yield store
