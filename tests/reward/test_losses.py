"""Bradley–Terry by hand, then its symmetries."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pairplay.reward.losses import preference_log_prob, preference_loss

returns = st.floats(-1e3, 1e3, width=32)
rates = st.floats(0.0, 1.0, width=32)


def exact(x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def log_prob(left: float, right: float, error_rate: float = 0.1) -> float:
    return float(preference_log_prob(exact(left), exact(right), error_rate))


def loss(left: float, right: float, mu: float, error_rate: float = 0.1) -> float:
    return float(preference_loss(exact(left), exact(right), exact(mu), error_rate))


def test_log_prob_by_hand() -> None:
    # σ(ln 3) = 3/4, and 0.9 · 0.75 + 0.05 = 0.725.
    assert math.exp(log_prob(math.log(3.0), 0.0)) == pytest.approx(0.725)
    assert math.exp(log_prob(0.0, math.log(3.0))) == pytest.approx(0.275)
    assert math.exp(log_prob(4.0, 4.0)) == pytest.approx(0.5)
    # However sure the model is, one answer in twenty may be the other one.
    assert math.exp(log_prob(-1e4, 1e4)) == pytest.approx(0.05)
    assert math.exp(log_prob(1e4, -1e4)) == pytest.approx(0.95)


def test_loss_by_hand() -> None:
    assert loss(math.log(3.0), 0.0, 1.0) == pytest.approx(-math.log(0.725))
    assert loss(math.log(3.0), 0.0, 0.0) == pytest.approx(-math.log(0.275))
    assert loss(math.log(3.0), 0.0, 0.5) == pytest.approx(-0.5 * (math.log(0.725) + math.log(0.275)))


def test_without_errors_the_logarithm_goes_on_where_the_probability_underflows() -> None:
    assert log_prob(0.0, 5000.0, error_rate=0.0) == pytest.approx(-5000.0)


@pytest.mark.parametrize("error_rate", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("difference", [-1e4, 0.0, 1e4])
def test_gradient_is_finite(error_rate: float, difference: float) -> None:
    left = torch.tensor([difference], requires_grad=True)
    preference_loss(left, torch.zeros(1), torch.tensor([1.0]), error_rate).sum().backward()  # type: ignore[no-untyped-call]
    assert left.grad is not None
    assert torch.isfinite(left.grad).all()


def test_answers_at_random_teach_nothing() -> None:
    assert log_prob(7.0, -7.0, error_rate=1.0) == pytest.approx(math.log(0.5))


@given(returns, returns, rates)
def test_one_of_the_two_is_preferred(left: float, right: float, error_rate: float) -> None:
    both = math.exp(log_prob(left, right, error_rate)) + math.exp(log_prob(right, left, error_rate))
    assert both == pytest.approx(1.0)


@given(returns, returns, st.sampled_from([0.0, 0.5, 1.0]))
def test_swapping_sides_complements_the_answer(left: float, right: float, mu: float) -> None:
    assert loss(left, right, mu) == pytest.approx(loss(right, left, 1.0 - mu))


@given(returns, returns, st.floats(-100.0, 100.0, width=32), st.integers(1, 50))
def test_a_constant_reward_changes_nothing_for_equal_lengths(left: float, right: float, bonus: float, L: int) -> None:
    assert log_prob(left + L * bonus, right + L * bonus) == pytest.approx(log_prob(left, right), abs=1e-9)


@given(returns, returns, st.floats(0.125, 100.0, width=32))
def test_more_reward_is_never_less_likely_preferred(left: float, right: float, more: float) -> None:
    assert log_prob(left + more, right) >= log_prob(left, right) - 1e-12
