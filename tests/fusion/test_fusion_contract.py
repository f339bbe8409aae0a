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
}


def test_every_fusion_has_its_row() -> None:
    assert VARIANTS.keys() == FUSIONS.keys(), "give a new fusion a row in VARIANTS"


@pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name, variants in VARIANTS.items() for options in variants]
)
def test_fusion_keeps_the_contract(name: str, options: dict[str, Any]) -> None:
    fusion = registry.load(FUSIONS, ENTRY_POINTS, name)

    def make(names: Sequence[str], width: int) -> Any:
        chosen = {**options, "query": names[0]} if options.get("query") else options
        return fusion(fusion.Config(**chosen), names, width)

    check_fusion(make)
