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
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core.commit import Kind, committed_folder
from sensorium.core.errors import ModelError
from sensorium.core.types import Batch, MediaBatch
from sensorium.core.vocabulary import BOS
from sensorium.encoders.outlet import FeatureEncoder
from sensorium.language.stepping import stepping
from sensorium.model.multimodal import MultimodalLM
from sensorium.workflow.onnx_graph import Graph, fault_of, first_line, require_exporter
from sensorium.workflow.run_folder import GRAPHS

ONNX = Kind("set of graphs", mark=GRAPHS)
_SIZES = ((2, 5, 3), (3, 7, 4), (1, 1, 1), (5, 12, 6))
"""Rows, positions and tokens of examples: the first is traced, what differs in the second may change (0 and 1 are
never traced), and by all of them a graph is tried."""


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
    with committed_folder(folder, ONNX) as draft:
        graphs: dict[str, Any] = {"encoders": {}, "scorers": {}}
        for name, encoder in model.encoders.items():
            what = f"input '{name}'"
            if not isinstance(encoder, FeatureEncoder):
                raise _cannot(what, "its encoder has no `features` and `outlet`")
            media = batch.inputs[name]
            examples = [_several(media, num_media, num_positions) for num_media, num_positions, _ in _SIZES]
            graphs["encoders"][name] = asdict(
                _export(EncoderGraph(encoder), examples, draft / f"encoder-{name}.onnx", what)
            )
        for name, scorer in model.parts.items():
            if scorer.fitted_by == "gradient":
                graphs["scorers"][name] = _export_scorer(scorer, model.config.fusion.width, name, draft)
        if not graphs["scorers"] and not graphs["encoders"]:
            raise ModelError("has nothing that learned by gradient, and so nothing to export")
        (draft / GRAPHS).write_text(json.dumps(graphs, indent=1), encoding="utf-8")


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
    """Return so many media; where they have lengths, of so many times the length, the last one padded."""
    if media.mask_UT is None:
        return (torch.cat([media.values[:1]] * num_media),)
    values, mask_UT = (
        torch.cat([torch.cat([one[:1]] * num_media)] * num_positions, 1) for one in (media.values, media.mask_UT)
    )
    if num_media > 1:
        mask_UT = mask_UT.clone()
        mask_UT[-1, mask_UT.shape[1] - mask_UT.shape[1] // 3 :] = False
    return values, mask_UT


def _varying(module: nn.Module, examples: Sequence[tuple[Tensor, ...]]) -> tuple[Any, ...]:
    """Say which axes change, in the nesting of what `module` takes."""
    auto = torch.export.Dim.AUTO
    shapes: list[Any] = [
        {axis: auto for axis, (n, m) in enumerate(zip(one.shape, other.shape, strict=True)) if n != m}
        for one, other in zip(*examples[:2], strict=True)
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
        raise _cannot(what, first_line(error)) from error
    graph = Graph(path.name, inputs, outputs)
    if fault := fault_of(graph, path.parent, module, examples):
        raise _cannot(what, fault)
    return graph


def _cannot(what: str, why: str) -> ModelError:
    return ModelError(f"{what} cannot be exported: {why}", advice="leave onnx out")


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
