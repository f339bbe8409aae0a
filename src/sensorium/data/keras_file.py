"""Networks that Keras saved: a `.keras` archive or an HDF5 file, kept as bytes, and opened without running code.

Enters: the path of a file, as in `encoder = "keras:FILE"`.  Leaves: `KerasFile`, bytes that go with a saved model,
so that it needs the source no more; and `KerasNetwork`, the network on torch, cut at the layer that is wanted.

A file may name Python code: lambdas, classes of other packages, networks of other formats.  Keras refuses what it
recognises of that (`safe_mode`, never switched off); here, before Keras sees the file, everything is refused that
is not a class of Keras by name.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import random
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from sensorium.core.errors import MissingExtraError, ModelError

SUFFIXES = (".keras", ".h5", ".hdf5")
CODE = ("Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")
"""Classes of Keras that hold code, or networks that other libraries run."""

_MAX_BYTES = 8 * 2**30  # of a file, and of what an archive unpacks to
_ADVICE = "save the whole network again, made of Keras's own layers: model.save('model.keras')"


def import_keras() -> Any:
    """Import Keras on its torch backend.

    Raises:
        MissingExtraError: not installed.
        ModelError: it runs on another backend in this process already.
    """
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = "torch"  # read once, when Keras is first imported
    try:
        import keras
    except ImportError as error:
        advice = "pip install 'sensorium[keras]'"
        raise MissingExtraError(f"'keras:' needs Keras 3: {error}", advice=advice) from None
    finally:
        if before is None:
            del os.environ["KERAS_BACKEND"]
        else:
            os.environ["KERAS_BACKEND"] = before
    backend = keras.backend.backend()
    if backend != "torch":
        advice = "set KERAS_BACKEND=torch before Keras is imported"
        raise ModelError(f"Keras runs on {backend} in this process, not on torch", advice=advice)
    return keras


@dataclass(frozen=True)
class KerasFile:
    """The bytes of a saved network, looked at, not opened.

    Args:
        content: of the file.
        suffix: .keras, .h5 or .hdf5.
        source: where it is from, for errors.

    Raises:
        ModelError: damaged, too large, weights alone, or it names code.
    """

    content: bytes
    suffix: str
    source: str

    def __post_init__(self) -> None:
        _require_data_alone(self.config, self.source)

    @classmethod
    def read(cls, source: str) -> Self:
        """Read a file.  Raises ModelError, MissingExtraError."""
        path = Path(source).expanduser()
        if path.suffix not in SUFFIXES:
            what = f"'{path.suffix}' is no suffix of a network that Keras saved"
            raise ModelError(what, where=source, advice=f"choose a file that ends in {', '.join(SUFFIXES)}")
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise ModelError(
                    f"has {path.stat().st_size:,} bytes", where=source, advice="at most 8 GiB are read"
                )
            return cls(path.read_bytes(), path.suffix, source)
        except OSError as error:
            what = f"cannot be read: {error.strerror}"
            raise ModelError(what, where=source, advice="name a file of model.save('model.keras')") from None

    @property
    def config(self) -> Mapping[str, Any]:
        """Return the layers as data.  Raises ModelError."""
        text = self._archived() if self.suffix == ".keras" else self._in_hdf5()
        try:
            config = json.loads(text)
        except ValueError as error:
            raise ModelError(f"its configuration is not JSON: {error}", where=self.source) from None
        if not isinstance(config, Mapping):
            raise ModelError("its configuration holds no keys", where=self.source, advice=_ADVICE)
        return config

    def _archived(self) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(self.content)) as archive:
                if sum(member.file_size for member in archive.infolist()) > _MAX_BYTES:
                    raise ModelError("unpacks to more than 8 GiB", where=self.source)
                return archive.read("config.json")
        except (zipfile.BadZipFile, KeyError, EOFError, ValueError, NotImplementedError, OSError) as error:
            what = f"cannot be read as an archive of Keras: {error}"
            raise ModelError(
                what, where=self.source, advice="it is damaged, cut short or of another kind"
            ) from None

    def _in_hdf5(self) -> str | bytes:
        import_keras()  # brings h5py with it
        import h5py

        try:
            with h5py.File(io.BytesIO(self.content), "r") as file:
                text: str | bytes | None = file.attrs.get("model_config")
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            what = f"cannot be read as HDF5: {error}"
            raise ModelError(
                what, where=self.source, advice="it is damaged, cut short or of another kind"
            ) from None
        if text is None:
            raise ModelError(
                "holds weights alone, and not what network they are of", where=self.source, advice=_ADVICE
            )
        return text

    @property
    def digest(self) -> str:
        """Name the content: 16 hex digits of SHA-256."""
        return hashlib.sha256(self.content).hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write the file into `folder`, with where it is from."""
        (folder / f"network{self.suffix}").write_bytes(self.content)
        (folder / "origin.json").write_text(json.dumps({"source": self.source}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.  Raises ModelError."""
        found = [path for suffix in SUFFIXES if (path := folder / f"network{suffix}").is_file()]
        try:
            origin = json.loads((folder / "origin.json").read_text(encoding="utf-8"))
            return cls(found[0].read_bytes(), found[0].suffix, str(origin["source"]))
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise ModelError(f"holds no network of Keras: {error}", where=str(folder)) from None


class KerasNetwork:
    """A saved network, opened, that nothing changes any more: bytes of values in, positions of features out.

    Args:
        file: what Keras saved.
        layer: the layer whose output is wanted; None = what the network itself puts out.

    Attributes:
        shape: of one medium as the network reads it, None where any number goes.
        is_integer: it reads ids.
        is_channels_first: of pictures, in and out.
        num_positions: of what leaves, where that is fixed.
        feature_width: F of what leaves.

    Raises:
        ModelError: it cannot be opened, has several inputs, or no such layer.
        MissingExtraError: Keras is not installed.
    """

    def __init__(self, file: KerasFile, layer: str | None) -> None:
        self.source = file.source
        self._keras = import_keras()
        with _untouched(self._keras):
            whole = self._opened(file)
            inputs: Any = getattr(whole, "inputs", None) or ()
            if len(inputs) != 1:
                what = f"has {len(inputs)} inputs" if inputs else "does not say what it reads"
                raise ModelError(what, where=self.source, advice="an encoder reads one medium; " + _ADVICE)
            output = self._output(whole, layer)
            self._network: Any = self._keras.Model(inputs, output)
        self._network.trainable = False
        self.shape: tuple[int | None, ...] = tuple(inputs[0].shape[1:])
        self.is_integer = "int" in str(inputs[0].dtype)
        self.is_channels_first = _says(file.config, "data_format", "channels_first")
        shape: list[Any] = list(output.shape[1:]) or [None]
        is_first = self.is_channels_first and len(shape) > 2
        width, around = (shape[0], shape[1:]) if is_first else (shape[-1], shape[:-1])
        if width is None:
            raise ModelError("the width of its output is not fixed", where=self.source, advice="choose a 'layer'")
        self.feature_width = int(width)
        self.num_positions = None if None in around else math.prod(around)

    def __call__(self, x: Tensor) -> Tensor:
        """Return features (U, T, F), float32, of media laid out as the network reads them."""
        with self._keras.device("cpu"):
            found: Tensor = self._network(x.cpu(), training=False)
        found = found.to(x.device, torch.float32)
        if found.ndim == 2:
            return found[:, None]
        return (
            found.flatten(2).transpose(1, 2) if self.is_channels_first and found.ndim > 3 else found.flatten(1, -2)
        )

    def _opened(self, file: KerasFile) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"network{file.suffix}"
            path.write_bytes(file.content)
            try:
                return self._keras.saving.load_model(path, compile=False, safe_mode=True)
            except Exception as error:  # Keras, h5py and numpy raise many kinds
                reason = str(error).replace(str(path), self.source).strip().partition("\n")[0]
                raise ModelError(f"Keras cannot open it: {reason}", where=self.source, advice=_ADVICE) from None

    def _output(self, whole: Any, layer: str | None) -> Any:
        if layer is None:
            if len(whole.outputs) != 1:
                what = f"puts out {len(whole.outputs)} things"
                raise ModelError(what, where=self.source, advice=f"choose a 'layer': {_listed(whole)}")
            return whole.outputs[0]
        if layer not in {one.name for one in whole.layers}:
            raise ModelError(f"has no layer '{layer}'", where=self.source, advice=f"there are: {_listed(whole)}")
        try:
            output = whole.get_layer(layer).output
        except (AttributeError, ValueError) as error:
            raise ModelError(f"layer '{layer}' has no output of its own: {error}", where=self.source) from None
        if isinstance(output, list | tuple | dict):
            raise ModelError(
                f"layer '{layer}' puts out {len(output)} things", where=self.source, advice=_listed(whole)
            )
        return output


@contextlib.contextmanager
def _untouched(keras: Any) -> Iterator[None]:
    """Open on the CPU, and leave the generators as they were: Keras draws weights before it reads them."""
    state = random.getstate()
    with torch.random.fork_rng(devices=[]), keras.device("cpu"):
        yield
    random.setstate(state)


def _listed(whole: Any) -> str:
    return ", ".join(layer.name for layer in whole.layers)


def _require_data_alone(config: Mapping[str, Any], source: str) -> None:
    """Refuse what is not made of Keras's own classes.  Raises ModelError."""

    def look(facts: Mapping[str, Any]) -> bool:
        name, module = str(facts.get("class_name", "")), facts.get("module")
        if name in CODE:
            what = f"holds a '{name.strip('_')}', which is Python code, and such code is never run"
            raise ModelError(what, where=source, advice=_ADVICE)
        if isinstance(module, str) and module != "builtins" and module.partition(".")[0] != "keras":
            what = f"needs '{module}.{name}', which is not Keras's own, and other code is never run"
            raise ModelError(what, where=source, advice=_ADVICE)
        return False

    _any_of(config, look)


def _says(config: Mapping[str, Any], key: str, value: str) -> bool:
    return _any_of(config, lambda facts: facts.get(key) == value)


def _any_of(value: Any, holds: Callable[[Mapping[str, Any]], bool]) -> bool:
    """Say whether something holds of any of the nested keys."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            if holds(one):
                return True
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return False
