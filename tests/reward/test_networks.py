"""One pass of the ensemble is E separate networks."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pairplay.config import RewardModelConfig
from pairplay.observations import interleaved
from pairplay.reward import model as model_module
from pairplay.reward.fit import fit
from pairplay.reward.model import RewardModel
from pairplay.reward.networks import BatchNorm, Convolutions, EnsembleConv, EnsembleLinear, make_network
from pairplay.types import Comparison, EnvSpec, UserError

from .examples import CONFIG, IMAGE, VECTOR, compare, make_model, make_rollout, make_segment


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


@pytest.mark.parametrize("out", [1, 2])
def test_a_linear_layer_by_hand_there_and_back(out: int) -> None:
    layer = EnsembleLinear(2, 3, out, seed=0, name="any")
    torch.nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(0))
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    d_y = torch.randn(2, 5, out, generator=torch.Generator().manual_seed(2))
    y = layer(x)
    y.backward(d_y)
    assert x.grad is not None
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    for e in range(2):
        torch.testing.assert_close(y[e], x[e] @ layer.weight[e] + layer.bias[e])
        torch.testing.assert_close(x.grad[e], d_y[e] @ layer.weight[e].T)
        torch.testing.assert_close(layer.weight.grad[e], x[e].T @ d_y[e])
        torch.testing.assert_close(layer.bias.grad[e], d_y[e].sum(0, keepdim=True))


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
        make_network(replace(IMAGE, frame_shape=(40, 40)), replace(CONFIG, network="paper"), seed=0)


# -- the options -----------------------------------------------------------------------------------------------------

NORMED = replace(CONFIG, batch_norm=True)


@pytest.mark.parametrize(
    "change", [{"network": "paper"}, {"network": "nature"}, {"batch_norm": True}, {"network": "nature", "members": 2}]
)
def test_every_kind_of_network_is_separate_networks(change: dict[str, Any]) -> None:
    """One member's pictures, norms and weights reach no other member, in training neither."""
    config, (obs, action) = replace(CONFIG, **change), draw_input(IMAGE)
    network = make_network(IMAGE, config, seed=1).train()
    network(obs, action)[0].sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        others = parameter.grad.chunk(config.members)[1:]
        assert all(not part.any() for part in others), name


@pytest.mark.parametrize(
    ("name", "kernels", "width"), [("paper", [7, 5, 3, 3], 16), ("nature", [8, 4, 3], 32), ("small", [8, 4], 16)]
)
def test_layers_of_each_network(name: Literal["paper", "nature", "small"], kernels: list[int], width: int) -> None:
    network = make_network(IMAGE, replace(CONFIG, network=name), seed=0)
    convs = [p for n, p in network.named_parameters() if "conv" in n and p.ndim == 4]
    assert [p.shape[-1] for p in convs] == kernels
    assert convs[-1].shape[0] == CONFIG.members * width


def test_state_vectors_pass_two_hidden_layers_and_pictures_one() -> None:
    for spec, count in ((VECTOR, 2), (IMAGE, 1)):
        shapes = {
            name: p.shape[1:] for name, p in make_network(spec, replace(CONFIG, hidden=7), seed=0).named_parameters()
        }
        layers = [shape for name, shape in shapes.items() if name.startswith("head.hidden") and name.endswith("weight")]
        assert [shape[1] for shape in layers] == [7] * count
        assert shapes["head.out.weight"] == (7, 1)


def test_batch_norm_follows_each_convolution_if_it_is_wanted() -> None:
    obs, action = draw_input(IMAGE, batch=32)
    for wanted in (False, True):
        network = make_network(IMAGE, replace(CONFIG, batch_norm=wanted), seed=0).train()
        before = network(obs, action)
        for name, parameter in network.named_parameters():
            if "convs" in name and name.endswith("weight"):
                parameter.data.mul_(3.0)
        # Whatever the weights are multiplied by is divided out again.
        assert torch.allclose(network(obs, action), before, atol=1e-3) == wanted


def test_batch_norm_by_hand() -> None:
    norm = BatchNorm(1)
    x = torch.tensor([1.0, 3.0, 5.0, 7.0]).reshape(4, 1, 1, 1)
    standard = torch.tensor([-3.0, -1.0, 1.0, 3.0]).reshape(4, 1, 1, 1) / 5**0.5
    torch.testing.assert_close(norm.train()(x), standard, rtol=1e-4, atol=1e-4)
    # One mini-batch is all that is known, so it is known whole: mean 4, unbiased variance 20/3.
    torch.testing.assert_close(norm.train(False)(x), (x - 4.0) / (20 / 3) ** 0.5, rtol=1e-4, atol=1e-4)


