"""What pictures say of themselves elsewhere than in EXIF, what they lack at their end, and values too low for 8 bits."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from sensorium.core.errors import MediaError
from sensorium.core.types import Media
from sensorium.media.image import read_image
from sensorium.media.policy import MediaPolicy

HALVES = np.zeros((48, 64, 3), np.uint8)
HALVES[:24, :32], HALVES[:24, 32:], HALVES[24:, :32] = (200, 30, 30), (30, 200, 30), (30, 30, 200)
PICTURE = Image.fromarray(HALVES)


def xmp(turn: int, form: str) -> bytes:
    said = {
        "attribute": f'<rdf:Description tiff:Orientation="{turn}"/>',
        "element": f"<rdf:Description><tiff:Orientation>{turn}</tiff:Orientation></rdf:Description>",
    }[form]
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>{said}</rdf:RDF></x:xmpmeta>'.encode()


def raw_profile(turn: int) -> str:
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x112, 3, 1, turn, 0, 0)
    exif = b"Exif\0\0" + tiff
    return f"\nexif\n{len(exif):8}\n{exif.hex()}\n"


def file_of(kind: str, noted: str, turn: int) -> bytes:
    file, options = io.BytesIO(), {"JPEG": {"quality": 95}, "WebP": {"lossless": True}}.get(kind, {})
    if noted == "profile":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text("Raw profile type exif", raw_profile(turn), zip=True)
    elif kind == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp(turn, noted).decode())
    else:
        options["xmp"] = xmp(turn, noted)
    PICTURE.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "noted"),
    [*((kind, form) for kind in ("JPEG", "PNG", "WebP") for form in ("attribute", "element")), ("PNG", "profile")],
)
def test_orientation_outside_exif_is_obeyed_as_pillow_does(kind, noted, turn):
    data = file_of(kind, noted, turn)
    right = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert (read_image(Media(data=data), MediaPolicy()) == right).all()
    assert right.shape == ((64, 48, 3) if turn > 4 else (48, 64, 3))


def test_exif_is_believed_before_xmp():
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x112] = 1
    PICTURE.save(file, "JPEG", exif=exif, xmp=xmp(6, "attribute"))
    assert read_image(Media(data=file.getvalue()), MediaPolicy()).shape == (48, 64, 3)


def noise_jpeg(**options) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((160, 120)).save(file, "JPEG", quality=85, **options)
    return file.getvalue()


@pytest.mark.parametrize("num_missing", [1, 2])
def test_a_jpeg_that_lacks_only_its_end_sign_is_read(num_missing):
    data = noise_jpeg()
    found = read_image(Media(data=data[:-num_missing]), MediaPolicy())
    assert (found == read_image(Media(data=data), MediaPolicy())).all()


@pytest.mark.parametrize("num_missing", [4, 6, 10, 100, 2000])
def test_a_jpeg_that_lacks_pixels_is_refused(num_missing):
    with pytest.raises(MediaError, match="JPEG"):
        read_image(Media(data=noise_jpeg()[:-num_missing]), MediaPolicy())


def test_a_progressive_jpeg_may_lack_whole_scans_and_is_refused():
    with pytest.raises(MediaError, match="JPEG"):
        read_image(Media(data=noise_jpeg(progressive=True)[:-2]), MediaPolicy())


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("highest", [1, 255, 1023, 4095])
def test_deep_pictures_of_which_only_black_would_be_left_are_refused(kind, highest):
    values = np.linspace(0, highest, 48 * 64).reshape(48, 64).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind)
    with pytest.raises(MediaError, match=f"up to {highest}, black where white is 65535"):
        read_image(Media(data=file.getvalue()), MediaPolicy())
    file = io.BytesIO()
    Image.fromarray(values * np.uint16(65535 // highest)).save(file, kind)
    assert read_image(Media(data=file.getvalue()), MediaPolicy()).max() >= 254
