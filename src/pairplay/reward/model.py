"""The learned reward r̂(o, a): an ensemble, its optimizer and its normalisers. Knows nothing of answers or storage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairplay.config import RewardModelConfig
from pairplay.hardware import Precision, pair_of_threads
from pairplay.observations import stack_frames
from pairplay.reward.estimate import RewardEstimate
from pairplay.reward.film import Film, Inputs, Shelf, as_tensor, thinned, unique
from pairplay.reward.losses import preference_log_prob
from pairplay.reward.networks import Convolutions, make_network
from pairplay.reward.normaliser import Affine, InputMoments, RewardScale, affine
from pairplay.reward.reference import Reference
from pairplay.reward.regulariser import Regulariser, shrink
from pairplay.seeding import rng as seeded
from pairplay.types import Array, Comparison, EnvSpec, FloatArray, IntArray, Rollout, Segment, UserError

# T steps, N environments, L segment length, K stacked frames, E ensemble members, S segments, B states, A action width

CHUNK = {"cpu": 256, "cuda": 4096}
"""States in one pass: a larger first layer falls out of the CPU's caches, a smaller one leaves a GPU idle."""
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps of each parameter."""


class RewardModel:
    """E members in one pass, each with its own weights, input for input the same."""

    def __init__(
        self,
        spec: EnvSpec,
        config: RewardModelConfig,
        *,
        seed: int,
        device: torch.device,
        precision: Precision = "fp32",
    ) -> None:
        self.spec = spec
        self.config = config
        self.seed = seed
        self.device = device
        self.autocast = precision == "bf16"
        self.network = make_network(spec, config, seed=seed).to(device)
        self.block = self.network.block if device.type == "cpu" else 1
        # Without weight decay of its own: each member has its own coefficient.
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=0.0, fused=True
        )
        self.regulariser = Regulariser.empty(config.members, config.l2)
        self.inputs = InputMoments.empty(math.prod(spec.frame_shape) if not spec.is_image else 0, device)
        self.scale = RewardScale.empty(config.members, device)
        self.reference = Reference.empty(spec, config.members)
        self.low = torch.tensor(spec.action_low, device=device)
        self.high = torch.tensor(spec.action_high, device=device)
        self.shelf = Shelf(device)
        # Short vectors are done before two threads have agreed on them.
        self.sharing = pair_of_threads() if spec.is_image and device.type == "cpu" else None
        self.sound: set[str] = set()
        """Segments whose observations were found to be numbers."""

    # -- what a rollout teaches ------------------------------------------------------------------------------------

    def observe(self, rollout: Rollout) -> None:
        """Take in a rollout that is not relabelled: widen what is known of the inputs, and remember its states.

        UserError, with nothing changed, if an observation is not a finite number. `relabel` does this by itself.
        """
        self._observe(rollout)
        self.remember(rollout)

    def remember(self, rollout: Rollout, reward_EB: Tensor | None = None) -> None:
        """Let a few of its states be among those on which the scale of the reward is measured, the latest rollouts'."""
        rng = seeded(self.seed, "reference", int(self.reference.count))
        self.reference.add(rollout, rng, reward_EB)

    @torch.no_grad()
    def relabel(self, rollout: Rollout) -> RewardEstimate:
        """What the policy learns from: each member on its own scale, then averaged (Christiano et al. 2017, §2.2.1).

        The scale is that of the last `renormalise`, so the same state is paid the same until then. Never reads
        `rollout.env_reward`.
        """
        self._observe(rollout)
        reward_ETN = self._score(rollout)
        self.remember(rollout, reward_ETN.flatten(1))
        if not self.scale.known:
            self.renormalise()
        return self._estimate(reward_ETN)

    @torch.no_grad()
    def renormalise(self) -> Affine:
        """Measure the scale of the current parameters on the reference states; to be called after each `fit`.

        Returns how the reward of these states moved since the last call, so that a value function can follow. With a
        scale retaken from current parameters on the same states, it can neither drift nor be applied twice.
        """
        if not len(self.reference):
            return Affine(1.0, 0.0)
        paid = bool(self.scale.known)
        before_R = self._pay(self.reference.reward.T.to(self.device)).mean(0)
        raw_ER = self._predict(self._reference_film())
        self.reference.reward = raw_ER.T.cpu()
        self.scale.take(raw_ER)
        # States that were only observed were never paid for.
        known_R = torch.isfinite(before_R)
        return affine(before_R[known_R], self._pay(raw_ER).mean(0)[known_R]) if paid else Affine(1.0, 0.0)

    # -- what it predicts --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def score(self, rollout: Rollout) -> FloatArray:
        """Raw predictions of every member for every step, `[E, T, N]`."""
        return self._score(rollout).cpu().numpy()

    @torch.no_grad()
    def segment_returns(self, segments: Sequence[Segment]) -> FloatArray:
        """Raw predictions summed over each segment, `[E, S]`, from as many of its steps as `fit` looks at."""
        return self.returns(segments, stride=self.config.fit_stride).cpu().numpy()

    @torch.no_grad()
    def probabilities(self, comparisons: Sequence[Comparison]) -> FloatArray:
        """Each member's P[left is preferred], the error term included, `[E, D]`."""
        return self.judge(comparisons)[0]

    @torch.no_grad()
    def judge(self, comparisons: Sequence[Comparison]) -> tuple[FloatArray, list[RewardEstimate]]:
        """`probabilities`, and `segment_rewards` of each different segment: of as many steps as `fit` looks at."""
        place, segments = unique(comparisons)
        if not segments:
            return np.zeros((self.config.members, 0), np.float32), []
        taken = thinned(segments, self.config.fit_stride)
        raw_EB = self._predict(self._film(segments, taken))
        return_ES = self._sums(raw_EB, segments, taken)
        left, right = ([place[getattr(c, side).id] for c in comparisons] for side in ("left", "right"))
        log_prob_ED = preference_log_prob(return_ES[:, left], return_ES[:, right], self.config.error_rate)
        return log_prob_ED.exp().cpu().numpy(), self._estimate(raw_EB).split(taken)

    @torch.no_grad()
    def segment_rewards(self, segments: Sequence[Segment], *, stride: int = 1) -> list[RewardEstimate]:
        """The reward of each segment's steps, in the unit that the policy is paid in.

        `[L]` each, or fewer: of every stride-th step.
        """
        taken = thinned(segments, stride)
        return self._estimate(self._predict(self._film(segments, taken))).split(taken) if segments else []

    def rollout_rewards(self) -> list[float]:
        """The mean reward of each of the latest rollouts, oldest first, as far as the current parameters know them.

        All are in one unit, whatever the reward's scale was when they were played.
        """
        known = ~self.reference.reward.isnan().any(1)
        reward_R = self._pay(self.reference.reward[known].T.to(self.device)).mean(0).cpu()
        rollout_R = self.reference.rollout[known]
        return [float(reward_R[rollout_R == number].mean()) for number in np.unique(rollout_R.numpy())]

    @torch.no_grad()
    def features(self, segments: Sequence[Segment]) -> FloatArray:
        """A description of each segment for measuring distances: last hidden layers averaged over steps, `[S, E·H]`."""
        if not segments:
            return np.zeros((0, self.config.members * self.config.hidden), np.float32)
        taken = thinned(segments, self.config.fit_stride)
        hidden_EBH = self._predict(self._film(segments, taken), self.network.embed)
        parts = torch.split(hidden_EBH, [len(steps) for steps in taken], dim=1)
        return torch.stack([hidden_ELH.mean(1).flatten() for hidden_ELH in parts]).cpu().numpy()

    def returns(
        self,
        segments: Sequence[Segment],
        *,
        stride: int = 1,
        rng: np.random.Generator | None = None,
        inputs: Inputs | None = None,
    ) -> Tensor:
        """The same as a tensor with gradients, `[E, S]`. Segments may differ in length.

        With a `stride` only every stride-th step is predicted, from an offset drawn with `rng`, and stands for its
        neighbours: an estimate of the sum for a fraction of the work. `inputs` are what `prepare` made of them.
        """
        if not segments:
            return torch.zeros(self.config.members, 0, device=self.device)
        offsets = [0 if rng is None else int(rng.integers(min(stride, len(segment)))) for segment in segments]
        taken = [np.arange(offset, len(s), stride) for offset, s in zip(offsets, segments, strict=True)]
        if inputs is None:
            reward_EB = self._predict(self._film(segments, taken))
        else:
            rows = [inputs.first[segment.id] + steps for segment, steps in zip(segments, taken, strict=True)]
            row_B = self._tensor(np.concatenate(rows))
            reward_EB = self._run(self.network, inputs.obs[row_B], inputs.action[row_B])
        return self._sums(reward_EB, segments, taken)

    def prepare(self, segments: Sequence[Segment]) -> Inputs | None:
        """What `returns` needs of segments that it is asked about many times; None for pictures, which are too large.

        Good until the inputs settle anew.
        """
        if self.spec.is_image or not segments:
            return None
        starts = np.cumsum([0] + [len(segment) for segment in segments[:-1]]).tolist()
        obs, action = self._read(self._film(segments))
        return Inputs(obs, action, {segment.id: start for segment, start in zip(segments, starts, strict=True)})

    # -- how it learns -----------------------------------------------------------------------------------------------

    def check(self, segments: Iterable[Segment]) -> None:
        """UserError if an observation in them is not a finite number, as bytes always are. Each is looked at once."""
        new = (segment for segment in segments if not self.spec.is_image and segment.id not in self.sound)
        for segment in new:
            self._check(segment.frames)
            self.sound.add(segment.id)

    @contextmanager
    def training(self, rng: np.random.Generator) -> Iterator[None]:
        """In here mini-batches are normalised by themselves and features are dropped; nowhere else."""
        self.inputs.settle()
        if isinstance(self.network.torso, Convolutions) and self.config.dropout:
            self.network.torso.noise = torch.Generator(self.device).manual_seed(int(rng.integers(2**31)))
        self.network.train()
        try:
            yield
        finally:
            self.network.train(False)

    def descend(self, loss: Tensor) -> None:
        """One gradient step, then the pull to zero."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        shrink(self.network.weights(), self.regulariser.coefficient, self.config.learning_rate)

    # -- what is kept ------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """Everything that learning has changed: weights, optimizer, scales, reference states. Copies, on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self._state()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Become the model that `state` was taken from. UserError if it was built from another configuration."""
        saved = {name: tensor.to(self.device) for name, tensor in state.items()}
        shapes = {name: tensor.shape for name, tensor in self.network.state_dict().items()}
        found = {name: saved[f"network/{name}"].shape for name in shapes if f"network/{name}" in saved}
        parts = self._parts()
        missing = [
            f"{part}/{key}" for part, held in parts.items() for key in held.state() if f"{part}/{key}" not in saved
        ]
        if found != shapes or missing:
            raise UserError(
                "the saved reward model has other layers: resume with the configuration it was trained with"
            )
        self.network.load_state_dict({name: saved[f"network/{name}"] for name in shapes})
        self.optimizer.state.clear()
        for name, parameter in self.network.named_parameters():
            if f"optimizer/{name}/step" in saved:
                # Copies: the optimizer must not write into the caller's checkpoint, and walks parameter and moments in
                # step, which therefore need the same memory layout.
                like = {"step": torch.zeros((), device=self.device)}
                self.optimizer.state[parameter] = {
                    key: torch.empty_like(like.get(key, parameter)).copy_(saved[f"optimizer/{name}/{key}"])
                    for key in MOMENTS
                }
        for part, held in parts.items():
            for key, old in held.state().items():
                setattr(held, key, saved[f"{part}/{key}"].to(old.device).clone())

    def _parts(self) -> dict[str, InputMoments | RewardScale | Regulariser | Reference]:
        return {
            "inputs": self.inputs,
            "scale": self.scale,
            "regulariser": self.regulariser,
            "reference": self.reference,
        }

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.network.state_dict().items():
            yield f"network/{name}", tensor
        for name, parameter in self.network.named_parameters():
            for key in MOMENTS if parameter in self.optimizer.state else ():
                yield f"optimizer/{name}/{key}", self.optimizer.state[parameter][key]
        for part, held in self._parts().items():
            for key, tensor in held.state().items():
                yield f"{part}/{key}", tensor

    # -- from arrays to predictions ----------------------------------------------------------------------------------

    def _observe(self, rollout: Rollout) -> None:
        self._check(rollout.frames)
        if not self.spec.is_image:
            rows = rollout.frames[self.spec.stack - 1 : -1]
            self.inputs.update(self._tensor(rows).flatten(0, 1).flatten(1))

    def _check(self, frames: Array) -> None:
        if not self.spec.is_image and not np.isfinite(frames).all():
            raise UserError(
                f"{self.spec.env_id} gave an observation that is NaN or infinite; nothing was learnt from it. Mend the "
                "environment, or wrap it so that its observations stay finite (gymnasium.wrappers.TransformObservation)"
            )

    def _pay(self, reward_E: Tensor) -> Tensor:
        """`[E, …]` raw predictions in the unit that the policy is paid in."""
        return self.scale.normalise(reward_E) * self.config.target_std if self.config.normalise else reward_E

    def _estimate(self, reward_E: Tensor) -> RewardEstimate:
        paid_E = self._pay(reward_E)
        return RewardEstimate(mean=paid_E.mean(0).cpu().numpy(), std=paid_E.std(0, correction=0).cpu().numpy())

    def _score(self, rollout: Rollout) -> Tensor:
        T, N = rollout.shape
        step_B = torch.arange(T, device=self.device).repeat_interleave(N)
        env_B = torch.arange(N, device=self.device).repeat(T)
        action_B = self._tensor(rollout.action).flatten(0, 1)
        film = Film(self._tensor(rollout.frames), self._tensor(rollout.age), step_B, env_B, action_B)
        if self.sharing is None:
            return self._predict(film).reshape(-1, T, N)
        forward = torch.no_grad()(partial(self._forward, network=self.network))
        parts = self.sharing.map(forward, film.split(CHUNK[self.device.type], threads=2))
        return torch.cat(list(parts), dim=1).reshape(-1, T, N)

    def _film(self, segments: Sequence[Segment], taken: Sequence[IntArray] | None = None) -> Film:
        """One tall film of all segments, of which the `taken` steps are wanted (all of them by default)."""
        taken = [np.arange(len(segment)) for segment in segments] if taken is None else taken
        films = self.shelf.frames(segments)
        starts = np.cumsum([0] + [len(film) for film in films[:-1]])
        frames = torch.cat(films)[:, None]
        action = self._tensor(np.concatenate([s.action[steps] for s, steps in zip(segments, taken, strict=True)]))
        within, lengths = np.concatenate(taken), [len(steps) for steps in taken]
        # The step of a state is the row of its oldest possible frame.
        row = np.repeat(starts, lengths) + within
        age = np.zeros((len(frames), 1), dtype=np.int64)
        age[row, 0] = np.repeat([segment.age for segment in segments], lengths) + within
        row_B = self._tensor(row)
        return Film(frames, self._tensor(age), row_B, torch.zeros_like(row_B), action)

    def _sums(self, reward_EB: Tensor, segments: Sequence[Segment], taken: Sequence[IntArray]) -> Tensor:
        """The return of each segment, `[E, S]`, of which the mean of the `taken` steps stands for that of all."""
        owner_B = self._tensor(np.repeat(np.arange(len(segments)), [len(steps) for steps in taken]))
        total_ES = reward_EB.new_zeros(len(reward_EB), len(segments)).index_add(1, owner_B, reward_EB)
        weight = np.array([len(s) / len(steps) for s, steps in zip(segments, taken, strict=True)], np.float32)
        return total_ES * self._tensor(weight)

    def _reference_film(self) -> Film:
        """Each reference state as an environment of its own, one step long."""
        frames = self.reference.obs.to(self.device).transpose(0, 1).contiguous()
        count = len(self.reference)
        age = torch.full((1, count), self.spec.stack, device=self.device)
        env_B = torch.arange(count, device=self.device)
        return Film(frames, age, torch.zeros_like(env_B), env_B, self.reference.action.to(self.device))

    def _predict(self, film: Film, network: Callable[[Tensor, Tensor], Tensor] | None = None) -> Tensor:
        """What `network` (by default the rewards) says of the film's states: `[E, B]` float32, chunk by chunk."""
        # In training the statistics of a mini-batch must be those of all of it.
        whole = self.network.training and self.config.batch_norm
        parts = [film] if whole else film.split(CHUNK[self.device.type])
        return torch.cat([self._forward(part, network or self.network) for part in parts], dim=1)

    def _forward(self, film: Film, network: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return self._run(network, *self._read(film))

    def _read(self, film: Film) -> tuple[Tensor, Tensor]:
        """What enters the networks: observations `[B, K, *F]` and actions `[B, A]`."""
        obs = stack_frames(film.frames, film.age, film.step, film.env, self.spec.stack, block=self.block)
        if not self.spec.is_image:
            obs = self.inputs.normalise(obs.flatten(2)).float()
        return obs, self._action_input(film.action)

    def _run(self, network: Callable[[Tensor, Tensor], Tensor], obs: Tensor, action: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast, cache_enabled=False):
            return network(obs, action).float()

    def _action_input(self, action: Tensor) -> Tensor:
        """`[B, A]`: one-hot, or scaled so that the bounds are ±1; of width 0 where the model does not see actions."""
        if not self.config.see_action:
            return torch.zeros(len(action), 0, device=self.device)
        if self.spec.discrete:
            return F.one_hot(action, self.spec.num_actions).float()
        bounded = torch.isfinite(self.low) & torch.isfinite(self.high)
        # Clipped first: the environment never saw what lies beyond the bounds.
        clipped = torch.minimum(torch.maximum(action, self.low), self.high)
        scaled = (clipped - self.low) / (self.high - self.low) * 2.0 - 1.0
        return torch.where(bounded, scaled, action)

    def _tensor(self, array: Array) -> Tensor:
        return as_tensor(array, self.device)
