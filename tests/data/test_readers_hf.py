"""Hugging Face data sets: written as `datasets` writes them, and, where it is installed, by itself."""

from __future__ import annotations

import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from sensorium.core.errors import DataError, MissingExtraError
from sensorium.data.image_preparer import ImagePreparer
from sensorium.data.log_mel_preparer import LogMelPreparer
from sensorium.data.table import Table

pa = pytest.importorskip("pyarrow")

FEATURES = {
    "image": {"_type": "Image"},
    "audio": {"sampling_rate": 8000, "_type": "Audio"},
    "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
    "text": {"dtype": "string", "_type": "Value"},
    "views": {"feature": {"_type": "Image"}, "_type": "List"},
    "raw": {"dtype": "binary", "_type": "Value"},
}
MEDIA = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCHEMA = pa.schema(
    {"image": MEDIA, "audio": MEDIA, "label": pa.int64(), "text": pa.string(), "views": pa.list_(MEDIA)}
    | {"raw": pa.binary()},
    metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
)


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 12), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def wav() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).uniform(-0.5, 0.5, 8000), 8000, format="WAV")
    return file.getvalue()


def table(num_rows: int = 5) -> Any:
    """Rows of which the third lacks its media, and the second's sound is a path alone."""
    rows = [
        {
            "image": None if i == 2 else {"bytes": png(40 * i), "path": f"photo {i}.png" if i % 2 else None},
            "audio": {"bytes": None, "path": "b.wav"} if i == 1 else {"bytes": wav(), "path": None},
            "label": None if i == 2 else i % 2,
            "text": None if i == 3 else f"row {i}",
            "views": [{"bytes": png(200), "path": None}, {"bytes": png(i), "path": None}] if i == 0 else [],
            "raw": b"\xff",
        }
        for i in range(num_rows)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_arrow(path: Path, rows: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(str(path), rows.schema) as writer:
        writer.write_table(rows, max_chunksize=2)


def save_to_disk(folder: Path, rows: Any, num_files: int = 2) -> None:
    """Write what Dataset.save_to_disk writes."""
    names = [f"data-{i:05d}-of-{num_files:05d}.arrow" for i in range(num_files)]
    size = -(-len(rows) // num_files)
    for i, name in enumerate(names):
        write_arrow(folder / name, rows.slice(i * size, size))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_split": None}
    (folder / "state.json").write_text(json.dumps(state | {"_format_type": None, "_output_all_columns": False}))


def rows_of(spec: str, folder: Path) -> list[dict[str, str]]:
    found = Table.open(spec, folder)
    return [found.row(i) for i in range(len(found))]


def assert_holds_the_rows(rows: list[dict[str, str]], folder: Path) -> None:
    image, audio = ImagePreparer(size=8), LogMelPreparer(rate_hz=8000)
    assert [row["label"] for row in rows] == ["cat", "dog", "", "dog", "cat"]
    assert [row["text"] for row in rows] == ["row 0", "row 1", "row 2", "", "row 4"]
    for i, row in enumerate(rows):
        if i == 2:
            assert row["image"] == ""
        else:
            assert image(image.item(row["image"], folder))[0, 0, 0] == 40 * i
        if i != 1:
            assert len(audio(audio.item(row["audio"], folder))) == pytest.approx(100, abs=3)
    assert rows[1]["audio"] == "b.wav"
    assert "::photo_1.png@" in rows[1]["image"]
    views = json.loads(rows[0]["views"])
    assert [image(image.item(view, folder))[0, 0, 0].item() for view in views] == [200, 0]
    assert rows[1]["views"] == ""
    assert "raw" not in rows[0]


def test_a_saved_data_set(tmp_path, caplog):
    save_to_disk(tmp_path / "saved", table())
    with caplog.at_level(logging.WARNING):
        rows = rows_of("hf:saved", tmp_path)
    assert_holds_the_rows(rows, tmp_path / "saved")
    assert rows[0]["image"].startswith("data-00000-of-00002.arrow::0.png@")
    assert "columns of raw bytes are left out (raw)" in caplog.text
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == [
        "data-00000-of-00002.arrow", "data-00001-of-00002.arrow", "dataset_info.json", "state.json",
    ]  # fmt: skip


def test_splits_of_a_saved_dict(tmp_path):
    for name in ("train", "test"):
        save_to_disk(tmp_path / "saved" / name, table())
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    rows = rows_of("hf:saved", tmp_path)
    assert [row["split"] for row in rows] == ["train"] * 5 + ["test"] * 5
    assert_holds_the_rows(rows_of("hf:saved?split=test", tmp_path), tmp_path / "saved")
    with pytest.raises(DataError, match=r"has no split 'dev' \(it has train, test\)"):
        rows_of("hf:saved?split=dev", tmp_path)


def test_a_clone_of_parquet_files(tmp_path):
    from pyarrow import parquet

    for config in ("en", "de"):
        (tmp_path / "clone" / config).mkdir(parents=True)
        parquet.write_table(table(), tmp_path / "clone" / config / "train-00000-of-00001.parquet", row_group_size=2)
        text = table().select(["label", "text"])
        parquet.write_table(text, tmp_path / "clone" / config / "test-00000-of-00001.parquet")
    rows = rows_of("hf:clone?config=en&split=train", tmp_path)
    assert_holds_the_rows(rows, tmp_path / "clone")
    kept = sorted((tmp_path / "clone").rglob("*.arrow"))
    changed = kept[0].stat().st_mtime_ns
    assert rows_of("hf:clone?config=en&split=train", tmp_path) == rows
    assert [path.stat().st_mtime_ns for path in (tmp_path / "clone").rglob("*.arrow")] == [changed]
    assert rows_of("hf:clone?config=de&split=test", tmp_path)[1] == {"label": "dog", "text": "row 1"}
    with pytest.raises(DataError, match="has the columns .*read its splits one by one"):
        rows_of("hf:clone?config=en", tmp_path)
    with pytest.raises(DataError, match="no Parquet files of 'fr'"):
        rows_of("hf:clone?config=fr", tmp_path)


def test_parquet_files_that_are_missing_or_cut_short_are_named(tmp_path):
    from pyarrow import parquet

    path = tmp_path / "clone" / "data" / "train-00000-of-00002.parquet"
    path.parent.mkdir(parents=True)
    parquet.write_table(table(), path)
    with pytest.raises(DataError, match="holds 1 of the 2 files of 'train'"):
        rows_of("hf:clone", tmp_path)
    path = path.rename(path.with_name("train-00000-of-00001.parquet"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"train-00000-of-00001\.parquet: is not Parquet.*git lfs pull"):
        rows_of("hf:clone", tmp_path)
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match=r"is not Parquet"):
        rows_of("hf:clone", tmp_path)


@pytest.mark.parametrize("share", [0.01, 0.4, 0.8, 0.9999])
def test_an_arrow_file_cut_short_is_named(tmp_path, share):
    save_to_disk(tmp_path / "saved", table())
    path = tmp_path / "saved" / "data-00001-of-00002.arrow"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match=r"data-00001-of-00002\.arrow: is (cut short|not Arrow)"):
        rows_of("hf:saved", tmp_path)


def test_a_damaged_arrow_file_is_named(tmp_path):
    save_to_disk(tmp_path / "saved", table())
    path = tmp_path / "saved" / "data-00000-of-00002.arrow"
    whole = path.read_bytes()
    starts = [i for i in range(0, len(whole), 8) if whole[i : i + 4] == b"\xff\xff\xff\xff"]
    for start in starts[1:-1]:  # the header of each batch
        path.write_bytes(whole[: start + 8] + b"\xff" * 40 + whole[start + 48 :])
        with pytest.raises(DataError, match=r"data-00000-of-00002\.arrow: (cannot be read further|is)"):
            Table.open("hf:saved", tmp_path)
    lengths = np.array([len("row 0"), len("row 0row 1")], np.int32).tobytes()
    at = whole.index(b"\0\0\0\0" + lengths) + 4
    path.write_bytes(whole[:at] + b"\xff\xff\xff\x7f" + whole[at + 4 :])  # an offset far outside
    with pytest.raises(DataError, match=r"data-00000-of-00002\.arrow: cannot be read further after row"):
        Table.open("hf:saved", tmp_path)
    path.write_bytes(b"not arrow at all")
    with pytest.raises(DataError, match=r"data-00000-of-00002\.arrow: is not Arrow"):
        Table.open("hf:saved", tmp_path)


def test_folders_that_lack_something_are_named(tmp_path):
    save_to_disk(tmp_path / "saved", table())
    state = tmp_path / "saved" / "state.json"
    kept = json.loads(state.read_text())
    for text, told in (
        (json.dumps(kept | {"_indices_data_files": [{"filename": "i.arrow"}]}), "flatten_indices"),
        ("{}", "does not list its files"),
        ('{"_data', r"state\.json: is not JSON"),
        (json.dumps({"_data_files": [{"filename": "../../gone.arrow"}]}), r"saved/gone\.arrow: is missing"),
    ):
        state.write_text(text)
        with pytest.raises(DataError, match=told):
            rows_of("hf:saved", tmp_path)
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(DataError, match=r"saved/train: lacks its state\.json"):
        rows_of("hf:saved", tmp_path)


def test_compressed_arrow_is_refused(tmp_path):
    save_to_disk(tmp_path / "saved", table(), 1)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(
        str(tmp_path / "saved" / "data-00000-of-00001.arrow"), SCHEMA, options=options
    ) as writer:
        writer.write_table(table())
    with pytest.raises(DataError, match="is compressed"):
        rows_of("hf:saved", tmp_path)


def test_names_on_the_hub_need_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"user/name: .*pip install 'sensorium\[datasets\]'"):
        Table.open("hf:user/name?split=train", tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"sensorium\[parquet\]"):
        Table.open("hf:user/name", tmp_path)


def test_what_datasets_itself_writes(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "text": datasets.Value("string"),
        }
    )
    values = {
        "image": [{"bytes": png(40 * i), "path": None} for i in range(4)],
        "label": [0, 1, 0, 1],
        "text": list("abcd"),
    }
    made = datasets.Dataset.from_dict(values, features=features)
    datasets.DatasetDict(train=made, test=made.select([3])).save_to_disk(str(tmp_path / "saved"))
    rows = rows_of("hf:saved", tmp_path)
    assert [row["label"] + row["split"] for row in rows] == ["cattrain", "dogtrain"] * 2 + ["dogtest"]
    image = ImagePreparer(size=8)
    pixels = [image(image.item(row["image"], tmp_path / "saved"))[0, 0, 0].item() for row in rows]
    assert pixels == [0, 40, 80, 120, 120]
    made.filter(lambda row: row["label"] == 1, load_from_cache_file=False).save_to_disk(str(tmp_path / "some"))
    assert [row["text"] for row in rows_of("hf:some", tmp_path)] == ["b", "d"]


def test_other_folders_are_built_by_datasets(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for label in ("cat", "dog"):
        (tmp_path / "pets" / "train" / label).mkdir(parents=True)
        (tmp_path / "pets" / "train" / label / "1.png").write_bytes(png(80))
    rows = rows_of("hf:pets?split=train", tmp_path)
    assert [row["label"] for row in rows] == ["cat", "dog"]
    image = ImagePreparer(size=8)
    assert image(image.item(rows[1]["image"], tmp_path))[0, 0, 0] == 80
