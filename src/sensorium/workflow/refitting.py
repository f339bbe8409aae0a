"""Give a weighed model its held-out rows too: count them, and let the network read them for a while.

Enters: a model whose parts were fitted on training rows and whose weights on held-out ones.  Leaves: the same
weights over parts that know all rows.

Weights must be fitted on rows that no part knows; once they are, those rows are worth more as training rows, most
of all where they are the ones most like what is to come (the end of a text).  The weights are then those of parts
that knew a little less: an assumption, as in retraining after cross-validation.  The held-out rows can judge
nothing any more, so a run that does this needs test rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from sensorium.core.errors import ConfigError
from sensorium.core.types import Batch
from sensorium.data.corpus import Corpus
from sensorium.data.loader import BatchOrder
from sensorium.model.multimodal import MultimodalLM
from sensorium.training.config import TrainingConfig
from sensorium.training.loop import LoaderLike
from sensorium.workflow.budget import budget_share
from sensorium.workflow.config import RunConfig

SECOND_RATE = 0.5
"""The second descent begins where the first ended, so its learning rate rises to this share of the first's."""
FOLDER = "refit"


def refits(training: TrainingConfig) -> bool:
    """Say whether held-out rows become training rows in the end."""
    return training.refit_counts or training.refit_share > 0


def require_test_rows(config: RunConfig, test: Corpus | None) -> None:
    """Refuse to judge a model, or to tune its decoding, on rows that it was refitted on.  Raises ConfigError."""
    rescore = config.decoding.rescore
    if refits(config.training) and rescore is not None and rescore.weights is None:
        raise ConfigError(
            "refitting makes training rows of the validation rows, and weights for rescoring are tuned on these",
            where=config.name,
            advice="give decoding.rescore.weights, or leave refit_counts and refit_share out",
        )
    if refits(config.training) and test is None:
        raise ConfigError(
            "refitting makes training rows of the validation rows, and there are no others to judge the model on",
            where=config.name,
            advice="name [data] test, or leave refit_counts and refit_share out",
        )


def first_budget(training: TrainingConfig) -> TrainingConfig:
    """Return what the descent on training rows alone may use."""
    return budget_share(training, 1 - training.refit_share) if training.refit_share else training


def second_budget(training: TrainingConfig) -> TrainingConfig:
    """Return what the descent on all rows may use; it validates nothing, since nothing is held out."""
    rate = training.learning_rate * SECOND_RATE
    share = budget_share(training, training.refit_share)
    return share.model_copy(update={"learning_rate": rate, "patience": None})


def second_run(run: Path) -> Path:
    """Return the folder of the second descent's checkpoints."""
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    return folder


def refit_counts(model: MultimodalLM, corpora: Sequence[Corpus], batch_rows: int) -> None:
    """Fit the counting scorers on all rows of `corpora`; what the network was trained on top of stays as it is."""
    orders = [(corpus, BatchOrder(corpus.num_rows, batch_rows, seed=0, shuffle=False)) for corpus in corpora]
    model.fit_counts(
        chain.from_iterable(corpus.targets() for corpus in corpora),
        (corpus.batch(row_N) for corpus, order in orders for row_N in order.batches(0)),
    )


@dataclass(frozen=True)
class JoinedLoaders:
    """Several loaders as one: an epoch has every batch of each, shuffled in a way that the epoch decides."""

    loaders: Sequence[LoaderLike]
    seed: int

    @property
    def num_batches(self) -> int:
        """Count the batches of an epoch."""
        return sum(loader.num_batches for loader in self.loaders)

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Yield the batches of that epoch, from number `start_batch` on."""
        whose_N = np.repeat(np.arange(len(self.loaders)), [loader.num_batches for loader in self.loaders])
        np.random.default_rng((self.seed, epoch)).shuffle(whose_N)
        before = np.bincount(whose_N[:start_batch], minlength=len(self.loaders)).tolist()
        sources = [loader.epoch(epoch, start) for loader, start in zip(self.loaders, before, strict=True)]
        for whose in whose_N[start_batch:].tolist():
            yield next(sources[whose])
