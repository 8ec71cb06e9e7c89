"""A fit in a thread of its own: begun, finished, and kept in between."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import numpy as np
import pytest
import torch

from pairplay.reward.fit import FitMetrics, fit, splitter_of
from pairplay.reward.model import RewardModel
from pairplay.reward.refit import Refit
from pairplay.types import Comparison

from .examples import VECTOR, compare, make_model, make_rollout, make_segment


def make_refit(model: RewardModel, threads: int = 1) -> Refit:
    return Refit(model, splitter_of(model.config, model.seed), threads=threads)


def _nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def answers() -> list[Comparison]:
    segments = [make_segment(VECTOR, str(i), seed=i) for i in range(48)]
    return compare(segments, lambda segment: float(segment.frames.sum()), 24)


@pytest.mark.parametrize("threads", [0, 1])
def test_it_learns_what_a_fit_learns_in_place(threads: int) -> None:
    beside, in_place = make_model(VECTOR), make_model(VECTOR)
    refit = make_refit(beside, threads)
    refit.begin(answers(), pairs=48, rng=np.random.default_rng(7))
    found = refit.finish()
    expected = fit(in_place, answers(), pairs=48, rng=np.random.default_rng(7))
    refit.close()
    assert found is not None
    assert found.metrics == expected
    in_place.renormalise()
    for name, tensor in in_place.state().items():
        torch.testing.assert_close(beside.state()[name], tensor, rtol=1e-5, atol=1e-7, equal_nan=True, msg=name)


def test_what_is_new_since_the_last_fit_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its number: a person answers the newest query first, and older ones later."""
    led: list[set[int]] = []

    def noting(*args: Any, first: set[int], **options: Any) -> FitMetrics:
        led.append(set(first))
        return FitMetrics(None, None, None, None, 1)

    monkeypatch.setattr("pairplay.reward.refit.fit", noting)
    refit, all_of_them = make_refit(make_model(VECTOR), threads=0), answers()
    known = [comparison for comparison in all_of_them if comparison.key not in (3, 23)]
    for comparisons, pairs in ((known, 1), (all_of_them, 0), (all_of_them, 1), (all_of_them, 1)):
        refit.begin(comparisons, pairs=pairs, rng=np.random.default_rng(0))
        refit.finish()
    assert led == [{comparison.key for comparison in known}, {3, 23}, set()], "and they stay new until there is a fit"
    refit.close()


def test_it_goes_on_beside_whoever_began_it(monkeypatch: pytest.MonkeyPatch) -> None:
    played, metrics = threading.Event(), FitMetrics(1.0, None, None, None, 3)

    def waiting(*args: Any, **options: Any) -> FitMetrics:
        assert played.wait(timeout=10), "whoever began the fit waits for it"
        assert torch.get_num_threads() == 1
        if sys.platform == "linux":
            assert _nice() > ours, "whoever plays comes first"
        return metrics

    ours = _nice()
    monkeypatch.setattr("pairplay.reward.refit.fit", waiting)
    refit = make_refit(make_model(VECTOR))
    assert refit.finish() is None
    refit.begin([], pairs=3, rng=np.random.default_rng(0))
    played.set()
    found = refit.finish()
    assert found is not None
    assert found.metrics == metrics
    assert refit.finish() is None, "each fit is finished once"
    refit.close()


def test_without_threads_it_is_done_when_it_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = FitMetrics(1.0, None, None, None, 3)
    here: list[bool] = []

    def noting(*args: Any, **options: Any) -> FitMetrics:
        here.append(threading.current_thread() is threading.main_thread())
        return metrics

    monkeypatch.setattr("pairplay.reward.refit.fit", noting)
    refit = make_refit(make_model(VECTOR), threads=0)
    refit.begin([], pairs=3, rng=np.random.default_rng(0))
    assert here == [True]
    found = refit.finish()
    assert found is not None
    assert found.metrics == metrics
    refit.close()


@pytest.mark.parametrize("threads", [0, 1])
def test_what_is_to_follow_finds_the_model_fitted_and_its_scale_taken(threads: int) -> None:
    model = make_model(VECTOR)
    model.remember(make_rollout(VECTOR))
    before, steps = model.state(), list[float]()

    def follows() -> None:
        steps.append(float(model.optimizer.state[next(iter(model.network.parameters()))]["step"]))
        assert bool(model.scale.known)

    refit = make_refit(model, threads)
    refit.begin(answers(), pairs=0, rng=np.random.default_rng(7), then=lambda: steps.append(0.0))
    assert refit.finish() is None, "nothing was fitted"
    for name, tensor in before.items():
        torch.testing.assert_close(model.state()[name], tensor, rtol=0, atol=0, equal_nan=True, msg=name)
    refit.begin(answers(), pairs=48, rng=np.random.default_rng(7), then=follows)
    assert refit.finish() is not None
    refit.close()
    assert steps == [0.0, 4.0], "two passes over two mini-batches"


def test_what_it_raises_is_raised_by_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*args: Any, **options: Any) -> FitMetrics:
        raise FloatingPointError("the loss is not finite")

    monkeypatch.setattr("pairplay.reward.refit.fit", failing)
    refit = make_refit(make_model(VECTOR))
    refit.begin([], pairs=3, rng=np.random.default_rng(0))
    with pytest.raises(FloatingPointError, match="not finite"):
        refit.finish()
    refit.begin([], pairs=3, rng=np.random.default_rng(0))
    refit.close()
    in_place = make_refit(make_model(VECTOR), threads=0)
    with pytest.raises(FloatingPointError, match="not finite"):
        in_place.begin([], pairs=3, rng=np.random.default_rng(0))
    assert in_place.finish() is None, "nobody waits for what has failed"
