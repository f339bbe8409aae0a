"""From any Scorer to token ids: the one loop.

Enters: a Scorer, its Conditioning, a Search and Filters.  Leaves: Generated.
The search says which token each path takes and which old path it continues; the scorer's and the
filters' states follow by `core.pytree.select`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sensorium.core.errors import UsageError
from sensorium.core.protocols import Scorer
from sensorium.core.pytree import select
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS
from sensorium.decoding.filters import Filter
from sensorium.decoding.generated import Generated
from sensorium.decoding.search import Search


@torch.no_grad()
def generate(
    scorer: Scorer, cond: Conditioning, *, search: Search, filters: Sequence[Filter] = (), max_tokens: int
) -> Generated:
    """Generate a text for every row of `cond`, of at most `max_tokens` tokens with its EOS.

    Rows are independent: none's text depends on the others.  The scorer is used as it is; put a
    module with dropout into `eval()` first.

    Raises:
        UsageError: max_tokens < 1.
        ModelError: the scorer gave NaN.
    """
    if max_tokens < 1:
        raise UsageError(f"max_tokens is {max_tokens}", advice="give at least 1")
    device = cond.memory.x_BTD.device
    paths = search.begin(cond.numbers().to(device), max_tokens)
    if not cond.num_rows:  # a scorer need not know what no rows are
        return paths.result()
    state = scorer.start(cond)
    held = [each.start(cond.num_rows, device) for each in filters]
    token_N1 = torch.full((cond.num_rows, 1), BOS, device=device)
    for _ in range(max_tokens):
        # A path that has ended is fed on like the others; its row of `log_p_NV` is then ignored.
        mask_N1 = torch.ones_like(token_N1, dtype=torch.bool)
        log_p_NV, state = scorer.extend(state, token_N1, mask_N1)
        choice_NV = log_p_NV
        for i, each in enumerate(filters):
            choice_NV, held[i] = each.apply(choice_NV, held[i], paths.token_NT)
        row_N = paths.step(log_p_NV, choice_NV)
        if paths.done():
            break
        if row_N is not None:
            state, held = select((state, held), row_N)
        token_N1 = paths.token_NT[:, -1:]
    return paths.result()
