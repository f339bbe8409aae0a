"""Spoken digits, each of the five speakers held out in turn: GMM-HMM, neural classifier, hybrid, and them fused.

    python benchmarks/digits_hmm.py ../shared/data/fsdd

All read cepstra, each clip's at mean 0 and deviation 1, and are trained on every clip and two copies of it with
frequencies and time scaled by up to 15 %, as if other speakers had said it; the classifier is two networks, whose
log-probabilities are averaged.

Fused are log-probabilities: each system's are first raised to the exponent that suits it alone, then all have an
equal say.  The exponents are fitted on speakers whom the systems did not hear, and who are not the held-out one:
for each held-out speaker, systems are trained without it and without a second, on whom they are scored; each of two
others is that second in turn.  Exponents fitted together on the same scores are reported beside these.

Settings are the same everywhere.  They were chosen by trials that lacked george and jackson, and were scored on
these two; the accuracy of the three other speakers, never tried on, is given by itself.

What came out: hybrid and classifier fused are better than either, and the GMM-HMM alone is still the best on
average.  On the three speakers never tried on, GMM-HMM and classifier fused are a point better than it; on jackson,
whom it knows and both networks do not (90.7 to 72.3 and 70.7 %), they are five points worse, and on nicolas four.
Trained on four voices, which system suits a fifth differs so much by voice that two others do not tell.

Spoken years (four recordings of the held-out speaker joined) are then transcribed by Viterbi over all word models,
with every word as likely as any other, and with a bigram of other years between the words.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import record
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils.rnn import pad_sequence

from sensorium.core.types import Media
from sensorium.core.vocabulary import BOS, EOS, Vocab
from sensorium.data.cepstra import cepstra
from sensorium.data.log_mel_preparer import LogMelPreparer
from sensorium.data.table import Table
from sensorium.encoders.audio_augment import stretched, warped
from sensorium.encoders.audio_cnn import AudioCNN
from sensorium.encoders.audio_dnn import AudioDNN
from sensorium.language.bigram import log_bigram
from sensorium.language.ngram import Ngram
from sensorium.language.product_weights import fit_product_weights, log_product
from sensorium.markov.emissions import GaussianMixtures
from sensorium.markov.hybrid import HybridEmissions, fit_hybrid
from sensorium.markov.words import WordModels, fit_words

RATE_HZ, MELS, CEPSTRA, DIGITS, STATES, SPLITS = 8000, 40, 39, 10, 8, 1
COPIES, WARP, SPEED = 2, 0.15, 0.15  # other voices and paces of each clip
CONTEXT = 11  # frames that the hybrid's network sees
HYBRID_EPOCHS, NEURAL_EPOCHS, NETWORKS = 3, 4, 2  # epochs over clips and copies
TRIED_ON = ("george", "jackson")
SYSTEMS = ("gmm_hmm", "neural", "hybrid")
FUSIONS = {
    "hybrid x neural": ("neural", "hybrid"),
    "gmm_hmm x neural": ("gmm_hmm", "neural"),
    "all three": SYSTEMS,
}


@dataclass(frozen=True)
class Clip:
    digit: int
    speaker: str
    log_mel_TM: Tensor

    @property
    def frames_TF(self) -> Tensor:
        """What all systems read."""
        return cepstra(self.log_mel_TM).float()


class FrameNetwork(nn.Module):
    """Logits of every frame from the frames around it."""

    def __init__(self) -> None:
        super().__init__()
        config = AudioDNN.Config(num_mels=CEPSTRA, stack=CONTEXT, stride=1, hidden=128, layers=2, dropout=0.3)
        self.encoder = AudioDNN(config, LogMelPreparer(), width=1)
        self.head = nn.Linear(self.encoder.feature_width, DIGITS * STATES)

    def forward(self, x_UTF: Tensor, mask_UT: Tensor) -> Tensor:
        reach, length = CONTEXT // 2, x_UTF.shape[1]
        x_UTF = pad(x_UTF * mask_UT[..., None], (0, 0, reach, 0))
        features_UTF, _ = self.encoder.features(x_UTF, pad(mask_UT, (reach, 0), value=True))
        return self.head(features_UTF[:, :length])


class Classifier(nn.Module):
    """The neural model alone: convolutions, the mean and the largest over time, a digit."""

    def __init__(self) -> None:
        super().__init__()
        options = AudioCNN.Config(num_mels=CEPSTRA, channels=(64, 96, 128), dropout=0.3)
        self.encoder = AudioCNN(options, LogMelPreparer(), width=1)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(2 * self.encoder.feature_width, DIGITS)

    def forward(self, clips: list[Tensor]) -> Tensor:
        mask_UT = torch.arange(max(map(len, clips))) < torch.tensor([len(clip) for clip in clips])[:, None]
        x_UTF, mask_UT = self.encoder.features(pad_sequence(clips, batch_first=True), mask_UT)
        mean_UF = x_UTF.sum(1) / mask_UT.sum(1, keepdim=True)
        largest_UF = x_UTF.masked_fill(~mask_UT[..., None], -torch.inf).amax(1)
        return self.head(self.dropout(torch.cat([mean_UF, largest_UF], 1)))


@dataclass
class Trained:
    """The three systems, fitted to the same clips."""

    words: WordModels
    mixtures: GaussianMixtures
    hybrid: HybridEmissions
    classifiers: list[Classifier]

    def log_p(self, clips: list[Clip]) -> dict[str, Tensor]:
        """Log p(digit | clip), (B, 10), by each system; digits are equally likely beforehand."""
        frames, lengths = [clip.frames_TF for clip in clips], [len(clip.log_mel_TM) for clip in clips]
        log_e_NX = self.mixtures.log_p(torch.cat([cepstra(clip.log_mel_TM) for clip in clips]))
        with torch.no_grad():
            logits = {
                "gmm_hmm": self.words.log_likelihoods(log_e_NX, lengths),
                "hybrid": self.words.log_likelihoods(self.hybrid.log_e(frames), lengths),
                "neural": torch.stack([net(frames).double().log_softmax(1) for net in self.classifiers]).mean(0),
            }
        return {name: logits_BW.log_softmax(1) for name, logits_BW in logits.items()}


def fit_all(clips: list[Clip], seconds: dict[str, float]) -> Trained:
    """Fit the GMM-HMM; the hybrid to its alignment; the classifier."""
    torch.manual_seed(0)
    heard = [*clips, *(copy for _ in range(COPIES) for copy in other_voices(clips))]
    digits, lengths = [clip.digit for clip in heard], [len(clip.log_mel_TM) for clip in heard]
    started = time.perf_counter()
    x_NF = torch.cat([cepstra(clip.log_mel_TM) for clip in heard])
    words, mixtures = fit_words(x_NF, lengths, digits, DIGITS, states=STATES, splits=SPLITS)
    seconds["gmm_hmm"] += time.perf_counter() - started
    started = time.perf_counter()
    state_N = words.align(mixtures.log_p(x_NF), lengths, digits)
    hybrid = HybridEmissions(FrameNetwork(), DIGITS * STATES)
    frames = list(torch.split_with_sizes(x_NF.float(), lengths))
    fit_hybrid(hybrid, frames, state_N, epochs=HYBRID_EPOCHS, batch_rows=64)
    seconds["hybrid"] += time.perf_counter() - started
    started = time.perf_counter()
    classifiers = [fit_classifier(frames, torch.tensor(digits)) for _ in range(NETWORKS)]
    seconds["neural"] += time.perf_counter() - started
    return Trained(words, mixtures, hybrid, classifiers)


def other_voices(clips: list[Clip]) -> list[Clip]:
    """Copy each clip with its frequencies and its time scaled, as if another speaker had said it."""
    log_mel_UTM = pad_sequence([clip.log_mel_TM for clip in clips], batch_first=True)
    length_U = torch.tensor([len(clip.log_mel_TM) for clip in clips])
    mask_UT = torch.arange(log_mel_UTM.shape[1]) < length_U[:, None]
    warp_U, rate_U = (1 + reach * (2 * torch.rand(len(clips)) - 1) for reach in (WARP, SPEED))
    x_UTM, mask_UT = stretched(warped(log_mel_UTM, warp_U, RATE_HZ), mask_UT, rate_U)
    return [
        replace(clip, log_mel_TM=x_TM[mask_T]) for clip, x_TM, mask_T in zip(clips, x_UTM, mask_UT, strict=True)
    ]


def fit_classifier(frames: list[Tensor], digit_B: Tensor, batch_rows: int = 32) -> Classifier:
    classifier = Classifier().train()
    optimiser = torch.optim.AdamW(classifier.parameters(), weight_decay=0.02)
    steps = NEURAL_EPOCHS * -(-len(frames) // batch_rows)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.15)
    for _ in range(NEURAL_EPOCHS):
        for rows in torch.randperm(len(frames)).split(batch_rows):
            loss = cross_entropy(classifier([frames[i] for i in rows]), digit_B[rows], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return classifier.eval()


def read_clips(folder: Path) -> list[Clip]:
    preparer = LogMelPreparer(rate_hz=RATE_HZ, num_mels=MELS, normalize="none", half=False)
    tables = [Table.open(f"fsdd:{folder.resolve() / part}", Path()) for part in ("train", "test")]
    rows = [table.row(i) for table in tables for i in range(len(table))]
    return [Clip(int(row["digit"]), row["speaker"], preparer(Media(path=Path(row["recording"])))) for row in rows]


def stacked(log_p: dict[str, Tensor], names: tuple[str, ...]) -> Tensor:
    return torch.stack([log_p[name] for name in names])


def each_alone(log_p_KBW: Tensor, digit_B: Tensor) -> Tensor:
    """Give each part the exponent that suits it alone, then an equal say."""
    return torch.cat([fit_product_weights(part_BW[None], digit_B) for part_BW in log_p_KBW]) / len(log_p_KBW)


def spoken_years(trained: Trained, clips: list[Clip], seed: int) -> dict[str, tuple[int, int]]:
    """Edits and digits of 60 spoken years, by emissions and language between the words."""
    years = [str(year) for year in range(1700, 2030)]
    draw = random.Random(seed)
    held_out = draw.sample(years, 60)
    vocab = Vocab.of("0123456789")
    texts = [[BOS, *vocab.ids(year), EOS] for year in years if year not in held_out]
    bigram = log_bigram(Ngram(Ngram.Config(order=2), vocab, width=1).fit(texts), vocab.ids("0123456789"))
    uniform = torch.full_like(bigram, -math.log(DIGITS + 1))
    by_digit = defaultdict(list)
    for clip in clips:
        by_digit[clip.digit].append(clip)
    joined = [torch.cat([draw.choice(by_digit[int(d)]).log_mel_TM for d in year]) for year in held_out]
    lengths = [len(log_mel_TM) for log_mel_TM in joined]
    log_e = {
        "gmm_hmm": trained.mixtures.log_p(torch.cat([cepstra(log_mel_TM) for log_mel_TM in joined])),
        "hybrid": trained.hybrid.log_e([cepstra(log_mel_TM).float() for log_mel_TM in joined]),
    }
    facts = {}
    for name, log_e_NX in log_e.items():
        for language, table in {"any word": uniform, "bigram": bigram}.items():
            found = trained.words.transcribe(
                log_e_NX, lengths, table, weight=1.0 if language == "any word" else 5.0
            )
            edits = sum(distance(list(map(int, year)), got) for year, got in zip(held_out, found, strict=True))
            facts[f"{name}, {language}"] = (edits, 4 * len(held_out))
    return facts


def distance(want: list[int], got: list[int]) -> int:
    """Levenshtein's distance."""
    row = list(range(len(got) + 1))
    for i, a in enumerate(want, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(got, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


Scores = dict[str, list[tuple[dict[str, Tensor], Tensor]]]
"""By held-out speaker: what models without it and a second speaker say of that second one, and the digits."""


def said_by(clips: list[Clip], *names: str) -> list[Clip]:
    return [clip for clip in clips if clip.speaker in names]


def score_second_speakers(clips: list[Clip], speakers: list[str], seconds: dict[str, float]) -> Scores:
    """Fit without each speaker and its neighbour, and score each of the two for when the other is held out."""
    scores: Scores = defaultdict(list)
    for i, a in enumerate(speakers):
        b = speakers[(i + 1) % len(speakers)]
        pair = fit_all(said_by(clips, *set(speakers) - {a, b}), seconds)
        for outer, second in ((a, b), (b, a)):
            heard = said_by(clips, second)
            scores[outer].append((pair.log_p(heard), torch.tensor([clip.digit for clip in heard])))
        print("without", a, b, dict(seconds), flush=True)
    return scores


def fuse(
    log_p: dict[str, Tensor], scores: list[tuple[dict[str, Tensor], Tensor]]
) -> tuple[dict[str, Tensor], dict[str, dict[str, float]]]:
    """Return each fusion's log p(digit | clip), (B, 10), and its exponents, fitted on second speakers."""
    inner_B = torch.cat([digit_B for _, digit_B in scores])
    inner = {name: torch.cat([p[name] for p, _ in scores]) for name in SYSTEMS}
    found, weights = {}, {}
    for name, parts in FUSIONS.items():
        for way, fit in {"": each_alone, ", exponents fitted together": fit_product_weights}.items():
            weight_K = fit(stacked(inner, parts), inner_B)
            found[name + way] = log_product(stacked(log_p, parts), weight_K)
            weights[name + way] = dict(zip(parts, [round(w, 3) for w in weight_K.tolist()], strict=True))
    return found, weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--speakers", type=int, default=5, help="hold out fewer, to try")
    args = parser.parse_args()
    clips = read_clips(args.folder)
    speakers = sorted({clip.speaker for clip in clips})
    seconds: dict[str, float] = defaultdict(float)
    scores = score_second_speakers(clips, speakers, seconds)
    right: dict[str, dict[str, float]] = defaultdict(dict)
    weights: dict[str, dict[str, dict[str, float]]] = {}
    years: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, speaker in enumerate(speakers[: args.speakers]):
        trained, heard = fit_all(said_by(clips, *set(speakers) - {speaker}), seconds), said_by(clips, speaker)
        digit_B, log_p = torch.tensor([clip.digit for clip in heard]), trained.log_p(heard)
        fusions, weights[speaker] = fuse(log_p, scores[speaker])
        for name, log_p_BW in {**log_p, **fusions}.items():
            right[name][speaker] = float((log_p_BW.argmax(1) == digit_B).double().mean())
        for name, counts in spoken_years(trained, heard, number).items():
            years[name].append(counts)
        print(speaker, {name: round(by[speaker], 3) for name, by in right.items()}, flush=True)
    facts = summary(right, years) | {
        "clips": len(clips),
        "exponents_by_held_out_speaker": weights,
        "seconds_of_fitting_ten_times": dict(seconds),
    }
    if args.speakers == len(speakers):
        record.write("digits_hmm", facts)
    else:
        print(facts)


def summary(right: dict[str, dict[str, float]], years: dict[str, list[tuple[int, int]]]) -> dict[str, Any]:
    blind = {
        name: [right_ for speaker, right_ in by.items() if speaker not in TRIED_ON] for name, by in right.items()
    }
    return {
        "accuracy": {name: statistics.mean(by.values()) for name, by in right.items()},
        "accuracy_of_speakers_not_tried_on": {name: statistics.mean(by) for name, by in blind.items() if by},
        "accuracy_by_held_out_speaker": right,
        "spoken_years_word_error_rate": {
            name: sum(e for e, _ in counts) / sum(n for _, n in counts) for name, counts in years.items()
        },
    }


if __name__ == "__main__":
    main()
