"""Late fusion: several fitted models, each of its own inputs, answer together.

    P(w | D_1..D_m) = prod_k P_k(w | D_k)^{a_k} / Z

Enters: models over one vocabulary.  Leaves: a MultimodalLM; its exponents a_k are fitted on held-out rows.
A model none of whose inputs a row has says nothing there: its factor is the same for every word.
Source: Kittler et al. 1998, "On combining classifiers" (the product rule); Hinton 2002 for the exponents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core.errors import ModelError
from sensorium.core.types import Batch, Conditioning
from sensorium.core.vocabulary import BOS, PAD
from sensorium.language.parts import unroll
from sensorium.language.product import Product
from sensorium.model.input_dropout import InputDropout
from sensorium.model.multimodal import MultimodalLM


@dataclass(frozen=True, slots=True)
class LateConditioning(Conditioning):
    """What each of the models conditions on, in their order."""

    each: tuple[Conditioning, ...] = ()


class LateFusion(MultimodalLM):
    """Let fitted models answer together; to whoever asks it, one model.

    Args:
        models: by name; their inputs differ, their target and tokenizer are one.

    Raises:
        ModelError: no model, or models whose vocabularies differ.
    """

    def __init__(self, models: Mapping[str, MultimodalLM]) -> None:
        nn.Module.__init__(self)
        if not models:
            raise ModelError("late fusion needs at least one model")
        first = next(iter(models.values()))
        inputs = {name: choice for model in models.values() for name, choice in model.config.inputs.items()}
        language = first.config.language.model_copy(update={"weights": None})
        self.config = replace(first.config, inputs=inputs, language=language)
        self.tokenizer, self.vocab = first.tokenizer, first.vocab
        self.preparers = {name: p for model in models.values() for name, p in model.preparers.items()}
        self.encoders, self.lists = nn.ModuleDict(), nn.ModuleDict()
        self.fusion = self.alignment = self.through = None
        self.input_dropout = InputDropout({}, {})
        self.taught = ()
        self.models = nn.ModuleDict(models)
        self.scorer = Product([ModelScorer(model, k) for k, model in enumerate(models.values())])

    @property
    def parts(self) -> Mapping[str, Any]:
        """Return each model's scorer by the model's name."""
        return dict(zip(self.models, self.scorer.parts, strict=True))

    def _condition(self, batch: Batch) -> LateConditioning:
        """Let every model condition on its own inputs."""
        each = tuple(model.condition(batch) for model in self.models.values())  # type: ignore[operator]
        present_B = torch.stack([cond.memory.present_B for cond in each]).any(0)
        empty = Conditioning.empty(batch.num_rows, device=present_B.device).memory
        parts = {name: part for cond in each for name, part in cond.parts.items()}
        evidence = {name: words for cond in each for name, words in cond.evidence.items()}
        memory = replace(empty, present_B=present_B)
        return LateConditioning(memory, parts, evidence, batch.row_id_B.to(present_B.device), each)


class ModelScorer(nn.Module):
    """What one of several models says of the next token; nothing where a row has none of its inputs.

    Args:
        model: the fitted model.
        number: which of the conditionings is its own.
    """

    fitted_by = "parts"

    def __init__(self, model: MultimodalLM, number: int) -> None:
        super().__init__()
        self.scorer = model.scorer
        self.vocab = model.vocab
        self.number = number

    def start(self, cond: Conditioning) -> tuple[Any, Tensor]:
        """Begin B rows."""
        own = self._own(cond)
        return self.scorer.start(own), own.memory.present_B

    def extend(
        self, state: tuple[Any, Tensor], token_BT: Tensor, mask_BT: Tensor
    ) -> tuple[Tensor, tuple[Any, Tensor]]:
        """Feed T tokens; returns log p(next) (B, V) and the new state."""
        inner, heard_B = state
        log_p_BV, inner = self.scorer.extend(inner, token_BT, mask_BT)
        return torch.where(heard_B[:, None], log_p_BV, self._nothing_V(log_p_BV)), (inner, heard_B)

    def unroll(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(next) after each position, (B, T, V); padding may hold anything."""
        own = self._own(cond)
        log_p_BTV = unroll(self.scorer, token_BT, mask_BT, own)
        return torch.where(own.memory.present_B[:, None, None], log_p_BTV, self._nothing_V(log_p_BTV))

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t, cond), (B, T)."""
        own = self._own(cond)
        log_p_BT = self.scorer.score(token_BT, mask_BT, own)
        predicted_BT = mask_BT.clone()
        predicted_BT[:, 0] = False
        nothing_BT = torch.where(predicted_BT, self._log_uniform, 0.0)
        return torch.where(own.memory.present_B[:, None], log_p_BT, nothing_BT)

    @property
    def _log_uniform(self) -> float:
        return -math.log(len(self.vocab) - 2)  # PAD and BOS are never next

    def _nothing_V(self, like: Tensor) -> Tensor:
        log_p_V = like.new_full((len(self.vocab),), self._log_uniform)
        log_p_V[[PAD, BOS]] = -torch.inf
        return log_p_V

    def _own(self, cond: Conditioning) -> Conditioning:
        if not isinstance(cond, LateConditioning):
            raise ModelError("a model of a late fusion reads what the late fusion conditioned on")
        return cond.each[self.number]
