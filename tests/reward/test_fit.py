"""The ensemble learns from answers, each member from its own share of them, and survives having almost none."""

import math
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pairplay.reward.fit import FitMetrics, _batches, fit, split_of, splitter_of
from pairplay.reward.model import RewardModel
from pairplay.types import Array, Comparison, EnvSpec, Pair, Segment

from .examples import CONFIG, IMAGE, REACH, VECTOR, compare, make_model, make_rollout, make_segment, with_mu

TASTE = np.array([1.0, -2.0, 0.5])


def linear(segment: Segment) -> float:
    return float((segment.frames @ TASTE).sum())


def vector_segments(count: int, first: int = 0) -> list[Segment]:
    return [make_segment(VECTOR, str(i), seed=i) for i in range(first, first + count)]


def accuracy(model: RewardModel, comparisons: list[Comparison]) -> float:
    """Of the whole ensemble: the members' mean return decides."""
    left, right = (model.segment_returns([getattr(c, side) for c in comparisons]).mean(0) for side in ("left", "right"))
    return float(np.mean((left > right) == [c.mu == 1.0 for c in comparisons]))


def assert_sound(metrics: FitMetrics) -> None:
    assert all(value is None or math.isfinite(value) for value in astuple(metrics))


# -- split -------------------------------------------------------------------------------------------------------------


def test_a_held_out_answer_never_reaches_its_member() -> None:
    segments = vector_segments(20)
    comparisons = compare(segments, linear, 12)
    parts = split_of(make_model(VECTOR), comparisons, None)
    weight = parts.weight_ED
    member, held_out = np.argwhere(parts.held_ED)[0]
    others_learn = np.flatnonzero(weight[:, held_out] > 0)
    assert len(others_learn)
    lied = list(comparisons)
    lied[held_out] = with_mu(lied[held_out], 1.0 - lied[held_out].mu)
    honest_model, lied_model = make_model(VECTOR), make_model(VECTOR)
    for model, answers in ((honest_model, comparisons), (lied_model, lied)):
        fit(model, answers, pairs=36, rng=np.random.default_rng(0))
    for name, honest in honest_model.network.named_parameters():
        twisted = dict(lied_model.network.named_parameters())[name]
        assert torch.equal(honest[member], twisted[member]), name
        assert not torch.equal(honest[others_learn[0]], twisted[others_learn[0]]), name


def test_pairs_asked_but_not_answered_decide_the_side() -> None:
    """Whether a segment is held out must not depend on which of its queries is answered first."""
    model = make_model(VECTOR)
    a, b, c, *others = vector_segments(40)
    rest = [Comparison(10 + i, others[2 * i], others[2 * i + 1], 1.0) for i in range(18)]
    second = Comparison(2, b, c, 1.0)
    asked = [Pair(1, a.id, b.id), Pair(2, b.id, c.id), *(Pair(r.key, r.left.id, r.right.id) for r in rest)]
    splitter = splitter_of(model.config, model.seed, asked)
    both = split_of(model, [Comparison(1, a, b, 1.0), second, *rest], splitter)
    late = split_of(model, [second, *rest], splitter)
    np.testing.assert_array_equal(late.held_ED, both.held_ED[:, 1:])
    np.testing.assert_array_equal(both.held_ED[:, 0], both.held_ED[:, 1])
    # Without them it would be a draw of its own.
    assert not np.array_equal(split_of(model, [second, *rest], None).held_ED[:, 0], late.held_ED[:, 0])


# -- mini-batches ----------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 150))
def test_visits_are_bounded_and_even(size: int, batch: int, visits: int) -> None:
    batches = list(_batches(np.random.default_rng(0), np.zeros(size, np.bool_), batch, visits))
    counts = np.bincount(np.concatenate([[], *batches]).astype(int), minlength=size)
    assert counts.sum() == visits
    assert counts.max() - counts.min() <= 1
    assert all(1 <= len(b) <= batch and len(set(b)) == len(b) for b in batches)


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 20), st.integers(1, 100))
def test_those_that_come_first_lead_each_pass(first: list[bool], batch: int, visits: int) -> None:
    batches = _batches(np.random.default_rng(0), np.array(first), batch, visits)
    visited = np.array(first)[np.concatenate(list(batches))]
    for start in range(0, visits, len(first)):
        of_a_pass = visited[start : start + len(first)]
        assert of_a_pass.sum() == min(sum(first), len(of_a_pass))
        assert of_a_pass[: of_a_pass.sum()].all()


