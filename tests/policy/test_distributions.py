"""What is drawn comes with the log probability that it has."""

import torch

from pairplay.policy.distributions import categorical, draw_categorical, draw_normal, normal


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_drawn_actions_have_their_log_probability() -> None:
    logits = torch.randn(64, 4, generator=generator())
    action, log_prob = draw_categorical(logits, generator())
    assert set(action.tolist()) == {0, 1, 2, 3}
    torch.testing.assert_close(log_prob, categorical(logits, action)[0])

    log_std = torch.tensor([-1.0, 0.0, 0.5, 1.0])
    action, log_prob = draw_normal(logits, log_std, generator())
    torch.testing.assert_close(log_prob, normal(logits, log_std, action)[0], rtol=1e-4, atol=1e-4)


def test_actions_are_drawn_as_often_as_they_are_probable() -> None:
    p = torch.tensor([0.6, 0.3, 0.1, 0.0])
    action, _ = draw_categorical(p.log().expand(50_000, 4), generator())
    torch.testing.assert_close(action.bincount(minlength=4) / len(action), p, rtol=0, atol=0.01)
    assert not (action == 3).any()


def test_drawn_normals_have_their_mean_and_deviation() -> None:
    log_std = torch.tensor([-1.0, 1.0])
    action, _ = draw_normal(torch.tensor([3.0, -2.0]).expand(20_000, 2), log_std, generator())
    torch.testing.assert_close(action.mean(0), torch.tensor([3.0, -2.0]), rtol=0, atol=0.1)
    torch.testing.assert_close(action.std(0), log_std.exp(), rtol=0.02, atol=0)
