"""Noisy digit pairs and NLVR as tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sensorium.core.errors import DataError
from sensorium.data.quarantine import Quarantine
from sensorium.data.readers_av_digits import IMAGE_NOISE, PAIRS, SOUND_NOISE_DB, noisy_png, noisy_sound
from sensorium.data.synthesis.speech import write_wav
from sensorium.data.table import Table

SPEAKERS = ("ann", "bob", "cid", "dan")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `fsdd`: one recording a digit and speaker."""
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("av")
    (folder / "fsdd").mkdir()
    random = np.random.default_rng(0)
    for speaker in SPEAKERS:
        for digit in range(10):
            samples_N = random.normal(0, 0.1, 1600).astype(np.float32)
            write_wav(folder / "fsdd" / f"{digit}_{speaker}_7.wav", samples_N, 8000)
    return folder


def rows_of(folder: Path, part: str) -> list[dict[str, str]]:
    table = Table.open(f"av_digits:{folder}/{part}", folder)
    return [table.row(i) for i in range(len(table))]


def test_parts_share_neither_speaker_nor_medium(digits):
    parts = {part: rows_of(digits, part) for part in ("train", "validation", "test")}
    assert {part: {row["speaker"] for row in rows} for part, rows in parts.items()} == {
        "train": {"ann", "bob"},
        "validation": {"cid"},
        "test": {"dan"},
    }
    for part, rows in parts.items():
        assert len(rows) == (2 if part == "train" else 1) * 10 * PAIRS
        assert len({row["image"] for row in rows}) == len({row["sound"] for row in rows}) == len(rows)
        for row in rows:
            with Image.open(row["image"]) as image:
                assert image.size == (8, 8)
            assert Path(row["sound"]).is_file()


def test_pairs_are_rendered_once_and_the_same_everywhere(digits, tmp_path):
    before = rows_of(digits, "test")
    kept = Path(before[0]["sound"])
    changed = kept.stat().st_mtime_ns
    assert rows_of(digits, "test") == before
    assert kept.stat().st_mtime_ns == changed
    (tmp_path / "fsdd").symlink_to(digits / "fsdd")
    for row, again in zip(before, rows_of(tmp_path, "test"), strict=True):
        assert row["digit"] == again["digit"]
        for name in ("image", "sound"):
            assert Path(row[name]).read_bytes() == Path(again[name]).read_bytes()
    kept.write_bytes(b"")  # damaged: rendered anew
    assert rows_of(digits, "test") == before
    assert kept.stat().st_size > 0


def test_noise_is_as_strong_as_it_says():
    random = np.random.default_rng(0)
    sound_N = np.sin(np.arange(40_000) / 3).astype(np.float32)
    mixed_N = noisy_sound(sound_N, random)
    assert np.abs(mixed_N).max() == pytest.approx(0.9)
    scale = float(mixed_N @ sound_N / (sound_N @ sound_N))
    noise_db = 10 * np.log10(np.mean((mixed_N - scale * sound_N) ** 2) / np.mean((scale * sound_N) ** 2))
    assert noise_db == pytest.approx(SOUND_NOISE_DB, abs=0.2)
    folder_free = [noisy_png(np.full(64, 8.0), random) for _ in range(200)]
    assert len(set(folder_free)) == 200
    assert 0 < IMAGE_NOISE < 16


def test_what_is_no_pair_folder_is_said_to_be_none(digits, tmp_path):
    with pytest.raises(DataError, match="no part 'dev'"):
        Table.open(f"av_digits:{digits}/dev", digits)
    with pytest.raises(DataError, match="fsdd"):
        Table.open(f"av_digits:{tmp_path}/train", tmp_path)


@pytest.fixture
def nlvr(tmp_path: Path) -> Path:
    lines = ["split\timage\tsentence\tlabel", 'train1000\ta.png\tThere is a "box"\ttrue', "dev\tb.png\tNone\tfalse"]
    (tmp_path / "examples.tsv").write_text("\n".join([*lines, "train\tc.png\tTwo\tmaybe", ""]))
    return tmp_path


def test_nlvr_parts(nlvr):
    train = Table.open(f"nlvr:{nlvr}/train", nlvr, quarantine=Quarantine(1.0))
    assert [train.row(i) for i in range(len(train))] == [
        {"image": str(nlvr / "images" / "a.png"), "sentence": 'There is a "box"', "label": "true"}
    ]
    assert len(train.quarantine) == 1
    assert Table.open(f"nlvr:{nlvr}/dev", nlvr).row(0)["label"] == "false"
    with pytest.raises(DataError, match="no part 'test'"):
        Table.open(f"nlvr:{nlvr}/test", nlvr)
    (nlvr / "examples.tsv").write_text("split\timage\n")
    with pytest.raises(DataError, match="no column 'label'"):
        Table.open(f"nlvr:{nlvr}/dev", nlvr)


def test_nlvr_as_it_is(reference_data):
    folder = reference_data / "nlvr"
    tables = [Table.open(f"nlvr:{folder}/{part}", folder) for part in ("train", "dev")]
    assert [len(table) for table in tables] == [1000, 989]
    assert Path(tables[0].row(0)["image"]).is_file()
