"""Frames a second of CTC beam search: ours, and pyctcdecode where it is installed in another environment.

    python benchmarks/ctc_beam.py
    python benchmarks/ctc_beam.py --pyctcdecode /path/to/python     # one with pyctcdecode, numpy 1 (and kenlm)

Posteriors are made as trained networks give them: 500 frames of 33 classes, blank almost sure in most frames, a
token spread over one to three frames, and in one place of six another letter likelier than the right one.
What is spelled are sentences of a Markov chain over a lexicon of words, which the n-gram has counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record

from sensorium.core.vocabulary import BOS, EOS, PAD, Vocab
from sensorium.decoding.ctc_beam import CTCBeam, greedy
from sensorium.decoding.ctc_language import TokenLanguage, WordLanguage
from sensorium.evaluation.metrics_error_rate import word_error_rate
from sensorium.language.ngram import Ngram

FRAMES, WIDTH = 500, 100
LETTERS = "abcdefghijklmnopqrstuvwxyz' "
# With the four special tokens, of which PAD is the blank, 33 classes: one is a sign that nobody writes.
VOCAB = Vocab.of([*LETTERS, "-"])
NUM_WORDS, NUM_SENTENCES = 2_000, 5_000


def language(rng: np.random.Generator) -> tuple[list[str], Callable[[], list[int]]]:
    """Return words, and what draws sentences of them (each word has forty that may follow)."""
    words: set[str] = set()
    while len(words) < NUM_WORDS:
        words.add("".join(rng.choice(list("etaoinshrdlucmfwygpbvk"), int(rng.integers(2, 9)))))
    follow = rng.integers(0, NUM_WORDS, (NUM_WORDS, 40))
    share = 1 / np.arange(1, 41)

    def sentence() -> list[int]:
        said = [int(rng.integers(NUM_WORDS))]
        while len(said) < 60:
            said.append(int(follow[said[-1], rng.choice(40, p=share / share.sum())]))
        return said

    return sorted(words), sentence


def posteriors(tokens: list[int], rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Return log-probabilities (500, 33) that spell as many of `tokens` as fit, and how many do."""
    logit_FV = rng.normal(-9, 1.5, (FRAMES, len(VOCAB)))
    logit_FV[:, PAD] = rng.normal(1.5, 1.0, FRAMES)
    frame, done = 3, 0
    while done < len(tokens):
        length = int(rng.integers(1, 4))
        if frame + length + 3 > FRAMES:
            break
        for f in range(frame, frame + length):
            logit_FV[f, PAD] = rng.normal(-3, 2)
            logit_FV[f, tokens[done]] = rng.normal(2, 1)
            if rng.random() < 0.5:
                logit_FV[f, rng.integers(4, len(VOCAB))] = rng.normal(0, 1.5)
        if rng.random() < 1 / 6:
            logit_FV[frame : frame + length, rng.integers(4, len(VOCAB))] = rng.normal(2.5, 1)
        frame += length + int(rng.integers(1, 6))
        done += 1
    logit_FV[:, [BOS, EOS]] = -40
    return (logit_FV - np.logaddexp.reduce(logit_FV, axis=1, keepdims=True)).astype(np.float32), done


def timed(decode: Callable[[np.ndarray], str], sounds: list[np.ndarray]) -> tuple[list[str], list[float]]:
    texts, seconds = [], []
    for sound in sounds:
        started = time.perf_counter()
        texts.append(decode(sound))
        seconds.append(time.perf_counter() - started)
    return texts, seconds


def facts(texts: list[str], references: list[str], seconds: list[float]) -> dict[str, Any]:
    return {
        "frames_per_second": round(FRAMES * len(seconds) / sum(seconds)),
        "frames_per_second_median": round(FRAMES / statistics.median(seconds)),
        "frames_per_second_first": round(FRAMES / seconds[0]),
        "wer": round(word_error_rate(texts, references), 4),
    }


def text_of(tokens: tuple[int, ...]) -> str:
    return "".join(VOCAB.tokens[token] for token in tokens)


def ours(words: list[str], sentences: list[list[int]], by_word: Ngram) -> dict[str, Callable[[np.ndarray], str]]:
    word_vocab = by_word.vocab
    by_letter = Ngram(Ngram.Config(order=6), VOCAB, 1)
    by_letter.fit([BOS, *VOCAB.ids(list(" ".join(words[i] for i in said))), EOS] for said in sentences)
    spelling = {word_vocab.id(word): VOCAB.ids(list(word)) for word in words}
    through_words = WordLanguage(
        by_word, spelling, delimiter=VOCAB.id(" "), num_classes=len(VOCAB), alpha=0.5, beta=1.5
    )
    by_tokens = TokenLanguage(by_letter, alpha=0.5, beta=1.0)
    beam = CTCBeam(width=WIDTH, least_log_p=-5.0, gap=10.0)
    return {
        "greedy": lambda sound: text_of(greedy(sound)),
        "beam": lambda sound: text_of(beam(sound)[0].tokens),
        "beam, word trigram through a lexicon": lambda sound: text_of(beam(sound, [through_words])[0].tokens),
        "beam, 6-gram over letters": lambda sound: text_of(beam(sound, [by_tokens])[0].tokens),
    }


