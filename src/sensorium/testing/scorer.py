"""The contract of every scorer, as one call: `check_scorer(make_scorer)`.

Enters: a function that makes a fresh scorer, and what it may condition on.  Leaves: nothing, or an
AssertionError that names the broken promise.  A third party runs it on its own scorer:

    def test_contract() -> None:
        check_scorer(lambda: MyScorer(MyScorer.Config(), VOCAB, width=8), fit=lambda s: s.fit(SEQUENCES))
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core.protocols import FactualScorer, HiddenScorer, Scorer, UnrollingScorer
from sensorium.core.pytree import select
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, PAD

MakeScorer = Callable[[], Scorer]
MakeConditioning = Callable[[int], Conditioning]
Oracle = Callable[[Sequence[int], Conditioning], float]

_MAX_SEQUENCES = 3000  # how many sequences enumeration may score


def check_scorer(
    make_scorer: MakeScorer,
    make_cond: MakeConditioning = Conditioning.empty,
    *,
    fit: Callable[[Scorer], object] | None = None,
    oracle: Oracle | None = None,
    length: int = 6,
    tolerance: float = 1e-4,
    seed: int = 0,
    learns_from_nothing: bool = True,
) -> None:
    """Assert everything that composition, decoding and training rely on.

    Args:
        make_scorer: makes a fresh, unfitted scorer, an nn.Module; called twice.
        make_cond: makes conditioning for B rows, the rows differing; empty by default.
        fit: fits a fresh scorer; none for scorers that work as they are made.
        oracle: log p(tokens | cond) of one sequence that begins with BOS, by another method.
        length: tokens in the sequences that are tried, at least 3.
        tolerance: allowed absolute difference of log-probabilities.
        seed: of the tokens that are tried; the global generator is left as it was.
        learns_from_nothing: whether training with empty conditioning has a gradient that is not zero; not so
            for a scorer that says something of its input's positions alone.

    Raises:
        AssertionError: naming the promise that does not hold.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        scorer = make_scorer()
        if fit is not None:
            fit(scorer)
        assert isinstance(scorer, nn.Module), "a scorer is an nn.Module"
        scorer.eval()
        for name, make in {"given": make_cond, "empty": Conditioning.empty}.items():
            suite = _Suite(scorer, make, length, tolerance, f"with {name} conditioning")
            with torch.no_grad():
                for check in _CHECKS:
                    check(suite)
        suite = _Suite(scorer, make_cond, length, tolerance, "with given conditioning")
        with torch.no_grad():
            _check_round_trip(suite, make_scorer)
            if oracle is not None:
                _check_oracle(suite, oracle)
        if scorer.fitted_by == "gradient":
            _check_gradient(suite, learns_from_nothing)


class _Suite:
    """One scorer, its conditioning, and the sequences it is tried on."""

    def __init__(
        self, scorer: Scorer, make_cond: MakeConditioning, length: int, tolerance: float, setting: str
    ) -> None:
        self.scorer, self.make_cond, self.tolerance, self.setting = scorer, make_cond, tolerance, setting
        self.num_rows, self.length = 4, length
        self.cond = make_cond(self.num_rows)
        self.token_BT = torch.randint(EOS + 1, len(scorer.vocab), (self.num_rows, length))
        self.token_BT[:, 0] = BOS
        self.mask_BT = torch.ones_like(self.token_BT, dtype=torch.bool)

    def same(self, got: Tensor, want: Tensor, promise: str) -> None:
        """Assert equality within tolerance, -inf equal to -inf, never NaN."""
        assert got.shape == want.shape, (
            f"{promise} {self.setting}: shape {tuple(got.shape)}, not {tuple(want.shape)}"
        )
        assert not got.isnan().any(), f"{promise} {self.setting}: NaN"
        close = torch.isclose(got, want, rtol=0, atol=self.tolerance)
        gap = (got - want).abs().nan_to_num(0.0, posinf=torch.inf).max() if got.numel() else 0.0
        assert close.all(), f"{promise} {self.setting}: log-probabilities differ by up to {float(gap):.3g}"

    def feed(self, token_BT: Tensor, cond: Conditioning, state: Any = None) -> tuple[Tensor, Any]:
        """Extend by unpadded tokens, from the start if `state` is None."""
        state = self.scorer.start(cond) if state is None else state
        return self.scorer.extend(state, token_BT, torch.ones_like(token_BT, dtype=torch.bool))

    def step_by_step(self) -> Tensor:
        """Return log p(next) after each token, (B, T, V), one token at a time."""
        state, rows = self.scorer.start(self.cond), []
        for t in range(self.length):
            log_p_BV, state = self.feed(self.token_BT[:, t : t + 1], self.cond, state)
            rows.append(log_p_BV)
        return torch.stack(rows, 1)


