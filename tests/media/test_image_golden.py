"""Golden tensors for each declared image policy, worked out by hand."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from bad_media import chunk, image_bytes, png
from PIL import Image

from sensorium.core.types import Media
from sensorium.media.image import read_image
from sensorium.media.policy import MediaPolicy

POLICY = MediaPolicy()
BLACK, WHITE = [0, 0, 0], [255, 255, 255]
RED, GREEN, BLUE = [255, 0, 0], [0, 255, 0], [0, 0, 255]


def read(data: bytes, fit: int | None = None) -> np.ndarray:
    return read_image(Media(data=data), POLICY, fit)


def encode(values: object, kind: str = "PNG", mode: str | None = None, **options: object) -> bytes:
    image = Image.fromarray(np.asarray(values, np.uint8)) if mode is None else values
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def expect(data: bytes, rows: object) -> None:
    result = read(data)
    assert result.dtype == np.uint8
    assert result.flags.writeable
    np.testing.assert_array_equal(result, np.asarray(rows, np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_colour_comes_back_exactly(kind: str) -> None:
    expect(
        encode([[RED, GREEN, BLUE], [WHITE, BLACK, [1, 2, 3]]], kind),
        [[RED, GREEN, BLUE], [WHITE, BLACK, [1, 2, 3]]],
    )


def test_lossless_webp_comes_back_exactly() -> None:
    expect(encode([[RED, GREEN], [BLUE, [1, 2, 3]]], "WEBP", lossless=True), [[RED, GREEN], [BLUE, [1, 2, 3]]])


def test_grey_becomes_three_equal_channels() -> None:
    expect(encode([[0, 7], [200, 255]]), [[BLACK, [7] * 3], [[200] * 3, WHITE]])


def test_one_bit_is_black_and_white() -> None:
    image = Image.fromarray(np.array([[True, False, True]]))
    for kind in ("PNG", "TIFF", "BMP"):
        expect(encode(image, kind, mode="1"), [[WHITE, BLACK, WHITE]])


def test_alpha_is_laid_over_white() -> None:
    # 200 a + 255 (1 - a): a = 0, 51/255 = 0.2, 1; and 254.78 for a = 1/255
    expect(encode([[[200, 255, 0, 1]]]), [[[255, 255, 254]]])
    pixels = [[[200, 0, 100, 0], [200, 0, 100, 51], [200, 0, 100, 255]]]
    expect(encode(pixels), [[WHITE, [244, 204, 224], [200, 0, 100]]])


def test_grey_with_alpha_is_laid_over_white() -> None:
    image = Image.fromarray(np.array([[[100, 0], [100, 51], [100, 255]]], np.uint8), "LA")
    expect(encode(image, mode="LA"), [[WHITE, [224] * 3, [100] * 3]])


def test_palette_with_alpha_per_entry() -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    expect(encode(image, mode="P"), [[RED, GREEN, BLUE]])
    expect(encode(image, mode="P", transparency=bytes([255, 0, 51])), [[RED, WHITE, [204, 204, 255]]])


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_one_transparent_entry(kind: str) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    expect(encode(image, kind, mode="P", transparency=1), [[RED, WHITE, BLUE]])


def test_colour_and_grey_keys_are_transparent() -> None:
    expect(encode([[RED, GREEN]], transparency=(255, 0, 0)), [[WHITE, GREEN]])
    expect(encode([[7, 8]], transparency=7), [[WHITE, [8] * 3]])
    bits = Image.fromarray(np.array([[True, False]]))
    expect(encode(bits, mode="1", transparency=0), [[WHITE, WHITE]])


def deep_png(colour: int, samples: list[int], *before: bytes) -> bytes:
    """One row of 16-bit samples: colour type 0 grey, 2 RGB."""
    width = len(samples) // (3 if colour == 2 else 1)
    row = b"\0" + struct.pack(f">{len(samples)}H", *samples)
    data = png(width, 1, *before, pixels=row)
    header = struct.pack(">IIBBBBB", width, 1, 16, colour, 0, 0, 0)
    return data[:8] + chunk(b"IHDR", header) + data[33:]


def test_16_bit_grey_is_its_high_byte() -> None:
    expect(deep_png(0, [0, 255, 256, 0x8000, 200 * 257, 65535]), [[[v] * 3 for v in (0, 0, 1, 128, 200, 255)]])


def test_16_bit_colour_is_its_high_byte() -> None:
    expect(deep_png(2, [0, 0x1234, 65535, 200 * 257, 255, 256]), [[[0, 0x12, 255], [200, 0, 1]]])


def test_16_bit_grey_key_is_transparent() -> None:
    expect(deep_png(0, [0x1234, 0x1235], chunk(b"tRNS", b"\x12\x34")), [[WHITE, [0x12] * 3]])


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_deep_tiff_is_its_high_byte(dtype: type) -> None:
    image = Image.fromarray(np.array([[0, 256, 65535]], dtype))
    expect(encode(image, "TIFF", mode="I"), [[BLACK, [1] * 3, WHITE]])


def test_float_tiff_has_white_at_one() -> None:
    image = Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32))
    expect(encode(image, "TIFF", mode="F"), [[BLACK, [128] * 3, WHITE]])


def test_cmyk_without_profile() -> None:
    pixels = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 255, 0], [0, 0, 0, 255], [51, 0, 0, 0]]], np.uint8)
    image = Image.fromarray(pixels, "CMYK")
    expect(encode(image, "TIFF", mode="CMYK"), [[WHITE, [0, 255, 255], RED, BLACK, [204, 255, 255]]])


def test_cmyk_jpeg_is_not_inverted() -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    result = read(encode(image, "JPEG", mode="CMYK", quality=100))
    assert np.abs(result.astype(int) - RED).max() <= 2


def test_first_frame_of_an_animation() -> None:
    first, second = Image.new("RGB", (4, 3), (255, 0, 0)), Image.new("RGB", (4, 3), (0, 0, 255))
    for kind, options in (("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        data = encode(first, kind, mode="RGB", save_all=True, append_images=[second], **options)
        expect(data, np.full((3, 4, 3), RED))


# The letter F, upright; each row of the table says how a camera that writes `orientation` stores it.
UPRIGHT = np.array([[9, 9, 9], [9, 0, 0], [9, 9, 0], [9, 0, 0], [9, 0, 0]], np.uint8) * 20
STORED = {
    1: UPRIGHT,
    2: np.fliplr(UPRIGHT),
    3: np.rot90(UPRIGHT, 2),
    4: np.flipud(UPRIGHT),
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT),
    7: np.rot90(UPRIGHT, 2).T,
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_exif_orientation(kind: str, orientation: int) -> None:
    # Blocks of 16 pixels, so that JPEG keeps them apart.
    image = Image.fromarray(np.kron(STORED[orientation], np.ones((16, 16), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "JPEG" else {}
    data = encode(image, kind, mode="L", exif=exif, **options)
    result = read(data)[8::16, 8::16].astype(int)
    assert np.abs(result - UPRIGHT[..., None].astype(int)).max() <= 3


def test_exif_orientation_agrees_with_pillow() -> None:
    from PIL import ImageOps

    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encode(np.random.default_rng(0).integers(0, 256, (5, 7, 3)), exif=exif)
        expect(data, np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))


def test_exif_that_cannot_be_read_counts_as_upright() -> None:
    for exif in (
        b"",
        b"nonsense",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0",
    ):
        expect(png(2, 1, chunk(b"eXIf", exif), pixels=b"\0\x05\x06"), [[[5] * 3, [6] * 3]])


def test_strips_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 256, (50, 31, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(values, exif=exif)
    whole = read(data)
    monkeypatch.setattr("sensorium.media.pixels.STRIP_PIXELS", 31 * 7)
    np.testing.assert_array_equal(read(data), whole)


def test_fit_decodes_a_jpeg_smaller_but_never_below() -> None:
    data = image_bytes("JPEG", Image.new("RGB", (640, 320), (255, 0, 0)))
    assert read(data).shape == (320, 640, 3)
    assert read(data, fit=80).shape == (80, 160, 3)
    assert read(data, fit=81).shape == (160, 320, 3)
    assert read(data, fit=400).shape == (320, 640, 3)
    assert np.abs(read(data, fit=80).astype(int) - RED).max() <= 2
    assert read(encode(np.zeros((64, 64, 3))), fit=8).shape == (64, 64, 3)


def test_interlaced_png_is_read_and_counted() -> None:
    # Adam7 of 3 x 1: pass 1 has column 0, pass 4 column 2, pass 6 column 1; each row has a filter byte.
    rows = b"\0\x0a\0\x1e\0\x14"
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 1, 8, 0, 0, 0, 1))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    expect(data, [[[10] * 3, [20] * 3, [30] * 3]])


def test_black_pictures_are_whole() -> None:
    for mode in ("1", "L", "P", "RGB", "RGBA", "I;16"):
        assert read(encode(Image.new(mode, (70, 90)), mode=mode)).shape == (90, 70, 3)


def test_raised_caps_allow_and_lowered_caps_refuse() -> None:
    tall = png(1, 1000, pixels=bytes(2000))
    assert read_image(Media(data=tall), MediaPolicy(max_aspect=1000)).shape == (1000, 1, 3)
    with pytest.raises(Exception, match="has 20 x 20 pixels, more than the 399"):
        read_image(Media(data=png(20, 20)), MediaPolicy(max_pixels=399))


def test_pillow_warnings_are_ignored_and_filters_restored() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0])
    data = encode(image, mode="P", transparency=bytes([0, 255]))
    warnings.simplefilter("error")
    before = list(warnings.filters)
    threads = [threading.Thread(target=lambda: [read(data) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before
