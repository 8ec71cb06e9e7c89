"""Frames that are asked for again and again are expanded once; what needs no expanding is not kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pairplay.compressed import Compressed
from pairplay.reward.film import Shelf
from pairplay.types import Segment

from .examples import IMAGE, VECTOR, make_segment

CPU = torch.device("cpu")


@pytest.fixture
def expanded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever pictures are expanded."""
    found: list[int] = []
    expand = Compressed.expand

    def counting(self: Compressed) -> object:
        found.append(1)
        return expand(self)

    monkeypatch.setattr(Compressed, "expand", counting)
    return found


def shown(count: int) -> list[Segment]:
    return [make_segment(IMAGE, f"{number}", length=4, seed=number) for number in range(count)]


def test_compressed_pictures_are_expanded_once(expanded: list[int]) -> None:
    plain = shown(2)
    small = [segment.small() for segment in plain]
    shelf = Shelf(CPU)
    for _ in range(3):
        for frames, segment in zip(shelf.frames(small), plain, strict=True):
            np.testing.assert_array_equal(frames.numpy(), segment.frames)
    assert len(expanded) == 2


def test_a_shelf_keeps_what_was_used_last(expanded: list[int]) -> None:
    small = [segment.small() for segment in shown(3)]
    shelf = Shelf(CPU, most_bytes=2 * small[0].frames.nbytes)
    expanded.clear()
    for number in (0, 1, 0, 2):
        shelf.frames([small[number]])
    assert list(shelf._kept) == ["0", "2"]
    assert len(expanded) == 3
    shelf.frames([small[0]])
    assert len(expanded) == 3
    shelf.frames([small[1]])
    assert len(expanded) == 4


def test_what_lies_here_as_it_is_takes_no_room() -> None:
    segments = [*shown(2), make_segment(VECTOR, "numbers", length=4).small()]
    shelf = Shelf(CPU)
    for frames, segment in zip(shelf.frames(segments), segments, strict=True):
        assert np.shares_memory(frames.numpy(), segment.frames)
    assert not shelf._kept
