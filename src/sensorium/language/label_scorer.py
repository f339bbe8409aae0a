"""What the linear scorers of labels share: from the words of a row's inputs to log P(label | words).

Enters: `Conditioning.evidence`, the words of each input, (B, T) int64 ids, -1 where there is none.
Leaves: a Scorer, in which a label is a text of one word: after BOS comes the label, then EOS.

    log P(c | x) = log softmax_c( slope (intercept_c + sum_k present_k bias_kc + sum_f x_f weight_fc) )

with x the counts of n-grams.  A row without any of the inputs has the classes' shares as its distribution.
What was never seen keeps a probability of `FLOOR` together, so that every scorer has the same support.

Letters beside the shared ones: K inputs, F features (distinct n-grams), C classes, N rows.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.errors import DataError, ModelError
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, Vocab
from sensorium.language.emission import emission_bias
from sensorium.language.label_counts import Layout, Observed, known_words, matches
from sensorium.language.sparse_counts import Floats, Ints, SparseCounts, bag_sum

log = logging.getLogger(__name__)

FLOOR = 1e-10
"""The probability of all that was never seen, shared evenly."""


@dataclass(frozen=True)
class Examples:
    """What an estimate is made from.

    Attributes:
        counts: (N, F) n-grams of each row that has any input.
        class_N: (N,) class of each such row.
        has_NK: (N, K) which inputs it has.
        input_F: (F,) which input an n-gram is of.
        num_classes: C.
        share_C: the classes' shares of all rows.
    """

    counts: SparseCounts
    class_N: Ints
    has_NK: NDArray[np.bool_]
    input_F: Ints
    num_classes: int
    share_C: Floats


@dataclass(frozen=True)
class Linear:
    """An estimate: weights (F, C), a bias an input (K, C), an intercept (C,), and the slope."""

    weight_FC: Floats
    bias_KC: Floats
    intercept_C: Floats
    slope: float = 1.0


@dataclass(frozen=True, slots=True)
class LabelState:
    """log P(label) (B, V), and whether the label has been said (B,)."""

    log_p_BV: Tensor
    is_said_B: Tensor


class LabelScorer(nn.Module):
    """Score labels by a linear function of counts; a subclass says how it is estimated.  Uniform before that.

    Attributes:
        key_: (F,) the known n-grams, ascending (see `label_counts`).
        layout_: (2,) ids an input, and how many inputs.
        label_: (C,) token of each class.
        weight_, bias_, intercept_: (F, C), (K, C), (C,) float64.
        log_share_: (C,) log of the classes' shares of the rows, float64.
        slope_: ().
    """

    fitted_by = "counting"

    class Config(Section):
        """Which evidence is counted, and how."""

        inputs: tuple[str, ...] = ()
        """The inputs whose words are counted; empty: every input that has words."""
        ngrams: int = Field(2, ge=1, le=5)
        """Single words, pairs, ... up to this length are features."""
        boundaries: bool = True
        """Let the beginning and the end of a text be part of its n-grams of two words and more."""
        min_rows: int = Field(1, ge=1)
        """Leave out n-grams that fewer rows hold."""
        binary: bool = False
        """Count whether a row holds an n-gram, not how often."""

        @field_validator("inputs", mode="before")
        @classmethod
        def _one_or_more(cls, inputs: Any) -> Any:
            return (inputs,) if isinstance(inputs, str) else inputs

    config: Config
    key_: Tensor
    layout_: Tensor
    label_: Tensor
    weight_: Tensor
    bias_: Tensor
    intercept_: Tensor
    log_share_: Tensor
    slope_: Tensor

    def __init__(self, config: Config, vocab: Vocab, width: int) -> None:
        super().__init__()
        self.config, self.vocab = config, vocab
        self._observed = Observed()
        nothing = torch.zeros(0, dtype=torch.float64)
        self.register_buffer("key_", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("layout_", torch.tensor([0, 1]))
        self.register_buffer("label_", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("weight_", nothing.view(0, 0))
        self.register_buffer("bias_", nothing.view(0, 0).clone())
        self.register_buffer("intercept_", nothing.clone())
        self.register_buffer("log_share_", nothing.clone())
        self.register_buffer("slope_", torch.tensor(1.0, dtype=torch.float64))
        self.register_buffer("log_floor_V", emission_bias(vocab).log_softmax(0), persistent=False)
        self.log_floor_V: Tensor

    def solve(self, examples: Examples) -> Linear:
        """Estimate weights from counted rows."""
        raise NotImplementedError

    def observe(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> None:
        """Take in B rows: BOS, a label, EOS, and the words they are conditioned on.

        Raises:
            DataError: a target that is not one token long.
        """
        length_B = mask_BT.sum(1)
        if not bool((length_B == 3).all()):
            raise DataError(
                f"a target of {int(length_B[length_B != 3][0]) - 2} tokens is no label",
                advice="choose task = 'classify', or tokenizer = 'label' in [target]",
            )
        words = known_words(cond.evidence, self.config.inputs)
        self._observed.add(words, token_BT[:, 1])

    def estimate(self) -> Self:
        """Estimate from all that was observed since the last estimate, and forget the rows.

        Raises:
            DataError: nothing was observed, or too many different n-grams.
        """
        observed, self._observed = self._observed, Observed()
        if not len(observed):
            raise DataError("there is no row to count")
        if observed.num_inputs < max(len(self.config.inputs), 1):
            log.warning(
                "%d of the inputs to be counted (%s) have words; those without say nothing of the label",
                observed.num_inputs, ", ".join(self.config.inputs) or "all",
            )  # fmt: skip
        layout = observed.layout()
        key_F, counts = observed.counts(
            layout, self.config.ngrams, min_rows=self.config.min_rows, boundaries=self.config.boundaries
        )
        label_C, class_N = np.unique(observed.token_N, return_inverse=True)
        share_C = np.bincount(class_N) / len(class_N)
        has_NK = observed.has_NK()
        row_M = np.flatnonzero(has_NK.any(1))
        input_F = (key_F % layout.base - 1) // max(layout.size, 1)
        examples = Examples(counts.rows(row_M), class_N[row_M], has_NK[row_M], input_F, len(label_C), share_C)
        if self.is_binary:
            examples = replace(examples, counts=examples.counts.binary())
        self._keep(key_F, layout, label_C, share_C, self.solve(examples))
        return self

    def _keep(self, key_F: Ints, layout: Layout, label_C: Ints, share_C: Floats, found: Linear) -> None:
        tensors = {
            "key_": torch.from_numpy(key_F),
            "layout_": torch.tensor([layout.size, layout.num_inputs]),
            "label_": torch.from_numpy(label_C),
            "weight_": torch.from_numpy(found.weight_FC),
            "bias_": torch.from_numpy(found.bias_KC),
            "intercept_": torch.from_numpy(found.intercept_C),
            "log_share_": torch.from_numpy(np.log(share_C)),
            "slope_": torch.tensor(found.slope, dtype=torch.float64),
        }
        for name, tensor in tensors.items():
            setattr(self, name, tensor.contiguous().to(self.slope_.device))

    def log_posterior(self, cond: Conditioning) -> Tensor:
        """Return log P(class | words), (B, C) float64; the classes are `label_`."""
        words = known_words(cond.evidence, self.config.inputs)
        log_share_BC = self.log_share_.expand(cond.num_rows, -1)
        if not words or not len(self.label_):
            return log_share_BC
        num_inputs = len(self.bias_)
        if len(words) != num_inputs:
            raise ModelError(f"counted the words of {num_inputs} inputs, and is now given those of {len(words)}")
        has_BK = torch.stack([(word_BT >= 0).any(1) for word_BT in words], 1)
        value_BC = self.intercept_ + has_BK.to(self.bias_) @ self.bias_
        if len(self.key_):
            column_E, offset_B = self._matches(words)
            value_BC = value_BC + bag_sum(self.weight_, column_E, offset_B)
        return torch.where(has_BK.any(1, keepdim=True), (self.slope_ * value_BC).log_softmax(1), log_share_BC)

    def _matches(self, words: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        layout, config = Layout(*self.layout_.tolist()), self.config
        return matches(words, self.key_, layout, config.ngrams, binary=self.is_binary, boundaries=config.boundaries)

    @property
    def is_binary(self) -> bool:
        """Say whether an n-gram counts once a row."""
        return self.config.binary

    def start(self, cond: Conditioning) -> LabelState:
        """Begin B rows: weigh their evidence."""
        floor_BV = self.log_floor_V.double().expand(cond.num_rows, -1)
        log_p_BV = floor_BV
        if len(self.label_):
            seen_BV = torch.full_like(floor_BV, -torch.inf)
            seen_BV[:, self.label_] = self.log_posterior(cond)
            log_p_BV = torch.logaddexp(seen_BV + math.log1p(-FLOOR), floor_BV + math.log(FLOOR))
        is_said_B = torch.zeros(cond.num_rows, dtype=torch.bool, device=floor_BV.device)
        return LabelState(log_p_BV.to(self.log_floor_V.dtype), is_said_B)

    def extend(self, state: LabelState, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, LabelState]:
        """Feed T tokens; returns log p(next) (B, V), the label's before it is said, EOS after."""
        is_said_B = state.is_said_B | ((token_BT != BOS) & mask_BT).any(1)
        log_p_BV = torch.where(is_said_B[:, None], self._after_V(), state.log_p_BV)
        return log_p_BV, LabelState(state.log_p_BV, is_said_B)

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t, cond), (B, T)."""
        log_p_BT = self._after_V()[token_BT]
        if token_BT.shape[1] > 1:
            log_p_BT[:, 1] = self.start(cond).log_p_BV.gather(1, token_BT[:, 1:2]).squeeze(1)
        predicted_BT = mask_BT.clone()
        predicted_BT[:, 0] = False
        return torch.where(predicted_BT, log_p_BT, 0.0)

    def _after_V(self) -> Tensor:
        """Return log p(next) after a label: EOS, but for the floor; (V,)."""
        if not len(self.label_):
            return self.log_floor_V
        certain_V = torch.full_like(self.log_floor_V, -torch.inf)
        certain_V[EOS] = math.log1p(-FLOOR)
        return torch.logaddexp(certain_V, self.log_floor_V + math.log(FLOOR))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Take tables of any size, as they were counted."""
        for name, buffer in self._buffers.items():
            saved = state_dict.get(prefix + name)
            if buffer is not None and saved is not None:
                self._buffers[name] = torch.empty_like(saved, device=buffer.device)
        super()._load_from_state_dict(state_dict, prefix, *args)
