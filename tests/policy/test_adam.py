"""Both kinds of Adam move alike, and both go on from where they were."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pairplay.policy.adam import BlockAdam, SeparateAdam, part

LEARNING_RATE, MAX_NORM = 0.01, 0.5


def make_parameters() -> tuple[list[nn.Parameter], Tensor]:
    """Two parameters in one block, and the block."""
    block = torch.linspace(-1, 1, 10)
    return [nn.Parameter(block[:6].view(2, 3)), nn.Parameter(block[6:])], block


def by_block(block: Tensor, gradient: Tensor) -> BlockAdam:
    adam = BlockAdam(block, gradient)
    adam.set_rate(LEARNING_RATE)
    return adam


def by_torch(parameters: Sequence[Tensor]) -> SeparateAdam:
    adam = SeparateAdam(parameters)
    adam.set_rate(LEARNING_RATE)
    return adam


def test_a_first_step_by_hand() -> None:
    _, block = make_parameters()
    before, gradient = block.clone(), torch.zeros(10)
    gradient[0], gradient[1] = 3.0, -4.0
    by_block(block, gradient).step(MAX_NORM)
    # Scaled from norm 5 to 0.5; the first step is then the learning rate times g / (|g| + ε).
    torch.testing.assert_close(gradient[:2], torch.tensor([0.3, -0.4]), rtol=1e-5, atol=0)
    expected = torch.zeros(10)
    expected[0], expected[1] = -LEARNING_RATE * 0.3 / (0.3 + 1e-5), LEARNING_RATE * 0.4 / (0.4 + 1e-5)
    torch.testing.assert_close(block - before, expected, rtol=1e-4, atol=1e-9)


def test_a_block_moves_as_its_parameters_would() -> None:
    separate, _ = make_parameters()
    separate = [nn.Parameter(parameter.detach().clone()) for parameter in separate]
    parameters, block = make_parameters()
    gradient = torch.zeros(10)
    blocked, separated = by_block(block, gradient), by_torch(separate)
    noise = torch.Generator().manual_seed(0)
    for size in (0.01, 0.1, 1.0, 10.0, 0.1):  # on both sides of the norm that is allowed
        gradient.copy_(size * torch.randn(10, generator=noise))
        for mine, whole in zip(separate, parameters, strict=True):
            mine.grad = part(gradient, whole).clone()
        separated.step(MAX_NORM)
        blocked.step(MAX_NORM)
        for mine, whole in zip(separate, parameters, strict=True):
            torch.testing.assert_close(whole, mine, rtol=0, atol=1e-6)
            for name, moment in separated.moments(mine).items():
                torch.testing.assert_close(blocked.moments(whole)[name], moment, rtol=1e-5, atol=1e-9, msg=name)


def test_moments_survive_a_change_of_kind() -> None:
    parameters, block = make_parameters()
    gradient = torch.randn(10)
    first = by_block(block, gradient)
    assert first.moments(parameters[0]) == {}
    first.step(MAX_NORM)
    first.step(MAX_NORM)
    separate = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    second = by_torch(separate)
    others, other_block = make_parameters()
    other_block.copy_(block)
    third = by_block(other_block, gradient.clone())
    for parameter, mine, other in zip(parameters, separate, others, strict=True):
        second.restore(mine, first.moments(parameter))
        third.restore(other, second.moments(mine))
        mine.grad = part(gradient, parameter).clone()
    for adam in (first, second, third):
        adam.step(MAX_NORM)
    for parameter, mine, other in zip(parameters, separate, others, strict=True):
        torch.testing.assert_close(mine, parameter, rtol=0, atol=1e-6)
        assert torch.equal(other, parameter)
