"""What every model begins with: encoders and a fusion.

    Batch --encoders--> {name: Encoded} --fusion--> Conditioning

Enters: batches.  Leaves: conditioning.  A language model adds scorers (`model.multimodal`), a pretraining run
objectives alone (`model.pretrainer`); parameters have the same names in both, so that one begins where the other
ended.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import nn

from sensorium.core.protocols import Preparer
from sensorium.core.types import Batch, Conditioning, Encoded
from sensorium.fusion.alignment import Alignment
from sensorium.model.config import ConditionerConfig
from sensorium.model.frozen import FeaturePreparer, FrozenEncoder
from sensorium.model.layers import freeze_layers, is_all_frozen, rate_factors
from sensorium.model.objectives import Objectives
from sensorium.model.taking import fill_encoder, fill_fusion


class Conditioner(nn.Module):
    """Encoders and a fusion, wired as the config says, with what trains them without a target.

    Args:
        config: the validated inputs and fusion.
        preparers: one fitted preparer an input; a frozen encoder's becomes a `FeaturePreparer`.
    """

    def __init__(self, config: ConditionerConfig, preparers: Mapping[str, Preparer]) -> None:
        super().__init__()
        self.config: Any = config
        self.fusion: Any
        self.preparers: dict[str, Preparer] = dict(preparers)
        width = config.fusion.width
        self.encoders = nn.ModuleDict()
        for name, choice in config.inputs.items():
            encoder = choice.encoder(choice.options, preparers[name], width)
            freeze_layers(encoder, choice.section.frozen_layers, name)
            if choice.section.frozen:
                self.preparers[name] = FeaturePreparer(preparers[name], encoder, name)
                encoder = FrozenEncoder(encoder, width)
            self.encoders[name] = encoder
        names = list(config.inputs)
        self.fusion = config.fusion_class(config.fusion_options, names, width) if names else None
        alignment = config.fusion.alignment
        self.alignment = None if alignment is None else Alignment(alignment, width)
        self.objectives = (
            None
            if config.objectives is None
            else Objectives(config.objectives, config.inputs, self.preparers, width)
        )
        self.input_dropout = config.input_dropout

    def load_pretrained(self) -> None:
        """Load published weights where the config names a file, and a run's where it begins from one.

        Raises:
            ModelError: weights that cannot be read, are of another network, or have changed.
        """
        for name, choice in self.config.inputs.items():
            encoder: Any = self.encoders[name]
            if any(getattr(choice.options, key, None) is not None for key in ("weights", "vectors")):
                (encoder.encoder if choice.section.frozen else encoder).load_pretrained()
            fill_encoder(encoder, choice.section, where=f"inputs.{name}")
        fill_fusion(self.fusion, self.config.fusion)

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

    def encode(self, batch: Batch) -> dict[str, Encoded]:
        """Encode every input of a batch that is on the model's device."""
        return {name: encoder(batch.inputs[name]) for name, encoder in self.encoders.items()}

    def fuse(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse what `encode` returned."""
        cond: Conditioning = self.fusion(parts)
        return cond

    def condition(self, batch: Batch) -> Conditioning:
        """Encode and fuse one batch: B rows of memory, empty where the model has no inputs."""
        batch = batch.to(self.device)
        if not self.encoders:
            return Conditioning.empty(batch.num_rows, self.config.fusion.width, self.device)
        return self.fuse(self.encode(batch))

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
