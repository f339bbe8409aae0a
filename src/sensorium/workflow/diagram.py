"""Draw a model as a Mermaid flowchart: inputs on the left, the next token (or objectives) on the right.

Enters: a model, and the shapes of a dummy row.  Leaves: text that GitHub and mermaid.live draw.  A full line
carries what is computed on; a dashed one tells a part what came before it (serial and hybrid layouts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sensorium.core.protocols import EvidenceScorer
from sensorium.fusion.layout import group_name
from sensorium.model.conditioner import Conditioner
from sensorium.model.multimodal import MultimodalLM, has_words

Shape = tuple[int, ...] | None


def diagram(model: MultimodalLM, shapes: Mapping[str, Shape], memory: Shape) -> str:
    """Return the flowchart.

    Args:
        shapes: of each input's encoding, without B.
        memory: the shape of the fusion's memory.
    """
    ids, lines = _begun(model, shapes, memory)
    return "\n".join([*lines, *_scorer_lines(model, ids)]) + "\n"


def pretraining_diagram(
    model: Conditioner, heads: Sequence[str], shapes: Mapping[str, Shape], memory: Shape
) -> str:
    """Return the flowchart of a model without a target, which ends in its objectives.

    Args:
        heads: names of the objectives that read the memory.

    Others as `diagram`.
    """
    ids, lines = _begun(model, shapes, memory)
    for k, name in enumerate(heads):
        lines += [_node(f"objective{k}", name), f"  fusion --> objective{k}"]
    if model.alignment is not None:
        lines.append(_node("alignment", f"alignment: {model.alignment.loss}"))
        lines += [f"  {ids[name]} --> alignment" for name in model.alignment.names]
    return "\n".join(lines) + "\n"


def _begun(model: Conditioner, shapes: Mapping[str, Shape], memory: Shape) -> tuple[dict[str, str], list[str]]:
    """Return the nodes of inputs, and the lines up to the fusion."""
    ids = {name: f"in{k}" for k, name in enumerate(model.config.inputs)}
    lines = ["flowchart LR"]
    for name, choice in model.config.inputs.items():
        frozen = " (frozen)" if choice.section.frozen else ""
        kind = f"{choice.section.modality}.{choice.section.encoder}{frozen}"
        lines.append(_node(ids[name], name, kind, _axes(shapes.get(name))))
    if ids:
        lines += _fusion_lines(model, ids, memory)
    return ids, lines


def _fusion_lines(model: Conditioner, ids: Mapping[str, str], memory: Shape) -> list[str]:
    fusion, groups = model.config.fusion, model.config.layout_groups
    end = _node("fusion", f"fusion: {fusion.features}", _axes(memory))
    if groups is None:
        return [end, *(f"  {i} --> fusion" for i in ids.values())]
    lines: list[str] = []
    told: list[str] = []
    for g, names in enumerate(groups):
        begin = ids[names[0]]
        if len(names) > 1:
            begin = f"group{g}"
            lines.append(_node(begin, f"{fusion.features} of {group_name(names)}"))
            lines += [f"  {ids[name]} --> {begin}" for name in names]
        if g:
            lines += [_node(f"given{g}", fusion.given), f"  {begin} --> given{g}"]
            lines += [f"  {before} -.-> given{g}" for before in told]
            begin = f"given{g}"
        told.append(begin)
    return [*lines, end, *(f"  {begin} --> fusion" for begin in told)]


def _scorer_lines(model: MultimodalLM, ids: Mapping[str, str]) -> list[str]:
    scorer_ids = {name: f"scorer{k}" for k, name in enumerate(model.parts)}
    lines = []
    for name, choice in model.config.scorers.items():
        kind = "" if choice.kind == name else choice.kind
        lines.append(_node(scorer_ids[name], name, kind, f"fitted by {choice.scorer.fitted_by}"))
        lines += [f"  {source} --> {scorer_ids[name]}" for source in _sources(model, name, ids, scorer_ids)]
    ends = list(scorer_ids.values())
    if len(ends) > 1:
        lines += [_node("mix", f"mix: {model.config.language.mix}"), *(f"  {end} --> mix" for end in ends)]
        ends = ["mix"]
    target = model.config.target
    lines.append(
        _node("next", "log p of the next token", f"{target.task}: {target.column}", f"V = {len(model.vocab):,}")
    )
    return [*lines, *(f"  {end} --> next" for end in ends)]


def _sources(
    model: MultimodalLM, name: str, ids: Mapping[str, str], scorer_ids: Mapping[str, str]
) -> Sequence[str]:
    """Return what a scorer reads beside the tokens so far."""
    part: Any = model.parts[name]
    options = model.config.scorers[name].options
    if getattr(options, "of", None) in scorer_ids:
        return [scorer_ids[options.of]]  # type: ignore[attr-defined]
    if isinstance(part, EvidenceScorer):
        named = getattr(options, "inputs", ())
        words = [n for n, preparer in model.preparers.items() if has_words(preparer)]
        return [ids[n] for n in words if not named or n in named]
    reads_memory = part.fitted_by == "gradient" and getattr(options, "conditioning", "") != "none"
    return ["fusion"] if ids and reads_memory else []


def _node(identity: str, *lines: str) -> str:
    # Quotes would end the label; Mermaid has a code for them.
    text = "<br/>".join(line.replace('"', "#quot;") for line in lines if line)
    return f'  {identity}["{text}"]'


def _axes(shape: Shape) -> str:
    return "" if shape is None else " x ".join(map(str, shape))
