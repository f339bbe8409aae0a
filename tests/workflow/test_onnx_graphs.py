"""Graphs are right for sizes that they were not traced with, or refused in one sentence."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sensorium.core.errors import ModelError
from sensorium.core.types import MediaBatch
from sensorium.core.vocabulary import SPECIAL_TOKENS, Vocab
from sensorium.language.readout import Readout
from sensorium.language.recurrent import Recurrent
from sensorium.language.transformer import Transformer
from sensorium.workflow.onnx_export import EncoderGraph, _export, _export_scorer, _several
from sensorium.workflow.onnx_graph import Graph, Session, fault_of, first_line
from tests.encoders.test_encoder_contract import OWN, SMALL, WIDTH, load, media_of, preparer_of

SIZES = ((2, 5), (3, 7), (1, 1), (5, 12))
FAST = {"audio.dnn", "image.cnn"}


def assert_is_one_line(error: ModelError, what: str) -> None:
    assert str(error).startswith(f"{what} cannot be exported: ")
    assert "\n" not in str(error)
    assert "\x1b" not in str(error)


class Doubled(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x * 2,)


class Fixed(nn.Module):
    """Traces its example's number of rows."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.stack([x[i] * (i + 1) for i in range(int(x.shape[0]))]),)


@torch.no_grad()
@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in FAST else pytest.mark.slow) for n in OWN])
def test_an_encoder_is_right_at_every_size_or_refused_in_a_line(name: str, tmp_path) -> None:
    torch.manual_seed(0)
    encoder = load(name)
    config = encoder.Config(**SMALL[name])
    graph_of = EncoderGraph(encoder(config, preparer_of(name), WIDTH).eval())
    media = media_of(name, 1, getattr(config, "size", 0))
    examples = [_several(media, *size) for size in SIZES]
    try:
        graph = _export(graph_of, examples, tmp_path / "encoder.onnx", f"input '{name}'")
    except ModelError as error:
        assert_is_one_line(error, f"input '{name}'")
        return
    other: MediaBatch = media_of(name, 4, getattr(config, "size", 0))
    given = [one for one in (other.values, other.mask_UT) if one is not None]
    for want, got in zip(graph_of(*given), Session(tmp_path, graph)(*given), strict=True):
        assert torch.allclose(want.float(), got.float(), atol=1e-3), name


@torch.no_grad()
@pytest.mark.parametrize(
    ("scorer", "options"),
    [
        (Readout, {}),
        (Recurrent, {"cell": "gru", "width": 8, "attention": False}),
        pytest.param(Recurrent, {"cell": "gru", "width": 8}, marks=pytest.mark.slow),
        pytest.param(Recurrent, {"cell": "lstm", "width": 8}, marks=pytest.mark.slow),
        pytest.param(Recurrent, {"cell": "rnn", "width": 8}, marks=pytest.mark.slow),
        pytest.param(Transformer, {"width": 8, "heads": 2, "layers": 1}, marks=pytest.mark.slow),
    ],
)
def test_a_scorer_is_right_at_every_size_or_refused_in_a_line(scorer, options, tmp_path) -> None:
    torch.manual_seed(0)
    made = scorer(scorer.Config(**options), Vocab((*SPECIAL_TOKENS, "a", "b", "c")), 6).eval()
    try:
        graphs = _export_scorer(made, 6, "one", tmp_path)
    except ModelError as error:
        assert_is_one_line(error, "scorer 'one'")
        return
    for rows, positions in ((1, 2), (4, 9)):
        memory = torch.randn(rows, positions, 6), torch.ones(rows, positions, dtype=torch.bool)
        state = Session(tmp_path, Graph(**graphs[0]))(*memory)
        log_p_BV, *_ = Session(tmp_path, Graph(**graphs[1]))(torch.full((rows, 1), 4), *state)
        assert log_p_BV.shape == (rows, len(made.vocab))
        assert torch.allclose(log_p_BV.logsumexp(1), torch.zeros(rows), atol=1e-4)


@torch.no_grad()
def test_a_graph_that_kept_the_rows_of_its_example_is_found_out(tmp_path) -> None:
    examples = [(torch.randn(rows, 3),) for rows in (2, 3, 1)]
    assert _export(Doubled(), examples, tmp_path / "doubled.onnx", "it")
    with pytest.raises(ModelError, match=r"it cannot be exported: \S.*leave onnx out"):
        _export(Fixed(), examples, tmp_path / "fixed.onnx", "it")


@torch.no_grad()
def test_a_graph_of_other_values_or_shapes_is_told(tmp_path) -> None:
    examples = [(torch.randn(rows, 3),) for rows in (2, 4)]
    graph = _export(Doubled(), examples, tmp_path / "doubled.onnx", "it")
    assert fault_of(graph, tmp_path, Doubled(), examples) == ""
    assert "by other values" in fault_of(graph, tmp_path, nn.Sequential(Doubled(), _First()), examples)
    assert "no answer to inputs of 2 x 3 x 1" in fault_of(
        graph, tmp_path, Doubled(), [(examples[0][0][..., None],)]
    )


class _First(nn.Module):
    def forward(self, given: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (given[0] + 1,)


def test_a_foreign_message_is_one_line_without_colours() -> None:
    assert first_line(ValueError("\x1b[96mstep\x1b[0m 2\nmore")) == "step 2"
    assert first_line(KeyError()) == "KeyError"
