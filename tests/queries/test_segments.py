"""Windows are fair and apart; segments stay inside one episode; the pool forgets the oldest and can be saved."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairplay.packing import segment_id
from pairplay.queries.segments import SegmentPool, cut, draw_windows
from pairplay.types import BoolArray, Footage, Rollout, Window

from .examples import make_footage, make_rollout


def cut_window(
    rollout: Rollout, window: Window, *, filmed: int | None = None, min_length: int = 1, stack: int = 4
) -> Footage | None:
    """The film shows the step's number."""
    steps = np.arange(window.start, window.start + (window.length if filmed is None else filmed))
    captures = np.broadcast_to(steps[:, None, None, None], (len(steps), 4, 4, 3)).astype(np.uint8)
    return cut(rollout, window, captures, stack=stack, step=640, iteration=5, min_length=min_length)


# -- windows ---------------------------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 1000),
    num_steps=st.integers(1, 60),
    recordable=st.integers(0, 5),
    length=st.integers(1, 40),
    count=st.integers(0, 20),
)
def test_windows_are_inside_apart_and_as_many_as_fit(
    seed: int, num_steps: int, recordable: int, length: int, count: int
) -> None:
    windows = draw_windows(
        np.random.default_rng(seed), num_steps=num_steps, recordable=recordable, length=length, count=count
    )
    short = min(length, num_steps)
    assert len(windows) == min(count, recordable * (num_steps // short))
    filmed = np.zeros((num_steps, recordable), int)
    for window in windows:
        assert window.length == short
        assert window.start + short <= num_steps
        filmed[window.start : window.start + short, window.env] += 1
    assert filmed.max(initial=0) <= 1
    per_env = np.bincount([window.env for window in windows], minlength=recordable) if recordable else np.zeros(1)
    assert per_env.max() - per_env.min() <= 1


def test_every_placement_is_as_likely() -> None:
    """Two windows of 2 in 6 steps: six placements."""
    rng = np.random.default_rng(0)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(3000):
        windows = draw_windows(rng, num_steps=6, recordable=1, length=2, count=2)
        starts = tuple(window.start for window in windows)
        counts[starts] = counts.get(starts, 0) + 1
    assert set(counts) == {(0, 2), (0, 3), (0, 4), (1, 3), (1, 4), (2, 4)}
    assert min(counts.values()) > 400


def test_a_single_window_falls_on_every_environment() -> None:
    rng = np.random.default_rng(0)
    envs = [draw_windows(rng, num_steps=10, recordable=3, length=5, count=1)[0].env for _ in range(300)]
    assert np.bincount(envs).min() > 60


# -- cutting ---------------------------------------------------------------------------------------------------------


def no_end(T: int, N: int = 2) -> BoolArray:
    return np.zeros((T, N), np.bool_)


def test_a_segment_by_hand() -> None:
    done = no_end(12)
    done[3, 1] = True
    rollout = make_rollout(done)
    footage = cut_window(rollout, Window(env=1, start=5, length=4))
    assert footage is not None
    segment = footage.segment
    # Step 5 is the second of episode 1; its stack repeats that episode's first frame.
    assert segment.age == 1
    assert segment.frames.tolist() == [[1, 0], [1, 0], [1, 0], [1, 1], [1, 2], [1, 3], [1, 4]]
    assert segment.action.tolist() == [11, 13, 15, 17]
    assert footage.env_reward.tolist() == pytest.approx([1.1, 1.3, 1.5, 1.7])
    assert footage.captures[:, 0, 0, 0].tolist() == [5, 6, 7, 8]
    assert (segment.env, segment.step, segment.iteration) == (1, 640, 5)
    assert segment.id == segment_id(segment.frames, segment.age, segment.action)
    assert len(segment) == 4


def test_a_lost_life_costs_the_end_penalty_in_the_eyes_of_teachers_and_nowhere_else() -> None:
    rollout = make_rollout(no_end(10))
    rollout.lost[3, 0] = rollout.lost[4, 1] = True
    captures = np.zeros((4, 4, 4, 3), np.uint8)
    options = {"stack": 4, "step": 0, "iteration": 0, "min_length": 1}
    free, charged = (cut(rollout, Window(0, 2, 4), captures, **options, end_penalty=penalty) for penalty in (0.0, 2.0))
    assert free is not None
    assert charged is not None
    assert free.env_reward.tolist() == pytest.approx([0.4, 0.6, 0.8, 1.0])
    assert charged.env_reward.tolist() == pytest.approx([0.4, -1.4, 0.8, 1.0])
    assert charged.env_reward.dtype == np.float32
    assert rollout.env_reward[3, 0] == pytest.approx(0.6), "the rollout's own reward stays true"
    assert charged.segment.id == free.segment.id


def test_the_step_that_ends_the_episode_is_the_last_one() -> None:
    for is_truncated in (False, True):
        done = no_end(10)
        done[4, 0] = True
        rollout = make_rollout(done, truncated=np.full_like(done, is_truncated))
        footage = cut_window(rollout, Window(env=0, start=2, length=6))
        assert footage is not None
        assert footage.segment.action.tolist() == [4, 6, 8]
        assert len(footage.captures) == len(footage.env_reward) == 3
        # Three old frames for the first stack, then one for each step, none of the next episode.
        assert footage.segment.frames[:, 0].tolist() == [0] * 6


def test_too_short_is_nothing() -> None:
    done = no_end(10)
    done[4, 0] = True
    rollout = make_rollout(done)
    assert cut_window(rollout, Window(0, 2, 6), min_length=3) is not None
    assert cut_window(rollout, Window(0, 2, 6), min_length=4) is None
    assert cut_window(rollout, Window(0, 2, 6), filmed=0, min_length=0) is None


def test_what_was_not_filmed_is_not_in_the_segment() -> None:
    footage = cut_window(make_rollout(no_end(10)), Window(0, 2, 6), filmed=4)
    assert footage is not None
    assert len(footage.segment) == len(footage.captures) == 4


def test_a_segment_holds_nothing_of_the_rollout_alive() -> None:
    rollout = make_rollout(no_end(10))
    captures = np.zeros((6, 4, 4, 3), np.uint8)
    footage = cut(rollout, Window(0, 2, 6), captures, stack=4, step=0, iteration=0, min_length=1)
    assert footage is not None
    for array in (footage.segment.frames, footage.segment.action, footage.env_reward, footage.captures):
        assert array.base is None
        assert array.flags.c_contiguous


def test_the_same_behaviour_has_the_same_name_whatever_came_before_the_episode() -> None:
    rollout = make_rollout(no_end(10))
    other_past = replace(rollout, frames=rollout.frames.copy())
    other_past.frames[:3] = 99
    footage = [cut_window(r, Window(0, 0, 4)) for r in (rollout, other_past)]
    assert footage[0] is not None
    assert footage[1] is not None
    assert footage[0].segment.id == footage[1].segment.id


@given(
    done=st.lists(st.lists(st.booleans(), min_size=2, max_size=2), min_size=1, max_size=30),
    truncated=st.booleans(),
    stack=st.integers(1, 4),
    length=st.integers(1, 12),
    min_length=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_no_segment_reaches_across_an_episode_end(
    done: list[list[bool]], truncated: bool, stack: int, length: int, min_length: int, seed: int
) -> None:
    mask = np.array(done)
    rollout = make_rollout(mask, truncated=np.full_like(mask, truncated), stack=stack)
    windows = draw_windows(np.random.default_rng(seed), num_steps=len(mask), recordable=2, length=length, count=8)
    for window in windows:
        footage = cut_window(rollout, window, min_length=min_length, stack=stack)
        inside = mask[window.start : window.start + window.length, window.env]
        expected = int(inside.argmax()) + 1 if inside.any() else window.length
        if footage is None:
            assert expected < min_length
            continue
        segment = footage.segment
        assert len(segment) == len(footage.captures) == len(footage.env_reward) == expected >= min_length
        assert len(segment.frames) == stack - 1 + expected
        assert len(set(segment.frames[:, 0])) == 1
        assert not inside[: expected - 1].any()
        # Every frame is the one that many steps into the episode; before its beginning, the first.
        newest = segment.age + np.arange(-(stack - 1), expected)
        np.testing.assert_array_equal(segment.frames[:, 1], np.maximum(newest, 0))


# -- the pool --------------------------------------------------------------------------------------------------------


def test_the_pool_keeps_the_latest_in_order() -> None:
    pool = SegmentPool(3)
    pool.add([make_footage(i) for i in range(2)])
    pool.add([make_footage(i) for i in range(2, 5)])
    assert len(pool) == 3
    assert [piece.segment.iteration for piece in pool] == [2, 3, 4]


def test_the_pool_holds_each_behaviour_once() -> None:
    pool = SegmentPool(3)
    pool.add([make_footage(0), make_footage(1), make_footage(0)])
    assert [piece.segment.iteration for piece in pool] == [0, 1]


def test_a_saved_pool_is_the_same_pool() -> None:
    pool, other = SegmentPool(4), SegmentPool(4)
    rng = np.random.default_rng(0)
    for i in range(5):
        piece = make_footage(i, length=3)
        # Simulator states instead of pictures, and continuous actions.
        action = rng.normal(size=(3, 2)).astype(np.float32)
        captures = rng.normal(size=(3, 7)) if i % 2 else piece.captures
        pool.add([replace(piece, segment=replace(piece.segment, action=action, age=i, step=i), captures=captures)])
    arrays, pieces = pool.state()
    again_arrays, again_pieces = pool.state()
    assert pieces == again_pieces
    assert all(np.array_equal(arrays[name], again_arrays[name]) for name in arrays)
    other.add([make_footage(77)])
    other.load(arrays, pieces)
    assert len(other) == 4
    for mine, theirs in zip(pool, other, strict=True):
        for name in ("captures", "env_reward"):
            ours, loaded = getattr(mine, name), getattr(theirs, name)
            assert ours.dtype == loaded.dtype
            np.testing.assert_array_equal(ours, loaded)
        for name in ("id", "age", "env", "step", "iteration"):
            assert getattr(mine.segment, name) == getattr(theirs.segment, name)
        for name in ("frames", "action"):
            np.testing.assert_array_equal(getattr(mine.segment, name), getattr(theirs.segment, name))


def test_a_copy_of_a_pool_stays_what_it_was() -> None:
    pool = SegmentPool(2)
    pool.add([make_footage(0), make_footage(1)])
    copy = pool.copy()
    before = copy.state()[1]
    pool.add([make_footage(2), make_footage(3)])
    assert copy.state()[1] == before
    assert [piece.segment.iteration for piece in copy] == [0, 1]
    copy.add([make_footage(4)])
    assert [piece.segment.iteration for piece in pool] == [2, 3]


def test_a_saved_pool_is_small() -> None:
    piece = replace(make_footage(0), captures=np.zeros((25, 210, 160, 3), np.uint8))
    pool = SegmentPool(1)
    pool.add([piece])
    assert sum(array.nbytes for array in pool.state()[0].values()) < piece.captures.nbytes / 100


def test_an_empty_pool_can_be_saved() -> None:
    pool = SegmentPool(2)
    pool.load(*pool.state())
    assert len(pool) == 0


def test_a_large_pool_compresses_its_older_pictures() -> None:
    # A picture of noise over a quiet field, 300 KB a piece; two of them may stay as they are.
    pieces = [replace(make_footage(i), captures=np.full((4, 160, 160, 3), i, np.uint8)) for i in range(6)]
    size = pieces[0].captures.nbytes
    pool = SegmentPool(6, raw_bytes=2 * size)
    pool.add(pieces)
    held = [piece for piece in pool._pieces.values() if isinstance(piece, Footage)]
    assert [piece.segment.iteration for piece in held] == [4, 5]
    assert sum(piece.captures.nbytes for piece in pool._pieces.values()) < 2.1 * size
    for piece, wanted in zip(pool, pieces, strict=True):
        np.testing.assert_array_equal(piece.captures, wanted.captures)
        assert piece.segment is wanted.segment
    assert pool.segments() == [piece.segment for piece in pieces]
    np.testing.assert_array_equal(pool[pieces[0].segment.id].captures, pieces[0].captures)
    other = SegmentPool(6)
    other.load(*pool.state())
    assert [piece.captures.max() for piece in other] == [0, 1, 2, 3, 4, 5]
