"""A checkpoint is whole or it is none; a damaged one is named and the one before it is used."""

from __future__ import annotations

import builtins
import hashlib
import io
import json
import math
import os
import pickle  # to make what must be refused; see HOSTILE
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pairplay.run import checkpoint
from pairplay.run.checkpoint import load_newest, save
from pairplay.types import UserError


def tensors(step: int) -> dict[str, Tensor]:
    return {"policy.weight": torch.full((3, 2), float(step)), "count": torch.tensor(step)}


def bits(tensor: Tensor) -> bytes:
    return bytes(tensor.clone(memory_format=torch.contiguous_format).untyped_storage())


def steps(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_round_trip_is_bit_exact(tmp_path: Path) -> None:
    shared = torch.arange(12.0).reshape(3, 4)
    given_tensors: dict[str, Any] = {
        "bf16": torch.tensor([1.5, float("nan"), -0.0], dtype=torch.bfloat16),
        "f16": torch.tensor([65504.0], dtype=torch.float16),
        "f64": torch.tensor([math.pi, float("inf")], dtype=torch.float64),
        "u8": torch.tensor([0, 255], dtype=torch.uint8),
        "i64": torch.tensor([2**62, -1]),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, 5, dtype=torch.uint8),
        "turned": shared.T,
        "shared": shared,
        "shared too": shared,
        "part": shared[1],
        "channels last": torch.arange(48.0).reshape(1, 3, 4, 4).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "numpy u8": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "numpy scalar": np.array(2.5),
        "numpy frozen, strided": np.broadcast_to(np.float32(3), (2, 2)),
        "numpy empty": np.zeros((0,), dtype=np.int64),
    }
    save(tmp_path, 5, given_tensors, {})
    loaded = load_newest(tmp_path)
    assert loaded is not None
    assert set(loaded.tensors) == set(given_tensors)
    for name, value in given_tensors.items():
        want = value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
        got = loaded.tensors[name]
        assert (got.dtype, got.shape) == (want.dtype, want.shape), name
        assert bits(got) == bits(want), name
        got.fill_(1)  # its own, writable memory


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(state=st.dictionaries(st.text(), JSON, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_state_round_trips(tmp_path: Path, state: dict[str, Any]) -> None:
    save(tmp_path, 1, {}, state)
    loaded = load_newest(tmp_path)
    assert loaded is not None
    assert loaded.state == state


def test_floats_json_has_no_word_for_become_none(tmp_path: Path) -> None:
    save(tmp_path, 1, {}, {"a": math.nan, "b": [math.inf, 1.0], "c": {"d": -math.inf}, "e": (1, 2)})
    loaded = load_newest(tmp_path)
    assert loaded is not None
    assert loaded.state == {"a": None, "b": [None, 1.0], "c": {"d": None}, "e": [1, 2]}


@pytest.mark.parametrize("state", [{1: "one"}, {"a": {2: "two"}}, {"a": object()}, {"a": b"bytes"}])
def test_state_that_would_not_come_back_is_refused(tmp_path: Path, state: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        save(tmp_path, 1, {}, state)
    assert not list(tmp_path.iterdir())


def test_the_newest_three_are_kept(tmp_path: Path) -> None:
    for step in (100, 200, 300, 400, 500):
        path = save(tmp_path, step, tensors(step), {"step": step})
        assert path == tmp_path / f"{step:012d}"
    assert steps(tmp_path) == ["000000000300", "000000000400", "000000000500"]
    loaded = load_newest(tmp_path)
    assert loaded is not None
    assert (loaded.step, loaded.state, loaded.path, loaded.rejected) == (500, {"step": 500}, path, ())


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert load_newest(tmp_path / "checkpoints") is None
    (tmp_path / ".tmp-000000000100").mkdir()
    (tmp_path / "notes").mkdir()
    assert load_newest(tmp_path) is None


def test_the_same_step_again_replaces(tmp_path: Path) -> None:
    save(tmp_path, 1, tensors(1), {"n": 1})
    save(tmp_path, 1, tensors(2), {"n": 2})
    loaded = load_newest(tmp_path)
    assert loaded is not None
    assert loaded.state == {"n": 2}
    assert steps(tmp_path) == ["000000000001"]


def test_a_run_that_went_back_leaves_no_later_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step, tensors(step), {})
    (tmp_path / "000000000003" / "state.json").write_text("damage")
    (tmp_path / "000000000002" / "state.json").unlink()
    loaded = load_newest(tmp_path)
    assert loaded is not None
    assert [name for name, _ in loaded.rejected] == ["000000000003", "000000000002"]
    save(tmp_path, 2, tensors(2), {})
    assert steps(tmp_path) == ["000000000001", "000000000002"]


def test_all_damaged_is_an_error_not_a_fresh_start(tmp_path: Path) -> None:
    save(tmp_path, 1, tensors(1), {})
    (tmp_path / "000000000001" / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"000000000001: manifest\.json is missing.*answers are kept"):
        load_newest(tmp_path)


# Damage by accident


def flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data))])


