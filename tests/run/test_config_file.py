"""Options survive the file, and a mistake in the file is named."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairplay import __version__
from pairplay.config import EnvConfig, PPOConfig, QueryConfig, RewardModelConfig, TrainConfig
from pairplay.run.config_file import amend_config, read_config, read_overrides, write_config
from pairplay.types import UserError

# Infinities are options like others; NaN would not compare equal to itself.
st.register_type_strategy(float, st.floats(allow_nan=False))
CONFIGS = st.builds(
    TrainConfig,
    env_id=st.text(),
    question=st.text(),
    teacher=st.text(),
    seed=st.integers(),
    total_timesteps=st.integers(),
    env=st.builds(
        EnvConfig, mask_score=st.booleans(), sticky_actions=st.floats(allow_nan=False), frame_size=st.integers()
    ),
    ppo=st.builds(PPOConfig, learning_rate=st.floats(allow_nan=False), anneal_lr=st.booleans()),
    reward_model=st.builds(RewardModelConfig, target_std=st.floats(allow_nan=False)),
    queries=st.builds(QueryConfig, strategy=st.sampled_from(["disagreement", "uniform"])),
)


@given(config=CONFIGS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
def test_round_trip(tmp_path: Path, config: TrainConfig) -> None:
    path = tmp_path / "config.toml"
    write_config(path, config)
    assert read_config(path) == config


def test_the_file_is_complete_and_says_who_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    write_config(path, TrainConfig())
    text = path.read_text()
    assert text.startswith(f"# Every option of this run, written by Pairplay {__version__}.")
    table = tomllib.loads(text)
    assert table["ppo"]["learning_rate"] == 2.5e-4
    assert len(table["queries"]) == len(QueryConfig.__dataclass_fields__)
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.toml"]


def test_what_changes_in_a_run_is_written_into_its_file_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    write_config(path, TrainConfig(labels=10))
    written = path.read_text()
    amend_config(path, TrainConfig(labels=10))
    assert path.read_text() == written
    for labels in (20, 30):
        amend_config(path, TrainConfig(labels=labels))
    assert read_config(path) == TrainConfig(labels=30)
    notes = [line.partition(": ")[2] for line in path.read_text().splitlines() if line.startswith("# Since")]
    assert notes == ["labels = 20, before 10", "labels = 30, before 20"]


def test_a_partial_file_changes_only_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("seed = 9\n[ppo]\nclip_coef = 1\n")
    base = TrainConfig(env_id="CartPole-v1", ppo=PPOConfig(gamma=0.9))
    got = read_overrides(path, base)
    assert got == replace(base, seed=9, ppo=replace(base.ppo, clip_coef=1.0))
    assert type(got.ppo.clip_coef) is float


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed = 1", r"unknown option 'sed'\. Did you mean 'seed'"),
        ("[ppo]\ngama = 1.0", r"unknown option 'ppo\.gama'\. Did you mean 'ppo\.gamma'"),
        ("gamma = 1.0", r"unknown option 'gamma'\. Did you mean 'ppo\.gamma'"),
        ("[env]\nseed = 1", r"unknown option 'env\.seed'\. Did you mean 'seed'"),
        ("[zzzzzzzz]\n", r"unknown option 'zzzzzzzz'"),
        ("seed = 1.0", "seed = 1.0 should be a whole number"),
        ("seed = true", "seed = True should be a whole number"),
        ("env_id = 3", "env_id = 3 should be text in quotes"),
        ("[env]\nmask_score = 1", "env.mask_score = 1 should be true or false"),
        ("[ppo]\ngamma = true", "ppo.gamma = True should be a number"),
        ('device = "gpu"', "device = 'gpu' is not one of auto, cpu, cuda. Did you mean 'cpu'"),
        ("ppo = 3", r"ppo is a group of options: write \[ppo\]"),
        ("seed = = 1", "not valid TOML"),
    ],
)
def test_mistakes_are_named_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*none\.toml: No such file"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(UserError, match="cannot read"):
        read_config(tmp_path)
    path = tmp_path / "latin.toml"
    path.write_bytes(b'question = "caf\xe9"')
    with pytest.raises(UserError, match="not valid TOML"):
        read_config(path)


def test_text_that_no_file_can_hold(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    with pytest.raises(UserError, match="not UTF-8"):
        write_config(path, TrainConfig(question="caf\udce9"))
    assert list(tmp_path.iterdir()) == []
