"""The multimodal language model: P(w_1..w_n | D_1..D_m) = prod_i P(w_i | w_<i, D_1..D_m).

    Batch --encoders--> {name: Encoded} --fusion--> Conditioning --scorer--> log p(next token)

Enters: batches.  Leaves: conditioning for decoding, and per-row negative log-likelihoods for training.
The scorer is one Scorer, or a Mixture or Product of several; nothing here knows which.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sensorium.core import registry
from sensorium.core.errors import ModelError
from sensorium.core.protocols import (
    CountingScorer,
    EvidenceScorer,
    Preparer,
    RememberingScorer,
    TeachableScorer,
)
from sensorium.core.types import Batch, Conditioning, words_by_row
from sensorium.core.vocabulary import BOS, PAD
from sensorium.data.tokenizers import Tokenizer
from sensorium.language.registry import COMPOSITIONS, ENTRY_POINTS
from sensorium.model.conditioner import Conditioner
from sensorium.model.config import ModelConfig
from sensorium.model.through import Through

Taught = Sequence[tuple[Sequence[int], int]]


class MultimodalLM(Conditioner):
    """Encoders, a fusion and a scorer, wired as the config says.

    Args:
        config: the validated model.
        preparers: one fitted preparer an input; a frozen encoder's becomes a `FeaturePreparer`.
        tokenizer: the fitted tokenizer of the target.
    """

    def __init__(self, config: ModelConfig, preparers: Mapping[str, Preparer], tokenizer: Tokenizer) -> None:
        super().__init__(config, preparers)
        self.config: ModelConfig
        self.tokenizer = tokenizer
        width = config.fusion.width
        self.vocab = tokenizer.vocab
        parts = [c.scorer(c.options, self.vocab, width) for c in config.scorers.values()]
        self.through: Through | None = None
        """Set while the network is trained through the counts; it is no module, and is not saved."""
        self.scorer: Any = parts[0] if len(parts) == 1 else self._compose(parts)
        for part in self._memories():
            part.read(self.parts[part.reads])
        self.taught: Taught = ()

    def _compose(self, parts: list[Any]) -> Any:
        composed = registry.load(COMPOSITIONS, ENTRY_POINTS, self.config.language.mix)(parts)
        if self.config.language.weights is not None:
            composed.set_weights(self.config.language.weights)
        return composed

    @property
    def parts(self) -> Mapping[str, Any]:
        """Return each scorer by its configured name."""
        names = list(self.config.scorers)
        return {names[0]: self.scorer} if len(names) == 1 else dict(zip(names, self.scorer.parts, strict=True))

    def scored_by(self, name: str) -> MultimodalLM:
        """Return a view of this model, sharing every tensor, in which one scorer speaks alone."""
        view = copy.copy(self)
        view._modules = {**self._modules, "scorer": self.parts[name]}
        view.config = self.config.scored_by(name)
        return view

    @property
    def learns(self) -> bool:
        """Say whether any scorer is fitted by gradient (else training is counting alone)."""
        return any(part.fitted_by == "gradient" for part in self.parts.values())

    def condition(self, batch: Batch) -> Conditioning:
        """Encode and fuse one batch, with the words that scorers may count."""
        batch = batch.to(self.device)
        cond = super().condition(batch)
        return replace(cond, evidence={**cond.evidence, **self._evidence(batch)})

    def _evidence(self, batch: Batch) -> dict[str, Tensor]:
        """Return the words of every input that has them, if a scorer counts them."""
        if not any(isinstance(part, EvidenceScorer) for part in self.parts.values()):
            return {}
        return {name: words_by_row(batch.inputs[name]) for name, p in self.preparers.items() if has_words(p)}

    def sequences(self, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Put BOS before each row's ids and pad: tokens (B, T) int64 and mask (B, T), on the model's device."""
        longest = max((len(row) for row in ids), default=0)
        padded = [[BOS, *row, *[PAD] * (longest - len(row))] for row in ids]
        token_BT = torch.tensor(padded, dtype=torch.int64, device=self.device).view(len(ids), longest + 1)
        length_B1 = torch.tensor([[len(row)] for row in ids], device=self.device).view(-1, 1)
        return token_BT, torch.arange(longest + 1, device=self.device) <= length_B1

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return each row's negative log-likelihood in nats and its number of predicted tokens, (B,) both.

        In training inputs are hidden by chance, and only scorers fitted by gradient take part, each for
        itself (counts are held fixed and have no gradient), or together with counts that leave the rows out
        where `through` is set; the alignment of inputs and other objectives are added, if configured.  In
        evaluation it is the composed scorer's likelihood.
        """
        batch = batch.to(self.device)
        if self.training and self.input_dropout:
            batch = self.input_dropout(batch)
        token_BT, mask_BT = _target(batch)
        cond = self.condition(batch)
        num_tokens_B = mask_BT.sum(1) - 1
        if not self.training:
            return -self.scorer.score(token_BT, mask_BT, cond).sum(1), num_tokens_B
        if self.through is not None:
            nll_B = -self.through.score(batch.row_id_B, token_BT, mask_BT, cond).sum(1)
        else:
            learners = [part for part in self.parts.values() if part.fitted_by == "gradient"]
            nll_B = torch.stack([-part.score(token_BT, mask_BT, cond).sum(1) for part in learners]).mean(0)
        if self.alignment is not None:
            nll_B = nll_B + self.alignment(cond.parts, {n: media.row_B for n, media in batch.inputs.items()})
        if self.objectives is not None:
            for term in self.objectives(batch, self, cond.parts).values():
                nll_B = nll_B + term.loss_B
        return nll_B, num_tokens_B

    def fit_counts(self, sequences: Iterable[Sequence[int]], batches: Iterable[Batch] = ()) -> None:
        """Fit every counting scorer.

        Args:
            sequences: the targets' tokens (BOS..EOS), for scorers that count targets alone.
            batches: the same rows with their inputs, for scorers that count both; read once, and only if
                there is such a scorer.  Nothing is encoded.
        """
        self.taught = ()
        self._count([part for part in self.parts.values() if part.fitted_by == "counting"], sequences, batches)

    def counted(self, sequences: Iterable[Sequence[int]], batches: Iterable[Batch] = ()) -> dict[int, Any]:
        """Fit fresh copies of the counting scorers on other rows; returns them by their part's number."""
        fresh = {
            k: choice.scorer(choice.options, self.vocab, self.config.fusion.width).to(self.device)
            for k, choice in enumerate(self.config.scorers.values())
            if choice.scorer.fitted_by == "counting"
        }
        self._count(list(fresh.values()), sequences, batches)
        return fresh

    def _count(self, counting: Sequence[Any], sequences: Iterable[Sequence[int]], batches: Iterable[Batch]) -> None:
        counted = [part for part in counting if isinstance(part, CountingScorer)]
        kept = list(sequences) if len(counted) > 1 else sequences
        for part in counted:
            part.fit(kept)
        observers = [part for part in counting if isinstance(part, EvidenceScorer)]
        if not observers:
            return
        for batch in batches:
            moved = batch.to(self.device)
            cond = replace(Conditioning.empty(batch.num_rows, device=self.device), evidence=self._evidence(moved))
            for observer in observers:
                observer.observe(*_target(moved), cond)
        for observer in observers:
            observer.estimate()

    def teach(self, taught: Taught) -> None:
        """Have every scorer that can be taught answer as if these texts had been counted, too.

        Args:
            taught: every text (BOS..EOS, and how many times it counts), in place of those taught before.

        Raises:
            ModelError: no scorer can be taught, or one does not know what it counted.  Nothing has changed then.
        """
        learners = [part for part in self.parts.values() if isinstance(part, TeachableScorer)]
        if taught and not learners:
            advice = "train it with 'ngram' among language.scorers"
            raise ModelError("no scorer of this model can be taught", advice=advice)
        try:
            for learner in learners:
                learner.teach(taught)
        except Exception:
            for learner in learners:
                learner.teach(self.taught)
            raise
        self.taught = taught

    @torch.no_grad()
    def fit_encoders(self, batches: Callable[[], Iterable[Batch]]) -> bool:
        """Fit every encoder that is fitted by counting; says whether there is one.

        Args:
            batches: begins a pass over the training batches; called once for each such encoder.  No batch is
                kept: what stays in memory is what the encoder itself keeps of its media.
        """
        counted: dict[str, Any] = {
            n: e for n, e in self.encoders.items() if getattr(e, "fitted_by", "gradient") == "counting"
        }
        for name, encoder in counted.items():
            moved = (batch.to(self.device) for batch in batches())
            encoder.fit((batch.inputs[name], _target(batch)[0]) for batch in moved)
        return bool(counted)

    def _memories(self) -> list[RememberingScorer]:
        return [part for part in self.parts.values() if isinstance(part, RememberingScorer)]

    @torch.no_grad()
    def fit_memories(self, train: Iterable[Batch], held_out: Iterable[Batch]) -> bool:
        """Let every memory take in training batches, and tune it on held-out ones; says whether there is one."""
        memories = self._memories()
        if not memories:
            return False
        was_training = self.training
        self.eval()
        for scored in self._scored(train):
            for memory in memories:
                memory.remember(*scored)
        tuning = list(self._scored(held_out))
        for memory in memories:
            memory.settle().tune(tuning)
        self.train(was_training)
        return True

    def _scored(self, batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor, Conditioning]]:
        moved = (batch.to(self.device) for batch in batches)
        return ((*_target(batch), self.condition(batch)) for batch in moved)

    @torch.no_grad()
    def fit_weights(self, batches: Iterable[Batch]) -> Sequence[float] | None:
        """Fit the composition's weights on held-out batches; None if they are fixed or there are none."""
        if len(self.parts) == 1 or self.config.language.weights is not None:
            return None
        was_training = self.training
        self.eval()
        fit = self.scorer.fit_weights if self.through is None else self.through.fit_weights
        fit(self._scored(batches))
        self.train(was_training)
        return list(self.scorer.weights)


def has_words(preparer: Preparer) -> bool:
    """Say whether an input's values are ids of a vocabulary: a text, or what a codebook made one."""
    return hasattr(type(preparer), "vocab")


def _target(batch: Batch) -> tuple[Tensor, Tensor]:
    if batch.token_BT is None or batch.mask_BT is None:
        raise ModelError("these rows have no target to score")
    return batch.token_BT, batch.mask_BT
