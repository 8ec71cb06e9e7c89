"""Running statistics by hand."""

import pytest
import torch

from pairplay.reward.normaliser import CLIP, DECAY, InputMoments, RewardScale

CPU = torch.device("cpu")


def test_input_moments_are_those_of_all_data() -> None:
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(70, 3, generator=generator) * torch.tensor([1.0, 5.0, 0.1]) + torch.tensor([0.0, 9.0, -1.0])
    moments = InputMoments.empty(3, CPU)
    for part in (data[:1], data[1:41], data[41:]):
        moments.update(part)
    expected = (data - data.mean(0)) / data.std(0, correction=0)
    torch.testing.assert_close(moments.normalise(data), expected, rtol=1e-4, atol=1e-4)


def test_inputs_pass_unchanged_before_the_first_update_and_are_clipped() -> None:
    moments = InputMoments.empty(2, CPU)
    assert moments.normalise(torch.tensor([[1.5, -3.0]])).tolist() == [[1.5, -3.0]]
    assert moments.normalise(torch.tensor([[1e9, -1e9]])).tolist() == [[CLIP, -CLIP]]


def test_an_input_that_never_moves_is_harmless() -> None:
    moments = InputMoments.empty(1, CPU)
    moments.update(torch.full((10, 1), 0.1))
    assert moments.normalise(torch.tensor([[0.1], [0.6]])).flatten().tolist() == pytest.approx([0.0, 0.5])


def test_first_rollout_is_normalised_by_its_own_moments() -> None:
    scale = RewardScale.empty(2, CPU)
    reward = torch.tensor([[[1.0, 3.0]], [[10.0, 50.0]]])
    scale.update(reward)
    torch.testing.assert_close(scale.normalise(reward), torch.tensor([[[-1.0, 1.0]], [[-1.0, 1.0]]]))


def test_moving_average_by_hand() -> None:
    scale = RewardScale.empty(1, CPU)
    for value in (1.0, 2.0):
        scale.update(torch.tensor([[[value - 1.0, value + 1.0]]]))
    # Weights 0.09 and 0.1 of 0.19: the bias correction makes them add to one.
    older, newer = DECAY / (1.0 + DECAY), 1.0 / (1.0 + DECAY)
    mean = older * 1.0 + newer * 2.0
    second = older * (0.0 + 4.0) / 2 + newer * (1.0 + 9.0) / 2
    expected = (5.0 - mean) / (second - mean**2) ** 0.5
    assert float(scale.normalise(torch.tensor([[[5.0]]]))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e4])
def test_a_constant_prediction_is_zero_reward(value: float) -> None:
    scale = RewardScale.empty(1, CPU)
    reward = torch.full((1, 7, 3), value)
    for _ in range(3):
        scale.update(reward)
        assert torch.equal(scale.normalise(reward), torch.zeros(1, 7, 3))
