from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ale_py
import cv2
import numpy as np
import pytest
from ale_py import roms
from hypothesis import given
from hypothesis import strategies as st

from pairplay.config import EnvConfig
from pairplay.envs.atari import AT_ONCE, TALL_SCREENS, AtariEnvs, _split, grey_frames
from pairplay.envs.base import Parted
from pairplay.envs.make import make_envs
from pairplay.envs.score_masks import Rectangle, rectangles, rows_to_see
from pairplay.types import Picture, Step

# Loading one emulator takes a fifth of a second, so the tests are content with few.

PLAIN = EnvConfig(colour_envs=1, mask_score=False)
EXACT = EnvConfig(colour_envs=1, mask_score=False, sticky_actions=0.0, noop_max=0)
"""Nothing random, so that a bare emulator can play along."""
FIRE = 1


def made(game: str, config: EnvConfig, num_envs: int = 1, seed: int = 5) -> AtariEnvs:
    return AtariEnvs(f"ALE/{game}-v5", game, num_envs, config, seed=seed)


def play(envs: AtariEnvs, steps: int, seed: int = 0) -> list[Step]:
    """The same actions for all environments, FIRE half of the time."""
    rng = np.random.default_rng(seed)
    actions = np.where(rng.random(steps) < 0.5, FIRE, rng.integers(envs.spec.num_actions, size=steps))
    return [envs.step(np.full(envs.num_envs, action)) for action in actions]


def emulator(game: str) -> Any:
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    ale.setInt("random_seed", 5)
    ale.loadROM(roms.get_rom_path(game))
    ale.reset_game()
    return ale


@pytest.mark.parametrize(("game", "size"), [("enduro", 80), ("pong", 84)])
def test_the_colour_path_agrees_with_the_native_grey_path(game: str, size: int) -> None:
    """The same seed plays the same episode in either group, and the networks see the same."""
    colour = made(game, EnvConfig(colour_envs=1, frame_size=size))
    grey = made(game, EnvConfig(colour_envs=0, frame_size=size))
    frames = [(colour.reset(), grey.reset())]
    steps = list(zip(play(colour, 150), play(grey, 150), strict=True))
    frames += [(a.frames, b.frames) for a, b in steps]
    assert all(np.array_equal(a.env_reward, b.env_reward) for a, b in steps)
    difference = np.abs(np.diff(np.array(frames, np.int16), axis=1))
    assert difference.mean() < 0.1
    assert difference.max() <= 16
    assert np.ptp(np.array(frames)[:, 0], axis=0).max() > 50, "nothing moved"
    assert (colour.recordable, grey.recordable) == (1, 0)


def test_an_emulator_played_by_hand_gives_the_same_pictures_rewards_and_ends() -> None:
    # The limit is longer than the first episode and shorter than the whole play: only a new episode resets its clock.
    envs = made("qbert", replace(EXACT, max_episode_steps=310))
    ale = emulator("qbert")
    first = ale.getScreenRGB()
    np.testing.assert_array_equal(envs.reset(), grey_frames(first[None], 80))
    rewards, ends = [], 0
    rng = np.random.default_rng(0)
    for _ in range(340):
        action = FIRE if rng.random() < 0.3 else rng.integers(18)
        step = envs.step(np.array([action]))
        reward, screens = 0, []
        for _ in range(4):
            reward += ale.act(ale.getLegalActionSet()[action])
            if ale.game_over():
                break
            screens.append(ale.getScreenRGB())
        assert step.env_reward[0] == reward
        assert step.terminated[0] == ale.game_over()
        assert not step.truncated[0]
        rewards.append(reward)
        if ale.game_over():
            ends += 1
            ale.reset_game()
            np.testing.assert_array_equal(envs.capture(0), first)  # not the end of the old episode
        else:
            np.testing.assert_array_equal(envs.capture(0), np.maximum(*screens[-2:]))
    assert ends == 1
    assert max(rewards) > 1, "rewards are not clipped"


