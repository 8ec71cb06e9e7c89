"""The options of a run as a TOML file that people read, edit and pass on. Knows nothing of the command line."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tomli_w

from pairplay import __version__
from pairplay.config import TrainConfig
from pairplay.types import UserError

_Config = TypeVar("_Config")

_HEADER = """\
# Every option of this run, written by Pairplay {version}.
# The same again: pairplay train --config {name}
"""


_SINCE = "# Since"


def write_config(path: Path, config: TrainConfig, *, notes: Sequence[str] = ()) -> None:
    """Write every option to `path`, whole or not at all; `notes` are lines of comment above them."""
    header = _HEADER.format(version=__version__, name=path.name) + "".join(f"{note}\n" for note in notes)
    text = header + "\n" + tomli_w.dumps(asdict(config))
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except UnicodeEncodeError as error:
        partial.unlink()
        raise UserError(f"an option holds characters that are not UTF-8: {error.object!r}") from error
    partial.replace(path)


def amend_config(path: Path, config: TrainConfig) -> None:
    """`write_config` of a run that goes on, with a note of each option that is another one now; earlier notes stay.

    Nothing where none is.
    """
    before = read_config(path)
    if before == config:
        return
    notes = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith(_SINCE)]
    old, today = _flat(before), f"{datetime.now():%Y-%m-%d %H:%M}"
    notes += [
        f"{_SINCE} {today}: {key} = {new}, before {old[key]}" for key, new in _flat(config).items() if new != old[key]
    ]
    write_config(path, config, notes=notes)


def read_config(path: Path) -> TrainConfig:
    """The options in `path`; what it leaves out keeps its default. UserError as `read_overrides`."""
    return read_overrides(path, TrainConfig())


def read_overrides(path: Path, base: TrainConfig) -> TrainConfig:
    """`base` with the options in `path` in place of its own.

    UserError for a file that is missing or no TOML, and for an unknown key, a wrong type or a
    value that is not one of the choices: it names the key, what was expected and the file.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from error
    return _override(base, table, path, prefix="")


def _override(base: _Config, table: Mapping[str, object], path: Path, prefix: str) -> _Config:
    hints = get_type_hints(type(base))
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in hints:
            raise UserError(_unknown(prefix + key, path))
        current = getattr(base, key)
        if is_dataclass(current):
            if not isinstance(value, dict):
                raise UserError(
                    f"{path}: {prefix}{key} is a group of options: write [{prefix}{key}] and its options below"
                )
            values[key] = _override(current, value, path, f"{prefix}{key}.")
        else:
            values[key] = _typed(hints[key], value, prefix + key, path)
    return replace(base, **values)  # type: ignore[type-var]  # every caller passes a dataclass


def _typed(hint: Any, value: object, key: str, path: Path) -> object:
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        if value not in choices or isinstance(value, bool):
            near = _nearest(str(value), [str(choice) for choice in choices])
            raise UserError(f"{path}: {key} = {value!r} is not one of {', '.join(map(str, choices))}{near}")
        return value
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:  # exactly: True is an int to isinstance
        raise UserError(f"{path}: {key} = {value!r} should be {_WORDS[hint]}")
    return value


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: 'text in quotes, "like this"'}


def _unknown(key: str, path: Path) -> str:
    known = list(_flat(TrainConfig()))
    # The right name in the wrong group is the likeliest mistake.
    moved = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    near = f". Did you mean {moved[0]!r}?" if moved else _nearest(key, known)
    return f"{path}: unknown option {key!r}{near}"


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f". Did you mean {near[0]!r}?" if near else ""


def _flat(config: Any, prefix: str = "") -> dict[str, object]:
    """Each option by its name with dots."""
    options: dict[str, object] = {}
    for option in fields(config):
        value = getattr(config, option.name)
        options |= _flat(value, f"{prefix}{option.name}.") if is_dataclass(value) else {prefix + option.name: value}
    return options
