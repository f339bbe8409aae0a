"""Embeddings that begin with vectors learned from the run's own training texts.

Enters: a model and the training corpus.  Leaves: the model, its embeddings filled.  Vectors are a function of
the texts, the vocabulary and `learned_vectors` (its seed included) alone, so a resumed run learns the same;
they are kept in the cache by a digest of all three.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from sensorium.core.commit import write_atomic
from sensorium.core.vocabulary import Vocab
from sensorium.data.corpus import Corpus
from sensorium.data.word_vectors import WordVectors
from sensorium.data.word_vectors_training import WordVectorConfig, train_word_vectors
from sensorium.encoders.text_input import begin_with
from sensorium.model.multimodal import MultimodalLM

log = logging.getLogger(__name__)

_ALGORITHM = "strips 1"  # part of the digest: change it with what training does
_UNITS_AT_ONCE = 4096


def begin_with_learned(
    model: MultimodalLM, train: Corpus, cache: Path | None, inputs: Collection[str] | None = None
) -> dict[str, int]:
    """Learn vectors for every input that asks for them and begin its embedding with them.

    Args:
        cache: where they are kept for the next run; None = nowhere.
        inputs: those that are looked at; None = all.

    Returns how many words of each such input have a vector.

    Raises:
        DataError: the texts have no two words side by side.
    """
    found = {}
    for name, choice in model.config.inputs.items():
        training = getattr(choice.options, "learned_vectors", None)
        if training is None or (inputs is not None and name not in inputs):
            continue
        encoder: Any = model.encoders[name]
        config = WordVectorConfig(**training.model_dump(), width=encoder.embed.embedding_dim)
        vectors = _learned(list(distinct_texts(train, name)), encoder.vocab, config, cache)
        found[name] = begin_with(encoder, vectors)
        log.info("%s: %s vectors of %d of %d words", name, config.method, found[name], len(encoder.vocab))
    return found


def distinct_texts(corpus: Corpus, name: str) -> Iterator[list[int]]:
    """Yield the ids of each text of an input, once however many rows share it."""
    text_input = corpus.inputs[name]
    unit_K = np.unique(text_input.unit_N[text_input.unit_N >= 0]).astype(np.int64)
    for start in range(0, len(unit_K), _UNITS_AT_ONCE):
        fetched = text_input.store.fetch(unit_K[start : start + _UNITS_AT_ONCE])
        length_U = torch.full((len(fetched.values),), fetched.values.shape[1])
        if fetched.mask is not None:
            length_U = fetched.mask.sum(1)
        for token_T, length in zip(fetched.values, length_U.tolist(), strict=True):
            yield token_T[:length].tolist()


def _learned(texts: list[list[int]], vocab: Vocab, config: WordVectorConfig, cache: Path | None) -> WordVectors:
    if cache is None:
        return train_word_vectors(texts, vocab, config)
    path = cache / "word_vectors" / f"{_digest(texts, vocab, config)}.safetensors"
    if (kept := _kept(path)) is not None:
        return WordVectors(tuple(vocab.tokens[i] for i in kept["id_N"].tolist()), kept["x_ND"])
    vectors = train_word_vectors(texts, vocab, config)
    id_N = torch.tensor([vocab.id(word) for word in vectors.words])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, save({"id_N": id_N, "x_ND": vectors.x_VD}))
    return vectors


def _kept(path: Path) -> dict[str, Tensor] | None:
    """Return what was kept; None where there is nothing, or nothing whole."""
    if not path.exists():
        return None
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        log.warning("%s: cannot be read (%s); the vectors are learned again", path, error)
        return None


def _digest(texts: list[list[int]], vocab: Vocab, config: WordVectorConfig) -> str:
    digest = hashlib.sha256(f"{_ALGORITHM}\n{vocab.fingerprint}\n{config.model_dump_json()}\n".encode())
    for text in texts:
        digest.update(np.array([len(text), *text], np.int64).tobytes())
    return digest.hexdigest()
