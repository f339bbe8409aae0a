"""One token for rows of equal length: what `llama_block` computes, with packed weights and nothing to arrange.

Enters: hidden vectors (B, W) of one token a row, and the cache.  Leaves: hidden vectors after all layers.

For few rows, decoding costs what reading the weights costs, plus starting some dozen operations a layer.  The
weights are laid out for oneDNN once (measured with 1 thread of an EPYC, all layers of SmolLM2-135M, one row:
float32 46 ms as torch has them, 30 ms packed; bfloat16 18 and 11 ms), and the operations are as few as they can be:
the R queries of a group stand where attention expects R positions, so keys and values are not repeated and nothing
is masked; values ride along in the rotation with cos = 1 and sin = 0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.core.int8 import Int8Matrix
from sensorium.core.matmul import has_onednn
from sensorium.language.llama_block import Trunk, rms_norm
from sensorium.language.llama_shape import LlamaShape


class _Layer(NamedTuple):
    attention_gain: Tensor
    qkv: Tensor
    out: Tensor
    mlp_gain: Tensor
    gate_up: Tensor
    down: Tensor


class StepWeights:
    """The trunk's parameters as a step reads them; not a pytree, so `select` passes it on.

    On a CPU the matrices are copies: they take as much memory as the trunk again.
    """

    __slots__ = ("head", "layers", "norm_gain", "of", "product", "shape")

    @torch.no_grad()
    def __init__(self, trunk: Trunk) -> None:
        self.shape: LlamaShape = trunk.shape
        self.of = _fingerprint(trunk)
        like = trunk.embedding.weight
        is_plain = not any(isinstance(parameter, Int8Matrix) for parameter in trunk.parameters())
        packs = is_plain and like.device.type == "cpu" and can_pack(like.dtype)
        pack: Callable[[Tensor], Tensor] = _pack if packs else Tensor.detach
        self.product: Callable[[Tensor, Tensor], Tensor] = _packed_product if packs else F.linear
        self.layers = [_gather(layer, pack) for layer in trunk.layers]
        self.norm_gain = trunk.norm.gain_W
        self.head = pack(trunk.output_VW)

    def is_of(self, trunk: Trunk) -> bool:
        """Say whether the trunk's parameters are still those that were packed."""
        return self.of == _fingerprint(trunk)

    def __deepcopy__(self, memo: Any) -> None:
        # A copied model packs its own.
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(None), ())


def _fingerprint(trunk: Trunk) -> tuple[tuple[int, int], ...]:
    return tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in trunk.parameters())


def _gather(layer: Any, pack: Callable[[Tensor], Tensor]) -> _Layer:
    attention, mlp = layer.attention, layer.mlp
    return _Layer(
        attention_gain=attention.norm.gain_W,
        qkv=pack(attention.qkv.weight),
        out=pack(attention.out.weight),
        mlp_gain=mlp.norm.gain_W,
        gate_up=pack(mlp.gate_up.weight),
        down=pack(mlp.down.weight),
    )


def _pack(weight_OI: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight_OI.detach().contiguous(), 1)
    return packed


def _packed_product(x_BI: Tensor, packed_OI: Tensor) -> Tensor:
    y_BO: Tensor = torch.ops.mkldnn._linear_pointwise(x_BI, packed_OI, None, "none", [], "")
    return y_BO


@functools.cache
def can_pack(dtype: torch.dtype) -> bool:
    """Say whether this build of torch packs weights of `dtype`, and multiplies by them as it should."""
    if not has_onednn():
        return False
    # Small whole numbers: exact in any order of summation, in bfloat16 too.
    x_BI, weight_OI = torch.arange(3.0).view(1, 3).to(dtype), torch.arange(12.0).view(4, 3).to(dtype)
    try:
        with torch.inference_mode():
            return torch.equal(_packed_product(x_BI, _pack(weight_OI)), F.linear(x_BI, weight_OI))
    except (RuntimeError, TypeError, AttributeError):
        return False


def step(weights: StepWeights, x_BW: Tensor, rotation_2P1K: Tensor, cache_BN2GCK: Tensor, slot: int) -> Tensor:
    """Run all layers over one token a row, which is written into `slot` of the cache; returns (B, W), normalised.

    Args:
        weights: packed from the trunk.
        x_BW: (B, W) the tokens' embeddings.
        rotation_2P1K: cosines and signed sines by position.
        cache_BN2GCK: (B, N, 2, G, C, K) keys and values before; slots from `slot` on are free.
        slot: how many positions every row has had.
    """
    shape, product = weights.shape, weights.product
    num_rows, heads, groups, head_width = len(x_BW), shape.heads, shape.kv_heads, shape.head_width
    eps, half = shape.norm_eps, head_width // 2
    by_head, by_slot = (num_rows, heads + 2 * groups, head_width), (num_rows, 2, groups, 1, head_width)
    by_group, flat = (num_rows, groups, heads // groups, head_width), (num_rows, heads * head_width)
    cos_JK, sin_JK = _rotation(rotation_2P1K, slot, heads + groups, groups, x_BW.dtype)
    writes = cache_BN2GCK[..., slot : slot + 1, :].unbind(1)
    reads = cache_BN2GCK[..., : slot + 1, :].flatten(1, 2).unbind(1)
    for i, layer in enumerate(weights.layers):
        qkv = product(rms_norm(x_BW, layer.attention_gain, eps), layer.qkv).view(by_head)
        qkv = torch.addcmul(qkv * cos_JK, qkv.roll(half, -1), sin_JK)
        writes[i].copy_(qkv[:, heads:].view(by_slot))
        y_BGRK = F.scaled_dot_product_attention(qkv[:, :heads].view(by_group), reads[2 * i], reads[2 * i + 1])
        x_BW = x_BW + product(y_BGRK.reshape(flat), layer.out)
        gate, up = product(rms_norm(x_BW, layer.mlp_gain, eps), layer.gate_up).chunk(2, -1)
        x_BW = x_BW + product(F.silu(gate).mul_(up), layer.down)
    return rms_norm(x_BW, weights.norm_gain, eps)


def _rotation(
    rotation_2P1K: Tensor, slot: int, turned: int, still: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return cosines and signed sines for queries and keys (`turned` heads), 1 and 0 for values: (J, K) both."""
    cos_1K, sin_1K = rotation_2P1K[:, slot].to(dtype).unbind(0)
    head_width = cos_1K.shape[-1]
    one_VK, zero_VK = cos_1K.new_ones(still, head_width), sin_1K.new_zeros(still, head_width)
    return torch.cat([cos_1K.expand(turned, -1), one_VK]), torch.cat([sin_1K.expand(turned, -1), zero_VK])
