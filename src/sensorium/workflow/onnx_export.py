"""A model as ONNX graphs: each encoder, and each neural scorer's first state and one step.

folder/
  encoder-NAME.onnx     values (U, ...), mask (U, T) if the input has one -> x (U, T, D), mask
  first-NAME.onnx       memory (B, M, D), mask (B, M) -> state
  step-NAME.onnx        token (B, 1) int64, state -> log p(next) (B, V), state
  graphs.json           which graphs there are, and what they read and write, in order
  manifest.json         sizes and SHA-256, written last

Enters: a model and an example batch.  Leaves: the folder.  What is cheap or counted stays with us: fusion, n-grams
and their like, mixing, search (`workflow.onnx_model` puts graphs and these together again).
The exporter is torch's own, `torch.onnx.export(dynamo=True)`.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core.commit import committed_folder
from sensorium.core.errors import ModelError, UsageError
from sensorium.core.types import Batch, MediaBatch
from sensorium.core.vocabulary import BOS
from sensorium.language.stepping import stepping
from sensorium.model.multimodal import MultimodalLM

GRAPHS = "graphs.json"
_SIZES = ((2, 5, 3), (3, 7, 4))
"""Rows, positions and tokens of two examples: what differs between them may change.  0 and 1 are never traced."""


@dataclass(frozen=True)
class Graph:
    """A file, and the names of what it reads and writes, in order."""

    file: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class EncoderGraph(nn.Module):
    """What an encoder makes of media, before it is handed to rows."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, values: Tensor, mask_UT: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return x (U, T, D), and its mask if it has one."""
        x_UTF, mask_UT = self.encoder.features(values, mask_UT)
        x_UTD = self.encoder.outlet.positions(x_UTF)
        return (x_UTD,) if mask_UT is None else (x_UTD, mask_UT)


@torch.no_grad()
def export_run(model: MultimodalLM, batch: Batch, folder: Path) -> None:
    """Commit the graphs of `model` to `folder`.

    Args:
        model: in evaluation mode, whose frozen encoders read media (`thawed`).
        batch: any row that has every input, for shapes.

    Raises:
        UsageError: the extra `export` is not installed.
        ModelError: an encoder or scorer that cannot be exported, by name, and why.
    """
    require_exporter()
    with committed_folder(folder) as draft:
        graphs: dict[str, Any] = {"encoders": {}, "scorers": {}}
        for name, encoder in model.encoders.items():
            media = batch.inputs[name]
            examples = [_several(media, num_media, num_positions) for num_media, num_positions, _ in _SIZES]
            graphs["encoders"][name] = asdict(
                _export(EncoderGraph(encoder), examples, draft / f"encoder-{name}.onnx", f"input '{name}'")
            )
        for name, scorer in model.parts.items():
            if scorer.fitted_by == "gradient":
                graphs["scorers"][name] = _export_scorer(scorer, model.config.fusion.width, name, draft)
        if not graphs["scorers"] and not graphs["encoders"]:
            raise ModelError("has nothing that learned by gradient, and so nothing to export")
        (draft / GRAPHS).write_text(json.dumps(graphs, indent=1), encoding="utf-8")


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


def _export_scorer(scorer: Any, width: int, name: str, draft: Path) -> list[Any]:
    memories, fed = [], []
    for num_rows, num_positions, num_tokens in _SIZES:
        memory = torch.randn(num_rows, num_positions, width), torch.ones(num_rows, num_positions, dtype=torch.bool)
        first, following = stepping(scorer, *memory)
        state, token_B1 = first(*memory), torch.full((num_rows, 1), BOS)
        for _ in range(num_tokens):
            _, *state = following(token_B1, *state)
        memories.append(memory)
        fed.append((token_B1, *state))
    what = f"scorer '{name}'"
    return [
        asdict(_export(first, memories, draft / f"first-{name}.onnx", what)),
        asdict(_export(following, fed, draft / f"step-{name}.onnx", what)),
    ]


def _several(media: MediaBatch, num_media: int, num_positions: int) -> tuple[Tensor, ...]:
    """Return an example of so many media; where they have lengths, of so many times the length."""
    given = [media.values[:1]] if media.mask_UT is None else [media.values[:1], media.mask_UT[:1]]
    times = 1 if media.mask_UT is None else num_positions
    return tuple(torch.cat([torch.cat([one] * num_media)] * times, 1) for one in given)


def _varying(module: nn.Module, examples: Sequence[tuple[Tensor, ...]]) -> tuple[Any, ...]:
    """Say which axes change, in the nesting of what `module` takes."""
    auto = torch.export.Dim.AUTO
    shapes: list[Any] = [
        {axis: auto for axis, (n, m) in enumerate(zip(one.shape, other.shape, strict=True)) if n != m}
        for one, other in zip(*examples, strict=True)
    ]
    parameters = list(inspect.signature(module.forward).parameters.values())
    if parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL:
        named = len(parameters) - 1
        shapes = [*shapes[:named], tuple(shapes[named:])]
    return tuple(shapes)


def _export(module: nn.Module, examples: Sequence[tuple[Tensor, ...]], path: Path, what: str) -> Graph:
    example = examples[0]
    inputs = tuple(f"in{i}" for i in range(len(example)))
    outputs = tuple(f"out{i}" for i in range(len(module(*example))))
    try:
        with _hushed():
            program = torch.onnx.export(
                module.eval(),
                example,
                dynamo=True,
                dynamic_shapes=_varying(module, examples),
                input_names=list(inputs),
                output_names=list(outputs),
                verbose=False,
            )
            assert program is not None
            program.save(str(path), external_data=False)
    except Exception as error:  # the exporter fails in ways of its own, of many classes
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(f"{what} cannot be exported: {reason}", advice="leave onnx out") from error
    return Graph(path.name, inputs, outputs)


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep what the exporter says of itself to itself."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
