"""Packaged weights are found and verified, and what is wrong with them is said."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from sensorium.core.errors import ConfigError, MissingExtraError, ModelError
from sensorium.media import packaged
from sensorium.media.packaged import LISTING, PackagedWeights, packaged_files

CONTENT = b"weights"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of weights, installed as pip would, and listed as 'tiny'; its file."""
    info = tmp_path / "tiny_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
    file = tmp_path / "tiny_weights" / "model.bin"
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    (file.parent / "__init__.py").write_text("raise RuntimeError('code of the package was run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    tiny = PackagedWeights("tiny-weights", "1.0", {"tiny_weights/model.bin": sha256}, "MIT", "nobody", 1)
    monkeypatch.setattr(packaged, "LISTING", {"tiny": tiny})
    return file


def test_files_are_found_by_name(installed: Path) -> None:
    assert packaged_files("tiny") == {"model.bin": installed}


def test_unknown_weights_name_the_known_ones(installed: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.toml:3: no packaged weights 'big' \(known: tiny\)"):
        packaged_files("big", where="x.toml:3")


def test_another_content_is_refused(installed: Path) -> None:
    installed.write_bytes(CONTENT[:-1] + b"S")
    with pytest.raises(ModelError, match=r"'model.bin' is not the pinned file: its SHA-256 is [0-9a-f]{64}, not"):
        packaged_files("tiny")


def test_another_version_is_refused(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = {"tiny": replace(packaged.LISTING["tiny"], version="1.1")}
    monkeypatch.setattr(packaged, "LISTING", newer)
    with pytest.raises(ModelError, match=r"1\.0 is installed, the pinned version is 1\.1 .*tiny-weights==1\.1"):
        packaged_files("tiny")


def test_a_missing_file_is_named(installed: Path) -> None:
    installed.unlink()
    with pytest.raises(ModelError, match=r"without 'model\.bin'.*--force-reinstall"):
        packaged_files("tiny")


@pytest.mark.parametrize("is_light", [True, False])
def test_a_missing_package_says_how_to_install_it(is_light: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = PackagedWeights("no-such-weights", "2.0", {}, "MIT", "nobody", 1, is_light)
    monkeypatch.setattr(packaged, "LISTING", {"gone": gone})
    advice = r"'sensorium\[pretrained\]'" if is_light else "--no-deps no-such-weights==2.0"
    with pytest.raises(
        MissingExtraError, match=rf"packaged:gone: needs the package no-such-weights 2\.0 .*{advice}"
    ):
        packaged_files("gone")


@pytest.mark.parametrize("name", LISTING)
def test_the_list_is_whole(name: str) -> None:
    weights = LISTING[name]
    assert weights.files
    assert all(len(sha256) == 64 and int(sha256, 16) for sha256 in weights.files.values())
    assert weights.licence
    assert weights.provenance


def test_the_extra_installs_what_is_light_at_the_pinned_version() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("pretrained = ")]
    for weights in LISTING.values():
        assert (f'"{weights.package}=={weights.version}"' in line) == weights.is_light
