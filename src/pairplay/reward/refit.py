"""Fit the reward model beside whatever else goes on: begun when answers are read, finished before it is asked again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from pairplay.cores import step_back
from pairplay.reward.fit import FitMetrics, fit
from pairplay.reward.model import RewardModel
from pairplay.reward.normaliser import Affine
from pairplay.reward.split import Splitter
from pairplay.types import Comparison


class Refitted(NamedTuple):
    """What came of a fit."""

    metrics: FitMetrics
    moved: Affine
    """How the reward moved with it, on its reference states: `RewardModel.renormalise`."""


class Refit:
    """One fit at a time, in a thread of its own if it may; until it is finished nobody else may use model or splitter.

    It draws from the generator that `begin` is given, so what it learns does not depend on what goes on beside it.
    """

    def __init__(self, model: RewardModel, splitter: Splitter, *, threads: int) -> None:
        """`threads` is how many of torch's it computes on. With 0 there is nothing to gain, and `begin` does it all.

        Two threads that launch small computations, for a GPU or on short vectors, only wait for each other: Python runs
        one of them at a time.
        """
        self._model = model
        self._splitter = splitter
        self._worker = None
        if threads:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="fitting", initializer=partial(_settle, threads))
        self._under_way: Future[Refitted | None] | None = None
        self._met: set[int] = set()
        """Keys of the comparisons that were there at a fit."""

    def begin(
        self,
        comparisons: Sequence[Comparison],
        *,
        pairs: int,
        rng: np.random.Generator,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Start a `fit` (none of 0 pairs), let the reward's scale follow its parameters, and call `then`.

        Comparisons that are new since the last fit come first: what was just answered is learnt from at once. What was
        begun before must be finished. `then` may ask the model.
        """
        assert self._under_way is None, "a fit is under way"
        work = partial(self._work, comparisons, pairs, rng, then)
        if self._worker is not None:
            self._under_way = self._worker.submit(work)
        else:
            done: Future[Refitted | None] = Future()
            done.set_result(work())
            self._under_way = done

    def finish(self) -> Refitted | None:
        """Wait for what was begun; raises what it raised. None if nothing was fitted."""
        under_way, self._under_way = self._under_way, None
        return under_way.result() if under_way else None

    def close(self) -> None:
        """Wait for the fit, whatever comes of it."""
        if self._worker is not None:
            self._worker.shutdown(wait=True)

    def _work(
        self, comparisons: Sequence[Comparison], pairs: int, rng: np.random.Generator, then: Callable[[], None]
    ) -> Refitted | None:
        refitted = None
        if pairs > 0:
            new = {comparison.key for comparison in comparisons} - self._met
            self._met |= new
            metrics = fit(self._model, comparisons, pairs=pairs, rng=rng, splitter=self._splitter, first=new)
            refitted = Refitted(metrics, self._model.renormalise())
        then()
        return refitted


def _settle(threads: int) -> None:
    torch.set_num_threads(threads)
    step_back()
