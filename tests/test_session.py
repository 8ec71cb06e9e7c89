"""Who is at the page: the label server runs when a person is among the teachers."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from pairplay import session
from pairplay.config import TeacherConfig, TrainConfig
from pairplay.run.layout import RunDir
from pairplay.types import UserError


class FakeServer:
    url = "http://127.0.0.1:1"
    stopped = False

    def stop(self) -> None:
        self.stopped = True


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (TrainConfig(teacher="human"), True),
        (TrainConfig(teacher="human+oracle"), True),
        (TrainConfig(teacher="mistake:0.2+human"), True),
        (TrainConfig(teacher="oracle+mistake:0.2"), False),
        (TrainConfig(teacher="human", reward="env"), False),
    ],
)
def test_the_page_is_served_to_a_person(
    config: TrainConfig, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = FakeServer()
    monkeypatch.setattr(session, "start_server", lambda run, port, meanwhile: server)
    run = RunDir.create(tmp_path / "run", config.env_id, config.seed)
    with session._label_server(config, run, 0, Console(quiet=True), open_page=False) as given:
        assert (given is not None) == expected
    assert server.stopped == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TrainConfig(teacher="human+orcale"), "Did you mean 'oracle'"),
        (TrainConfig(teacher="human+oracle", teaching=TeacherConfig(share=1.0)), "leave the person nothing"),
        (TrainConfig(teaching=TeacherConfig(absent_for=5)), "say how often"),
    ],
)
def test_a_mistake_leaves_no_run_behind(config: TrainConfig, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        session.start(config, tmp_path / "run", port=0, open_page=False)
    assert not (tmp_path / "run").exists()
