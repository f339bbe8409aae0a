"""Checkpoints: all that a run needs to go on exactly where it was, whole or not there.

Enters: model, optimiser, best weights and the run's position.  Leaves, by the commit contract:

    run/checkpoints/step-0000123/
        model.safetensors        state_dict, buffers of any size included
        optimiser.safetensors    '<parameter>/<slot>'
        best.safetensors         the weights of the best validation, where they are not the model's
        random.safetensors       generators of Python, NumPy and torch
        state.json               position, validation record, settings
        manifest.json            sizes and SHA-256 of the above

Nothing is pickled.  A newest checkpoint that is not whole is passed over for the one before it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sensorium.core.commit import MANIFEST, committed_folder, verify
from sensorium.core.errors import ModelError
from sensorium.training.optimiser import flatten_state, unflatten_state
from sensorium.training.seeding import RandomState, random_state

CHECKPOINTS = "checkpoints"
_NAME = re.compile(r"step-(\d{7,})")
_DAMAGED = ".damaged"
Weights = dict[str, Tensor]


@dataclass
class Position:
    """Where a run stands; plain numbers, all of which a checkpoint keeps.

    Attributes:
        step: updates made.
        epoch, batch: the next batch to read is number `batch` of this epoch, both from 0.
        elapsed_s: wall-clock time used, over all parts of a resumed run.
        num_rows, num_tokens: read so far.
        best_validation, best_step: the lowest validation so far, and the step it was at.
        num_bad_validations: validations since then.
        validated_step: the step of the last validation, -1 before the first.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    elapsed_s: float = 0.0
    num_rows: int = 0
    num_tokens: int = 0
    best_validation: float | None = None
    best_step: int = -1
    num_bad_validations: int = 0
    validated_step: int = -1


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory, on the CPU."""

    position: Position
    model: Weights
    optimiser: Weights
    best: Weights | None
    random: RandomState
    settings: Mapping[str, Any] = field(default_factory=dict)


def capture_weights(model: nn.Module) -> Weights:
    """Copy a model's state_dict to the CPU.

    Raises:
        ModelError: a module keeps something other than tensors in it.
    """
    weights = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise ModelError(f"keeps '{name}' of type {type(value).__name__}; only tensors can be saved")
        weights[name] = value.detach().to("cpu", copy=True).contiguous()
    return weights


def load_weights(model: nn.Module, weights: Weights) -> None:
    """Put weights back, strictly.

    Raises:
        ModelError: they are of another model.
    """
    try:
        model.load_state_dict(weights, strict=True)
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"these weights are of another model: {reason}",
            advice="resume with the config the run was started with",
        ) from None


def save_checkpoint(
    run: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    position: Position,
    *,
    best: Weights | None = None,
    settings: Mapping[str, Any] | None = None,
    keep: int = 2,
) -> Path:
    """Write a checkpoint of this moment, then delete all but the newest `keep`.

    Raises:
        DiskError: it cannot be written; the ones before it are untouched.
        ModelError: the model's state_dict has something that is not a tensor.
    """
    random = random_state()
    state = {"position": asdict(position), "random": random.scalars, "settings": dict(settings or {})}
    final = run / CHECKPOINTS / f"step-{position.step:07d}"
    with committed_folder(final) as folder:
        save_file(capture_weights(model), folder / "model.safetensors")
        save_file(flatten_state(model, optimiser), folder / "optimiser.safetensors")
        save_file(random.tensors, folder / "random.safetensors")
        if best is not None and position.best_step != position.step:
            save_file(best, folder / "best.safetensors")
        (folder / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    _prune(run, keep)
    return final


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint that `verify` accepts.

    Raises:
        ModelError: it is not whole, or not a checkpoint.
    """
    verify(folder)
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        model, optimiser, tensors = (
            load_file(folder / f"{n}.safetensors") for n in ("model", "optimiser", "random")
        )
        position = Position(**state["position"])
        random = RandomState(tensors, state["random"])
        settings = state["settings"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"is not a checkpoint this program reads: {error!r}", where=str(folder)) from None
    best_path = folder / "best.safetensors"
    if position.best_step < 0:
        best = None
    else:
        best = load_file(best_path) if best_path.exists() else {k: v.clone() for k, v in model.items()}
    return Checkpoint(position, model, optimiser, best, random, settings)


def restore(checkpoint: Checkpoint, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Put model and optimiser back as they were; random generators are the caller's to set, last."""
    load_weights(model, checkpoint.model)
    unflatten_state(model, optimiser, checkpoint.optimiser)


def latest_whole(run: Path) -> tuple[Path | None, list[str]]:
    """Find the newest whole checkpoint of a run.

    Returns its folder (None if the run has none at all) and a warning for each newer one that was
    passed over, saying which and why.

    Raises:
        ModelError: there are checkpoints, but none is whole.
    """
    warnings: list[str] = []
    folders = checkpoints(run)
    for folder in folders:
        try:
            verify(folder)
        except ModelError as error:
            warnings.append(f"checkpoint passed over: {error}")
        else:
            return folder, warnings
    if folders:
        raise ModelError(
            f"none of {len(folders)} checkpoints is whole: {'; '.join(warnings)}",
            where=str(run),
            advice="train again into a new folder",
        )
    return None, []


def checkpoints(run: Path) -> list[Path]:
    """List a run's checkpoint folders, newest first, whole or not."""
    parent = run / CHECKPOINTS
    if not parent.is_dir():
        return []
    named = [(int(match[1]), path) for path in parent.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(named, reverse=True)]


def tidy(run: Path, newest_whole: Path | None) -> None:
    """Clear what a killed process left: drafts, and checkpoints newer than the whole one.

    A damaged checkpoint is set aside as '<name>.damaged', so that it neither counts as a generation
    nor is lost before the next checkpoint is written.  Call it only while holding the run's lock.
    """
    parent = run / CHECKPOINTS
    if not parent.is_dir():
        return
    for path in parent.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in checkpoints(run):
        if path == newest_whole:
            break
        path.replace(path.with_name(path.name + _DAMAGED))


def _prune(run: Path, keep: int) -> None:
    for path in checkpoints(run)[keep:]:
        # Manifest first: a kill in between leaves a folder that no reader takes for a checkpoint.
        (path / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)
    for path in (run / CHECKPOINTS).glob(f"step-*{_DAMAGED}"):
        shutil.rmtree(path, ignore_errors=True)
