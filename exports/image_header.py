"""Width, height and channels from the first bytes of an image file.

The size is what a viewer shows: EXIF orientations 5 to 8 turn the image, so width and height change
places. People draw on what they see; a size in any other orientation would put boxes outside. JPEG and
TIFF are turned; PNG and WebP are not: few programs write EXIF into them, and WebP keeps it behind the
pixels, out of reach of the first bytes.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

import imagesize

PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
MAX_SIDE = 1_000_000  # pixels; more is a damaged header
SOF_MARKERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Size in pixels as shown, and the number of channels (3 when the format does not say)."""

    width: int
    height: int
    depth: int


def read_header(start: bytes) -> ImageHeader | None:
    """What the first bytes of an image say; None when they do not tell (too few, or not an image)."""
    try:
        width, height = imagesize.get(io.BytesIO(start), exif_rotation=True)
    except (ValueError, struct.error, IndexError, OSError, TypeError):
        return None
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        return None
    return ImageHeader(int(width), int(height), channels(start))


def channels(start: bytes) -> int:
    """1 to 4 from a PNG's colour type or a JPEG's frame header; 3 for anything else."""
    if start.startswith(b"\x89PNG") and len(start) > 25:
        return PNG_CHANNELS.get(start[25], 3)
    if start.startswith(b"\xff\xd8"):
        return _jpeg_channels(start)
    return 3


def _jpeg_channels(start: bytes) -> int:
    position = 2
    while position + 9 < len(start) and start[position] == 0xFF:
        marker, length = start[position + 1], int.from_bytes(start[position + 2 : position + 4], "big")
        if marker in SOF_MARKERS:
            count = start[position + 9]
            return count if 1 <= count <= 4 else 3
        position += 2 + length
    return 3
