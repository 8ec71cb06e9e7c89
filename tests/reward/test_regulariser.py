"""L2 rises when a member overfits and falls when it does not, judged per comparison and member by member."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pairplay.reward.fit import fit
from pairplay.reward.networks import make_network
from pairplay.reward.regulariser import FACTOR, HIGH, LOW, Regulariser, shrink
from pairplay.types import Array, Comparison, EnvSpec

from .examples import CONFIG, IMAGE, VECTOR, compare, make_model, make_segment


def losses(train: float, held: float, *, trains: int = 10, holds: int = 10, members: int = 1) -> tuple[Array, ...]:
    """Losses and weights of `trains` training comparisons followed by `holds` held-out ones."""
    loss = np.tile(np.array([train] * trains + [held] * holds), (members, 1))
    is_held = np.tile(np.arange(trains + holds) >= trains, (members, 1))
    return loss, (~is_held).astype(np.int64), is_held


@pytest.mark.parametrize(
    ("held", "factor"), [(0.61, FACTOR), (0.59, 1.0), (0.45, 1.0), (0.43, 1 / FACTOR), (0.2, 1 / FACTOR)]
)
def test_direction_by_hand(held: float, factor: float) -> None:
    """A training loss of 0.4 leaves the coefficient alone between 0.44 and 0.6."""
    regulariser = Regulariser.empty(1, 1e-3)
    regulariser.update(*losses(0.4, held))
    assert float(regulariser.coefficient) == pytest.approx(1e-3 * factor)
    assert regulariser.ratio() == pytest.approx([held / 0.4])


@pytest.mark.parametrize(("trains", "holds"), [(90, 10), (10, 90)])
def test_losses_are_compared_per_comparison(trains: int, holds: int) -> None:
    """Sums would say overfit when much is held out and underfit when little is."""
    regulariser = Regulariser.empty(1, 1e-3)
    regulariser.update(*losses(0.4, 0.5, trains=trains, holds=holds))
    assert float(regulariser.coefficient) == 1e-3
    assert regulariser.ratio() == pytest.approx([1.25])


def test_a_comparison_counts_as_often_as_it_was_drawn() -> None:
    regulariser = Regulariser.empty(1, 1e-3)
    regulariser.update(np.array([[0.2, 0.6, 0.6]]), np.array([[3, 1, 0]]), np.array([[False, False, True]]))
    assert regulariser.ratio() == pytest.approx([0.6 / 0.3])


def test_what_earlier_fits_showed_counts_less_by_hand() -> None:
    regulariser = Regulariser.empty(1, 1e-3)
    regulariser.update(*losses(0.4, 0.4))
    regulariser.update(*losses(0.4, 1.0))
    assert regulariser.ratio() == pytest.approx([(0.9 * 0.4 + 1.0) / 1.9 / 0.4])


def test_each_member_has_its_own() -> None:
    regulariser = Regulariser.empty(3, 1e-3)
    loss, trained, held = losses(0.4, 0.5, members=3)
    loss[0, 10:], loss[2, 10:] = 2.0, 0.3
    regulariser.update(loss, trained, held)
    assert regulariser.coefficient.tolist() == pytest.approx([1e-3 * FACTOR, 1e-3, 1e-3 / FACTOR])


@pytest.mark.parametrize(("held", "bound"), [(9.0, HIGH), (0.1, LOW)])
def test_it_stays_within_bounds(held: float, bound: float) -> None:
    regulariser = Regulariser.empty(1, 1e-2)
    for _ in range(100):
        regulariser.update(*losses(0.4, held))
    assert float(regulariser.coefficient) == bound


@pytest.mark.parametrize(("trains", "holds"), [(10, 0), (0, 10), (0, 0)])
def test_with_an_empty_side_nothing_moves(trains: int, holds: int) -> None:
    regulariser = Regulariser.empty(1, 1e-3)
    regulariser.update(*losses(0.1, 0.9, trains=trains, holds=holds))
    assert float(regulariser.coefficient) == 1e-3
    assert np.isnan(regulariser.ratio()).all()


def test_a_training_loss_of_nothing_is_overfit() -> None:
    regulariser = Regulariser.empty(1, 1e-3)
    regulariser.update(*losses(0.0, 0.1))
    assert float(regulariser.coefficient) == pytest.approx(1e-3 * FACTOR)


# -- the pull itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [VECTOR, IMAGE])
def test_weights_shrink_by_their_members_coefficient_and_biases_do_not(spec: EnvSpec) -> None:
    network = make_network(spec, replace(CONFIG, batch_norm=True), seed=0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    shrink(network.weights(), torch.tensor([0.0, 1.0, 10.0]), 0.01)
    for name, parameter in network.named_parameters():
        is_weight = name.endswith("weight")
        for part, old, keep in zip(parameter.chunk(3), before[name].chunk(3), (1.0, 0.99, 0.9), strict=True):
            torch.testing.assert_close(part, old * keep if is_weight else old)


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_fit_pulls_weights_by_the_coefficient(adaptive: bool) -> None:
    """The same fit with and without: what differs is the pull of one step, since the gradient is the same."""
    comparison = compare([make_segment(VECTOR, str(i), seed=i) for i in range(2)], lambda s: s.frames.sum(), 1)
    weights: list[list[Tensor]] = []
    for l2 in (0.0, 5.0):
        model = make_model(VECTOR, replace(CONFIG, l2=l2, adaptive_l2=adaptive))
        fit(model, comparison, pairs=1, rng=np.random.default_rng(0))
        weights.append(list(model.network.parameters()))
    for parameter, free, pulled in zip(model.network.named_parameters(), *weights, strict=True):
        keep = 1.0 - CONFIG.learning_rate * 5.0 if parameter[0].endswith("weight") else 1.0
        torch.testing.assert_close(pulled, free * keep)


# -- in a fit --------------------------------------------------------------------------------------------------------


def nonsense(count: int) -> list[Comparison]:
    """Answers without any sense: to be learnt by heart or not at all."""
    rng = np.random.default_rng(0)
    segments = [make_segment(VECTOR, str(i), seed=i) for i in range(2 * count)]
    return [Comparison(k, segments[2 * k], segments[2 * k + 1], float(rng.integers(2))) for k in range(count)]


def test_overfitting_raises_it_and_that_keeps_weights_small() -> None:
    free = make_model(VECTOR, replace(CONFIG, hidden=64, l2=1e-3, adaptive_l2=False))
    held = make_model(VECTOR, replace(CONFIG, hidden=64, l2=1e-3))
    for seed in range(40):
        for model in (free, held):
            metrics = fit(model, nonsense(30), pairs=120, rng=np.random.default_rng(seed))
    assert metrics.l2 is not None
    assert metrics.l2 > 0.1
    assert free.regulariser.coefficient.tolist() == [1e-3] * 3
    assert (free.regulariser.ratio() > held.regulariser.ratio()).all()
    for loose, tight in zip(free.network.weights(), held.network.weights(), strict=True):
        assert tight.square().sum() < loose.square().sum()


def test_underfitting_lowers_it() -> None:
    """Too strong from the start: nothing is learnt, so both losses are alike."""
    model = make_model(VECTOR, replace(CONFIG, l2=5.0))
    segments = [make_segment(VECTOR, str(i), seed=i) for i in range(80)]
    for seed in range(10):
        metrics = fit(
            model, compare(segments, lambda s: s.frames.sum(), 100), pairs=100, rng=np.random.default_rng(seed)
        )
    assert metrics.l2 is not None
    assert metrics.loss_ratio is not None
    assert metrics.l2 < 2.0


def test_without_held_out_data_it_stays() -> None:
    model = make_model(VECTOR, replace(CONFIG, l2=0.01, held_out=0.0))
    metrics = fit(model, nonsense(20), pairs=200, rng=np.random.default_rng(0))
    assert metrics.l2 == pytest.approx(0.01)
    assert metrics.loss_ratio is None


def test_it_stays_when_it_is_not_to_adapt() -> None:
    model = make_model(VECTOR, replace(CONFIG, l2=0.01, adaptive_l2=False))
    metrics = fit(model, nonsense(20), pairs=200, rng=np.random.default_rng(0))
    assert model.regulariser.coefficient.tolist() == [0.01] * 3
    assert metrics.loss_ratio is not None


def test_it_is_saved() -> None:
    model, other = (make_model(VECTOR, replace(CONFIG, l2=0.01)) for _ in range(2))
    fit(model, nonsense(20), pairs=200, rng=np.random.default_rng(0))
    assert model.regulariser.coefficient.tolist() != other.regulariser.coefficient.tolist()
    other.load(model.state())
    for name, tensor in model.regulariser.state().items():
        assert torch.equal(other.regulariser.state()[name], tensor), name
