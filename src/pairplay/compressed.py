"""An array kept small until it is asked for: pictures of games take a twentieth. Knows no room."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL = 1
"""The frames of a segment of Enduro, 131 KB, become 6 KB in 0.07 ms, and back in 0.04: the fits want some 150 an
iteration."""
MAGIC = b"\x28\xb5\x2f\xfd"
"""How bytes begin that Zstandard compressed (RFC 8878, 3.1.1)."""


@dataclass(frozen=True)
class Compressed:
    """An array's bytes, compressed with Zstandard, and what to make of them."""

    data: npt.NDArray[np.uint8]
    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: npt.NDArray[Any]) -> Compressed:
        # copy: frombuffer gives a read-only view, which torch warns of.
        data = np.frombuffer(zstd.compress(np.ascontiguousarray(array).data, LEVEL), np.uint8).copy()
        return cls(data, array.dtype.str, array.shape)

    @classmethod
    def again(cls, data: npt.NDArray[np.uint8], layout: Mapping[str, Any]) -> Compressed:
        """The inverse of `data` and `layout`."""
        return cls(data, str(layout["dtype"]), tuple(layout["shape"]))

    @property
    def layout(self) -> dict[str, Any]:
        """All but the data, as JSON."""
        return {"dtype": self.dtype, "shape": list(self.shape)}

    @property
    def nbytes(self) -> int:
        """What it takes now."""
        return self.data.nbytes

    def expand(self) -> npt.NDArray[Any]:
        """The array, as a copy that may be changed."""
        data = self.data.tobytes()
        # Checkpoints of before hold bytes that zlib deflated, which begin otherwise.
        plain = zstd.decompress(data) if data.startswith(MAGIC) else zlib.decompress(data)
        return np.frombuffer(plain, np.dtype(self.dtype)).reshape(self.shape).copy()
