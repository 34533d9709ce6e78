"""One pass, every format: each writer renders an image to a piece and appends the piece to its file.

Rendering is pure (an image always gives the same piece), so pieces can be kept and used again (packed by msgpack);
appending is the only place with state: totals, hashes, positions.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from exports.rows import ImageRow

GATHER = 256 * 1024
BATCH = 100
SAMPLE = 10


@dataclass(frozen=True)
class Summary:
    """What a finished file holds; ``warnings`` are ``{code, count, sample}``, one for each reason."""

    annotation_count: int
    image_count: int
    content_hash: str | None = None
    warnings: list[dict[str, Any]] = field(default_factory=list)


class Piece(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An image in one format, with all that the writer counts of it."""


class Writer(Protocol):
    """One format being written to one file."""

    @property
    def piece(self) -> type[Piece]:
        """The kind of piece it renders."""

    def begin(self) -> None:
        """Write what comes before the images."""

    def render(self, image: ImageRow) -> Any:
        """The image's piece; pure."""

    def append(self, pieces: Sequence[Any]) -> None:
        """Write the pieces of some images, in order, and count them."""

    def finish(self) -> Summary:
        """Write what comes after the images; the file is whole afterwards."""


@dataclass(frozen=True, slots=True)
class ReadyImage:
    """An image whose pieces were kept: one for each writer, packed."""

    id: int
    pieces: Sequence[bytes]


# Told of every image that had to be rendered: its id and its pieces, packed.
Keep = Callable[[int, Sequence[bytes]], None]


def write_all(
    images: Iterable[ImageRow | ReadyImage], writers: Sequence[Writer], keep: Keep | None = None
) -> list[Summary]:
    """Feed every writer from a single pass over the images; memory does not grow with them."""
    unpack = [msgspec.msgpack.Decoder(writer.piece).decode for writer in writers]
    for writer in writers:
        writer.begin()
    images = iter(images)
    while batch := list(islice(images, BATCH)):
        pieces = [
            _ready(each, unpack) if isinstance(each, ReadyImage) else _made(each, writers, keep) for each in batch
        ]
        for writer, column in zip(writers, zip(*pieces, strict=True), strict=True):
            writer.append(column)
    return [writer.finish() for writer in writers]


def _ready(image: ReadyImage, unpack: Sequence[Callable[[bytes], Piece]]) -> list[Piece]:
    return [each(packed) for each, packed in zip(unpack, image.pieces, strict=True)]


def _made(image: ImageRow, writers: Sequence[Writer], keep: Keep | None) -> list[Piece]:
    pieces = [writer.render(image) for writer in writers]
    if keep is not None:
        keep(image.id, [PACK(piece) for piece in pieces])
    return pieces


PACK = msgspec.msgpack.Encoder().encode


def spool_beside(out: BinaryIO) -> BinaryIO:
    """An unnamed temporary file in the folder of ``out`` (or the system's, if ``out`` has no path)."""
    name = getattr(out, "name", None)
    folder = Path(name).resolve().parent if isinstance(name, str) else None
    return tempfile.TemporaryFile(dir=folder)  # type: ignore[return-value]


class Gathered:
    """A file written in larger bites: small pieces are gathered first."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        # One buffer: thousands of small pieces in a list would take several times their bytes.
        self._buffer = bytearray()

    def write(self, piece: bytes) -> None:
        """Add bytes; they reach the file when enough have come together."""
        self._buffer += piece
        if len(self._buffer) >= GATHER:
            self.flush()

    def flush(self) -> None:
        """Put down what is gathered."""
        self._out.write(self._buffer)
        self._buffer.clear()


class Spooled:
    """Pieces that wait in a temporary file beside ``out`` until the file's end; made only when there is one."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._spool: BinaryIO | None = None
        self._gathered: Gathered | None = None

    def add(self, piece: bytes, separator: bytes) -> None:
        """Add a piece, parted from the one before."""
        if self._gathered is None:
            self._spool = spool_beside(self._out)
            self._gathered = Gathered(self._spool)
            self._gathered.write(piece)
        else:
            self._gathered.write(separator + piece)

    def pour(self, out: Gathered) -> None:
        """Write all pieces to ``out`` and let them go."""
        if self._gathered is None or self._spool is None:
            return
        self._gathered.flush()
        self._spool.seek(0)
        while bite := self._spool.read(GATHER):
            out.write(bite)
        self._spool.close()


class Warnings:
    """Reasons why something is not in a file as it was drawn, counted, with the first ten named."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._samples: dict[str, list[Any]] = {}

    def add_all(self, doubts: Iterable[tuple[str, Any]]) -> None:
        """Count each (code, subject)."""
        for code, subject in doubts:
            self.add(code, subject)

    def add(self, code: str, subject: Any) -> None:
        """Count one more for ``code``; ``subject`` is an annotation id or a file name."""
        self._counts[code] += 1
        sample = self._samples.setdefault(code, [])
        if len(sample) < SAMPLE:
            sample.append(subject)

    def counts(self) -> dict[str, int]:
        """Counts by reason, in order of reason."""
        return dict(sorted(self._counts.items()))

    def listed(self) -> list[dict[str, Any]]:
        """As version rows and answers hold them."""
        return [
            {"code": code, "count": count, "sample": self._samples[code]}
            for code, count in sorted(self._counts.items())
        ]
