"""Tag every token of a text: one tag a position of the tagged input.

Enters: a model and a batch.  Leaves: one Prediction a row, its tags parted by blanks.
A scorer that can find its likeliest sequences exactly (a CRF, by Viterbi) does so; any other takes its likeliest
tag at each position in turn, given those before it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from sensorium.core.errors import DataError, ModelError
from sensorium.core.text_file import fields
from sensorium.core.types import Batch, Conditioning
from sensorium.core.vocabulary import BOS, EOS, PAD, UNK
from sensorium.data.corpus import Corpus, Failure
from sensorium.data.list_cells import Means
from sensorium.decoding.config import DecodingConfig
from sensorium.language.crf import tagged_length
from sensorium.model.multimodal import MultimodalLM
from sensorium.tasks.task import Prediction

NUM_BEST = 5
_CHECKED_ROWS = 256


@runtime_checkable
class FindsBest(Protocol):
    """A scorer that finds its K likeliest sequences exactly."""

    def best(self, cond: Conditioning, num_best: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """Return ids (B, K, T), log p (B, K), and lengths (B,)."""
        ...


@runtime_checkable
class NamesInputs(Protocol):
    """A scorer that knows which inputs' positions it tags."""

    def tagged_inputs(self, names: Sequence[str]) -> list[str]:
        """Return those among `names`."""
        ...


@runtime_checkable
class NamesTokens(Protocol):
    """A preparer whose prepared values say more of a position than which token it is."""

    def tokens(self, text: str) -> Sequence[str]:
        """Return the tokens of a text, cut as its values are."""
        ...


class Tag:
    """Chunking, part-of-speech tagging, named entities: one tag a token."""

    name = "tag"
    tokenizer = "tag"
    metrics = ("span_f1", "span_precision", "span_recall", "token_accuracy")
    many_references = False
    lists: Means = "items"
    needs_no_search = True

    def is_closed(self, num_answers: int) -> bool:
        """Write as many tags as there are tokens."""
        return False

    def decode(self, model: MultimodalLM, batch: Batch, decoding: DecodingConfig) -> list[Prediction]:
        """Tag every row; `decoding` has no say, since the length is known and the best is found exactly."""
        cond = model.condition(batch)
        if isinstance(model.scorer, FindsBest):
            token_BKT, log_p_BK, _ = model.scorer.best(cond, NUM_BEST)
        else:
            token_BT, log_p_B = _in_turn(model.scorer, cond, self._lengths(model, cond))
            token_BKT, log_p_BK = token_BT[:, None], log_p_B[:, None]
        return [_prediction(model, *row) for row in zip(token_BKT.tolist(), log_p_BK.tolist(), strict=True)]

    def faults(self, model: MultimodalLM, corpus: Corpus) -> list[Failure]:
        """Return the rows whose tokens and tags are not as many, and why."""
        name = tagged_inputs(model)[0]
        found = []
        for start in range(0, corpus.num_rows, _CHECKED_ROWS):
            row_N = np.arange(start, min(start + _CHECKED_ROWS, corpus.num_rows))
            batch, _ = corpus.load(row_N)
            media = batch.inputs[name]
            if media.list_SK is not None:
                raise ModelError(f"input '{name}' lists several texts", advice="tags are those of one")
            if media.mask_UT is None or batch.mask_BT is None:
                raise ModelError(f"input '{name}' has no positions to tag", advice="tag a text input")
            length_U = torch.cat([media.mask_UT.sum(1), torch.zeros(1, dtype=torch.int64)])
            pairs = zip(length_U[media.row_B].tolist(), (batch.mask_BT.sum(1) - 2).tolist(), strict=True)
            for row, (tokens, tags) in zip(row_N.tolist(), pairs, strict=True):
                if tokens != tags:
                    what = f"has {tokens} tokens, but {tags} tags (both after any cut at max_tokens)"
                    found.append(Failure(row, name, what))
        return found

    def majority(self, model: MultimodalLM, train: Corpus, corpus: Corpus, rows: Sequence[int]) -> list[str]:
        """Tag `rows` of `corpus` with the commonest tag of each token; an unseen token takes that of all.

        Tokens are those that the input's preparer makes, as many as the model tags.
        """
        name = tagged_inputs(model)[0]
        by_token: defaultdict[Hashable, Counter[str]] = defaultdict(Counter)
        for row, tokens in enumerate(_tokens(model, train, range(train.num_rows), name)):
            for token, tag in zip(tokens, fields(model.tokenizer.normalised(train.target_text(row))), strict=False):
                by_token[token][tag] += 1
        overall: Counter[str] = Counter()
        for counts in by_token.values():
            overall.update(counts)
        commonest = {token: _commonest(counts) for token, counts in by_token.items()}
        other = _commonest(overall)
        return [
            " ".join(commonest.get(token, other) for token in tokens)
            for tokens in _tokens(model, corpus, rows, name)
        ]

    @staticmethod
    def _lengths(model: MultimodalLM, cond: Conditioning) -> Tensor:
        return tagged_length(cond.parts[tagged_inputs(model)[0]])


