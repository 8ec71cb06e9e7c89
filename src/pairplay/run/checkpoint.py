"""Everything needed to go on, on disk: written whole or not at all, checked before it is believed.

A checkpoint is a directory `checkpoints/<step>/` with three files: the tensors, the rest as JSON, and
a manifest with the size and sha256 of both. The manifest is written last and the directory is
renamed into place after it, so a directory that bears a step's name and whose manifest holds *is* a checkpoint.
Nothing here unpickles: a checkpoint from a stranger can be wrong, never in command.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from pairplay import __version__
from pairplay.types import Array, UserError

KEEP = 3
_FORMAT = 1
_TENSORS, _STATE, _MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
_MANIFEST_BYTES = 64 * 1024
_NAME = re.compile(r"\d{12,}")
_TEMPORARY, _REPLACED = ".tmp-", ".replaced-"


class Rejected(NamedTuple):
    """A checkpoint that cannot be believed, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Checkpoint:
    """The newest checkpoint that holds, and the newer ones that did not."""

    step: int
    tensors: dict[str, Tensor]
    """On the CPU, bit for bit as saved."""
    state: dict[str, Any]
    path: Path
    rejected: tuple[Rejected, ...] = ()


class _DamagedError(Exception):
    """Why one checkpoint is not believed."""


def save(directory: Path, step: int, tensors: Mapping[str, Tensor | Array], state: Mapping[str, Any]) -> Path:
    """Write checkpoint `step` into `directory`, keep the newest three up to it, and return its path.

    `state` is JSON: text keys, lists, numbers, text, booleans, None. A float that is not finite is stored
    as None, for JSON has no word for it; anything else is a TypeError. Checkpoints of later steps are removed:
    the run went back, and they belong to a future that did not happen. One process a directory may save.
    OSError (a full disk) leaves the earlier checkpoints as they were.
    """
    files = {
        _TENSORS: safetensors.torch.save({name: plain(tensor) for name, tensor in tensors.items()}),
        _STATE: json.dumps(finite(state), allow_nan=False).encode(),
    }
    directory.mkdir(parents=True, exist_ok=True)
    _tidy(directory)
    name = f"{step:012d}"
    temporary = directory / f"{_TEMPORARY}{name}"
    try:
        temporary.mkdir()
        for file, data in files.items():
            _write(temporary / file, data)
        _write(temporary / _MANIFEST, _manifest(step, files))
        _sync_directory(temporary)
        final = directory / name
        if final.exists():  # never a moment without either of the two
            final.rename(directory / f"{_REPLACED}{name}")
        temporary.rename(final)
        _sync_directory(directory)
    except OSError:
        _tidy(directory)
        raise
    _tidy(directory)
    _prune(directory, step)
    return final


def load_newest(directory: Path) -> Checkpoint | None:
    """The newest checkpoint that holds; None when none was ever saved.

    `rejected` names the newer ones that do not hold, and why. UserError when there are checkpoints and none
    holds: to begin again from nothing must be somebody's decision.
    """
    rejected: list[Rejected] = []
    for path in reversed(_candidates(directory)):
        step = int(path.name.removeprefix(_REPLACED))
        try:
            tensors, state = _read(path, step)
        except _DamagedError as error:
            rejected.append(Rejected(path.name, str(error)))
        else:
            return Checkpoint(step, tensors, state, path, tuple(rejected))
    if rejected:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in rejected)
        raise UserError(
            f"no checkpoint in {directory} can be read ({reasons}). "
            "Move that directory away to train again from the first step; the answers are kept"
        )
    return None


def plain(tensor: Tensor | Array) -> Tensor:
    """A copy on the CPU that shares memory with nothing: safetensors refuses shared and strided tensors."""
    if isinstance(tensor, Tensor):
        return tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)
    return torch.from_numpy(np.array(tensor, order="C", copy=True))


