"""The twins compute what the modules whose parameters they hold compute, forwards and backwards."""

import pytest
import torch
from torch import Tensor, nn

from pairplay.config import PPOConfig
from pairplay.policy.adam import part
from pairplay.policy.distributions import Estimates, categorical, normal
from pairplay.policy.networks import Policy, RunningNorm
from pairplay.types import EnvSpec

DISCRETE = EnvSpec("Any-v0", (5,), 2, 4, (), (), 10.0)
CONTINUOUS = EnvSpec("Any-v0", (5,), 2, 0, (-1.0,) * 3, (1.0,) * 3, 10.0)
SPECS = pytest.mark.parametrize("spec", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])


def make_policy(spec: EnvSpec) -> Policy:
    torch.manual_seed(0)
    policy = Policy(spec, PPOConfig(hidden=8))
    with torch.no_grad():
        for parameter in policy.parameters():  # a fresh actor is nearly 0 and fresh biases are
            parameter.copy_(torch.randn(parameter.shape) / 2)
    return policy


def make_batch(spec: EnvSpec, size: int = 16) -> tuple[Tensor, Tensor]:
    actions = torch.arange(size) % 4 if spec.discrete else torch.randn(size, 3)
    return torch.randn(size, 2, 5), actions


def by_modules(policy: Policy, obs: Tensor, action: Tensor) -> Estimates:
    features = policy.torso(obs.flatten(1))
    logits, value = policy.actor(features), policy.critic(features).squeeze(1)
    return Estimates(
        *(categorical(logits, action) if policy.discrete else normal(logits, policy.log_std, action)), value
    )


@SPECS
def test_they_say_what_the_modules_say(spec: EnvSpec) -> None:
    policy, (obs, action) = make_policy(spec), make_batch(spec)
    features = policy.torso(obs.flatten(1))
    logits, value = policy(obs)
    torch.testing.assert_close(logits, policy.actor(features).detach(), rtol=0, atol=1e-5)
    torch.testing.assert_close(value, policy.critic(features).squeeze(1).detach(), rtol=0, atol=1e-5)
    for said, expected in zip(policy.evaluate(obs, action)[0], by_modules(policy, obs, action), strict=True):
        torch.testing.assert_close(said, expected.detach(), rtol=0, atol=1e-5)


@SPECS
def test_what_acts_says_of_its_actions_what_is_said_of_them_later(spec: EnvSpec) -> None:
    """PPO's ratio begins at 1: what is remembered of an action must be what the update says of it."""
    policy, (obs, _) = make_policy(spec), make_batch(spec)
    assert isinstance(policy.torso, RunningNorm)
    policy.torso.update(3.0 + 2.0 * torch.randn(100, 10))
    action, log_prob, value = policy.acting(torch.Generator().manual_seed(0))(obs)
    later = policy.evaluate(obs, action)[0]
    torch.testing.assert_close(log_prob, later.log_prob, rtol=0, atol=1e-5)
    torch.testing.assert_close(value, later.value, rtol=0, atol=1e-5)
    assert not any(tensor.requires_grad for tensor in (action, log_prob, value))


@SPECS
def test_their_gradient_is_the_one_of_autograd(spec: EnvSpec) -> None:
    policy, (obs, action) = make_policy(spec), make_batch(spec)
    assert policy.twins is not None
    d_said = Estimates(*torch.randn(3, 16))
    torch.autograd.backward(by_modules(policy, obs, action), d_said)
    _, backward = policy.evaluate(obs, action)
    backward(d_said)
    for name, parameter in policy.named_parameters():
        expected = parameter.grad
        assert expected is not None or not parameter.numel(), name
        if expected is not None:
            found = part(policy.twins.gradient, parameter)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=name)


@SPECS
def test_every_parameter_lies_in_the_block_once(spec: EnvSpec) -> None:
    policy = make_policy(spec)
    assert policy.twins is not None
    assert sum(parameter.numel() for parameter in policy.parameters()) == policy.twins.block.numel()
    policy.twins.block.fill_(0.5)
    for name, parameter in policy.named_parameters():
        assert torch.equal(parameter, torch.full_like(parameter, 0.5)), name


def test_loaded_and_moved_parameters_are_the_ones_that_act() -> None:
    policy, other = make_policy(DISCRETE), Policy(DISCRETE, PPOConfig(hidden=8))
    obs, _ = make_batch(DISCRETE)
    other.load_state_dict(policy.state_dict())
    assert torch.equal(other(obs)[0], policy(obs)[0])
    torch.testing.assert_close(policy.double()(obs.double())[0], other(obs)[0].double(), rtol=0, atol=1e-5)
    with torch.no_grad():
        last = policy.actor[-1] if isinstance(policy.actor, nn.Sequential) else None
        assert isinstance(last, nn.Linear)
        last.weight.zero_()
        last.bias.fill_(7.0)
    assert torch.equal(policy(obs.double())[0], torch.full((16, 4), 7.0, dtype=torch.float64))
