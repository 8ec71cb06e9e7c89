"""What the other rooms may ask of environments, and of whoever draws them for people. Knows no library."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pairplay.types import Array, EnvSpec, Picture, Step

# L segment length, N environments, A action dimensions, F the shape of one frame, S numbers in a simulator state


class Painter(Protocol):
    """Turns captures into pictures for people. Used by one thread at a time, which need not be the trainer's."""

    def draw(self, captures: Array) -> Picture:
        """`[L, ...]` captures of one segment as `[L, H, W, 3]` uint8; the same captures give the same pictures."""

    def close(self) -> None:
        """Release what drawing needed, from the thread that drew. May be called twice."""


class Envs(Protocol):
    """N copies of one environment, stepped together. An episode that ends begins anew within the same step."""

    spec: EnvSpec
    num_envs: int
    recordable: int
    """Environments 0..recordable-1 can be filmed; 0 when this environment has no pictures."""

    def reset(self) -> Array:
        """Begin all episodes; `[N, *F]` first frames. Seeded when the environments were made."""

    def step(self, action: Array) -> Step:
        """Play one action each: `[N]` int64, or `[N, A]` float32, which is clipped to the bounds here."""

    def capture(self, env: int) -> Array:
        """What a person would see of the observation that `env` shows now: to be read, or copied, before it plays on.

        `[H, W, 3]` uint8, or `[S]` float64, a state from which the painter draws the picture later.
        After an episode end it is the first moment of the new episode, as the frames are.
        """

    def painter(self) -> Painter:
        """A new painter for these captures."""

    def close(self) -> None:
        """Release the environments. May be called twice."""


@runtime_checkable
class Parted(Protocol):
    """Environments of which some can play while others are looked at. Every part plays as often as the others."""

    parts: tuple[slice, ...]
    """The environments of each part; together all of them, in order."""

    def send(self, part: int, action: Array) -> None:
        """Let the `[n, …]` actions of a part begin to be played, and return at once if that is possible."""

    def receive(self, part: int) -> Step:
        """What came of them: as `Envs.step`, of this part's environments alone."""


class Together:
    """Any environments, as one part."""

    def __init__(self, envs: Envs) -> None:
        self.parts: tuple[slice, ...] = (slice(0, envs.num_envs),)
        self._envs = envs
        self._answer: Step | None = None

    def send(self, part: int, action: Array) -> None:
        self._answer = self._envs.step(action)

    def receive(self, part: int) -> Step:
        answer, self._answer = self._answer, None
        assert answer is not None, "nothing was sent"
        return answer


class PicturePainter:
    """For captures that are pictures already."""

    def draw(self, captures: Array) -> Picture:
        return captures

    def close(self) -> None:
        pass
