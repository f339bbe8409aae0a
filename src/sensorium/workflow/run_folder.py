"""One output folder a run: `runs/NAME-NNN/`.

config.toml        the resolved config
decoding.toml      how it decodes, where tuning has changed what config.toml says
metrics.jsonl      one line a logged step
checkpoints/       what --resume continues from
model/             what answers (see `sensorium.model.saving`)
evaluation.json    what was measured, beside the baselines
bad_rows.jsonl     the quarantined rows, if any
report.html        all of it to look at (`sensorium report RUN` makes it again)
tasks/NAME/        what is one task's alone, in a run of several: its tuned decoding.toml
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sensorium.core.commit import disk_error, require_replaceable, write_atomic
from sensorium.core.config import read_toml, write_toml
from sensorium.core.errors import ConfigError, ModelError, UsageError
from sensorium.core.names import require_known
from sensorium.core.plain import plain
from sensorium.decoding.config import DecodingConfig
from sensorium.model.saving import MODEL
from sensorium.training.config import FREE_TO_CHANGE
from sensorium.training.interrupt import InterruptedTrainingError
from sensorium.training.lock import run_lock
from sensorium.workflow.tasks_config import load_any

RUNS = Path("runs")
DECODING = "decoding.toml"
GRAPHS = "graphs.json"
"""Which ONNX graphs a folder holds (`workflow.onnx_export`)."""


@contextlib.contextmanager
def opened_run(
    name: str, values: Mapping[str, Any], *, out: Path | None, resume: bool, say: Callable[[str], None]
) -> Iterator[Path]:
    """Make a new run folder or find the one to resume, say which, hold it alone, and settle its config.

    Args:
        name: of the run.
        values: its resolved config.
        out: the exact folder; None = the next, or the newest, `runs/NAME-NNN`.

    Raises:
        UsageError: `out` is taken, there is no run to resume, or something else lies where its model is kept.
        ConfigError: a resumed run was begun with another config.
        LockedError, DiskError: another process holds it; it cannot be written.
    """
    run = resumable_run(name, out) if resume else new_run(name, out)
    say(f"run folder: {run}")
    with run_lock(run):
        require_replaceable(run / "model", MODEL)
        settle_config(values, run, resume)
        try:
            yield run
        except InterruptedTrainingError as error:
            if error.where:
                raise
            advice = f"go on with: sensorium train {run / 'config.toml'} --out {run} --resume"
            raise InterruptedTrainingError(error.what, where=str(run), advice=advice) from None


def new_run(name: str, out: Path | None = None) -> Path:
    """Make and return a new run folder: `out`, which must be new or empty, or the next `runs/NAME-NNN`.

    Raises:
        UsageError: `out` holds something already.
        DiskError: the folder cannot be made.
    """
    try:
        if out is not None:
            if out.exists() and (not out.is_dir() or any(out.iterdir())):
                raise UsageError("is not empty", where=str(out), advice="choose a new --out, or add --resume")
            out.mkdir(parents=True, exist_ok=True)
            return out
        RUNS.mkdir(exist_ok=True)
        number = 1 + max((n for _, n in _numbered(name)), default=0)
        while True:
            run = RUNS / f"{name}-{number:03d}"
            try:
                run.mkdir()
                return run
            except FileExistsError:  # another process took this number in between
                number += 1
    except OSError as error:
        raise disk_error(error, out or RUNS) from error


def resumable_run(name: str, out: Path | None = None) -> Path:
    """Return the run to continue: `out`, or the newest `runs/NAME-NNN`.

    Raises:
        UsageError: there is none.
    """
    if out is not None:
        if not out.is_dir():
            raise UsageError("no such run folder to resume", where=str(out))
        if not (out / "config.toml").exists() and any(not path.name.startswith(".") for path in out.iterdir()):
            raise UsageError("is no run folder, and is not empty", where=str(out), advice="leave out --resume")
        return out
    runs = sorted(_numbered(name), key=lambda pair: pair[1])
    if not runs:
        raise UsageError(f"no run '{name}-NNN' in '{RUNS}' to resume", advice="leave out --resume to start one")
    return runs[-1][0]


def settle_config(values: Mapping[str, Any], run: Path, resume: bool) -> None:
    """Write a run's resolved config; of a resumed run, only what its weights do not depend on may have changed.

    Raises:
        ConfigError: it differs in more from the config that the run was begun with.
        DiskError: it cannot be written.
    """
    path = run / "config.toml"
    if resume and path.exists():
        begun_with = load_any(path).dump()  # with what was a default then, and is written out now
        differences = _differences(begun_with, values)
        if changed := [key for key in differences if not _is_free(key)]:
            raise ConfigError(
                f"differs from the run's own config in {', '.join(changed)}",
                where=str(path),
                advice="resume with the config it was begun with, or start a new run",
            )
        if not differences:
            return
    write_atomic(path, write_toml(values).encode("utf-8"))


_FREE = re.compile(
    rf"run\.name|training\.({'|'.join(sorted(FREE_TO_CHANGE))})|data\.(cache|max_bad_fraction)"
    r"|evaluation\.(?!batch_rows).+|decoding(\..+)?|media(\..+)?"
)
"""What weights do not depend on; media that a policy refuses are known by the number of rows that are left."""


def _is_free(key: str) -> bool:
    return _FREE.fullmatch(re.sub(r"^tasks\.[^.]+\.", "", key)) is not None


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    changed = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            changed += _differences(before, after, f"{prefix}{key}.")
        elif (list(after) if isinstance(after, tuple) else after) != before:
            changed.append(f"{prefix}{key}")
    return changed


def model_folder(path: Path) -> Path:
    """Return the model folder of a run folder, or `path` itself if it is one.

    Raises:
        ModelError: neither; the advice says what to do about an unfinished run.
    """
    if (path / "model").is_dir():
        return path / "model"
    if (path / "weights.safetensors").exists():
        return path
    if (path / "checkpoints").is_dir():
        advice = f"it was not finished: sensorium train {path / 'config.toml'} --out {path} --resume"
        raise ModelError("holds no model", where=str(path), advice=advice)
    if (path / GRAPHS).exists():
        what = "holds ONNX graphs for onnxruntime, and neither counts nor a search"
        raise ModelError(what, where=str(path), advice=f"ask the run itself: {path.parent}")
    raise ModelError("is not a run folder or a model folder", where=str(path), advice="look in runs/")


def task_folder(run: Path, task: str) -> Path:
    """Return the folder of what is one task's alone, in a run of several."""
    return run / "tasks" / task


