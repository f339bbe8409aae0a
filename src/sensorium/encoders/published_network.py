"""A published network: made from its configuration, cut to the layers that are asked for, filled with weights.

Enters: the keys of a config.json.  Leaves: an `nn.Module` of transformers, whose parameters are those that take
part in its features; all else it has (a pooler behind the last hidden states, a mask's vector) becomes buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core.errors import ModelError
from sensorium.core.lora import Lora, LoraLinear, add_lora
from sensorium.data.published import folder_of, import_transformers, quietly

OFF: Mapping[str, Any] = {
    "layerdrop": 0.0,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
    "apply_spec_augment": False,
}
"""Settings of some configurations that do in training what is done elsewhere here, or what no seed reaches."""


@dataclass(frozen=True)
class Architecture:
    """A network that transformers knows, of which one modality's encoder is wanted.

    Args:
        facts: the keys of its config.json.
        part: where a network of several modalities keeps the configuration of this one ("vision_config").
        where: the source, for errors.
        layer: the hidden state that is wanted, 0 = the embeddings; None = the last.
        lora: low-rank adapters to learn beside frozen weights.
        checkpointed: compute activations again in the backward pass instead of keeping them.
    """

    facts: Mapping[str, Any]
    part: str
    where: str
    layer: int | None = None
    lora: Lora | None = None
    checkpointed: bool = False

    def make(self) -> nn.Module:
        """Make the encoder with random weights.  Raises ModelError, ConfigError, MissingExtraError."""
        kind, config = self._kind_and_config()
        with quietly():
            try:
                network: nn.Module = _encoder_of(kind._from_config(config, dtype=torch.float32))
            except (ValueError, TypeError, RuntimeError, AssertionError, ImportError, KeyError) as error:
                raise ModelError(f"its {kind.__name__} cannot be made: {error}", where=self.where) from None
        for module in network.modules():
            _keep_as_buffers(module, [n for n, p in module.named_parameters(recurse=False) if not p.requires_grad])
        if self.layer is not None:
            _cut(network, self.layer)
        if self.checkpointed:
            if not getattr(network, "supports_gradient_checkpointing", False):
                what = f"{type(network).__name__} has no gradient checkpointing"
                raise ModelError(what, where=self.where, advice="leave 'gradient_checkpointing' out")
            # Its name changes in transformers 6.
            old: Any = getattr(network, "gradient_checkpointing_enable", None)
            getattr(network, "activation_checkpointing_enable", old)({"use_reentrant": False})
        if self.lora is not None:
            add_lora(network, self.lora)
        return network

    def load(self, network: nn.Module, source: str, revision: str | None) -> None:
        """Fill what `make` made with the published weights.

        Raises:
            ModelError: no weights, weights that are not data alone, damaged, missing or of other shapes.
        """
        folder = folder_of(source, revision, with_weights=True)
        whole, missing = self._published(folder)
        encoder = _encoder_of(whole)
        prefix = next(name for name, module in whole.named_modules() if module is encoder)
        found = encoder.state_dict()
        names = _names_before_lora(network)
        learned = {names.get(name, name) for name, _ in network.named_parameters()} & found.keys()
        if absent := [name for name in sorted(learned) if ".".join(filter(None, (prefix, name))) in missing]:
            what = f"the weights lack {len(absent)} of the network's tensors ({', '.join(absent[:3])})"
            raise ModelError(what, where=str(folder), advice="they are another architecture's, or cut short")
        own = network.state_dict()
        network.load_state_dict({n: found[p] for n in own if (p := names.get(n, n)) in found}, strict=False)

    def _published(self, folder: Path) -> tuple[nn.Module, set[str]]:
        kind, config = self._kind_and_config()
        is_safe = any(folder.glob("*.safetensors"))
        if not is_safe and not any(folder.glob("*.bin")):
            advice = "save it with save_pretrained, which writes model.safetensors"
            raise ModelError("holds no weights (*.safetensors or *.bin)", where=str(folder), advice=advice)
        with quietly():
            try:
                whole, said = kind.from_pretrained(
                    folder,
                    config=config,
                    dtype=torch.float32,
                    use_safetensors=is_safe,
                    weights_only=True,
                    local_files_only=True,
                    output_loading_info=True,
                )
            except Exception as error:  # damaged files raise many kinds, of safetensors, torch and pickle
                first_line = str(error).strip().partition("\n")[0]
                advice = "" if is_safe else "a .bin file that holds more than tensors is not opened"
                raise ModelError(
                    f"cannot be read as weights: {first_line}", where=str(folder), advice=advice
                ) from None
        return whole, set(said["missing_keys"])

    def _kind_and_config(self) -> tuple[Any, Any]:
        transformers = import_transformers()
        name = str(self.facts.get("model_type", ""))
        try:
            config = transformers.CONFIG_MAPPING[name].from_dict(dict(self.facts))
        except KeyError:
            if "auto_map" in self.facts:
                what = f"'{name}' needs Python code that comes with the weights, and such code is never run"
            else:
                what = f"transformers {transformers.__version__} knows no architecture '{name}'"
            raise ModelError(what, where=self.where, advice="choose another, or update transformers") from None
        except (ValueError, TypeError) as error:
            raise ModelError(f"its configuration is refused: {error}", where=self.where) from None
        inner = getattr(config, self.part, None)
        config = inner if isinstance(inner, transformers.PretrainedConfig) else config
        for key, value in OFF.items():
            if hasattr(config, key):
                setattr(config, key, value)
        try:
            kind = transformers.MODEL_MAPPING[type(config)]
        except KeyError:
            raise ModelError(f"transformers has no encoder for '{config.model_type}'", where=self.where) from None
        alone = transformers.MODEL_FOR_TEXT_ENCODING_MAPPING.get(type(config), None)
        if alone is not None and self.facts.get("architectures") == [alone.__name__]:
            return alone, config  # an encoder without its decoder, as T5EncoderModel saves one
        return kind[0] if isinstance(kind, tuple | list) else kind, config


def only_what_takes_part(network: nn.Module, features: Callable[[nn.Module], Tensor], tried: nn.Module) -> Tensor:
    """Turn those parameters into buffers that `features` does not depend on; returns what features look like.

    Args:
        network: changed in place.
        features: runs a network on an example.
        tried: what is run, a network of the same names: one on the meta device computes nothing.
    """
    was_training = tried.training
    learned = [(name, p) for name, p in tried.named_parameters() if p.requires_grad]
    with torch.enable_grad():
        x = features(tried.eval())
        reached = torch.autograd.grad(x.sum(), [p for _, p in learned], allow_unused=True)
    tried.train(was_training)
    for (name, _), gradient in zip(learned, reached, strict=True):
        if gradient is None:
            path, _, leaf = name.rpartition(".")
            _keep_as_buffers(network.get_submodule(path), [leaf])
    return x


def _keep_as_buffers(module: nn.Module, names: list[str]) -> None:
    for name in names:
        tensor = module._parameters.pop(name)
        assert tensor is not None
        module.register_buffer(name, tensor.detach())


def _encoder_of(whole: Any) -> Any:
    return whole.get_encoder() if whole.config.is_encoder_decoder else whole


def _cut(network: Any, layer: int) -> None:
    """Drop the layers that a hidden state does not depend on, but for one: the last state may be normalised."""
    depth = getattr(network.config, "num_hidden_layers", None)
    stacks = [m for m in network.modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    if len(stacks) == 1:
        del stacks[0][layer + 1 :]


def _names_before_lora(network: nn.Module) -> dict[str, str]:
    """Return by the name of each tensor inside an adapted layer the one that it has in the published network."""
    return {
        f"{path}.base.{leaf}": f"{path}.{leaf}"
        for path, module in network.named_modules()
        if isinstance(module, LoraLinear)
        for leaf in module.base.state_dict()
    }
