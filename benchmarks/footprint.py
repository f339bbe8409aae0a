"""Disk and memory: a core install without torch, the demo's resident memory, import and help time.

python benchmarks/footprint.py
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import distribution, requires
from pathlib import Path

import record
from packaging.requirements import Requirement


def core_distributions(root: str = "sensorium") -> set[str]:
    """Return every distribution that a plain install brings, without torch and what only torch needs."""
    found: set[str] = set()
    pending = [root]
    while pending:
        name = pending.pop()
        if name in found or name == "torch":
            continue
        found.add(name)
        for text in requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                pending.append(requirement.name.lower().replace("_", "-"))
    return found


def size_bytes(name: str) -> int:
    """Return the bytes of a distribution's files on disk."""
    files = distribution(name).files or []
    paths = (Path(str(file.locate())) for file in files)
    return sum(path.stat().st_size for path in paths if path.is_file())


def median_s(words: list[str], repeats: int = 7) -> float:
    """Return the median time of a whole process."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def demo_peak_mib() -> tuple[float, dict[str, object]]:
    """Run the demo and return its peak resident memory, and what it reported."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "sensorium", "demo", "--json"]
        process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0
    return usage.ru_maxrss / 1024, json.loads(text)


def main() -> None:
    """Measure and write the result file."""
    sizes = {name: size_bytes(name) for name in core_distributions()}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:6]
    started = time.perf_counter()
    peak_mib, report = demo_peak_mib()
    demo_s = time.perf_counter() - started
    record.write(
        "footprint",
        {
            "core_install_without_torch_mb": round(sum(sizes.values()) / 1e6, 1),
            "largest_mb": {name: round(sizes[name] / 1e6, 1) for name in largest},
            "demo_s": round(demo_s),
            "demo_peak_resident_mib": round(peak_mib),
            "demo_table": report["table"],
            "help_s": median_s(["-m", "sensorium", "--help"]),
            "import_s": median_s(["-c", "import sensorium"]),
        },
    )


if __name__ == "__main__":
    main()
