"""Every kind of sample in every container that carries it comes out as the rules of `media.pixels` say."""

from __future__ import annotations

import ast
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiff_writer import spread, tiff

import sensorium
from sensorium.core.errors import MediaError
from sensorium.core.types import Media
from sensorium.media.image import read_image
from sensorium.media.policy import MediaPolicy

GREY, COLOUR, BOTH = spread(1, 65535), spread(3, 65535), spread(4, 65535)


def read(data: bytes) -> np.ndarray:
    return read_image(Media(data=data), MediaPolicy())


def png(x_HWS, colour_type: int, key=()) -> bytes:
    """Write 16-bit samples; `key` is the transparent colour."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width, _ = x_HWS.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in x_HWS)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    hole = chunk(b"tRNS", struct.pack(f">{len(key)}H", *(int(value) for value in key))) if len(key) else b""
    parts = chunk(b"IHDR", header) + hole + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def three(x_HW1) -> np.ndarray:
    return np.repeat(x_HW1, 3, axis=2)


def over_white(x_HW3, alpha_HW1) -> np.ndarray:
    """Lay 8-bit samples over white."""
    alpha = alpha_HW1 / 255
    return (x_HW3 * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)


def inks(x_HW4) -> np.ndarray:
    paper, black = 255 - x_HW4[..., :3].astype(float), 255 - x_HW4[..., 3:].astype(float)
    return paper * black / 255


HIGH = {"grey": GREY >> 8, "colour": COLOUR >> 8, "both": BOTH >> 8}
FLOATS = (GREY / 65535).astype(np.float32)
# What is stored, and what is right: uint8 (H, W, 3).
CASES = {
    "PNG grey 16": (png(GREY, 0), three(HIGH["grey"])),
    "PNG colour 16": (png(COLOUR, 2), HIGH["colour"]),
    "PNG grey and alpha 16": (
        png(BOTH[..., :2], 4),
        over_white(three(HIGH["both"][..., :1]), HIGH["both"][..., 1:2]),
    ),
    "PNG colour and alpha 16": (png(BOTH, 6), over_white(HIGH["both"][..., :3], HIGH["both"][..., 3:])),
    **{
        f"TIFF {order} {name}": (tiff(x, photometric, order=order, extra=extra), right)
        for order in "<>"
        for name, x, photometric, extra, right in (
            ("grey 16", GREY, 1, None, three(HIGH["grey"])),
            ("grey 8", HIGH["grey"].astype(np.uint8), 1, None, three(HIGH["grey"])),
            ("white is zero 8", HIGH["grey"].astype(np.uint8), 0, None, 255 - three(HIGH["grey"])),
            ("colour 16", COLOUR, 2, None, HIGH["colour"]),
            ("colour and alpha 16", BOTH, 2, 2, over_white(HIGH["both"][..., :3], HIGH["both"][..., 3:])),
            ("colour and what is no alpha 16", BOTH, 2, 0, HIGH["both"][..., :3]),
            ("inks 16", BOTH, 5, None, inks(HIGH["both"])),
            ("inks 8", HIGH["both"].astype(np.uint8), 5, None, inks(HIGH["both"])),
            ("floats", FLOATS, 1, None, np.rint(three(FLOATS) * 255)),
            ("white is zero floats", FLOATS, 0, None, 255 - np.rint(three(FLOATS) * 255)),
            ("32 bits", GREY.astype(np.uint32), 1, None, three(HIGH["grey"])),
        )
        if not (order == ">" and name == "32 bits")  # Pillow reads none
    },
    "TIFF white is zero 16": (tiff(GREY, 0), 255 - three(HIGH["grey"])),
    "TIFF grey 12": (tiff(GREY >> 4, 1, bits=12), three(HIGH["grey"])),
    "TIFF colour 8 in planes": (tiff(HIGH["colour"].astype(np.uint8), 2, planes=2), HIGH["colour"]),
    **{
        f"TIFF turned {turn}": (tiff(COLOUR, 2, turn=turn), np.rot90(HIGH["colour"], k))
        for turn, k in ((3, 2), (6, 3))
    },
}


@pytest.mark.parametrize("name", CASES)
def test_deep_samples_come_out_right(name):
    data, right = CASES[name]
    found = read(data)
    assert found.shape == right.shape
    assert np.abs(found.astype(float) - right).max() <= 1.01 * ("inks" in name)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WebP", "GIF", "BMP"])
def test_modes_of_8_bits_come_out_as_pillow_converts_them(kind, mode):
    picture = Image.fromarray(HIGH["both"].astype(np.uint8)).convert("RGB")
    picture = Image.merge("RGBA", (*picture.split(), Image.fromarray(HIGH["both"][..., 3].astype(np.uint8))))
    steps = {"LAB": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "1": "L", "P": "RGB", "PA": "P"}
    try:
        source = picture.convert(steps.get(mode, mode)).convert(mode)
        file = io.BytesIO()
        source.save(file, kind, **({"lossless": True, "exact": True} if kind == "WebP" else {}))
    except (OSError, ValueError, KeyError):
        pytest.skip("Pillow writes none")
    stored = Image.open(io.BytesIO(file.getvalue()))
    rgba = np.asarray(
        stored.convert("RGB").convert("RGBA") if stored.mode in ("YCbCr", "LAB") else stored.convert("RGBA")
    )
    assert (read(file.getvalue()) == over_white(rgba[..., :3], rgba[..., 3:])).all()


DEEP_WRITERS = {
    "PNG grey": lambda top: png(spread(1, top), 0),
    "PNG colour": lambda top: png(spread(3, top), 2),
    "PNG grey and alpha": lambda top: png(np.dstack([spread(1, top), np.full((5, 7), 65535)]), 4),
    "PNG colour and alpha": lambda top: png(np.dstack([spread(3, top), np.full((5, 7), 65535)]), 6),
    "TIFF grey": lambda top: tiff(spread(1, top), 1),
    "TIFF colour": lambda top: tiff(spread(3, top), 2),
    "TIFF > colour": lambda top: tiff(spread(3, top), 2, order=">"),
    "TIFF inks": lambda top: tiff(spread(4, top), 5),
    "TIFF 32 bits": lambda top: tiff(spread(1, top).astype(np.uint32), 1),
}


@pytest.mark.parametrize("name", DEEP_WRITERS)
@pytest.mark.parametrize("highest", [1, 255, 256, 1023, 4095])
def test_samples_that_would_leave_black_alone_are_refused(name, highest):
    with pytest.raises(MediaError, match=r"its white level is not in the file.*save it with 8 bits") as refused:
        read(DEEP_WRITERS[name](highest))
    assert f"up to {highest}, " in str(refused.value)


@pytest.mark.parametrize("name", DEEP_WRITERS)
@pytest.mark.parametrize("highest", [0, 4096, 65535])
def test_black_pictures_and_dim_ones_are_read(name, highest):
    found = read(DEEP_WRITERS[name](highest))
    if "inks" in name:  # none of it is blank paper
        assert (found == 255).all() == (highest == 0)
    else:
        assert found.max() == highest >> 8


def test_a_colour_key_of_16_bits_is_compared_with_whole_samples():
    near = np.array([[[0x1234] * 3, [0x1235] * 3, [0x3434] * 3, [0xFFFF] * 3]], np.uint16)
    assert read(png(near, 2, key=(0x1234,) * 3))[0, :, 0].tolist() == [255, 0x12, 0x34, 255]
    assert read(png(COLOUR, 2, key=COLOUR[2, 3]))[2, 3].tolist() == [255, 255, 255]


@pytest.mark.parametrize("order", ["<", ">"])
def test_deep_colours_in_planes_are_refused_rather_than_scrambled(order):
    with pytest.raises(MediaError, match=r"16 bits a sample.*side by side"):
        read(tiff(COLOUR, 2, planes=2, order=order))


@pytest.mark.parametrize("x", [COLOUR.astype(np.float32), GREY.astype(np.float64), BOTH[..., :2]])
def test_samples_that_are_not_read_are_no_damaged_header(x):
    with pytest.raises(MediaError, match=f"TIFF of .*{8 * x.dtype.itemsize}.*which is not read .*PNG"):
        read(tiff(x, 2 if x.shape[2] == 3 else 1))


def test_the_gateway_alone_opens_pictures():
    rooms = Path(sensorium.__file__).parent
    openers = set()
    for file in rooms.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and node.attr == "open"
                and ast.unparse(node.value).endswith("Image")
            ):
                openers.add(file.relative_to(rooms).as_posix())
    assert openers == {"media/image.py"}
