"""What is usual is read off the last ten episodes, and is the same after a restart."""

import json

import numpy as np
import pytest

from pairplay.episodes import EpisodeReturns
from pairplay.teachers.context import TeacherContext


def test_nothing_is_usual_before_an_episode_ends() -> None:
    assert TeacherContext.of([]) == TeacherContext(None, None)
    assert TeacherContext().step_reward is None


def test_the_last_ten_count() -> None:
    episodes = [(1e6, 1)] * 5 + [(10.0, 20)] * 5 + [(30.0, 80)] * 5
    context = TeacherContext.of(episodes)
    assert (context.mean_return, context.mean_length) == (20.0, 50.0)
    assert context.step_reward == pytest.approx(0.4)
    assert TeacherContext.of([(-3.0, 6)]).step_reward == pytest.approx(-0.5)


def test_a_restarted_trainer_gives_the_same_context() -> None:
    returns = EpisodeReturns(2)
    random = np.random.default_rng(0)
    for _ in range(4):
        returns.add(random.normal(size=(30, 2)).astype(np.float32), random.random((30, 2)) < 0.2)
    resumed = EpisodeReturns(2)
    resumed.load(json.loads(json.dumps(returns.state())))
    assert len(returns.finished) > 10
    assert TeacherContext.of(resumed.finished) == TeacherContext.of(returns.finished)
