"""An n-gram model of a text file: train, save, load, and judge another text by it.

Enters: UTF-8 text, one sentence a line (gzip if it ends in `.gz`).  Leaves: a tokenizer with a scorer,
kept as an ARPA file or as a folder whose tables are mapped, not read, when it is loaded:

    MODEL/
      tokenizer.json         the fitted tokenizer
      ngram.json             the order
      tables.safetensors     the scorer's buffers
      manifest.json          sizes and SHA-256, written last
"""

from __future__ import annotations

import itertools
import json
import math
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sensorium.core import text_file
from sensorium.core.commit import (
    Kind,
    committed_folder,
    disk_error,
    require_free,
    require_replaceable,
    verify,
)
from sensorium.core.errors import ConfigError, DataError, ModelError
from sensorium.core.vocabulary import BOS, EOS, UNK
from sensorium.data import tokenizers
from sensorium.data.tokenizers import Tokenizer
from sensorium.data.tokenizers.whitespace import WhitespaceTokenizer
from sensorium.language.arpa import begins_arpa, is_arpa, read_arpa, write_arpa
from sensorium.language.ngram import Ngram
from sensorium.language.ngram_counts import Ints
from sensorium.language.ngram_tables import write_tables

BLOCK_TOKENS = 1 << 17
BYTES_A_TOKEN = 128  # while a block is sorted
_SETTINGS, _TABLES = "ngram.json", "tables.safetensors"
NGRAM = Kind("n-gram model", mark=_SETTINGS)


@dataclass(frozen=True, slots=True)
class TextNgram:
    """A scorer and the tokenizer whose ids it knows."""

    tokenizer: Tokenizer
    scorer: Ngram


