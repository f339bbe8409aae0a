"""An ONNX graph on disk: run by onnxruntime, and compared with the module that it was made of.

Enters: the file of a graph, and tensors.  Leaves: tensors, or a sentence: for which sizes a graph is wrong.
A graph that was traced may hold the rows or the length of its example as constants; so none is trusted untried.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sensorium.core.errors import ModelError, UsageError

TOLERANCE = 1e-3
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Graph:
    """A file, and the names of what it reads and writes, in order."""

    file: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def require_exporter() -> None:
    """Raise UsageError where the extra `export` is missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"graphs need the package '{error.name}'", advice="pip install 'sensorium[export]'"
        ) from None


def first_line(error: Exception) -> str:
    """Return what a foreign library says, as one line without colour codes."""
    lines = _COLOUR.sub("", str(error)).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


class Session:
    """A graph that takes tensors and gives tensors, on the CPU.

    Raises:
        ModelError: onnxruntime cannot open it.
    """

    def __init__(self, folder: Path, graph: Graph) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong is raised, and said once
        self._graph = graph
        self._path = str(folder / graph.file)
        try:
            self._session = onnxruntime.InferenceSession(self._path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes
            raise ModelError(f"cannot be run: {first_line(error)}", where=self._path) from None
        self._read = {one.name for one in self._session.get_inputs()}  # what has no effect is left out of a graph

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Run it once.  Raises ModelError where the graph has no answer to such sizes."""
        named = {
            name: tensor.detach().contiguous().numpy()
            for name, tensor in zip(self._graph.inputs, inputs, strict=True)
            if name in self._read
        }
        try:
            found = self._session.run(list(self._graph.outputs), named)
        except Exception as error:  # onnxruntime's own classes
            raise ModelError(f"cannot be run: {first_line(error)}", where=self._path) from None
        return [torch.from_numpy(array) for array in found]


def fault_of(graph: Graph, folder: Path, module: nn.Module, examples: Sequence[tuple[Tensor, ...]]) -> str:
    """Return what is wrong with a graph, beside its module, for examples of several sizes; "" where nothing is."""
    session = Session(folder, graph)
    for example in examples:
        wanted = module(*example)
        try:
            found = session(*example)
        except ModelError:
            return f"its graph has no answer to inputs of {_sizes(example)}"
        for one, other in zip(wanted, found, strict=True):
            if one.shape != other.shape:
                return (
                    f"its graph answers inputs of {_sizes(example)} by {tuple(other.shape)}, not {tuple(one.shape)}"
                )
            if not torch.allclose(one.float(), other.float(), rtol=TOLERANCE, atol=TOLERANCE):
                return f"its graph answers inputs of {_sizes(example)} by other values"
    return ""


def _sizes(example: tuple[Tensor, ...]) -> str:
    return ", ".join(" x ".join(str(n) for n in one.shape) for one in example[:2])