def finite(value: Any) -> Any:
    """A copy in which numbers that JSON cannot write are None. TypeError for a key that is not text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):  # json would write 1 as "1" and never give it back
                raise TypeError(f"checkpoint state has a key that is not text: {key!r}")
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1).encode()


def _manifest(step: int, files: Mapping[str, bytes]) -> bytes:
    body: dict[str, Any] = {
        "format": _FORMAT,
        "pairplay": __version__,
        "step": step,
        "files": {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
        },
    }
    # Its own hash too, so that no bit of it can flip unseen.
    return _canonical(body | {"sha256": hashlib.sha256(_canonical(body)).hexdigest()})


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _candidates(directory: Path) -> list[Path]:
    """Oldest first. One that was being replaced when the process died stands just before its successor."""
    paths = directory.iterdir() if directory.is_dir() else iter(())
    named = [path for path in paths if _NAME.fullmatch(path.name.removeprefix(_REPLACED))]
    return sorted(
        named, key=lambda path: (int(path.name.removeprefix(_REPLACED)), _NAME.fullmatch(path.name) is not None)
    )


def _tidy(directory: Path) -> None:
    """Finish or undo what a save that died left behind."""
    for path in list(directory.iterdir()):
        if path.name.startswith(_TEMPORARY):
            shutil.rmtree(path)
        elif path.name.startswith(_REPLACED):
            original = directory / path.name.removeprefix(_REPLACED)
            if original.exists():
                shutil.rmtree(path)
            else:
                path.rename(original)


def _prune(directory: Path, step: int) -> None:
    steps = sorted(
        (path for path in directory.iterdir() if _NAME.fullmatch(path.name)), key=lambda path: int(path.name)
    )
    past = [path for path in steps if int(path.name) <= step]
    for path in [*past[:-KEEP], *(path for path in steps if int(path.name) > step)]:
        # Renamed first: removing takes a while, and half a checkpoint must not bear a step's name.
        doomed = directory / f"{_TEMPORARY}{path.name}"
        path.rename(doomed)
        shutil.rmtree(doomed)


def _read(path: Path, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    files = _read_manifest(path, step)
    data = {name: _read_file(path / name, entry) for name, entry in files.items()}
    try:
        # From the very bytes that were hashed: what is checked is what is used. This is safetensors' own loader, which
        # reads numbers and nothing else, not torch.load, which unpickles.
        tensors = safetensors.torch.load(data[_TENSORS])
    except (safetensors.SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise _DamagedError(f"{_TENSORS} is not a safetensors file ({error})") from error
    try:
        state = json.loads(data[_STATE])
    except (ValueError, RecursionError) as error:
        raise _DamagedError(f"{_STATE} is not JSON ({error})") from error
    if not isinstance(state, dict):
        raise _DamagedError(f"{_STATE} is not a JSON object")
    return tensors, state


def _read_manifest(path: Path, step: int) -> dict[str, dict[str, Any]]:
    raw = _read_plain(path / _MANIFEST, _MANIFEST_BYTES)
    try:
        manifest = json.loads(raw)
        body = {key: value for key, value in manifest.items() if key != "sha256"}
        intact = raw == _canonical(manifest) and manifest["sha256"] == hashlib.sha256(_canonical(body)).hexdigest()
        files, version, said = manifest["files"], manifest["format"], manifest["step"]
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise _DamagedError(f"{_MANIFEST} cannot be read") from error
    if not intact:
        raise _DamagedError(f"{_MANIFEST} does not match its own sha256")
    if version != _FORMAT:
        raise _DamagedError(f"{_MANIFEST} has format {version!r}, this version reads {_FORMAT}")
    if said != step:
        raise _DamagedError(f"{_MANIFEST} is of step {said!r}")
    # These two and no others: a name from a file is never followed to anywhere.
    if not isinstance(files, dict) or set(files) != {_TENSORS, _STATE}:
        raise _DamagedError(f"{_MANIFEST} names other files than {_TENSORS} and {_STATE}")
    return files


def _read_file(path: Path, entry: object) -> bytes:
    match entry:
        case {"size": int(size), "sha256": str(digest)}:
            pass
        case _:
            raise _DamagedError(f"{_MANIFEST} does not describe {path.name}")
    data = _read_plain(path, size)
    if len(data) != size:
        raise _DamagedError(f"{path.name} has {len(data)} bytes, the manifest says {size}")
    if hashlib.sha256(data).hexdigest() != digest:
        raise _DamagedError(f"{path.name} does not match its sha256")
    return data


def _read_plain(path: Path, most_bytes: int) -> bytes:
    """The bytes of a regular file: not of a link, and not of a pipe, which would wait for ever."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise _DamagedError(f"{path.name} is not a plain file")
            if status.st_size > most_bytes:
                raise _DamagedError(f"{path.name} has {status.st_size} bytes, more than the {most_bytes} expected")
            return file.read()
    except FileNotFoundError as error:
        raise _DamagedError(f"{path.name} is missing") from error
    except OSError as error:
        raise _DamagedError(f"{path.name} cannot be read ({error.strerror})") from error
