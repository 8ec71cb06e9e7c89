"""Returns are summed across rollouts and split at episode ends."""

import numpy as np
import pytest

from pairplay.episodes import EpisodeReturns


def test_an_episode_spans_two_rollouts() -> None:
    returns = EpisodeReturns(2)
    ended = np.zeros((2, 2), np.bool_)
    returns.add(np.ones((2, 2), np.float32), ended)
    assert returns.mean_return is None
    ended[0, 1] = True
    returns.add(np.full((2, 2), 10, np.float32), ended)
    assert returns.mean_return == 12.0
    assert returns.mean_length == 3.0
    assert returns.total == 44.0
    assert returns.running.tolist() == [22.0, 10.0]


def test_round_trip() -> None:
    returns, other = EpisodeReturns(1), EpisodeReturns(1)
    returns.add(np.ones((3, 1), np.float32), np.array([[0], [1], [0]], np.bool_))
    other.load(returns.state())
    assert (other.mean_return, other.total) == (2.0, 3.0)


def test_only_the_last_hundred_count() -> None:
    returns = EpisodeReturns(1)
    returns.add(np.arange(200, dtype=np.float32)[:, None], np.ones((200, 1), np.bool_))
    assert returns.mean_return == pytest.approx(np.mean(np.arange(100, 200)))