def lengthen(path: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes() + b" " * chance.randrange(1, 9))


def lose(path: Path, chance: random.Random) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [flip, truncate, lengthen, lose])
def test_any_damage_is_noticed_and_the_previous_checkpoint_used(
    tmp_path: Path, damage: Callable[[Path, random.Random], None]
) -> None:
    chance = random.Random(0)
    save(tmp_path, 1, tensors(1), {"n": 1})
    newest = save(tmp_path, 2, tensors(2), {"n": 2})
    intact = {path: path.read_bytes() for path in newest.iterdir()}
    for path, data in intact.items():
        for _ in range(30):
            damage(path, chance)
            loaded = load_newest(tmp_path)
            assert loaded is not None
            assert loaded.step == 1
            assert torch.equal(loaded.tensors["policy.weight"], torch.ones(3, 2))
            assert [rejected.name for rejected in loaded.rejected] == ["000000000002"]
            path.write_bytes(data)


# Damage on purpose: hashes and sizes are right, the content is hostile


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (os.system, ("touch /tmp/pairplay-was-here",))


def seal(path: Path, files: dict[str, bytes], other: dict[str, Any] | None = None) -> None:
    """Write a checkpoint directory with an honest manifest of dishonest files."""
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    body = json.loads(checkpoint._manifest(2, files)) | (other or {})
    del body["sha256"]
    body["sha256"] = hashlib.sha256(checkpoint._canonical(body)).hexdigest()
    (path / "manifest.json").write_bytes(checkpoint._canonical(body))


def safetensors_file(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def npz_with_objects() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([Bomb()], dtype=object))  # numpy pickles what is no number: to be refused as well
    return buffer.getvalue()


# Pickles are made here only to see them refused: nothing in the package reads one.
HOSTILE = {
    "pickle": pickle.dumps(Bomb()),
    "npz of objects": npz_with_objects(),
    "giant header": struct.pack("<Q", 2**40) + b"{}",
    "header over 100 MB said": struct.pack("<Q", 100_000_001) + b"{" * 1000,
    "header that is no JSON": safetensors_file(b"[[[["),
    "deep header": safetensors_file(b"[" * 200_000),
    "overlap": safetensors_file(
        {
            "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
            "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]},
        },
        b"\0" * 6,
    ),
    "beyond the end": safetensors_file({"a": {"dtype": "U8", "shape": [400], "data_offsets": [0, 400]}}, b"\0" * 4),
    "shape overflow": safetensors_file({"a": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 4]}}, b"\0" * 4),
    "unknown dtype": safetensors_file({"a": {"dtype": "X9", "shape": [4], "data_offsets": [0, 4]}}, b"\0" * 4),
    "dtype without torch twin": safetensors_file(
        {"a": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}, b"\0" * 3
    ),
    "empty": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tensors_are_refused_by_name(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1, tensors(1), {})
    seal(tmp_path / "000000000002", {"tensors.safetensors": HOSTILE[name], "state.json": b"{}"})
    loaded = load_newest(tmp_path)
    assert loaded is not None
    assert loaded.step == 1
    assert "tensors.safetensors is not a safetensors file" in loaded.rejected[0].reason
    assert not Path("/tmp/pairplay-was-here").exists()


# A pickle among them, which is refused like any other bytes that are no JSON object.
@pytest.mark.parametrize("state", [b"[1]", b"", b"[" * 200_000, HOSTILE["pickle"], b"\xff\xfe"])
def test_hostile_state_is_refused(tmp_path: Path, state: bytes) -> None:
    save(tmp_path, 1, tensors(1), {})
    seal(tmp_path / "000000000002", {"tensors.safetensors": safetensors_file({}), "state.json": state})
    loaded = load_newest(tmp_path)
    assert loaded is not None
    assert loaded.step == 1
    assert "state.json is not" in loaded.rejected[0].reason


GOOD = {"tensors.safetensors": safetensors_file({}), "state.json": b"{}"}
ENTRY = {"size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"files": {"../secret": ENTRY, "state.json": ENTRY}}, "other files"),
        ({"files": {**dict.fromkeys(GOOD, ENTRY), "/etc/passwd": ENTRY}}, "other files"),
        ({"files": {"state.json": ENTRY}}, "other files"),
        ({"files": []}, "other files"),
        ({"files": {"tensors.safetensors": 3, "state.json": ENTRY}}, "does not describe tensors"),
        ({"files": {"tensors.safetensors": {"size": -1, "sha256": ""}, "state.json": ENTRY}}, "more than the -1"),
        ({"step": 9}, "is of step 9"),
        ({"format": 2}, "has format 2"),
        ({"padding": " " * 70_000}, "more than the 65536"),
    ],
)
def test_hostile_manifests_are_refused(tmp_path: Path, other: dict[str, Any], reason: str) -> None:
    (tmp_path / "secret").write_text("{}")
    checkpoints = tmp_path / "checkpoints"
    save(checkpoints, 1, tensors(1), {})
    seal(checkpoints / "000000000002", GOOD, other)
    loaded = load_newest(checkpoints)
    assert loaded is not None
    assert loaded.step == 1
    assert reason in loaded.rejected[0].reason


