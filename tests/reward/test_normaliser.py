"""Running statistics by hand."""

import pytest
import torch

from pairplay.reward.normaliser import CLIP, MOST, Affine, InputMoments, RewardScale, affine

CPU = torch.device("cpu")


def test_input_moments_are_those_of_all_data() -> None:
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(70, 3, generator=generator) * torch.tensor([1.0, 5.0, 0.1]) + torch.tensor([0.0, 9.0, -1.0])
    moments = InputMoments.empty(3, CPU)
    for part in (data[:1], data[1:41], data[41:]):
        moments.update(part)
    moments.settle()
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


def test_inputs_are_normalised_by_what_was_known_when_it_was_settled() -> None:
    moments = InputMoments.empty(1, CPU)
    moments.update(torch.tensor([[1.0], [3.0]]))
    moments.update(torch.tensor([[7.0], [9.0]]))
    assert moments.normalise(torch.tensor([[5.0]])).item() == 3.0
    moments.settle()
    assert moments.normalise(torch.tensor([[5.0]])).item() == 0.0


def test_each_member_is_normalised_by_its_own_moments() -> None:
    scale = RewardScale.empty(2, CPU)
    reward = torch.tensor([[1.0, 3.0], [10.0, 50.0]])
    assert torch.equal(scale.normalise(reward), reward)
    assert not scale.known
    scale.take(reward)
    assert scale.known
    torch.testing.assert_close(scale.normalise(reward), torch.tensor([[-1.0, 1.0], [-1.0, 1.0]]))
    torch.testing.assert_close(scale.normalise(reward[:, :, None])[:, :, 0], scale.normalise(reward))


def test_what_was_taken_before_leaves_no_trace() -> None:
    scale, fresh = RewardScale.empty(1, CPU), RewardScale.empty(1, CPU)
    scale.take(torch.tensor([[-1e3, 1e3]]))
    for taken in (scale, fresh):
        taken.take(torch.tensor([[1.0, 5.0]]))
    assert scale.normalise(torch.tensor([[5.0]])).item() == fresh.normalise(torch.tensor([[5.0]])).item() == 1.0


@pytest.mark.parametrize("value", [0.0, 0.1, -1e4])
def test_a_constant_prediction_is_zero_reward(value: float) -> None:
    scale = RewardScale.empty(1, CPU)
    reward = torch.full((1, 7, 3), value)
    scale.take(reward.flatten(1))
    assert torch.equal(scale.normalise(reward), torch.zeros(1, 7, 3))
    assert torch.equal(scale.normalise(reward + 5.0), torch.zeros(1, 7, 3))


def test_affine_by_hand() -> None:
    before = torch.tensor([1.0, 3.0])
    assert affine(before, 5.0 * before + 3.0) == Affine(5.0, 3.0)
    # Only mean and deviation are matched: -1 ± 4 instead of 2 ± 1.
    assert affine(before, torch.tensor([3.0, -5.0])) == Affine(4.0, -9.0)
    assert affine(torch.zeros(0), torch.zeros(0)) == Affine(1.0, 0.0)


def test_rewards_that_do_not_vary_move_values_by_the_mean_alone() -> None:
    assert affine(torch.tensor([2.0, 2.0]), torch.tensor([0.0, 4.0])) == Affine(1.0, 0.0)
    assert affine(torch.tensor([0.0, 4.0]), torch.tensor([3.0, 3.0])) == Affine(1.0, 1.0)


def test_the_scale_is_bounded() -> None:
    assert affine(torch.tensor([-1.0, 1.0]), torch.tensor([-1e6, 1e6])) == Affine(MOST, 0.0)
    assert affine(torch.tensor([-1e6, 1e6]), torch.tensor([-1.0, 1.0])) == Affine(1.0 / MOST, 0.0)
