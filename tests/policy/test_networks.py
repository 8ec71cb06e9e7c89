"""The policy's head: what joystick actions share, and that nothing becomes inexpressible."""

import pytest
import torch

from pairplay.config import PPOConfig
from pairplay.policy.networks import JoystickHead, PixelConv, Policy, convolutions, joystick_positions
from pairplay.types import EnvSpec, UserError

NAMES = ("NOOP", "FIRE", "UPRIGHTFIRE", "DOWNLEFT")


def test_positions_by_hand() -> None:
    positions = joystick_positions(NAMES)
    assert positions is not None
    # no fire, fire | no vertical, up, down | no horizontal, left, right
    assert positions.tolist() == [
        [1, 0, 1, 0, 0, 1, 0, 0],
        [0, 1, 1, 0, 0, 1, 0, 0],
        [0, 1, 0, 1, 0, 0, 0, 1],
        [1, 0, 0, 0, 1, 0, 1, 0],
    ]


def test_other_actions_have_no_positions() -> None:
    assert joystick_positions(()) is None
    assert joystick_positions(("NOOP", "JUMP")) is None


def test_one_step_for_an_action_favours_what_shares_its_button() -> None:
    torch.manual_seed(0)
    spec = EnvSpec("ALE/Enduro-v5", (40, 40), 1, 4, (), (), 15.0, action_names=NAMES)
    policy = Policy(spec, PPOConfig())
    assert isinstance(policy.actor, JoystickHead)
    obs = torch.randint(0, 255, (8, 1, 40, 40), dtype=torch.uint8)
    before, _ = policy(obs)
    optimizer = torch.optim.SGD(policy.actor.parameters(), lr=0.1)
    fire = torch.full((8,), NAMES.index("FIRE"))
    torch.autograd.backward(-policy.evaluate(obs, fire)[0].log_prob.mean())
    optimizer.step()
    gain = (policy(obs)[0] - before).mean(0)
    assert gain[NAMES.index("FIRE")] == gain.max()
    assert gain[NAMES.index("UPRIGHTFIRE")] > gain[NAMES.index("DOWNLEFT")]


def test_every_policy_stays_expressible() -> None:
    positions = joystick_positions(NAMES)
    assert positions is not None
    head = JoystickHead(3, positions)
    assert torch.linalg.matrix_rank(torch.cat([positions, torch.eye(4)], 1)) == 4
    assert head(torch.zeros(2, 3)).shape == (2, 4)


@pytest.mark.parametrize("frame_shape", [(40, 40), (3,)], ids=["pictures", "vectors"])
def test_moving_the_value_moves_every_value_and_no_action(frame_shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    policy = Policy(EnvSpec("Any-v0", frame_shape, 1, 4, (), (), 15.0), PPOConfig())
    obs = torch.randint(0, 255, (8, 1, *frame_shape), dtype=torch.uint8)
    obs = obs if policy.is_image else obs.float()
    with torch.no_grad():
        logits, value = policy(obs)
        policy.move_value(5.0, 300.0)
        moved_logits, moved = policy(obs)
    torch.testing.assert_close(moved, 5.0 * value + 300.0, rtol=1e-4, atol=1e-3)
    assert torch.equal(moved_logits, logits)


def test_convolutions_by_hand() -> None:
    """80 x 80: 19, 8 and 6 a side of Mnih et al. 2015; 19 and 8 of Mnih et al. 2013."""
    wide, wide_features = convolutions("nature", 4, (80, 80))
    small, small_features = convolutions("small", 4, (80, 80))
    obs = torch.randint(0, 255, (2, 4, 80, 80), dtype=torch.uint8)
    assert (wide(obs).shape, small(obs).shape) == ((2, wide_features), (2, small_features)) == ((2, 512), (2, 256))
    weights = [[tuple(p.shape) for p in torso.parameters() if p.dim() > 1] for torso in (wide, small)]
    assert weights == [
        [(32, 4, 8, 8), (64, 32, 4, 4), (64, 64, 3, 3), (512, 64 * 6 * 6)],
        [(16, 4, 8, 8), (32, 16, 4, 4), (256, 32 * 8 * 8)],
    ]


def test_pixels_count_from_0_to_1() -> None:
    torch.manual_seed(0)
    layer = PixelConv(2, 3, 4, stride=2)
    pixels = torch.randint(0, 256, (5, 2, 12, 12), dtype=torch.uint8)
    by_hand = torch.nn.functional.conv2d(pixels.float() / 255.0, layer.weight, layer.bias, stride=2)
    torch.testing.assert_close(layer(pixels), by_hand)


@pytest.mark.parametrize(("network", "side"), [("nature", 20), ("nature", 32), ("small", 16)])
def test_frames_that_vanish_are_refused(network: str, side: int) -> None:
    """20 is the treacherous one: its sides come to -1 and -1, whose product is an honest width."""
    with pytest.raises(UserError, match="too small"):
        convolutions(network, 4, (side, side))
