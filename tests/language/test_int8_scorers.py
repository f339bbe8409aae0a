"""Neural scorers whose matrices are integers keep the contract of a scorer, up to rounding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sensorium.core.int8 import Int8Matrix
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import Vocab
from sensorium.language.recurrent import Recurrent
from sensorium.language.transformer import Transformer
from sensorium.model.precision import linear_matrices
from sensorium.testing.scorer import _CHECKS, _Suite

VOCAB, WIDTH = Vocab.of("abc"), 6
SCORERS = {
    "cross_attention": (Transformer, {"layers": 2, "width": 16, "heads": 2}),
    "prefix": (Transformer, {"layers": 2, "width": 16, "heads": 2, "conditioning": "prefix"}),
    "untied": (Transformer, {"layers": 1, "width": 16, "heads": 2, "tie_embeddings": False, "mlp": "gelu"}),
    "gru": (Recurrent, {"width": 16}),
}


def memory(num_rows: int) -> Conditioning:
    generator = torch.Generator().manual_seed(num_rows)
    mask_BM = torch.rand(num_rows, 5, generator=generator) < 0.7
    return Conditioning(Encoded(torch.randn(num_rows, 5, WIDTH, generator=generator), mask_BM, mask_BM.any(1)))


@pytest.mark.parametrize("name", SCORERS)
def test_contract(name: str):
    torch.manual_seed(0)
    kind, options = SCORERS[name]
    scorer = kind(kind.Config(**options), VOCAB, WIDTH).eval()
    plain = scorer.score(torch.tensor([[1, 4, 5]]), torch.ones(1, 3, dtype=torch.bool), memory(1))
    for module, leaf, _, is_io in list(linear_matrices(scorer)):
        matrix = Int8Matrix.of(getattr(module, leaf), is_input_first=is_io)
        setattr(module, leaf, nn.Parameter(matrix, requires_grad=False))
    assert sum(isinstance(p, Int8Matrix) for p in scorer.parameters()) >= 3
    for make in (memory, Conditioning.empty):
        suite = _Suite(scorer, make, 6, 0.02, "in integers")
        with torch.no_grad():
            for check in _CHECKS:
                check(suite)
    rounded = scorer.score(torch.tensor([[1, 4, 5]]), torch.ones(1, 3, dtype=torch.bool), memory(1))
    torch.testing.assert_close(rounded, plain, atol=0.1, rtol=0)


def test_integers_are_not_written_to_in_place():
    layer = nn.Linear(4, 3)
    layer.weight = nn.Parameter(Int8Matrix.of(layer.weight), requires_grad=False)
    with pytest.raises(RuntimeError, match="in place"):
        layer.load_state_dict({"weight": torch.zeros(3, 4), "bias": torch.zeros(3)})