def test_a_truncated_episode_ends_with_what_it_would_have_shown_anyway() -> None:
    """The vector environment's own time limit would lay two moments over each other here."""
    limited = made("enduro", replace(EXACT, max_episode_steps=20), num_envs=2)
    endless = made("enduro", EXACT, num_envs=2)
    first, _ = limited.reset(), endless.reset()
    for t in range(1, 20):
        action = np.array([FIRE, FIRE])
        a, b = limited.step(action), endless.step(action)
        np.testing.assert_array_equal(a.frames, b.frames)
        assert not a.truncated.any(), t
    a, b = limited.step(action), endless.step(action)
    assert a.truncated.all()
    assert not a.terminated.any()
    np.testing.assert_array_equal(a.final_frames, b.frames)
    np.testing.assert_array_equal(a.env_reward, b.env_reward)
    np.testing.assert_array_equal(a.frames, first)
    np.testing.assert_array_equal(grey_frames(limited.capture(0)[None], 80)[0], a.frames[0])


def test_environments_differ_and_an_environment_is_the_same_in_a_larger_crowd() -> None:
    three, two = made("space_invaders", PLAIN, 3), made("space_invaders", EnvConfig(colour_envs=2, mask_score=False), 2)
    frames = [(three.reset(), two.reset())]
    frames += [(a.frames, b.frames) for a, b in zip(play(three, 30), play(two, 30), strict=True)]
    seen = np.array([a for a, _ in frames], np.int16)
    again = np.array([b for _, b in frames], np.int16)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(seen[:, i] - seen[:, j]).max() > 50
    np.testing.assert_array_equal(seen[:, 0], again[:, 0])
    assert np.abs(seen[:, 1] - again[:, 1]).max() <= 16  # grey in one, colour in the other


def test_a_capture_is_what_the_network_sees_but_in_colour_and_unmasked() -> None:
    masked = made("enduro", EnvConfig(colour_envs=1))
    masked.reset()
    play(masked, 5)
    frame = play(masked, 1)[0].frames[0]
    capture = masked.capture(0)
    assert capture.shape == (210, 160, 3)
    seen = grey_frames(capture[None], 80)[0]
    np.testing.assert_array_equal(seen[:59], frame[:59])
    assert (frame[59:] == 0).all()
    assert (seen[62:] > 0).any()
    assert len(frame) == 60
    later = play(masked, 1)
    assert (masked.capture(0) != capture).any()
    assert (later[0].frames[0] != frame).any()


SCORE_BYTES = {
    "alien": (0x03, 0x05, 0x07, 0x09, 0x0B, 0x0D),
    "assault": (0x00, 0x01, 0x02),
    "asterix": (0x5E, 0x5F, 0x60),
    "beam_rider": (0x09, 0x0A, 0x0B),
    "boxing": (0x12, 0x13),
    "breakout": (0x4D, 0x4C),
    "enduro": (0x2B, 0x2C, 0x2D),
    "freeway": (0x67, 0x68),
    "montezuma_revenge": (0x13, 0x14, 0x15),
    "ms_pacman": (0x78, 0x79, 0x7A),
    "pong": (0x0D, 0x0E),
    "qbert": (0x5B, 0x5A, 0x59),
    "riverraid": (0x4D, 0x4F, 0x51, 0x53, 0x55, 0x57),
    "seaquest": (0x3A, 0x39, 0x38),
    "space_invaders": (0x68, 0x66),
}


@pytest.mark.parametrize("game", SCORE_BYTES)
def test_the_mask_hides_the_score(game: str) -> None:
    """Two emulators in the same state but for the score look the same to the networks, and different to people."""
    ale = emulator(game)
    rng = np.random.default_rng(1)
    actions = ale.getLegalActionSet()
    differed = 0
    for _ in range(8):
        for _ in range(50):
            ale.act(actions[FIRE if rng.random() < 0.5 else rng.integers(18)])
        if ale.game_over():
            ale.reset_game()
        state = ale.cloneState()
        plain = _screen_after(ale, lambda: None)
        ale.restoreState(state)
        scored = _screen_after(ale, lambda: _add_points(ale, SCORE_BYTES[game]))
        ale.restoreState(state)
        differed += bool((plain != scored).any())
        np.testing.assert_array_equal(_masked(plain, game), _masked(scored, game))
    assert differed >= 4, "the score did not change, so nothing was shown"