def test_the_honest_twin_of_those_is_accepted(tmp_path: Path) -> None:
    seal(tmp_path / "000000000002", GOOD)
    loaded = load_newest(tmp_path)
    assert loaded is not None
    assert (loaded.step, loaded.tensors, loaded.state) == (2, {}, {})


def as_link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def as_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("swap", [as_link, as_pipe, as_directory])
@pytest.mark.parametrize("file", ["manifest.json", "state.json"])
@pytest.mark.timeout(10)
def test_only_plain_files_are_read(tmp_path: Path, swap: Callable[[Path], None], file: str) -> None:
    save(tmp_path, 1, tensors(1), {})
    save(tmp_path, 2, tensors(2), {})
    swap(tmp_path / "000000000002" / file)
    loaded = load_newest(tmp_path)
    assert loaded is not None
    assert loaded.step == 1
    assert file in loaded.rejected[0].reason


# Death at every point


class KilledError(BaseException):
    """What kill -9 looks like from inside: nothing after it runs, cleaning up included."""


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int | None], None]]:
    """`mortal(n)`: the process dies at its n-th touch of the disk and stays dead; `mortal(None)` revives it."""
    left: list[int | None] = [None]

    def touch() -> None:
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                raise KilledError

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def then(*args: Any, **kwargs: Any) -> Any:
            touch()
            result = call(*args, **kwargs)
            touch()  # after it too: done, but the caller never learns of it
            return result

        return then

    for name in ("open", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, wrapped(getattr(os, name)))

    def torn_open(*args: Any, **kwargs: Any) -> Any:
        touch()
        file = opened(*args, **kwargs)
        mode = args[1] if len(args) > 1 else kwargs.get("mode", "r")
        if left[0] is not None and "x" in mode:
            write = file.write

            def torn(data: bytes) -> None:
                write(data[: len(data) // 2])
                file.flush()
                touch()
                write(data[len(data) // 2 :])

            return Torn(file, torn)
        return file

    opened = io.open
    monkeypatch.setattr(io, "open", torn_open)
    monkeypatch.setattr(builtins, "open", torn_open)

    def set_life(touches: int | None) -> None:
        left[0] = touches

    yield set_life
    left[0] = None


class Torn:
    """A file whose writes reach the disk in halves."""

    def __init__(self, file: Any, write: Callable[[bytes], None]) -> None:
        self.file = file
        self.write = write

    def __enter__(self) -> Torn:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.mark.parametrize("step", [4, 3], ids=["a new step", "the same step again"])
def test_death_at_every_point_of_a_save(tmp_path: Path, mortal: Callable[[int | None], None], step: int) -> None:
    before = tmp_path / "before"
    for earlier in (1, 2, 3):
        save(before, earlier, tensors(earlier), {"made": "before"})
    touches, deaths = 0, 0
    while True:
        directory = tmp_path / f"killed-{touches}"
        shutil.copytree(before, directory)
        mortal(touches)
        try:
            save(directory, step, tensors(step), {"made": "after"})
            survived = True
        except KilledError:
            survived = False
            deaths += 1
        mortal(None)
        loaded = load_newest(directory)
        assert loaded is not None
        assert loaded.rejected == ()  # no partial directory was taken for a checkpoint
        assert (loaded.step, loaded.state["made"]) in [(3, "before"), (step, "after")]
        assert torch.equal(loaded.tensors["count"], torch.tensor(loaded.step))
        save(directory, 5, tensors(5), {"made": "later"})
        assert steps(directory) == [f"{n:012d}" for n in sorted({1, 2, 3, loaded.step, 5})[-3:]]
        touches += 1
        if survived:
            break
    assert deaths > 30


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1, tensors(1), {})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for step in (1, 2):
            with pytest.raises(OSError, match="No space"):
                save(tmp_path, step, tensors(step), {})
            assert steps(tmp_path) == ["000000000001"]
    loaded = load_newest(tmp_path)
    assert loaded is not None
    assert loaded.step == 1
    save(tmp_path, 2, tensors(2), {})
    assert steps(tmp_path) == ["000000000001", "000000000002"]


def test_every_file_and_both_directories_reach_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def spy(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def spy_rename(self: Path, target: Path) -> Path:
        synced.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", spy)
    monkeypatch.setattr(Path, "rename", spy_rename)
    save(tmp_path / "checkpoints", 1, tensors(1), {})
    assert synced == [
        "tensors.safetensors",
        "state.json",
        "manifest.json",
        ".tmp-000000000001",
        "rename",
        "checkpoints",
    ]
