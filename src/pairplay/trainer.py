"""The algorithm: collect beside a fit, relabel, update, cut, ask, record. Knows no web and no command line."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial

import numpy as np
import torch

from pairplay.config import TrainConfig
from pairplay.envs.base import Envs
from pairplay.envs.fair import horizon_warning
from pairplay.envs.make import make_envs
from pairplay.episodes import EpisodeReturns
from pairplay.hardware import Hardware, choose_hardware
from pairplay.health.oversight import Oversight
from pairplay.inquiry import Inquiry
from pairplay.labels.records import Counts, Progress
from pairplay.labels.store import LabelStore
from pairplay.policy.networks import Policy
from pairplay.policy.ppo import PPO
from pairplay.policy.return_scale import ReturnScale
from pairplay.policy.rollout import CPU, Actor, Explorer, PolicyActor, begin, collect
from pairplay.policy.shaping import Shaping
from pairplay.reward.estimate import RewardEstimate
from pairplay.reward.fit import splitter_of
from pairplay.reward.model import RewardModel
from pairplay.reward.refit import Refit
from pairplay.run.checkpoint import Checkpoint, Rejected, load_newest
from pairplay.run.layout import RunDir
from pairplay.run.metrics import MetricsWriter
from pairplay.run.saving import Saver, nothing
from pairplay.seeding import int_seed, rng, torch_rng
from pairplay.stopwatch import Stopwatch
from pairplay.teachers.context import TeacherContext
from pairplay.types import BoolArray, Comparison, FloatArray, Rollout

# T steps, N environments

Metrics = dict[str, float | None]


@dataclass(frozen=True)
class Snapshot:
    """What a watcher is told after each iteration."""

    phase: str
    step: int
    counts: Counts
    metrics: Mapping[str, float | None]
    notice: str | None = None
    """What the person should know now: an alarm, a warning, or that the answers are enough."""


class Trainer:
    """One run. `train()` goes on from wherever the run directory stands."""

    def __init__(self, config: TrainConfig, run: RunDir, hardware: Hardware | None = None) -> None:
        """`hardware` is chosen by what the environments show, unless it is given."""
        self.config = config
        self.run = run
        self.learned = config.reward == "learned"
        checkpoint = load_newest(run.checkpoints)
        self.saver = Saver(run.checkpoints)
        # A resumed run plays new episodes, not those that it began with.
        env_seed = int_seed(config.seed, "envs", checkpoint.state["iteration"] if checkpoint else 0)
        filmed = self.learned and config.queries.clips != "none"
        env_config = config.env if filmed else replace(config.env, colour_envs=0)  # colour is for clips
        self.envs: Envs = make_envs(config.env_id, config.num_envs, env_config, seed=env_seed)
        spec = self.spec = self.envs.spec
        hardware = hardware or choose_hardware(config.device, config.precision, is_image=spec.is_image)
        self.hardware = hardware
        with torch.random.fork_rng():
            torch.manual_seed(int_seed(config.seed, "policy"))
            policy = Policy(spec, config.ppo, precision=hardware.precision).to(hardware.device)
        self.ppo = PPO(policy, spec, config.ppo, num_envs=config.num_envs, device=hardware.device)
        self.reward_model = RewardModel(
            spec, config.reward_model, seed=config.seed, device=hardware.device, precision=hardware.precision
        )
        self.store = LabelStore.open(run.labels_db)
        self.splitter = splitter_of(config.reward_model, config.seed)
        self.refit = Refit(self.reward_model, self.splitter, threads=hardware.threads // 2)
        self.inquiry: Inquiry | None = None
        self.oversight: Oversight | None = None
        if self.learned:
            self.inquiry = Inquiry(config, run, self.store, self.envs)
            length = self.inquiry.segment_length
            self.oversight = Oversight(config, run, self.reward_model, self.splitter, length)
        self.true_return = EpisodeReturns(config.num_envs)
        self.predicted_return = EpisodeReturns(config.num_envs)
        self.return_scale = ReturnScale(config.num_envs, config.ppo.gamma)
        self.shaping = Shaping(
            config.num_envs,
            gamma=config.ppo.gamma,
            scale=config.reward_model.shaping,
            steps=config.reward_model.shaping_steps,
        )
        self.iteration = 0
        self.step = self.saved = 0
        """Played and learnt from so far; and by the last checkpoint."""
        self.learning = not self.learned
        self.fitted_pairs = 0
        self.fitted: Metrics = {}  # how the latest fit went, until it is written down
        self.seconds = 0.0
        self.last_iteration_s = 0.0
        self.horizon: str | None = None
        """A warning once an episode has ended by itself where the learner can see that."""
        self.stopping = False
        self.rejected: tuple[Rejected, ...] = ()
        if checkpoint is not None:
            self._restore(checkpoint)
        self.writer = MetricsWriter(run, resume_step=self.step)
        self.explorer = Explorer(
            spec, rng(config.seed, "explore", self.iteration), persistence=config.queries.explore_persistence
        )
        self.standing = begin(self.envs)
        if self.inquiry is not None and self.inquiry.filmed:
            self.inquiry.publisher.rehearse(self.envs.capture(0)[None])
        self.stopwatch = Stopwatch()

    # -- the loop ------------------------------------------------------------------------------------------------

    def train(self, watch: Callable[[Snapshot], None]) -> None:
        """Run iterations until the budget of steps is spent or `stop()` is called; then save.

        `watch` is called after each iteration, from this thread.
        """
        gc.freeze()  # what is here now stays: a collection of garbage takes 0.2 s to walk over it
        try:
            self._train(watch)
        finally:
            gc.unfreeze()

    def _train(self, watch: Callable[[Snapshot], None]) -> None:
        while self.step < self.config.total_timesteps and not self.stopping:
            watch(self.iterate())
            with self.stopwatch.phase("wait"):
                self._keep_pace()
        if self.inquiry is not None:
            self.inquiry.publisher.flush()
        if self.step > self.saved:
            self.save()
        self._report_progress("finished" if self.step >= self.config.total_timesteps else "stopped", {})

    def iterate(self) -> Snapshot:
        """One iteration, in the order of the paper; while it plays, the reward learns from the answers of before."""
        began = time.perf_counter()
        phase, in_phase = "learning" if self.learning else "exploring", self.stopwatch.phase
        with in_phase("collect"):
            rollout = self._collect()
        with in_phase("fit"):
            self._finish_fit(rollout)
            metrics, self.fitted = self.fitted, {}
        if self.step - self.saved >= self.config.checkpoint_every:  # here, where no fit is under way
            with in_phase("save"):
                self._begin_save()
        with in_phase("relabel"):
            reward, estimate = self._relabel(rollout)
        with in_phase("update"):
            metrics |= self._update(rollout, reward)
        self.step += rollout.env_reward.size
        if self.inquiry is not None and self.oversight is not None:
            with in_phase("ask"):
                comparisons = self._ask(self.inquiry)
                tally = self.inquiry.tally()
            with in_phase("watch"):
                answer = self.inquiry.answered.row
                metrics |= self.oversight.before_fit(
                    comparisons, answer, rollout, estimate, step=self.step, counts=tally[0]
                )
            with in_phase("fit"):
                self._begin_fit(comparisons, self.inquiry, self.oversight)
        else:
            tally = self.store.counts(), 0
        self.iteration += 1
        self.last_iteration_s = time.perf_counter() - began
        self.seconds += self.last_iteration_s
        return self._record(phase, metrics, *tally, fps=rollout.env_reward.size / self.last_iteration_s)

    def _keep_pace(self) -> None:
        """Wait for a person who is behind, if that was asked for."""
        if self.inquiry is not None and self.config.queries.behind != "continue":
            self.inquiry.keep_pace(
                self.step,
                worked_s=self.last_iteration_s,
                stopping=lambda: self.stopping,
                tell=lambda verdict: self._report_progress("waiting", {}, notice=verdict.sentence),
            )

    @property
    def notice(self) -> str | None:
        """One sentence for the person; None when all is well."""
        return (self.oversight.notice if self.oversight else None) or self.horizon

    def stop(self) -> None:
        """Ask `train` to return after the iteration that is under way."""
        self.stopping = True

    # -- the steps of an iteration -------------------------------------------------------------------------------

    def _collect(self) -> Rollout:
        config = self.config
        windows = []
        if self.inquiry is not None:
            self.inquiry.publisher.begin()
            windows = self.inquiry.windows(self.iteration, step=self.step, learning=self.learning)
        actor: Actor = self.explorer
        if self.learning:
            generator = torch_rng(config.seed, "actions", self.iteration, device=self.ppo.device)
            actor = PolicyActor(self.ppo.policy, generator)
        rollout, self.standing, captures = collect(
            actor,
            self.envs,
            self.standing,
            num_steps=config.ppo.num_steps,
            film=self.inquiry.film(windows) if self.inquiry is not None else (),
            value_of=self.ppo.policy if self.learning else None,
            device=self.ppo.device if self.learning else CPU,
            stopwatch=self.stopwatch,
        )
        if self.inquiry is not None:
            if rollout.terminated.any():
                self.horizon = horizon_warning(config.env_id, config.env.ends)
            self.inquiry.keep(rollout, windows, captures, step=self.step, iteration=self.iteration)
        return rollout

    def _relabel(self, rollout: Rollout) -> tuple[FloatArray, RewardEstimate | None]:
        """The reward that the policy learns from, `[T, N]`, and the learned reward it was made of, if there is one."""
        ended = rollout.terminated | rollout.truncated
        self.true_return.add(rollout.env_reward, ended)
        if not self.learned:
            return self._baseline_reward(rollout.env_reward, ended), None
        if not self.learning:
            return np.zeros_like(rollout.env_reward), None
        estimate = self.reward_model.relabel(rollout)
        self.predicted_return.add(estimate.mean, ended)
        fading = max(0.0, 1.0 - 2.0 * self.step / self.config.total_timesteps)
        paid = estimate.optimistic(self.config.reward_model.uncertainty_bonus * fading)
        shaped = self.shaping(paid, rollout.terminated, rollout.truncated, step=self.step)
        return shaped, estimate

    def _baseline_reward(self, env_reward: FloatArray, ended: BoolArray) -> FloatArray:
        if self.spec.is_image:
            return np.clip(env_reward, -1.0, 1.0)
        return self.return_scale(env_reward, ended) if self.config.ppo.scale_env_reward else env_reward

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

    def _ask(self, inquiry: Inquiry) -> list[Comparison]:
        """Publish what is due and let synthetic teachers answer; all comparisons so far.

        Once the policy learns they answer what the iteration before asked: its clips were drawn while this one played.
        Before that, and at the very end, they answer at once.
        """
        context = TeacherContext.of(self.true_return.finished)
        if self.learning:
            inquiry.answer(self.step, context)
        inquiry.ask(self.reward_model, step=self.step, iteration=self.iteration, learning=self.learning)
        if not self.learning or self.step >= self.config.total_timesteps:
            inquiry.answer(self.step, context)
        comparisons = inquiry.comparisons()
        self.splitter.add(inquiry.pairs)
        return comparisons

    def _begin_fit(self, comparisons: list[Comparison], inquiry: Inquiry, oversight: Oversight) -> None:
        """Train the reward model on all answers so far, for a bounded number of comparison visits, and measure it."""
        config = self.config.reward_model
        if not (self.learning or (inquiry.enough_to_begin and self.step >= self.config.queries.explore_steps)):
            return
        pairs, self.learning = config.fit_pairs if self.learning else config.pretrain_pairs, True
        pairs = min(pairs, config.max_visits * inquiry.trainable - self.fitted_pairs)
        random = rng(self.config.seed, "fit", self.iteration)
        then = partial(oversight.measure, comparisons, inquiry.trainable, inquiry.pool.segments(), visits=pairs)
        self.refit.begin(comparisons, pairs=pairs, rng=random, then=then)

    def _finish_fit(self, rollout: Rollout | None = None) -> None:
        """Let values follow the scale of a reward that was fitted, those of `rollout` too."""
        refitted = self.refit.finish()
        if refitted is None:
            return
        fitted, moved = refitted
        if self.config.reward_model.carry_value:
            shift = self.shaping.shift_of_value(moved.shift)
            self.ppo.policy.move_value(moved.scale, shift)
            if rollout is not None:
                rollout.move_values(moved.scale, shift)
            age = self.standing.age if rollout is None else rollout.age[0]
            self.shaping.follow(moved.scale, moved.shift, age > 0)
        self.fitted_pairs += fitted.pairs
        if self.oversight is not None:
            self.oversight.after_fit()
        self.fitted = {f"reward_model/{name}": value for name, value in asdict(fitted).items() if name != "pairs"}

    # -- what is written down ------------------------------------------------------------------------------------

    def _record(self, phase: str, metrics: Metrics, counts: Counts, waiting: int, *, fps: float) -> Snapshot:
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
            "labels/pending": float(waiting),
            "labels/due": float(self.inquiry.schedule.target(self.step)) if self.inquiry else 0.0,
            "reward_model/loss": None,
            "reward_model/val_accuracy": None,
            **metrics,
            **{f"seconds/{name}": spent for name, spent in self.stopwatch.lap().items()},
        }
        with self.stopwatch.phase("record"):
            self.writer.write(self.step, metrics)
            self._report_progress(phase, metrics)
        return Snapshot(phase, self.step, counts, metrics, self.notice)

    def _report_progress(self, phase: str, metrics: Metrics, *, notice: str | None = None) -> None:
        self.store.post_progress(
            Progress(
                phase=phase,
                step=self.step,
                total_timesteps=self.config.total_timesteps,
                fps=metrics.get("time/fps"),
                labels_budget=self.config.labels,
                true_return=self.true_return.mean_return,
                predicted_return=self.predicted_return.mean_return,
                next_due_at_step=self.inquiry.schedule.next_due(self.step) if self.inquiry else None,
                updated_at=datetime.now(UTC),
                notice=notice or self.notice,
            )
        )

    def save(self) -> None:
        """Write a checkpoint of everything that learning has changed, once a fit that is under way is done."""
        self._finish_fit()
        self._begin_save()
        self.saver.finish()

    def _begin_save(self) -> None:
        self.saved = self.step
        self.saver.begin(
            self.step,
            self.ppo.state()
            | self.return_scale.state()
            | {f"reward.{name}": tensor for name, tensor in self.reward_model.state().items()},
            {
                "iteration": self.iteration,
                "step": self.step,
                "learning": self.learning,
                "fitted_pairs": self.fitted_pairs,
                "seconds": self.seconds,
                "oversight": self.oversight.state() if self.oversight else None,
                "true_return": self.true_return.state(),
                "predicted_return": self.predicted_return.state(),
            },
            self.inquiry.state() if self.inquiry else nothing,
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        state, tensors = checkpoint.state, checkpoint.tensors
        self.rejected = checkpoint.rejected
        self.ppo.load(tensors)
        self.return_scale.load(tensors)
        self.reward_model.load({n.removeprefix("reward."): t for n, t in tensors.items() if n.startswith("reward.")})
        if self.inquiry is not None:
            self.inquiry.load(tensors, state)
            if self.oversight is not None:
                self.oversight.load(state["oversight"], self.inquiry.pool.segments())
        self.true_return.load(state["true_return"])
        self.predicted_return.load(state["predicted_return"])
        self.iteration, self.step = state["iteration"], state["step"]
        self.saved = self.step
        self.learning, self.fitted_pairs = state["learning"], state["fitted_pairs"]
        self.seconds = state["seconds"]

    def close(self) -> None:
        """Release environments, files and the worker."""
        parts = (self.store, self.envs, self.writer, self.saver, self.oversight, self.inquiry, self.refit)
        with ExitStack() as stack:  # all of them, whatever one of them meets, and the last one first
            for part in parts:
                if part is not None:
                    stack.callback(part.close)
