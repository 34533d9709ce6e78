"""Image sizes from the first bytes, as a viewer shows them: real files made by Pillow, and broken ones."""

from __future__ import annotations

import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from exports.image_header import ImageHeader, channels, read_header

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
ORIENTATION, MAKER_NOTE = 0x0112, 0x927C


def made(file_format: str, mode: str = "RGB", size: tuple[int, int] = (31, 17), **options: object) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size).save(out, file_format, **options)
    return out.getvalue()


def turned(file_format: str, orientation: int, **more: bytes) -> bytes:
    """A file whose EXIF block asks viewers to turn it."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    if more:
        exif[MAKER_NOTE] = more["note"]
    return made(file_format, exif=exif)


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_tells_its_size(file_format):
    assert read_header(made(file_format)) == ImageHeader(31, 17, 3)


@pytest.mark.parametrize("file_format", [name for name in FORMATS if name != "TIFF"])
def test_the_first_4_kib_of_a_large_file_are_enough(file_format):
    # TIFF may keep its directory anywhere; Pillow writes it first.
    content = made(file_format, size=(3000, 2000))
    assert len(content) > 4096 or file_format in ("PNG", "WEBP")
    assert read_header(content[:4096]) == ImageHeader(3000, 2000, 3)


@pytest.mark.parametrize(
    ("file_format", "mode", "depth"),
    [
        ("PNG", "L", 1), ("PNG", "LA", 2), ("PNG", "RGB", 3), ("PNG", "RGBA", 4), ("PNG", "P", 3), ("PNG", "1", 1),
        ("JPEG", "L", 1), ("JPEG", "RGB", 3), ("JPEG", "CMYK", 4),
        ("GIF", "P", 3), ("BMP", "L", 3), ("WEBP", "RGBA", 3), ("TIFF", "L", 3),
    ],
)  # fmt: skip
def test_channels_are_real_where_the_header_tells_and_3_elsewhere(file_format, mode, depth):
    assert read_header(made(file_format, mode)) == ImageHeader(31, 17, depth)


# Orientation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_the_size_is_that_of_the_image_as_shown(file_format, orientation):
    content = turned(file_format, orientation)
    with Image.open(io.BytesIO(content)) as stored:
        shown = ImageOps.exif_transpose(stored).size
    assert shown == ((31, 17) if orientation < 5 else (17, 31))
    header = read_header(content)
    assert (header.width, header.height) == shown


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation):
    assert read_header(turned("JPEG", orientation)) == ImageHeader(31, 17, 3)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_png_and_webp_are_taken_as_stored(file_format):
    assert read_header(turned(file_format, 6)) == ImageHeader(31, 17, 3)


def test_a_size_behind_a_long_exif_block_needs_more_bytes_and_is_then_found():
    content = turned("JPEG", 6, note=b"x" * 20_000)
    assert read_header(content[:4096]) is None
    assert read_header(content[: 64 * 1024]) == ImageHeader(17, 31, 3)


# Broken files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", b"hello", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF____WEBP",
     b"II*\x00", b"<svg", b"<?xml version='1.0'?><svg width='many'/>", b"\x00" * 4096, b"PK\x03\x04" + b"x" * 400],
)  # fmt: skip
def test_what_is_no_image_tells_nothing(content):
    assert read_header(content) is None


@pytest.mark.parametrize(("width", "height"), [(0, 17), (31, 0), (2**31 - 1, 17), (31, 1_000_001)])
def test_a_size_no_image_has_is_none(width, height):
    content = bytearray(made("PNG"))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    assert read_header(bytes(content)) is None


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_damaged_or_truncated_file_never_raises(file_format):
    source, content = random.Random(5), turned(file_format, 6) if file_format in ("JPEG", "TIFF") else made(file_format)
    for _ in range(400):
        damaged = bytearray(content[: source.randrange(1, len(content) + 1)])
        for _ in range(3):
            damaged[source.randrange(len(damaged))] = source.choice([0, 1, 127, 128, 255])
        header = read_header(bytes(damaged))
        assert header is None or min(header.width, header.height) > 0


@given(
    st.sampled_from([b"", b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*"]), st.binary()
)
def test_any_bytes_are_a_header_or_none(start, rest):
    header = read_header(start + rest)
    assert header is None or 1 <= header.depth <= 4


def test_a_frame_header_out_of_reach_leaves_three_channels():
    assert channels(made("JPEG", "L")[:20]) == 3
