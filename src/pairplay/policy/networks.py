"""The policy and value network: convolutions for pictures, two layers for state vectors. Knows no algorithm."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairplay.config import PPOConfig
from pairplay.hardware import Precision
from pairplay.pixels import as_numbers, back_as_it_came
from pairplay.policy.distributions import Backward, Estimates, categorical, draw_categorical, normal, normal_draws, race
from pairplay.policy.twins import Twins
from pairplay.recorded import Recorded
from pairplay.types import EnvSpec, UserError

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)

# B batch, K stacked frames, D state dimensions, A action dimensions

LAYERS = {
    "nature": (((32, 8, 4), (64, 4, 2), (64, 3, 1)), 512),
    "small": (((16, 8, 4), (32, 4, 2)), 256),
}
"""(channels, kernel, stride) of the convolutions and the width of the layer after them: Mnih et al. 2015 and 2013."""


class RunningNorm(nn.Module):
    """Standardise `[B, D]` by the mean and variance of all data shown to `update`; clipped to ±10."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.var: Tensor
        self.count: Tensor
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("var", torch.ones(size))
        self.register_buffer("count", torch.tensor(0.0, dtype=torch.float64))

    @torch.no_grad()
    def update(self, data: Tensor) -> None:
        """Take in `[B, D]` (Chan et al. 1979, parallel variance)."""
        count, total = float(len(data)), float(self.count) + len(data)
        delta = data.mean(0) - self.mean
        m2 = data.var(0, correction=0) * count + self.var * float(self.count)
        self.var.copy_((m2 + delta.square() * float(self.count) * count / total) / total)
        self.mean.add_(delta * count / total)
        self.count.fill_(total)

    def forward(self, data: Tensor) -> Tensor:
        return self.fixed()(data)

    def fixed(self) -> Callable[[Tensor], Tensor]:
        """The same by the statistics of now."""
        mean, std = self.mean.clone(), (self.var + 1e-8).sqrt()
        return lambda data: ((data - mean) / std).clamp_(-10.0, 10.0)


class PixelConv(nn.Conv2d):
    """A convolution of pixels 0…255, `[B, K, H, W]` uint8, as if they were scaled to [0, 1]."""

    def forward(self, pixels: Tensor) -> Tensor:
        # Some thousand weights are scaled by 1/255 rather than millions of pixels.
        return F.conv2d(as_numbers(pixels), self.weight * (1.0 / 255.0), self.bias, stride=self.stride)


class Features(nn.Flatten):
    """`[B, C, H, W]` as rows."""

    def forward(self, pictures: Tensor) -> Tensor:
        return super().forward(back_as_it_came(pictures))


