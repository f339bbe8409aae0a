"""Parts as the nodes of a graph, in which each hears messages from all others and weighs them.

    h_k = pool(x_k) + e_k
    s_kj = a' LeakyReLU(W_q LN(h_k) + W_m LN(h_j) + c_kj)      a score an edge j -> k, for each head
    g_k = softmax over heard j of s_k
    h_k = h_k + W_o relu(sum_j g_kj W_m LN(h_j))               repeated `layers` times
    memory = LN([h_1; ...; h_K]), a position a part

Graph attention (Velickovic et al. 2018, equations 1-5) with the order of its steps as in Brody et al. 2022
(GATv2, equation 7), so that every node may prefer other neighbours; c_kj is a learned vector of the edge.  An
absent node sends nothing and is no position.  The last layer's g leave as evidence `edges` (B, K, K), mean over
heads: row k says whom part k listened to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.attention import beside_residual
from sensorium.core.types import Conditioning, Encoded
from sensorium.fusion.attention import AttentionConfig, require_heads
from sensorium.fusion.parts import conditioning, heard, kinds, ordered
from sensorium.fusion.pooling import PoolEach, Pooling, masked_softmax


class Graph(nn.Module):
    """Pool each part to a node, and pass messages along all edges.

    Args:
        config: sizes.
        names: the inputs.
        width: D, a multiple of the heads.

    Raises:
        ConfigError: `heads` does not divide `width`.
    """

    ignores_absent = True

    class Config(Pooling, AttentionConfig):
        """Options of `graph`."""

    def __init__(self, config: Config, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.width = width
        require_heads(width, config.heads)
        num_parts = len(self.names)
        self.pool = PoolEach(config, num_parts, width)
        self.kind_KD = kinds(num_parts, width)
        self.layers: Any = nn.ModuleList(
            GraphLayer(num_parts, width, config.heads, config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse: (B, K, D), with evidence `edges` (B, K, K).  Raises ModelError on a missing part."""
        chosen = ordered(parts, self.names)
        heard_BK = heard(chosen)
        h_BKD = self.pool(chosen) + self.kind_KD
        edge_BKK = torch.zeros(*heard_BK.shape, len(self.names), device=h_BKD.device)
        for layer in self.layers:
            h_BKD, edge_BKK = layer(h_BKD, heard_BK)
        h_BKD = torch.where(heard_BK[..., None], self.norm(h_BKD), 0)
        return conditioning(h_BKD, heard_BK, parts, edges=edge_BKK)

    def reading(self, parts: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Return what each node was read from, (B, K, T) by part: whom it listened to, times where those looked."""
        chosen = ordered(parts, self.names)
        heard_BK = heard(chosen)
        h_BKD = self.pool(chosen) + self.kind_KD
        read_BKK = torch.diag_embed(heard_BK.float())
        for layer in self.layers:
            h_BKD, edge_BKK = layer(h_BKD, heard_BK)
            read_BKK = beside_residual(edge_BKK) @ read_BKK
        read_BKK = read_BKK * heard_BK[..., None]
        return {
            name: read_BKK[:, :, k, None] * pooled_BT[:, None]
            for k, (name, pooled_BT) in enumerate(zip(self.names, self.pool.reading(chosen), strict=True))
        }


class GraphLayer(nn.Module):
    """One round of messages between all nodes, and from each to itself.

    Args:
        num_nodes: K.
        width: D.
        num_heads: H.
        dropout: chance that a value of what a node hears is dropped.
    """

    def __init__(self, num_nodes: int, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(width)
        self.to_query = nn.Linear(width, width)
        self.to_message = nn.Linear(width, width)
        self.edge_KKD = nn.Parameter(torch.randn(num_nodes, num_nodes, width) * 0.02)
        self.score_Hd = nn.Parameter(torch.randn(num_heads, width // num_heads) * (width // num_heads) ** -0.5)
        self.to_out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h_BKD: Tensor, heard_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nodes (B, K, D) and whom each listened to (B, K, K), float32, mean over heads."""
        normed_BKD = self.norm(h_BKD)
        message_BKD = self.to_message(normed_BKD)
        pair_BKKD = self.to_query(normed_BKD)[:, :, None] + message_BKD[:, None] + self.edge_KKD
        activated_BKKHd = _by_head(functional.leaky_relu(pair_BKKD, 0.2), self.num_heads)
        score_BHKK = torch.einsum("bkjhd,hd->bhkj", activated_BKKHd, self.score_Hd).float()
        weight_BHKK = masked_softmax(score_BHKK, heard_BK[:, None, None])
        message_BKHd = _by_head(message_BKD, self.num_heads)
        sum_BKHd = torch.einsum("bhkj,bjhd->bkhd", weight_BHKK.to(message_BKHd.dtype), message_BKHd)
        h_BKD = h_BKD + self.dropout(self.to_out(sum_BKHd.flatten(2).relu()))
        return h_BKD, weight_BHKK.mean(1)


def _by_head(x: Tensor, num_heads: int) -> Tensor:
    return x.view(*x.shape[:-1], num_heads, x.shape[-1] // num_heads)
