"""A model on disk: one committed folder that holds all it needs to answer.

model/
  config.toml            the model's sections, defaults written out; how it writes, and what it may open
  inputs/NAME/           what each input's preparer learned
  target/                the target's tokenizer
  answers.json           the distinct training targets, most frequent first, if the task is closed
  weights.safetensors    every parameter and every counted table
  README.md              the card
  manifest.json          sizes and SHA-256, written last
  lessons.json           what it was taught since, if anything; not in the manifest
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sensorium.core.commit import Kind, committed_folder, recommit, verify
from sensorium.core.config import Source, read_toml, write_toml
from sensorium.core.errors import ModelError
from sensorium.core.protocols import Preparer
from sensorium.data.media_policy import obey, policy_of_all
from sensorium.decoding.config import DecodingConfig
from sensorium.media.policy import MediaPolicy
from sensorium.model.conditioner import Conditioner
from sensorium.model.config import (
    ConditionerConfig,
    ModelConfig,
    is_without_target,
    parse,
    parse_without_target,
)
from sensorium.model.config_reading import plain
from sensorium.model.multimodal import MultimodalLM
from sensorium.model.precision import fill, packed, precision_section, read_precision
from sensorium.model.pretrainer import Pretrainer

WEIGHTS, CARD = "weights.safetensors", "README.md"
_LATER = ("lessons.json", ".lessons.lock", "decoding.toml")
MODEL = Kind("model", mark=WEIGHTS, beside=(*_LATER, *(f"tasks/*/{name}" for name in _LATER)))


def save_model(
    model: MultimodalLM,
    folder: Path,
    *,
    answers: list[str] | None,
    card: str,
    decoding: DecodingConfig,
    beside: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Commit `model` to `folder`, replacing an older one only when the new one is whole.

    Args:
        decoding: how it writes, if its task is open.
        beside: files by name, such as what it was taught after fitting, which is no part of the model itself.

    Raises:
        UsageError: `folder` holds something else than a model.
        DiskError: no space or no permission.
    """
    with committed_folder(folder, MODEL) as draft:
        _save_conditioner(model, draft, card, decoding=plain(decoding))
        (draft / "target").mkdir()
        model.tokenizer.save(draft / "target")
        if answers is not None:
            (draft / "answers.json").write_text(json.dumps(answers, ensure_ascii=False), encoding="utf-8")
        save_file(packed(model, _fitted_tensors(model), model.precision), draft / WEIGHTS)
        write_beside(draft, beside)


def save_pretrained(model: Pretrainer, folder: Path, *, card: str) -> None:
    """Commit a model without a target to `folder`: its config, preparers and weights.  Raises as `save_model`."""
    with committed_folder(folder, MODEL) as draft:
        _save_conditioner(model, draft, card)
        tensors = {name: tensor.detach().contiguous().clone() for name, tensor in model.state_dict().items()}
        save_file(tensors, draft / WEIGHTS)


def save_card(folder: Path, card: str) -> None:
    """Exchange the card of a committed model folder, of one task or several; its weights are not written again.

    Raises:
        UsageError, ModelError: `folder` holds no model.
        DiskError: no space or no permission.
    """
    recommit(folder, MODEL, {CARD: card.encode("utf-8")})


def write_beside(draft: Path, files: Mapping[str, bytes]) -> None:
    """Write files into the draft of a model folder, by their names in it."""
    for name, data in files.items():
        (draft / name).write_bytes(data)


def use_sections(preparers: Iterable[Preparer], **sections: Any) -> dict[str, Any]:
    """Return what a model folder's config says of its use: [media], and the given sections."""
    return {**sections, "media": plain(policy_of_all(preparers))}


