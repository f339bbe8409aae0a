"""A checkpoint: all that a run needs to go on exactly where it was, whole or not there.

Enters: model, optimiser, best weights and the run's position.  Leaves, by the commit contract:

    run/checkpoints/step-0000123/
        model.safetensors        state_dict, buffers of any size included
        optimiser.safetensors    '<parameter>/<slot>'
        best.safetensors         the weights of the best validation, where they are not the model's
        average.safetensors      the moving average of the weights, where there is one
        random.safetensors       generators of Python, NumPy and torch
        state.json               position, validation record, settings, digests of the data
        manifest.json            sizes and SHA-256 of the above

Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sensorium.core.commit import Kind, committed_folder, verify
from sensorium.core.errors import DataError, ModelError
from sensorium.training.generations import checkpoint_folder, latest_whole, prune
from sensorium.training.optimiser import flatten_state, unflatten_state
from sensorium.training.seeding import RandomState, random_state

Weights = dict[str, Tensor]
CHECKPOINT = Kind("checkpoint", mark="state.json", is_ours=True)


@dataclass
class Position:
    """Where a run stands; plain numbers, all of which a checkpoint keeps.

    Attributes:
        step: updates made.
        epoch, batch: the next batch to read is number `batch` of this epoch, both from 0.
        elapsed_s: wall-clock time used, over all parts of a resumed run.
        num_rows, num_tokens: read so far.
        validation, validated_step: the last validation, and after which step (-1 = none).
        best_validation, best_step: the lowest one, and after which step (-1 = none).
        num_bad_validations: how many came since then.
        average_validation: the last validation of the averaged weights, if there are.
        best_is_average: whether the lowest one was theirs.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    elapsed_s: float = 0.0
    num_rows: int = 0
    num_tokens: int = 0
    validation: float | None = None
    validated_step: int = -1
    best_validation: float | None = None
    best_step: int = -1
    num_bad_validations: int = 0
    average_validation: float | None = None
    best_is_average: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory, on the CPU; `best` is None if there was no validation."""

    position: Position
    model: Weights
    optimiser: Weights
    best: Weights | None
    random: RandomState
    settings: Mapping[str, Any] = field(default_factory=dict)
    average: Weights | None = None
    data: Mapping[str, str] = field(default_factory=dict)


def save_checkpoint(
    run: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    position: Position,
    *,
    best: Weights | None = None,
    average: Weights | None = None,
    settings: Mapping[str, Any] | None = None,
    data: Mapping[str, str] | None = None,
    keep: int = 2,
) -> Path:
    """Write a checkpoint of this moment, then delete all but the newest `keep`; returns its folder.

    Args:
        data: a digest of each thing that the weights depend on beside the config, by what it is.

    Raises:
        DiskError: it cannot be written; the ones before it are untouched.
        ModelError: the model's state_dict has something that is not a tensor.
    """
    random = random_state()
    state = {"position": asdict(position), "random": random.scalars, "settings": dict(settings or {})}
    state["data"] = dict(data or {})
    final = checkpoint_folder(run, position.step)
    with committed_folder(final, CHECKPOINT) as folder:
        save_file(_unshared(model), folder / "model.safetensors")
        save_file(flatten_state(model, optimiser), folder / "optimiser.safetensors")
        save_file(random.tensors, folder / "random.safetensors")
        if best is not None and not _is_model(position):
            save_file(best, folder / "best.safetensors")
        if average is not None:
            save_file(average, folder / "average.safetensors")
        (folder / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    prune(run, keep)
    return final


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ModelError: it is not whole, or not one this program reads.
    """
    verify(folder)
    try:
        state = load_state(folder)
        position = Position(**state["position"])
        model = load_file(folder / "model.safetensors")
        return Checkpoint(
            position=position,
            model=model,
            optimiser=load_file(folder / "optimiser.safetensors"),
            best=_load_best(folder, position, model),
            random=RandomState(load_file(folder / "random.safetensors"), state["random"]),
            settings=state["settings"],
            average=load_file(path) if (path := folder / "average.safetensors").exists() else None,
            data=state.get("data", {}),
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"is not a checkpoint this program reads: {error!r}", where=str(folder)) from None


def require_same_data(run: Path, data: Mapping[str, str]) -> None:
    """Refuse to go on from a run's newest checkpoint with other data than it was made with.

    A checkpoint of a version that did not keep digests is taken at its word.

    Raises:
        DataError: what has changed, by name.
    """
    folder, _ = latest_whole(run)
    if folder is not None:
        _require_same(load_state(folder).get("data", {}), data, run)


def load_state(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's plain facts.  Raises ModelError."""
    try:
        state: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return state
    except (OSError, ValueError) as error:
        raise ModelError(f"is not a checkpoint this program reads: {error!r}", where=str(folder)) from None


def _require_same(before: Mapping[str, str], now: Mapping[str, str], run: Path) -> None:
    if not before or not now:
        return
    if changed := [what for what in {**before, **now} if before.get(what) != now.get(what)]:
        named = "; ".join(changed[:_NAMED]) + (
            f"; and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
        )
        advice = "put it back as it was, or train anew: leave out --resume, with another --out"
        raise DataError(f"what it was begun with has changed: {named}", where=str(run), advice=advice)


_NAMED = 4


def _load_best(folder: Path, position: Position, model: Weights) -> Weights | None:
    if position.best_step < 0:
        return None
    return model if _is_model(position) else load_file(folder / "best.safetensors")


def _is_model(position: Position) -> bool:
    """Say whether the best weights are those of this very moment."""
    return position.best_step == position.step and not position.best_is_average


def restore(checkpoint: Checkpoint, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Put model and optimiser back as they were; the generators are the caller's to set, last.

    Raises:
        ModelError: the checkpoint is of another model.
    """
    load_weights(model, checkpoint.model)
    unflatten_state(model, optimiser, checkpoint.optimiser)


def capture_weights(model: nn.Module) -> Weights:
    """Copy a model's state_dict to the CPU.

    Raises:
        ModelError: a module keeps something other than tensors in it.
    """
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in _tensors(model).items()}


def load_weights(model: nn.Module, weights: Weights) -> None:
    """Put weights back, strictly; they are copied, `weights` stays as it is.

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


def _tensors(model: nn.Module) -> Weights:
    tensors = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise ModelError(
                f"'{name}' in the model's state is a {type(value).__name__}; only tensors can be saved"
            )
        tensors[name] = value
    return tensors


def _unshared(model: nn.Module) -> Weights:
    """Return the state_dict on the CPU, tied tensors as copies: safetensors refuses shared memory."""
    taken: set[int] = set()
    weights = {}
    for name, value in _tensors(model).items():
        storage = value.untyped_storage().data_ptr()
        # A view of part of a larger tensor shares memory as well, so it is the storage that counts.
        weights[name] = value.detach().to("cpu", copy=storage in taken).contiguous()
        taken.add(storage)
    return weights
