"""Cut segments out of rollouts and keep the recent ones. Knows neither the reward model nor storage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairplay.compressed import Compressed
from pairplay.cores import available_cores
from pairplay.packing import segment_id
from pairplay.types import Array, FloatArray, Footage, Rollout, Segment, Window

# T steps, N environments, L segment length, K stacked frames, F the shape of one frame

RAW_BYTES = 384 * 2**20
"""Captures that a pool holds as they are: those of a hundred and fifty Atari clips."""


def draw_windows(rng: np.random.Generator, *, num_steps: int, recordable: int, length: int, count: int) -> list[Window]:
    """At most `count` windows of the recordable environments, before anyone knows what will happen in them.

    Spread evenly over the environments and never overlapping, so fewer where no more fit; uniform over all such
    placements. A rollout shorter than `length` gives windows of the whole rollout.
    """
    length = min(length, num_steps)
    fit = num_steps // length if length else 0
    turns = [rng.permutation(recordable) for _ in range(fit)]
    per_env = np.bincount(np.concatenate([[], *turns]).astype(np.int64)[:count], minlength=recordable)
    windows = []
    for env, wanted in enumerate(per_env):
        # Sorted draws among free + wanted places, less their rank: every way to share out the free steps is as likely.
        free = num_steps - wanted * length
        gaps = np.sort(rng.choice(free + wanted, size=wanted, replace=False)) - np.arange(wanted)
        windows += [Window(env, int(gap) + i * length, length) for i, gap in enumerate(gaps)]
    return windows


def cut(
    rollout: Rollout,
    window: Window,
    captures: Array,
    *,
    stack: int,
    step: int,
    iteration: int,
    min_length: int,
    end_penalty: float = 0.0,
) -> Footage | None:
    """The steps of `window` up to the end of its first episode, as copies; None if those are fewer than `min_length`.

    `captures` has a row for each step of the window, or for its first steps at least: the clip is never longer. Whole,
    they are kept as they are.
    `step` and `iteration` say when the rollout began. Each life lost, and an end by itself, costs `end_penalty` in the
    footage's `env_reward`, which is what synthetic teachers judge by (Christiano et al. 2017, A.2); the rollout's own
    stays true.
    """
    env, first = window.env, window.start
    stop = min(first + min(window.length, len(captures)), rollout.shape[0])
    ended = np.flatnonzero((rollout.terminated | rollout.truncated)[first:stop, env])
    # The step that ends an episode is its last one; the next row is another episode already.
    length = int(ended[0]) + 1 if len(ended) else stop - first
    if length < max(1, min_length):
        return None
    frames = rollout.frames[first : first + stack - 1 + length, env].copy()
    age = int(rollout.age[first, env])
    # Rows before a young episode's first frame show the one before: no stack reads them, and no segment keeps them.
    before = max(0, stack - 1 - age)
    frames[:before] = frames[before]
    action = rollout.action[first : first + length, env].copy()
    lost = rollout.lost[first : first + length, env]
    env_reward = rollout.env_reward[first : first + length, env] - end_penalty * lost
    return Footage(
        segment=Segment(
            id=segment_id(frames, age, action),
            held=frames,
            age=age,
            action=action,
            env=env,
            step=step,
            iteration=iteration,
        ),
        captures=captures if length == len(captures) else captures[:length].copy(),
        env_reward=env_reward.astype(np.float32),
    )


class SegmentPool:
    """The latest `capacity` pieces of footage, oldest first; each behaviour once.

    Captures are what fills memory: 2.5 MB a piece for Atari. The newest ones stay as they are up to `raw_bytes` in all,
    and those before them are compressed, to some 30 KB, until they are asked for: that is where a large pool gets its
    room, at a millisecond a piece.
    """

    def __init__(self, capacity: int, *, raw_bytes: int = RAW_BYTES) -> None:
        self.capacity = capacity
        self._raw_bytes = raw_bytes
        self._pieces: dict[str, Footage | _Packed] = {}

    def add(self, footage: Iterable[Footage]) -> None:
        """Keep these too; the oldest make room. What is already here stays where it is in the queue."""
        for piece in footage:
            self._pieces.setdefault(piece.segment.id, piece)
        for id in list(self._pieces)[: max(0, len(self) - self.capacity)]:
            del self._pieces[id]
        raw = 0
        for id, kept in reversed(self._pieces.items()):
            if isinstance(kept, Footage):
                raw += kept.captures.nbytes
                if raw > self._raw_bytes:
                    self._pieces[id] = _Packed.of(kept)

    def segments(self) -> list[Segment]:
        """All segments, oldest first; nothing is expanded for them."""
        return [piece.segment for piece in self._pieces.values()]

    def segment(self, segment_id: str) -> Segment | None:
        """None for one that is not here."""
        piece = self._pieces.get(segment_id)
        return piece.segment if piece else None

    def __getitem__(self, segment_id: str) -> Footage:
        """KeyError for one that is not here."""
        piece = self._pieces[segment_id]
        return piece if isinstance(piece, Footage) else piece.expand()

    def __len__(self) -> int:
        return len(self._pieces)

    def __iter__(self) -> Iterator[Footage]:
        return (self[id] for id in self._pieces)

    def copy(self) -> SegmentPool:
        """A pool of the same footage, which nothing changes."""
        other = SegmentPool(self.capacity, raw_bytes=self._raw_bytes)
        other._pieces = dict(self._pieces)
        return other

    def state(self) -> tuple[dict[str, Array], list[dict[str, Any]]]:
        """Arrays and JSON for a checkpoint. Frames and captures are compressed: raw, one Atari clip is 2.7 MB."""
        arrays: dict[str, Array] = {}
        pieces: list[dict[str, Any]] = []
        with ThreadPoolExecutor(available_cores()) as workers:
            small = list(workers.map(_compressed, self._pieces.values()))
        for i, (piece, (frames, captures)) in enumerate(zip(self._pieces.values(), small, strict=True)):
            segment = piece.segment
            arrays[f"{i}.frames"] = frames.data
            arrays[f"{i}.captures"] = captures.data.copy()
            arrays[f"{i}.action"] = segment.action.copy()
            arrays[f"{i}.env_reward"] = piece.env_reward.copy()
            pieces.append(
                {
                    "id": segment.id,
                    "age": segment.age,
                    "env": segment.env,
                    "step": segment.step,
                    "iteration": segment.iteration,
                    "frames": frames.layout,
                    "captures": captures.layout,
                }
            )
        return arrays, pieces

    def load(self, arrays: Mapping[str, Array], pieces: Sequence[Mapping[str, Any]]) -> None:
        """Hold what `state` described, and nothing else."""
        self._pieces.clear()
        for i, piece in enumerate(pieces):
            segment = Segment(
                id=piece["id"],
                held=Compressed.again(arrays[f"{i}.frames"], piece["frames"]).expand(),
                age=piece["age"],
                action=arrays[f"{i}.action"].copy(),
                env=piece["env"],
                step=piece["step"],
                iteration=piece["iteration"],
            )
            captures = Compressed.again(arrays[f"{i}.captures"].copy(), piece["captures"])
            self._pieces[segment.id] = _Packed(segment, captures, arrays[f"{i}.env_reward"].copy())


@dataclass(frozen=True)
class _Packed:
    """Footage whose captures are compressed."""

    segment: Segment
    captures: Compressed
    env_reward: FloatArray

    @classmethod
    def of(cls, piece: Footage) -> _Packed:
        return cls(piece.segment, Compressed.of(piece.captures), piece.env_reward)

    def expand(self) -> Footage:
        return Footage(self.segment, self.captures.expand(), self.env_reward)


def _compressed(piece: Footage | _Packed) -> tuple[Compressed, Compressed]:
    """Its frames and captures."""
    captures = Compressed.of(piece.captures) if isinstance(piece, Footage) else piece.captures
    return Compressed.of(piece.segment.frames), captures
