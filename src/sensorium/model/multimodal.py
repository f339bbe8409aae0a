"""The multimodal language model: P(w_1..w_n | D_1..D_m) = prod_i P(w_i | w_<i, D_1..D_m).

    Batch --encoders--> {name: Encoded} --fusion--> Conditioning --scorer--> log p(next token)

Enters: batches.  Leaves: conditioning for decoding, and per-row negative log-likelihoods for training.
The scorer is one Scorer, or a Mixture or Product of several; nothing here knows which.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sensorium.core import registry
from sensorium.core.errors import ModelError
from sensorium.core.logspace import possible_total
from sensorium.core.protocols import (
    CountingScorer,
    EvidenceScorer,
    MemoryScorer,
    Preparer,
    RememberingScorer,
    TeachableScorer,
)
from sensorium.core.types import Batch, Conditioning, words_by_row
from sensorium.core.vocabulary import BOS, PAD
from sensorium.data.tokenizers import Tokenizer
from sensorium.fusion.balance import Balance
from sensorium.language.internal import WithoutInternal, fit_shares
from sensorium.language.label_smoothing import smoothed_nll
from sensorium.language.parts import Scored
from sensorium.language.pieces import pieces, score_in_pieces
from sensorium.language.registry import COMPOSITIONS, ENTRY_POINTS
from sensorium.model.conditioner import Conditioner, Shared
from sensorium.model.config import ModelConfig
from sensorium.model.distillation import Teacher
from sensorium.model.layers import rate_factors
from sensorium.model.through import Through

Taught = Sequence[tuple[Sequence[int], int]]


class MultimodalLM(Conditioner):
    """Encoders, a fusion and a scorer, wired as the config says; without a scorer, encoders that are aligned.

    Args:
        config: the validated model.
        preparers: one fitted preparer an input; a frozen encoder's becomes a `FeaturePreparer`.
        tokenizer: the fitted tokenizer of the target.
        shared: parts of another task's model that this one uses too.
    """

    def __init__(
        self,
        config: ModelConfig,
        preparers: Mapping[str, Preparer],
        tokenizer: Tokenizer,
        shared: Shared | None = None,
    ) -> None:
        super().__init__(config, preparers, shared)
        self.config: ModelConfig
        self.tokenizer = tokenizer
        width = config.fusion.width
        balanced = config.fusion.balance if self.fusion is not None and len(config.read_inputs) > 1 else None
        self.balance = None if balanced is None else Balance(balanced, list(config.read_inputs))
        self.vocab = tokenizer.vocab
        parts = [self._part(name, c.scorer(c.options, self.vocab, width)) for name, c in config.scorers.items()]
        self.through: Through | None = None
        """Set while the network is trained through the counts; it is no module, and is not saved."""
        self.teacher: Teacher | None = None
        """Set while a larger model teaches this one; it is no module, and is not saved."""
        self.scorer: Any = self._compose(parts)
        for part in self.parts.values():
            if isinstance(part, RememberingScorer):
                part.read(self.parts[part.reads])
        self.taught: Taught = ()

    def _part(self, name: str, scorer: Any) -> Any:
        share = self.config.language.internal.get(name)
        if share is None:
            return scorer
        return WithoutInternal(scorer, 0.0 if share == "fit" else share)

    def _compose(self, parts: list[Any]) -> Any:
        if len(parts) < 2:
            return parts[0] if parts else None
        composed = registry.load(COMPOSITIONS, ENTRY_POINTS, self.config.language.mix)(parts)
        if self.config.language.weights is not None:
            composed.set_weights(self.config.language.weights)
        return composed

    @property
    def parts(self) -> Mapping[str, Any]:
        """Return each scorer by its configured name."""
        names = list(self.config.scorers)
        if len(names) < 2:
            return dict.fromkeys(names, self.scorer)
        return dict(zip(names, self.scorer.parts, strict=True))

    def scored_by(self, name: str) -> MultimodalLM:
        """Return a view of this model, sharing every tensor, in which one scorer speaks alone."""
        view = copy.copy(self)
        view._modules = {**self._modules, "scorer": self.parts[name]}
        view.config = self.config.scored_by(name)
        return view

    @property
    def learns(self) -> bool:
        """Say whether anything that answers is fitted by gradient (else training is counting alone)."""
        return not self.parts or any(part.fitted_by == "gradient" for part in self.parts.values())

    def load_pretrained(self) -> None:
        """Load published weights into encoders, fusion and scorers.  Raises ModelError."""
        super().load_pretrained()
        for part in self._published():
            self.scorer.get_submodule(part).load_pretrained()

    @property
    def rate_factors(self) -> dict[str, float]:
        """Return what the learning rate is multiplied by, by the beginning of the parameters' names."""
        factors = super().rate_factors
        for name in self._published():
            scorer: Any = self.scorer.get_submodule(name)
            prefix = f"scorer.{name}.network." if name else "scorer.network."
            factors |= rate_factors(scorer.network, prefix, scorer.config.rate_factor, scorer.config.rate_decay)
        return factors

    def _published(self) -> list[str]:
        """Name the scorers' modules that begin with published weights, within the composition."""
        named = () if self.scorer is None else self.scorer.named_modules()
        return [name for name, module in named if hasattr(type(module), "load_pretrained")]

    def _condition(self, batch: Batch) -> Conditioning:
        """Encode and fuse one batch, with the words that scorers may count."""
        batch = batch.to(self.device)
        cond = super()._condition(batch)
        evidence = {**cond.evidence, **self._evidence(batch)}
        return replace(cond, evidence=evidence, row_id_B=batch.row_id_B)

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
        where `through` is set; inputs answer alone too, and their alignment and other objectives are added, if
        configured.  In evaluation it is the composed scorer's likelihood.  A model without a scorer has its
        alignment alone, which counts as one token.
        """
        batch = batch.to(self.device)
        if not self.parts:
            return self.misalignment(self.encode_all(batch), batch), torch.ones_like(batch.row_id_B)
        if self.training and self.input_dropout:
            batch = self.input_dropout(batch)
        if not self.training:
            return self.judged(batch, self.condition(batch))
        num_tokens_B = _target(batch)[1].sum(1) - 1
        nll_B, cond = self._learned(batch)
        if self.teacher is not None:
            learners = [part for part in self.parts.values() if part.fitted_by == "gradient"]
            nll_B = self.teacher.mixed(nll_B, batch, learners, cond)
        if self.balance is not None:
            nll_B = self.balance(self._alone(batch), nll_B)
        if self.alignment is not None:
            nll_B = nll_B + self.misalignment(cond.parts, batch)
        if self.objectives is not None:
            for term in self.objectives(batch, self, cond.parts).values():
                nll_B = nll_B + term.loss_B
        return nll_B, num_tokens_B

    def judged(self, batch: Batch, cond: Conditioning) -> tuple[Tensor, Tensor]:
        """Return each row's negative log-likelihood by the composed scorer, in nats, and its number of predicted
        tokens, (B,) both; `cond` is what `condition` gave for this batch.

        Rows are scored in pieces, so that memory is bounded whatever the vocabulary.
        """
        token_BT, mask_BT = _target(batch.to(self.device))
        return -score_in_pieces(self.scorer, token_BT, mask_BT, cond).sum(1), mask_BT.sum(1) - 1

    def _learned(self, batch: Batch) -> tuple[Tensor, Conditioning]:
        """Return each row's loss, (B,), by what learns, and what it was conditioned on."""
        token_BT, mask_BT = _target(batch)
        cond = self.condition(batch)
        if self.training and self.through is not None:
            return -self.through.score(batch.row_id_B, token_BT, mask_BT, cond).sum(1), cond
        learners = [part for part in self.parts.values() if part.fitted_by == "gradient"]
        return torch.stack([self._nll(part, token_BT, mask_BT, cond) for part in learners]).mean(0), cond

    def _nll(self, part: Any, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return each row's negative log-likelihood, (B,); while training its gradient may be a smoothed one's."""
        share = self.config.language.label_smoothing
        if self.training and share:
            return smoothed_nll(part, token_BT, mask_BT, cond, share)
        nll_B: Tensor = -part.score(token_BT, mask_BT, cond).sum(1)
        return nll_B

    def _alone(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Return, by input that also answers alone, each row's loss and which rows have it, (B,) both."""
        assert self.balance is not None
        return {
            name: (self._learned(batch.only(frozenset((name,))))[0], batch.inputs[name].row_B >= 0)
            for name in self.balance.names
        }

    @torch.no_grad()
    def losses_by_input(self, batches: Iterable[Batch]) -> Tensor:
        """Return the mean loss in nats a token of each input alone, then of all: float64 (K,)."""
        assert self.balance is not None
        total_K2 = torch.zeros(len(self.balance.names) + 1, 2, dtype=torch.float64)
        was_training = self.training
        self.eval()
        for batch in (batch.to(self.device) for batch in batches):
            num_tokens_B = _target(batch)[1].sum(1) - 1
            everywhere_B = torch.ones_like(num_tokens_B, dtype=torch.bool)
            heads = [*self._alone(batch).values(), (self._learned(batch)[0], everywhere_B)]
            for k, (nll_B, has_B) in enumerate(heads):
                total, num_tokens, _ = possible_total(torch.where(has_B, nll_B, 0), num_tokens_B * has_B)
                total_K2[k] += torch.stack([total, num_tokens]).cpu()
        self.train(was_training)
        return total_K2[:, 0] / total_K2[:, 1]

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
            has = ", ".join(self.parts) or "none"
            advice = f"a new run can be, with 'ngram' or 'infinigram' in language.scorers; this one has {has}"
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
    def fit_encoders(self, batches: Callable[[], Iterable[Batch]], inputs: Collection[str] | None = None) -> bool:
        """Fit every encoder that is fitted by counting; says whether there is one.

        Args:
            batches: begins a pass over the training batches; called once for each such encoder.  No batch is
                kept: what stays in memory is what the encoder itself keeps of its media.
            inputs: whose encoders are fitted; None = all.
        """
        counted: dict[str, Any] = {
            n: e for n, e in self.encoders.items() if getattr(e, "fitted_by", "gradient") == "counting"
        }
        counted = {n: e for n, e in counted.items() if inputs is None or n in inputs}
        for name, encoder in counted.items():
            moved = (batch.to(self.device) for batch in batches())
            encoder.fit((batch.inputs[name], _target(batch)[0]) for batch in moved)
        return bool(counted)

    def _memories(self) -> list[MemoryScorer]:
        return [part for part in self.parts.values() if isinstance(part, MemoryScorer)]

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

    def _scored(self, batches: Iterable[Batch]) -> Iterator[Scored]:
        for batch in (batch.to(self.device) for batch in batches):
            yield from pieces(*_target(batch), self.condition(batch), len(self.vocab))

    @torch.no_grad()
    def fit_weights(self, batches: Iterable[Batch]) -> Sequence[float] | None:
        """Fit the composition's weights on held-out batches; None if they are fixed or there are none."""
        if len(self.parts) < 2 or self.config.language.weights is not None:
            return None
        was_training = self.training
        self.eval()
        fit = self.scorer.fit_weights if self.through is None else self.through.fit_weights
        fitted = [self.parts[name] for name, share in self.config.language.internal.items() if share == "fit"]
        if fitted and self.through is None:
            fit_shares(fitted, self._scored(batches), self._fit_and_value)
        else:
            fit(self._scored(batches))
        self.train(was_training)
        return list(self.scorer.weights)

    def _fit_and_value(self, rows: list[Scored]) -> float:
        self.scorer.fit_weights(rows)
        sums = [possible_total(-self.scorer.score(*row).sum(1), row[1][:, 1:].sum(1)) for row in rows]
        return -sum(float(total) for total, _, _ in sums) / max(1.0, sum(float(num) for _, num, _ in sums))


def has_words(preparer: Preparer) -> bool:
    """Say whether an input's values are ids of a vocabulary: a text, or what a codebook made one."""
    return hasattr(type(preparer), "vocab")


def _target(batch: Batch) -> tuple[Tensor, Tensor]:
    if batch.token_BT is None or batch.mask_BT is None:
        raise ModelError("these rows have no target to score")
    return batch.token_BT, batch.mask_BT