LIFE_BYTES = {"asterix": 0x53, "breakout": 0x39, "montezuma_revenge": 0x3A, "ms_pacman": 0x7B, "seaquest": 0x3B}


@pytest.mark.parametrize("game", LIFE_BYTES)
def test_lives_stay_visible_to_the_networks(game: str) -> None:
    ale = emulator(game)
    for _ in range(300):
        ale.act(ale_py.Action.NOOP)
    state = ale.cloneState()
    plain = _screen_after(ale, lambda: None)
    ale.restoreState(state)
    fewer = _screen_after(ale, lambda: ale.setRAM(LIFE_BYTES[game], 1))
    assert (_masked(plain, game) != _masked(fewer, game)).any()


def test_the_ships_left_of_beam_rider_are_hidden() -> None:
    """Christiano et al. 2017, A.2: unlike other games' lives."""
    ale = emulator("beam_rider")
    for _ in range(300):
        ale.act(ale_py.Action.NOOP)
    state = ale.cloneState()
    plain = _screen_after(ale, lambda: None)
    ale.restoreState(state)
    fewer = _screen_after(ale, lambda: ale.setRAM(0x54, 0))  # what draws them
    assert (plain != fewer).any()
    np.testing.assert_array_equal(_masked(plain, "beam_rider"), _masked(fewer, "beam_rider"))


@pytest.mark.parametrize("game", ["asterix", "boxing", "breakout", "ms_pacman", "pong"])
def test_what_the_mask_hides_changes_with_the_reward_and_at_no_other_time(game: str) -> None:
    ale = emulator(game)
    rng = np.random.default_rng(2)
    actions = ale.getLegalActionSet()
    for _ in range(60):  # scores are drawn, not blank, once the game runs
        ale.act(ale_py.Action.FIRE)
    before, paid_at, changes = _hidden(ale.getScreenRGB(), game), -100, 0
    for t in range(1500):
        if t % 4 == 0:
            action = actions[FIRE if rng.random() < 0.3 else rng.integers(18)]
        if ale.act(action):
            paid_at = t
        if ale.game_over():
            break
        now = _hidden(ale.getScreenRGB(), game)
        if (now != before).any():
            changes += 1
            assert t - paid_at <= 8, t
        before = now
    assert changes > 0


def _hidden(picture: Picture, game: str) -> Picture:
    return np.concatenate([picture[r.top : r.bottom, r.left : r.right].ravel() for r in rectangles(game)])


@pytest.mark.parametrize("game", ["breakout", "boxing", "montezuma_revenge"])
def test_the_networks_see_nothing_at_all_where_the_mask_is(game: str) -> None:
    envs = made(game, EnvConfig(colour_envs=1), num_envs=2)
    frames = [envs.reset(), *(step.frames for step in play(envs, 30))]
    for rectangle in rectangles(game):
        rows, columns = rectangle.scaled(210, 160, 80)
        assert all((frame[:, rows, columns] == 0).all() for frame in frames)
    assert np.ptp(np.array(frames), axis=0).max() > 20, "the rest moves"


def _screen_after(ale: Any, change: Callable[[], None]) -> Picture:
    change()
    ale.act(ale_py.Action.NOOP)
    ale.act(ale_py.Action.NOOP)
    return np.array(ale.getScreenRGB())


def _add_points(ale: Any, score_bytes: tuple[int, ...]) -> None:
    for address in score_bytes:
        ale.setRAM(address, (int(ale.getRAM()[address]) + 0x11) % 0x99)


