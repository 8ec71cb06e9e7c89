"""Two halves of a minibatch, differentiated side by side, give the gradient of the whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pairplay.config import PPOConfig
from pairplay.policy.distributions import Estimates
from pairplay.policy.halves import Halves
from pairplay.policy.networks import Policy
from pairplay.policy.objective import Samples, gradient
from pairplay.policy.ppo import PPO
from pairplay.types import EnvSpec

SPEC = EnvSpec("Pictures-v0", (40, 40), 3, 5, (), (), 10.0)
CONFIG = PPOConfig(num_steps=8, minibatch_size=7, ent_coef=0.02)


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def minibatch(size: int) -> tuple[torch.Tensor, torch.Tensor, Samples]:
    random = torch.Generator().manual_seed(0)
    obs = torch.randint(256, (size, 3, 40, 40), generator=random, dtype=torch.uint8)
    action = torch.randint(5, (size,), generator=random)
    log_prob, advantage, value, target = torch.randn(4, size, generator=random)
    return obs, action, Samples(0.1 * log_prob - 1.6, advantage, value, target)


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize("size", [2, 7])
def test_halves_give_the_gradient_of_the_whole(size: int) -> None:
    torch.manual_seed(0)
    policy = Policy(SPEC, CONFIG)
    obs, action, old = minibatch(size)
    estimates, backward = policy.evaluate(obs, action)
    whole = Estimates(*(estimate.detach() for estimate in estimates))
    backward(gradient(whole, old, CONFIG))
    expected = {name: parameter.grad for name, parameter in policy.named_parameters()}
    policy.zero_grad(set_to_none=True)

    found = Halves(policy, CONFIG)(obs, action, old)
    torch.testing.assert_close(found, whole)
    assert not any(estimate.requires_grad for estimate in found)
    for name, parameter in policy.named_parameters():
        wanted = expected[name]
        if wanted is not None:
            assert parameter.grad is not None, name
            assert parameter.grad.stride() == parameter.stride(), name
            torch.testing.assert_close(parameter.grad, wanted, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.usefixtures("four_threads")
def test_each_half_has_half_of_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy(SPEC, CONFIG)
    found: list[tuple[int, int]] = []
    evaluate = policy.evaluate

    def counting(obs: torch.Tensor, action: torch.Tensor) -> object:
        found.append((len(obs), torch.get_num_threads()))
        return evaluate(obs, action)

    monkeypatch.setattr(policy, "evaluate", counting)
    halves = Halves(policy, CONFIG)
    torch.set_num_threads(2)
    halves(*minibatch(7))
    assert sorted(found) == [(3, 2), (4, 2)]


@pytest.mark.usefixtures("four_threads")
def test_only_pictures_are_learnt_in_halves_and_only_where_there_are_threads_for_both() -> None:
    vectors = EnvSpec("Numbers-v0", (3,), 1, 5, (), (), 10.0)

    def in_halves(spec: EnvSpec) -> bool:
        ppo = PPO(Policy(spec, CONFIG), spec, CONFIG, num_envs=7, device=torch.device("cpu"))
        return ppo._halves is not None

    assert in_halves(SPEC)
    assert not in_halves(vectors)
    torch.set_num_threads(1)
    assert not in_halves(SPEC)
