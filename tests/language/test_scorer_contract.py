"""Every scorer keeps the contract; a registered one without a row here fails."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from sensorium.core import registry
from sensorium.core.protocols import CountingScorer, EvidenceScorer
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, UNK, BorrowedVocab, Vocab
from sensorium.language.registry import COMPOSITIONS, ENTRY_POINTS, SCORERS
from sensorium.testing import check_scorer

VOCAB = Vocab.of("abc")
WIDTH = 6


def sequences(seed: int = 0, num: int = 40) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [[BOS, *torch.randint(UNK, len(VOCAB), (n % 6,), generator=generator).tolist(), EOS] for n in range(num)]


def memory_with_holes(num_rows: int) -> Conditioning:
    """Five positions a row, some masked anywhere, the last row's all masked."""
    generator = torch.Generator().manual_seed(num_rows)
    mask_BM = torch.rand(num_rows, 5, generator=generator) < 0.6
    mask_BM[-1] = num_rows == 1
    x_BMD = torch.randn(num_rows, 5, WIDTH, generator=generator)
    return Conditioning(Encoded(x_BMD, mask_BM, torch.ones(num_rows, dtype=torch.bool)), words(num_rows))


def full_memory(num_rows: int) -> Conditioning:
    generator = torch.Generator().manual_seed(num_rows)
    x_BMD = torch.randn(num_rows, 3, WIDTH, generator=generator)
    return Conditioning(
        Encoded(x_BMD, torch.ones(num_rows, 3, dtype=torch.bool), torch.ones(num_rows, dtype=torch.bool)),
        words(num_rows),
    )


def words(num_rows: int) -> dict[str, Encoded]:
    """The encoding of one input, up to five positions a row, for scorers that look at parts."""
    x_BTD = torch.randn(num_rows, 5, WIDTH, generator=torch.Generator().manual_seed(num_rows))
    mask_BT = torch.arange(5) < 5 - torch.arange(num_rows)[:, None] % 4
    return {"words": Encoded(x_BTD, mask_BT, torch.ones(num_rows, dtype=torch.bool))}


@dataclass(frozen=True)
class Row:
    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.name, *map(str, self.options.values())])


SMALL: dict[str, Any] = {"width": 8, "layers": 2}
LLAMA: dict[str, Any] = {"layers": 2, "width": 8, "hidden": 12, "heads": 4, "kv_heads": 2, "head_width": 4}
GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
NEEDED: dict[str, dict[str, Any]] = {
    name: {"shape": LLAMA, "pretrained": False, "frozen": False} for name in ("llama", "packaged")
} | {"hf": {"source": "nowhere", "architecture": json.dumps(GPT2), "pretrained": False, "frozen": False}}
BORROWED = BorrowedVocab(VOCAB.tokens, source_ids=tuple(range(len(VOCAB))))
ADAPTED: dict[str, Any] = {"source": "unread", "pretrained": True, "frozen": True, "lora": {"rank": 2}}
ROWS = [
    Row("ctc"),
    *(Row("ngram", {"order": order}) for order in (1, 2, 3, 5)),
    *(Row("infinigram", {"order": order, "longest": longest}) for order, longest in ((1, 64), (2, 2), (3, 5))),
    Row("knn"),
    *(Row("neighbours", {"order": order}) for order in (1, 4)),
    Row("naive_bayes"),
    Row("nb_svm"),
    *(Row("hmm", {"states": states}) for states in (1, 4)),
    *(Row("recurrent", {"cell": cell, **SMALL}) for cell in ("rnn", "lstm", "gru")),
    Row("recurrent", {"attention": False, "tie_embeddings": False, **SMALL}),
    *(
        Row("transformer", {"conditioning": how, "heads": 2, **SMALL})
        for how in ("cross_attention", "prefix", "none")
    ),
    *(Row("llama", {"conditioning": how}) for how in ("prefix", "none")),
    Row(
        "llama",
        {
            "shape": LLAMA | {"tie_embeddings": False, "kv_heads": 4},
            "prefix": {"projector": "resampler", "heads": 2},
        },
    ),
    Row("llama", ADAPTED),
    Row("packaged"),
    Row("hf"),
    Row("readout"),
    Row("crf"),
    Row("crf", {"transitions": False, "hidden": 4, "context": "memory"}),
    Row("transformer", {"mlp": "gelu", "tie_embeddings": False, "heads": 1, **SMALL}),
]


def make(row: Row):
    component = registry.load(SCORERS, ENTRY_POINTS, row.name)
    scorer = component(
        component.Config(**(NEEDED.get(row.name, {}) | row.options)), BORROWED if row.name == "hf" else VOCAB, WIDTH
    )
    with torch.no_grad():
        for parameter in scorer.parameters():  # larger than at birth, so that a mistake is seen
            parameter.add_(0.4 * torch.randn_like(parameter))
    return scorer


def fit(scorer) -> None:
    if isinstance(scorer, CountingScorer):
        scorer.fit(sequences())
    if isinstance(scorer, EvidenceScorer):  # without evidence, as where an input has no words
        token_BT = torch.tensor([[BOS, label, EOS] for label in (UNK, 4, 4, 5)])
        scorer.observe(token_BT, token_BT >= 0, Conditioning.empty(len(token_BT)))
        scorer.estimate()


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_scorer_keeps_the_contract(row):
    check_scorer(lambda: make(row), memory_with_holes, fit=fit, learns_from_nothing=row.name != "crf")


@pytest.mark.parametrize("name", SCORERS)
def test_scorer_keeps_the_contract_with_a_full_memory_and_unfitted(name):
    check_scorer(lambda: make(Row(name)), full_memory, length=4, learns_from_nothing=name != "crf")


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_composition_keeps_the_contract(name):
    rows = [Row("ngram"), Row("transformer", {"heads": 2, **SMALL})] if name != "chain" else [Row("crf")] * 2

    def compose():
        parts = [make(row) for row in rows]
        return registry.load(COMPOSITIONS, ENTRY_POINTS, name)(parts)

    def prepare(scorer) -> None:
        fit(scorer.parts[0])
        scorer.set_weights([0.7, 0.2])

    check_scorer(compose, memory_with_holes, fit=prepare, length=5, learns_from_nothing=name != "chain")


def test_every_registered_scorer_has_a_row():
    assert {row.name for row in ROWS} == set(SCORERS)
