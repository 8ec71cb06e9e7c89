"""The command line: parse, wire, run.

Each command imports its rooms when it is called: `pairplay label` and `--help` must not wait for torch.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar

import tyro
from rich.console import Console
from tyro.conf import Positional

import pairplay
from pairplay.config import PRESETS, TrainConfig, check_options, preset
from pairplay.cores import sleep_while_waiting
from pairplay.names import unknown
from pairplay.types import UserError

Options = TypeVar("Options")


@dataclass(frozen=True)
class TrainCommand:
    """Train an agent from comparisons of its clips.

    Opens a page in the browser: watch two clips, press an arrow key, and the agent learns what you prefer while
    it plays on. Ctrl-C saves; `pairplay resume` goes on.
    """

    training: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    run_dir: Path | None = None
    """Where to write the run; runs/<env>/<date-time>-<seed> unless given."""
    port: int = 0
    """Port of the labelling page on 127.0.0.1; 0 takes a free one."""
    open: bool = True
    """Open the page in the browser."""
    profile: bool = False
    """Say at the end where the time went, and write trace.json into the run directory (open it at ui.perfetto.dev)."""
    config: Path | None = None
    """Start from this TOML file (such as another run's config.toml); options given here override it."""
    preset: str = "auto"
    """Defaults to start from: auto (by environment), enduro, atari, mujoco, pendulum, control, quick (30,208 steps)."""


@dataclass(frozen=True)
class ResumeCommand:
    """Go on with a run from its newest valid checkpoint."""

    run: Positional[Path]
    """The run directory, or `latest`."""
    total_timesteps: int | None = None
    """Train up to so many steps in all, instead of what the run was started with."""
    labels: int | None = None
    """Ask for so many answers in all, instead of what the run was started with."""
    port: int = 0
    """Port of the labelling page; 0 takes a free one."""
    open: bool = True
    """Open the page in the browser."""
    profile: bool = False
    """Say at the end where the time went, and write trace.json into the run directory (open it at ui.perfetto.dev)."""


@dataclass(frozen=True)
class LabelCommand:
    """Serve the labelling page of a run, whether or not it is training."""

    run: Positional[Path]
    """The run directory, or `latest`."""
    port: int = 0
    """Port of the page on 127.0.0.1; 0 takes a free one."""
    open: bool = True
    """Open the page in the browser."""


@dataclass(frozen=True)
class PlayCommand:
    """Watch what the agent has learnt: play whole episodes and record them."""

    run: Positional[Path]
    """The run directory, or `latest`."""
    episodes: int = 1
    """How many episodes."""
    video: Path | None = None
    """Write the film here; videos/<step>.mp4 in the run directory unless given."""
    max_steps: int = 5000
    """End an episode after so many agent steps."""
    seed: int = 1000
    """Seed of the environment."""
    open: bool = False
    """Show the film when it is ready, in whatever this desktop plays films with."""


@dataclass(frozen=True)
class InspectCommand:
    """See what the reward model has learnt: a page of its best and worst clips, its accuracy and its mistakes."""

    run: Positional[Path]
    """The run directory, or `latest`."""
    out: Path | None = None
    """Write the page here; inspect.html in the run directory unless given."""
    open: bool = False
    """Open the page in the browser."""


@dataclass(frozen=True)
class CompareCommand:
    """Draw the learning curves of several runs beside one another."""

    runs: Positional[tuple[Path, ...]]
    """Run directories; runs that differ only in their seed become one curve with an interval."""
    out: Path = Path("compare")
    """Folder for compare.png, compare.html and the numbers."""
    reference: tuple[str, ...] = ()
    """Dashed lines for published figures, each as NAME=VALUE, in the panel of accumulated true reward."""


@dataclass(frozen=True)
class ExportCommand:
    """Write all answers, segments and clips of a run as a data set of plain files."""

    run: Positional[Path]
    """The run directory, or `latest`."""
    out: Path
    """An empty or new folder."""


@dataclass(frozen=True)
class DoctorCommand:
    """Check this machine: libraries, hardware, pictures, database, browser."""

    directory: Path = Path("runs")
    """Where runs will be written."""


@dataclass(frozen=True)
class BenchCommand:
    """Measure the speed here, in turns with Stable-Baselines3, TorchRL, CleanRL and imitation: some 20 minutes.

    Needs a checkout of Pairplay. Each library gets a virtual environment of its own first, which takes some minutes
    once. The table goes into benchmarks/, that of a part into runs/speed.
    """

    rounds: int = 5
    """How often everyone has a turn."""
    only: str = ""
    """Only lines of the table with this in a program's name, such as cheetah or torchrl."""


def _train(argv: Sequence[str]) -> int:
    from pairplay.run.config_file import read_overrides
    from pairplay.session import start

    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--env-id", "--env_id", "--preset", "--config"):
        early.add_argument(name, dest=name.strip("-").replace("-", "_"))
    given, _ = early.parse_known_args(argv)
    base = preset(given.env_id or TrainConfig.env_id, given.preset or "auto")
    if given.config is not None:
        base = read_overrides(Path(given.config), base)
        if not given.env_id and base.env_id != TrainConfig.env_id and given.preset is None:
            # The file may be partial: what it leaves open comes from the preset of *its* environment.
            base = read_overrides(Path(given.config), preset(base.env_id))
    options = _parse(TrainCommand, argv, "train", default=TrainCommand(training=base))
    return start(options.training, options.run_dir, port=options.port, open_page=options.open, profile=options.profile)


def _resume(argv: Sequence[str]) -> int:
    options = _parse(ResumeCommand, argv, "resume")
    from pairplay.run.config_file import read_config
    from pairplay.run.layout import RunDir
    from pairplay.session import go_on

    run = RunDir.open(options.run)
    config = read_config(run.config_toml)
    if options.total_timesteps is not None:
        config = replace(config, total_timesteps=options.total_timesteps)
    if options.labels is not None:
        config = replace(config, labels=options.labels)
    check_options(config)
    return go_on(config, run, port=options.port, open_page=options.open, profile=options.profile)


def _label(argv: Sequence[str]) -> int:
    options = _parse(LabelCommand, argv, "label")
    from pairplay.run.config_file import read_config
    from pairplay.run.layout import RunDir
    from pairplay.web.serving import serve

    run = RunDir.open(options.run)
    if read_config(run.config_toml).queries.clips == "none":
        raise UserError(f"{run.path} draws no clips (--queries.clips none), so there is nothing to compare in it")
    serve(run, port=options.port, open_page=options.open)
    return 0


def _play(argv: Sequence[str]) -> int:
    options = _parse(PlayCommand, argv, "play")
    from pairplay.report.play import play
    from pairplay.run.layout import RunDir

    result = play(
        RunDir.open(options.run),
        episodes=options.episodes,
        video=options.video,
        max_steps=options.max_steps,
        seed=options.seed,
    )
    console = Console(highlight=False, soft_wrap=True)
    for name, reason in result.rejected:
        console.print(f"Checkpoint {name} is damaged ({reason}): playing an older one", style="yellow", markup=False)
    for number, (total, steps) in enumerate(zip(result.returns, result.lengths, strict=True), start=1):
        console.print(f"episode {number}: true return {total:g} in {steps:,} steps")
    console.print(f"Film: {result.video}")
    if options.open:
        import webbrowser

        webbrowser.open(result.video.resolve().as_uri())
    return 0


def _inspect(argv: Sequence[str]) -> int:
    options = _parse(InspectCommand, argv, "inspect")
    from pairplay.report.inspect import inspect
    from pairplay.run.layout import RunDir

    result = inspect(RunDir.open(options.run), options.out)
    console = Console(highlight=False, soft_wrap=True)
    for name, reason in result.rejected:
        console.print(f"Checkpoint {name} is damaged ({reason}): asking an older one", style="yellow", markup=False)
    for line in result.lines:
        console.print(line, markup=False)
    for alarm in result.alarms:
        console.print(f"Alarm since step {alarm.since_step:,}: {alarm.message}", style="yellow", markup=False)
    console.print(f"Wrote {result.html}", markup=False)
    if options.open:
        import webbrowser

        webbrowser.open(result.html.resolve().as_uri())
    return 0


def _compare(argv: Sequence[str]) -> int:
    options = _parse(CompareCommand, argv, "compare")
    from pairplay.report.compare import compare
    from pairplay.run.layout import RunDir

    references = []
    for text in options.reference:
        name, _, value = text.rpartition("=")
        try:
            references.append((name, float(value)))
        except ValueError:
            raise UserError(f"--reference '{text}' is not NAME=VALUE, such as 'published result=171'") from None
    result = compare([RunDir.open(run) for run in options.runs], options.out, references=references)
    console = Console(highlight=False, soft_wrap=True)
    for note in result.notes:
        console.print(note, style="yellow", markup=False)
    for path in (result.png, result.html, result.csv, result.json):
        console.print(f"Wrote {path}")
    return 0


def _export(argv: Sequence[str]) -> int:
    options = _parse(ExportCommand, argv, "export")
    from pairplay.report.export import export
    from pairplay.run.layout import RunDir

    summary = export(RunDir.open(options.run), options.out)
    Console(highlight=False, soft_wrap=True).print(f"Wrote {summary} to {options.out}")
    return 0


def _doctor(argv: Sequence[str]) -> int:
    options = _parse(DoctorCommand, argv, "doctor")
    from pairplay.report.doctor import doctor

    return doctor(options.directory)


def _bench(argv: Sequence[str]) -> int:
    options = _parse(BenchCommand, argv, "bench")
    # Not part of the package: it installs other libraries.
    script = Path(pairplay.__file__).resolve().parents[2] / "benchmarks" / "speed.py"
    if not script.exists():
        raise UserError(
            "pairplay bench needs a checkout of Pairplay, with its benchmarks/: clone it, then `make bench`"
        )
    import subprocess

    words = ["--install", "--rounds", str(options.rounds), "--only", options.only]
    return subprocess.run([sys.executable, str(script), *words], check=False).returncode


COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "train": (_train, "teach an agent by comparing its clips (start here)"),
    "resume": (_resume, "go on with a run that was stopped"),
    "label": (_label, "serve the labelling page of a run"),
    "play": (_play, "film what the agent has learnt"),
    "inspect": (_inspect, "see what the reward model has learnt"),
    "compare": (_compare, "draw the curves of several runs"),
    "export": (_export, "write the answers and clips as a data set"),
    "doctor": (_doctor, "check this machine"),
    "bench": (_bench, "measure its speed on this machine, beside other libraries"),
}

