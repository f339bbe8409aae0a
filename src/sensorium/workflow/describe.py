"""Describe a model: its parts, their parameters and shapes, and a diagram of how they meet.

Enters: a config, or a finished run.  Leaves: a `Description`.  Shapes are those of a dummy row, computed by the
model itself: one picture, one second of sound, a text of five words.

A config's vocabularies are learned from its training rows, so its texts are read, but no medium is unless an input
makes words of its media.  Where the rows cannot be read, the description says what is not known.
"""

from __future__ import annotations

import io
import math
import wave
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from sensorium.core.commit import verify
from sensorium.core.errors import DataError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Batch, Item, Media, Sample
from sensorium.data.corpus import Corpus
from sensorium.data.quarantine import Quarantine
from sensorium.model.conditioner import Conditioner
from sensorium.model.multimodal import MultimodalLM
from sensorium.model.pretrainer import Pretrainer
from sensorium.model.saving import (
    build_preparers,
    build_tokenizer,
    holds_pretrainer,
    load_model,
    load_pretrainer,
)
from sensorium.model.saving_tasks import holds_tasks, load_tasks
from sensorium.tasks.registry import default_tokenizers
from sensorium.workflow.config import PretrainingConfig, RunConfig
from sensorium.workflow.diagram import Shape, diagram, pretraining_diagram
from sensorium.workflow.prepare import Part, fit_preparation, fit_preparers, open_parts
from sensorium.workflow.run_folder import model_folder


@dataclass(frozen=True)
class Component:
    """One part of a model.

    Attributes:
        role: "input", "fusion", "alignment", "objective", "scorer" or "mix".
        name: its name in the config.
        kind: its name in the registry.
        shape_in, shape_out: axes of one row, without B; None where only fitting tells.
        learned, frozen: numbers that training may change, and numbers that it may not.
        counted: numbers in buffers, such as counted tables and running means.
    """

    role: str
    name: str
    kind: str
    shape_in: tuple[int, ...] | None
    shape_out: tuple[int, ...] | None
    learned: int
    frozen: int
    counted: int


@dataclass(frozen=True)
class Description:
    """A model's parts, first to last, what is not known of them, and a Mermaid flowchart.

    One without a target has task "pretrain", and no vocabulary (0).
    """

    task: str
    layout: str
    width: int
    vocabulary: int
    components: Sequence[Component]
    unknown: Sequence[str]
    mermaid: str

    def total(self, what: str) -> int:
        """Add up "learned", "frozen" or "counted" numbers."""
        return sum(getattr(component, what) for component in self.components)

    def facts(self) -> dict[str, Any]:
        """Return plain values."""
        totals = {what: self.total(what) for what in ("learned", "frozen", "counted")}
        return asdict(self) | {"total": totals}


def describe_run(path: Path) -> dict[str, Description]:
    """Describe each task of a run folder or a model folder, by name; "" where there is one, or none.

    Raises:
        ModelError: there is no whole model.
    """
    folder = model_folder(path)
    verify(folder)
    if holds_tasks(folder):
        tasks, _ = load_tasks(folder, default_tokenizer=default_tokenizers(), check=False)
        return {name: describe(model) for name, model in tasks.models.items()}
    if holds_pretrainer(folder):
        return {"": describe_pretrainer(load_pretrainer(folder))}
    model, _ = load_model(folder, default_tokenizer=default_tokenizers(), check=False)
    return {"": describe(model)}


def describe_config(config: RunConfig) -> Description:
    """Describe what a config would train; see the module on what is read.  Raises ModelError."""
    unknown = []
    try:
        preparers, tokenizer = fit_preparation(config, _training_rows(config))
    except DataError as error:
        unknown.append(_unread(error))
        preparers = _fitted_on_dummies(config, error)
        tokenizer = build_tokenizer(config.model).fit([TEXT])
    model = MultimodalLM(config.model, preparers, tokenizer).eval()
    unknown += [f"what '{name}' counts" for name, part in model.parts.items() if part.fitted_by == "counting"]
    unfitted = _counting_encoders(model)
    return describe(model, unfitted=unfitted, unknown=[*unknown, *map(_uncounted, unfitted)])


