"""Files that systems leave behind are no rows and no classes, in any reader of folders and archives."""

from __future__ import annotations

import io
import tarfile

import pytest

from sensorium.data.readers import TableSpec, open_rows

LITTER = ("._{}", "__MACOSX/{}", "@eaDir/{}", "$RECYCLE.BIN/{}", ".ipynb_checkpoints/{}", "lost+found/{}")


def cells(spec: str, folder) -> list[dict[str, str]]:
    return [row.cells for row in open_rows(TableSpec.parse(spec, folder)).rows]


@pytest.mark.parametrize("kind", ["folder", "lines", "webdataset", "subtitles"])
def test_litter_is_no_row(tmp_path, kind):
    (tmp_path / "clean").mkdir()
    (tmp_path / "littered").mkdir()
    names = {
        "folder": ("cat/1.jpg", "dog/2.jpg"),
        "lines": ("neg.txt", "pos.txt"),
        "webdataset": ("1.jpg", "1.cls", "2.jpg", "2.cls"),
        "subtitles": ("a.srt", "a.mp4"),
    }[kind]
    data = b"1\n00:00:01,000 --> 00:00:02,000\nhello\n" if kind == "subtitles" else b"3\n"
    found = []
    for side, patterns in (("clean", ("{}",)), ("littered", ("{}", *LITTER))):
        folder = tmp_path / side
        files = [pattern.format(name) for name in names for pattern in patterns]
        if kind == "webdataset":
            with tarfile.open(folder / "t.tar", "w") as tar:
                for name in files:
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        rows = cells("webdataset:t.tar" if kind == "webdataset" else f"{kind}:.", folder)
        found.append([{name: cell.split("@")[0] for name, cell in row.items()} for row in rows])
    assert found[0]
    assert found[0] == found[1]
