"""The networks of the reward ensemble: all members in one pass. Know nothing of rollouts or answers."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairplay.config import RewardModelConfig
from pairplay.pixels import BLOCKS, as_numbers, back_as_it_came, blocks
from pairplay.reward import integers
from pairplay.seeding import torch_rng
from pairplay.types import EnvSpec, UserError

# E ensemble members, B states, K stacked frames, D width of a state vector, A width of an action, C channels

LAYERS = {
    "paper": ((16, 7, 3), (16, 5, 2), (16, 3, 1), (16, 3, 1)),
    "nature": ((16, 8, 4), (32, 4, 2), (32, 3, 1)),
    "small": ((16, 8, 4), (16, 4, 2)),
}
"""(channels, kernel, stride) of the convolutions: Christiano et al. 2017, appendix A.2; Mnih et al. 2015 and 2013, each
member half as wide, for there are several."""
SLOPE = 0.01
"""Of the leaky rectifiers."""
SCALE = 1.0 / 255.0
"""From bytes to 0…1."""
EPSILON = 1e-5
"""What a norm adds to a variance."""
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
        if self.weight.shape[-1] == 1 and x_EBi.dtype == self.weight.dtype:
            # A product with one column is too thin for matrix kernels: in fp32 this takes a third of the time.
            return (x_EBi * self.weight.mT).sum(-1, keepdim=True) + self.bias
        return torch.baddbmm(self.bias, x_EBi, self.weight)


class EnsembleConv(nn.Module):
    """E independent convolutions: `[B, in, H, W]` → `[B, E·out, H', W']`.

    `shared` members all see the same input channels; otherwise each sees its own group of them.
    """

    def __init__(
        self, members: int, channels: int, out: int, kernel: int, stride: int, *, shared: bool, seed: int, name: str
    ) -> None:
        super().__init__()
        weight = _members(members, (out, channels, kernel, kernel), channels * kernel**2, seed, name)
        self.weight = nn.Parameter(weight.detach().flatten(0, 1))
        self.bias = nn.Parameter(torch.zeros(members * out))
        self.stride = stride
        self.groups = 1 if shared else members

    def folded(self, scale: float, norm: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Weight and bias for `x · scale`, and for `· gain + shift` of what comes of it, the `norm`: it costs nothing.

        1/255 goes into the small weights instead of the large pictures.
        """
        weight: Tensor = self.weight if scale == 1.0 else self.weight * scale
        if norm is None:
            return weight, self.bias
        gain, shift = norm
        return weight * gain[:, None, None, None], self.bias * gain + shift

    def forward(
        self, x: Tensor, scale: float = 1.0, norm: tuple[Tensor, Tensor] | None = None, block: int = 1
    ) -> Tensor:
        """The convolution of `x · scale`, which comes in blocks of so many pixels each way (1: as pixels)."""
        weight, bias = self.folded(scale, norm)
        return F.conv2d(x, blocks(weight, block), bias, stride=self.stride // block, groups=self.groups)


class BatchNorm(nn.Module):
    """Each channel to mean 0 and variance 1, then scaled and shifted (Ioffe and Szegedy 2015); so each member alone.

    In training by the mini-batch, else by running statistics: those of all mini-batches, of the last ten or so.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Not called weight: nothing pulls a norm's gain to zero.
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.mean: Tensor
        self.var: Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))
        self.batches: Tensor
        self.register_buffer("batches", torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        # One value a channel has no variance: such a mini-batch is normalised by what is known.
        training = self.training and x.numel() > x.shape[1]
        if training:
            self.batches += 1
        momentum = max(0.1, 1.0 / float(self.batches)) if training else 0.0
        return F.batch_norm(x, self.mean, self.var, self.gain, self.bias, training, momentum, EPSILON)

    def known(self) -> tuple[Tensor, Tensor]:
        """What it does outside training: each channel `· gain + shift`."""
        gain = self.gain * torch.rsqrt(self.var + EPSILON)
        return gain, self.bias - self.mean * gain


class Head(nn.Module):
    """Fully connected layers from features and action to one reward a member: → `[E, B]`."""

    def __init__(self, members: int, widths: tuple[int, ...], *, seed: int) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(
            EnsembleLinear(members, width, out, seed=seed, name=f"hidden{i}")
            for i, (width, out) in enumerate(pairwise(widths))
        )
        self.out = EnsembleLinear(members, widths[-1], 1, seed=seed, name="out", gain=HEAD_GAIN)

    def embed(self, features_EBi: Tensor, action_BA: Tensor) -> Tensor:
        x_EBi = torch.cat((features_EBi, action_BA.to(features_EBi.dtype).expand(len(features_EBi), -1, -1)), dim=-1)
        for layer in self.hidden:
            x_EBi = F.leaky_relu(layer(x_EBi), SLOPE)
        return x_EBi

    def forward(self, features_EBi: Tensor, action_BA: Tensor) -> Tensor:
        reward_EB1: Tensor = self.out(self.embed(features_EBi, action_BA))
        return reward_EB1.squeeze(-1)


class Convolutions(nn.Module):
    """Pixels 0…255 `[B, K, H, W]`, or the same in blocks, → what each member sees in them, `[E, B, width]`."""

    def __init__(self, spec: EnvSpec, config: RewardModelConfig, *, seed: int) -> None:
        super().__init__()
        self.members = config.members
        self.dropout = config.dropout
        self.noise: torch.Generator | None = None
        """Draws which feature maps are dropped in training."""
        side, channels = list(spec.frame_shape), spec.stack
        self.picture, self.channels = spec.frame_shape, channels
        _, kernel, stride = LAYERS[config.network][0]
        self.block = stride if stride in BLOCKS and not any(length % stride for length in (*side, kernel)) else 1
        """Pictures may come in blocks of so many pixels each way, which a CPU convolves faster."""
        self._packed: tuple[tuple[int, ...], integers.Packed] | None = None
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for i, (out, kernel, stride) in enumerate(LAYERS[config.network]):
            side = [(s - kernel) // stride + 1 for s in side]
            self.convs.append(
                EnsembleConv(config.members, channels, out, kernel, stride, shared=i == 0, seed=seed, name=f"conv{i}")
            )
            self.norms.append(BatchNorm(config.members * out) if config.batch_norm else nn.Identity())
            channels = out
        if min(side) < 1:
            raise UserError(f"frames of {spec.frame_shape} are too small for the reward model: use frame_size 80 or 84")
        self.width = channels * math.prod(side)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    def forward(self, obs_BKF: Tensor) -> Tensor:
        block = 1 if obs_BKF.shape[1] == self.channels else self.block
        if self._takes_bytes(obs_BKF):
            x = integers.convolve(obs_BKF, self._pack(block))
        else:
            x = self._normed(0, as_numbers(obs_BKF), SCALE, block)
        x = self._bent(x)
        for layer in range(1, len(self.convs)):
            x = self._bent(self._normed(layer, x))
        return back_as_it_came(x).reshape(len(x), self.members, -1).transpose(0, 1)

    def _takes_bytes(self, obs_BKF: Tensor) -> bool:
        """Whether to multiply the pixels as bytes: where bf16 is exact enough, and nothing is learnt from them."""
        bytes_on_cpu = obs_BKF.dtype == torch.uint8 and obs_BKF.device.type == "cpu"
        coarse = torch.is_autocast_enabled("cpu") and not (self.training or torch.is_grad_enabled())
        return bytes_on_cpu and coarse and integers.supported()

    def _pack(self, block: int) -> integers.Packed:
        """The first layer for bytes: made when it is first used after what it is made of has changed."""
        conv, norm = self.convs[0], self.norms[0]
        assert isinstance(conv, EnsembleConv)
        tensors = (*conv.parameters(), *norm.parameters(), *norm.buffers())
        made_of = (block, *(tensor._version for tensor in tensors))
        if self._packed is None or self._packed[0] != made_of:
            weight, bias = conv.folded(SCALE, norm.known() if isinstance(norm, BatchNorm) else None)
            self._packed = made_of, integers.pack(weight, bias, conv.stride, self.picture, block)
        return self._packed[1]

    def _normed(self, layer: int, x: Tensor, scale: float = 1.0, block: int = 1) -> Tensor:
        conv, norm = self.convs[layer], self.norms[layer]
        if isinstance(norm, BatchNorm) and not self.training:
            folded: Tensor = conv(x, scale, norm.known(), block)
            return folded
        normed: Tensor = norm(conv(x, scale, block=block))
        return normed

    def _bent(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(x, SLOPE, inplace=True)
        return self._drop(x) if self.training and self.dropout else x

    def _drop(self, x: Tensor) -> Tensor:
        """Drops whole feature maps: the neighbours of a single dropped pixel would give it away."""
        keep = torch.rand(x.shape[:2], generator=self.noise, device=x.device) >= self.dropout
        return x * (keep.to(x.dtype) / (1.0 - self.dropout))[:, :, None, None]


class Vectors(nn.Module):
    """State vectors `[B, K, D]`, already normalised → the same for every member, `[E, B, K·D]`."""

    def __init__(self, spec: EnvSpec, config: RewardModelConfig) -> None:
        super().__init__()
        self.members = config.members
        self.width = spec.stack * math.prod(spec.frame_shape)
        self.block = 1

    def forward(self, obs_BKF: Tensor) -> Tensor:
        return obs_BKF.flatten(1).expand(self.members, -1, -1)


class RewardNetwork(nn.Module):
    """Observations `[B, K, *F]` and actions `[B, A]` → one reward a member, `[E, B]`."""

    def __init__(self, torso: Convolutions | Vectors, head: Head) -> None:
        super().__init__()
        self.torso = torso
        self.head = head

    def forward(self, obs_BKF: Tensor, action_BA: Tensor) -> Tensor:
        reward_EB: Tensor = self.head(self.torso(obs_BKF), action_BA)
        return reward_EB

    @property
    def block(self) -> int:
        """Pictures may come in blocks of so many pixels each way."""
        return self.torso.block

    def embed(self, obs_BKF: Tensor, action_BA: Tensor) -> Tensor:
        """The last hidden layer, `[E, B, hidden]`."""
        return self.head.embed(self.torso(obs_BKF), action_BA)

    def weights(self) -> list[Tensor]:
        """What L2 pulls to zero: neither biases nor norms. Member e owns the e-th part of each first axis."""
        return [parameter for name, parameter in self.named_parameters() if name.endswith(".weight")]


def make_network(spec: EnvSpec, config: RewardModelConfig, *, seed: int) -> RewardNetwork:
    """The network for this kind of observation, its weights drawn from `seed` alone; it predicts until told to train.

    Pictures go through convolutions and one hidden layer, state vectors through two.
    """
    torso = Convolutions(spec, config, seed=seed) if spec.is_image else Vectors(spec, config)
    width = torso.width + (spec.action_dim if config.see_action else 0)
    hidden = (config.hidden,) if spec.is_image else (config.hidden, config.hidden)
    # Predicts from the start: only `RewardModel.training` changes that, and only for a fit.
    return RewardNetwork(torso, Head(config.members, (width, *hidden), seed=seed)).train(False)