def describe_pretraining(config: PretrainingConfig) -> Description:
    """Describe what a config without a target would train, as `describe_config`.  Raises ModelError."""
    unknown = []
    try:
        preparers = fit_preparers(config, _training_rows(config))
    except DataError as error:
        unknown.append(_unread(error))
        preparers = _fitted_on_dummies(config, error)
    model = Pretrainer(config.model, preparers)
    model.eval()
    unfitted = _counting_encoders(model)
    return describe_pretrainer(model, unfitted=unfitted, unknown=[*unknown, *map(_uncounted, unfitted)])


def _training_rows(config: PretrainingConfig) -> Part:
    return open_parts(config, Quarantine(stops=False))["train"]


def _unread(error: DataError) -> str:
    return f"vocabularies, and the parameters that grow with them: {error}"


def _counting_encoders(model: Conditioner) -> list[str]:
    """Name the inputs whose encoders cannot run before they have counted."""
    return [n for n, e in model.encoders.items() if getattr(e, "fitted_by", "gradient") == "counting"]


def _uncounted(name: str) -> str:
    return f"what the encoder of '{name}' counts, and its shape"


def _fitted_on_dummies(config: PretrainingConfig, error: DataError) -> dict[str, Preparer]:
    """Fit preparers where the rows cannot be read; an input of a form that no dummy has raises why they cannot."""
    preparers = build_preparers(config.model)
    try:
        for preparer in preparers.values():
            preparer.fit([_dummy(preparer.modality)])
    except DataError:
        raise error from None
    return preparers


@torch.inference_mode()
def describe(model: MultimodalLM, *, unfitted: Sequence[str] = (), unknown: Sequence[str] = ()) -> Description:
    """Describe a model.

    Args:
        model: in evaluation mode.
        unfitted: inputs whose encoders cannot run yet.
        unknown: what cannot be told.
    """
    # A model that finds has nothing to fuse for.
    components, strange = _conditioning(model, unfitted, fuses=bool(model.parts))
    for name, part in model.parts.items():
        kind = model.config.scorers[name].kind
        components.append(_component("scorer", name, kind, None, (len(model.vocab),), part))
    if len(model.parts) > 1:
        own = _without(model.scorer, list(model.parts.values()))
        components.append(Component("mix", model.config.language.mix, "mix", None, (len(model.vocab),), *own))
    drawn = diagram(model, *_shapes(components))
    task, vocabulary = model.config.target.task, len(model.vocab)
    return _described(model, task, vocabulary, components, [*unknown, *strange], drawn)


@torch.inference_mode()
def describe_pretrainer(
    model: Pretrainer, *, unfitted: Sequence[str] = (), unknown: Sequence[str] = ()
) -> Description:
    """Describe a model without a target: encoders, fusion and the heads of its objectives; else as `describe`."""
    objectives = model.objectives
    components, strange = _conditioning(model, unfitted, fuses=objectives is not None)
    heads: dict[str, nn.Module] = {}
    if objectives is not None:
        heads = {f"masked {name}": head for name, head in objectives.heads.items()}
        heads |= {} if objectives.matching is None else {"matching": objectives.matching}
    for name, head in heads.items():
        components.append(_component("objective", name, name.partition(" ")[0], None, None, head))
    drawn = pretraining_diagram(model, list(heads), *_shapes(components))
    return _described(model, "pretrain", 0, components, [*unknown, *strange], drawn)


def _described(
    model: Conditioner, task: str, vocabulary: int, components: list[Component], unknown: list[str], drawn: str
) -> Description:
    fusion = model.config.fusion
    return Description(task, fusion.layout, fusion.width, vocabulary, components, unknown, drawn)


def _shapes(components: Sequence[Component]) -> tuple[dict[str, Shape], Shape]:
    """Return what leaves each input, and the fusion."""
    shapes = {c.name: c.shape_out for c in components if c.role == "input"}
    return shapes, next((c.shape_out for c in components if c.role == "fusion"), None)


