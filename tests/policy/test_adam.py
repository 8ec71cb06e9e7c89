"""Both kinds of Adam move alike, and both go on from where they were."""

import torch
from torch import Tensor, nn

from pairplay.policy.adam import BlockAdam, SeparateAdam, part

LEARNING_RATE, MAX_NORM = 0.01, 0.5


def make_parameters() -> tuple[list[nn.Parameter], Tensor]:
    """Two parameters in one block, and the block."""
    block = torch.linspace(-1, 1, 10)
    return [nn.Parameter(block[:6].view(2, 3)), nn.Parameter(block[6:])], block


def test_a_first_step_by_hand() -> None:
    _, block = make_parameters()
    before, gradient = block.clone(), torch.zeros(10)
    gradient[0], gradient[1] = 3.0, -4.0
    BlockAdam(block, gradient).step(LEARNING_RATE, MAX_NORM)
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
    by_block, by_torch = BlockAdam(block, gradient), SeparateAdam(separate)
    noise = torch.Generator().manual_seed(0)
    for size in (0.01, 0.1, 1.0, 10.0, 0.1):  # on both sides of the norm that is allowed
        gradient.copy_(size * torch.randn(10, generator=noise))
        for mine, whole in zip(separate, parameters, strict=True):
            mine.grad = part(gradient, whole).clone()
        by_torch.step(LEARNING_RATE, MAX_NORM)
        by_block.step(LEARNING_RATE, MAX_NORM)
        for mine, whole in zip(separate, parameters, strict=True):
            torch.testing.assert_close(whole, mine, rtol=0, atol=1e-6)
            for name, moment in by_torch.moments(mine).items():
                torch.testing.assert_close(by_block.moments(whole)[name], moment, rtol=1e-5, atol=1e-9, msg=name)


def test_moments_survive_a_change_of_kind() -> None:
    parameters, block = make_parameters()
    gradient = torch.randn(10)
    first = BlockAdam(block, gradient)
    assert first.moments(parameters[0]) == {}
    first.step(LEARNING_RATE, MAX_NORM)
    first.step(LEARNING_RATE, MAX_NORM)
    separate = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    second = SeparateAdam(separate)
    others, other_block = make_parameters()
    other_block.copy_(block)
    third = BlockAdam(other_block, gradient.clone())
    for parameter, mine, other in zip(parameters, separate, others, strict=True):
        second.restore(mine, first.moments(parameter))
        third.restore(other, second.moments(mine))
        mine.grad = part(gradient, parameter).clone()
    for adam in (first, second, third):
        adam.step(LEARNING_RATE, MAX_NORM)
    for parameter, mine, other in zip(parameters, separate, others, strict=True):
        torch.testing.assert_close(mine, parameter, rtol=0, atol=1e-6)
        assert torch.equal(other, parameter)