def test_a_fit_visits_the_named_comparisons_before_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    model, segments = make_model(VECTOR), vector_segments(40)
    comparisons = [Comparison(100 + i, segments[2 * i], segments[2 * i + 1], 1.0) for i in range(20)]
    returns, visited = model.returns, set[str]()

    def spy(segments: list[Segment], **options: Any) -> torch.Tensor:
        visited.update(segment.id for segment in segments)
        return returns(segments, **options)

    monkeypatch.setattr(model, "returns", spy)
    fit(model, comparisons, pairs=3, rng=np.random.default_rng(0), first={104, 117, 119})
    assert visited == {side.id for i in (4, 17, 19) for side in (comparisons[i].left, comparisons[i].right)}


def test_a_segment_in_several_comparisons_is_evaluated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (a, b, c) = make_model(VECTOR), vector_segments(3)
    returns, evaluated = model.returns, []

    def spy(segments: list[Segment], **options: Any) -> torch.Tensor:
        evaluated.append(sorted(segment.id for segment in segments))
        return returns(segments, **options)

    monkeypatch.setattr(model, "returns", spy)
    fit(model, [Comparison(0, a, b, 1.0), Comparison(1, c, a, 0.0)], pairs=2, rng=np.random.default_rng(0))
    assert evaluated == [["0", "1", "2"]]


def test_a_stride_estimates_the_sum_without_bias() -> None:
    model = make_model(VECTOR)
    segments = [make_segment(VECTOR, "a", seed=1, length=12), make_segment(VECTOR, "b", seed=2, length=7)]
    whole = model.segment_returns(segments)
    rng = np.random.default_rng(0)
    draws = np.stack([model.returns(segments, stride=3, rng=rng).detach().numpy() for _ in range(600)])
    assert len(np.unique(draws[:, 0, 0])) == 3  # the three offsets, each once in three times
    np.testing.assert_allclose(draws.mean(0)[:, 0], whole[:, 0], atol=4 * draws.std(0)[:, 0].max() / 600**0.5)
    assert np.array_equal(model.returns(segments, stride=1, rng=rng).detach().numpy(), whole)


@pytest.mark.parametrize("spec", [VECTOR, REACH], ids=["discrete", "stacked"])
@pytest.mark.parametrize("stride", [1, 3])
def test_prepared_inputs_give_the_same_returns(spec: EnvSpec, stride: int) -> None:
    model = make_model(spec)
    model.observe(make_rollout(spec))  # the inputs have a scale
    segments = [make_segment(spec, str(i), length, seed=i, age=i) for i, length in enumerate((5, 1, 12, 4))]
    inputs = model.prepare(segments)
    assert inputs is not None
    for some in (segments, [segments[3], segments[1]]):
        expected, found = (
            model.returns(some, stride=stride, rng=np.random.default_rng(0), inputs=i).detach() for i in (None, inputs)
        )
        torch.testing.assert_close(found, expected)


def test_pictures_are_not_prepared() -> None:
    assert make_model(IMAGE).prepare([make_segment(IMAGE, "a")]) is None


def test_only_the_latest_answers_are_trained_on() -> None:
    segments = vector_segments(30)
    old, new = compare(segments[:15], linear, 10), compare(segments[15:], linear, 6, first_key=10)
    models = [make_model(VECTOR, replace(CONFIG, buffer=6)) for _ in range(2)]
    for model, answers in zip(models, (old + new, new), strict=True):
        fit(model, answers, pairs=12, rng=np.random.default_rng(0))
    first, second = (model.state() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)


# -- little or nothing to learn from ---------------------------------------------------------------------------------


def test_no_answers() -> None:
    model = make_model(VECTOR)
    before = model.state()
    assert fit(model, [], pairs=96, rng=np.random.default_rng(0)) == FitMetrics(None, None, None, None, 0, l2=1e-4)
    assert all(torch.equal(before[name], after) for name, after in model.state().items())


def test_no_visits() -> None:
    comparisons = compare(vector_segments(4), linear, 4)
    metrics = fit(make_model(VECTOR), comparisons, pairs=0, rng=np.random.default_rng(0))
    assert metrics == FitMetrics(None, None, None, None, 0, l2=1e-4)


