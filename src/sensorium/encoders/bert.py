"""BERT's encoder (Devlin et al. 2019), the architecture of MiniLM.

Enters: (U, T) int64 ids, a text's pieces.  Leaves: (U, T + 2, F): BOS, the pieces, EOS.

    x = LayerNorm(word + position + kind),    block(x) = LayerNorm(y + FF(y)),  y = LayerNorm(x + MHSA(x))

The residual is normalised after it is added ("post-norm"); FF has the exact GELU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.config import Section
from sensorium.core.vocabulary import BOS, EOS, Vocab
from sensorium.encoders.self_attention import SelfAttention

NORM_EPS = 1e-12


class BertSizes(Section):
    """How large the network is; the defaults are MiniLM-L6's."""

    hidden: int = Field(384, ge=2)
    layers: int = Field(6, ge=1)
    heads: int = Field(12, ge=1)
    mlp: int = Field(1536, ge=1)
    max_positions: int = Field(512, ge=3)


class Bert(nn.Module):
    """The network without its pooler.

    Args:
        sizes: of the network.
        num_tokens: of the vocabulary.
        dropout: chance that a number is dropped.
    """

    def __init__(self, sizes: BertSizes, num_tokens: int, dropout: float) -> None:
        super().__init__()
        self.width = sizes.hidden
        blocks = (BertBlock(sizes, dropout) for _ in range(sizes.layers))
        self.layers = nn.ModuleList([BertEmbedding(sizes, num_tokens, dropout), *blocks])

    def forward(self, token_UT: Tensor, mask_UT: Tensor) -> tuple[Tensor, Tensor]:
        """Return (U, T + 2, F) and the mask."""
        token_UT, mask_UT = framed(token_UT, mask_UT)
        embed, *blocks = self.layers
        x_UTF = embed(token_UT)
        for block in blocks:
            x_UTF = block(x_UTF, mask_UT)
        return x_UTF, mask_UT


class BertEmbedding(nn.Module):
    """LayerNorm(word + position + kind); every text is of the first kind.

    Args:
        sizes: of the network.
        num_tokens: of the vocabulary.
        dropout: chance that a number is dropped.
    """

    def __init__(self, sizes: BertSizes, num_tokens: int, dropout: float) -> None:
        super().__init__()
        self.words = nn.Embedding(num_tokens, sizes.hidden)
        self.position_TF = nn.Parameter(torch.randn(sizes.max_positions, sizes.hidden) * 0.02)
        self.kind_F = nn.Parameter(torch.zeros(sizes.hidden))
        self.norm = nn.LayerNorm(sizes.hidden, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.words.weight, std=0.02)

    def forward(self, token_UT: Tensor) -> Tensor:
        """Return (U, T, F)."""
        x_UTF = self.words(token_UT) + self.position_TF[: token_UT.shape[1]] + self.kind_F
        out: Tensor = self.dropout(self.norm(x_UTF))
        return out


class BertBlock(nn.Module):
    """Self-attention and two linear layers, each normalised after it is added.

    Args:
        sizes: of the network.
        dropout: chance that a number is dropped.
    """

    def __init__(self, sizes: BertSizes, dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(sizes.hidden, sizes.heads, dropout)
        self.attention_norm = nn.LayerNorm(sizes.hidden, eps=NORM_EPS)
        self.wide = nn.Linear(sizes.hidden, sizes.mlp)
        self.narrow = nn.Linear(sizes.mlp, sizes.hidden)
        self.norm = nn.LayerNorm(sizes.hidden, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_UTF: Tensor, mask_UT: Tensor) -> Tensor:
        """Return (U, T, F)."""
        y_UTF = self.attention_norm(x_UTF + self.dropout(self.attention(x_UTF, mask_UT)))
        wide_UTF = functional.gelu(self.wide(y_UTF))
        out: Tensor = self.norm(y_UTF + self.dropout(self.narrow(wide_UTF)))
        return out


def framed(token_UT: Tensor, mask_UT: Tensor) -> tuple[Tensor, Tensor]:
    """Put BOS before each text and EOS after its last real token: (U, T + 2) ids and mask."""
    length_U1 = mask_UT.sum(1, keepdim=True)
    end_U1 = token_UT.new_zeros(len(token_UT), 1)
    framed_UT = torch.cat([torch.full_like(end_U1, BOS), torch.where(mask_UT, token_UT, 0), end_U1], dim=1)
    framed_UT = framed_UT.scatter(1, length_U1 + 1, EOS)
    place_T = torch.arange(framed_UT.shape[1], device=token_UT.device)
    return framed_UT, place_T < length_U1 + 2


def named_as_here(
    published: Mapping[str, Tensor], vocab: Vocab, published_id: Mapping[str, int], special: Sequence[str]
) -> dict[str, Tensor]:
    """Rename the tensors of a published BERT to this module's, and put word vectors in the vocabulary's order.

    Args:
        published: by the names of transformers' `BertModel`.
        vocab: whose tokens the words are.
        published_id: the row of each token in the published table.
        special: what it calls the vocabulary's special tokens, in their order.
    """
    names = {**dict(zip(vocab.tokens, special, strict=False))}
    row_V = torch.tensor([published_id[names.get(token, token)] for token in vocab.tokens])
    embedding = "embeddings."
    tensors = {
        "layers.0.words.weight": published[f"{embedding}word_embeddings.weight"][row_V],
        "layers.0.position_TF": published[f"{embedding}position_embeddings.weight"],
        "layers.0.kind_F": published[f"{embedding}token_type_embeddings.weight"][0],
        "layers.0.norm.weight": published[f"{embedding}LayerNorm.weight"],
        "layers.0.norm.bias": published[f"{embedding}LayerNorm.bias"],
    }
    num_layers = 1 + max(int(name.split(".")[2]) for name in published if name.startswith("encoder.layer."))
    for i in range(num_layers):
        for leaf in ("weight", "bias"):
            tensors |= _block(published, f"encoder.layer.{i}.", f"layers.{i + 1}.", leaf)
    return tensors


def _block(published: Mapping[str, Tensor], theirs: str, ours: str, leaf: str) -> dict[str, Tensor]:
    parts = ("query", "key", "value")
    together = torch.cat([published[f"{theirs}attention.self.{part}.{leaf}"] for part in parts])
    renamed = {
        "attention.out_proj": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "wide": "intermediate.dense",
        "narrow": "output.dense",
        "norm": "output.LayerNorm",
    }
    tensors = {f"{ours}{our}.{leaf}": published[f"{theirs}{their}.{leaf}"] for our, their in renamed.items()}
    return {**tensors, f"{ours}attention.in_proj_{leaf}": together}
