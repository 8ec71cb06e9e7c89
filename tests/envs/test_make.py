from __future__ import annotations

import sys
from pathlib import Path

import gymnasium
import pytest

from pairplay.config import EnvConfig
from pairplay.envs.make import find_registration, make_envs, shows_score
from pairplay.types import UserError


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("ALE/Endruo-v5", "ALE/Enduro-v5"),
        ("ALE/enduro-v5", "ALE/Enduro-v5"),
        ("Enduro-v4", "ALE/Enduro-v5"),
        ("EnduroNoFrameskip-v4", "ALE/Enduro-v5"),
        ("SpaceInvaders-v5", "ALE/SpaceInvaders-v5"),
        ("cartpole-v1", "CartPole-v1"),
        ("CartPole", "CartPole-v1"),
        ("HalfCheeta-v5", "HalfCheetah-v5"),
    ],
)
def test_an_unknown_id_is_answered_with_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(UserError) as error:
        make_envs(wrong, 1, EnvConfig(), seed=0)
    assert str(error.value) == f"unknown environment {wrong!r}. Did you mean {right!r}?"


def test_an_id_like_no_other_is_answered_with_examples() -> None:
    with pytest.raises(UserError, match=r"unknown environment 'Xyzzy'. Any Gymnasium id will do"):
        make_envs("Xyzzy", 1, EnvConfig(), seed=0)


def test_an_id_may_name_the_module_that_registers_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_games.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('MyCartPole-v0', entry_point='gymnasium.envs.classic_control:CartPoleEnv')\n"
    )
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", ".")])
    monkeypatch.chdir(tmp_path)
    envs = make_envs("my_games:MyCartPole-v0", 1, EnvConfig(), seed=0)
    assert envs.reset().shape == (1, 4)
    assert envs.painter().draw(envs.capture(0)[None]).shape == (1, 266, 400, 3)
    envs.close()
    del gymnasium.registry["MyCartPole-v0"], sys.modules["my_games"]


def test_a_module_that_does_not_exist_is_named() -> None:
    with pytest.raises(UserError, match="cannot import 'no_such_module'"):
        find_registration("no_such_module:Thing-v0")


def test_no_environments_is_an_error() -> None:
    with pytest.raises(UserError, match="num_envs=0"):
        make_envs("CartPole-v1", 0, EnvConfig(), seed=0)


def test_the_games_of_the_paper_have_a_mask() -> None:
    for game in ("BeamRider", "Breakout", "Enduro", "Pong", "Qbert", "Seaquest", "SpaceInvaders"):
        assert not shows_score(f"ALE/{game}-v5", EnvConfig()), game
        assert shows_score(f"ALE/{game}-v5", EnvConfig(mask_score=False)), game
    assert shows_score("ALE/Skiing-v5", EnvConfig())
    assert not shows_score("CartPole-v1", EnvConfig())