USAGE = """\
usage: pairplay COMMAND [OPTIONS]

Teach a reinforcement-learning agent what you want by comparing short clips of it.

{commands}

Options of a command: pairplay COMMAND --help.  Presets: {presets}.
First steps:          pairplay train            two clips of Enduro in your browser; answer with the arrow keys
                      pairplay play latest      film what it has learnt
"""


def _parse(kind: type[Options], argv: Sequence[str], command: str, default: Options | None = None) -> Options:
    """Parse with tyro; an unknown option is one line with the nearest name."""
    prog = f"pairplay {command}"
    start = tyro.MISSING_NONPROP if default is None else default
    try:
        parsed: tuple[Options, list[str]] = tyro.cli(
            kind, prog=prog, args=list(argv), default=start, return_unknown_args=True
        )
    except BrokenPipeError:  # --help into `head`: who has read enough is not told of an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    options, left_over = parsed
    for word in left_over:
        option = word.split("=", 1)[0]
        raise UserError(f"{unknown('option', option, _option_names(options))} All of them: {prog} --help")
    return options


def _option_names(options: object, prefix: str = "") -> Iterator[str]:
    """The names tyro gives the fields of a dataclass; the training options stand at the top level."""
    assert is_dataclass(options)
    for entry in fields(options):
        value, name = getattr(options, entry.name), entry.name.replace("_", "-")
        if is_dataclass(value):
            yield from _option_names(value, prefix if name == "training" else f"{prefix}{name}.")
        else:
            yield f"--{prefix}{name}"
        if isinstance(value, bool):
            yield f"--{prefix}no-{name}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 (failed) or 2 (a mistake the user can mend)."""
    words = list(sys.argv[1:] if argv is None else argv)
    out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)
    if not words or words[0] in ("-h", "--help"):
        listing = "\n".join(f"  {name:<9} {line}" for name, (_, line) in COMMANDS.items())
        out.print(USAGE.format(commands=listing, presets=", ".join(PRESETS)), markup=False)
        return 0
    if words[0] == "--version":
        out.print(f"pairplay {pairplay.__version__}")
        return 0
    try:
        if words[0] not in COMMANDS:
            raise UserError(unknown("command", words[0], COMMANDS))
        sleep_while_waiting()
        return COMMANDS[words[0]][0](words[1:])
    except UserError as error:
        err.print(f"pairplay: {error}", markup=False, style="red")
        return 2
    except KeyboardInterrupt:
        return 130
