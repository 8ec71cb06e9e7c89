"""Who is at the page: the label server runs when a person is among the teachers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from pairplay import session
from pairplay.config import EnvConfig, PPOConfig, QueryConfig, RewardModelConfig, TeacherConfig, TrainConfig, preset
from pairplay.labels.store import LabelStore
from pairplay.run.layout import RunDir
from pairplay.trainer import Trainer
from pairplay.types import UserError


class FakeServer:
    url = "http://127.0.0.1:1"
    port = 1
    stopped = False
    dead = False

    def alive(self) -> bool:
        return not (self.stopped or self.dead)

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
        with LabelStore.open(run.labels_db) as store:
            progress = store.progress()
            assert progress is not None
            assert (progress.phase, progress.step) == ("starting", 0)
    assert server.stopped == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TrainConfig(teacher="human+orcale"), "Did you mean 'oracle'"),
        (TrainConfig(teacher="human+oracle", teaching=TeacherConfig(share=1.0)), "leave the person nothing"),
        (TrainConfig(teaching=TeacherConfig(absent_for=5)), "say how often"),
        (TrainConfig(teaching=TeacherConfig(delay_steps=100_000)), "none would ever be answered"),
        (TrainConfig(reward_model=RewardModelConfig(members=0)), "--reward-model.members 0: must be at least 1"),
        (TrainConfig(queries=QueryConfig(candidates=0)), "--queries.candidates 0: must be at least 1"),
        (TrainConfig(labels=-1), "--labels -1: must be at least 0"),
    ],
)
def test_a_mistake_leaves_no_run_behind(config: TrainConfig, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        session.start(config, tmp_path / "run", port=0, open_page=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TrainConfig(env_id="CartPole-v1", ppo=PPOConfig(num_steps=32, minibatch_size=100)), "minibatch"),
        (TrainConfig(env_id="CartPole-v1", env=EnvConfig(torque_cost=False)), "torque"),
    ],
)
def test_nor_does_one_that_only_the_networks_or_the_environments_see(
    config: TrainConfig, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        session.start(replace(config, teacher="oracle"), tmp_path / "run", port=0, open_page=False)
    assert not (tmp_path / "run").exists()


def test_a_run_that_has_played_is_never_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: TrainConfig, run: RunDir, **_: object) -> int:
        run.metrics_jsonl.write_text('{"time/total_timesteps": 8}\n')
        raise UserError("too late")

    monkeypatch.setattr(session, "go_on", fail)
    with pytest.raises(UserError, match="too late"):
        session.start(TrainConfig(env_id="CartPole-v1"), tmp_path / "run", port=0, open_page=False)
    assert (tmp_path / "run" / "metrics.jsonl").exists()


def test_the_server_that_took_a_dead_ones_place_is_stopped_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers: list[FakeServer] = []

    def start_server(run: RunDir, port: int, **_: object) -> FakeServer:
        servers.append(FakeServer())
        return servers[-1]

    monkeypatch.setattr(session, "start_server", start_server)
    run = RunDir.create(tmp_path / "run", "CartPole-v1", 1)
    with session._label_server(TrainConfig(), run, 0, Console(quiet=True), open_page=False) as page:
        assert page is not None
        page.keep_alive()
        assert len(servers) == 1
        servers[0].dead = True
        page.keep_alive()
        assert len(servers) == 2
        assert servers[1].alive()
    assert servers[1].stopped


def test_training_goes_on_without_a_server_that_cannot_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FakeServer()
    monkeypatch.setattr(session, "start_server", lambda run, port, **_: first)
    run = RunDir.create(tmp_path / "run", "CartPole-v1", 1)
    console = Console(record=True, width=200)
    with session._label_server(TrainConfig(), run, 0, console, open_page=False) as page:
        assert page is not None

        def refuse(run: RunDir, port: int) -> None:
            raise UserError("the label server did not start: the port is taken")

        monkeypatch.setattr(session, "start_server", refuse)
        first.dead = True
        page.keep_alive()
        page.keep_alive()
    said = console.export_text()
    assert said.count("the port is taken") == 1
    assert "Training goes on" in said


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this CPU has no such mode")
@pytest.mark.parametrize("env_id", ["ALE/Enduro-v5", "Pendulum-v1"])
def test_small_numbers_are_zero_while_it_learns_from_pictures(
    env_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not where a simulator computes in the same thread, and not for whoever called."""

    def half() -> float:
        return float(torch.tensor([1e-39]) * 0.5)

    found: list[float] = []

    def note(trainer: Trainer, watch: object) -> None:
        with ThreadPoolExecutor(1) as beside:
            found.extend((half(), beside.submit(half).result()))

    monkeypatch.setattr(Trainer, "train", note)
    config = preset(env_id)
    config = replace(config, teacher="oracle", num_envs=2, env=replace(config.env, colour_envs=2))
    config = replace(config, ppo=replace(config.ppo, num_steps=32, minibatch_size=32))
    assert session.start(config, tmp_path / "run", port=0, open_page=False) == 0
    assert len(found) == 2
    assert all((number == 0.0) == (env_id == "ALE/Enduro-v5") for number in found)
    assert half() > 0.0