def _check_normalised(suite: _Suite) -> None:
    log_p_BTV = suite.step_by_step()
    num_tokens = len(suite.scorer.vocab)
    assert log_p_BTV.shape[-1] == num_tokens, f"log p(next) has {log_p_BTV.shape[-1]} entries, not {num_tokens}"
    total_BT = log_p_BTV.logsumexp(-1)
    suite.same(total_BT, torch.zeros_like(total_BT), "log p(next) sums to 1")
    assert (log_p_BTV[..., [PAD, BOS]] == -torch.inf).all(), f"PAD and BOS have log p -inf {suite.setting}"


def _check_splits(suite: _Suite) -> None:
    """Prefill = single steps = split anywhere."""
    want_BTV = suite.step_by_step()
    for split in range(1, suite.length):
        first_BV, state = suite.feed(suite.token_BT[:, :split], suite.cond)
        last_BV, _ = suite.feed(suite.token_BT[:, split:], suite.cond, state)
        suite.same(first_BV, want_BTV[:, split - 1], f"a prefill of {split} tokens = single steps")
        suite.same(last_BV, want_BTV[:, -1], f"a prefill split after {split} tokens = single steps")
    whole_BV, _ = suite.feed(suite.token_BT, suite.cond)
    suite.same(whole_BV, want_BTV[:, -1], "one prefill = single steps")


def _check_score(suite: _Suite) -> None:
    """`score` = looped `extend`; 0 at BOS; padding on the right changes nothing and scores 0."""
    step_BTV = suite.step_by_step()[:, :-1]
    want_BT = step_BTV.gather(-1, suite.token_BT[:, 1:, None]).squeeze(-1)
    got_BT = suite.scorer.score(suite.token_BT, suite.mask_BT, suite.cond)
    suite.same(got_BT[:, 1:], want_BT, "score = looped extend")
    assert (got_BT[:, 0] == 0).all(), f"score is 0 at BOS {suite.setting}"
    for pad in (PAD, EOS):
        padding = torch.full((suite.num_rows, 2), pad)
        token_BT = torch.cat([suite.token_BT, padding], 1)
        mask_BT = torch.cat([suite.mask_BT, torch.zeros_like(padding, dtype=torch.bool)], 1)
        padded_BT = suite.scorer.score(token_BT, mask_BT, suite.cond)
        suite.same(padded_BT[:, :-2], got_BT, "score ignores padding")
        assert (padded_BT[:, -2:] == 0).all(), f"score is 0 at padding {suite.setting}"
    alone_BT = suite.scorer.score(suite.token_BT[:, :1], suite.mask_BT[:, :1], suite.cond)
    assert alone_BT.shape == (suite.num_rows, 1), f"BOS alone scores (B, 1) {suite.setting}"


def _check_unroll(suite: _Suite) -> None:
    """`unroll` = looped `extend`, and `unroll_facts` = looped `facts`, where a scorer has them."""
    scorer = suite.scorer
    if isinstance(scorer, UnrollingScorer):
        got_BTV = scorer.unroll(suite.token_BT, suite.mask_BT, suite.cond)
        suite.same(got_BTV, suite.step_by_step(), "unroll = looped extend")
    if isinstance(scorer, FactualScorer):
        got_BTF = scorer.unroll_facts(suite.token_BT, suite.mask_BT, suite.cond)
        state, steps = scorer.start(suite.cond), []
        for t in range(suite.length):
            _, state = suite.feed(suite.token_BT[:, t : t + 1], suite.cond, state)
            steps.append(scorer.facts(state))
        suite.same(got_BTF, torch.stack(steps, 1), "unroll_facts = looped facts")
        assert got_BTF.shape[-1] == scorer.num_facts, f"there are {got_BTF.shape[-1]} facts, not num_facts"


def _check_causal(suite: _Suite) -> None:
    want_BT = suite.scorer.score(suite.token_BT, suite.mask_BT, suite.cond)
    for t in range(1, suite.length):
        token_BT = suite.token_BT.clone()
        token_BT[:, t:] = EOS + 1 + (token_BT[:, t:] - EOS) % (len(suite.scorer.vocab) - EOS - 1)
        got_BT = suite.scorer.score(token_BT, suite.mask_BT, suite.cond)
        suite.same(got_BT[:, :t], want_BT[:, :t], f"tokens from {t} on do not change what stands before them")


