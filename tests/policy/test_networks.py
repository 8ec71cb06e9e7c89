"""The policy's head: what joystick actions share, and that nothing becomes inexpressible."""

import pytest
import torch

from pairplay.config import PPOConfig
from pairplay.policy.networks import JoystickHead, Policy, joystick_positions
from pairplay.types import EnvSpec

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