def write_arpa(ngram: Ngram, path: Path) -> None:
    """Write the n-gram in ARPA's format, so that both sides score by the same numbers."""
    names, starts = ngram.vocab.tokens, ngram.level_start_.tolist()
    key_N, log_p_N = ngram.key_.tolist(), (ngram.log_p_ / np.log(10)).tolist()
    backoff_C = (ngram.log_backoff_ / np.log(10)).tolist()
    spelled = list(names)
    for key in key_N:
        context, word = divmod(key, len(names))
        spelled.append(f"{spelled[context]} {names[word]}")
    ends = [*starts[1:], len(log_p_N)]
    levels = [(a, b) for a, b in zip(starts, ends, strict=True) if a < b]
    lines = ["\\data\\", *(f"ngram {i}={b - a}" for i, (a, b) in enumerate(levels, start=1))]
    for number, (first, end) in enumerate(levels, start=1):
        lines += ["", f"\\{number}-grams:"]
        for node in range(first, end):
            backoff = f"\t{backoff_C[node]:.6f}" if node < len(backoff_C) else ""
            lines.append(f"{max(log_p_N[node], -99.0):.6f}\t{spelled[node]}{backoff}")
    path.write_text("\n".join([*lines, "", "\\end\\", ""]))


_THEIRS = """
import json, sys, time, importlib.metadata
import numpy as np
from pyctcdecode import build_ctcdecoder
folder = sys.argv[1]
job = json.load(open(folder + "/job.json"))
arpa = folder + "/words.arpa" if job["arpa"] else None
decoder = build_ctcdecoder(job["labels"], arpa, job["words"] if arpa else None, alpha=0.5, beta=1.5)
sounds = np.load(folder + "/sounds.npy")
texts, seconds = [], []
for sound in sounds:
    started = time.perf_counter()
    texts.append(decoder.decode(sound, beam_width=job["width"], token_min_logp=-5.0, beam_prune_logp=-10.0))
    seconds.append(time.perf_counter() - started)
version = importlib.metadata.version("pyctcdecode")
json.dump({"texts": texts, "seconds": seconds, "version": version}, open(folder + "/found.json", "w"))
"""


def theirs(
    python: str, words: list[str], sounds: list[np.ndarray], references: list[str], by_word: Ngram | None
) -> dict[str, Any]:
    labels = ["", *("\u2047" if i < 4 else token for i, token in enumerate(VOCAB.tokens) if i > 2)]
    kept = [PAD, *range(3, len(VOCAB))]
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/sounds.npy", np.stack(sounds)[:, :, kept])
        if by_word is not None:
            write_arpa(by_word, Path(folder, "words.arpa"))
        job = {"labels": labels, "words": words, "arpa": by_word is not None, "width": WIDTH}
        Path(folder, "job.json").write_text(json.dumps(job))
        subprocess.run([python, "-c", _THEIRS, folder], check=True)
        found = json.loads(Path(folder, "found.json").read_text())
    return {"version": found["version"], **facts(found["texts"], references, found["seconds"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sounds", type=int, default=20)
    parser.add_argument("--pyctcdecode", help="a Python that has pyctcdecode")
    parser.add_argument("--out", type=Path, default=record.RESULTS)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    words, sentence = language(rng)
    sounds, references = [], []
    for _ in range(arguments.sounds):
        text = " ".join(words[i] for i in sentence())
        sound, num_spelled = posteriors(VOCAB.ids(list(text)), rng)
        sounds.append(sound)
        references.append(text[:num_spelled].strip())
    results: dict[str, Any] = {}
    sentences = [sentence() for _ in range(NUM_SENTENCES)]
    word_vocab = Vocab.of(words)
    by_word = Ngram(Ngram.Config(order=3), word_vocab, 1)
    by_word.fit([BOS, *(word_vocab.id(words[i]) for i in said), EOS] for said in sentences)
    for name, decode in ours(words, sentences, by_word).items():
        results[name] = facts((found := timed(decode, sounds))[0], references, found[1])
    if arguments.pyctcdecode:
        for name, ngram in {"pyctcdecode": None, "pyctcdecode, the same word trigram in kenlm": by_word}.items():
            results[name] = theirs(arguments.pyctcdecode, words, sounds, references, ngram)
    active = float(np.mean([(sound[:, 3:] > -5).any(1).mean() for sound in sounds]))
    record.write(
        "ctc_beam",
        {
            "frames": FRAMES,
            "classes": len(VOCAB),
            "beam": WIDTH,
            "sounds": len(sounds),
            "share_of_frames_with_a_token_above_the_threshold": round(active, 3),
            "load_average_before": os.getloadavg()[0],
            "results": results,
        },
        arguments.out,
    )


if __name__ == "__main__":
    main()
