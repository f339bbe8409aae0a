"""What the encoders by published networks share: options, and the way from their output to features.

Enters: prepared media.  Leaves: features (U, T, F): all positions of a hidden state, or one position of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.errors import ModelError
from sensorium.core.lora import Lora
from sensorium.core.types import Encoded, MediaBatch
from sensorium.data.published import pinned_revision
from sensorium.encoders.image_input import to_positions
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.published_network import Architecture, only_what_takes_part

Pooling = Literal["all", "patches", "first", "last", "mean", "pooled"]


class PublishedInput(Section):
    """Which published network, which of its outputs, and how it is trained."""

    source: str
    """A folder in Hugging Face's layout, or a name on its hub."""
    revision: str | None = None
    """A branch, tag or commit of the hub; the commit that it is at the first run is what is written here."""
    layer: int | None = Field(None, ge=0, le=1_000)
    """Which hidden state, 0 = the embeddings; by default what comes out at the top."""
    pooling: Pooling = "all"
    """Which positions: all, those of a square grid of patches, the first or last one, their mean, or what the
    network itself makes of them ("pooled")."""
    gradient_checkpointing: bool = False
    """Compute activations twice and keep few: less memory, more time."""
    lora: Lora | None = None
    """Learn low-rank adapters beside frozen weights, and no more of the network."""

    def pinned(self) -> Self:
        """Return the same options, the revision of a hub's network being a commit.  Raises ConfigError."""
        return self.model_copy(update={"revision": pinned_revision(self.source, self.revision)})


class PublishedEncoder(nn.Module):
    """Encode with a network of transformers; subclasses say which modality, and give it what it reads.

    Args:
        config: which network, and which of its outputs.
        preparer: fitted; it holds the network's configuration.
        width: D of the result.

    Raises:
        ModelError: an architecture that transformers lacks, or of another modality.
    """

    modality: str
    part: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]
    """What transformers calls this modality's values."""

    def __init__(self, config: PublishedInput, preparer: Any, width: int) -> None:
        super().__init__()
        self.width, self.options = width, config
        self.architecture = Architecture(
            preparer.published.config,
            self.part,
            config.source,
            config.layer,
            config.lora,
            config.gradient_checkpointing,
        )
        self.network: Any = self.architecture.make()
        if self.network.main_input_name not in self.reads:
            what = f"{type(self.network).__name__} reads {self.network.main_input_name}, not {self.reads[0]}"
            advice = f"it is no encoder of modality '{self.modality}'"
            raise ModelError(what, where=config.source, advice=advice)
        self._configure(preparer)
        x_1TF, is_grid = self._shape(preparer)
        self.feature_width = x_1TF.shape[2]
        self.outlet = Outlet(self.feature_width, width, num_positions=x_1TF.shape[1] if is_grid else 0)

    def _configure(self, preparer: Any) -> None:
        """Take what the preparer knows of the values."""

    def _shape(self, preparer: Any) -> tuple[Tensor, bool]:
        """Run an example; returns what its features look like, and whether they are a bare grid."""
        is_grid = False

        def features(network: Any) -> Tensor:
            nonlocal is_grid
            device = next(network.parameters()).device
            example = self._arguments(preparer.example())
            output = self._run(network, {k: v.to(device) if isinstance(v, Tensor) else v for k, v in example.items()})
            state = self._state(output)
            is_grid = state.ndim == 4 and self.options.pooling == "all"
            return self._pooled(output, state, None)[0]

        with torch.device("meta"):
            twin = self.architecture.make()
        try:
            try:
                return only_what_takes_part(self.network, features, twin), is_grid
            except (RuntimeError, NotImplementedError):  # some look at values on their way, which the twin lacks
                return only_what_takes_part(self.network, features, self.network), is_grid
        except (RuntimeError, ValueError, TypeError, NotImplementedError, IndexError, AttributeError) as error:
            what = f"{type(twin).__name__} does not take {self.modality}: {error}"
            raise ModelError(what, where=self.options.source) from None

    def load_pretrained(self) -> Self:
        """Begin with the published weights; returns self.  Raises ModelError."""
        self.architecture.load(self.network, self.options.source, self.options.revision)
        return self

    def _arguments(self, values: Tensor) -> Mapping[str, Tensor]:
        """Return what the network is called with, for values of which everything is real."""
        raise NotImplementedError

    def _run(self, network: Any, arguments: Mapping[str, Any]) -> Any:
        return network(**arguments, output_hidden_states=self.options.layer is not None, return_dict=True)

    def _state(self, output: Any) -> Tensor:
        layer = self.options.layer
        if layer is None:
            state: Tensor = output.last_hidden_state
            return state
        if layer >= len(output.hidden_states):
            what = f"has hidden states 0 to {len(output.hidden_states) - 1}, not {layer}"
            raise ModelError(what, where=self.options.source, advice="choose another 'layer'")
        state = output.hidden_states[layer]
        return state

    def _pooled(self, output: Any, state: Tensor, mask_UT: Tensor | None) -> Features:
        """Choose positions (U, T, F) of a hidden state, (U, T, F) or (U, F, H, W), and their mask."""
        x_UTF = to_positions(state) if state.ndim == 4 else state
        pooling = self.options.pooling
        if pooling == "all":
            return x_UTF, mask_UT
        if pooling == "pooled":
            pooled = getattr(output, "pooler_output", None)
            if pooled is None:
                what, advice = "makes no pooled output", "choose another 'pooling'"
                raise ModelError(what, where=self.options.source, advice=advice)
            return pooled.flatten(1)[:, None], None
        if pooling == "patches":
            side = int(x_UTF.shape[1] ** 0.5)
            return x_UTF[:, x_UTF.shape[1] - side * side :], None
        return _one_position(x_UTF, mask_UT, pooling)[:, None], None

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, T, width)."""
        return encode(self, media)

    def features(self, values: Tensor, mask_UT: Tensor | None) -> Features:
        """Return (U, T, F) of the network, and the mask."""
        raise NotImplementedError


def _one_position(x_UTF: Tensor, mask_UT: Tensor | None, pooling: Pooling) -> Tensor:
    if pooling == "first":
        return x_UTF[:, 0]
    if mask_UT is None:
        mask_UT = torch.ones(x_UTF.shape[:2], dtype=torch.bool, device=x_UTF.device)
    if pooling == "last":
        return x_UTF[torch.arange(len(x_UTF), device=x_UTF.device), mask_UT.sum(1) - 1]
    x_UTF = torch.where(mask_UT[..., None], x_UTF, 0)
    return x_UTF.sum(1) / mask_UT.sum(1, keepdim=True)
