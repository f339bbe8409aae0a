"""Recognisers that learned from other people's speech, on the rows that ours are judged on.

python benchmarks/recognisers.py digits  --data "fsdd:../shared/data/fsdd/test"
python benchmarks/recognisers.py captions --data "spoken-captions:runs/spoken_captions/test" --max-rows 100

pocketsphinx: its English acoustic model and, for digits, a grammar of the ten words, for captions its own trigram
and dictionary.  Whisper tiny.en: the whole packaged model through CTranslate2, one beam, no grammar.  Neither has
seen the rows; word errors are counted over lower-case words without punctuation.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record
from numpy.typing import NDArray

from sensorium.core.types import Media
from sensorium.data.readers_fsdd import WORDS
from sensorium.data.table import Table
from sensorium.evaluation.metrics_error_rate import word_error_rate
from sensorium.media.audio import read_audio
from sensorium.media.packaged import packaged_files
from sensorium.media.policy import MediaPolicy
from sensorium.media.whisper_mel import NUM_MELS, RATE_HZ, whisper_log_mel

Recogniser = Callable[[NDArray[np.float32]], str]
KINDS = {"digits": ("recording", "word"), "captions": ("speech", "text")}
PADDING_S = 0.2  # silence before and after, which pocketsphinx wants: its noise is estimated there


def pocketsphinx_recogniser(kind: str) -> Recogniser:
    """Make a recogniser of pocketsphinx's own models; of digits alone where that is the kind."""
    import pocketsphinx

    settings: dict[str, Any] = {"loglevel": "FATAL"}
    if kind == "digits":
        settings["lm"] = None
    decoder = pocketsphinx.Decoder(**settings)
    if kind == "digits":
        grammar = f"#JSGF V1.0; grammar digits; public <digit> = {' | '.join(WORDS)};"
        decoder.add_jsgf_string("digits", grammar)
        decoder.activate_search("digits")
    silence_N = np.random.default_rng(0).normal(0, 1e-4, round(PADDING_S * RATE_HZ)).astype(np.float32)

    def recognise(samples_N: NDArray[np.float32]) -> str:
        padded_N = np.concatenate([silence_N, samples_N, silence_N])
        decoder.start_utt()
        decoder.process_raw((padded_N * 32767).astype(np.int16).tobytes(), full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        return "" if found is None else str(found.hypstr)

    return recognise


def whisper_recogniser() -> Recogniser:
    """Make a recogniser of all of Whisper tiny.en, decoder included."""
    import ctranslate2
    import torch
    from tokenizers import Tokenizer

    files = packaged_files("whisper-tiny.en")
    model = ctranslate2.models.Whisper(str(files["model.bin"].parent), compute_type="float32", intra_threads=1)
    tokenizer = Tokenizer.from_file(str(files["tokenizer.json"]))
    prompt = [tokenizer.token_to_id("<|startoftranscript|>"), tokenizer.token_to_id("<|notimestamps|>")]

    def recognise(samples_N: NDArray[np.float32]) -> str:
        mel_TM = whisper_log_mel(torch.from_numpy(samples_N[: 30 * RATE_HZ]), 3000).numpy()
        full_TM = np.concatenate([mel_TM, np.broadcast_to(mel_TM[-1:], (3000 - len(mel_TM), NUM_MELS))])
        features = ctranslate2.StorageView.from_array(np.ascontiguousarray(full_TM.T[None]))
        ids = model.generate(features, [prompt], beam_size=1)[0].sequences_ids[0]
        return str(tokenizer.decode(ids, skip_special_tokens=True))

    return recognise


RECOGNISERS: dict[str, Callable[[str], Recogniser]] = {
    "pocketsphinx": pocketsphinx_recogniser,
    "whisper-tiny.en": lambda _: whisper_recogniser(),
}


def plain(text: str, kind: str) -> str:
    """Return lower-case words; a digit that was written as one is spelled out."""
    text = text.lower()
    if kind == "digits":
        text = re.sub(r"\d", lambda digit: WORDS[int(digit[0])], text)
    return " ".join(re.findall(r"[a-z']+", text))


def main() -> None:
    """Recognise every row with each recogniser, write the result file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--data", required=True)
    parser.add_argument("--max-rows", type=int, help="so many, evenly spread over the table")
    args = parser.parse_args()
    sound, text = KINDS[args.kind]
    table = Table.open(args.data, Path.cwd())
    spread = np.linspace(0, len(table) - 1, min(args.max_rows or len(table), len(table))).round().astype(int)
    rows = [table.row(int(i)) for i in spread]
    clips = [read_audio(Media(path=Path(row[sound])), MediaPolicy(), RATE_HZ) for row in rows]
    right = [plain(row[text], args.kind) for row in rows]
    facts: dict[str, Any] = {"data": args.data, "rows": len(rows)}
    for name, make in RECOGNISERS.items():
        recognise = make(args.kind)
        began = time.process_time()
        said = [plain(recognise(clip), args.kind) for clip in clips]
        facts[name] = {
            "wer": word_error_rate(said, right),
            "exact": float(np.mean([a == b for a, b in zip(said, right, strict=True)])),
            "cpu_s_a_second_of_sound": (time.process_time() - began) / (sum(map(len, clips)) / RATE_HZ),
        }
        print(name, facts[name], said[:5], flush=True)
    record.write(f"recognisers_{args.kind}", facts)


if __name__ == "__main__":
    main()
