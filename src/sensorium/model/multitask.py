"""One model of several tasks: a MultimodalLM a task, which share encoders and fusion.

    L = w_k L_k                          fixed weights, one task a batch
    L = exp(-s_k) L_k + s_k / 2          uncertainty: s_k = log sigma_k^2 is learned (Kendall et al. 2018, eq. 7-10)

L_k is the batch's mean loss in nats a token.  The loader decides which task's turn it is (`sensorium.data.mixing`).
Enters: batches that name their task.  Leaves: losses to train by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core.errors import ModelError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Batch
from sensorium.model.conditioner import Shared
from sensorium.model.config import ModelConfig
from sensorium.model.multimodal import MultimodalLM
from sensorium.model.precision import Precision

_SHARED = ("encoders", "fusion")


class MultiTaskLM(nn.Module):
    """Several models in one; each tensor is held, saved and counted once.

    Args:
        models: by task; built by `build_models`, so that they share what is to be shared.
        weights: of each task's loss; None = 1.
        is_uncertain: learn the weights, as log-variances; `weights` stay in front of them.
    """

    def __init__(
        self,
        models: Mapping[str, MultimodalLM],
        weights: Mapping[str, float] | None = None,
        *,
        is_uncertain: bool = False,
    ) -> None:
        super().__init__()
        self.models = dict(models)  # not registered: what is shared would be saved once a task
        self.weights = dict.fromkeys(models, 1.0) | dict(weights or {})
        self.encoders = nn.ModuleDict({n: e for m in models.values() for n, e in m.encoders.items()})
        self.fusion: Any = next((m.fusion for m in models.values() if m.fusion is not None), None)
        self.tasks = nn.ModuleDict({name: nn.ModuleDict(_own(model)) for name, model in models.items()})
        self.log_variance = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(())) for name, m in models.items() if is_uncertain and m.learns}
        )

    @property
    def precision(self) -> Precision:
        """Return how its weights are kept in a folder."""
        return next(iter(self.models.values())).precision

    @precision.setter
    def precision(self, precision: Precision) -> None:
        for model in self.models.values():
            model.precision = precision

    @property
    def learns(self) -> bool:
        """Say whether any task learns by gradient."""
        return any(model.learns for model in self.models.values())

    @property
    def rate_factors(self) -> dict[str, float]:
        """Return what the learning rate is multiplied by, by the beginning of the parameters' names."""
        return {prefix: factor for model in self.models.values() for prefix, factor in model.rate_factors.items()}

    @property
    def loss_weights(self) -> dict[str, float]:
        """Return what each task's loss is multiplied by now."""
        learned = {name: float(s.detach().neg().exp()) for name, s in self.log_variance.items()}
        return {name: weight * learned.get(name, 1.0) for name, weight in self.weights.items()}

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the weighted loss of each row in mean nats a token, (B,), and 1 for each row.

        Texts of some tasks are longer than those of others; so each batch's loss is a mean over its tokens, and a
        step of several batches the mean over these.

        Raises:
            ModelError: the batch does not name a task of this model.
        """
        if batch.task not in self.models:
            raise ModelError(f"a batch of task '{batch.task}' in a model of {', '.join(self.models)}")
        nll_B, num_tokens_B = self.models[batch.task].losses(batch)
        nll_B = nll_B * (self.weights[batch.task] * len(nll_B) / num_tokens_B.sum().clamp_min(1))
        if self.training and batch.task in self.log_variance:
            log_variance = self.log_variance[batch.task]
            nll_B = nll_B * (-log_variance).exp() + self.weights[batch.task] * log_variance / 2
        return nll_B, torch.ones_like(num_tokens_B)

    def train(self, mode: bool = True) -> MultiTaskLM:
        """Set training mode, in every task's model."""
        super().train(mode)
        for model in self.models.values():
            model.train(mode)
        return self


def build_models(
    configs: Mapping[str, ModelConfig], preparers: Mapping[str, Preparer], tokenizers: Mapping[str, Any]
) -> dict[str, MultimodalLM]:
    """Build a model a task; the encoders of equal inputs, and the fusion, are the same modules.

    Args:
        preparers: the fitted preparer of every input of any task.
        tokenizers: the fitted tokenizer of each task's target.
    """
    shared, models = Shared({}, {}), {}
    for name, config in configs.items():
        model = MultimodalLM(config, {n: preparers[n] for n in config.inputs}, tokenizers[name], shared)
        fusion = model.fusion if shared.fusion is None else shared.fusion
        shared = Shared(
            {**model.encoders, **shared.encoders},
            {**model.preparers, **shared.preparers},
            fusion,
            {**model.lists, **shared.lists},
        )
        models[name] = model
    return models


def _own(model: MultimodalLM) -> dict[str, nn.Module]:
    """Return the modules that belong to one task alone."""
    return {name: module for name, module in model.named_children() if name not in _SHARED}