def _masked(picture: Picture, game: str) -> Picture:
    frame: Picture = grey_frames(picture[None], 80)[0]
    for rectangle in rectangles(game):
        frame[rectangle.scaled(210, 160, 80)] = 0
    return frame


@given(st.sampled_from([(210, 80), (210, 84), (250, 80), (214, 64), (5, 7)]), st.data())
def test_some_rows_of_a_frame_are_as_in_the_whole_frame(heights: tuple[int, int], data: st.DataObject) -> None:
    height, size = heights
    start = data.draw(st.integers(0, size))
    rows = slice(start, data.draw(st.integers(start, size)))
    pictures = np.random.default_rng(height).integers(0, 256, (2, height, 160, 3), dtype=np.uint8)
    np.testing.assert_array_equal(grey_frames(pictures, size, rows), grey_frames(pictures, size)[:, rows])


@pytest.mark.parametrize(("height", "size"), [(210, 80), (250, 80), (214, 80), (210, 84), (210, 160)])
def test_each_pixel_of_a_frame_is_the_mean_of_the_greys_that_it_covers(height: int, size: int) -> None:
    pictures = np.random.default_rng(size).integers(0, 256, (AT_ONCE + 1, height, 160, 3), dtype=np.uint8)
    grey = np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]).astype(float)
    # Each pixel as so many equal parts that those of the frame are made of whole ones.
    fine = grey.repeat(size // math.gcd(height, size), axis=1).repeat(size // math.gcd(160, size), axis=2)
    exact = fine.reshape(len(pictures), size, fine.shape[1] // size, size, fine.shape[2] // size).mean((2, 4))
    frames = grey_frames(pictures, size)
    assert frames.dtype == np.uint8
    assert np.abs(frames - exact).max() < 0.5 + 1e-4
    theirs = np.stack([cv2.resize(one, (size, size), interpolation=cv2.INTER_AREA) for one in grey.astype(np.uint8)])
    assert (frames != theirs).mean() < 0.005, "but for a few of the ties all as OpenCV has it"


def test_the_mask_leaves_the_game_to_be_seen() -> None:
    """At most a third of the screen is black: the dashboard of Enduro is the largest."""
    for game in SCORE_BYTES:
        frame = np.ones((80, 80), np.uint8)
        for rectangle in rectangles(game):
            frame[rectangle.scaled(210, 160, 80)] = 0
        assert 0.01 < 1 - frame.mean() < 1 / 3, game


def test_a_rectangle_covers_every_frame_pixel_it_reaches() -> None:
    # 210 rows on 80: one frame row is 2.625 screen rows. Rows 155..209 begin within frame row 59.
    assert Rectangle(155, 210).scaled(210, 160, 80) == (slice(59, 80), slice(0, 80))
    # Rows 5..14: 5/2.625 = 1.9, 15/2.625 = 5.7; columns 32..74: 16, 37.5.
    assert Rectangle(5, 15, left=32, right=75).scaled(210, 160, 80) == (slice(1, 6), slice(16, 38))


@given(st.integers(0, 209), st.integers(1, 210), st.sampled_from([64, 80, 84, 96]))
def test_no_pixel_of_a_rectangle_shows_through(top: int, length: int, size: int) -> None:
    bottom = min(top + length, 210)
    screen = np.zeros((1, 210, 160, 3), np.uint8)
    screen[:, top:bottom] = 255
    frame = grey_frames(screen, size)[0]
    frame[Rectangle(top, bottom).scaled(210, 160, size)] = 0
    assert (frame == 0).all()


def test_games_without_a_mask_are_left_alone() -> None:
    assert rectangles("skiing") == ()
    assert rows_to_see([], 80) == slice(0, 80)


@pytest.mark.parametrize(
    ("game", "size", "rows"),
    [
        ("enduro", 80, (0, 60)),  # black from row 59 on
        ("enduro", 84, (0, 64)),  # from 62
        ("pong", 80, (8, 80)),  # black down to row 8
        ("breakout", 80, (0, 80)),  # lives beside the score
        ("freeway", 80, (0, 80)),  # a row above the score
    ],
)
def test_rows_at_the_edges_that_are_black_from_side_to_side_are_not_seen(
    game: str, size: int, rows: tuple[int, int]
) -> None:
    masks = [rectangle.scaled(210, 160, size) for rectangle in rectangles(game)]
    assert rows_to_see(masks, size) == slice(*rows)


@given(
    st.lists(st.tuples(st.integers(0, 209), st.integers(1, 105), st.booleans()), max_size=3), st.sampled_from([80, 84])
)
def test_what_is_not_seen_was_black(found: list[tuple[int, int, bool]], size: int) -> None:
    masks = [
        Rectangle(top, min(top + tall, 210), right=160 if wide else 80).scaled(210, 160, size)
        for top, tall, wide in found
    ]
    frame = np.ones((size, size), np.uint8)
    for mask in masks:
        frame[mask] = 0
    rows = rows_to_see(masks, size)
    cut = np.delete(frame, np.arange(size)[rows], axis=0)
    assert (cut == 0).all()
    assert rows.start % 4 == 0


def test_the_networks_see_the_same_frame_with_fewer_rows() -> None:
    whole = made("pong", EnvConfig(colour_envs=1, mask_score=False))
    cut = made("pong", EnvConfig(colour_envs=1))
    frames = [(whole.reset(), cut.reset())]
    frames += [(a.frames, b.frames) for a, b in zip(play(whole, 30), play(cut, 30), strict=True)]
    for a, b in frames:
        assert b.shape == (1, 72, 80)
        np.testing.assert_array_equal(a[:, 9:], b[:, 1:])
    assert cut.spec.frame_shape == (72, 80)
    assert made("pong", EnvConfig(cut_black_rows=False)).spec.frame_shape == (80, 80)


def test_tall_screens_are_shown_in_full() -> None:
    for game, height in TALL_SCREENS.items():
        if game in ("carnival", "journey_escape", "pooyan", "adventure"):  # one of each height
            assert emulator(game).getScreenDims() == (height, 160)
    envs = made("pooyan", PLAIN)
    assert envs.reset().shape == (1, 80, 80)
    assert envs.capture(0).shape == (220, 160, 3)


def test_the_spec_follows_the_configuration() -> None:
    full = made("breakout", EnvConfig()).spec
    assert (full.num_actions, full.stack, full.frame_shape, full.clip_fps) == (18, 4, (80, 80), 15.0)
    assert full.action_names[:4] == ("NOOP", "FIRE", "UP", "RIGHT")
    few = made("breakout", EnvConfig(full_action_space=False, frame_size=84, frame_stack=2, frame_skip=2)).spec
    assert few.action_names == ("NOOP", "FIRE", "RIGHT", "LEFT")
    assert (few.num_actions, few.stack, few.frame_shape, few.clip_fps) == (4, 2, (84, 84), 30.0)


@pytest.mark.parametrize(("sticky_actions", "noop_max"), [(0.25, 0), (0.0, 30)])
def test_sticky_actions_and_noops_each_make_environments_differ(sticky_actions: float, noop_max: int) -> None:
    """With neither they would play alike, as the emulator played by hand shows."""
    config = EnvConfig(colour_envs=2, sticky_actions=sticky_actions, noop_max=noop_max)
    envs = made("space_invaders", config, num_envs=2)
    envs.reset()
    frames = np.array([step.frames for step in play(envs, 60)])
    assert (frames[:, 0] != frames[:, 1]).any()


@pytest.mark.parametrize(
    ("num_envs", "colour", "parts"),
    [
        (1, 1, [(0, 1)]),
        (8, 0, [(0, 8)]),
        (32, 0, [(0, 16), (16, 32)]),
        (32, 16, [(0, 16), (16, 32)]),
        (32, 32, [(0, 32)]),
        (81, 16, [(0, 16), (16, 48), (48, 81)]),
    ],
)
def test_some_can_play_while_others_are_looked_at(num_envs: int, colour: int, parts: list[tuple[int, int]]) -> None:
    assert _split(num_envs, colour) == [slice(*part) for part in parts]


def test_parts_play_by_themselves_what_all_play_together() -> None:
    """Whichever part is ahead; across a game over, a lost life and a time limit."""
    config = EnvConfig(colour_envs=1, max_episode_steps=60)
    together, parted = (make_envs("ALE/Breakout-v5", 3, replace(config, ends="hide"), seed=5) for _ in range(2))
    assert isinstance(parted, Parted)
    assert parted.parts == (slice(0, 1), slice(1, 3))
    np.testing.assert_array_equal(together.reset(), parted.reset())
    rng = np.random.default_rng(0)
    actions = rng.integers(18, size=(140, 3))
    wholes = [together.step(action) for action in actions]
    assert any(whole.truncated.any() for whole in wholes)
    assert any(whole.lost.any() for whole in wholes)
    for part, envs in enumerate(parted.parts):
        if part:
            parted.send(0, actions[0, parted.parts[0]])  # under way while the other part plays on
        for action, whole in zip(actions, wholes, strict=True):
            parted.send(part, action[envs])
            answer = parted.receive(part)
            for name in ("frames", "env_reward", "terminated", "truncated", "final_frames", "lost"):
                np.testing.assert_array_equal(getattr(answer, name), getattr(whole, name)[envs], err_msg=name)


@pytest.mark.timeout(20)
def test_an_unknown_action_is_an_error_and_not_a_wait_for_ever() -> None:
    envs = made("breakout", EnvConfig(full_action_space=False))
    envs.reset()
    for action in (np.array([4]), np.array([-1]), np.array([0, 0])):
        with pytest.raises(ValueError, match=r"actions must be \[1\] integers in 0\.\.3"):
            envs.step(action)
    envs.step(np.array([3]))


def test_each_lost_life_is_noted_and_so_is_the_game_over() -> None:
    """A bare emulator plays along and says how many lives are left. One environment in colour and one in grey."""
    envs = made("breakout", replace(EXACT, max_episode_steps=250), num_envs=2)
    ale = emulator("breakout")
    envs.reset()
    rng = np.random.default_rng(0)
    lives, lost, overs = ale.lives(), 0, 0
    for _ in range(420):
        action = FIRE if rng.random() < 0.5 else int(rng.integers(18))
        step = envs.step(np.array([action, action]))
        for _ in range(4):
            ale.act(ale.getLegalActionSet()[action])
            if ale.game_over():
                break
        expected = ale.lives() < lives or ale.game_over()
        assert step.lost.tolist() == [expected, expected]
        lost += expected
        overs += ale.game_over()
        if ale.game_over() or step.truncated[0]:
            ale.reset_game()
        lives = ale.lives()
    assert overs >= 1
    assert lost >= 5 * overs


def test_a_time_limit_loses_nothing() -> None:
    """Nor does the new game, which begins with all its lives."""
    envs = made("breakout", replace(EXACT, max_episode_steps=40))
    envs.reset()
    steps = play(envs, 100, seed=1)
    assert sum(int(step.truncated[0]) for step in steps) == 2
    assert any(step.lost[0] for step in steps)
    assert not any(step.lost[0] for step in steps if step.truncated[0])
    for begin_anew in (lambda: envs._restart(envs._groups[0], np.ones(1, np.bool_), steps[0].frames), envs.reset):
        envs._lives[:] = 9  # as after a game that gives lives away
        begin_anew()
        assert not play(envs, 1)[0].lost[0]
    enduro = made("enduro", replace(EXACT, max_episode_steps=20))
    enduro.reset()
    assert not any(step.lost[0] for step in play(enduro, 50)), "there are no lives in Enduro"
