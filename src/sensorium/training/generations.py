"""The checkpoints of a run: the newest whole one, and how many are kept.

Enters: a run folder.  Leaves: the checkpoint to go on from, loudly if it is not the newest.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from sensorium.core.commit import MANIFEST, verify
from sensorium.core.errors import ModelError

CHECKPOINTS = "checkpoints"
DAMAGED = ".damaged"
_NAME = re.compile(r"step-(\d{7,})")


def checkpoint_folder(run: Path, step: int) -> Path:
    """Name the folder of the checkpoint at `step`."""
    return run / CHECKPOINTS / f"step-{step:07d}"


def checkpoints(run: Path) -> list[Path]:
    """List a run's checkpoint folders, newest first, whole or not."""
    parent = run / CHECKPOINTS
    if not parent.is_dir():
        return []
    named = [(int(match[1]), path) for path in parent.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(named, reverse=True)]


def latest_whole(run: Path) -> tuple[Path | None, list[str]]:
    """Find the newest whole checkpoint of a run; changes nothing.

    Returns its folder (None if the run has no checkpoint at all), and for each newer one that was
    passed over a warning that says which and why.

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
            f"no checkpoint is whole; {'; '.join(warnings)}",
            where=str(run),
            advice="train again into a new folder",
        )
    return None, []


def tidy(run: Path, newest_whole: Path | None) -> None:
    """Clear away what a killed process left: drafts, and checkpoints newer than the whole one.

    A damaged checkpoint is set aside as '<name>.damaged' until the next one is written, so that it
    does not count as a generation.  Call it only while holding the run's lock.
    """
    for draft in (run / CHECKPOINTS).glob(".step-*"):
        shutil.rmtree(draft, ignore_errors=True)
    for folder in checkpoints(run):
        if folder == newest_whole:
            break
        aside = folder.with_name(folder.name + DAMAGED)
        shutil.rmtree(aside, ignore_errors=True)
        folder.replace(aside)


def prune(run: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints, and damaged ones."""
    for folder in checkpoints(run)[keep:]:
        # Manifest first: a kill in between leaves a folder that no reader takes for a checkpoint.
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (run / CHECKPOINTS).glob(f"step-*{DAMAGED}"):
        shutil.rmtree(folder, ignore_errors=True)
