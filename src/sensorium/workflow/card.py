"""The model card: what this model is, what it was fitted on, what was measured, how to ask it, where it ends.

Enters: the run's config and, once it is judged, the facts of `evaluation.json`.  Leaves: Markdown.
The headings follow Mitchell et al. 2019 (arXiv:1810.03993), as far as a run knows: what the data may be used for,
and who may be harmed, is for its owner to add.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.model.config import ModelConfig
from sensorium.version import __version__
from sensorium.workflow.config import PretrainingConfig, RunConfig
from sensorium.workflow.judging_time import judged_rows


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


MODALITY_HINT = {"image": '"photo.jpg"', "audio": '"sound.wav"', "video": '"clip.mp4"'}


def write_card(config: RunConfig, summary: Mapping[str, Any] | None) -> str:
    """Return the card as Markdown; `summary` is what `evaluation.json` holds, None before judging."""
    model = config.model
    lines = [
        f"# {_plain(config.name)}",
        "",
        f"A multimodal language model made by Sensorium {__version__}: task *{model.target.task}*.",
        "",
        "| input | modality | encoder |",
        "|---|---|---|",
        *(
            f"| {_plain(name)} | {choice.section.modality} | {choice.section.encoder} |"
            for name, choice in model.inputs.items()
        ),
        "",
        *_made_of(model),
        "",
        "## Use",
        "",
        *_use(model),
    ]
    if summary is not None:
        lines += ["", "## Measured", "", *_measured(summary)]
    lines += ["", "## Data", "", *_data(config, summary or {})]
    lines += ["", "## Limits", "", *_limits(summary or {})]
    lines += ["", "## Licence", "", *_LICENCE]
    return "\n".join(lines) + "\n"


_LICENCE = (
    "The weights belong to whoever trained them, within what the licences of the data allow: state a licence here "
    "before you pass them on.  Sensorium itself is under Apache-2.0.",
)


def _made_of(model: ModelConfig) -> list[str]:
    if not model.scorers:
        return [f"Inputs are aligned as unit vectors, width {model.fusion.width}; nothing is written."]
    return [
        f"Fusion: {model.fusion.features}, width {model.fusion.width}.  "
        f"Scorers: {', '.join(model.scorers)} ({model.language.mix})."
    ]


def _use(model: ModelConfig) -> list[str]:
    hints = [
        f"{name if name.isidentifier() else 'NAME'}={MODALITY_HINT.get(choice.section.modality, repr('text'))}"
        for name, choice in model.inputs.items()
    ]
    asks = [f"model.predict({', '.join(hints)}).text"] if model.scorers else []
    return [
        "For questions of the kind that its training rows hold, on media like theirs.  "
        "Any subset of the inputs may be given; what is missing is treated as absent, never filled in.",
        "",
        "```python",
        "import sensorium",
        "",
        'model = sensorium.load("this/folder")',
        *asks,
        "```",
    ]


_WHOLE = ("none", "tokenizer")


def _measured(summary: Mapping[str, Any]) -> list[str]:
    names = list(summary["metrics"])
    rows = [("this model", summary["rows"], summary["metrics"])]
    rows += [(b["name"], b["rows"], b["metrics"]) for b in summary["baselines"]]
    table = [
        f"On {judged_rows(summary)}; in brackets the 95 % interval (rows drawn with replacement):",
        "",
        f"| | rows | {' | '.join(names)} |",
        "|---|---:|" + "---:|" * len(names),
    ]
    for i, (name, num_rows, metrics) in enumerate(rows):
        bounds = summary.get("intervals", {}) if i == 0 else {}
        cells = [_number(metrics.get(n), bounds.get(n)) for n in names]
        table.append(f"| {_plain(name)} | {num_rows:,} | {' | '.join(cells)} |")
    told = [f"`{n}` by {split}" for n, split in summary.get("tokenize", {}).items() if split not in _WHOLE]
    return [*table, "", f"Words are split: {', '.join(told)}."] if told else table


def _data(config: RunConfig, summary: Mapping[str, Any]) -> list[str]:
    target = config.model.target.column
    lines = [f"Fitted on `{config.data.train}`" + (f", target column `{target}`." if target else ".")]
    if parts := summary.get("part_rows"):
        lines += ["", "Rows: " + ", ".join(f"{count:,} {part}" for part, count in parts.items()) + "."]
    if digests := summary.get("digests"):
        lines += ["", "| table | SHA-256 |", "|---|---|"]
        lines += [f"| {part} | `{digest}` |" for part, digest in digests.items()]
        lines += ["", "The media that the tables name are not part of these digests."]
    return lines


def _limits(summary: Mapping[str, Any]) -> list[str]:
    lines = [
        "- It knows its training rows and nothing else; media of another kind are answered too, and as surely.",
        "- Its probabilities are the model's own and were not calibrated.",
        "- What is unfair or wrong in the data is so in its answers; look at the report's worst rows.",
    ]
    if summary and not summary["baselines"]:
        lines.append("- No baseline was measured beside it.")
    if summary.get("judged_on") == "validation":
        lines.append(
            "- It was judged on the validation rows, which also decided when training stopped: "
            "on new rows expect somewhat less."
        )
    if num_bad := summary.get("quarantined"):
        lines.append(f"- {num_bad:,} rows could not be read and were left out.")
    if counts := summary.get("counts"):
        lines.append("- Left out, cut or absent: " + ", ".join(f"{n:,} {what}" for what, n in counts.items()) + ".")
    return lines


def _number(value: float | None, bounds: tuple[float, float] | None = None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if bounds is None else f"{value:.4g} ({bounds[0]:.4g}–{bounds[1]:.4g})"


def _plain(text: str) -> str:
    """Keep a name from breaking the Markdown around it."""
    return text.translate({ord(c): f"\\{c}" for c in "\\`*_[]<>|#"}).replace("\n", " ")
