"""One row whose one input is varied: many versions of it, everything else as it is.

Enters: a model, a batch of one row, the tokens of a text, and the input's name.  Leaves: log p of each token for
each version.  The other media are encoded once for all versions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core.errors import UsageError
from sensorium.core.protocols import HidingPreparer
from sensorium.core.types import Batch, MediaBatch
from sensorium.language.pieces import score_in_pieces
from sensorium.model.multimodal import MultimodalLM

AT_ONCE = 256
"""Versions of one forward pass."""


class Variants:
    """Versions of one input of one row.

    Args:
        model: fitted, in `eval()`.
        batch: one row.
        ids: the text's tokens, without BOS.
        name: the input that varies.

    Attributes:
        places: the shape of its places: (H, W) pixels, (T,) frames or tokens.
        tile: how many places are hidden together, by axis.
        tokens: the text's tokens, as the vocabulary spells them.
        labels: the input's own tokens, where it is made of such.
        step_s: seconds from a place to the next, where the places are frames.

    Raises:
        UsageError: the row lacks the input or has several of it, or its preparer does not say how it is hidden.
    """

    def __init__(self, model: MultimodalLM, batch: Batch, ids: Sequence[int], name: str) -> None:
        preparer = model.preparers[name]
        if not isinstance(preparer, HidingPreparer):
            raise UsageError(f"'{name}' has no places that could be hidden", advice="its preparer has no 'hiding'")
        media = batch.inputs[name]
        if media.list_SK is not None:
            raise UsageError(f"'{name}' has several media a row, and a map is of one")
        if batch.num_rows != 1 or int(media.row_B[0]) < 0:
            raise UsageError(f"the row has no '{name}' to look into")
        self.model, self.name, self.hiding = model, name, preparer.hiding
        self.batch = batch.to(model.device)
        self.ids = list(ids)
        self.tokens = [model.vocab.tokens[i] for i in ids]
        unit = int(media.row_B[0])
        values = media.values[unit : unit + 1]
        if media.mask_UT is not None:
            # One row's own length: no padding is left to explain.
            values = values[:, : int(media.mask_UT[unit].sum())]
        self.values = (values.float() if self.hiding.is_continuous else values).to(model.device)
        self.blank = self.hiding.blank(self.values).to(self.values.dtype)
        vocab = getattr(preparer, "vocab", None)
        self.labels = (
            ()
            if vocab is None or self.values.ndim != 2
            else tuple(map(vocab.tokens.__getitem__, self.values[0].tolist()))
        )
        self.step_s = getattr(preparer, "hop_ms", 1000.0) / 1000
        self.is_timed = media.mask_UT is not None
        self.places = tuple(self.values.shape[axis] for axis in self.hiding.axes)
        self.tile = tuple(map(self.hiding.tile, self.places))

    def versions(self, hidden_X: Tensor) -> Tensor:
        """Hide places: (X, *places) bool, True = hidden, to values (X, ...)."""
        shape = [len(hidden_X)] + [1] * (self.values.ndim - 1)
        for axis, length in zip(self.hiding.axes, self.places, strict=True):
            shape[axis] = length
        return torch.where(hidden_X.to(self.values.device).view(shape), self.blank, self.values)

    def log_p(self, values_X: Tensor) -> Tensor:
        """Return log p of each token (X, T) for X versions; gradients flow where they are asked for."""
        num = len(values_X)
        inputs = {name: replace(media, row_B=media.row_B.expand(num)) for name, media in self.batch.inputs.items()}
        inputs[self.name] = self.media(values_X)
        token_1T, mask_1T = self.model.sequences([self.ids])
        cond = self.model.condition(Batch(self.batch.row_id_B.expand(num), inputs))
        score_XT: Tensor = score_in_pieces(self.model.scorer, token_1T.repeat(num, 1), mask_1T.repeat(num, 1), cond)
        return score_XT[:, 1:]

    def media(self, values_X: Tensor) -> MediaBatch:
        """Return X versions as X media of X rows."""
        mask_XT = None
        if self.is_timed:
            mask_XT = torch.ones(values_X.shape[:2], dtype=torch.bool, device=values_X.device)
        return MediaBatch(values_X, mask_XT, torch.arange(len(values_X), device=values_X.device))

    @torch.no_grad()
    def log_p_hidden(self, hidden_X: Tensor) -> Tensor:
        """Return log p of each token (X, T) with places hidden, some versions at a time."""
        return torch.cat([self.log_p(self.versions(part)) for part in torch.split(hidden_X, AT_ONCE)])

    @contextlib.contextmanager
    def embedded_as(self, x_XTF: Tensor) -> Iterator[None]:
        """Let the input's encoder read these vectors in place of its embedding of the tokens.

        Raises:
            UsageError: the encoder has no embedding `embed`, so there is nothing to differentiate by.
        """
        embed = getattr(self.model.encoders[self.name], "embed", None)
        if not isinstance(embed, nn.Embedding):
            raise UsageError(
                f"'{self.name}' is read by counting, which has no gradient", advice="choose --map occlusion"
            )

        def swapped(_layer: nn.Module, _args: Any, out: Tensor) -> Tensor:
            return x_XTF if out.shape == x_XTF.shape else out

        handle = embed.register_forward_hook(swapped)
        try:
            yield
        finally:
            handle.remove()

    def embedding(self) -> Any:
        """Return the encoder's embedding of tokens, where it has one."""
        return getattr(self.model.encoders[self.name], "embed", None)
