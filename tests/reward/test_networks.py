"""One pass of the ensemble is E separate networks."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pairplay.reward.networks import Convolutions, make_network
from pairplay.types import EnvSpec, UserError

from .examples import CONFIG, IMAGE, VECTOR


def draw_input(spec: EnvSpec, batch: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (batch, spec.stack, *spec.frame_shape)
    obs = torch.randint(0, 256, shape, generator=generator).float() if spec.is_image else torch.randn(shape)
    return obs, torch.eye(spec.action_dim)[torch.randint(0, spec.action_dim, (batch,), generator=generator)]


@pytest.mark.parametrize("spec", [IMAGE, VECTOR])
def test_a_member_is_what_it_is_whatever_the_size_of_the_ensemble(spec: EnvSpec) -> None:
    obs, action = draw_input(spec)
    together = make_network(spec, CONFIG, seed=1)(obs, action)
    alone = make_network(spec, replace(CONFIG, members=1), seed=1)(obs, action)
    assert together.shape == (3, 5)
    torch.testing.assert_close(together[:1], alone)


def test_grouped_convolutions_are_separate_networks() -> None:
    obs, action = draw_input(IMAGE)
    network = make_network(IMAGE, CONFIG, seed=1)
    together = network(obs, action)
    for member in range(3):
        alone = make_network(IMAGE, replace(CONFIG, members=1), seed=2)
        for mine, theirs in zip(alone.parameters(), network.parameters(), strict=True):
            mine.data.copy_(theirs.data.chunk(3)[member])
        torch.testing.assert_close(together[member], alone(obs, action)[0])


@pytest.mark.parametrize("spec", [IMAGE, VECTOR])
def test_weights_come_from_the_seed_and_differ_between_members(spec: EnvSpec) -> None:
    obs, action = draw_input(spec)
    reward = make_network(spec, CONFIG, seed=1)(obs, action)
    assert torch.equal(reward, make_network(spec, CONFIG, seed=1)(obs, action))
    assert not torch.allclose(reward, make_network(spec, CONFIG, seed=2)(obs, action))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(reward[a], reward[b])


@pytest.mark.parametrize("spec", [IMAGE, VECTOR])
def test_every_weight_of_every_member_takes_part(spec: EnvSpec) -> None:
    network = make_network(spec, CONFIG, seed=1)
    network(*draw_input(spec, batch=64)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        assert all(part.abs().sum() > 0 for part in parameter.grad.chunk(3)), name


@pytest.mark.parametrize("spec", [IMAGE, VECTOR])
def test_action_matters(spec: EnvSpec) -> None:
    obs, _ = draw_input(spec, batch=1)
    actions = torch.eye(spec.action_dim)
    reward = make_network(spec, CONFIG, seed=1)(obs.expand(len(actions), *obs.shape[1:]), actions)
    assert len(set(reward[0].tolist())) == spec.action_dim


def test_pixels_are_scaled_to_one() -> None:
    """The same weights with 1/255 in the picture instead."""
    obs, action = draw_input(IMAGE)
    network = make_network(IMAGE, CONFIG, seed=1)
    assert isinstance(network.torso, Convolutions)
    x = obs / 255.0
    for conv in network.torso.convs:
        x = nn.functional.leaky_relu(conv(x), 0.01)
    features = x.reshape(len(x), 3, -1).transpose(0, 1)
    torch.testing.assert_close(network(obs, action), network.head(features, action))


def test_frames_too_small_for_the_convolutions() -> None:
    with pytest.raises(UserError, match="too small"):
        make_network(replace(IMAGE, frame_shape=(40, 40)), CONFIG, seed=0)