def test_outside_training_a_norm_goes_into_the_weights_before_it() -> None:
    norm, conv = BatchNorm(6), EnsembleConv(3, 4, 2, 3, 2, shared=True, seed=0, name="c")
    generator = torch.Generator().manual_seed(0)
    for tensor in (norm.gain, norm.bias, norm.mean, norm.var, conv.bias):
        tensor.data = torch.rand(6, generator=generator) + 0.1
    x = torch.rand(5, 4, 9, 7, generator=generator)
    apart = norm.train(False)(conv(x, 0.5))
    torch.testing.assert_close(conv(x, 0.5, norm.known()), apart)
    gain, shift = norm.known()
    torch.testing.assert_close(x[:, :1] * gain[0] + shift[0], norm(x[:, :1].expand(-1, 6, -1, -1))[:, :1])


def test_batch_norm_takes_a_single_value_by_what_is_known() -> None:
    norm = BatchNorm(2).train()
    x = torch.tensor([[[[3.0]], [[-1.0]]]])
    torch.testing.assert_close(norm(x), x, rtol=1e-4, atol=1e-4)
    assert norm.batches == 0


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    network = make_network(IMAGE, replace(CONFIG, dropout=0.25), seed=0).train()
    torso = network.torso
    assert isinstance(torso, Convolutions)
    torso.noise = torch.Generator().manual_seed(0)
    dropped = torso._drop(torch.ones(200, 48, 2, 2))
    assert sorted({*dropped.flatten().tolist()}) == pytest.approx([0.0, 1 / 0.75])
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert (dropped.amax((2, 3)) == dropped.amin((2, 3))).all(), "whole feature maps"
    members = (dropped[:, :, 0, 0] == 0).float().chunk(3, dim=1)
    assert not torch.equal(members[0], members[1])


@pytest.mark.parametrize("spec", [IMAGE, VECTOR])
def test_without_sight_of_the_action_it_does_not_matter(spec: EnvSpec) -> None:
    model = make_model(spec, replace(CONFIG, see_action=False))
    segment = make_segment(spec, "s")
    other = replace(segment, action=(segment.action + 1) % spec.num_actions)
    np.testing.assert_array_equal(model.segment_returns([segment]), model.segment_returns([other]))
    seeing = make_model(spec)
    assert not np.array_equal(seeing.segment_returns([segment]), seeing.segment_returns([other]))


def test_embedding_is_what_the_reward_is_made_of() -> None:
    network, (obs, action) = make_network(VECTOR, CONFIG, seed=0), draw_input(VECTOR)
    hidden = network.embed(obs, action)
    assert hidden.shape == (3, 5, CONFIG.hidden)
    torch.testing.assert_close(network.head.out(hidden).squeeze(-1), network(obs, action))


# -- training mode is for fitting alone ------------------------------------------------------------------------------

TRICKY = replace(CONFIG, batch_norm=True, dropout=0.5, network="nature")


def fitted(config: RewardModelConfig = TRICKY) -> RewardModel:
    model = make_model(IMAGE, config)
    segments = [make_segment(IMAGE, str(i), length=3, seed=i) for i in range(8)]
    fit(model, compare(segments, lambda s: s.frames.mean(), 12), pairs=24, rng=np.random.default_rng(0))
    return model


def test_predictions_are_fixed_and_do_not_depend_on_their_company() -> None:
    """Fails if the network predicts in training mode: dropped features and the mini-batch's own statistics show."""
    model = fitted()
    assert not model.network.training
    before = model.state()
    segments = [make_segment(IMAGE, f"new{i}", seed=100 + i) for i in range(4)]
    together = model.segment_returns(segments)
    np.testing.assert_array_equal(model.segment_returns(segments), together)
    alone = np.concatenate([model.segment_returns([segment]) for segment in segments], axis=1)
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)
    probabilities = model.probabilities([Comparison(1, segments[0], segments[1], 1.0)])
    np.testing.assert_array_equal(model.probabilities([Comparison(1, segments[0], segments[1], 1.0)]), probabilities)
    rollout = make_rollout(IMAGE)
    np.testing.assert_array_equal(model.score(rollout), model.score(rollout))
    first = model.relabel(rollout)
    np.testing.assert_array_equal(model.relabel(rollout).mean, first.mean)
    after = model.state()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("network/"))


