"""The model card: what this model is, what it was fitted on, what was measured, how to ask it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.model.config import ModelConfig
from sensorium.version import __version__
from sensorium.workflow.config import PretrainingConfig, RunConfig


def write_pretraining_card(config: PretrainingConfig, summary: Mapping[str, Any]) -> str:
    """Return the card of a model without a target, as Markdown; `summary` is what `evaluation.json` holds."""
    rows = [
        f"| {name} | {measure} | {_number(value)} | {_number(summary['alone'].get(name, {}).get(measure))} |"
        for name, measures in summary["objectives"].items()
        for measure, value in measures.items()
    ]
    return "\n".join(
        [
            f"# {config.name}",
            "",
            f"Encoders and a fusion pretrained by Sensorium {__version__}, to begin others from:",
            "",
            *(f'    [inputs.{name}]  encoder = "run:THIS#{name}"' for name in config.model.inputs),
            '    [fusion]  features = "run:THIS"',
            "",
            *_inputs_and_fusion(config),
            "",
            f"Fitted on `{config.data.train}`, without a target; validation rows: {summary['rows']:,}.",
            "",
            "| objective | | with the other inputs | alone |",
            "|---|---|---:|---:|",
            *rows,
            "",
        ]
    )


def _inputs_and_fusion(config: PretrainingConfig) -> list[str]:
    model = config.model
    return [
        "| input | modality | encoder |",
        "|---|---|---|",
        *(f"| {name} | {c.section.modality} | {c.section.encoder} |" for name, c in model.inputs.items()),
        "",
        f"Fusion: {model.fusion.features}, width {model.fusion.width}.",
    ]


def write_card(config: RunConfig, summary: Mapping[str, Any] | None) -> str:
    """Return the card as Markdown; `summary` is what `evaluation.json` holds, None before judging."""
    model = config.model
    lines = [
        f"# {config.name}",
        "",
        f"A multimodal language model made by Sensorium {__version__}: task *{model.target.task}*.",
        "",
        "| input | modality | encoder |",
        "|---|---|---|",
        *(
            f"| {name} | {choice.section.modality} | {choice.section.encoder} |"
            for name, choice in model.inputs.items()
        ),
        "",
        *_made_of(model),
        "",
        f"Fitted on `{config.data.train}`"
        + (f", target column `{model.target.column}`." if model.target.column else "."),
        "Any subset of the inputs may be given.",
    ]
    if summary is not None:
        lines += ["", *_measured(summary)]
    return "\n".join(lines) + "\n"


def _made_of(model: ModelConfig) -> list[str]:
    if not model.scorers:
        return [f"Inputs are aligned as unit vectors, width {model.fusion.width}; nothing is written."]
    return [
        f"Fusion: {model.fusion.features}, width {model.fusion.width}.  "
        f"Scorers: {', '.join(model.scorers)} ({model.language.mix})."
    ]


def _measured(summary: Mapping[str, Any]) -> list[str]:
    names = list(summary["metrics"])
    rows = [("this model", summary["rows"], summary["metrics"])]
    rows += [(b["name"], b["rows"], b["metrics"]) for b in summary["baselines"]]
    return [
        f"Measured on the {summary['judged_on']} rows ({summary['quarantined']} bad rows quarantined):",
        "",
        f"| | rows | {' | '.join(names)} |",
        "|---|---:|" + "---:|" * len(names),
        *(
            f"| {name} | {num_rows:,} | {' | '.join(_number(metrics.get(n)) for n in names)} |"
            for name, num_rows, metrics in rows
        ),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
