"""Every registered fusion passes the contract, in every variant that its options make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from sensorium.core import registry
from sensorium.fusion.registry import ENTRY_POINTS, FUSIONS
from sensorium.testing.fusion import check_fusion

# Every fusion has a row: the sets of options it is tried with.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "concat": [{}],
    "sum": [{}, {"pooling": "attention"}],
    "gated": [{}, {"pooling": "attention"}],
    "mlp": [
        {},
        {"interaction": "concat", "positions": 3},
        {"interaction": "product", "pooling": "attention"},
        {"interaction": "both", "hidden": 32, "dropout": 0.2},
    ],
    "cross_attention": [{}, {"num_queries": 3, "layers": 1, "heads": 2}, {"query": "first"}],
    "tensor": [{}, {"factor": 3, "positions": 2, "hidden": 12}, {"max_terms": 81, "pooling": "attention"}],
    "low_rank": [{}, {"rank": 1, "positions": 3, "pooling": "attention"}],
    "co_attention": [{}, {"layers": 2, "heads": 2}],
    "joint_transformer": [{}, {"layers": 1, "heads": 2}],
    "bottleneck": [{}, {"tokens": 1, "layers": 3}, {"memory": "tokens"}],
    "perceiver": [{}, {"tokens": 3, "self_layers": 0}, {"tokens": 2, "layers": 1, "self_layers": 2}],
    "graph": [{}, {"layers": 1, "heads": 1, "pooling": "attention"}],
    "film": [{}, {"layers": 1, "hidden": 6, "pooling": "attention"}, {"modulated": "first"}],
}


def test_every_fusion_has_its_row() -> None:
    assert VARIANTS.keys() == FUSIONS.keys(), "give a new fusion a row in VARIANTS"


@pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name, variants in VARIANTS.items() for options in variants]
)
def test_fusion_keeps_the_contract(name: str, options: dict[str, Any]) -> None:
    fusion = registry.load(FUSIONS, ENTRY_POINTS, name)

    def make(names: Sequence[str], width: int) -> Any:
        chosen = {key: names[0] if value == "first" else value for key, value in options.items()}
        return fusion(fusion.Config(**chosen), names, width)

    check_fusion(make)