def test_the_test_above_would_notice_training_mode() -> None:
    model = fitted()
    segments = [make_segment(IMAGE, f"new{i}", seed=100 + i) for i in range(4)]
    quiet = model.segment_returns(segments)
    with model.training(np.random.default_rng(0)):
        assert not np.allclose(model.segment_returns(segments), quiet)
    again = model.segment_returns(segments)
    np.testing.assert_array_equal(model.segment_returns(segments), again)


def test_features_are_dropped_in_training() -> None:
    model, segment = make_model(IMAGE, replace(CONFIG, dropout=0.5)), make_segment(IMAGE, "s")
    quiet = model.segment_returns([segment])
    with model.training(np.random.default_rng(0)):
        first, second = model.segment_returns([segment]), model.segment_returns([segment])
    assert not np.allclose(first, quiet)
    assert not np.allclose(first, second)


def test_a_fit_that_fails_leaves_training_mode() -> None:
    model = make_model(IMAGE, TRICKY)
    with pytest.raises(RuntimeError), model.training(np.random.default_rng(0)):
        raise RuntimeError
    assert not model.network.training


def test_a_mini_batch_is_normalised_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where predicting would cut it into several passes."""
    segments = [make_segment(IMAGE, str(i), length=3, seed=i) for i in range(4)]
    returns = []
    for chunk in (256, 5):
        monkeypatch.setitem(model_module.CHUNK, "cpu", chunk)
        model = make_model(IMAGE, NORMED)
        with model.training(np.random.default_rng(0)):
            returns.append(model.segment_returns(segments))
    np.testing.assert_allclose(returns[0], returns[1], rtol=1e-4, atol=1e-5)


def test_the_same_fit_drops_the_same_features_and_resumes() -> None:
    first, second = fitted().state(), fitted().state()
    assert all(torch.equal(first[name], second[name]) for name in first)
    copy = make_model(IMAGE, TRICKY, seed=5)
    copy.load(first)
    segment = make_segment(IMAGE, "s")
    np.testing.assert_array_equal(copy.segment_returns([segment]), fitted().segment_returns([segment]))


def test_batch_norm_in_bf16() -> None:
    model = RewardModel(IMAGE, NORMED, seed=0, device=torch.device("cpu"), precision="bf16")
    segments = [make_segment(IMAGE, str(i), length=3, seed=i) for i in range(4)]
    metrics = fit(model, compare(segments, lambda s: s.frames.mean(), 4), pairs=4, rng=np.random.default_rng(0))
    assert metrics.loss is not None
    assert np.isfinite(metrics.loss)
    assert np.isfinite(model.segment_returns(segments)).all()


@pytest.mark.parametrize(
    ("network", "frame", "block"),
    [("small", (60, 80), 4), ("nature", (48, 48), 4), ("paper", (60, 80), 1), ("small", (60, 82), 1)],
)
def test_pictures_may_come_in_blocks_where_the_first_layer_moves_by_blocks(
    network: Literal["paper", "nature", "small"], frame: tuple[int, int], block: int
) -> None:
    spec = replace(IMAGE, frame_shape=frame)
    assert make_network(spec, replace(CONFIG, network=network), seed=0).block == block
    assert make_network(VECTOR, replace(CONFIG, network=network), seed=0).block == 1


@pytest.mark.parametrize("training", [False, True])
def test_pictures_in_blocks_are_the_same_pictures(training: bool) -> None:
    network = make_network(IMAGE, NORMED, seed=1).train(training)
    obs, action = draw_input(IMAGE)
    planes = list(obs.to(torch.uint8).transpose(0, 1).contiguous().numpy())
    assert network.block == 4
    expected = network(interleaved(planes), action)
    torch.testing.assert_close(network(interleaved(planes, 4), action), expected)


def test_a_model_reads_pictures_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(IMAGE, NORMED)
    seen: list[tuple[int, ...]] = []
    forward = Convolutions.forward

    def noting(self: Convolutions, obs: Tensor) -> Tensor:
        seen.append(tuple(obs.shape[1:]))
        return forward(self, obs)

    monkeypatch.setattr(Convolutions, "forward", noting)
    model.score(make_rollout(IMAGE))
    segments = [make_segment(IMAGE, str(i), length=3, seed=i) for i in range(4)]
    fit(model, compare(segments, lambda s: s.frames.mean(), 4), pairs=4, rng=np.random.default_rng(0))
    assert set(seen) == {(3 * 16, 12, 12)}
