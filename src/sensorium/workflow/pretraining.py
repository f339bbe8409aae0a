"""Pretrain: descend on what the inputs say of themselves and of each other; in one run folder.

Enters: a PretrainingConfig, which has objectives and no target.  Leaves: a run folder whose `model/` holds
encoders, fusion and preparers for others to begin from, and `PretrainingResult` with what each objective came to,
beside what it comes to where every masked input is alone.  A resumed run goes on from its newest whole checkpoint.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sensorium.data.corpus import Corpus
from sensorium.data.omissions import counts_by_part
from sensorium.data.quarantine import Quarantine
from sensorium.model.pretrainer import Pretrainer
from sensorium.model.saving import num_parameters, save_pretrained
from sensorium.training.console import Stages, shown_by
from sensorium.training.loop import FitReport, fit
from sensorium.training.progress import Progress
from sensorium.training.seeding import preserved_random_state, seed_everything
from sensorium.workflow.card import write_pretraining_card
from sensorium.workflow.config import PretrainingConfig
from sensorium.workflow.config_places import require_places
from sensorium.workflow.fitting import batches, device, make_loader
from sensorium.workflow.known_data import known_data
from sensorium.workflow.leaks import leaks
from sensorium.workflow.prepare import (
    BAD_ROWS,
    Part,
    Say,
    cache_folder,
    fit_preparer,
    media_root,
    open_parts,
    quiet,
    require_columns,
    require_rows,
    say_counts,
    say_met,
    say_notes,
)
from sensorium.workflow.pretraining_report import write_pretraining_report
from sensorium.workflow.provenance import data_digests, versions
from sensorium.workflow.reporting import REPORT, try_writing
from sensorium.workflow.run_folder import opened_run, write_json

JUDGED_WITH_SEED = 0
"""What is hidden of held-out rows, and which pairs are exchanged, is the same each time they are judged."""

Measures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class PretrainingResult:
    """What a finished pretraining run reports.

    Attributes:
        run: its folder.
        report: of the descent.
        objectives: on validation rows, means by objective and measure.
        alone: the same of each masked input where the row's other inputs are hidden.
        num_rows: validation rows.
        seconds: wall time of training.
        num_quarantined: bad rows.
        num_parameters: of the model, heads of objectives included.
        part_rows: rows by part.
        counts: what was left out, cut or absent, by what and part.
        digests: SHA-256 of the tables, by part.
    """

    run: Path
    report: FitReport
    objectives: Measures
    alone: Measures
    num_rows: int
    seconds: float
    num_quarantined: int
    num_parameters: int
    part_rows: Mapping[str, int]
    counts: Mapping[str, int]
    digests: Mapping[str, str]

    def summary(self) -> dict[str, Any]:
        """Return the plain facts, as written to `evaluation.json`."""
        return {
            "task": "pretrain",
            "judged_on": "validation",
            "rows": self.num_rows,
            "metrics": {f"{name}/{key}": v for name, found in self.objectives.items() for key, v in found.items()},
            "objectives": self.objectives,
            "alone": self.alone,
            "steps": self.report.num_steps,
            "seconds": {"training": self.seconds},
            "quarantined": self.num_quarantined,
            "parameters": self.num_parameters,
            "part_rows": self.part_rows,
            "counts": self.counts,
            "digests": self.digests,
            "versions": versions(),
            "run": str(self.run),
        }


def pretrain(
    config: PretrainingConfig,
    *,
    out: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    say: Say = quiet,
) -> PretrainingResult:
    """Pretrain by `config` into a new run folder, or continue one.

    Raises:
        UsageError, ConfigError: an --out that is taken; a resumed run whose config differs.
        DataError, ModelError, DiskError, OutOfMemoryError, LockedError: as their names say.
    """
    with (
        shown_by(progress),
        opened_run(config.name, config.dump(), out=out, resume=resume, say=say) as run,
    ):
        quarantine = Quarantine(config.data.max_bad_fraction, run / BAD_ROWS)
        parts = open_parts(config, quarantine)
        model, corpora = prepare_pretraining(config, quarantine, say=say, parts=parts)
        modalities = {name: choice.section.modality for name, choice in config.model.inputs.items()}
        for sentence in leaks(corpora, modalities, config.media):
            say(f"warning: {sentence}")
        train, validation = corpora["train"], corpora["validation"]
        data = known_data(config, model, parts, {name: corpus.num_rows for name, corpus in corpora.items()})
        started = time.perf_counter()
        with make_loader(config, train) as loader:
            report = fit(
                model,
                loader,
                config.training,
                run,
                validate=lambda: _loss(model, validation, config.evaluation.batch_rows),
                resume=resume,
                progress=progress,
                device=device(),
                name_rows=lambda numbers: ", ".join(train.place(number) for number in numbers),
                data=data,
            )
        seconds = time.perf_counter() - started
        model.eval()
        say_met(corpora, say)
        result = _measured(config, model, corpora, run, report, seconds, quarantine)
        summary = result.summary()
        save_pretrained(model, run / "model", card=write_pretraining_card(config, summary))
        write_json(run / "evaluation.json", summary)
        if config.evaluation.report:
            try_writing(lambda: write_pretraining_report(config, run, summary, run / REPORT), run, say)
    return result


def _measured(
    config: PretrainingConfig,
    model: Pretrainer,
    corpora: Mapping[str, Corpus],
    run: Path,
    report: FitReport,
    seconds: float,
    quarantine: Quarantine,
) -> PretrainingResult:
    validation, batch_rows = corpora["validation"], config.evaluation.batch_rows
    return PretrainingResult(
        run,
        report,
        measure(model, validation, batch_rows),
        _measure_alone(model, validation, batch_rows),
        validation.num_rows,
        seconds,
        len(quarantine),
        num_parameters(model),
        {name: corpus.num_rows for name, corpus in corpora.items()},
        counts_by_part({name: corpus.left_out for name, corpus in corpora.items()}),
        data_digests(config),
    )


def prepare_pretraining(
    config: PretrainingConfig,
    quarantine: Quarantine,
    *,
    say: Say = quiet,
    parts: Mapping[str, Part] | None = None,
) -> tuple[Pretrainer, dict[str, Corpus]]:
    """Open the tables and build everything up to the first step: the model, and its corpora.

    Args:
        parts: the tables, where they have been opened already.

    Raises:
        DataError: a table or column is missing, no rows are left, or too many are bad.
        ConfigError, ModelError: parts of the model do not fit.
    """
    opened = open_parts(config, quarantine) if parts is None else parts
    parts = {name: part for name, part in opened.items() if name != "test"}
    require_places(config)
    require_columns(config, parts)
    preparers = {name: fit_preparer(name, [(config, parts["train"])]) for name in config.model.inputs}
    seed_everything(config.training.seed)
    model = Pretrainer(config.model, preparers)
    model.load_pretrained()
    corpora = {name: _corpus(config, model, part, quarantine) for name, part in parts.items()}
    say_counts(corpora, say)
    say_notes(parts, say)
    return model, corpora


def _corpus(config: PretrainingConfig, model: Pretrainer, part: Part, quarantine: Quarantine) -> Corpus:
    inputs = {name: choice.spec(model.preparers[name]) for name, choice in config.model.inputs.items()}
    with Stages("preparing", "media") as told:
        corpus = Corpus.build(
            part.table,
            part.row_N,
            inputs,
            None,
            folder=media_root(config, part.table),
            cache=cache_folder(config),
            workers=config.training.workers,
            quarantine=quarantine,
            beside=part.beside,
            progress=told,
        )
    require_rows(part, corpus)
    return corpus


def _loss(model: Pretrainer, corpus: Corpus, batch_rows: int) -> float:
    """Return the mean loss of a row; pieces are hidden as in every other call."""
    total, num_rows = 0.0, 0
    with preserved_random_state(), torch.inference_mode():
        seed_everything(JUDGED_WITH_SEED)
        for batch in batches(corpus, batch_rows):
            loss_B, _ = model.losses(batch)
            total, num_rows = total + float(loss_B.sum()), num_rows + batch.num_rows
    return total / max(num_rows, 1)


def measure(model: Pretrainer, corpus: Corpus, batch_rows: int, *, only: frozenset[str] | None = None) -> Measures:
    """Return each objective's means over a corpus, by objective and measure.

    Args:
        only: hide all inputs but these.
    """
    sums: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
    with preserved_random_state(), torch.inference_mode():
        seed_everything(JUDGED_WITH_SEED)
        for batch in batches(corpus, batch_rows):
            shown = batch if only is None else batch.only(only)
            for name, term in model.terms(shown.to(model.device)).items():
                for key, (total, count) in term.measures.items():
                    sums[name][key][0] += float(total)
                    sums[name][key][1] += count
    return {
        name: {key: total / max(count, 1) for key, (total, count) in keys.items()} for name, keys in sums.items()
    }


def _measure_alone(model: Pretrainer, corpus: Corpus, batch_rows: int) -> Measures:
    masked = [] if model.objectives is None or len(model.encoders) < 2 else list(model.objectives.maskings)
    found: Measures = {}
    for name in masked:
        measured = measure(model, corpus, batch_rows, only=frozenset([name]))
        found[f"masked {name}"] = measured[f"masked {name}"]
    return found
