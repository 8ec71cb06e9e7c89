"""The algorithm: collect, relabel, update, cut, ask, fit, record. Knows neither the web nor the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import torch

from pairplay.config import TrainConfig
from pairplay.envs.base import Envs, PicturePainter
from pairplay.envs.make import make_envs
from pairplay.episodes import EpisodeReturns
from pairplay.hardware import Hardware
from pairplay.labels.records import Counts, Progress
from pairplay.labels.store import LabelStore
from pairplay.policy.networks import Policy
from pairplay.policy.ppo import PPO
from pairplay.policy.rollout import Actor, Explorer, PolicyActor, begin, collect
from pairplay.policy.shaping import shape_by_own_past
from pairplay.publisher import Publisher
from pairplay.queries.schedule import LabelSchedule
from pairplay.queries.segments import SegmentPool, cut, draw_windows
from pairplay.queries.selection import select
from pairplay.reward.fit import FitMetrics, fit
from pairplay.reward.model import RewardModel
from pairplay.run.checkpoint import Checkpoint, Rejected, load_newest, save
from pairplay.run.layout import RunDir
from pairplay.run.metrics import MetricsWriter
from pairplay.seeding import int_seed, rng, torch_rng
from pairplay.teachers.answering import answer_pending
from pairplay.teachers.base import Teacher, load_teacher
from pairplay.types import Comparison, FloatArray, Footage, Rollout, Segment, UserError

# T steps, N environments, L segment length

Metrics = dict[str, float | None]

FIRST_ANSWERS = 10
"""Answers that a person gives before learning starts: less teaches nothing, more is a long wait."""


@dataclass(frozen=True)
class Snapshot:
    """What a watcher is told after each iteration."""

    phase: str
    step: int
    counts: Counts
    metrics: Mapping[str, float | None]


class Trainer:
    """One run. `train()` goes on from wherever the run directory stands."""

    def __init__(self, config: TrainConfig, run: RunDir, hardware: Hardware) -> None:
        self.config = config
        self.run = run
        self.learned = config.reward == "learned"
        checkpoint = load_newest(run.checkpoints)
        # A resumed run plays new episodes, not those that it began with.
        env_seed = int_seed(config.seed, "envs", checkpoint.state["iteration"] if checkpoint else 0)
        self.envs: Envs = make_envs(config.env_id, config.num_envs, config.env, seed=env_seed)
        spec = self.spec = self.envs.spec
        with torch.random.fork_rng():
            torch.manual_seed(int_seed(config.seed, "policy"))
            policy = Policy(spec, config.ppo, precision=hardware.precision).to(hardware.device)
        self.ppo = PPO(policy, spec, config.ppo, num_envs=config.num_envs, device=hardware.device)
        self.reward_model = RewardModel(
            spec, config.reward_model, seed=config.seed, device=hardware.device, precision=hardware.precision
        )
        self.store = LabelStore.open(run.labels_db)
        if self.learned and self.envs.recordable == 0:
            raise UserError(f"{config.env_id} draws no pictures to compare: only --reward env can train it")
        painter = self.envs.painter() if self.learned else PicturePainter()
        self.publisher = Publisher(self.store, run.clips, painter, clip_fps=spec.clip_fps)
        self.teacher: Teacher | None = None
        if self.learned and config.teacher != "human":
            self.teacher = load_teacher(config.teacher)
            self.teacher_id = self.store.labeler(config.teacher, "synthetic")
        self.schedule = LabelSchedule(
            config.labels, config.total_timesteps, config.queries.initial_share, config.queries.anneal_steps
        )
        self.min_answers = config.queries.min_answers or FIRST_ANSWERS
        self.pool = SegmentPool(config.queries.pool)
        self.segment_length = config.queries.segment_length or default_segment_length(config.env_id, spec.clip_fps)
        self.segments: dict[str, Segment] = {}
        self.comparisons: list[Comparison] = []
        self.asked = self.store.asked_pairs()
        self.true_return = EpisodeReturns(config.num_envs)
        self.predicted_return = EpisodeReturns(config.num_envs)
        self.last_reward = np.zeros(config.num_envs, np.float32)
        self.iteration = 0
        self.step = 0
        self.learning = not self.learned
        self.fitted_pairs = 0
        self.seconds = 0.0
        self.stopping = False
        self.rejected: tuple[Rejected, ...] = ()
        if checkpoint is not None:
            self._restore(checkpoint)
        self.writer = MetricsWriter(run, resume_step=self.step)
        self.explorer = Explorer(
            spec, rng(config.seed, "explore", self.iteration), persistence=config.queries.explore_persistence
        )
        self.standing = begin(self.envs)
        if self.learned:
            self.publisher.rehearse(self.envs.capture(0)[None])

    # -- the loop ------------------------------------------------------------------------------------------------

    def train(self, watch: Callable[[Snapshot], None]) -> None:
        """Run iterations until the budget of steps is spent or `stop()` is called; then save.

        `watch` is called after each iteration, from this thread.
        """
        last_saved = self.step
        while self.step < self.config.total_timesteps and not self.stopping:
            watch(self.iterate())
            if self.step - last_saved >= self.config.checkpoint_every:
                self.save()
                last_saved = self.step
        self.publisher.flush()
        if self.step > last_saved:
            self.save()
        self._report_progress("finished" if self.step >= self.config.total_timesteps else "stopped", {})

    def iterate(self) -> Snapshot:
        """One iteration, in the order of the paper."""
        began = time.perf_counter()
        phase = "learning" if self.learning else "exploring"
        rollout, footage = self._collect()
        reward = self._relabel(rollout)
        metrics = self._update(rollout, reward)
        self.step += rollout.env_reward.size
        if self.learned:
            self.pool.add(footage)
            self._ask()
            metrics |= self._fit()
        self.iteration += 1
        elapsed = time.perf_counter() - began
        self.seconds += elapsed
        return self._record(phase, metrics, fps=rollout.env_reward.size / elapsed)

    def stop(self) -> None:
        """Ask `train` to return after the iteration that is under way."""
        self.stopping = True

    # -- the steps of an iteration -------------------------------------------------------------------------------

    def _collect(self) -> tuple[Rollout, list[Footage]]:
        config = self.config
        windows = (
            draw_windows(
                rng(config.seed, "windows", self.iteration),
                num_steps=config.ppo.num_steps,
                recordable=self.envs.recordable,
                length=self.segment_length,
                count=config.queries.windows,
            )
            if self.learned and self._labels_left()
            else []
        )
        film: dict[int, list[int]] = {}
        for window in windows:
            for t in range(window.start, window.start + window.length):
                film.setdefault(t, []).append(window.env)
        actor: Actor = self.explorer
        if self.learning:
            generator = torch_rng(config.seed, "actions", self.iteration, device=self.ppo.device)
            actor = PolicyActor(self.ppo.policy, generator)
        rollout, self.standing, captures = collect(
            actor,
            self.envs,
            self.standing,
            num_steps=config.ppo.num_steps,
            film=film,
            value_of=self.ppo.policy if self.learning else None,
        )
        cuts = (
            cut(
                rollout,
                window,
                np.stack([captures[t, window.env] for t in range(window.start, window.start + window.length)]),
                stack=self.spec.stack,
                step=self.step,
                iteration=self.iteration,
                min_length=self.segment_length if self.spec.is_image else max(1, self.segment_length // 8),
            )
            for window in windows
        )
        return rollout, [footage for footage in cuts if footage is not None]

    def _relabel(self, rollout: Rollout) -> FloatArray:
        """The reward that the policy learns from, `[T, N]`."""
        ended = rollout.terminated | rollout.truncated
        self.true_return.add(rollout.env_reward, ended)
        if not self.learned:
            return np.clip(rollout.env_reward, -1.0, 1.0) if self.spec.is_image else rollout.env_reward
        if not self.learning:
            return np.zeros_like(rollout.env_reward)
        reward = self.reward_model.relabel(rollout).mean
        self.predicted_return.add(reward, ended)
        shaped, self.last_reward = shape_by_own_past(
            reward, self.last_reward, ended, gamma=self.config.ppo.gamma, scale=self.config.reward_model.shaping
        )
        return shaped

    def _update(self, rollout: Rollout, reward: FloatArray) -> Metrics:
        if not self.learning:
            self.ppo.observe(rollout)
            self.reward_model.observe(rollout)
            return {}
        return self.ppo.update(
            rollout,
            reward,
            lr_scale=1.0 - self.step / self.config.total_timesteps,
            rng=rng(self.config.seed, "minibatches", self.iteration),
        )

    def _labels_left(self) -> bool:
        return self.store.counts().asked + self.publisher.waiting < self.config.labels

    def _labels_wanted(self) -> int:
        """How many queries to publish now."""
        queries, counts = self.config.queries, self.store.counts()
        waiting = counts.pending + counts.leased + self.publisher.waiting
        due = self.schedule.target(self.step)
        if not self.learning:
            due = max(due, min(2 * self.min_answers, self.config.labels))
        return max(0, min(due - counts.answered - waiting, queries.max_pending - waiting))

    def _ask(self) -> None:
        wanted = self._labels_wanted()
        if not wanted:
            return
        queries = select(
            self.pool,
            count=wanted,
            strategy=self.config.queries.strategy if self.learning else "uniform",
            candidates=self.config.queries.candidates,
            model=self.reward_model,
            rng=rng(self.config.seed, "queries", self.iteration),
            already_asked=self.asked,
            question=self.config.question,
        )
        for query in queries:
            self.asked.add(frozenset((query.left.segment.id, query.right.segment.id)))
            self.publisher.publish(query, step=self.step)
        if self.teacher is not None:
            self.publisher.flush()
            answer_pending(
                self.store,
                self.teacher,
                labeler_id=self.teacher_id,
                clips_dir=self.run.clips,
                spec=self.spec,
                rng=rng(self.config.seed, "teacher", self.iteration),
            )

    def _fit(self) -> Metrics:
        """Train the reward model on all answers so far, for a bounded number of comparison visits."""
        config = self.config.reward_model
        self.comparisons = self._load_comparisons()
        if not self.learning:
            if len(self.comparisons) < self.min_answers or self.step < self.config.queries.explore_steps:
                return {}
            pairs, self.learning = config.pretrain_pairs, True
        else:
            pairs = config.fit_pairs
        pairs = min(pairs, config.max_visits * len(self.comparisons) - self.fitted_pairs)
        if pairs <= 0:
            return {}
        fitted: FitMetrics = fit(
            self.reward_model, self.comparisons, pairs=pairs, rng=rng(self.config.seed, "fit", self.iteration)
        )
        self.reward_model.renormalise()
        self.fitted_pairs += fitted.pairs
        return {
            "reward_model/loss": fitted.loss,
            "reward_model/train_accuracy": fitted.train_accuracy,
            "reward_model/val_loss": fitted.val_loss,
            "reward_model/val_accuracy": fitted.val_accuracy,
        }

    def _load_comparisons(self) -> list[Comparison]:
        comparisons = []
        for preference in self.store.preferences()[-self.config.reward_model.buffer :]:
            if preference.mu is None:
                continue
            for segment_id in (preference.left_id, preference.right_id):
                if segment_id not in self.segments:
                    self.segments[segment_id] = self.store.segment(segment_id)
            comparisons.append(
                Comparison(
                    preference.query_id,
                    self.segments[preference.left_id],
                    self.segments[preference.right_id],
                    preference.mu,
                )
            )
        return comparisons

    # -- what is written down ------------------------------------------------------------------------------------

    def _record(self, phase: str, metrics: Metrics, *, fps: float) -> Snapshot:
        counts = self.store.counts()
        metrics = {
            "time/iterations": float(self.iteration),
            "time/total_timesteps": float(self.step),
            "time/fps": fps,
            "time/time_elapsed": self.seconds,
            "rollout/ep_rew_mean": self.true_return.mean_return,
            "rollout/ep_len_mean": self.true_return.mean_length,
            "rollout/ep_rew_pred_mean": self.predicted_return.mean_return,
            "rollout/true_reward_accumulated": self.true_return.total,
            "labels/total": float(counts.answered),
            "labels/pending": float(counts.pending + counts.leased + self.publisher.waiting),
            "labels/due": float(self.schedule.target(self.step)) if self.learned else 0.0,
            "reward_model/loss": None,
            "reward_model/val_accuracy": None,
            **metrics,
        }
        self.writer.write(self.step, metrics)
        self._report_progress(phase, metrics)
        return Snapshot(phase, self.step, counts, metrics)

    def _report_progress(self, phase: str, metrics: Metrics) -> None:
        self.store.post_progress(
            Progress(
                phase=phase,
                step=self.step,
                total_timesteps=self.config.total_timesteps,
                fps=metrics.get("time/fps"),
                labels_budget=self.config.labels,
                true_return=self.true_return.mean_return,
                predicted_return=self.predicted_return.mean_return,
                next_due_at_step=self.schedule.next_due(self.step) if self.learned else None,
                updated_at=datetime.now(UTC),
            )
        )

    def save(self) -> None:
        """Write a checkpoint of everything that learning has changed."""
        pool_arrays, pool_state = self.pool.state()
        save(
            self.run.checkpoints,
            self.step,
            self.ppo.state()
            | {f"reward.{name}": tensor for name, tensor in self.reward_model.state().items()}
            | {f"pool.{name}": array for name, array in pool_arrays.items()},
            {
                "iteration": self.iteration,
                "step": self.step,
                "learning": self.learning,
                "fitted_pairs": self.fitted_pairs,
                "seconds": self.seconds,
                "pool": pool_state,
                "true_return": self.true_return.state(),
                "predicted_return": self.predicted_return.state(),
            },
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        state, tensors = checkpoint.state, checkpoint.tensors
        self.rejected = checkpoint.rejected
        self.ppo.load(tensors)
        self.reward_model.load({n.removeprefix("reward."): t for n, t in tensors.items() if n.startswith("reward.")})
        self.pool.load(
            {n.removeprefix("pool."): t.numpy() for n, t in tensors.items() if n.startswith("pool.")}, state["pool"]
        )
        self.true_return.load(state["true_return"])
        self.predicted_return.load(state["predicted_return"])
        self.iteration, self.step = state["iteration"], state["step"]
        self.learning, self.fitted_pairs = state["learning"], state["fitted_pairs"]
        self.seconds = state["seconds"]

    def close(self) -> None:
        """Release environments, files and the worker."""
        self.publisher.close()
        self.writer.close()
        self.envs.close()
        self.store.close()


def default_segment_length(env_id: str, clip_fps: float) -> int:
    """25 agent steps for Atari (1.7 s at 15 a second), 1.5 seconds elsewhere. Christiano et al. 2017, A.1–A.2."""
    return 25 if env_id.startswith("ALE/") else max(2, round(1.5 * clip_fps))
