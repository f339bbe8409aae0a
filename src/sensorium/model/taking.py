"""Begin where a run ended: `encoder = "run:runs/pre-001#photo"`, `features = "run:runs/pre-001"`.

Enters: a spec, and the run's model folder.  Leaves: what the run's config says of that input or fusion, for the new
config; then its preparer (vocabulary included) and its weights, for the new model.

The new config keeps the encoder's own name and options, and beside them `taken_from` and `taken_digest`, the
SHA-256 of the manifest of the run's model folder.  So a run that was begun from another one is resumed only if that
one is still the same, and the new model folder needs nothing but itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sensorium.core.commit import verify
from sensorium.core.config import Section, Source, read_toml
from sensorium.core.errors import ConfigError, ModelError
from sensorium.core.names import nearest, nearest_place
from sensorium.core.protocols import Preparer
from sensorium.model.frozen import FrozenEncoder
from sensorium.model.precision import precision_section, read_precision

SCHEME = "run:"
NOT_TAKEN = (
    *("column", "several", "separator", "max_media"),
    *("frozen", "frozen_layers", "rate_factor", "rate_decay", "taken_from", "taken_digest"),
)
"""Keys of an input that say how it was trained, or where its cells stood and what they list, not what it is."""
BEGINNINGS = ("weights", "vectors", "learned_vectors")
"""Options that say what an encoder begins with; one that begins from a run begins with that."""
FUSION_NOT_TAKEN = ("input_dropout", "input_patterns", "alignment", "balance", "taken_from", "taken_digest")


def is_run(value: Any) -> bool:
    """Say whether a config's value names a run."""
    return isinstance(value, str) and value.startswith(SCHEME)


def absolute_spec(spec: str, folder: Path) -> str:
    """Let the spec's path start at `folder`."""
    path, mark, name = spec.removeprefix(SCHEME).partition("#")
    return f"{SCHEME}{(folder / Path(path).expanduser()).resolve()}{mark}{name}"


@dataclass(frozen=True)
class TakenRun:
    """A run to begin from: its model folder, whole, and what it says of itself.

    Attributes:
        folder: the model folder.
        name: what stands behind '#', or None.
        digest: SHA-256 of its manifest, 64 hex digits.
        values: its config.
    """

    folder: Path
    name: str | None
    digest: str
    values: Mapping[str, Any]

    @property
    def width(self) -> int:
        """Return the width at which its parts meet."""
        return int(self.values["fusion"]["width"])


def open_run(spec: str, where: str) -> TakenRun:
    """Open the run that a spec names.

    Raises:
        ConfigError: it has no whole model.
    """
    text, _, name = spec.removeprefix(SCHEME).partition("#")
    path = Path(text)
    folder = path / "model" if (path / "model").is_dir() else path
    if not (folder / "manifest.json").is_file():
        advice = "name a finished run's folder: run:runs/NAME-001#INPUT"
        advice = advice if path.exists() else nearest_place(path)
        raise ConfigError(f"no model is in '{path}'", where=where, advice=advice)
    try:
        verify(folder)
    except ModelError as error:
        raise ConfigError(f"cannot begin from a damaged run: {error}", where=where) from None
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    values, _ = read_toml(folder / "config.toml")
    if precision_section(read_precision(values, Source(str(folder)))):
        advice = "begin from the run that it was made of"
        raise ConfigError(
            f"the weights in '{path}' are rounded, and nothing is trained from those", where=where, advice=advice
        )
    return TakenRun(folder, name or None, digest, values)


def taken_input(name: str, raw: Mapping[str, Any], where: str) -> tuple[dict[str, Any], TakenRun]:
    """Return the section of an input whose `encoder` is a run's, that run's options filled in, and the run.

    Raises:
        ConfigError: no such run or input, or it is of another modality.
    """
    run = open_run(raw["encoder"], where)
    theirs = run.values.get("inputs", {})
    chosen = run.name or name
    if chosen not in theirs:
        advice = nearest(chosen, list(theirs))
        raise ConfigError(f"the run '{run.folder}' has no input '{chosen}'", where=where, advice=advice)
    if other := next((key for key in BEGINNINGS if key in raw), None):
        raise ConfigError(f"an encoder begins from a run or with '{other}', not both", where=where)
    section = dict(theirs[chosen])
    if raw.get("modality", section["modality"]) != section["modality"]:
        raise ConfigError(f"the run's '{chosen}' is {section['modality']}, not {raw['modality']}", where=where)
    for key in (*NOT_TAKEN, *BEGINNINGS):
        section.pop(key, None)
    own = {key: value for key, value in raw.items() if key != "encoder"}
    spec = f"{SCHEME}{run.folder}#{chosen}"
    return {**section, **own, "taken_from": spec, "taken_digest": run.digest}, run


