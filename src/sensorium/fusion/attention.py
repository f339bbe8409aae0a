"""What the fusions that attend are made of: their options, and a block of attention and an MLP.

Enters: queries, and keys with their mask.  Leaves: the queries, which have read the keys.
Source: Vaswani et al. 2017, section 3.2; normalised before each branch (Xiong et al. 2020).
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.attention import attention_weights
from sensorium.core.config import Section
from sensorium.core.errors import ConfigError


class AttentionConfig(Section):
    """Options of every fusion that attends."""

    layers: int = Field(2, ge=1, le=64)
    heads: int = Field(4, ge=1, le=128)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)

    def blocks(self, width: int, num_blocks: int) -> nn.ModuleList:
        """Make blocks of these heads and this dropout.  Raises ConfigError: `heads` does not divide `width`."""
        require_heads(width, self.heads)
        return nn.ModuleList(CrossAttentionBlock(width, self.heads, self.dropout) for _ in range(num_blocks))


def require_heads(width: int, heads: int) -> None:
    """Raise ConfigError unless the width can be parted evenly among the heads."""
    if width % heads:
        raise ConfigError(f"a width of {width} is not a multiple of {heads} heads", advice="change 'heads'")


class CrossAttentionBlock(nn.Module):
    """Attention from queries to keys, then an MLP, each added to its input after a LayerNorm in front.

    Args:
        width: D.
        num_heads: H.
        dropout: chance that a value of either branch is dropped.
    """

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_attention = nn.LayerNorm(width)
        self.to_query = nn.Linear(width, width)
        self.to_key_value = nn.Linear(width, 2 * width)
        self.to_out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x_BMD: Tensor, key_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """Return (B, M, D); each row needs a real key."""
        q_BHMd, k_BHSd, v_BHSd = self._query_key_value(x_BMD, key_BSD)
        y_BHMd = functional.scaled_dot_product_attention(q_BHMd, k_BHSd, v_BHSd, mask_BS[:, None, None])
        x_BMD = x_BMD + self.dropout(self.to_out(y_BHMd.transpose(1, 2).flatten(2)))
        out_BMD: Tensor = x_BMD + self.dropout(self.mlp(x_BMD))
        return out_BMD

    def weights(self, x_BMD: Tensor, key_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """Return the weights (B, H, M, S) with which `forward` attends, for explanations."""
        q_BHMd, k_BHSd, _ = self._query_key_value(x_BMD, key_BSD)
        return attention_weights(q_BHMd, k_BHSd, mask_BS[:, None, None])

    def weights_within(self, x_BMD: Tensor, mask_BM: Tensor) -> Tensor:
        """Return the weights (B, M, M), mean over heads, with which `within` attends."""
        return self.weights(x_BMD, self.norm_attention(x_BMD), mask_BM).mean(1)

    def _query_key_value(self, x_BMD: Tensor, key_BSD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        key, value = self.to_key_value(key_BSD).chunk(2, dim=-1)
        return self._heads(self.to_query(self.norm_attention(x_BMD))), self._heads(key), self._heads(value)

    def within(self, x_BMD: Tensor, mask_BM: Tensor) -> Tensor:
        """Let positions attend to each other: queries and keys are the same; returns (B, M, D)."""
        out_BMD: Tensor = self(x_BMD, self.norm_attention(x_BMD), mask_BM)
        return out_BMD

    def _heads(self, x_BTD: Tensor) -> Tensor:
        num, length, width = x_BTD.shape
        return x_BTD.reshape(num, length, self.num_heads, width // self.num_heads).transpose(1, 2)
