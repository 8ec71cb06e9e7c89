"""Which runs are repetitions of one setting, and what the settings differ in. Reads options, never figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from pairplay.config import TrainConfig
from pairplay.run.config_file import read_config
from pairplay.run.layout import RunDir
from pairplay.types import UserError

_HUMAN_ONLY = ("teacher", "labels", "question", "queries.", "reward_model.")
"""Options that do nothing when the reward is the environment's own."""
_LABEL_PARTS = 3
_VALUE_WIDTH = 24


@dataclass(frozen=True)
class Setting:
    """Runs that differ only in their seed."""

    label: str
    """What tells it from the other settings, such as `teacher=oracle, labels=290`."""
    options: dict[str, Any]
    """Every option that has an effect, by its dotted name, without the seed."""
    runs: tuple[RunDir, ...]
    seeds: tuple[int, ...]


def group_by_setting(runs: Sequence[RunDir]) -> list[Setting]:
    """The settings in the order in which they first appear.

    UserError when there is no run, when one is given twice, and when their environments differ: rewards
    of different environments have no common scale.
    """
    if not runs:
        raise UserError("no runs to compare: give at least one run directory")
    groups: dict[tuple[tuple[str, Any], ...], list[tuple[RunDir, int]]] = {}
    seen: set[str] = set()
    env_ids: dict[str, RunDir] = {}
    for run in runs:
        if (place := str(run.path.resolve())) in seen:
            raise UserError(f"{run.path} is given twice")
        seen.add(place)
        config = read_config(run.config_toml)
        env_ids.setdefault(config.env_id, run)
        groups.setdefault(tuple(_options(config)), []).append((run, config.seed))
    if len(env_ids) > 1:
        where = ", ".join(f"{env_id} in {run.path}" for env_id, run in env_ids.items())
        raise UserError(f"rewards of different environments cannot be compared ({where}): choose runs of one")
    options = [dict(key) for key in groups]
    return [
        Setting(label, chosen, tuple(run for run, _ in members), tuple(seed for _, seed in members))
        for label, chosen, members in zip(_labels(options), options, groups.values(), strict=True)
    ]


def _options(config: TrainConfig) -> Iterator[tuple[str, Any]]:
    for name, value in _flat(config, ""):
        irrelevant = config.reward == "env" and name.startswith(_HUMAN_ONLY)
        if name != "seed" and not irrelevant:
            yield name, value


def _flat(config: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for option in fields(config):
        value = getattr(config, option.name)
        if is_dataclass(value):
            yield from _flat(value, f"{prefix}{option.name}.")
        else:
            yield prefix + option.name, value


def differing_options(settings: Sequence[dict[str, Any]]) -> list[str]:
    """The names of the options that have an effect in several settings and not the same value in all of these."""
    names = dict.fromkeys(name for options in settings for name in options)
    return [name for name in names if len({repr(options[name]) for options in settings if name in options}) > 1]


def _labels(settings: Sequence[dict[str, Any]]) -> list[str]:
    differing = differing_options(settings)
    labels: list[str] = []
    for options in settings:
        parts = [name for name in differing if name in options and name not in ("reward", "teacher")]
        # Where the reward comes from leads, whenever it says something.
        if len(settings) == 1 or {"reward", "teacher"} & set(differing):
            parts.insert(0, "reward" if options["reward"] == "env" else "teacher")
        shown = [f"{name}={_short(options[name])}" for name in parts[:_LABEL_PARTS]]
        label = ", ".join(shown) + (f" +{len(parts) - _LABEL_PARTS}" if len(parts) > _LABEL_PARTS else "")
        same = sum(label == other.partition(" (")[0] for other in labels)
        labels.append(f"{label} ({same + 1})" if same else label)
    return labels


def _short(value: Any) -> str:
    """`pairplay.teachers.road:speed` is `road:speed` here, and a long question ends early."""
    text = str(value)
    module, colon, function = text.partition(":")
    if colon and " " not in text:
        return f"{module.rpartition('.')[2]}:{function}"
    return text if len(text) <= _VALUE_WIDTH else text[: _VALUE_WIDTH - 1] + "…"
