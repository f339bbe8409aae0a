"""What every model begins with: encoders and a fusion.

    Batch --encoders--> {name: Encoded} --fusion--> Conditioning

Enters: batches.  Leaves: conditioning.  A language model adds scorers (`model.multimodal`), a pretraining run
objectives alone (`model.pretrainer`); parameters have the same names in both, so that one begins where the other
ended.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from sensorium.core.errors import ModelError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Batch, Conditioning, Encoded, MediaBatch
from sensorium.fusion.alignment import Alignment
from sensorium.model.config import ConditionerConfig
from sensorium.model.frozen import FeaturePreparer, FrozenEncoder, WholeEncoder
from sensorium.model.layers import freeze_layers, is_all_frozen, rate_factors
from sensorium.model.media_list import MediaList
from sensorium.model.objectives import Objectives
from sensorium.model.precision import Precision
from sensorium.model.taking import BEGINNINGS, fill_encoder, fill_fusion, fill_list


class Shared(NamedTuple):
    """What models of several tasks have in common: encoders and their preparers by input, and the fusion."""

    encoders: dict[str, nn.Module]
    preparers: dict[str, Preparer]
    fusion: Any = None
    lists: Mapping[str, nn.Module] = {}


class Conditioner(nn.Module):
    """Encoders and a fusion, wired as the config says, with what trains them without a target.

    Args:
        config: the validated inputs and fusion.
        preparers: one fitted preparer an input; a frozen encoder's becomes a `FeaturePreparer`.
        shared: parts of another task's model that this one uses too.
    """

    _known: tuple[Batch, Conditioning] | None = None

    def __init__(
        self, config: ConditionerConfig, preparers: Mapping[str, Preparer], shared: Shared | None = None
    ) -> None:
        super().__init__()
        self.config: Any = config
        self.fusion: Any
        self.preparers: dict[str, Preparer] = dict(preparers)
        self.precision: Precision = "float32"
        """How its weights are kept in a folder."""
        shared = shared or Shared({}, {})
        width = config.fusion.width
        self.encoders = nn.ModuleDict()
        for name in config.inputs:
            if name in shared.encoders:
                self.encoders[name], self.preparers[name] = shared.encoders[name], shared.preparers[name]
            else:
                self._add_encoder(name)
        several = {n: MediaList(c.section.max_media, width) for n, c in config.inputs.items() if c.section.several}
        self.lists = nn.ModuleDict({**several, **shared.lists})
        self.fusion = config.make_fusion()
        if self.fusion is not None and shared.fusion is not None:
            self.fusion = shared.fusion
        alignment = config.fusion.alignment
        self.alignment = None if alignment is None else Alignment(alignment, width)
        self.objectives = (
            None
            if config.objectives is None
            else Objectives(config.objectives, config.inputs, self.preparers, width)
        )
        self.input_dropout = config.input_dropout

    def _add_encoder(self, name: str) -> None:
        choice, width = self.config.inputs[name], self.config.fusion.width
        encoder = choice.encoder(choice.options, self.preparers[name], width)
        freeze_layers(encoder, choice.section.frozen_layers, name)
        if choice.section.frozen:
            # Where weights came from does not matter: they are looked at themselves.
            settings = choice.options.model_dump_json(exclude={*BEGINNINGS, "source", "revision", "vocabulary"})
            self.preparers[name] = FeaturePreparer(self.preparers[name], encoder, name, settings)
            encoder = FrozenEncoder(encoder, width)
        self.encoders[name] = encoder

    def load_pretrained(self) -> None:
        """Load published weights where the config names a file, and a run's where it begins from one.

        Raises:
            ModelError: weights that cannot be read, are of another network, or have changed.
        """
        for name, choice in self.config.inputs.items():
            encoder: Any = self.encoders[name]
            begins = any(getattr(choice.options, key, None) is not None for key in ("weights", "vectors", "source"))
            if begins and choice.section.taken_from is None:
                (encoder.encoder if choice.section.frozen else encoder).load_pretrained()
            fill_encoder(encoder, choice.section, where=f"inputs.{name}")
            if name in self.lists:
                fill_list(self.lists[name], choice.section, where=f"inputs.{name}")
        if self.fusion is not None:
            fill_fusion(self.fusion, self.config.fusion)

    def thawed(self) -> Self:
        """Return a view of this model, sharing every tensor, whose frozen encoders read media again."""
        view = copy.copy(self)
        frozen = {name: encoder for name, encoder in self.encoders.items() if isinstance(encoder, FrozenEncoder)}
        whole = {name: WholeEncoder(encoder) for name, encoder in frozen.items()}
        view._modules = {**self._modules, "encoders": nn.ModuleDict({**self.encoders, **whole})}
        opened = {n: p.preparer for n, p in self.preparers.items() if isinstance(p, FeaturePreparer)}
        view.preparers = {**self.preparers, **opened}
        return view

    @property
    def device(self) -> torch.device:
        """Return where the model computes; batches are brought there."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    @property
    def rate_factors(self) -> dict[str, float]:
        """Return what the learning rate is multiplied by, by the beginning of the parameters' names."""
        factors: dict[str, float] = {}
        for name, choice in self.config.inputs.items():
            section = choice.section
            factors |= rate_factors(
                self.encoders[name], f"encoders.{name}.", section.rate_factor, section.rate_decay
            )
        return factors

    def encode(self, name: str, media: MediaBatch) -> Encoded:
        """Encode one input's media, on the model's device, for their rows: (B, T, D)."""
        encoder: Any = self.encoders[name]
        encoded: Encoded = self.lists[name](encoder, media) if name in self.lists else encoder(media)
        return encoded

    def encode_all(self, batch: Batch) -> dict[str, Encoded]:
        """Encode every input of a batch that is on the model's device."""
        return {name: self.encode(name, batch.inputs[name]) for name in self.encoders}

    def embed(self, name: str, media: MediaBatch) -> Tensor:
        """Return the unit vectors by which rows find what means the same, float32 (B, D).

        Raises:
            ModelError: the model does not align this input.
        """
        if self.alignment is None or name not in self.alignment.names:
            aligned = "none" if self.alignment is None else ", ".join(self.alignment.names)
            advice = f'aligned inputs: {aligned}; train with task = "retrieve", or with [fusion.alignment]'
            raise ModelError(f"input '{name}' is not aligned with any other", advice=advice)
        vector_BD: Tensor = self.alignment.embed(name, self.encode(name, media.to(self.device)))
        return vector_BD

    def misalignment(self, parts: Mapping[str, Encoded], batch: Batch) -> Tensor:
        """Return each row's alignment loss, (B,), of what `encode_all` returned; the model aligns its inputs."""
        assert self.alignment is not None
        loss_B: Tensor = self.alignment(parts, {name: media.row_B for name, media in batch.inputs.items()})
        return loss_B

    def fuse(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse what `encode_all` returned."""
        cond: Conditioning = self.fusion(parts)
        return cond

    def condition(self, batch: Batch) -> Conditioning:
        """Encode and fuse one batch: B rows of memory, empty where the model has no inputs."""
        if self._known is not None and self._known[0] is batch:
            return self._known[1]
        return self._condition(batch)

    def given(self, batch: Batch, cond: Conditioning) -> Self:
        """Return a view of this model, sharing every tensor, that has conditioned on this very batch already."""
        view = copy.copy(self)
        view._known = (batch, cond)
        return view

    def _condition(self, batch: Batch) -> Conditioning:
        batch = batch.to(self.device)
        if not self.encoders:
            return Conditioning.empty(batch.num_rows, self.config.fusion.width, self.device)
        return self.fuse(self.encode_all(batch))

    def train(self, mode: bool = True) -> Self:
        """Set training mode; what is frozen stays in evaluation mode, the statistics of its norms too."""
        super().train(mode)
        for encoder in self.encoders.values():
            if isinstance(encoder, FrozenEncoder):
                encoder.encoder.eval()
            for module in encoder.modules():
                if is_all_frozen(module):
                    module.eval()
        return self
