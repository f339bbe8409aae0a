"""Judge a model on rows as its config asks for: the run's own, one of several tasks, a baseline, a contender.

Enters: a config, what was prepared by it, a model and rows.  Leaves: an evaluation; a bar shows how far it is.
"""

from __future__ import annotations

from sensorium.data.corpus import Corpus
from sensorium.evaluation.runner import Evaluation, evaluate
from sensorium.model.multimodal import MultimodalLM
from sensorium.training.console import stage
from sensorium.training.progress import Progress
from sensorium.workflow.config import RunConfig
from sensorium.workflow.prepare import Prepared


def judge(
    config: RunConfig,
    prepared: Prepared,
    model: MultimodalLM,
    corpus: Corpus,
    *,
    title: str,
    progress: Progress | None = None,
    seconds: float | None = None,
) -> Evaluation:
    """Answer and score the rows of `corpus` by `model`, which may lack scorers and inputs of the run's own.

    Args:
        title: of the bar.
        seconds: how long it may take; see `workflow.judging_time`.

    Raises:
        OutOfMemoryError: a batch does not fit.
    """
    with stage(progress, title) as advance:
        return evaluate(
            model,
            prepared.task,
            corpus,
            answers=prepared.answers,
            decoding=config.decoding.among(model.parts),
            batch_rows=config.evaluation.batch_rows,
            max_rows=config.evaluation.max_rows,
            vectors=config.word_vectors(),
            advance=advance,
            seconds=seconds,
        )
