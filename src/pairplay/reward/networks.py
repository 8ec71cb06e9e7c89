"""The networks of the reward ensemble: all members in one pass. Know nothing of rollouts or answers."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairplay.config import RewardModelConfig
from pairplay.seeding import torch_rng
from pairplay.types import EnvSpec, UserError

# E ensemble members, B states, K stacked frames, D width of a state vector, A width of an action, C channels

CHANNELS = 16
LAYERS = ((7, 3), (5, 2), (3, 1), (3, 1))
"""(kernel, stride) of the convolutions: Christiano et al. 2017, appendix A.2."""
SLOPE = 0.01
"""Of the leaky rectifiers."""
HEAD_GAIN = 0.1
"""First predictions are small: the error term flattens the loss of a pair that is confidently wrong from the start."""


def _uniform(shape: tuple[int, ...], fan_in: int, gain: float, seed: int, name: str, member: int) -> Tensor:
    bound = gain * math.sqrt(3.0 / fan_in)
    generator = torch_rng(seed, f"reward_model/{name}", member)
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def _members(
    members: int, shape: tuple[int, ...], fan_in: int, seed: int, name: str, gain: float | None = None
) -> nn.Parameter:
    """`[E, *shape]`: each member's weights are its own draw, whatever the size of the ensemble."""
    gain = math.sqrt(2.0 / (1.0 + SLOPE**2)) if gain is None else gain
    return nn.Parameter(torch.stack([_uniform(shape, fan_in, gain, seed, name, e) for e in range(members)]))


class EnsembleLinear(nn.Module):
    """E independent linear layers: `[E, B, width]` → `[E, B, out]`."""

    def __init__(self, members: int, width: int, out: int, *, seed: int, name: str, gain: float | None = None) -> None:
        super().__init__()
        self.weight = _members(members, (width, out), width, seed, name, gain)
        self.bias = nn.Parameter(torch.zeros(members, 1, out))

    def forward(self, x_EBi: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x_EBi, self.weight)


class EnsembleConv(nn.Module):
    """E independent convolutions: `[B, in, H, W]` → `[B, E·C, H', W']`.

    `shared` members all see the same input channels; otherwise each sees its own group of them.
    """

    def __init__(
        self, members: int, channels: int, kernel: int, stride: int, *, shared: bool, seed: int, name: str
    ) -> None:
        super().__init__()
        weight = _members(members, (CHANNELS, channels, kernel, kernel), channels * kernel**2, seed, name)
        self.weight = nn.Parameter(weight.detach().flatten(0, 1))
        self.bias = nn.Parameter(torch.zeros(members * CHANNELS))
        self.stride = stride
        self.groups = 1 if shared else members

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """The convolution of `x · scale`."""
        weight = self.weight if scale == 1.0 else self.weight * scale
        return F.conv2d(x, weight, self.bias, stride=self.stride, groups=self.groups)


class Head(nn.Module):
    """Fully connected layers from features and action to one reward a member: → `[E, B]`."""

    def __init__(self, members: int, widths: tuple[int, ...], *, seed: int) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(
            EnsembleLinear(members, width, out, seed=seed, name=f"hidden{i}")
            for i, (width, out) in enumerate(pairwise(widths))
        )
        self.out = EnsembleLinear(members, widths[-1], 1, seed=seed, name="out", gain=HEAD_GAIN)

    def forward(self, features_EBi: Tensor, action_BA: Tensor) -> Tensor:
        x_EBi = torch.cat((features_EBi, action_BA.to(features_EBi.dtype).expand(len(features_EBi), -1, -1)), dim=-1)
        for layer in self.hidden:
            x_EBi = F.leaky_relu(layer(x_EBi), SLOPE)
        reward_EB1: Tensor = self.out(x_EBi)
        return reward_EB1.squeeze(-1)


class ImageNetwork(nn.Module):
    """The paper's convolutions, then a layer with the action: pixels 0…255 `[B, K, H, W]`, `[B, A]` → `[E, B]`."""

    def __init__(self, spec: EnvSpec, config: RewardModelConfig, *, seed: int) -> None:
        super().__init__()
        self.members = config.members
        side = list(spec.frame_shape)
        for kernel, stride in LAYERS:
            side = [(s - kernel) // stride + 1 for s in side]
        if min(side) < 1:
            raise UserError(f"frames of {spec.frame_shape} are too small for the reward model: use frame_size 80 or 84")
        self.convs = nn.ModuleList(
            EnsembleConv(
                config.members, CHANNELS if i else spec.stack, kernel, stride, shared=i == 0, seed=seed, name=f"conv{i}"
            )
            for i, (kernel, stride) in enumerate(LAYERS)
        )
        features = CHANNELS * math.prod(side)
        self.head = Head(config.members, (features + spec.action_dim, config.hidden), seed=seed)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    def forward(self, obs_BKF: Tensor, action_BA: Tensor) -> Tensor:
        # 1/255 goes into the small weights instead of the large pictures; integers to 255 are exact in bf16 too.
        x = obs_BKF
        for i, conv in enumerate(self.convs):
            x = F.leaky_relu(conv(x, scale=1.0 if i else 1.0 / 255.0), SLOPE, inplace=True)
        features_BEi = x.reshape(len(x), self.members, -1)
        reward_EB: Tensor = self.head(features_BEi.transpose(0, 1), action_BA)
        return reward_EB


class VectorNetwork(nn.Module):
    """float32 `[B, K, D]` (already normalised) and action `[B, A]` → `[E, B]`: two hidden layers."""

    def __init__(self, spec: EnvSpec, config: RewardModelConfig, *, seed: int) -> None:
        super().__init__()
        self.members = config.members
        width = spec.stack * math.prod(spec.frame_shape) + spec.action_dim
        self.head = Head(config.members, (width, config.hidden, config.hidden), seed=seed)

    def forward(self, obs_BKF: Tensor, action_BA: Tensor) -> Tensor:
        reward_EB: Tensor = self.head(obs_BKF.flatten(1).expand(self.members, -1, -1), action_BA)
        return reward_EB


def make_network(spec: EnvSpec, config: RewardModelConfig, *, seed: int) -> ImageNetwork | VectorNetwork:
    """The network for this kind of observation, its weights drawn from `seed` alone."""
    return ImageNetwork(spec, config, seed=seed) if spec.is_image else VectorNetwork(spec, config, seed=seed)
