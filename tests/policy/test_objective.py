"""PPO's loss by hand, and that its derivative is the one that autograd finds."""

from dataclasses import replace

import pytest
import torch

from pairplay.config import PPOConfig
from pairplay.policy.distributions import Estimates
from pairplay.policy.objective import MEASURED, Samples, gradient, losses

CONFIG = PPOConfig(clip_coef=0.2, ent_coef=0.01, vf_coef=0.5)


def test_the_loss_by_hand() -> None:
    # Ratios 1.5 (clipped: A > 0), 1.5 (kept: A < 0), 1, 0.5 (clipped: A < 0).
    now = Estimates(
        torch.tensor([1.5, 1.5, 1.0, 0.5]).log(), torch.tensor([1.0, 1, 3, 3]), torch.tensor([0.0, 1, 2, 3])
    )
    old = Samples(torch.zeros(4), torch.tensor([1.0, -1, 2, -1]), torch.zeros(4), torch.tensor([1.0, 1, 1, 1]))
    loss, pg_loss, v_loss, entropy_loss, _, clip_fraction = losses(now, old, CONFIG).tolist()
    assert pg_loss == pytest.approx(-(1.2 - 1.5 + 2.0 - 0.8) / 4)
    assert v_loss == pytest.approx(0.5 * (1 + 0 + 1 + 4) / 4)
    assert entropy_loss == pytest.approx(-2.0)
    assert loss == pytest.approx(pg_loss + 0.01 * entropy_loss + 0.5 * v_loss)
    assert clip_fraction == pytest.approx(3 / 4)
    d = gradient(now, old, CONFIG)
    torch.testing.assert_close(d.log_prob, torch.tensor([0.0, 1.5, -2.0, 0.0]) / 4)
    torch.testing.assert_close(d.value, 0.5 * torch.tensor([-1.0, 0, 1, 2]) / 4)
    torch.testing.assert_close(d.entropy, torch.full((4,), -0.01 / 4))


@pytest.mark.parametrize("clip_vloss", [False, True])
def test_the_derivative_is_the_one_of_autograd(clip_vloss: bool) -> None:
    config = replace(CONFIG, clip_vloss=clip_vloss)
    torch.manual_seed(0)
    now = Estimates(*(torch.randn(3, 512) / 2).requires_grad_().unbind())
    for estimate in now:
        estimate.retain_grad()
    old = Samples(*(torch.randn(4, 512) / 2))
    assert 0.1 < losses(now, old, config)[MEASURED.index("clip_fraction")] < 0.9
    torch.autograd.backward(losses(now, old, config)[0])
    for name, found in gradient(Estimates(*(e.detach() for e in now)), old, config)._asdict().items():
        torch.testing.assert_close(found, getattr(now, name).grad, rtol=1e-5, atol=1e-8, msg=name)


def test_minibatches_side_by_side_are_measured_each_by_itself() -> None:
    torch.manual_seed(0)
    now, old = Estimates(*torch.randn(3, 2, 8)), Samples(*torch.randn(4, 2, 8))
    both = losses(now, old, CONFIG)
    for m in range(2):
        alone = losses(Estimates(*(e[m] for e in now)), Samples(*(s[m] for s in old)), CONFIG)
        torch.testing.assert_close(both[:, m], alone)


def test_advantages_are_normalised_within_each_minibatch() -> None:
    advantage = torch.tensor([[1.0, 2, 3], [10.0, 30, 50]])
    rows = Samples(torch.zeros(2, 3), advantage, torch.zeros(2, 3), torch.zeros(2, 3)).normalised()
    torch.testing.assert_close(rows.advantage, torch.tensor([[-1.0, 0, 1], [-1.0, 0, 1]]))
    single = Samples(*torch.ones(4, 2, 1))
    assert torch.equal(single.normalised().advantage, torch.ones(2, 1)), "one sample has no deviation"
