"""Write down what is said, with the time of every word, or find that nothing is.

Enters: a model and a batch.  Leaves: one `Transcription` a row.
A model of CTC and scorers that count texts is searched frame by frame (`decoding.ctc_beam`), the counting ones
mixed in; any other model writes freely, by what it is conditioned on, and then words have no times.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from operator import is_
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sensorium.core.config import Source
from sensorium.core.errors import ConfigError
from sensorium.core.protocols import CountingScorer
from sensorium.core.types import Batch
from sensorium.core.vocabulary import UNK
from sensorium.data.list_cells import Means
from sensorium.data.tokenizers import Tokenizer
from sensorium.decoding.config import CTCDecoding, DecodingConfig
from sensorium.decoding.ctc_alignment import align, text_of_each, timed_words
from sensorium.decoding.ctc_beam import CTCBeam, greedy
from sensorium.decoding.ctc_language import TokenLanguage
from sensorium.decoding.ctc_layer import Layer
from sensorium.decoding.hot_words import HotWords, spelled
from sensorium.language.ctc import CTC
from sensorium.language.ctc_lattice import LEAST
from sensorium.model.multimodal import MultimodalLM
from sensorium.tasks.long_recordings import Window, join
from sensorium.tasks.task import Prediction, write
from sensorium.tasks.transcription import NOTHING, Transcription, mean_confidence

DELIMITER = " "
_READ_BY_FRAMES = ("ctc", "allow_unknown")
_OF_COUNTS = ("alpha", "beta")
SILENT = 1e-3
"""A sound whose prepared frames all stay below this is silence (see `LogMelPreparer`)."""


class Transcribe:
    """Speech to text."""

    name = "transcribe"
    tokenizer = "character"
    metrics = ("wer", "cer")
    many_references = False
    lists: Means = "rows"

    def __init__(self) -> None:
        self._kept: tuple[FrameDecoder, DecodingConfig, list[Tensor]] | None = None

    def is_closed(self, num_answers: int) -> bool:
        """Write freely."""
        return False

    def decode(self, model: MultimodalLM, batch: Batch, decoding: DecodingConfig) -> list[Transcription]:
        """Transcribe every row."""
        ctc = next((part for part in model.parts.values() if isinstance(part, CTC)), None)
        others = [part for part in model.parts.values() if part is not ctc]
        is_silent = silence(batch)
        if ctc is None or not spelled_by_frames([type(part) for part in model.parts.values()]):
            written = write(model, batch, decoding)
            return [_without_times(each, quiet) for each, quiet in zip(written, is_silent, strict=True)]
        heard = ctc.emissions(model.condition(batch))
        log_y_BFV, length_B = heard.log_y_BFV.cpu().numpy(), heard.length_B.tolist()
        decoder = self._decoder(model, decoding, others)
        step_s = seconds_per_frame(model, ctc, batch, log_y_BFV.shape[1])
        return [
            NOTHING if quiet or not length else decoder(log_y_FV[:length], step_s)
            for log_y_FV, length, quiet in zip(log_y_BFV, length_B, is_silent, strict=True)
        ]

    def join(self, heard: Sequence[Transcription], parts: Sequence[Window], rate_hz: int) -> Transcription:
        """Write what was heard in the windows of one recording as one transcription."""
        return join(heard, parts, rate_hz)

    def _decoder(self, model: MultimodalLM, settings: DecodingConfig, scorers: Sequence[Any]) -> FrameDecoder:
        """Keep the decoder, whose tables take a while, as long as settings and counts stay the same."""
        counts = [buffer for scorer in scorers for buffer in scorer.buffers()]
        if self._kept is not None:
            decoder, kept_settings, kept_counts = self._kept
            same_counts = len(counts) == len(kept_counts) and all(map(is_, counts, kept_counts))
            if decoder.tokenizer is model.tokenizer and settings == kept_settings and same_counts:
                return decoder
        decoder = FrameDecoder(model.tokenizer, settings.ctc, scorers, allow_unknown=settings.allow_unknown)
        self._kept = (decoder, settings, counts)
        return decoder


def spelled_by_frames(scorers: Collection[type]) -> bool:
    """Say whether a model of these scorers is searched frame by frame: CTC, and others that count texts alone."""
    others = [scorer for scorer in scorers if not issubclass(scorer, CTC)]
    return len(others) == len(scorers) - 1 and all(issubclass(scorer, CountingScorer) for scorer in others)


def require_obeyed(decoding: DecodingConfig, scorers: Collection[type], source: Source) -> None:
    """Check that a transcribing model of these scorers obeys its settings.

    Raises:
        ConfigError: a setting that the search over frames does not read, or one that it alone does; one that weighs
            counting scorers where there are none.
    """
    default = DecodingConfig()
    changed = [name for name in DecodingConfig.model_fields if getattr(decoding, name) != getattr(default, name)]
    if spelled_by_frames(scorers):
        unread, searched = [name for name in changed if name not in _READ_BY_FRAMES], "frame by frame"
        advice = "leave it out; set width, alpha, beta, ... in [decoding.ctc]"
    else:
        unread, searched = [name for name in changed if name == "ctc"], "token by token"
        advice = "it is for models of ctc and scorers that count texts alone (ngram, infinigram, hmm)"
    if unread:
        what = f"'{unread[0]}' is not read: this model is searched {searched}"
        raise ConfigError(what, where=source.where(f"decoding.{unread[0]}"), advice=advice)
    of_counts = [name for name in _OF_COUNTS if getattr(decoding.ctc, name) != getattr(default.ctc, name)]
    if of_counts and len(scorers) == 1:
        what = f"'{of_counts[0]}' is not read: no scorer that counts texts stands beside ctc"
        advice = "leave it out, or add 'ngram' to language.scorers"
        raise ConfigError(what, where=source.where(f"decoding.ctc.{of_counts[0]}"), advice=advice)


class FrameDecoder:
    """Transcribe the frames of one recording.

    Args:
        tokenizer: whose tokens are the classes, and which says what they read as; PAD is the blank.
        settings: of the search.
        scorers: scorers that count texts alone, over the same tokens, mixed in.
        allow_unknown: whether the unknown word may be written.

    Raises:
        UsageError: a hot word that cannot be written.
    """

    def __init__(
        self, tokenizer: Tokenizer, settings: CTCDecoding, scorers: Sequence[Any], *, allow_unknown: bool = False
    ) -> None:
        self.tokenizer, self.allow_unknown = tokenizer, allow_unknown
        self.vocab = vocab = tokenizer.vocab
        self.delimiter = vocab.id(DELIMITER) if DELIMITER in vocab else None
        self.is_greedy = settings.width == 1 and not settings.hot_words
        self.beam = CTCBeam(width=settings.width, least_log_p=settings.least_log_p, gap=settings.gap)
        share = settings.alpha / max(len(scorers), 1)
        self.layers: list[Layer] = [TokenLanguage(scorer, alpha=share) for scorer in scorers if settings.alpha]
        for layer in self.layers[:1]:
            assert isinstance(layer, TokenLanguage)
            layer.beta = settings.beta
        if settings.hot_words:
            boosts = spelled(tokenizer, settings.hot_words)
            self.layers.append(HotWords(boosts, num_classes=len(vocab), delimiter=self.delimiter))

    def __call__(self, log_y_FV: NDArray[np.float32], seconds_per_frame: float) -> Transcription:
        """Return the best text of frames (F, V), with its words' times."""
        # As `CTC.emissions` has it: a class of probability 0 could part what is searched from what is aligned.
        log_y_FV = np.maximum(log_y_FV, LEAST)
        if not self.allow_unknown:
            log_y_FV[:, UNK] = LEAST
        tokens = greedy(log_y_FV) if self.is_greedy else self._search(log_y_FV)
        text = self.tokenizer.decode(tokens).strip()
        pieces = text_of_each(tokens, self.tokenizer.decode)
        words = timed_words(align(log_y_FV, tokens), pieces, DELIMITER, seconds_per_frame)
        if not text:
            return NOTHING
        mean = mean_confidence(words)
        return Transcription(text, mean, ((text, mean),), tuple(words))

    def _search(self, log_y_FV: NDArray[np.float32]) -> tuple[int, ...]:
        found = self.beam(log_y_FV, self.layers)
        return found[0].tokens if found else ()