def _check_select(suite: _Suite) -> None:
    """Reordering, repeating and dropping rows commutes with extending them further."""
    want_BTV, half = suite.step_by_step(), suite.length // 2
    for rows in ([3, 1, 0, 2], [1, 1, 1, 3, 0, 3], [2]):
        row_N = torch.tensor(rows)
        _, state = suite.feed(suite.token_BT[:, :half], suite.cond)
        state = select(state, row_N)
        for t in range(half, suite.length):
            log_p_NV, state = suite.feed(suite.token_BT[row_N, t : t + 1], suite.cond, state)
            suite.same(log_p_NV, want_BTV[row_N, t], f"select(state, {rows}), then extending")
    _, state = suite.feed(suite.token_BT[:, :half], suite.cond)
    kept = select(state, torch.arange(suite.num_rows))
    suite.feed(torch.full((suite.num_rows, 2), EOS), suite.cond, state)
    log_p_BV, _ = suite.feed(suite.token_BT[:, half:], suite.cond, kept)
    suite.same(log_p_BV, want_BTV[:, -1], "a selected state is a copy: extending the old one does not touch it")


def _check_padding(suite: _Suite) -> None:
    """Rows of unequal length in one prefill, then further steps, then another unequal one."""
    length_B = torch.tensor([suite.length, 1, 2, suite.length - 1])
    mask_BT = torch.arange(suite.length) < length_B[:, None]
    for pad in (PAD, EOS + 1):
        log_p_BV, state = suite.scorer.extend(
            suite.scorer.start(suite.cond), torch.where(mask_BT, suite.token_BT, pad), mask_BT
        )
        more_BT = suite.token_BT[:, 1:]
        step_BV, state = suite.feed(more_BT[:, :1], suite.cond, state)
        state = select(state, torch.arange(suite.num_rows))
        part_BT = torch.arange(2) < torch.tensor([1, 2, 2, 1])[:, None]
        last_BV, state = suite.scorer.extend(state, torch.where(part_BT, more_BT[:, 1:3], pad), part_BT)
        end_BV, _ = suite.feed(more_BT[:, :1], suite.cond, state)
        for row in range(suite.num_rows):
            cond = _rows(suite.cond, [row])
            prefix = suite.token_BT[row : row + 1, : int(length_B[row])]
            sequence = torch.cat([prefix, more_BT[row : row + 1, : 1 + int(part_BT[row].sum())]], 1)
            n = prefix.shape[1]
            for got, tokens, name in (
                (log_p_BV, prefix, "a padded prefill"),
                (step_BV, sequence[:, : n + 1], "a step after a padded prefill"),
                (last_BV, sequence, "a second padded prefill"),
                (end_BV, torch.cat([sequence, more_BT[row : row + 1, :1]], 1), "a step after two padded prefills"),
            ):
                alone_BV, _ = suite.feed(tokens, cond)
                suite.same(got[row : row + 1], alone_BV, f"{name} = each row alone")


def _check_rows_independent(suite: _Suite) -> None:
    """Rows of unequal length score as each does alone."""
    length_B = torch.tensor([2, suite.length, 1, suite.length - 1])
    mask_BT = torch.arange(suite.length) < length_B[:, None]
    together_BT = suite.scorer.score(torch.where(mask_BT, suite.token_BT, PAD), mask_BT, suite.cond)
    for row, length in enumerate(length_B.tolist()):
        token_1T, mask_1T = suite.token_BT[[row], :length], mask_BT[[row], :length]
        alone_1T = suite.scorer.score(token_1T, mask_1T, _rows(suite.cond, [row]))
        suite.same(alone_1T, together_BT[[row], :length], "a row alone scores as in its batch")


def _check_no_rows(suite: _Suite) -> None:
    """A batch without rows is a batch: from a start without rows, and where search has dropped every row."""
    scorer, no_rows, num_tokens = suite.scorer, torch.empty(0, dtype=torch.int64), len(suite.scorer.vocab)
    nobody, token_0T, mask_0T = select(suite.cond, no_rows), suite.token_BT[:0], suite.mask_BT[:0]
    _, fed = suite.feed(suite.token_BT[:, :2], suite.cond)
    for state in (scorer.start(nobody), select(scorer.start(suite.cond), no_rows), select(fed, no_rows)):
        log_p_0V, state = scorer.extend(state, token_0T, mask_0T)
        log_p_0V, _ = scorer.extend(state, token_0T[:, :1], mask_0T[:, :1])
        suite.same(log_p_0V, torch.empty(0, num_tokens), "no rows are extended")
    suite.same(scorer.score(token_0T, mask_0T, nobody), torch.empty(0, suite.length), "no rows are scored")
    if isinstance(scorer, UnrollingScorer):
        got_0TV = scorer.unroll(token_0T, mask_0T, nobody)
        suite.same(got_0TV, torch.empty(0, suite.length, num_tokens), "no rows are unrolled")
    if isinstance(scorer, FactualScorer):
        got_0TF = scorer.unroll_facts(token_0T, mask_0T, nobody)
        suite.same(got_0TF, torch.empty(0, suite.length, scorer.num_facts), "no rows have no facts")
    if isinstance(scorer, HiddenScorer):
        got_0TW = scorer.unroll_hidden(token_0T, mask_0T, nobody)
        suite.same(got_0TW, torch.empty(0, suite.length, scorer.hidden_width), "no rows have no hidden vectors")


