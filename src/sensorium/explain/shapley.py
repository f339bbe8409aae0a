"""What each input gave: its exact Shapley value over the 2^m patterns of presence.

Enters: a model, rows, and the tokens of a text a row.  Leaves: one `Contributions` a row, or their mean.

    phi_k = sum over S without k of |S|! (m - |S| - 1)! / m! * (v(S + k) - v(S))          (Shapley 1953)

v(S) is the value of the text where the model is shown the inputs in S alone; the others are absent, as they
may be in any row.  The values add up: sum_k phi_k = v(all) - v(none).  An input that a row lacks has 0.

Every medium is encoded once: the patterns are 2^m rows a row that share their media (`MediaBatch.row_B`), and
only fusion and scorers see them all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from sensorium.core.errors import ModelError, UsageError
from sensorium.core.types import Batch
from sensorium.data.omissions import Omissions
from sensorium.explain.values import load_value
from sensorium.language.pieces import score_in_pieces
from sensorium.model.multimodal import MultimodalLM

MOST_INPUTS = 12
"""More inputs have more than 4,096 patterns."""
ROWS_AT_ONCE = 2048
"""Patterns times rows of one forward pass."""


@dataclass(frozen=True, slots=True)
class Contributions:
    """What each input gave to one text, or on average to the texts of many rows.

    Attributes:
        names: the inputs, in the model's order.
        value: what was measured, a name in `VALUES`.
        shapley: by input, its share of `full - empty`.
        pattern_values: v by set of shown inputs, all 2^m of them.
        tokens: the text's tokens with each input's contribution to log p of this token, nats; empty for a mean.
        num_rows: how many rows were averaged.
        left_out: what was left out of a table's rows, cut or absent.
    """

    names: tuple[str, ...]
    value: str
    shapley: Mapping[str, float]
    pattern_values: Mapping[frozenset[str], float]
    tokens: tuple[tuple[str, Mapping[str, float]], ...] = ()
    num_rows: int = 1
    left_out: Omissions = field(default_factory=Omissions)

    @property
    def full(self) -> float:
        """Return the value with everything that the rows have."""
        return self.pattern_values[frozenset(self.names)]

    @property
    def empty(self) -> float:
        """Return the value without any input."""
        return self.pattern_values[frozenset()]

    def only(self, names: Iterable[str]) -> float:
        """Return the value with these inputs alone."""
        return self.pattern_values[frozenset(names)]

    def facts(self) -> dict[str, Any]:
        """Return plain values for JSON; a pattern is written 'photo+question', the empty one ''."""
        patterns = {"+".join(n for n in self.names if n in shown): v for shown, v in self.pattern_values.items()}
        tokens = [{"token": token, "shapley": dict(by_input)} for token, by_input in self.tokens]
        return {
            "value": self.value,
            "rows": self.num_rows,
            "full": self.full,
            "empty": self.empty,
            "shapley": dict(self.shapley),
            "patterns": patterns,
            "tokens": tokens,
        }


def patterns(num_inputs: int) -> Tensor:
    """Return all patterns of presence (P, m) bool, P = 2^m; pattern p shows input k where bit k of p is set."""
    number_P1 = torch.arange(2**num_inputs)[:, None]
    return (number_P1 >> torch.arange(num_inputs)) & 1 == 1


def shapley_matrix(num_inputs: int) -> Tensor:
    """Return the matrix (m, P) float64 that takes the values of all patterns to Shapley values."""
    shown_Pm = patterns(num_inputs)
    ways = [math.factorial(n) for n in range(num_inputs + 1)]
    rows = [
        [
            ways[size - 1] * ways[num_inputs - size] if shown else -ways[size] * ways[num_inputs - size - 1]
            for shown, size in zip(shown_Pm[:, k].tolist(), shown_Pm.sum(1).tolist(), strict=True)
        ]
        for k in range(num_inputs)
    ]
    return torch.tensor(rows, dtype=torch.float64).view(num_inputs, -1) / ways[num_inputs]


def in_all_patterns(batch: Batch) -> Batch:
    """Repeat the rows of a batch once a pattern, (P * B) rows, pattern by pattern, media shared."""
    shown_Pm = patterns(len(batch.inputs))
    inputs = {
        name: replace(media, row_B=torch.where(shown_P1, media.row_B, -1).flatten())
        for (name, media), shown_P1 in zip(
            batch.inputs.items(), shown_Pm.T[..., None].to(batch.row_id_B.device), strict=True
        )
    }
    return Batch(batch.row_id_B.repeat(len(shown_Pm)), inputs)


def contributions(
    model: MultimodalLM, batch: Batch, ids: Sequence[Sequence[int]], value: str = "log_p"
) -> list[Contributions]:
    """Measure what each input gave to each row's text, whose tokens are `ids` (without BOS).

    One forward pass of 2^m rows a row; rows are so few at a time that memory stays bounded by the caller's batch
    (see `rows_at_once`).  The model is used as it is, so put it into `eval()` first.

    Raises:
        UsageError: more than 12 inputs, whose patterns are too many to be tried exactly.
        ModelError: a text is impossible without some input, so that its log p is not finite.
    """
    names = tuple(batch.inputs)
    _require_few(names)
    token_BT, mask_BT = model.sequences(ids)
    shown_Pm = patterns(len(names))
    num_patterns = len(shown_Pm)
    with torch.inference_mode():
        cond = model.condition(in_all_patterns(batch))
        rows = token_BT.repeat(num_patterns, 1), mask_BT.repeat(num_patterns, 1), cond
        log_p = score_in_pieces(model.scorer, *rows)
    log_p_PBT = log_p.view(num_patterns, -1, log_p.shape[1]).double().cpu()
    value_PB = load_value(value)(log_p_PBT)
    if not value_PB.isfinite().all():
        raise ModelError("the text is impossible without some input", advice="explain its probability instead")
    weight_mP = shapley_matrix(len(names))
    phi_Bm = (weight_mP @ value_PB).T
    phi_BTm = torch.einsum("mp,pbt->btm", weight_mP, log_p_PBT)
    sets = [frozenset(n for n, s in zip(names, shown, strict=True) if s) for shown in shown_Pm.tolist()]
    return [
        Contributions(
            names,
            value,
            dict(zip(names, phi_Bm[b].tolist(), strict=True)),
            dict(zip(sets, value_PB[:, b].tolist(), strict=True)),
            tuple(
                (model.vocab.tokens[token], dict(zip(names, phi_BTm[b, t].tolist(), strict=True)))
                for t, token in enumerate(chosen, start=1)
            ),
        )
        for b, chosen in enumerate(ids)
    ]


def rows_at_once(num_inputs: int) -> int:
    """Return how many rows to explain together, so that a forward pass has `ROWS_AT_ONCE` rows at most."""
    return max(1, ROWS_AT_ONCE >> min(num_inputs, MOST_INPUTS))


def mean_contributions(rows: Iterable[Contributions]) -> Contributions:
    """Average over rows, which come once.  Shapley values are linear: the means add up as those of a row do.

    Raises:
        UsageError: there are no rows.
    """
    count, totals, pattern_totals, first = 0, dict[str, float](), dict[frozenset[str], float](), None
    for row in rows:
        first = first or row
        count += 1
        for name, phi in row.shapley.items():
            totals[name] = totals.get(name, 0.0) + phi
        for shown, v in row.pattern_values.items():
            pattern_totals[shown] = pattern_totals.get(shown, 0.0) + v
    if first is None:
        raise UsageError("no rows to explain")
    return Contributions(
        first.names,
        first.value,
        {name: total / count for name, total in totals.items()},
        {shown: total / count for shown, total in pattern_totals.items()},
        num_rows=count,
    )


def _require_few(names: Sequence[str]) -> None:
    if not names:
        raise UsageError("a model without inputs has nothing to share out")
    if len(names) > MOST_INPUTS:
        raise UsageError(f"{len(names)} inputs have 2^{len(names)} patterns", advice=f"at most {MOST_INPUTS}")
