"""`sensorium export`: a run's published language model, back in the layout of those who published it.

Enters: a run folder or a model folder.  Leaves: a folder that transformers opens, whole or not at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sensorium.core.commit import Kind, committed_folder, require_replaceable
from sensorium.core.errors import UsageError
from sensorium.language.hf import PublishedLM
from sensorium.language.hf_export import Written, write_published
from sensorium.workflow.predictor import Predictor

PUBLISHED = Kind("published language model", mark="config.json")


def export_published(run: Path, out: Path, task: str | None = None, *, force: bool = False) -> Written:
    """Write the one published language model of a run to `out`.

    Args:
        task: which one, of a model that has several.
        force: replace the model that `out` holds, if this program wrote it and nothing else is there.

    Raises:
        UsageError: there is no published language model in the run, or more than one, or `out` holds something.
        ModelError: there is no whole model, or its network has no place in such a folder.
        DiskError: no room.
    """
    if out.exists() and not force:
        raise UsageError("exists already", where=str(out), advice="add --force to replace it, or choose another")
    require_replaceable(out, PUBLISHED)
    model = Predictor.load(run, task).model
    found = [part for part in model.scorer.modules() if isinstance(part, PublishedLM)]
    if len(found) != 1:
        what = f"writes by {len(found)} published language models, not by one"
        raise UsageError(what, where=str(run), advice='scorers = ["hf:SOURCE"] has one')
    tokenizer: Any = model.tokenizer  # a published model writes its own tokenizer's tokens, so it is that one
    with committed_folder(out, PUBLISHED) as draft:
        return write_published(found[0], tokenizer, draft)
