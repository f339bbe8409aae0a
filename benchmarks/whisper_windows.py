"""What it costs that Whisper hears a short clip in a shorter window than the 30 s it was trained on.

python benchmarks/whisper_windows.py      writes results/whisper_windows.json

Spoken digits of FSDD: for each `window_s`, processor time a clip, how alike its features are to those of the 30 s
window (mean cosine), and the accuracy of ridge regression on their means, learned from four voices (120 clips) and
judged on the fifth (60 clips).
"""

from __future__ import annotations

import time
from typing import Any

import record
import torch
from torch import Tensor
from torch.nn import functional

from sensorium.core.types import Media
from sensorium.encoders.audio_packaged import AudioPackaged

WINDOWS_S = (30.0, 10.0, 5.0, 3.0, 2.0, 1.0)
HELD_OUT = "yweweler"
TRAIN_INDICES, TEST_INDICES, RIDGE = range(10, 13), range(10, 16), 10.0


def clips() -> tuple[list[Media], Tensor, Tensor]:
    """Return sounds, their digits, and which are of the held-out voice."""
    folder = record.ROOT.parent / "shared" / "data" / "fsdd"
    speakers = sorted({path.name.split("_")[1] for path in folder.glob("*.wav")})
    media, digits, held = [], [], []
    for speaker in speakers:
        for digit in range(10):
            for index in TEST_INDICES if speaker == HELD_OUT else TRAIN_INDICES:
                media.append(Media(path=folder / f"{digit}_{speaker}_{index}.wav"))
                digits.append(digit)
                held.append(speaker == HELD_OUT)
    return media, torch.tensor(digits), torch.tensor(held)


def features(media: list[Media], window_s: float) -> tuple[list[Tensor], float]:
    """Return each clip's (T, 384), and the processor time a clip."""
    config = AudioPackaged.Config(window_s=window_s)
    preparer = config.preparer()
    encoder = AudioPackaged(config, preparer, 8).load_pretrained().eval()
    values = [preparer(medium) for medium in media]
    began = time.process_time()
    with torch.no_grad():
        found = [encoder.features(*preparer.collate([value]))[0][0] for value in values]
    return found, (time.process_time() - began) / len(media)


def accuracy(mean_NF: Tensor, digit_N: Tensor, held_N: Tensor) -> float:
    """Fit ridge regression to one-hot digits of the known voices; return the share right of the other."""
    x_NF = functional.normalize(mean_NF - mean_NF[~held_N].mean(0)) * mean_NF.shape[1] ** 0.5
    known_NF, target_NC = x_NF[~held_N], functional.one_hot(digit_N[~held_N], 10).float()
    weight_NC = torch.linalg.solve(known_NF @ known_NF.T + RIDGE * torch.eye(len(known_NF)), target_NC - 0.1)
    said_N = (x_NF[held_N] @ known_NF.T @ weight_NC).argmax(1)
    return float((said_N == digit_N[held_N]).float().mean())


def main() -> None:
    """Measure each window, write the result file."""
    media, digit_N, held_N = clips()
    full: list[Tensor] = []
    rows: dict[str, Any] = {}
    for window_s in WINDOWS_S:
        found, seconds = features(media, window_s)
        full = full or found
        pairs = [
            functional.cosine_similarity(a[: len(b)], b[: len(a)]).mean() for a, b in zip(found, full, strict=True)
        ]
        mean_NF = torch.stack([x_TF.mean(0) for x_TF in found])
        rows[f"{window_s:g} s"] = {
            "cpu_ms": 1000 * seconds,
            "cosine": float(torch.stack(pairs).mean()),
            "accuracy": accuracy(mean_NF, digit_N, held_N),
        }
        print(window_s, rows[f"{window_s:g} s"], flush=True)
    record.write("whisper_windows", {"clips": len(media), "windows": rows})


if __name__ == "__main__":
    main()