def lessons_folder(path: Path, task: str | None) -> Path:
    """Return where a run or model folder keeps what a task was taught; None = its only task.

    Raises:
        ModelError: neither a run folder nor a model folder.
        UsageError: no such task, or it is not clear which is meant.
    """
    folder = model_folder(path)
    tasks = sorted(one.name for one in (folder / "tasks").iterdir()) if (folder / "tasks").is_dir() else []
    if task is not None:
        require_known([task], tasks or [_only_task(folder)], "task", where=str(path))
    if tasks and task is None:
        advice = f"say which with --task, one of {', '.join(tasks)}"
        raise UsageError(f"this model has {len(tasks)} tasks", where=str(path), advice=advice)
    return folder / "tasks" / str(task) if tasks else folder


def _only_task(model: Path) -> str:
    values, _ = read_toml(model / "config.toml")
    return str(values.get("target", {}).get("task", ""))


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all; what is infinite is null.  Raises DiskError."""
    text = json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text.encode("utf-8"))


def write_decoding(run: Path, decoding: DecodingConfig) -> None:
    """Keep how a run decodes, if weights of it were tuned.  Raises DiskError."""
    if decoding.rescore is not None:
        text = write_toml(decoding.model_dump(mode="json", exclude_none=True))
        write_atomic(run / DECODING, text.encode("utf-8"))


def read_decoding(run: Path) -> DecodingConfig:
    """Return how a run decodes: as tuned, else as configured.  Raises ConfigError."""
    if (run / DECODING).exists():
        return DecodingConfig.parse(*read_toml(run / DECODING))
    values, source = read_toml(run / "config.toml")
    return DecodingConfig.parse(values.get("decoding", {}), source, "decoding")


def read_task_decoding(run: Path, task: str) -> DecodingConfig:
    """Return how a task of a run of several decodes: as tuned, else as configured.  Raises ConfigError."""
    tuned = task_folder(run, task) / DECODING
    if tuned.exists():
        return DecodingConfig.parse(*read_toml(tuned))
    values, source = read_toml(run / "config.toml")
    own = values["tasks"][task].get("decoding", {})
    return DecodingConfig.parse(own, source, f"tasks.{task}.decoding")


def read_media_folder(run: Path, task: str | None = None) -> Path | None:
    """Return where a run's config lets media paths start, as `[data] folder` says; None = beside each table.

    Args:
        task: of a run of several.
    """
    values, _ = read_toml(run / "config.toml")
    data = (values if task is None else values["tasks"][task]).get("data", {})
    return Path(data["folder"]) if data.get("folder") else None


def _numbered(name: str) -> list[tuple[Path, int]]:
    pattern = re.compile(re.escape(name) + r"-(\d{3,})")
    folders = RUNS.iterdir() if RUNS.is_dir() else iter(())
    return [(f, int(m[1])) for f in folders if f.is_dir() and (m := pattern.fullmatch(f.name))]