def _check_order(suite: _Suite) -> None:
    """Rows in another order, and more than once, score the same, and begin the same."""
    want_BT = suite.scorer.score(suite.token_BT, suite.mask_BT, suite.cond)
    want_BV, _ = suite.feed(suite.token_BT, suite.cond)
    row_N = torch.tensor([2, 0, 3, 3, 1])
    cond = select(suite.cond, row_N)
    got_NT = suite.scorer.score(suite.token_BT[row_N], suite.mask_BT[row_N], cond)
    suite.same(got_NT, want_BT[row_N], "rows in another order score the same")
    got_NV, _ = suite.feed(suite.token_BT[row_N], cond)
    suite.same(got_NV, want_BV[row_N], "rows in another order are extended to the same")


def _check_evidence_padding(suite: _Suite) -> None:
    """More of the -1 that stand behind a row's words, as beside a longer row, change nothing."""
    want_BT = suite.scorer.score(suite.token_BT, suite.mask_BT, suite.cond)
    padded = {
        name: nn.functional.pad(words, (0, 3), value=-1) if _holds_words(words) else words
        for name, words in suite.cond.evidence.items()
    }
    got_BT = suite.scorer.score(suite.token_BT, suite.mask_BT, replace(suite.cond, evidence=padded))
    suite.same(got_BT, want_BT, "padding of the evidence changes nothing")


def _holds_words(evidence: Tensor) -> bool:
    return evidence.ndim == 2 and not evidence.is_floating_point()


def _check_memory_padding(suite: _Suite) -> None:
    """Masked memory positions, wherever they stand and whatever they hold, change nothing."""
    if suite.cond.memory.mask_BT.shape[1] == 0:
        return  # an empty memory has no width to pad it with
    want_BT = suite.scorer.score(suite.token_BT, suite.mask_BT, suite.cond)
    want_BV, _ = suite.feed(suite.token_BT, suite.cond)
    memory = suite.cond.memory
    for before, after in ((0, 2), (1, 1)):
        cond = replace(suite.cond, memory=_with_garbage(memory, before, after))
        got_BT = suite.scorer.score(suite.token_BT, suite.mask_BT, cond)
        suite.same(got_BT, want_BT, "padding of the memory does not change score")
        got_BV, _ = suite.feed(suite.token_BT, cond)
        suite.same(got_BV, want_BV, "padding of the memory does not change extend")


def _check_parts_padding(suite: _Suite) -> None:
    """Masked positions of any input change nothing either."""
    want_BT = suite.scorer.score(suite.token_BT, suite.mask_BT, suite.cond)
    want_BV, _ = suite.feed(suite.token_BT, suite.cond)
    for before, after in ((0, 2), (1, 1)):
        parts = {name: _with_garbage(part, before, after) for name, part in suite.cond.parts.items()}
        cond = replace(suite.cond, parts=parts)
        got_BT = suite.scorer.score(suite.token_BT, suite.mask_BT, cond)
        suite.same(got_BT, want_BT, "padding of the inputs does not change score")
        got_BV, _ = suite.feed(suite.token_BT, cond)
        suite.same(got_BV, want_BV, "padding of the inputs does not change extend")


def _check_total_probability(suite: _Suite) -> None:
    """Sum p over all sequences that end within L tokens, and all that have not ended after L: 1."""
    letters = [token for token in range(len(suite.scorer.vocab)) if token not in (PAD, BOS, EOS)]
    depth = 0
    while len(letters) ** (depth + 1) <= _MAX_SEQUENCES and depth < 4:
        depth += 1
    if depth == 0:
        return  # too many tokens to enumerate even one step
    ended = [(*body, EOS) for n in range(depth) for body in itertools.product(letters, repeat=n)]
    survivors = list(itertools.product(letters, repeat=depth))
    total = 0.0
    for sequences in (ended, survivors):
        token_NT, mask_NT = _pad([(BOS, *sequence) for sequence in sequences])
        cond = _rows(suite.make_cond(1), [0] * len(sequences))
        total += float(suite.scorer.score(token_NT, mask_NT, cond).double().sum(1).exp().sum())
    assert abs(total - 1) < 1e-3, f"all sequences up to length {depth} have probability {total}, not 1"