def train_text(
    text: Path,
    *,
    order: int = 3,
    prune: Sequence[int] = (),
    tokenizer: str = "whitespace",
    options: Mapping[str, Any] | None = None,
    memory_mib: int | None = None,
    scratch: Path | None = None,
) -> TextNgram:
    """Fit a tokenizer on the lines of `text`, then count and estimate.

    Args:
        prune: see `Ngram.Config`.
        options: the tokenizer's settings.
        memory_mib: sort about so much at a time, and keep the tables in files; None works in memory.
        scratch: the folder for those files, which are removed; the system's temporary one by default.

    Raises:
        DataError: no such file, an empty one, or a line that is not UTF-8.
        ConfigError: an unknown tokenizer, or an option out of range.
        DiskError: no space for the files.
    """
    config = Ngram.Config.parse({"order": order, "prune": prune})
    fitted = tokenizers.build(tokenizer, options).fit(lines_of(text))
    scorer = Ngram(config, fitted.vocab, width=1)
    try:
        if memory_mib is None:
            token_T = next(_blocks(fitted, lines_of(text), None), np.empty(0, np.int64))
            return TextNgram(fitted, scorer.fit_joined(token_T))
        blocks = _blocks(fitted, lines_of(text), max(1, (memory_mib << 20) // BYTES_A_TOKEN))
        return TextNgram(fitted, _fit_on_disk(scorer, blocks, scratch))
    except DataError as error:
        raise error.at(str(text)) from None


def _fit_on_disk(scorer: Ngram, blocks: Iterable[Ints], scratch: Path | None) -> Ngram:
    # The mapped files stay readable after their names are gone.
    with tempfile.TemporaryDirectory(prefix="ngram-", dir=scratch, ignore_cleanup_errors=True) as folder:
        try:
            return scorer.fit_on_disk(blocks, Path(folder))
        except OSError as error:
            raise disk_error(error, Path(folder)) from error


def describe(model: TextNgram) -> dict[str, Any]:
    """Return order, vocabulary, n-grams by length and fallen-back discounts."""
    starts = model.scorer.level_start_.tolist()
    return {
        "order": model.scorer.config.order,
        "tokenizer": model.tokenizer.name,
        "vocabulary": len(model.scorer.vocab),
        "ngrams": [end - start for start, end in itertools.pairwise(starts)],
        "discount_fallbacks": int(model.scorer.num_fallbacks_),
    }


def lines_of(path: Path) -> Iterator[str]:
    """Yield the sentences of a text file; an empty line is a sentence of no words.

    `<s>` at a line's start and `</s>` at its end are bounds, which a model has without them: they are left out.

    Raises:
        DataError: no such file, a line that is not UTF-8, or bounds inside a sentence.
    """
    try:
        for number, line in text_file.lines(path):
            yield _without_bounds(line, f"{path}:{number}") if "<" in line else line
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=str(path)) from None


def _without_bounds(line: str, where: str) -> str:
    words = text_file.fields(line)
    begins, ends = words[:1] in (["<s>"], ["<S>"]), words[-1:] in (["</s>"], ["</S>"])
    inner = words[int(begins) : len(words) - int(ends)]
    if wrong := [word for word in inner if word.lower() in ("<s>", "</s>", "<pad>")]:
        advice = "write one sentence a line; its bounds are added"
        raise DataError(f"has '{wrong[0]}' inside a sentence", where=where, advice=advice)
    return " ".join(inner) if begins or ends else line


def require_place(out: Path, *, force: bool = False) -> None:
    """Refuse to write where something else stands, or, without `force`, an older model.  Raises UsageError."""
    if is_arpa(out) or not force:
        require_free(out, force=force, is_ours=begins_arpa)
    else:
        require_replaceable(out, NGRAM)


def save(model: TextNgram, out: Path) -> None:
    """Write an ARPA file if `out` is named like one, else a committed folder.

    Raises:
        ModelError: tokens that ARPA cannot say.
        DiskError: no space or no permission.
    """
    if is_arpa(out):
        write_arpa(model.scorer.vocab, model.scorer.tables, out)
        return
    with committed_folder(out, NGRAM) as draft:
        model.tokenizer.save(draft)
        (draft / _SETTINGS).write_text(json.dumps({"order": model.scorer.config.order}), encoding="utf-8")
        write_tables(model.scorer.tables, draft / _TABLES)


def load(path: Path, *, check: bool = True) -> TextNgram:
    """Open an ARPA file, or a folder that `save` wrote; its tables are mapped into memory.

    Args:
        check: whether to compare the folder's files with its manifest, which reads them once.

    Raises:
        DataError: an ARPA file that is missing or malformed.
        ModelError: no such folder, or a damaged one.
    """
    if is_arpa(path):
        vocab, tables = read_arpa(path)
        scorer = Ngram(Ngram.Config(order=len(tables.level_start) - 1), vocab, width=1)
        words: Any = WhitespaceTokenizer.of(vocab)
        return TextNgram(words, scorer.take(tables))
    if not path.is_dir():
        raise ModelError("no such model", where=str(path), advice="name a folder, or an .arpa or .arpa.gz file")
    if check:
        verify(path)
    tokenizer = tokenizers.read(path)
    try:
        config = Ngram.Config.parse(json.loads((path / _SETTINGS).read_text(encoding="utf-8")))
        scorer = Ngram(config, tokenizer.vocab, width=1)
        scorer.load_state_dict(load_file(path / _TABLES), assign=True)  # mapped, not copied
    except (SafetensorError, RuntimeError, OSError, ValueError, ConfigError) as error:
        raise ModelError(f"holds no n-gram model: {error}", where=str(path)) from None
    return TextNgram(tokenizer, scorer)


@dataclass(frozen=True, slots=True)
class LineScore:
    """One sentence: log10 of the probability of its known and of its unknown tokens; EOS is a token too.

    They are kept apart, since where an unknown token is impossible their sum does not say what the known ones have.
    """

    log10_p_known: float
    log10_p_unknown: float
    num_tokens: int
    num_unknown: int

    @property
    def log10_p(self) -> float:
        """The log10 of the sentence's probability."""
        return self.log10_p_known + self.log10_p_unknown


@dataclass(frozen=True, slots=True)
class TextScore:
    """A text under a model; perplexity is 10 ** (- log10 p / tokens), infinite where a token is impossible."""

    num_sentences: int
    num_tokens: int
    num_unknown: int
    log10_p_known: float
    log10_p_unknown: float

    @classmethod
    def of(cls, lines: Iterable[LineScore]) -> TextScore:
        """Sum over sentences."""
        rows = list(lines)
        return cls(
            num_sentences=len(rows),
            num_tokens=sum(row.num_tokens for row in rows),
            num_unknown=sum(row.num_unknown for row in rows),
            log10_p_known=math.fsum(row.log10_p_known for row in rows),
            log10_p_unknown=math.fsum(row.log10_p_unknown for row in rows),
        )

    @property
    def log10_p(self) -> float:
        """The log10 of the text's probability."""
        return self.log10_p_known + self.log10_p_unknown

    @property
    def perplexity_with_oov(self) -> float | None:
        """Perplexity of every token; None without tokens."""
        return _perplexity(self.log10_p, self.num_tokens)

    @property
    def perplexity_without_oov(self) -> float | None:
        """Perplexity of the tokens that the vocabulary has."""
        return _perplexity(self.log10_p_known, self.num_tokens - self.num_unknown)

    def facts(self) -> dict[str, Any]:
        """Return what is told to a person or a program."""
        return {
            "sentences": self.num_sentences,
            "tokens": self.num_tokens,
            "unknown": self.num_unknown,
            "log10_p": self.log10_p,
            "perplexity_with_oov": self.perplexity_with_oov,
            "perplexity_without_oov": self.perplexity_without_oov,
        }


def score_lines(model: TextNgram, lines: Iterable[str]) -> Iterator[LineScore]:
    """Score sentences, many at a time."""
    for ids in _blocks(model.tokenizer, lines, BLOCK_TOKENS):
        token_T = torch.from_numpy(ids)
        yield from _line_scores(token_T, model.scorer.score_joined(token_T))


def score_text(model: TextNgram, text: Path) -> TextScore:
    """Score every line of a text file.  Raises DataError as `lines_of`."""
    return TextScore.of(score_lines(model, lines_of(text)))


def _line_scores(token_T: Tensor, log_p_T: Tensor) -> Iterator[LineScore]:
    is_unknown_T = token_T == UNK
    line_T = (token_T == BOS).cumsum(0) - 1
    sums: list[list[Any]] = []
    log10_p_T = log_p_T.double() / math.log(10)
    known_T, unknown_T = log10_p_T.masked_fill(is_unknown_T, 0), log10_p_T.masked_fill(~is_unknown_T, 0)
    for value_T in (known_T, unknown_T, (token_T != BOS).long(), is_unknown_T.long()):
        sums.append(value_T.new_zeros(int(line_T[-1]) + 1).index_add_(0, line_T, value_T).tolist())
    return (LineScore(*row) for row in zip(*sums, strict=True))


def _blocks(tokenizer: Tokenizer, lines: Iterable[str], size: int | None) -> Iterator[Ints]:
    """Lay sentences end to end into arrays of about `size` ids, or one of all."""
    ids = array("q")
    for line in lines:
        ids.append(BOS)
        ids.extend(tokenizer.encode(line))
        ids.append(EOS)
        if size is not None and len(ids) >= size:
            yield np.frombuffer(ids, np.int64)
            ids = array("q")
    if ids:
        yield np.frombuffer(ids, np.int64)


def _perplexity(log10_p: float, num_tokens: int) -> float | None:
    if not num_tokens:
        return None
    try:
        return float(10 ** (-log10_p / num_tokens))
    except OverflowError:  # an ARPA file may say that a word has log10 p = -1000
        return math.inf