def _save_conditioner(model: Conditioner, draft: Path, card: str, **sections: Any) -> None:
    use = use_sections(model.preparers.values(), **sections)
    values = {**precision_section(model.precision), **model.config.dump(), **use}
    (draft / "config.toml").write_text(write_toml(values), encoding="utf-8")
    for name, preparer in model.preparers.items():
        (draft / "inputs" / name).mkdir(parents=True)
        preparer.save(draft / "inputs" / name)
    (draft / CARD).write_text(card, encoding="utf-8")


def _fitted_tensors(model: MultimodalLM) -> dict[str, torch.Tensor]:
    taught = model.taught
    if taught:
        model.teach(())
    try:
        return {name: tensor.detach().contiguous().clone() for name, tensor in model.state_dict().items()}
    finally:
        if taught:
            model.teach(taught)


def load_model(
    folder: Path, *, default_tokenizer: Mapping[str, str], check: bool = True, policy: MediaPolicy | None = None
) -> tuple[MultimodalLM, list[str] | None]:
    """Load a committed model folder; returns the model in evaluation mode, and its answers if closed.

    Args:
        policy: what media may be opened; None: as the folder's own config says.

    Raises:
        ModelError: not a model folder, damaged, or of parts that do not fit each other.
    """
    if not folder.is_dir():
        raise ModelError("no such model folder", where=str(folder), advice="name a run folder or its model/")
    if check:
        verify(folder)
    values, source = read_toml(folder / "config.toml")
    if is_without_target(values):
        advice = 'fine-tune from it: encoder = "run:FOLDER#INPUT", or features = "run:FOLDER"'
        raise ModelError("is a pretrained model, which writes nothing", where=str(folder), advice=advice)
    config = parse(values, source, default_tokenizer=default_tokenizer)
    preparers = _load_preparers(config, folder, policy or read_policy(values, source))
    tokenizer = build_tokenizer(config).load(folder / "target")
    model = MultimodalLM(config, preparers, tokenizer)
    model.precision = read_precision(values, source)
    _load_weights(model, folder)
    path = folder / "answers.json"
    answers = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return model.eval(), answers


def holds_pretrainer(folder: Path) -> bool:
    """Say whether a model folder holds what `save_pretrained` wrote; the folder has been verified."""
    return is_without_target(read_toml(folder / "config.toml")[0])


def load_pretrainer(folder: Path) -> Pretrainer:
    """Load what `save_pretrained` wrote, in evaluation mode.  Raises ModelError: as `load_model`."""
    verify(folder)
    values, source = read_toml(folder / "config.toml")
    config = parse_without_target(values, source)
    model = Pretrainer(config, _load_preparers(config, folder, read_policy(values, source)))
    _load_weights(model, folder)
    model.eval()
    return model


def read_policy(values: Mapping[str, Any], source: Source) -> MediaPolicy:
    """Return what may be opened by the config of a model or run folder.  Raises ConfigError."""
    return MediaPolicy.parse(values.get("media", {}), source, "media")


def _load_preparers(config: ConditionerConfig, folder: Path, policy: MediaPolicy) -> dict[str, Preparer]:
    preparers = build_preparers(config, policy)
    return {name: preparer.load(folder / "inputs" / name) for name, preparer in preparers.items()}


def _load_weights(model: Conditioner, folder: Path) -> None:
    try:
        fill(model, load_file(folder / WEIGHTS), model.precision)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ModelError(f"weights do not fit: {error}", where=str(folder)) from None


def build_preparers(config: ConditionerConfig, policy: MediaPolicy | None = None) -> dict[str, Preparer]:
    """Make the unfitted preparer of every input; media preparers obey `policy`, if one is given."""
    preparers = {name: choice.options.preparer() for name, choice in config.inputs.items()}  # type: ignore[attr-defined]
    if policy is not None:
        obey(preparers.values(), policy)
    return preparers


def build_tokenizer(config: ModelConfig) -> Any:
    """Make the unfitted tokenizer of the target."""
    return config.tokenizer(config.tokenizer_options)


def num_parameters(model: torch.nn.Module) -> int:
    """Count the numbers that training may change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
