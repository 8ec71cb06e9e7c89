"""One sitting at the terminal: start or go on with a run, show how it fares, stop it without loss.

Whatever needs torch is imported while the label server comes up: each takes seconds, and a person is waiting.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from pairplay.config import TrainConfig, check_options
from pairplay.envs.make import find_registration, is_atari, shows_score
from pairplay.labels.store import LabelStore, Progress
from pairplay.run.config_file import amend_config, write_config
from pairplay.run.layout import RunDir
from pairplay.run.lock import trainer_lock
from pairplay.teachers.panel import check_teachers, parse_teachers
from pairplay.types import UserError
from pairplay.web.server import LabelServer, start_server

if TYPE_CHECKING:
    from pairplay.profiling import Profiler
    from pairplay.trainer import Snapshot, Trainer

LINE_EVERY_S = 15.0
"""Without a terminal to redraw, one line so often."""


def start(config: TrainConfig, run_dir: Path | None, *, port: int, open_page: bool, profile: bool = False) -> int:
    """Begin a new run. Returns the exit code."""
    if config.reward == "learned":
        check_teachers(config)  # a mistyped name must not leave a run directory behind
    find_registration(config.env_id)
    check_options(config)
    run = RunDir.create(run_dir, config.env_id, config.seed)
    write_config(run.config_toml, config)
    try:
        return go_on(config, run, port=port, open_page=open_page, profile=profile)
    except UserError:
        # An option that only the environments or the networks could refuse: nothing is in the run but that option.
        if _is_empty(run):
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def _is_empty(run: RunDir) -> bool:
    """Whether nothing was played and nothing answered: what the first clips showed is no loss."""
    if run.metrics_jsonl.exists() and run.metrics_jsonl.stat().st_size:
        return False
    with LabelStore.open(run.labels_db) as store:
        return store.counts().answered == 0


def go_on(config: TrainConfig, run: RunDir, *, port: int, open_page: bool, profile: bool = False) -> int:
    """Train `run` from wherever it stands until its budget is spent or the user stops it. Returns the exit code.

    `config` takes the place of the one in the run. UserError only before anything is played.
    """
    console = Console(highlight=False, soft_wrap=True)
    with (
        _terminate_as_ctrl_c(),
        trainer_lock(run),
        _label_server(config, run, port, console, open_page=open_page) as page,
        ExitStack() as stack,
    ):
        amend_config(run.config_toml, config)
        from pairplay.envs.make import count_processes
        from pairplay.hardware import small_numbers_are_zero
        from pairplay.opening import ask_first
        from pairplay.profiling import Profiler
        from pairplay.trainer import Trainer

        ask_first(config, run)
        # Before torch starts threads; but not where simulators compute in this one.
        stack.enter_context(small_numbers_are_zero(here=is_atari(config.env_id)))
        trainer = Trainer(config, run)
        try:
            for name, reason in trainer.rejected:
                console.print(f"Checkpoint {name} is damaged ({reason}): using an older one", style="yellow")
            came_from = f", resumed at step {trainer.step:,}" if trainer.step else ""
            processes = count_processes(config.env_id, config.num_envs, config.env)
            envs = f"{config.num_envs} environments{f' in {processes} processes' if processes > 1 else ''}"
            console.print(f"{config.env_id} on {trainer.hardware}, {envs}{came_from}. Run: {run.path}")
            if trainer.learned and shows_score(config.env_id, config.env):
                console.print(
                    f"The networks see {config.env_id} whole: if its score is on the screen, the reward model can "
                    "learn to read it instead of judging the play.",
                    style="yellow",
                )
            profiler = Profiler(trainer.stopwatch, run.trace_json) if profile else None
            with _Watch(config, page, console, profiler) as watch, _stop_on_ctrl_c(trainer, console):
                trainer.train(watch)
            if profiler is not None:
                console.print(profiler.finish())
        except (FloatingPointError, OSError, UserError) as error:
            # Such as an environment that gives NaN, or whose process was killed: nothing has learnt from it yet.
            if isinstance(error, UserError | ChildProcessError):
                trainer.save()
            console.print(f"Stopped at step {trainer.step:,}: {error}", style="red", markup=False)
            console.print(f"Answers and checkpoints are safe. Mend the cause, then: {_program()} resume {run.path}")
            return 1
        finally:
            trainer.close()
    if trainer.step >= config.total_timesteps and not trainer.learning:
        console.print(
            f"Explored for {trainer.step:,} steps, and never began to learn: too few answers taught anything."
        )
    elif trainer.step >= config.total_timesteps:
        console.print(f"Done: {trainer.step:,} steps. See it play: {_program()} play {run.path}")
    else:
        console.print(f"Saved at step {trainer.step:,}. Go on with: {_program()} resume {run.path}")
    return 0


def _program() -> str:
    """What to type in this shell to get this program: it may not be on the PATH."""
    if shutil.which("pairplay"):
        return "pairplay"
    return "python -m pairplay" if sys.argv[0].endswith(".py") else sys.argv[0]


@contextmanager
def _label_server(
    config: TrainConfig, run: RunDir, port: int, console: Console, *, open_page: bool
) -> Iterator[_Page | None]:
    """The label server beside the trainer, when a person teaches, alone or beside synthetic teachers."""
    with LabelStore.open(run.labels_db) as store:  # made once, before two processes want it
        before = store.progress()
        step = before.step if before else 0
        store.post_progress(Progress("starting", step, config.total_timesteps, config.labels))
    if config.reward == "env" or not parse_teachers(config.teacher)[0]:
        yield None
        return
    page = _Page(run, start_server(run, port, meanwhile=_load), console)
    try:
        console.print(f"Label at {page.server.url}", style="bold")
        if open_page:
            webbrowser.open(page.server.url)
        yield page
    finally:
        page.server.stop()


def _load() -> None:
    import pairplay.trainer  # noqa: F401  # whoever needs it finds it loaded


class _Page:
    """The label server beside the trainer. Training goes on without it."""

    def __init__(self, run: RunDir, server: LabelServer, console: Console) -> None:
        self.run = run
        self.server = server
        self.console = console
        self.revivals = 3

    def keep_alive(self) -> None:
        """Start it again where it has stopped, a few times."""
        if self.revivals == 0 or self.server.alive():
            return
        self.revivals -= 1
        self.console.print("The label server stopped; starting it again on the same port.", style="yellow")
        try:
            self.server = start_server(self.run, self.server.port)
        except UserError as error:
            self.revivals = 0
            advice = f"Training goes on; open the page with: {_program()} label {self.run.path}"
            self.console.print(f"{error}. {advice}", style="yellow", markup=False)


@contextmanager
def _terminate_as_ctrl_c() -> Iterator[None]:
    """While a run is being set up, SIGTERM ends it as Ctrl-C does: whatever was started is stopped first."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _stop_on_ctrl_c(trainer: Trainer, console: Console) -> Iterator[None]:
    """Once: finish the iteration and save. Twice: stop now; the answers and the last checkpoint are on disk."""

    def handle(number: int, frame: FrameType | None) -> None:
        if trainer.stopping:
            raise KeyboardInterrupt
        trainer.stop()
        console.print("Stopping after this iteration and saving; press Ctrl-C again to stop at once.", style="yellow")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Watch:
    """Shows each iteration: a progress bar on a terminal, a line now and then elsewhere. Keeps the server alive."""

    def __init__(
        self,
        config: TrainConfig,
        page: _Page | None,
        console: Console,
        profiler: Profiler | None,
    ) -> None:
        self.config = config
        self.human = config.reward == "learned" and parse_teachers(config.teacher)[0]
        self.page = page
        self.console = console
        self.profiler = profiler
        self.progress = ProgressBar(
            TextColumn("{task.fields[phase]:<9}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:>9,}/{task.total:,} steps"),
            TextColumn("{task.fields[news]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not sys.stdout.isatty(),
        )
        self.task = self.progress.add_task("", total=config.total_timesteps, phase="starting", news="")
        self.said_at = 0.0
        self.notice: str | None = None

    def __enter__(self) -> _Watch:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def __call__(self, snapshot: Snapshot) -> None:
        news = self._news(snapshot)
        self.progress.update(self.task, completed=snapshot.step, phase=snapshot.phase, news=news)
        if self.progress.disable and time.monotonic() - self.said_at > LINE_EVERY_S:
            self.said_at = time.monotonic()
            total = f"{self.config.total_timesteps:,}"
            self.console.print(f"{snapshot.phase}: {snapshot.step:,}/{total} steps, {news}")
        if snapshot.notice is not None and snapshot.notice != self.notice:
            self.console.print(snapshot.notice, style="yellow", markup=False)
        self.notice = snapshot.notice
        if self.page is not None:
            self.page.keep_alive()
        if self.profiler is not None:
            self.profiler(snapshot)

    def _news(self, snapshot: Snapshot) -> str:
        from pairplay.inquiry import FIRST_ANSWERS

        metrics, counts = snapshot.metrics, snapshot.counts
        parts = [f"{metrics.get('time/fps') or 0:,.0f} steps/s"]
        if self.config.reward == "learned":
            parts.append(f"{counts.answered}/{self.config.labels} answers")
            if snapshot.phase == "exploring" and self.human:
                needed = (self.config.queries.min_answers or FIRST_ANSWERS) - (counts.answered - counts.skipped)
                parts.append(f"learning starts after {needed} more" if needed > 0 else "learning starts")
            elif counts.pending and self.human:
                parts.append(f"{counts.pending} waiting")
        for name, label in (("rollout/ep_rew_mean", "true"), ("rollout/ep_rew_pred_mean", "predicted")):
            value = metrics.get(name)
            if value is not None:
                parts.append(f"{label} {value:.4g}")
        return ", ".join(parts)