def taken_fusion(raw: Mapping[str, Any], inputs: list[str], where: str) -> dict[str, Any]:
    """Return the section of a fusion whose `features` is a run's, that run's options filled in.

    Raises:
        ConfigError: no such run, it fuses other inputs, or at another width.
    """
    run = open_run(raw["features"], where)
    theirs = list(run.values.get("inputs", {}))
    if theirs != inputs:
        what = f"the run fuses {', '.join(theirs)}, and this model {', '.join(inputs)}"
        raise ConfigError(what, where=where, advice="name the same inputs in the same order")
    section = {key: value for key, value in run.values["fusion"].items() if key not in FUSION_NOT_TAKEN}
    own = {key: value for key, value in raw.items() if key != "features"}
    require_width(run, own.get("width", run.width), where)
    spec = f"{SCHEME}{run.folder}"
    return {**section, **own, "taken_from": spec, "taken_digest": run.digest}


def require_width(run: TakenRun, width: int, where: str) -> None:
    """Check that a model meets at the run's width.  Raises ConfigError."""
    if run.width != width:
        advice = f"set fusion.width = {run.width}"
        raise ConfigError(f"the run's width is {run.width}, and this model's {width}", where=where, advice=advice)


def _reopen(section: Any, where: str) -> TakenRun:
    run = open_run(section.taken_from, where)
    if section.taken_digest is not None and run.digest != section.taken_digest:
        raise ModelError(
            f"the run '{run.folder}' is not what it was: {run.digest[:16]}, not {section.taken_digest[:16]}",
            where=where,
            advice='begin a new run with encoder = "run:..."',
        )
    return run


def load_preparer(preparer: Preparer, section: Any, where: str) -> Preparer:
    """Load what the run's preparer learned; returns it.  Raises ModelError, ConfigError."""
    run = _reopen(section, where)
    return preparer.load(run.folder / "inputs" / str(run.name))


def fill_encoder(encoder: Any, section: Any, where: str) -> None:
    """Copy the run's weights into an encoder, if its section begins from one.

    A frozen encoder's outlet begins with the run's as far as it has the same parts.

    Raises:
        ModelError: the weights do not fit, or the run has changed.
    """
    if section.taken_from is None:
        return
    run = _reopen(section, where)
    found = _weights(run, f"encoders.{run.name}.")
    if run.values["inputs"][str(run.name)].get("frozen", False):
        inside = {name.removeprefix("encoder."): x for name, x in found.items() if name.startswith("encoder.")}
        found = inside | {name: x for name, x in found.items() if name.startswith("outlet.")}
    if isinstance(encoder, FrozenEncoder):
        own = encoder.outlet.state_dict()
        outlet = {name: found.get(f"outlet.{name}", x) for name, x in own.items()}  # one's own may have none
        _assign(encoder.outlet, outlet, run, where)
        encoder = encoder.encoder
    _assign(encoder, found, run, where)


def fill_list(media_list: nn.Module, section: Any, where: str) -> None:
    """Copy what tells a list's media apart, of as many as the run's lists had; none if it had no lists.

    Raises:
        ModelError: the run has changed.
    """
    if section.taken_from is None:
        return
    run = _reopen(section, where)
    own = media_list.state_dict()
    for name, theirs in _weights(run, f"lists.{run.name}.").items():
        own[name][: len(theirs)] = theirs[: len(own[name])]


def fill_fusion(fusion: nn.Module, section: Any) -> None:
    """Copy the run's weights into a fusion, if its section begins from one.  Raises ModelError."""
    if section.taken_from is not None:
        run = _reopen(section, "fusion")
        _assign(fusion, _weights(run, "fusion."), run, "fusion")


def _weights(run: TakenRun, prefix: str) -> dict[str, Tensor]:
    try:
        tensors = load_file(run.folder / "weights.safetensors")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"cannot be read as weights: {error}", where=str(run.folder)) from None
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _assign(module: nn.Module, found: Mapping[str, Tensor], run: TakenRun, where: str) -> None:
    wanted = module.state_dict()
    faults = [f"{name} is missing" for name in wanted if name not in found]
    faults += [f"{name} is not asked for" for name in found if name not in wanted]
    faults += [
        f"{name} is {tuple(found[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if faults:
        what = f"the weights of '{run.folder}' do not fit: {'; '.join(faults[:3])}"
        advice = "keep the run's own sizes: options that are left out are the run's"
        raise ModelError(what, where=where, advice=advice)
    module.load_state_dict(dict(found))


class TakenSection(Section):
    """Keys of a section that begins from a run; they are written by parsing."""

    taken_from: str | None = None
    taken_digest: str | None = None