_CHECKS: tuple[Callable[[_Suite], None], ...] = (
    _check_normalised,
    _check_splits,
    _check_score,
    _check_unroll,
    _check_causal,
    _check_select,
    _check_padding,
    _check_rows_independent,
    _check_order,
    _check_no_rows,
    _check_evidence_padding,
    _check_memory_padding,
    _check_parts_padding,
    _check_total_probability,
)


def _check_round_trip(suite: _Suite, make_scorer: MakeScorer) -> None:
    """The state dict alone rebuilds the scorer; its tensors stand apart, as safetensors wants them."""
    assert isinstance(suite.scorer, nn.Module)
    saved = {name: tensor.clone() for name, tensor in suite.scorer.state_dict().items()}
    places = [
        tensor.untyped_storage().data_ptr() for tensor in suite.scorer.state_dict().values() if tensor.numel()
    ]
    assert len(places) == len(set(places)), "entries of the state dict share memory: tie by using one parameter"
    fresh = make_scorer()
    assert isinstance(fresh, nn.Module)
    fresh.load_state_dict(saved)
    fresh.eval()
    want_BT = suite.scorer.score(suite.token_BT, suite.mask_BT, suite.cond)
    got_BT = fresh.score(suite.token_BT, suite.mask_BT, suite.cond)
    assert torch.equal(got_BT, want_BT), "a fresh scorer that loads the state dict scores the same"
    again = fresh.state_dict()
    assert saved.keys() == again.keys(), "a loaded scorer saves the same entries"
    assert all(torch.equal(saved[name], again[name]) for name in saved), "a loaded scorer saves the same numbers"


def _check_oracle(suite: _Suite, oracle: Oracle) -> None:
    score_B = suite.scorer.score(suite.token_BT, suite.mask_BT, suite.cond).sum(1)
    want = [oracle(suite.token_BT[row].tolist(), _rows(suite.cond, [row])) for row in range(suite.num_rows)]
    suite.same(score_B, torch.tensor(want, dtype=score_B.dtype), "score = the oracle's log p")


def _check_gradient(suite: _Suite, learns_from_nothing: bool) -> None:
    """Training with padding and with any conditioning gives finite gradients, and gives some."""
    assert isinstance(suite.scorer, nn.Module)
    mask_BT = suite.mask_BT.clone()
    mask_BT[0, 2:] = False
    for cond, learns in ((suite.cond, True), (Conditioning.empty(suite.num_rows), learns_from_nothing)):
        suite.scorer.zero_grad()
        total = suite.scorer.score(suite.token_BT, mask_BT, cond).sum()
        assert total.requires_grad, "score has a gradient"
        total.backward()
        gradients = [p.grad for p in suite.scorer.parameters() if p.grad is not None]
        assert all(g.isfinite().all() for g in gradients), "gradients are finite"
        assert not learns or any((g != 0).any() for g in gradients), "some gradient is not zero"
    suite.scorer.zero_grad()
    suite.scorer.train()
    nobody = _rows(suite.cond, [])
    total = suite.scorer.score(suite.token_BT[:0], suite.mask_BT[:0], nobody).sum()
    assert float(total.detach()) == 0, "a batch without rows has no loss in training either"
    suite.scorer.eval()


def _rows(cond: Conditioning, rows: list[int]) -> Conditioning:
    chosen: Conditioning = select(cond, torch.tensor(rows, dtype=torch.int64))
    return chosen


def _with_garbage(memory: Encoded, before: int, after: int) -> Encoded:
    num_rows, _, width = memory.x_BTD.shape

    def garbage(count: int) -> tuple[Tensor, Tensor]:
        return 1e3 * torch.randn(num_rows, count, width), torch.zeros(num_rows, count, dtype=torch.bool)

    (x_0, mask_0), (x_1, mask_1) = garbage(before), garbage(after)
    return Encoded(
        torch.cat([x_0, memory.x_BTD, x_1], 1), torch.cat([mask_0, memory.mask_BT, mask_1], 1), memory.present_B
    )


def _pad(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    rows = [torch.tensor(sequence) for sequence in sequences]
    token_NT = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    length_N = torch.tensor([len(row) for row in rows])
    return token_NT, torch.arange(token_NT.shape[1]) < length_N[:, None]
