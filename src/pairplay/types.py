"""The nouns that flow between the rooms. Knows no room.

Shape legend, used everywhere:
    T steps, N environments, L segment length, K stacked frames, E ensemble members,
    B batch, A action dimensions, F the shape of one frame: `(80, 80)` or `(D,)`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pairplay.compressed import Compressed

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Picture = npt.NDArray[np.uint8]

Answer = Literal["left", "right", "tie", "skip"]
ANSWERS: tuple[Answer, ...] = ("left", "right", "tie", "skip")


LOOKS = 5
"""Moments at which two clips are compared; what differs at none of them differs too little to be asked about."""


class UserError(Exception):
    """A mistake the user can mend. The message names it and the fix; the exit code is 2."""


@dataclass(frozen=True)
class EnvSpec:
    """What the networks and the clips need to know of an environment."""

    env_id: str
    frame_shape: tuple[int, ...]
    """F, one frame before stacking: `(80, 80)` uint8 for pictures, `(D,)` float32 for state vectors."""
    stack: int
    """K, how many frames make one observation (1 for state vectors)."""
    num_actions: int
    """Discrete actions; 0 when actions are continuous."""
    action_low: tuple[float, ...]
    """`[A]` bounds of continuous actions; empty when discrete."""
    action_high: tuple[float, ...]
    clip_fps: float
    """Agent steps a second when a person watches at natural speed."""
    action_names: tuple[str, ...] = ()

    @property
    def is_image(self) -> bool:
        return len(self.frame_shape) == 2

    @property
    def discrete(self) -> bool:
        return self.num_actions > 0

    @property
    def action_dim(self) -> int:
        """A, the width of an action as the networks see it: one-hot when discrete."""
        return self.num_actions if self.discrete else len(self.action_low)


@dataclass(frozen=True)
class Step:
    """The answer of N environments to one action each. Autoreset is SAME_STEP."""

    frames: Array
    """`[N, *F]` the next observation; after an episode end, the first frame of the new episode."""
    env_reward: FloatArray
    """`[N]` the environment's own reward: audit, baselines and synthetic teachers only."""
    terminated: BoolArray
    truncated: BoolArray
    final_frames: Array
    """`[N, *F]` the last frame of the episode that ended; meaningful only where it did."""
    lost: BoolArray
    """`[N]` a life was lost, or the episode ended by itself. Only synthetic teachers hear of it."""


@dataclass(frozen=True)
class Rollout:
    """T steps of N environments under one policy."""

    frames: Array
    """`[K-1 + T+1, N, *F]`: row `K-1+t` is the newest frame of observation t; the last row follows the last action."""
    age: IntArray
    """`[T+1, N]` steps since the episode began, so that a stack never reaches across a reset."""
    action: Array
    """`[T, N]` int64 or `[T, N, A]` float32, as the policy drew them (continuous: before clipping to the bounds)."""
    log_prob: FloatArray
    value: FloatArray
    terminated: BoolArray
    truncated: BoolArray
    final_value: FloatArray
    """`[T, N]` V(final observation) where an episode was truncated, 0 elsewhere."""
    last_value: FloatArray
    """`[N]` V of the observation after the last step."""
    env_reward: FloatArray
    """`[T, N]` for audit, baselines and synthetic teachers. In learned mode nothing that learns reads it."""
    lost: BoolArray
    """`[T, N]` as in `Step`."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.action.shape[0], self.action.shape[1]

    def move_values(self, scale: float, shift: float) -> None:
        """V ← scale · V + shift, in place: what a critic that was moved like this would have said."""
        for value in (self.value, self.final_value, self.last_value):
            value *= np.float32(scale)
            value += np.float32(shift)


@dataclass(frozen=True)
class Window:
    """Steps `start … start + length - 1` of one environment's part of a rollout, to be filmed."""

    env: int
    start: int
    length: int


@dataclass(frozen=True)
class Segment:
    """L consecutive steps inside one episode: what one clip shows."""

    id: str
    """sha256 of frames, age and action: the same behaviour always has the same name."""
    held: Array | Compressed
    """Its frames, or what they are kept in."""
    age: int
    """Steps since the episode began, at the segment's first step."""
    action: Array
    """`[L]` int64 or `[L, A]` float32."""
    env: int
    step: int
    """`total_timesteps` of the run when the segment's rollout began."""
    iteration: int
    """Which iteration's policy played it."""

    @property
    def frames(self) -> Array:
        """`[K-1 + L, *F]`: row `K-1+t` is the newest frame of step t."""
        return self.held.expand() if isinstance(self.held, Compressed) else self.held

    def small(self) -> Segment:
        """A copy whose pictures are compressed; state vectors, which are small, stay as they are."""
        if isinstance(self.held, Compressed) or self.held.dtype != np.uint8:
            return self
        return replace(self, held=Compressed.of(self.held))

    @cached_property
    def look(self) -> bytes:
        """Equal for segments that a person could not tell apart: same length, same frames (numbers to three decimals)
        at a few moments. What the actions were does not show.
        """
        length = len(self)
        film = self.frames
        moments = len(film) - length + np.linspace(0, length - 1, LOOKS).round().astype(np.int64)
        frames = film[moments]
        if frames.dtype.kind == "f":
            frames = frames.round(3) + 0.0  # -0.0 looks like 0.0
        return blake2b(f"{length}".encode() + np.ascontiguousarray(frames).tobytes(), digest_size=16).digest()

    def __len__(self) -> int:
        return int(self.action.shape[0])


@dataclass(frozen=True)
class Footage:
    """A segment with what is needed to show it and, for synthetic teachers, to judge it. Never enters a network."""

    segment: Segment
    captures: Array
    """`[L, H, W, 3]` uint8 pictures, or `[L, S]` float64 simulator states to be drawn later."""
    env_reward: FloatArray
    """`[L]` as synthetic teachers see it: less `end_penalty` where `lost`. Stored for them and for audit."""


@dataclass(frozen=True)
class Query:
    """Two segments to compare. `left` and `right` were assigned at random; that is the side the labeler sees."""

    left: Footage
    right: Footage
    strategy: str
    """Why it was chosen: `uniform`, `disagreement`, …"""
    score: float
    """What the strategy maximised; 0 for uniform."""
    question: str


@dataclass(frozen=True)
class Pair:
    """Two segments that were asked about, answered or not."""

    key: int
    """The query's id."""
    left_id: str
    right_id: str


@dataclass(frozen=True)
class Preference:
    """One live answer, as training reads it: a skip has `mu=None` and never trains."""

    query_id: int
    left_id: str
    right_id: str
    answer: Answer
    mu: float | None
    """Weight on the left segment: 1 left, 0 right, ½ tie, None skip."""
    labeler: str
    answered_at: datetime


@dataclass(frozen=True)
class Comparison:
    """A preference with its segments loaded: one training example of the reward model."""

    key: int
    """The query's id: stable, so that the bootstrap draw of each ensemble member is stable too."""
    left: Segment
    right: Segment
    mu: float


MU: dict[Answer, float | None] = {"left": 1.0, "right": 0.0, "tie": 0.5, "skip": None}