def _conditioning(model: Conditioner, unfitted: Sequence[str], *, fuses: bool) -> tuple[list[Component], list[str]]:
    """Describe inputs, fusion and alignment; returns what is not known of them, too."""
    batch = dummy_batch(model, without=unfitted).to(model.device)
    cond = model.condition(batch) if fuses else None
    parts = model.encode_all(batch) if cond is None else cond.parts
    strange = [n for n, media in batch.inputs.items() if n not in unfitted and bool((media.row_B < 0).any())]
    components = []
    for name, choice in model.config.inputs.items():
        is_known = name not in unfitted and name not in strange
        shape_in = tuple(batch.inputs[name].values.shape[1:]) if is_known else None
        shape_out = tuple(parts[name].x_BTD.shape[1:]) if is_known else None
        kind = f"{choice.section.modality}.{choice.section.encoder}"
        components.append(_component("input", name, kind, shape_in, shape_out, model.encoders[name]))
    if model.fusion is not None:
        kind = model.config.fusion.features
        out = None if unfitted or strange or cond is None else tuple(cond.memory.x_BTD.shape[1:])
        components.append(_component("fusion", kind, kind, None, out, model.fusion))
    if model.alignment is not None:
        kind = model.alignment.loss
        components.append(_component("alignment", "alignment", kind, None, None, model.alignment))
    return components, [f"the shape of '{name}', whose form no dummy has" for name in strange]


def dummy_batch(model: Conditioner, *, without: Sequence[str] = ()) -> Batch:
    """Return a batch of one row that has a dummy of every input that takes one, but for those in `without`."""
    specs = {name: choice.spec(model.preparers[name]) for name, choice in model.config.inputs.items()}
    inputs = {name: None if name in without else _taken(spec.preparer) for name, spec in specs.items()}
    return Corpus.from_samples([Sample("dummy", inputs)], specs, None).batch(np.arange(1))


def _component(
    role: str,
    name: str,
    kind: str,
    shape_in: tuple[int, ...] | None,
    shape_out: tuple[int, ...] | None,
    module: nn.Module,
) -> Component:
    return Component(role, name, kind, shape_in, shape_out, *_sizes(module.named_parameters(), module.state_dict()))


def _sizes(parameters: Any, tensors: Mapping[str, Tensor]) -> tuple[int, int, int]:
    """Count learned, frozen and counted numbers."""
    named = dict(parameters)
    learned = sum(p.numel() for p in named.values() if p.requires_grad)
    frozen = sum(p.numel() for p in named.values() if not p.requires_grad)
    return learned, frozen, sum(t.numel() for name, t in tensors.items() if name not in named)


def _without(module: nn.Module, parts: Sequence[nn.Module]) -> tuple[int, int, int]:
    """Count what a composition has beside its parts."""
    sizes = [_sizes(m.named_parameters(), m.state_dict()) for m in (module, *parts)]
    first, *rest = sizes
    learned, frozen, counted = (max(0, first[i] - sum(part[i] for part in rest)) for i in range(3))
    return learned, frozen, counted


TEXT = "one two three four five"


def _taken(preparer: Preparer) -> Item:
    """Return a dummy if the preparer takes it, else None: a text may have to be of a certain form."""
    item = _dummy(preparer.modality)
    try:
        if item is not None:
            preparer(item)
    except DataError:
        return None
    return item


def _dummy(modality: str) -> Item:
    """Return an item of a modality; None for one that others added, which then stays absent."""
    make = _DUMMIES.get(modality)
    return make() if make else None


def _picture() -> Media:
    data = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 120, 150)).save(data, "PNG")
    return Media(data=data.getvalue())


def _sound() -> Media:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        tone_N = 8_000 * np.sin(2 * math.pi * 440 * np.arange(16_000) / 16_000)
        file.writeframes(tone_N.astype("<i2").tobytes())
    return Media(data=data.getvalue())


def _film() -> Media:
    import av

    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 64
        for i in range(8):
            grey_HW3 = np.full((64, 64, 3), 20 * i, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(grey_HW3, format="rgb24")))
        file.mux(stream.encode(None))
    return Media(data=data.getvalue())


_DUMMIES: Mapping[str, Callable[[], Item]] = {
    "text": lambda: TEXT,
    "image": _picture,
    "audio": _sound,
    "video": _film,
}
