"""The average follows the network and forgets where it began; with it, predictions are the average's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pairplay.config import RewardModelConfig
from pairplay.reward.averaging import Averaged
from pairplay.reward.fit import fit
from pairplay.reward.model import RewardModel
from pairplay.types import EnvSpec
from tests.reward.examples import IMAGE, VECTOR, compare, make_model, make_rollout, make_segment

AVERAGING = RewardModelConfig(ema_decay=0.9, batch_norm=True)


class Point(nn.Module):
    """One weight and one statistic."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(1))

    def move(self, to: float) -> None:
        with torch.no_grad():
            self.weight.fill_(to)
            self.seen.fill_(-to)


def test_by_hand() -> None:
    """1 has a weight of ⅔ at the first step, ½ at the second and ⅖ at the third."""
    point = Point()
    averaged = Averaged(point, decay=0.9)
    point.move(1.0)
    for expected in (2 / 3, 5 / 6, 9 / 10):
        averaged.follow()
        assert averaged.network.weight.item() == pytest.approx(expected)
        assert averaged.network.seen.item() == pytest.approx(-expected)


def test_in_the_end_the_decay_alone_decides() -> None:
    point = Point()
    averaged = Averaged(point, decay=0.9)
    for _ in range(100):
        averaged.follow()
    point.move(1.0)
    for _ in range(7):
        averaged.follow()
    assert averaged.network.weight.item() == pytest.approx(1 - 0.9**7)


def test_noise_about_a_point_is_averaged_away() -> None:
    rng = np.random.default_rng(0)
    point = Point()
    averaged = Averaged(point, decay=0.98)
    for value in 3.0 + rng.normal(size=1000):
        point.move(float(value))
        averaged.follow()
    # A standard deviation of sqrt(0.02 / 1.98) = 0.1, where a single one has 1.
    assert averaged.network.weight.item() == pytest.approx(3.0, abs=0.3)


def fitted(spec: EnvSpec, config: RewardModelConfig, *, pairs: int) -> RewardModel:
    model = make_model(spec, config)
    segments = [make_segment(spec, str(i), seed=i) for i in range(6)]
    fit(model, compare(segments, lambda s: s.frames.mean(), 10), pairs=pairs, rng=np.random.default_rng(0))
    return model


@pytest.mark.parametrize("spec", [VECTOR, IMAGE], ids=lambda spec: spec.env_id)
def test_predictions_are_those_of_the_averaged_weights(spec: EnvSpec) -> None:
    averaging = fitted(spec, AVERAGING, pairs=30)
    plain = fitted(spec, replace(AVERAGING, ema_decay=0.0), pairs=30)
    assert averaging.averaged is not None
    # The average does not disturb what it follows.
    for mine, others in zip(averaging.network.parameters(), plain.network.parameters(), strict=True):
        assert torch.equal(mine, others)
    rollout = make_rollout(spec)
    of_average, of_latest = averaging.score(rollout), plain.score(rollout)
    assert np.abs(of_average - of_latest).max() > 1e-4
    plain.network.load_state_dict(averaging.averaged.network.state_dict())
    np.testing.assert_array_equal(plain.score(rollout), of_average)
    segment = make_segment(spec, "new", seed=99)
    np.testing.assert_array_equal(plain.segment_returns([segment]), averaging.segment_returns([segment]))
    np.testing.assert_array_equal(plain.features([segment]), averaging.features([segment]))


def test_the_gradient_is_that_of_the_weights_that_learn() -> None:
    """Otherwise a fit would move nothing: the average has no optimizer."""
    model = fitted(VECTOR, AVERAGING, pairs=30)
    with model.training(np.random.default_rng(0)):
        assert model.predictor is model.network
    assert model.predictor is not model.network


def test_a_saved_average_goes_on_as_if_nothing_happened() -> None:
    model, copy = fitted(IMAGE, AVERAGING, pairs=30), make_model(IMAGE, AVERAGING, seed=5)
    copy.load({name: tensor.contiguous() for name, tensor in model.state().items()})
    rollout = make_rollout(IMAGE)
    np.testing.assert_array_equal(copy.score(rollout), model.score(rollout))
    assert model.averaged is not None
    assert copy.averaged is not None
    for twin in (model, copy):
        assert twin.averaged is not None
        twin.averaged.follow()
    assert copy.averaged.steps == model.averaged.steps
    np.testing.assert_array_equal(copy.score(rollout), model.score(rollout))