@pytest.mark.parametrize("mu", [1.0, 0.5])
def test_a_single_answer(mu: float) -> None:
    a, b = vector_segments(2)
    metrics = fit(make_model(VECTOR), [Comparison(0, a, b, mu)], pairs=20, rng=np.random.default_rng(0))
    assert_sound(metrics)
    assert metrics.pairs == 20
    assert metrics.loss is not None


def test_all_ties_have_a_loss_but_no_accuracy_and_level_the_returns() -> None:
    segments = vector_segments(10)
    ties = [with_mu(c, 0.5) for c in compare(segments, linear, 40)]
    model = make_model(VECTOR)
    metrics = fit(model, ties, pairs=2000, rng=np.random.default_rng(0))
    assert_sound(metrics)
    assert metrics.train_accuracy is None
    assert metrics.val_accuracy is None
    assert metrics.loss == pytest.approx(math.log(2.0), abs=0.01)


def test_segments_of_different_lengths() -> None:
    segments = [make_segment(VECTOR, str(i), length=1 + i % 5, seed=i) for i in range(12)]
    assert_sound(fit(make_model(VECTOR), compare(segments, linear, 20), pairs=40, rng=np.random.default_rng(0)))


def test_a_loss_that_is_not_finite_is_refused_before_the_step() -> None:
    a, b = (make_segment(REACH, str(i), seed=i) for i in range(2))
    model = make_model(REACH)
    before = model.state()
    action: Array = np.full_like(a.action, np.nan)
    with pytest.raises(FloatingPointError, match="not finite"):
        fit(model, [Comparison(0, replace(a, action=action), b, 1.0)], pairs=1, rng=np.random.default_rng(0))
    assert all(torch.equal(before[name], after) for name, after in model.state().items())


# -- learning --------------------------------------------------------------------------------------------------------


def test_the_same_generator_gives_the_same_fit() -> None:
    comparisons = compare(vector_segments(10), linear, 20)
    models = [make_model(VECTOR) for _ in range(2)]
    metrics = [fit(model, comparisons, pairs=40, rng=np.random.default_rng(3)) for model in models]
    assert metrics[0] == metrics[1]
    first, second = (model.state() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_overfits_twenty_clean_comparisons() -> None:
    """Labels without any sense, learnt by heart: each member knows all that it trains on."""
    rng = np.random.default_rng(0)
    segments = vector_segments(40)
    comparisons = [
        Comparison(key, segments[2 * key], segments[2 * key + 1], float(rng.integers(2))) for key in range(20)
    ]
    model = make_model(VECTOR, replace(CONFIG, hidden=64, adaptive_l2=False))
    metrics = fit(model, comparisons, pairs=4000, rng=rng)
    assert metrics.train_accuracy == 1.0
    assert metrics.loss is not None
    # The error term's floor: -log 0.95.
    assert metrics.loss == pytest.approx(-math.log(0.95), abs=0.03)
    assert metrics.val_accuracy is not None
    assert metrics.val_accuracy < 0.9


def test_learns_a_linear_reward_from_a_hundred_answers() -> None:
    model = make_model(VECTOR, replace(CONFIG, hidden=64))
    metrics = fit(model, compare(vector_segments(80), linear, 100), pairs=1500, rng=np.random.default_rng(0))
    fresh = compare(vector_segments(200, first=1000), linear, 300, seed=1)
    assert accuracy(model, fresh) > 0.85
    assert metrics.val_accuracy is not None
    assert metrics.val_accuracy > 0.75


def test_learns_which_clip_is_brighter() -> None:
    def clip(i: int) -> Segment:
        segment = make_segment(IMAGE, str(i), length=3, seed=i)
        dimmed = (segment.frames * np.random.default_rng(i).uniform(0.2, 1.0)).astype(np.uint8)
        return replace(segment, held=dimmed)

    def brightness(segment: Segment) -> float:
        return float(segment.frames.mean())

    model = make_model(IMAGE)
    fit(model, compare([clip(i) for i in range(40)], brightness, 40), pairs=320, rng=np.random.default_rng(0))
    fresh = compare([clip(i) for i in range(100, 140)], brightness, 60, seed=1)
    assert accuracy(model, fresh) > 0.85
