"""Label Studio's brush strokes: run lengths packed bit by bit, four values a pixel, of which the last is the mask's.

Source: the format its converter reads and writes. The head tells how many values there are (32 bits), the bits of a
value (5, plus one) and four widths of run lengths (4 bits each, plus one); then come runs: a bit (one value for all, or
one each), two bits choosing the width, the length minus one, and the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from exports.foreign import Unreadable

MOST_PIXELS = 25_000_000


def runs_of(packed: Sequence[int], width: int, height: int) -> list[int]:
    """COCO's run lengths (down the columns, unmarked first) of a brush on an image of this size; raises Unreadable."""
    if width * height > MOST_PIXELS:
        raise Unreadable(f"the image is too large for a brush; at most {MOST_PIXELS:,} pixels are read")
    if not all(type(byte) is int and 0 <= byte < 256 for byte in packed):
        raise Unreadable("rle must be a list of bytes")
    marked = _values(bytes(packed), 4 * width * height)[3::4].translate(bytes([0]) + bytes([1]) * 255)
    columns = b"".join(marked[column::width] for column in range(width))
    counts = [len(list(run)) for _, run in groupby(columns)]
    return [0, *counts] if columns[0] else counts


def _values(packed: bytes, expected: int) -> bytearray:
    bits = _Bits(packed)
    count, size = bits.take(32), bits.take(5) + 1
    if count != expected or size > 8:
        raise Unreadable(f"rle tells of {count} values; the size of its image makes {expected}")
    widths = [bits.take(4) + 1 for _ in range(4)]
    out = bytearray()
    while len(out) < count:
        same = bits.take(1)
        length = bits.take(widths[bits.take(2)]) + 1
        if length > count - len(out):
            raise Unreadable("rle holds more values than it tells")
        out += bytes([bits.take(size)]) * length if same else bytes(bits.take(size) for _ in range(length))
    return out


class _Bits:
    """Reads bits, the highest of a byte first."""

    def __init__(self, packed: bytes) -> None:
        self._packed, self._at = packed, 0

    def take(self, count: int) -> int:
        end = self._at + count
        if end > 8 * len(self._packed):
            raise Unreadable("rle ends before its values do")
        piece = self._packed[self._at // 8 : (end + 7) // 8]
        self._at = end
        return (int.from_bytes(piece, "big") >> (-end % 8)) & ((1 << count) - 1)
