"""Small copies give back what they were made of, and answers keep small ones."""

from __future__ import annotations

import json
import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pairplay.compressed import Compressed
from pairplay.types import Array, Segment

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)


@given(hnp.arrays(st.sampled_from([np.uint8, np.float32, np.float64, np.int64]), SHAPES))
def test_an_array_comes_back_as_it_was(array: Array) -> None:
    small = Compressed.of(array)
    again = Compressed.again(small.data, json.loads(json.dumps(small.layout))).expand()
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert again.tobytes() == array.tobytes()
    assert again.flags.writeable


def test_what_a_checkpoint_of_before_zstandard_holds_is_read() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    deflated = np.frombuffer(zlib.compress(array.tobytes(), 1), np.uint8)
    layout = {"dtype": "<f4", "shape": [3, 4]}
    np.testing.assert_array_equal(Compressed.again(deflated, layout).expand(), array)


def test_pictures_of_a_segment_are_kept_small_and_state_vectors_as_they_are() -> None:
    quiet = np.zeros((28, 80, 80), np.uint8)
    quiet[:, 40:42] = 200
    segment = Segment("a", quiet, 3, np.zeros(25, np.int64), env=0, step=0, iteration=0)
    small = segment.small()
    assert isinstance(small.held, Compressed)
    assert small.held.nbytes < quiet.nbytes / 50
    np.testing.assert_array_equal(small.frames, quiet)
    assert small.small().frames.shape == quiet.shape
    vectors = Segment("b", np.zeros((25, 3), np.float32), 3, np.zeros(25, np.int64), env=0, step=0, iteration=0)
    assert vectors.small() is vectors
