"""What a published decoder remembers of B rows, as a pytree of tensors, and transformers' caches of it.

Enters: states of rows that may be unequally long.  Leaves: caches as transformers wants them, and states again.

Rows are aligned at their end: row r's first `pad_B[r]` slots are padding.  New tokens, whose padding is on the
right, so stand next to the old ones whatever a network derives positions from (numbers, slots or distances), and
afterwards are moved to the end again.

Letters beside the shared ones: H heads, S slots, K head width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sensorium.data.published import import_transformers
from sensorium.language.gated_attention import KeysValues

Layers = tuple[tuple[Tensor, Tensor], ...]  # keys and values (B, H, S, K) of each block


@dataclass(frozen=True, slots=True)
class PublishedState:
    """What has been read.

    Attributes:
        layers: keys and values of the tokens so far; empty before the first.
        crossed: those of the memory, where the network itself attends to it.
        memory: (B, S, W) what it attends to, and the mask (B, S); None where it does not.
        sight: keys and values for the inserted layers.
        sight_mask: (B, S) which of their positions are real; None where nothing is inserted.
        pad_B: how many slots of each row are padding.
        is_even: no row has padding.
        token_BT: what has been fed, where the network must read a row again when rows are unequal; padding right.
        mask_BT: which of that is real.
    """

    layers: Layers = ()
    crossed: Layers = ()
    memory: tuple[Tensor, Tensor] | None = None
    sight: tuple[KeysValues, ...] = ()
    sight_mask: Tensor | None = None
    pad_B: Tensor | None = None
    is_even: bool = True
    token_BT: Tensor | None = None
    mask_BT: Tensor | None = None

    @property
    def num_slots(self) -> int:
        """Count the slots."""
        return int(self.layers[0][0].shape[2]) if self.layers else 0

    def cache(self) -> Any:
        """Return what transformers continues from; it grows into new tensors."""
        library = import_transformers()
        own = library.DynamicCache(self.layers or None)
        if self.memory is None:
            return own
        return library.EncoderDecoderCache(own, library.DynamicCache(self.crossed or None))

    def after(self, cache: Any) -> PublishedState:
        """Return the state that a cache holds after a call; rows as unequal as before."""
        if self.memory is None:
            return replace(self, layers=_layers(cache))
        return replace(
            self, layers=_layers(cache.self_attention_cache), crossed=_layers(cache.cross_attention_cache)
        )

    def placed(self, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return which slots are real, (B, S + T), and each new token's position, (B, T)."""
        pad_B1, slots = self._pad_B(mask_BT)[:, None], self.num_slots
        old_BS = torch.arange(slots, device=mask_BT.device) >= pad_B1
        at_BT = slots - pad_B1 + torch.arange(mask_BT.shape[1], device=mask_BT.device)
        return torch.cat([old_BS, mask_BT], 1), at_BT

    def realigned(self, mask_BT: Tensor) -> PublishedState:
        """Move every row to the end, after tokens with this mask were read."""
        lacking_B = mask_BT.shape[1] - mask_BT.sum(1)
        slot_BS = torch.arange(self.num_slots, device=mask_BT.device) - lacking_B[:, None]
        slot_B1S1 = slot_BS.remainder(self.num_slots)[:, None, :, None]  # what was padding on the right comes first

        def moved(x_BHSK: Tensor) -> Tensor:
            return x_BHSK.gather(2, slot_B1S1.expand_as(x_BHSK))

        layers = tuple((moved(k_BHSK), moved(v_BHSK)) for k_BHSK, v_BHSK in self.layers)
        return replace(self, layers=layers, pad_B=self._pad_B(mask_BT) + lacking_B, is_even=False)

    def _pad_B(self, mask_BT: Tensor) -> Tensor:
        return (
            torch.zeros(len(mask_BT), dtype=torch.int64, device=mask_BT.device)
            if self.pad_B is None
            else self.pad_B
        )


def _layers(cache: Any) -> Layers:
    return tuple((layer.keys, layer.values) for layer in cache.layers)