def tagged_inputs(model: MultimodalLM) -> list[str]:
    """Return the inputs that are tagged: those a scorer names, else the only one of text.

    Raises:
        ModelError: it cannot be told.
    """
    names = list(model.config.inputs)
    for part in model.parts.values():
        if isinstance(part, NamesInputs):
            return part.tagged_inputs(names)
    texts = [name for name, choice in model.config.inputs.items() if choice.section.modality == "text"]
    if len(texts) != 1:
        raise ModelError(
            f"{len(texts)} inputs are texts ({', '.join(texts)}): which one is tagged?",
            advice="use the scorer 'crf', whose option `inputs` names it",
        )
    return texts


def _in_turn(scorer: Any, cond: Conditioning, length_B: Tensor) -> tuple[Tensor, Tensor]:
    """Take the likeliest ordinary tag at each position: ids (B, T), and log p (B,) of the whole."""
    state = scorer.start(cond)
    token_B1 = torch.full_like(length_B, BOS)[:, None]
    found, log_p_B = [], torch.zeros(len(length_B), device=length_B.device)
    for t in range(int(length_B.max()) + 1):
        log_p_BV, state = scorer.extend(state, token_B1, torch.ones_like(token_B1, dtype=torch.bool))
        is_tag_B, is_end_B = t < length_B, t == length_B
        token_B = log_p_BV[:, UNK + 1 :].argmax(1) + UNK + 1
        token_B = torch.where(is_tag_B, token_B, EOS)
        token_B1 = token_B[:, None]
        log_p_B = log_p_B + torch.where(is_tag_B | is_end_B, log_p_BV.gather(1, token_B1).squeeze(1), 0)
        found.append(torch.where(is_tag_B, token_B, PAD))
    return torch.stack(found, 1), log_p_B


def _prediction(model: MultimodalLM, token_KT: Sequence[Sequence[int]], log_p_K: Sequence[float]) -> Prediction:
    probability_of: dict[str, float] = {}
    for ids, log_p in zip(token_KT, log_p_K, strict=True):
        if log_p > -math.inf:  # ill-formed BIOES may spell a text again: the likeliest ids, the first, stand
            probability_of.setdefault(model.tokenizer.decode([i for i in ids if i != PAD]), math.exp(log_p))
    if not probability_of:
        raise DataError("no sequence of tags is possible for this row")
    ranked = list(probability_of.items())
    return Prediction(*ranked[0], tuple(ranked) if len(ranked) > 1 else ())


def _commonest(counts: Counter[str]) -> str:
    return min(counts, key=lambda tag: (-counts[tag], tag))


def _tokens(model: MultimodalLM, corpus: Corpus, rows: Sequence[int], name: str) -> Iterator[list[Hashable]]:
    """Yield the tokens of the tagged input of each row, as its preparer parts them, cut where that cuts."""
    preparer = model.preparers[name]
    if isinstance(preparer, NamesTokens):
        for row in rows:
            yield [*preparer.tokens(str(corpus.sample(row).inputs[name] or ""))]
        return
    for start in range(0, len(rows), _CHECKED_ROWS):
        row_N = np.array(rows[start : start + _CHECKED_ROWS])
        media, _, _ = corpus.inputs[name].fetch(row_N)
        length_U = [] if media.mask_UT is None else media.mask_UT.sum(1).tolist()
        values = media.values.tolist()
        for unit in media.row_B.tolist():
            yield [repr(value) for value in values[unit][: length_U[unit]]] if unit >= 0 else []
