"""Whatever comes in: no crash, and no parameter that is not a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from pairplay.reward.fit import FitMetrics, fit
from pairplay.reward.model import RewardModel
from pairplay.types import Array, Comparison, EnvSpec, Segment, UserError

from .examples import CONFIG, IMAGE, REACH, VECTOR, compare, make_model, make_rollout, make_segment, with_mu

Answers = list[Comparison]


def segments(spec: EnvSpec, count: int = 12, length: int = 4) -> list[Segment]:
    return [make_segment(spec, str(i), seed=i, length=length) for i in range(count)]


def some(spec: EnvSpec, count: int = 10, length: int = 4) -> Answers:
    return compare(segments(spec, length=length), lambda s: s.frames.mean(), count, first_key=1)


def contradictory(spec: EnvSpec) -> Answers:
    """Each pair answered both ways, and a circle."""
    a, b, c = segments(spec, 3)
    ways = [(a, b), (b, a), (a, b), (b, c), (c, a)]
    return [Comparison(key, left, right, float(key != 3)) for key, (left, right) in enumerate(ways, 1)]


def still(spec: EnvSpec) -> Answers:
    """Every observation the same: nothing can be told apart."""
    frames = np.full_like(segments(spec)[0].frames, 7)
    return [replace(c, left=replace(c.left, held=frames), right=replace(c.right, held=frames)) for c in some(spec)]


CASES: dict[str, Callable[[EnvSpec], Answers]] = {
    "all skips": lambda spec: [],
    "a single answer": lambda spec: some(spec, 1),
    "all ties": lambda spec: [with_mu(c, 0.5) for c in some(spec)],
    "contradictory": contradictory,
    "one state a segment": lambda spec: some(spec, length=1),
    "nothing to tell apart": still,
    "always left": lambda spec: [with_mu(c, 1.0) for c in some(spec)],
}
CONFIGS = {
    "default": CONFIG,
    "all on": replace(CONFIG, batch_norm=True, dropout=0.5, fit_stride=3),
    "nothing held out": replace(CONFIG, held_out=0.0),
    "all held out": replace(CONFIG, held_out=1.0),
    "no error term": replace(CONFIG, error_rate=0.0, learning_rate=0.1),
    "one member, plain": replace(CONFIG, members=1, bootstrap=False, normalise=False, see_action=False),
}


def assert_finite(model: RewardModel) -> None:
    for name, tensor in model.state().items():
        assert torch.isfinite(tensor.double()).all(), name


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("spec", [VECTOR, IMAGE], ids=lambda spec: spec.env_id)
def test_it_learns_or_leaves_it(spec: EnvSpec, case: str, config: str) -> None:
    model, answers = make_model(spec, CONFIGS[config]), CASES[case](spec)
    model.relabel(make_rollout(spec))
    for seed in range(2):
        metrics = fit(model, answers, pairs=20, rng=np.random.default_rng(seed))
        model.renormalise()
    assert isinstance(metrics, FitMetrics)
    assert (metrics.loss is None) == (not answers)
    assert all(np.isfinite(v) for v in vars(metrics).values() if v is not None)
    assert np.isfinite(model.relabel(make_rollout(spec)).mean).all()
    assert_finite(model)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_observation_that_is_no_number_is_refused_by_name_and_nothing_is_touched(value: float) -> None:
    model, rollout = make_model(VECTOR), make_rollout(VECTOR)
    model.relabel(rollout)
    before = model.state()
    frames: Array = rollout.frames.copy()
    frames[3, 1, 0] = value
    answers = some(VECTOR)
    wrong = replace(answers[-1].left, id="wrong", held=np.full_like(answers[-1].left.frames, value))
    for attempt in (
        lambda: model.relabel(replace(rollout, frames=frames)),
        lambda: model.observe(replace(rollout, frames=frames)),
        lambda: fit(model, [*answers, replace(answers[-1], left=wrong)], pairs=100, rng=np.random.default_rng(0)),
    ):
        with pytest.raises(UserError, match=r"Vector-v0 .*NaN or infinite.*TransformObservation"):
            attempt()
        after = model.state()
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_huge_observations_are_clipped_not_refused() -> None:
    model, rollout = make_model(REACH), make_rollout(REACH)
    huge = replace(rollout, frames=rollout.frames * np.float32(1e30))
    assert np.isfinite(model.relabel(huge).mean).all()
    assert np.isfinite(model.relabel(rollout).mean).all()


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("spec", [VECTOR, IMAGE], ids=lambda spec: spec.env_id)
def test_a_constant_reward_is_worth_nothing_and_moves_no_value_by_a_scale(spec: EnvSpec, normalise: bool) -> None:
    model, rollout = make_model(spec, replace(CONFIG, normalise=normalise)), make_rollout(spec)
    with torch.no_grad():
        model.network.head.out.weight.zero_()
        model.network.head.out.bias.fill_(0.3)
    constant = np.full((7, 2), 0.0 if normalise else 0.3, np.float32)
    for _ in range(2):
        np.testing.assert_allclose(model.relabel(rollout).mean, constant, atol=1e-7)
        moved = model.renormalise()
        assert moved.scale == 1.0
        assert moved.shift == pytest.approx(0.0, abs=1e-6)
