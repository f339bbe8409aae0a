"""Which fusion does this data want?  Every contender with the same budget and seeds, and a test between them.

Enters: a RunConfig, names of fusions, seeds.  Leaves: a `Comparison`: a table, and one sentence of verdict.
Each input alone and late fusion always contend.  What has been measured is kept in a folder, one file a contender
and seed, named by what it depends on: a second call measures what is missing.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sensorium.core import registry
from sensorium.core.errors import DataError, ModelError, SensoriumError, UsageError
from sensorium.data.omissions import Omissions, counts_by_part
from sensorium.evaluation.metrics_interval import spread
from sensorium.evaluation.paired import Difference, holm, paired_bootstrap
from sensorium.evaluation.registry import is_lower_better
from sensorium.fusion.registry import ENTRY_POINTS, FUSIONS
from sensorium.tasks.registry import load_task
from sensorium.tasks.task import Decodes
from sensorium.training.interrupt import InterruptedTrainingError
from sensorium.workflow.config import RunConfig
from sensorium.workflow.contenders import LATE, Contender, Outcome, key_of, measure, parse_again
from sensorium.workflow.known_data import content_of
from sensorium.workflow.prepare import Say, quiet
from sensorium.workflow.run_folder import RUNS, write_json
from sensorium.workflow.tasks_config import AnsweringConfig, of_one_task

SURE = 0.05
RESULTS = "results"


class Job(NamedTuple):
    """One contender with one seed, and the name of its result."""

    contender: Contender
    seed: int
    key: str


@dataclass(frozen=True)
class Standing:
    """One contender's line of the table.

    Attributes:
        outcomes: one a seed.
        against: how its rows compare with the reference's; None for the reference itself.
        p: of that difference, for as many tests as there are fusions (Holm); None where none was made.
    """

    name: str
    kind: str
    outcomes: tuple[Outcome, ...]
    against: Difference | None = None
    p: float | None = None

    def mean(self, metric: str) -> float:
        """Return a metric's mean over the seeds."""
        return statistics.fmean(outcome.metrics[metric] for outcome in self.outcomes)

    def spread(self, metric: str) -> float | None:
        """Return its standard deviation over the seeds (n - 1); None for one seed."""
        values = [outcome.metrics[metric] for outcome in self.outcomes]
        return spread(values) if len(values) > 1 else None

    def rows(self) -> list[float]:
        """Return each row's score, averaged over the seeds."""
        return [statistics.fmean(scores) for scores in zip(*(o.row_scores for o in self.outcomes), strict=True)]

    def facts(self) -> dict[str, Any]:
        """Return the plain facts; the cost is the mean over the seeds."""
        peaks = [outcome.peak_mib for outcome in self.outcomes if outcome.peak_mib is not None]
        return {
            "name": self.name,
            "kind": self.kind,
            "seeds": [outcome.seed for outcome in self.outcomes],
            "metrics": {
                metric: {
                    "mean": self.mean(metric),
                    "spread": self.spread(metric),
                    "values": [outcome.metrics[metric] for outcome in self.outcomes],
                }
                for metric in self.outcomes[0].metrics
            },
            "difference": None if self.against is None else self.against.mean,
            "interval": None if self.against is None else [self.against.low, self.against.high],
            "p": self.p,
            "parameters": self.outcomes[0].parameters,
            "ms_per_row": statistics.fmean(outcome.ms_per_row for outcome in self.outcomes),
            "peak_mib": max(peaks) if peaks else None,
            "steps": statistics.fmean(outcome.steps for outcome in self.outcomes),
            "seconds": statistics.fmean(outcome.seconds for outcome in self.outcomes),
            "weights": [outcome.weights for outcome in self.outcomes],
        }


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        metric: the one that decides, the first of the task's.
        standings: best first.
        reference: the best of the inputs alone and late fusion, which the fusions are tested against.
        failures: contenders that could not be measured, and why.
        left_out: what was left out of the rows, cut or absent, by part.
        notes: how rows were parted, and what is amiss with those that are judged.
    """

    metric: str
    judged_on: str
    num_rows: int
    majority: dict[str, float]
    standings: tuple[Standing, ...]
    reference: str
    verdict: str
    failures: dict[str, str]
    folder: Path
    left_out: Mapping[str, Omissions] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def facts(self) -> dict[str, Any]:
        """Return the plain facts, as written to `comparison.json`."""
        return {
            "verdict": self.verdict,
            "metric": self.metric,
            "judged_on": self.judged_on,
            "rows": self.num_rows,
            "majority": self.majority,
            "reference": self.reference,
            "contenders": [standing.facts() for standing in self.standings],
            "failures": self.failures,
            "left_out": counts_by_part(self.left_out),
            "notes": list(self.notes),
            "rows_asked_for": {part: one.num_rows for part, one in self.left_out.items()},
            "folder": str(self.folder),
        }


def compare(
    config: AnsweringConfig,
    fusions: Sequence[str] = (),
    *,
    task: str | None = None,
    num_seeds: int = 3,
    jobs: int = 1,
    out: Path | None = None,
    say: Say = quiet,
) -> Comparison:
    """Measure fusions beside each input alone and late fusion, and say which one to take.

    Args:
        fusions: names in the registry; all of them if empty.
        task: which one, of a config of several: it is compared on that task alone, with the inputs that it reads.
        num_seeds: the config's seed and those that follow it.
        jobs: processes side by side; each measurement has its own, so that its memory can be told.  0 measures in
            this process.  Where the budget is in seconds, more than there are idle cores take from each other.
        out: where results are kept; `runs/NAME-compare` by default.

    Raises:
        ConfigError: no such fusion.
        UsageError: fewer than two inputs; no such task, or it is not clear which is meant.
        ModelError: no fusion, or nothing to compare it with, could be measured.
    """
    return carry_out(plan(of_one_task(config, task), fusions, num_seeds=num_seeds, out=out, say=say), jobs, say)


@dataclass(frozen=True)
class Plan:
    """What a comparison will measure, and where the results are kept."""

    config: RunConfig
    measurements: Sequence[Job]
    folder: Path


def cannot_be_compared(config: RunConfig) -> UsageError | None:
    """Return why there are no fusions to compare, else None."""
    if not config.model.scorers:
        return UsageError(f"task '{config.model.target.task}' aligns its inputs, and has no fusion to compare")
    if len(config.model.inputs) < 2:
        return UsageError("one input has nothing to be fused with", advice="add a second [inputs.NAME]")
    return None


def plan(config: RunConfig, fusions: Sequence[str], *, num_seeds: int, out: Path | None, say: Say) -> Plan:
    """Say what will be measured, without any work but to read what results depend on; raises as `compare`."""
    if refusal := cannot_be_compared(config):
        raise refusal
    folder = out or RUNS / f"{config.name}-compare"
    require_free(folder, [folder])
    seeds = range(config.training.seed, config.training.seed + num_seeds)
    contenders = contenders_of(config, fusions, say)
    content = content_of(config)
    return Plan(
        config,
        [
            Job(contender, seed, key_of(config, contender, seed, content))
            for seed in seeds
            for contender in contenders
        ],
        folder,
    )


def require_free(folder: Path, comparisons: Sequence[Path]) -> None:
    """Refuse a folder that holds something else than comparisons, which would be these.  Raises UsageError."""
    is_ours = not folder.exists() or any((one / RESULTS).is_dir() for one in comparisons)
    if not is_ours and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("is not empty, and holds no comparison", where=str(folder), advice="choose another --out")


def carry_out(planned: Plan, jobs: int, say: Say) -> Comparison:
    """Measure what is not known yet, keep it, and conclude; raises as `compare`."""
    todo, folder = planned.measurements, planned.folder
    results = folder / RESULTS
    results.mkdir(parents=True, exist_ok=True)
    outcomes, failures = _known(todo, results), dict[str, str]()
    missing = [job for job in todo if job.key not in outcomes]
    say(f"{len(todo)} measurements, {len(todo) - len(missing)} of them known; results are kept in {folder}")
    for number, (job, found) in enumerate(_measured(planned.config, missing, jobs), start=1):
        if isinstance(found, Outcome):
            outcomes[job.key] = found
            write_json(results / f"{job.key}.json", found.facts())
        else:
            failures[job.contender.name] = str(found)
        say(f"{number}/{len(missing)} {job.contender.name}, seed {job.seed}: {_told(found)}")
    comparison = conclude(
        [outcomes[job.key] for job in todo if job.key in outcomes and job.contender.name not in failures],
        failures,
        folder,
    )
    write_json(folder / "comparison.json", comparison.facts())
    return comparison


def contenders_of(config: RunConfig, fusions: Sequence[str], say: Say = quiet) -> list[Contender]:
    """Return each input alone, late fusion (where the task writes by scorers) and the fusions."""
    names = list(dict.fromkeys(fusions)) or registry.names(FUSIONS, ENTRY_POINTS)
    for name in names:
        registry.load(FUSIONS, ENTRY_POINTS, name, where="--fusions")
    alone = [name for name in config.model.inputs if config.model.is_read_alone(name)]
    found = [Contender("input", name) for name in alone]
    if len(alone) < len(config.model.inputs):
        left = ", ".join(name for name in config.model.inputs if name not in alone)
        say(f"no late fusion, and nothing of {left} only: every scorer reads other inputs")
    elif isinstance(load_task(config.model.target.task), Decodes):
        say(f"no late fusion: '{config.model.target.task}' has a way of its own to answer, by one model")
    else:
        found.append(Contender("late", LATE))
    return [*found, *(Contender("fusion", name) for name in names)]


def _known(todo: Iterable[Job], results: Path) -> dict[str, Outcome]:
    found = {}
    for job in todo:
        path = results / f"{job.key}.json"
        if path.is_file():
            try:
                found[job.key] = Outcome.from_facts(json.loads(path.read_text(encoding="utf-8")))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise DataError(f"is no result: {error}", where=str(path), advice="delete it") from None
    return found


def _measured(config: RunConfig, todo: Sequence[Job], jobs: int) -> Iterator[tuple[Job, Outcome | SensoriumError]]:
    if jobs == 0:
        for job in todo:
            yield job, _try(config, job, own_process=False)
        return
    values = config.dump()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        waiting = {pool.submit(_in_own_process, values, config.folder, config.name, job): job for job in todo}
        try:
            for future in as_completed(waiting):
                try:
                    yield waiting[future], future.result()
                except BrokenExecutor as error:
                    yield waiting[future], ModelError(f"its process ended: {error}")
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _in_own_process(values: dict[str, Any], folder: Path, name: str, job: Job) -> Outcome | SensoriumError:
    return _try(parse_again(values, folder, name), job, own_process=True)


def _try(config: RunConfig, job: Job, *, own_process: bool) -> Outcome | SensoriumError:
    try:
        return measure(config, job.contender, job.seed, own_process=own_process)
    except InterruptedTrainingError:
        raise
    except SensoriumError as error:
        return error


def _told(found: Outcome | SensoriumError) -> str:
    if isinstance(found, SensoriumError):
        return f"failed: {found}"
    name, value = next(iter(found.metrics.items()))
    return f"{name} {value:.4g} after {found.steps:,} steps in {found.seconds:.1f} s"


def conclude(outcomes: Sequence[Outcome], failures: dict[str, str], folder: Path) -> Comparison:
    """Order the contenders, test the fusions against the best that needs no fusion, and say what follows.

    Raises:
        ModelError: no fusion, or nothing to compare it with, was measured.
    """
    by_name: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_name.setdefault(outcome.contender, []).append(outcome)
    standings = [Standing(name, found[0].kind, tuple(found)) for name, found in by_name.items()]
    plain = [standing for standing in standings if standing.kind != "fusion"]
    fused = [standing for standing in standings if standing.kind == "fusion"]
    if not plain or not fused:
        told = "; ".join(f"{name}: {why}" for name, why in failures.items())
        raise ModelError("there is nothing to compare", where=str(folder), advice=told or "name a fusion")
    metric = next(iter(outcomes[0].metrics))
    sign = -1.0 if is_lower_better(metric) else 1.0
    reference = max(plain, key=lambda standing: sign * standing.mean(metric))
    differences = [paired_bootstrap(standing.rows(), reference.rows()) for standing in fused]
    tested = [
        Standing(standing.name, standing.kind, standing.outcomes, difference, p)
        for standing, difference, p in zip(
            fused, differences, holm([difference.p for difference in differences]), strict=True
        )
    ]
    others = [_beside(standing, reference) for standing in plain]
    ordered = sorted([*tested, *others], key=lambda standing: -sign * standing.mean(metric))
    return Comparison(
        metric,
        outcomes[0].judged_on,
        len(outcomes[0].row_scores),
        outcomes[0].majority,
        tuple(ordered),
        reference.name,
        verdict(metric, tested, reference, sign),
        failures,
        folder,
        next((outcome.left_out for outcome in reversed(outcomes) if outcome.left_out), {}),
        next((outcome.notes for outcome in reversed(outcomes) if outcome.notes), ()),
    )


def _beside(standing: Standing, reference: Standing) -> Standing:
    if standing is reference:
        return standing
    difference = paired_bootstrap(standing.rows(), reference.rows())
    return Standing(standing.name, standing.kind, standing.outcomes, difference, difference.p)


def verdict(metric: str, fused: Sequence[Standing], reference: Standing, sign: float = 1.0) -> str:
    """Say in one sentence what this data wants, by the paired tests: of fusions that are better, the best."""
    better = [one for one in fused if one.p is not None and one.p < SURE and one.against and one.against.mean > 0]
    best = max(better or fused, key=lambda standing: sign * standing.mean(metric))
    assert best.against is not None
    assert best.p is not None
    ours, theirs = f"{best.name} ({metric} {best.mean(metric):.4g})", f"{reference.mean(metric):.4g}"
    apart = f"{abs(best.mean(metric) - reference.mean(metric)):.3g}"
    if best.p < SURE and best.against.mean > 0:
        return (
            f"Take {ours}: it is {apart} better than {reference.name}, the best without fusing features "
            f"({theirs}; p = {best.p:.2g})."
        )
    if best.p < SURE:
        return (
            f"Take {reference.name} ({metric} {theirs}): the best fusion of features, {best.name}, "
            f"is {apart} worse (p = {best.p:.2g})."
        )
    return (
        f"Take {reference.name} ({metric} {theirs}): no fusion of features is better than it by more than chance; "
        f"the best is {ours} (p = {best.p:.2g})."
    )
