"""Where the files of a run lie, and how a run is found again. Opens and writes none of them."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pairplay.types import UserError

RUNS = Path("runs")
"""Where runs go by default, from the directory the command was given in."""


@dataclass(frozen=True)
class RunDir:
    """One run's directory. Whoever holds one may rely on the directory, not on each file in it."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def config_toml(self) -> Path:
        return self.path / "config.toml"

    @property
    def labels_db(self) -> Path:
        return self.path / "labels.db"

    @property
    def clips(self) -> Path:
        return self.path / "clips"

    @property
    def metrics_jsonl(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def predictions_jsonl(self) -> Path:
        return self.path / "predictions.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def videos(self) -> Path:
        return self.path / "videos"

    @property
    def trace_json(self) -> Path:
        return self.path / "trace.json"

    @property
    def trainer_lock(self) -> Path:
        return self.path / "trainer.lock"

    @classmethod
    def create(cls, path: Path | None, env_id: str, seed: int, *, root: Path = RUNS) -> RunDir:
        """A new, empty run at `path`, by default `runs/<env>/<date-time>-<seed>`.

        UserError where something already lies: a run is never written over.
        """
        if path is None:
            path = _fresh_path(root / safe_name(env_id), seed)
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file: choose another directory with --run-dir")
        if path.is_dir() and any(path.iterdir()):
            if is_run(path):
                raise UserError(
                    f"{path} already holds a run. Continue it with `pairplay resume {path}`, "
                    "or choose another directory with --run-dir"
                )
            raise UserError(f"{path} is not empty: choose another directory with --run-dir")
        run = cls(path)
        try:
            for directory in (run.clips, run.tensorboard, run.checkpoints, run.videos):
                directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot create {path} ({error.strerror}): choose another directory with --run-dir"
            ) from error
        return run

    @classmethod
    def open(cls, path: str | Path, *, root: Path = RUNS) -> RunDir:
        """The run at `path`; or `latest`; or the one run under `root` of that name, or whose name begins or ends so.

        UserError, with the nearest names, when there is none or when several fit.
        """
        if is_run(Path(path)):
            return cls(Path(path))
        runs = find_runs(root)
        wanted = str(path).strip("/")
        if wanted == "latest" and runs:
            return cls(runs[-1])
        names = {run: _names(run, root) for run in runs}
        fits = [run for run in runs if wanted in names[run]]
        fits = fits or [run for run in runs if any(n.startswith(wanted) or n.endswith(wanted) for n in names[run])]
        if wanted and len(fits) == 1:
            return cls(fits[0])
        if wanted and fits:
            raise UserError(f"{len(fits)} runs fit {wanted!r}: {_listed(fits)}. Give more of the name")
        raise UserError(f"{path} is not a run (no config.toml in it). {_offer(wanted, runs, root)}")


def is_run(path: Path) -> bool:
    return (path / "config.toml").is_file()


def find_runs(root: Path = RUNS) -> list[Path]:
    """The runs under `root`, oldest first."""
    configs = [config for pattern in ("*/config.toml", "*/*/config.toml") for config in root.glob(pattern)]
    return [config.parent for config in sorted(configs, key=lambda config: (config.stat().st_mtime_ns, str(config)))]


def safe_name(env_id: str) -> str:
    """`env_id` as one directory name: `ALE/Enduro-v5` becomes `ALE-Enduro-v5`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", env_id).strip(".-") or "env"


def _fresh_path(parent: Path, seed: int) -> Path:
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{seed}"
    path, twin = parent / name, 1
    while path.exists():  # two runs of one seed within a second
        twin += 1
        path = parent / f"{name}.{twin}"
    return path


def _names(run: Path, root: Path) -> tuple[str, str]:
    return run.name, str(run.relative_to(root))


def _listed(runs: list[Path], most: int = 5) -> str:
    shown = ", ".join(str(run) for run in runs[-most:])
    return shown if len(runs) <= most else f"{shown}, …"


def _offer(wanted: str, runs: list[Path], root: Path) -> str:
    if not runs:
        return "There are no runs here yet: start one with `pairplay train`"
    by_name = {name: run for run in runs for name in (*_names(run, root), str(run))}
    near = difflib.get_close_matches(wanted, by_name, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {_listed(list(dict.fromkeys(by_name[name] for name in near)))}?"
    return f"Runs here: {_listed(runs)}"
