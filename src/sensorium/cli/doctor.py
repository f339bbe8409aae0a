"""`sensorium doctor`: what this machine has, what is installed, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.output import print_json
from sensorium.version import __version__

if TYPE_CHECKING:
    from sensorium.media.packaged import PackagedWeights

CORE = ("torch", "numpy", "safetensors", "tokenizers", "pillow", "av", "soundfile", "pydantic")
EXTRAS = {
    "easy-vqa": "demo",
    "espeakng-loader": "demo",
    "pyarrow": "parquet",
    "jieba": "chinese",
    "transformers": "hf",
    "huggingface-hub": "hf",
    "datasets": "datasets",
}


def doctor(
    weights: Annotated[bool, typer.Option("--weights", help="List packaged weights instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Look at this machine and installation; exit code 4 if something needed is broken."""
    if weights:
        _show_weights(as_json)
        return
    facts = _facts()
    if as_json:
        print_json(facts)
    else:
        for key, value in facts.items():
            print(f"{key:<22}{', '.join(value) if isinstance(value, list) else value}")
    if facts["problems"]:
        raise typer.Exit(4)


def _show_weights(as_json: bool) -> None:
    """Print which packaged weights there are, where they come from, and whether they are here and whole."""
    from sensorium.media.packaged import LISTING

    listed = {name: _listed(name, weights) for name, weights in LISTING.items()}
    if as_json:
        print_json(listed)
    else:
        for name, facts in listed.items():
            print(f"packaged:{name}")
            files = facts["files"].items()
            shown = facts | {"parameters": f"{facts['parameters']:,}", "files": f"{len(files)}, SHA-256"}
            for key, value in shown.items():
                print(f"  {key:<12}{value}")
            for path, sha256 in files:
                print(f"    {sha256}  {path}")
    if any(facts["state"].startswith("broken") for facts in listed.values()):
        raise typer.Exit(4)


def _listed(name: str, weights: PackagedWeights) -> dict[str, Any]:
    facts = asdict(weights) | {"install": weights.install, "state": _state(name)}
    return {key: value for key, value in facts.items() if key != "is_light"}


def _state(name: str) -> str:
    from sensorium.core.errors import MissingExtraError, ModelError
    from sensorium.media.packaged import packaged_files

    try:
        packaged_files(name)
    except MissingExtraError as error:
        return f"not installed: {error.advice}"
    except ModelError as error:
        return f"broken: {error}"
    return "installed, verified"


def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = {
        "sensorium": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 1,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "free_disk_gib": round(shutil.disk_usage(".").free / 2**30, 1),
    }
    problems: list[str] = []
    for name in CORE:
        facts[name] = _version(name) or "missing"
        if facts[name] == "missing":
            problems.append(f"{name} is not installed: pip install {name}")
    for name, extra in EXTRAS.items():
        facts[name] = _version(name) or f"not installed (pip install 'sensorium[{extra}]')"
    problems += _probe_torch(facts)
    if facts["free_disk_gib"] < 1:
        problems.append("less than 1 GiB of disk is free here")
    facts["problems"] = problems
    return facts


def _probe_torch(facts: dict[str, Any]) -> list[str]:
    try:
        import torch
    except Exception as error:
        return [f"torch does not import: {error}"]
    facts["threads"] = torch.get_num_threads()
    facts["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return []


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None
