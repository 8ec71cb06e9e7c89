"""A network that is the moving average of another one's weights. Knows nothing of what either computes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class Averaged(Generic[Network]):
    """Follows a network by w̄ ← decay · w̄ + (1 - decay) · w after each of its gradient steps, statistics included.

    The last steps of a network that learns without end are noise about where it is heading, and their mean is nearer to
    that (Polyak and Juditsky 1992). At first, what it follows has a weight of 2 / (n + 2) at the n-th step, if that is
    more: the average soon forgets where the network began.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network)
        self.decay = decay
        self.steps = 0
        """Those followed so far."""
        self._pairs = _tensors(self.network), _tensors(network)

    @torch.no_grad()
    def follow(self) -> None:
        """Take in the weights of now."""
        self.steps += 1
        torch._foreach_lerp_(*self._pairs, max(1.0 - self.decay, 2.0 / (self.steps + 2)))

    def state(self) -> dict[str, Tensor]:
        """Everything that following has changed."""
        return {**self.network.state_dict(), "steps": torch.tensor(self.steps)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        self.network.load_state_dict({name: tensor for name, tensor in state.items() if name != "steps"})
        self.steps = int(state["steps"])


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
