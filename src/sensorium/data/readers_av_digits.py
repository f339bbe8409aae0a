"""Digits seen and heard, both through noise: a written and a spoken digit a row, paired by their label.

Enters: DIR/PART, where DIR holds `fsdd`, the recordings of the Free Spoken Digit Dataset (or a link to them).
Leaves: rows of `image` and `sound` (paths), `digit`, `speaker`.  The media are rendered once, and kept in DIR.

    av_digits:DIR/train         written digits of one share of the images, said by the training speakers
    av_digits:DIR/validation    other images, a speaker that training never heard
    av_digits:DIR/test          other images again, and another speaker

Each recording is paired with `PAIRS` images of its digit, drawn by seed; noise is drawn anew for each pair.  It is
so strong that neither the image nor the sound alone tells nine digits of ten.  The images are scikit-learn's 8x8
digits (Alpaydin and Kaynak 1998, test set), the recordings FSDD's (Jackson et al. 2018).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sensorium.core.commit import KEPT, committed_folder, verify
from sensorium.core.errors import DataError, MissingExtraError, ModelError
from sensorium.core.types import Media
from sensorium.data.locking import exclusive
from sensorium.data.readers import BadLine, Row, RowStream
from sensorium.data.readers_fsdd import read_fsdd
from sensorium.data.synthesis.speech import write_wav
from sensorium.media.audio import read_audio
from sensorium.media.policy import MediaPolicy

COLUMNS = ["image", "sound", "digit", "speaker"]
HELD_OUT = {"validation": 1, "test": 0}
"""Which speaker, counted from the last in order of their names, each part hears; training hears the others."""
IMAGE_SHARES = {"train": range(6), "validation": range(6, 8), "test": range(8, 10)}
"""Which tenths of the images belong to each part."""
PAIRS = 2
IMAGE_NOISE = 5.0
"""Standard deviation of the noise on pixels of 0..16."""
SOUND_NOISE_DB = -3.0
"""How many decibels the noise is louder than the recording; below 0, softer."""
RATE_HZ = 8000
SEED = 0
_VERSION = 1


def read_av_digits(path: Path) -> RowStream:
    """Stream the pairs of the part that `path` ends in; renders them the first time.

    Raises:
        DataError: no such part, or no recordings.
        MissingExtraError: scikit-learn, which holds the images, is not installed.
        DiskError: the media cannot be kept.
    """
    part = path.name
    if part not in IMAGE_SHARES:
        advice = f"choose {', '.join(IMAGE_SHARES)}"
        raise DataError(f"av_digits has no part '{part}'", where=str(path), advice=advice)
    if not (path.parent / "fsdd").is_dir():
        advice = "put the recordings of the Free Spoken Digit Dataset there, or a link to their folder"
        raise DataError("no such folder", where=str(path.parent / "fsdd"), advice=advice)
    settings = [_VERSION, part, PAIRS, IMAGE_NOISE, SOUND_NOISE_DB, SEED]
    key = hashlib.blake2b(json.dumps(settings).encode(), digest_size=6).hexdigest()
    folder = path.parent / f"{part}-{key}"
    with exclusive(path.parent / f".{folder.name}.lock"):
        if not _is_rendered(folder):
            _render(part, path.parent / "fsdd", folder)
    rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    return RowStream(list(COLUMNS), _rows(rows, folder))


def _is_rendered(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        verify(folder)
    except ModelError:
        return False
    return True


def _rows(rows: list[dict[str, str]], folder: Path) -> Iterator[Row | BadLine]:
    for number, cells in enumerate(rows, start=1):
        media = {name: str((folder / cells[name]).resolve()) for name in ("image", "sound")}
        yield Row(number, {**cells, **media})


def _render(part: str, recordings: Path, folder: Path) -> None:
    image_DNP = _images(IMAGE_SHARES[part])
    spoken = _recordings(part, recordings)
    rows = []
    with committed_folder(folder, KEPT) as draft:
        for number, cells in enumerate(spoken):
            samples_N = read_audio(Media(path=Path(cells["recording"])), MediaPolicy(), RATE_HZ)
            digit = int(cells["digit"])
            for pair in range(PAIRS):
                random = np.random.default_rng([SEED, list(IMAGE_SHARES).index(part), number, pair])
                image_P = image_DNP[digit][random.integers(len(image_DNP[digit]))]
                name = f"{number:04d}-{pair}"
                (draft / f"{name}.png").write_bytes(noisy_png(image_P, random))
                write_wav(draft / f"{name}.wav", noisy_sound(samples_N, random), RATE_HZ)
                media = {"image": f"{name}.png", "sound": f"{name}.wav"}
                rows.append({**media, "digit": cells["digit"], "speaker": cells["speaker"]})
        (draft / "rows.json").write_text(json.dumps(rows), encoding="utf-8")


def _images(tenths: range) -> list[npt.NDArray[np.float64]]:
    """Return by digit the images (N, 64) of these tenths, pixels of 0..16."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        advice = "pip install 'sensorium[demo]'"
        raise MissingExtraError(
            "scikit-learn, which holds the 8x8 digits, is not installed", advice=advice
        ) from None
    found: Any = load_digits()
    image_NP, digit_N = found.data, found.target
    tenth_N = np.random.default_rng(SEED).permutation(len(digit_N)) % 10
    here_N = np.isin(tenth_N, list(tenths))
    return [image_NP[here_N & (digit_N == digit)] for digit in range(10)]


def _recordings(part: str, folder: Path) -> list[dict[str, str]]:
    """Return the recordings of the part's speakers, in order of their names."""
    rows = [row for half in ("train", "test") for row in read_fsdd(folder / half).rows if isinstance(row, Row)]
    speakers = sorted({row.cells["speaker"] for row in rows})
    if len(speakers) < len(IMAGE_SHARES):
        raise DataError(f"{len(speakers)} speakers are too few to hold two out", where=str(folder))
    held_out = {name: speakers[-1 - number] for name, number in HELD_OUT.items()}
    heard = {held_out[part]} if part in held_out else set(speakers) - set(held_out.values())
    return sorted(
        (row.cells for row in rows if row.cells["speaker"] in heard), key=lambda cells: cells["recording"]
    )


def noisy_png(image_P: npt.NDArray[np.float64], random: np.random.Generator) -> bytes:
    """Add noise to an 8x8 image of 0..16 and write it as a grey PNG."""
    noisy_P = image_P + random.normal(0, IMAGE_NOISE, image_P.shape)
    grey_HW = np.clip(noisy_P * (255 / 16), 0, 255).astype(np.uint8).reshape(8, 8)
    file = io.BytesIO()
    Image.fromarray(grey_HW).save(file, "PNG")
    return file.getvalue()


def noisy_sound(samples_N: npt.NDArray[np.float32], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Add white noise `SOUND_NOISE_DB` louder than the sound; the result is scaled into -1..1."""
    power = float(np.mean(samples_N.astype(np.float64) ** 2))
    noise_N = random.normal(0, np.sqrt(power * 10 ** (SOUND_NOISE_DB / 10)), len(samples_N))
    mixed_N = samples_N + noise_N
    scaled_N: npt.NDArray[np.float32] = (mixed_N / max(np.abs(mixed_N).max(), 1e-9) * 0.9).astype(np.float32)
    return scaled_N
