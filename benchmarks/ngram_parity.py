"""Our Kneser-Ney beside KenLM's golden output: n-grams, sentences, perplexities; the last line is one JSON object.

python benchmarks/ngram_parity.py ../shared/data/ngram [--record]

DIR holds books_train_1m.txt, books_heldout.txt and golden/ (train_1500.txt with its ARPA file, scores of lines).
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import record

from sensorium.language.arpa import read_arpa, write_arpa
from sensorium.workflow.text_ngram import TextNgram, TextScore, lines_of, score_lines, train_text

LN_10 = np.log(10)


def arpa_differences(folder: Path, draft: Path) -> dict[str, float]:
    """Train on the golden text, write ARPA, read both files and compare them n-gram by n-gram."""
    ours = train_text(folder / "train_1500.txt", order=4).scorer
    write_arpa(ours.vocab, ours.tables, draft)
    (vocab, mine), (their_vocab, theirs) = read_arpa(draft), read_arpa(folder / "train_1500.o4.arpa.gz")
    mine_by_words, theirs_by_words = by_words(vocab.tokens, mine), by_words(their_vocab.tokens, theirs)
    shared = mine_by_words.keys() & theirs_by_words.keys()
    p_and_b = np.array([[mine_by_words[words], theirs_by_words[words]] for words in shared])
    worst = np.nanmax(np.abs(p_and_b[:, 0] - p_and_b[:, 1]), axis=0)
    return {
        "ngrams": len(shared),
        "ngrams_only_in_one": len(mine_by_words.keys() ^ theirs_by_words.keys()),
        "worst_log10_p_difference": float(worst[0]),
        "worst_log10_backoff_difference": float(worst[1]),
    }


def by_words(tokens, tables) -> dict[tuple[str, ...], tuple[float, float]]:
    """Return (log10 p, log10 b) by words; b is 0 at the highest order, p is 0 for <s>."""
    grams = [(token,) for token in tokens]
    for key in tables.key.tolist():
        context, last = divmod(key, len(tokens))
        grams.append((*grams[context], tokens[last]))
    log10_p = np.nan_to_num(tables.log_p / LN_10, neginf=0.0)
    log10_b = np.zeros_like(log10_p)
    log10_b[: len(tables.log_backoff)] = tables.log_backoff / LN_10
    found = dict(zip(grams, zip(log10_p.tolist(), log10_b.tolist(), strict=True), strict=True))
    del found["<pad>",]
    return found


def worst_line(model: TextNgram, folder: Path, order: int) -> float:
    """Return the greatest difference of a held-out line's log10 p from KenLM's."""
    rows = (folder / "golden" / f"heldout500.kenlm_o{order}_books1m.tsv").read_text().splitlines()
    lines = [line for line, _ in zip(lines_of(folder / "books_heldout.txt"), rows, strict=False)]
    want = np.array([float(row.split("\t")[0]) for row in rows])
    return float(np.abs(np.array([line.log10_p for line in score_lines(model, lines)]) - want).max())


def main() -> None:
    folder = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        facts: dict[str, object] = dict(arpa_differences(folder / "golden", Path(temporary) / "ours.arpa"))
    for order in (3, 5):
        model = train_text(folder / "books_train_1m.txt", order=order)
        score = TextScore.of(score_lines(model, lines_of(folder / "books_heldout.txt")))
        found = score.facts() | {"worst_line_log10_p_difference": worst_line(model, folder, order)}
        facts |= found if order == 5 else {f"order_{order}": found}
    if "--record" in sys.argv:
        record.write("ngram_parity", facts)
    for name, value in facts.items():
        print(f"{name}: {value}")
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