def convolutions(network: str, stack: int, frame_shape: Sequence[int]) -> tuple[nn.Sequential, int]:
    """From pixels `[B, K, H, W]` to features `[B, width]`, and that width. UserError where frames are too small."""
    layers, width = LAYERS[network]
    side, channels = list(frame_shape), stack
    parts: list[nn.Module] = []
    for out, kernel, stride in layers:
        make = nn.Conv2d if parts else PixelConv
        parts += [_orthogonal(make(channels, out, kernel, stride=stride)), nn.ReLU(inplace=True)]
        side, channels = [(s - kernel) // stride + 1 for s in side], out
        if min(side) < 1:
            raise UserError(f"frames of {tuple(frame_shape)} are too small for the policy: use frame_size 80 or 84")
    parts += [Features(), _orthogonal(nn.Linear(channels * math.prod(side), width)), nn.ReLU(inplace=True)]
    torso = nn.Sequential(*parts)
    torso.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return torso, width


class JoystickHead(nn.Module):
    """Logits of joystick actions: one for each position of the button and of both axes, plus one for each action.

    What is learnt of the button with the stick to the left holds with the stick to the right: 18 actions share what
    8 positions have in common, and the last term keeps every policy expressible.
    """

    def __init__(self, features: int, positions_AJ: Tensor) -> None:
        super().__init__()
        actions, positions = positions_AJ.shape
        self.positions_AJ: Tensor
        self.register_buffer("positions_AJ", positions_AJ, persistent=False)
        self.shared = _orthogonal(nn.Linear(features, positions), gain=0.01)
        self.single = _orthogonal(nn.Linear(features, actions), gain=0.01)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.single(features) + F.linear(self.shared(features), self.positions_AJ)
        return logits


def joystick_positions(action_names: Sequence[str]) -> Tensor | None:
    """`[A, 8]`, which positions of button and stick each action holds; None if these are no joystick actions.

    Columns: no fire, fire; no vertical, up, down; no horizontal, left, right.
    """
    spelt = {
        vertical + horizontal + fire or "NOOP": (fire, vertical, horizontal)
        for vertical in ("", "UP", "DOWN")
        for horizontal in ("", "RIGHT", "LEFT")
        for fire in ("", "FIRE")
    }
    if not action_names or not set(action_names) <= spelt.keys():
        return None
    rows = []
    for fire, vertical, horizontal in (spelt[name] for name in action_names):
        held = [fire == f for f in ("", "FIRE")]
        held += [vertical == v for v in ("", "UP", "DOWN")]
        held += [horizontal == h for h in ("", "LEFT", "RIGHT")]
        rows.append([float(h) for h in held])
    return torch.tensor(rows)


def _actor(spec: EnvSpec, features: int) -> nn.Module:
    positions_AJ = joystick_positions(spec.action_names)
    if positions_AJ is not None:
        return JoystickHead(features, positions_AJ)
    return _orthogonal(nn.Linear(features, spec.action_dim), gain=0.01)


class Policy(nn.Module):
    """π(a | o) and V(o) over stacked observations `[B, K, *F]`.

    Discrete actions are categorical, `[B]` int64; continuous ones are normal with a standard deviation that does not
    depend on the state, `[B, A]`, unbounded (the environment clips to its bounds).
    """

    def __init__(self, spec: EnvSpec, config: PPOConfig, *, precision: Precision = "fp32") -> None:
        super().__init__()
        self.discrete = spec.discrete
        self.actions = spec.action_dim
        self.is_image = spec.is_image
        self.precision = precision
        if spec.is_image:
            self.torso: nn.Module
            self.torso, features = convolutions(config.network, spec.stack, spec.frame_shape)
            self.actor: nn.Module = _actor(spec, features)
            self.critic: nn.Module = _orthogonal(nn.Linear(features, 1), gain=1.0)
        else:
            width = spec.stack * math.prod(spec.frame_shape)
            self.torso = RunningNorm(width)
            self.actor = _mlp(width, config.hidden, spec.action_dim, gain=0.01)
            self.critic = _mlp(width, config.hidden, 1, gain=1.0)
        self.log_std: Tensor = nn.Parameter(torch.zeros(0 if spec.discrete else spec.action_dim))
        self.twins = self._twins()
        self._recorded = Recorded(self._race, self.log_std.device)

    def _twins(self) -> Twins | None:
        """State vectors: what computes with the parameters that `actor`, `critic` and `log_std` name."""
        if self.is_image:
            return None
        assert isinstance(self.actor, nn.Sequential)
        assert isinstance(self.critic, nn.Sequential)
        return Twins(self.actor, self.critic, self.log_std)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # On another device, or of another dtype, each parameter has memory of its own.
        self.twins = self._twins()
        self._recorded = Recorded(self._race, self.log_std.device)
        return self

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (or means) `[B, A]` and values `[B]`, in fp32. Gradients: see `evaluate`."""
        if self.twins is not None:
            return self.twins(self.torso(obs.flatten(1)))
        # No cache: it is one for all threads, and each weight is used once.
        bf16 = self.precision == "bf16"
        with torch.autocast(obs.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
            features = self.torso(obs)
            logits, value = self.actor(features), self.critic(features)
        return logits.float(), value.float().squeeze(1)

    def acting(self, generator: torch.Generator) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
        """Draws actions `[B]` or `[B, A]`, with their log probabilities `[B]` and the values `[B]`.

        Good until the parameters change: what every step of a rollout has in common is made here.
        """
        if self.is_image and self.discrete:
            return partial(self._choose, generator)
        draw = draw_categorical if self.discrete else normal_draws(self.log_std.detach())
        outputs: Callable[[Tensor], tuple[Tensor, ...]] = self
        if self.twins is not None:
            assert isinstance(self.torso, RunningNorm)
            twins, normalise = self.twins, self.torso.fixed()

            # Four networks' worth of modules around eight rows of numbers would cost more than the numbers.
            def outputs(obs: Tensor) -> tuple[Tensor, Tensor]:
                return twins(normalise(obs.flatten(1)))

        def act(obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            with torch.no_grad():
                logits, value = outputs(obs)
                return *draw(logits, generator), value

        return act

    @torch.no_grad()
    def _choose(self, generator: torch.Generator, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """On a GPU: one launch for all but the noise, and one wait for what comes of it."""
        wait_BA = torch.empty(len(obs), self.actions, device=obs.device).exponential_(generator=generator)
        (chosen_3B,) = self._recorded(obs, wait_BA)
        action_B, log_prob_B, value_B = chosen_3B.cpu()
        return action_B.long(), log_prob_B, value_B

    def _race(self, obs: Tensor, wait_BA: Tensor) -> tuple[Tensor]:
        logits, value_B = self(obs)
        action_B, log_prob_B = race(logits, wait_BA)
        return (torch.stack((action_B.float(), log_prob_B, value_B)),)

    @torch.no_grad()
    def mode(self, obs: Tensor) -> Tensor:
        """The most probable actions, for showing what was learnt."""
        logits, _ = self(obs)
        best: Tensor = logits.argmax(1) if self.discrete else logits
        return best

    def evaluate(self, obs: Tensor, action: Tensor) -> tuple[Estimates, Backward]:
        """What it says of given actions, and the way back: from derivatives to gradients."""
        if self.twins is not None:
            return self.twins.evaluate(self.torso(obs.flatten(1)), action)
        logits, value = self(obs)
        estimates = Estimates(*self._log_prob_and_entropy(logits, action), value)
        return estimates, partial(torch.autograd.backward, estimates)

    @torch.no_grad()
    def move_value(self, scale: float, shift: float) -> None:
        """V ← scale · V + shift, exactly, for every observation; the actions stay what they are."""
        last = self.critic[-1] if isinstance(self.critic, nn.Sequential) else self.critic
        assert isinstance(last, nn.Linear)
        last.weight.mul_(scale)
        last.bias.mul_(scale).add_(shift)

    def _log_prob_and_entropy(self, logits: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        return categorical(logits, action) if self.discrete else normal(logits, self.log_std, action)


def _orthogonal(layer: Layer, gain: float = math.sqrt(2)) -> Layer:
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _mlp(inputs: int, hidden: int, outputs: int, *, gain: float) -> nn.Sequential:
    return nn.Sequential(
        _orthogonal(nn.Linear(inputs, hidden)),
        nn.Tanh(),
        _orthogonal(nn.Linear(hidden, hidden)),
        nn.Tanh(),
        _orthogonal(nn.Linear(hidden, outputs), gain),
    )
