"""Watch what an agent has learnt: whole episodes of the newest checkpoint, on film. Trains nothing."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import av.video.stream
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from pairplay.config import TrainConfig
from pairplay.envs.base import Envs
from pairplay.envs.make import make_envs
from pairplay.policy.networks import Policy
from pairplay.policy.rollout import PolicyActor, begin, collect
from pairplay.run.checkpoint import Checkpoint, Rejected, load_newest
from pairplay.run.clips import SMALL_SIDE
from pairplay.run.config_file import read_config
from pairplay.run.layout import RunDir
from pairplay.seeding import int_seed, torch_rng
from pairplay.types import EnvSpec, Picture, UserError, Window

# T steps, H x W the size of a picture

_CHUNK = 32
"""Steps between two writes to the film: it bounds the memory whatever the length of an episode."""

_OPTIONS = {"preset": "veryfast", "crf": "20"}


@dataclass(frozen=True)
class PlayResult:
    """What the agent did. Episodes in the order in which they were played, and filmed one after the other."""

    returns: tuple[float, ...]
    """True return of each episode, in the environment as the agent was trained in it (`ends`, `torque_cost`)."""
    lengths: tuple[int, ...]
    """Agent steps of each episode."""
    video: Path
    step: int
    """Of the checkpoint that played."""
    rejected: tuple[Rejected, ...]
    """Newer checkpoints that are damaged."""


def play(
    run: RunDir, *, episodes: int = 1, video: Path | None = None, max_steps: int = 5000, seed: int = 1000
) -> PlayResult:
    """Play `episodes` whole episodes and film them at natural speed; by default into `videos/<step>.mp4`.

    The environment has the options it had in training, and the policy draws its actions as it did there. An episode
    ends after `max_steps` at the latest. The same seed plays the same film. UserError when there is no
    checkpoint, when it does not fit the options of the run, and when the environment has no pictures.
    """
    if episodes < 1 or max_steps < 1:
        raise UserError(f"--episodes {episodes} --max-steps {max_steps}: both must be at least 1")
    config = read_config(run.config_toml)
    checkpoint = load_newest(run.checkpoints)
    if checkpoint is None:
        raise UserError(f"{run.path} has no checkpoint yet: one is written now and then, and when training is stopped")
    path = video or run.videos / f"{checkpoint.step:012d}.mp4"
    if path.suffix.lower() != ".mp4":
        raise UserError(f"--video {path}: films are MP4 files, name it {path.with_suffix('.mp4')}")
    returns, lengths = [], []
    with VideoWriter(path) as film:
        for episode in range(episodes):
            # A new environment for each episode, so that an episode does not hang on how the one before it ended. Its
            # own limit of steps stays; only one environment plays, and in colour.
            env_config = replace(config.env, colour_envs=1)
            with closing(make_envs(config.env_id, 1, env_config, seed=int_seed(seed, "play", episode))) as envs:
                policy = _policy(checkpoint, envs.spec, config, run)
                actor = PolicyActor(policy, torch_rng(seed, "play", episode))
                total, length = _play_episode(actor, envs, film, max_steps)
            returns.append(total)
            lengths.append(length)
    return PlayResult(tuple(returns), tuple(lengths), path, checkpoint.step, checkpoint.rejected)


def _policy(checkpoint: Checkpoint, spec: EnvSpec, config: TrainConfig, run: RunDir) -> Policy:
    policy = Policy(spec, config.ppo)
    tensors = {name.removeprefix("policy."): t for name, t in checkpoint.tensors.items() if name.startswith("policy.")}
    try:
        policy.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(
            f"the agent in {checkpoint.path} does not fit {run.config_toml}: were the options changed after training?"
        ) from error
    return policy


def _play_episode(actor: PolicyActor, envs: Envs, film: VideoWriter, max_steps: int) -> tuple[float, int]:
    """True return and length of one episode, filmed."""
    standing, total, length = begin(envs), 0.0, 0
    with closing(envs.painter()) as painter:
        while True:
            steps = min(_CHUNK, max_steps - length)
            rollout, standing, captures = collect(
                actor, envs, standing, num_steps=steps, film=[Window(env=0, start=0, length=steps)]
            )
            ended = np.flatnonzero((rollout.terminated | rollout.truncated)[:, 0])
            if len(ended):
                steps = int(ended[0]) + 1
            pictures = painter.draw(captures[0][:steps])
            film.add(pictures, envs.spec.clip_fps)
            total += float(rollout.env_reward[:steps, 0].sum())
            length += steps
            if len(ended) or length >= max_steps:
                return total, length


class VideoWriter:
    """A film of any length, written as it is shot: H.264 in MP4, which every browser plays.

    The file appears under its name when the film is complete; nothing is left behind if it is not.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.touch()  # a place that cannot be written is noticed now, and not after an episode
            self._container = av.open(self._partial, "w", format="mp4", container_options={"movflags": "+faststart"})
        except OSError as error:
            raise UserError(f"cannot write the film {path}: {error.strerror}") from error
        self._stream: av.video.stream.VideoStream | None = None

    def add(self, pictures: Picture, fps: float) -> None:
        """Append `[T, H, W, 3]` pictures. All of one film have the same size and speed."""
        _, height, width, _ = pictures.shape
        # Small pictures doubled and sides made even, as in clips, and for the same reasons.
        scale = 2 if max(height, width) < SMALL_SIDE else 1
        margin = ((0, height * scale % 2), (0, width * scale % 2), (0, 0))
        if self._stream is None:
            rate = Fraction(fps).limit_denominator(1001)
            self._container.metadata["comment"] = f"{width}x{height}"  # what `decode` restores
            self._stream = self._container.add_stream("libx264", rate=rate, options=_OPTIONS)
            self._stream.height, self._stream.width = height * scale + margin[0][1], width * scale + margin[1][1]
            self._stream.pix_fmt = "yuv420p"
            # What the conversion from RGB does; a player that has to guess may show other colours.
            context = self._stream.codec_context
            context.colorspace, context.color_range = Colorspace.SMPTE170M, ColorRange.MPEG
        for picture in pictures:
            large = picture.repeat(scale, axis=0).repeat(scale, axis=1)
            frame = av.VideoFrame.from_ndarray(np.pad(large, margin, mode="edge"), format="rgb24")
            self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._stream is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._partial.replace(self._path)
        else:
            self._container.close()
            self._partial.unlink(missing_ok=True)
