"""An array kept small until it is asked for: pictures of games deflate to a fifteenth. Knows no room."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Deflated:
    """An array's deflated bytes, and what to make of them."""

    data: npt.NDArray[np.uint8]
    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: npt.NDArray[Any]) -> Deflated:
        # copy: frombuffer gives a read-only view, which torch warns of. Level 1 is several times faster than the usual.
        data = np.frombuffer(zlib.compress(np.ascontiguousarray(array).data, 1), np.uint8).copy()
        return cls(data, array.dtype.str, array.shape)

    @classmethod
    def again(cls, data: npt.NDArray[np.uint8], layout: Mapping[str, Any]) -> Deflated:
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

    def inflate(self) -> npt.NDArray[Any]:
        """The array, as a copy that may be changed."""
        return np.frombuffer(zlib.decompress(self.data.tobytes()), np.dtype(self.dtype)).reshape(self.shape).copy()
