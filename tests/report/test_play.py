"""The film shows whole episodes of the newest checkpoint."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from pairplay.config import EnvConfig, TrainConfig
from pairplay.envs.make import make_envs
from pairplay.policy.networks import Policy
from pairplay.report.play import VideoWriter, play
from pairplay.run.checkpoint import save
from pairplay.run.clips import decode
from pairplay.run.config_file import write_config
from pairplay.run.layout import RunDir
from pairplay.types import UserError

CARTPOLE = TrainConfig(env_id="CartPole-v1")


def trained(path: Path, config: TrainConfig) -> RunDir:
    """A run whose agent has learnt nothing yet, at step 512."""
    run = RunDir.create(path, config.env_id, config.seed)
    write_config(run.config_toml, config)
    envs = make_envs(config.env_id, 1, config.env, seed=0)
    torch.manual_seed(0)
    policy = Policy(envs.spec, config.ppo)
    envs.close()
    save(run.checkpoints, 512, {f"policy.{name}": t for name, t in policy.state_dict().items()}, {})
    return run


def test_whole_episodes_are_filmed_one_after_the_other(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", CARTPOLE)
    result = play(run, episodes=2)
    assert (result.step, result.video) == (512, run.videos / "000000000512.mp4")
    # CartPole pays 1 a step, and a pole that nobody holds falls long before the limit of 500.
    assert result.returns == tuple(map(float, result.lengths))
    assert all(5 < length < 150 for length in result.lengths)
    assert result.lengths[0] != result.lengths[1]
    with av.open(result.video) as film:
        stream = film.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.average_rate == 50
        assert sum(1 for _ in film.decode(stream)) == sum(result.lengths)
    assert [path.name for path in run.videos.iterdir()] == ["000000000512.mp4"]


def test_the_same_seed_plays_the_same_and_another_does_not(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", CARTPOLE)
    first, again, other = (play(run, episodes=2, seed=seed).lengths for seed in (1, 1, 2))
    assert first == again != other


def test_the_agent_plays_the_environment_it_was_trained_in(tmp_path: Path) -> None:
    """A pole that nobody holds falls within 150 steps; played on, the episode lasts to its limit all the same."""
    played_on = replace(CARTPOLE, env=EnvConfig(ends="continue", max_episode_steps=200))
    result = play(trained(tmp_path / "played_on", played_on))
    assert result.lengths == (200,)
    assert result.returns[0] < 190
    hidden = replace(CARTPOLE, env=EnvConfig(ends="hide"))
    assert play(trained(tmp_path / "hidden", hidden)).lengths == play(trained(tmp_path / "kept", CARTPOLE)).lengths


def test_atari_in_colour_until_max_steps(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", TrainConfig(env=EnvConfig(colour_envs=0)))
    result = play(run, max_steps=40, video=tmp_path / "films" / "enduro.mp4")
    assert result.lengths == (40,)
    pictures = decode(tmp_path / "films" / "enduro.mp4")
    assert pictures.shape == (40, 210, 160, 3)
    assert (pictures.max(3) - pictures.min(3)).max() > 50  # colours, not grey


def test_the_newest_valid_checkpoint_plays(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", CARTPOLE)
    save(run.checkpoints, 1024, {}, {})
    (run.checkpoints / "000000001024" / "manifest.json").unlink()
    result = play(run)
    assert result.step == 512
    assert result.rejected[0].name == "000000001024"


def test_mistakes_are_named(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", CARTPOLE)
    with pytest.raises(UserError, match=r"name it .*film\.mp4"):
        play(run, video=tmp_path / "film.avi")
    with pytest.raises(UserError, match="at least 1"):
        play(run, episodes=0)
    write_config(run.config_toml, replace(CARTPOLE, ppo=replace(CARTPOLE.ppo, hidden=7)))
    with pytest.raises(UserError, match="does not fit"):
        play(run)
    assert list(run.videos.iterdir()) == []
    empty = RunDir.create(tmp_path / "empty", "CartPole-v1", 1)
    write_config(empty.config_toml, CARTPOLE)
    with pytest.raises(UserError, match="no checkpoint yet"):
        play(empty)


def break_off(path: Path) -> None:
    with VideoWriter(path) as film:
        film.add(np.zeros((3, 10, 10, 3), np.uint8), 15)
        raise ZeroDivisionError


def test_a_film_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        break_off(tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write the film .*file/film\.mp4"):
        VideoWriter(tmp_path / "file" / "film.mp4")


@pytest.mark.parametrize(("height", "width"), [(31, 45), (257, 301), (256, 300)])
def test_pictures_of_any_size(tmp_path: Path, height: int, width: int) -> None:
    ramp = np.linspace(0, 255, width, dtype=np.uint8)[None, None, :, None]
    pictures = np.broadcast_to(ramp, (5, height, width, 3)).copy()
    with VideoWriter(tmp_path / "film.mp4") as film:
        film.add(pictures[:2], 12.5)
        film.add(pictures[2:], 12.5)
    with av.open(tmp_path / "film.mp4") as container:
        assert container.streams.video[0].average_rate == Fraction(25, 2)
    got = decode(tmp_path / "film.mp4")
    assert got.shape == pictures.shape
    assert np.abs(got.astype(int) - pictures).mean() < 4
