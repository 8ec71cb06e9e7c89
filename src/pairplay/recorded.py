"""Launch a computation of many small kernels at once, where a GPU computes it. Knows no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

WARM_UP = 3
"""Plain calls before a computation is recorded: in them libraries choose kernels, and optimizers make their state."""

Shapes = tuple[tuple[torch.Size, torch.dtype], ...]


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Recorded:
    """`compute(*inputs)`, tensors to tensors, to be called again and again with inputs of a few shapes.

    A GPU is done with a small layer before Python has launched the next one. So there, after `WARM_UP` plain calls, the
    launches are recorded as a CUDA graph, once for each set of shapes, and from then on replayed in one. On any other
    device every call is a plain one.

    What it computes may change tensors in place (parameters, an optimizer's state) but must never put others into their
    stead, wait for the GPU, or draw random numbers; numbers that are no tensors stay what they were when recorded.
    """

    def __init__(self, compute: Callable[..., tuple[Tensor, ...]], device: torch.device) -> None:
        self._compute = compute
        self._on_gpu = device.type == "cuda"
        self._calls: Counter[Shapes] = Counter()
        self._recordings: dict[Shapes, _Recording] = {}

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if not self._on_gpu:
            return self._compute(*inputs)
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        recording = self._recordings.get(shapes)
        if recording is None:
            self._calls[shapes] += 1
            if self._calls[shapes] <= WARM_UP:
                return self._aside(inputs)
            recording = self._recordings[shapes] = self._record(inputs)
        for held, tensor in zip(recording.inputs, inputs, strict=True):
            held.copy_(tensor)
        recording.graph.replay()
        # The next replay writes to the same place.
        return tuple(tensor.clone() for tensor in recording.outputs)

    def _aside(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """A plain call on a stream of its own, as what is to be recorded must have run on."""
        main, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(main)
        with torch.cuda.stream(side):
            outputs = self._compute(*inputs)
        main.wait_stream(side)
        # Memory is given to nobody else before both streams are through with it.
        for tensor in inputs:
            tensor.record_stream(side)
        for tensor in outputs:
            tensor.record_stream(main)
        return outputs

    def _record(self, inputs: tuple[Tensor, ...]) -> _Recording:
        held = tuple(tensor.clone() for tensor in inputs)
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            outputs = self._compute(*held)
        return _Recording(graph, held, outputs)
