"""What each preset stands for. Their other numbers are held by benchmarks, not by tests."""

from __future__ import annotations

import pytest

from pairplay.config import MUJOCO, PENDULUMS, check_options, preset


@pytest.mark.parametrize("game", ["Enduro", "Breakout", "Seaquest"])
def test_atari_hides_ends_and_charges_teachers_for_a_life(game: str) -> None:
    config = preset(f"ALE/{game}-v5")
    assert (config.env.ends, config.env.end_penalty, config.env.mask_score) == ("hide", 1.0, True)


def test_the_end_of_pong_is_no_loss_of_a_life() -> None:
    assert preset("ALE/Pong-v5").env.end_penalty == 0.0


@pytest.mark.parametrize("env_id", MUJOCO)
def test_mujoco_plays_on_and_torque_costs_nothing(env_id: str) -> None:
    env = preset(env_id).env
    assert (env.ends, env.torque_cost) == ("continue", False)
    assert (env.play_on_steps > 0) == (env_id in PENDULUMS)


def test_the_short_run_has_the_budget_that_it_is_compared_at() -> None:
    short = preset("ALE/Enduro-v5", "quick")
    assert (short.total_timesteps, short.labels) == (30_208, 290)
    assert short.total_timesteps % (short.num_envs * short.ppo.num_steps) == 0


def test_a_long_run_of_enduro_has_what_made_it_equal_to_the_true_reward() -> None:
    long = preset("ALE/Enduro-v5")
    assert (long.ppo.update_epochs, long.reward_model.target_std) == (3, 0.25)
    assert long.reward_model.batch_norm
    assert 0 < long.reward_model.shaping_steps < long.total_timesteps
    assert (long.env.cut_black_rows, preset("ALE/Enduro-v5", "quick").env.cut_black_rows) == (True, False)


@pytest.mark.parametrize("env_id", ["ALE/Enduro-v5", "ALE/Pong-v5", "CartPole-v1", "HalfCheetah-v5"])
def test_every_preset_can_be_run(env_id: str) -> None:
    check_options(preset(env_id))
