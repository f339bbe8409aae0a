"""The `[training]` section of a config: budgets, batch, optimiser, precision, checkpoints.

Enters: plain values (TOML or Python).  Leaves: one frozen, validated `TrainingConfig`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sensorium.core.config import Section

DEFAULT_EPOCHS = 10

Count = Annotated[int, Field(ge=1)]
Duration = Annotated[float, Field(gt=0, allow_inf_nan=False)]


FREE_TO_CHANGE = frozenset({"checkpoint_every", "keep_checkpoints", "log_every", "workers"})
"""What may be other in a resumed run: the weights do not depend on it."""


class TrainingConfig(Section):
    """How to fit by gradient.

    The run ends at whichever budget (`seconds`, `epochs`, `max_steps`) is used up first; without any,
    after 10 epochs.  A step is one update of the weights, that is `accumulate` batches of `batch_rows`.

    Attributes:
        seconds: wall-clock budget, validation and checkpoints included, all resumed parts added up.
        epochs: passes over the training rows.
        max_steps: updates of the weights.
        batch_rows: rows in a batch.
        learning_rate: the peak, reached after warm-up.
        weight_decay: AdamW's decoupled decay; biases, gains of norms and embeddings have none.
        warmup: the fraction of the run over which the learning rate rises linearly.
        clip_norm: the largest norm of the whole gradient; None = no clipping.
        accumulate: batches whose gradients are added up before an update.
        precision: "fp32", "bf16" (autocast; weights stay fp32) or "auto" (see `precision.choose`).
        seed: what `seeding.seed_everything` is given before the model is built.
        checkpoint_every: steps between checkpoints; None = by time (see `checkpoint.Pace`).
        keep_checkpoints: how many of the newest checkpoints are kept.
        compile: run the loss through `torch.compile` (needs a C++ compiler on a CPU).
        workers: loader processes; 0 = load in this one.
        validate_every: steps between validations, or "epoch".
        patience: validations without a new best before the run ends; None = never.
        average: "ema" keeps an exponential moving average of the weights, judged at every validation beside the
            weights themselves; the best of both is what the run ends with.
        average_decay: of it; a weight counts for about 1 / (1 - decay) updates.
        refit_counts: after the weights are fitted on the validation rows, count these rows too.
        task_weights: in a run of several tasks, weigh their losses as configured ("fixed"), or by learned
            uncertainty as well (Kendall et al. 2018).
        task_temperature: draw batches in proportion to n^(1/T), n the size of a task's table.
        refit_share: share of the budget that is then spent on a second descent, on training and validation rows.
        teacher: a finished run of the same vocabulary to learn from, "run:FOLDER" (see `model.distillation`).
        teacher_temperature: T, by which both distributions are softened.
        teacher_weight: the share of the loss that is the teacher's.
        log_every: steps between lines of metrics.jsonl; None = about two lines a second.
    """

    seconds: Duration | None = None
    epochs: Count | None = None
    max_steps: Count | None = None
    batch_rows: Count = 64
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 1.0
    accumulate: Count = 1
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    checkpoint_every: Count | None = None
    keep_checkpoints: Count = 2
    compile: bool = False
    workers: Annotated[int, Field(ge=0)] = 0
    validate_every: Count | Literal["epoch"] = "epoch"
    patience: Count | None = None
    log_every: Count | None = None
    average: Literal["ema"] | None = None
    average_decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    teacher: str | None = None
    teacher_temperature: Annotated[float, Field(ge=1, le=100)] = 2.0
    teacher_weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    refit_counts: bool = False
    refit_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    task_weights: Literal["fixed", "uncertainty"] = "fixed"
    task_temperature: Annotated[float, Field(ge=1, le=1e6)] = 1.0

    @model_validator(mode="after")
    def _some_budget(self) -> Self:
        if self.seconds is None and self.epochs is None and self.max_steps is None:
            object.__setattr__(self, "epochs", DEFAULT_EPOCHS)
        return self

    def total_steps(self, num_batches: int) -> int | None:
        """Count the updates that `epochs` and `max_steps` allow; None if only `seconds` is given."""
        steps_per_epoch = -(-num_batches // self.accumulate)
        bounds = [self.max_steps, None if self.epochs is None else self.epochs * steps_per_epoch]
        return min((bound for bound in bounds if bound is not None), default=None)
