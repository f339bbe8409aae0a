"""`sensorium doctor`: what this machine has, what is installed, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from typing import Annotated, Any

import typer

from sensorium.cli.output import print_json
from sensorium.version import __version__

CORE = ("torch", "numpy", "safetensors", "tokenizers", "pillow", "av", "soundfile", "pydantic")
EXTRAS = {
    "easy-vqa": "demo",
    "espeakng-loader": "demo",
    "pyarrow": "parquet",
    "datasets": "datasets",
    "jieba": "chinese",
}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Look at this machine and installation; exit code 4 if something needed is broken."""
    facts = _facts()
    if as_json:
        print_json(facts)
    else:
        for key, value in facts.items():
            print(f"{key:<22}{', '.join(value) if isinstance(value, list) else value}")
    if facts["problems"]:
        raise typer.Exit(4)


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
