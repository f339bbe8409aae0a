"""Make a finished run lighter, and say what that cost: size, speed and quality, before and after, in one table.

Enters: a run folder, and ways to make it lighter.  Leaves: RUN/optimised-WAY/, a model folder (or a folder of ONNX
graphs) each, and RUN/optimised.json with what was measured of each beside the run's own model.

    int8, bf16    its weights rounded (`model.precision`); answers like any other model folder
    onnx          encoders and decoder as graphs (`workflow.onnx_export`), answered by onnxruntime
    students      finished runs that had this one as `training.teacher`, measured on the same rows
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from safetensors.torch import load_file

from sensorium.core.commit import require_replaceable
from sensorium.core.errors import UsageError
from sensorium.core.names import nearest
from sensorium.model.multimodal import MultimodalLM
from sensorium.model.multitask import MultiTaskLM
from sensorium.model.precision import Precision, num_bytes
from sensorium.model.saving import MODEL, WEIGHTS
from sensorium.workflow.contest import Contestant, Measured, measure
from sensorium.workflow.onnx_export import ONNX, export_run
from sensorium.workflow.onnx_model import greedy_tokens, with_graphs
from sensorium.workflow.predictor import Predictor, load_predictors, save_predictors
from sensorium.workflow.prepare import Say, quiet
from sensorium.workflow.run_folder import model_folder, write_json
from sensorium.workflow.tasks_config import AnsweringConfig, TasksConfig, load_answering

WAYS = ("int8", "bf16", "onnx")
DEFAULT_WAYS = ("int8", "bf16")
COMPARED_ROWS = 16
RESULT = "optimised.json"
WHOLE = "float32"
_CARD = "A model made by Sensorium, its weights kept in {}.\n\nWhat that cost is in optimised.json of the run.\n"


@dataclass(frozen=True)
class Optimised:
    """What came of it: by task ("" where there is one), the run's own model first."""

    run: Path
    measured: dict[str, list[Measured]]

    def facts(self) -> dict[str, Any]:
        """Return plain values, as written to `optimised.json`."""
        return {"run": str(self.run), "tasks": {n: [m.facts() for m in rows] for n, rows in self.measured.items()}}


def optimise(
    run: Path,
    ways: Sequence[str] = DEFAULT_WAYS,
    *,
    students: Sequence[Path] = (),
    max_rows: int | None = None,
    say: Say = quiet,
) -> Optimised:
    """Make `run` lighter in each way, and measure each beside it.

    Args:
        students: finished runs of the same tasks.
        max_rows: judge at most so many rows.

    Raises:
        UsageError: an unknown way; not a finished run with its config; a student of other tasks.
        ModelError: a way that its model cannot go; the message says why.
    """
    require_ways(ways)
    if not (run / "model").is_dir():
        model_folder(run)  # says what is missing, where there is no model at all
        raise UsageError("is a model folder, and rows to judge by stand in a run", where=str(run))
    for way in ways:
        require_replaceable(run / f"optimised-{way}", ONNX if way == "onnx" else MODEL)
    config = load_answering(run / "config.toml")
    groups = {WHOLE: _contestants(WHOLE, run, run / "model", config)}
    for way in ways:
        folder = run / f"optimised-{way}"
        say(f"{way}: {folder}" + (" (graphs for onnxruntime: the run itself answers)" if way == "onnx" else ""))
        if way == "onnx":
            groups[way] = _graphs(groups[WHOLE], run, folder)
        else:
            save_rounded(run, folder, way)  # type: ignore[arg-type]
            groups[way] = _contestants(way, folder, folder, config)
    for student in students:
        groups[f"student {student.name}"] = _student(student, groups[WHOLE])
    tasks = list(groups[WHOLE])
    say(f"measuring {', '.join(groups)}")
    found = {n: measure([group[n] for group in groups.values()], max_rows=max_rows) for n in tasks}
    result = Optimised(run, found)
    write_json(run / RESULT, result.facts())
    return result


def require_ways(ways: Sequence[str]) -> None:
    """Raise UsageError where a way is not known, or none is given."""
    for way in ways:
        if way not in WAYS:
            raise UsageError(f"no way '{way}' to make a model lighter", advice=nearest(way, list(WAYS)))
    if len(set(ways)) < len(ways):
        raise UsageError("the same way twice")


def save_rounded(run: Path, folder: Path, precision: Precision) -> None:
    """Save a run's model, and how it decodes and what it was taught, to `folder` with rounded weights.

    Raises:
        DiskError, ModelError: it cannot be written; there is no whole model.
    """
    assert precision in get_args(Precision)
    save_predictors(load_predictors(run), folder, card=_CARD.format(precision), precision=precision)


def _contestants(name: str, path: Path, folder: Path, config: AnsweringConfig) -> dict[str, Contestant]:
    predictors = load_predictors(path)
    size = _size(folder, predictors)
    return {
        task: Contestant.of(name, one, _config_of(config, task), size=size, folder=folder)
        for task, one in predictors.items()
    }


def _student(run: Path, of: dict[str, Contestant]) -> dict[str, Contestant]:
    found = _contestants(f"student {run.name}", run, run / "model", load_answering(run / "config.toml"))
    if found.keys() != of.keys():
        raise UsageError("has other tasks", where=str(run))
    for task, contestant in found.items():
        theirs, ours = contestant.corpus, of[task].corpus
        if [theirs.where(i) for i in range(theirs.num_rows)] != [ours.where(i) for i in range(ours.num_rows)]:
            raise UsageError("is judged on other rows", where=str(run), advice="train it on the same tables")
    return found


def _graphs(whole: dict[str, Contestant], run: Path, folder: Path) -> dict[str, Contestant]:
    if "" not in whole:
        raise UsageError("graphs are made of a model of one task", where=str(run), advice="leave onnx out")
    first = whole[""]
    export_run(first.predictor.model, first.request(0), folder)
    model = with_graphs(load_predictors(run)[""].model.thawed(), folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    counted = first.size[0] - first.size[1]
    notes = _compared(first, model)
    return {"": first.answered_by("onnx", model, size=(size + counted, size), folder=folder, notes=notes)}


def _compared(whole: Contestant, model: MultimodalLM) -> dict[str, Any]:
    """Write some rows greedily with both; say of how many the tokens are equal."""
    own, most = whole.predictor.model, whole.predictor.decoding.max_tokens
    batches = [whole.request(number) for number in range(min(COMPARED_ROWS, whole.corpus.num_rows))]
    pairs = zip(greedy_tokens(own, batches, most), greedy_tokens(model, batches, most), strict=True)
    return {
        "rows written greedily": len(batches),
        "greedy tokens equal": sum(a == b for a, b in pairs) / len(batches),
    }


def _size(folder: Path, predictors: dict[str, Predictor]) -> tuple[int, int]:
    tensors = load_file(folder / WEIGHTS)
    models = {name: one.model for name, one in predictors.items()}
    whole = models[""] if "" in models else MultiTaskLM(models)
    learned = {name for name, _ in whole.named_parameters(remove_duplicate=False)}
    return (folder / WEIGHTS).stat().st_size, num_bytes(tensors, learned)


def _config_of(config: AnsweringConfig, task: str) -> Any:
    return config.tasks[task] if isinstance(config, TasksConfig) else config