def silence(batch: Batch) -> list[bool]:
    """Say for each row whether all it has to say is silence: frames without any sound, in every input it has."""
    is_silent_B = np.ones(batch.num_rows, bool)
    for media in batch.inputs.values():
        if media.mask_UT is None or not media.values.is_floating_point():
            is_silent_B &= (media.row_B < 0).cpu().numpy()
            continue
        real_UTF = media.values.float() * media.mask_UT[..., None]
        is_quiet_U = (real_UTF.abs().flatten(1).amax(1) < SILENT) if real_UTF.numel() else media.row_B[:0] == 0
        quiet = np.append(is_quiet_U.cpu().numpy(), True)  # the last stands for a missing input, row -1
        if media.list_SK is not None:
            quiet = np.append(quiet[media.list_SK.cpu().numpy()].all(1), True)
        is_silent_B &= quiet[media.row_B.cpu().numpy()]
    return [bool(quiet) for quiet in is_silent_B]


def seconds_per_frame(model: MultimodalLM, ctc: CTC, batch: Batch, num_frames: int) -> float:
    """Return the distance of the encoder's positions: the hop of its frames times how many it joins."""
    name = ctc.config.input or next(iter(batch.inputs))
    hop_ms = getattr(model.preparers[name], "hop_ms", 0.0)
    stride = getattr(model.encoders[name], "stride", None)
    joined = stride or (round(batch.inputs[name].values.shape[1] / num_frames) if num_frames else 0)
    return float(hop_ms) / 1000 * joined


def _without_times(written: Prediction, is_silent: bool) -> Transcription:
    if is_silent or not written.text.strip():
        return NOTHING
    return Transcription(written.text, written.probability, written.alternatives)
