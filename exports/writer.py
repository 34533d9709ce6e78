"""One pass, every format: each writer renders an image to a piece and appends pieces to its file.

A piece is some byte strings, its strands. The strands of several images, joined one by one, are the piece of them all:
a writer is handed a hundred images as one piece and never looks at each. Rendering is pure (an image always gives the
same piece), so pieces can be kept and used again (pieces.py); appending is the only place with state: totals, hashes,
positions.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import tempfile
from array import array
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import orjson

from exports.rows import ImageRow
from exports.simple import SimpleImage, simple_image

log = logging.getLogger(__name__)

GATHER = 64 * 1024
# How much of a file is written before it is brought to the disk: whoever commits meanwhile waits behind that much.
BRING = 1024 * 1024
# Images that are rendered and appended together: so many, or fewer once their annotations are so many characters.
BATCH = 100
HOLD = 256 * 1024
# What parts images, where a file lists them.
COMMA = b",\n"
SAMPLE = 10


@dataclass(frozen=True)
class Summary:
    """What a finished file holds; ``warnings`` are ``{code, count, sample}``, one for each reason. ``starts``: where in
    the file its laid strands begin, in bytes."""

    annotation_count: int
    image_count: int
    content_hash: str | None = None
    warnings: list[dict[str, Any]] = field(default_factory=list)
    starts: dict[str, int] = field(default_factory=dict)


# A code with what it is about: an annotation id, a file name.
Doubt = tuple[str, Any]


class Piece(Protocol):
    """The strands of one image or of several in one format; a NamedTuple of bytes."""

    _fields: tuple[str, ...]

    def __iter__(self) -> Iterator[bytes]: ...


class Writer(Protocol):
    """One format being written to one file."""

    @property
    def piece(self) -> type[Any]:
        """The kind of piece it renders."""

    @property
    def laid(self) -> dict[str, bytes]:
        """The strands that lie in the file as they are, one image after the other, with what each image ends with. The
        last one has that no more."""

    @property
    def takes_simple(self) -> bool:
        """Whether it puts images together from columns, where there are some."""

    def begin(self) -> None:
        """Write what comes before the images."""

    def render(self, image: ImageRow, simple: SimpleImage | None = None) -> Any:
        """The image's piece; pure. ``simple`` is the same image in columns, if it is of that kind; the piece is the
        same with it and without."""

    def append(self, piece: Any) -> Collection[int]:
        """Write the piece of some images, in order, and count them; the places of those whose laid strands the file
        does not hold, since it holds others that exclude them."""

    def finish(self) -> Summary:
        """Write what comes after the images; the file is whole afterwards."""


# The strands of one piece for each writer, in a row; of one image, or of several, each strand joined.
Strands = Sequence[bytes]


@dataclass(frozen=True, slots=True)
class ReadyImage:
    """An image whose pieces were kept, and the state it was in."""

    id: int
    state: int
    strands: Strands

    @property
    def held(self) -> int:
        """About as much as the texts of its rows would be."""
        return sum(map(len, self.strands)) // 4


class Made(NamedTuple):
    """The strands of some images, joined, and how long each image's are: for each strand unsigned integers."""

    strands: Strands
    lengths: Sequence[bytes]

    def each(self) -> Iterator[Strands]:
        """The strands of one image after the other."""
        return zip(*map(_cut, self.strands, self.lengths), strict=True)


def lengths_of(column: bytes) -> array[int]:
    """How long the images' bytes in one strand are."""
    return array("I", column)


def _cut(strand: bytes, column: bytes) -> list[bytes]:
    return [strand[start:end] for start, end in pairwise(accumulate(lengths_of(column), initial=0))]


class ReadyImages(NamedTuple):
    """Images that follow each other, as they were written together: none of them needs a look."""

    # 64 bits each.
    ids: array[int]
    states: array[int]
    made: Made

    @property
    def are_few(self) -> bool:
        """True if it is worth while to join them with others."""
        return len(self.ids) < BATCH // 2 and sum(map(len, self.made.strands)) < HOLD // 4

    def each(self) -> Iterator[ReadyImage]:
        """One image after the other."""
        return map(ReadyImage, self.ids, self.states, self.made.each())


Batch = list[ImageRow | ReadyImage] | ReadyImages
# Told of every batch: what was made of it, and for each writer the places of those its file does not hold.
Keep = Callable[[Batch, Made, Sequence[Collection[int]]], None]


# What was made of images that others render; None if they have to be rendered here.
Begun = Callable[[], Made | None]


class Helpers(Protocol):
    """Others who render, too (renderers.py)."""

    @property
    def ahead(self) -> int:
        """How many batches may be under way."""

    def begin(self, rows: Sequence[ImageRow]) -> Begun | None:
        """Have some images rendered; None, then or at once, if they have to be rendered here."""


def write_all(
    images: Iterable[ImageRow | ReadyImage | ReadyImages],
    writers: Sequence[Writer],
    keep: Keep | None = None,
    helpers: Helpers | None = None,
) -> list[Summary]:
    """Feed every writer from a single pass over the images; memory does not grow with them. The files are the same
    with helpers and without."""
    for writer in writers:
        writer.begin()
    for batch, rendered in _rendered(images, writers, helpers):
        made = _together(batch, rendered)
        left_out = _append(made.strands, writers)
        if keep is not None:
            keep(batch, made, left_out)
    return [writer.finish() for writer in writers]


def _rendered(
    images: Iterable[ImageRow | ReadyImage | ReadyImages], writers: Sequence[Writer], helpers: Helpers | None
) -> Iterator[tuple[Batch, Made]]:
    """Each batch with what was made of its rows, in the order of the images."""
    waiting = deque[tuple[Batch, Begun | None]]()
    for batch in _batches(images, helpers):
        waiting.append((batch, helpers.begin(_rows(batch)) if helpers else None))
        # What nobody else renders waits for those before it, and for nothing else.
        while waiting and (waiting[0][1] is None or helpers is None or len(waiting) > helpers.ahead):
            yield _made(*waiting.popleft(), writers)
    for batch, begun in waiting:
        yield _made(batch, begun, writers)


def _batches(images: Iterable[ImageRow | ReadyImage | ReadyImages], helpers: Helpers | None) -> Iterator[Batch]:
    """A hundred images each, fewer of those that hold much; for others each batch is to be worth its way. What was
    written together stays together, unless it is little."""
    batch, held = list[ImageRow | ReadyImage](), 0
    for several in images:
        if isinstance(several, ReadyImages) and not several.are_few:
            if batch:
                yield batch
            yield several
            batch, held = [], 0
            continue
        for image in several.each() if isinstance(several, ReadyImages) else (several,):
            batch.append(image)
            held += image.held
            if len(batch) == BATCH or held > (HOLD if helpers and helpers.ahead else HOLD // 4):
                yield batch
                batch, held = [], 0
    if batch:
        yield batch


def _rows(batch: Batch) -> list[ImageRow]:
    return [] if isinstance(batch, ReadyImages) else [image for image in batch if isinstance(image, ImageRow)]


def _made(batch: Batch, begun: Begun | None, writers: Sequence[Writer]) -> tuple[Batch, Made]:
    return batch, (begun() if begun else None) or render(_rows(batch), writers)


def render(rows: Sequence[ImageRow], writers: Sequence[Writer]) -> Made:
    """The pieces of some images for all writers; pure. Raises what rendering raises."""
    columns = any(writer.takes_simple for writer in writers)
    return joined([_strands(row, simple_image(row) if columns else None, writers) for row in rows])


def _strands(row: ImageRow, simple: SimpleImage | None, writers: Sequence[Writer]) -> Strands:
    return [strand for writer in writers for strand in writer.render(row, simple)]


def joined(images: Sequence[Strands]) -> Made:
    """The strands of some images, joined."""
    columns = list(zip(*images, strict=True))
    return Made([b"".join(column) for column in columns], [array("I", map(len, each)).tobytes() for each in columns])


def _together(batch: Batch, rendered: Made) -> Made:
    """What is to be written of a batch: some of its images may be ready, or all."""
    if isinstance(batch, ReadyImages):
        return batch.made
    if len(_rows(batch)) == len(batch):
        return rendered
    others = rendered.each()
    return joined([image.strands if isinstance(image, ReadyImage) else next(others) for image in batch])


def _append(strands: Strands, writers: Sequence[Writer]) -> list[Collection[int]]:
    at, left_out = 0, []
    for writer in writers:
        wide = len(writer.piece._fields)
        left_out.append(writer.append(writer.piece(*strands[at : at + wide])))
        at += wide
    return left_out


def told(doubts: Sequence[Any]) -> bytes:
    """Doubts of an image as a line of a strand; nothing for none."""
    return orjson.dumps(doubts) + b"\n" if doubts else b""


def heard(strand: bytes) -> list[Any]:
    """The lines of such a strand again."""
    return [orjson.loads(line) for line in strand.splitlines()]


class Twin:
    """The same file once more, beside the one at ``path``: follows it while it grows, and is brought to the disk at
    most BRING bytes at a time. It costs the first one nothing: where the disk takes no more, or has less room left than
    was written, it gives its own back, and ``path`` is None."""

    def __init__(self, path: Path) -> None:
        self.path: Path | None = path.with_name(f"{path.name}.twin")
        self._from, self._to = path.open("rb"), self.path.open("wb", buffering=0)

    def follow(self) -> None:
        """Take over what has come by now, not what comes meanwhile. Raises OSError if the first one cannot be read."""
        there = os.fstat(self._from.fileno()).st_size
        while self.path is not None and (bite := self._from.read(min(there - self._from.tell(), BRING))):
            self._take(bite, there)

    def _take(self, bite: bytes, there: int) -> None:
        try:
            room = os.fstatvfs(self._to.fileno())
            if room.f_bavail * room.f_frsize < there:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            while bite:
                bite = bite[self._to.write(bite) :]
            os.fdatasync(self._to.fileno())
        except OSError as error:
            log.warning("There is no second file of %s: %s.", self._from.name, error.strerror)
            self._give_up()

    def _give_up(self) -> None:
        self._to.close()
        if self.path is not None:
            self.path.unlink()
        self.path = None

    def __enter__(self) -> Twin:
        return self

    def __exit__(self, *_: object) -> None:
        self._from.close()
        self._to.close()


class Hashing:
    """A file that is hashed while it is written, front to back; with ``disk`` it is brought there meanwhile, and its
    twin with it, so whoever waits for the disk in the end waits for the last few MiB."""

    def __init__(self, out: BinaryIO, disk: Executor | None = None, twin: Twin | None = None) -> None:
        self._out, self._hash, self._disk, self._twin = out, hashlib.sha256(), disk, twin
        self._bringing, self._brought = Future[None](), 0
        self._bringing.set_result(None)
        self.name, self.size = out.name, 0

    def write(self, piece: Any) -> int:
        """Write and take in some bytes. Raises OSError, also of what was written before."""
        self._hash.update(piece)
        self.size += len(piece)
        if self._disk is not None and self.size >= self._brought + BRING and self._bringing.done():
            self._bringing.result()
            self._bringing, self._brought = self._disk.submit(self._bring), self.size
        return self._out.write(piece)

    def _bring(self) -> None:
        os.fdatasync(self._out.fileno())
        if self._twin is not None:
            self._twin.follow()

    def settle(self) -> None:
        """All is written: wait for what is on its way to the disk, and for the twin. Raises OSError: a disk says only
        once that it lost something."""
        self._bringing.result()
        if self._twin is not None:
            self._out.flush()
            self._twin.follow()

    def sha256(self) -> str:
        """SHA-256 (hex) of all that was written."""
        return self._hash.hexdigest()


def spool_beside(out: BinaryIO) -> BinaryIO:
    """An unnamed temporary file in the folder of ``out`` (or the system's, if ``out`` has no path)."""
    name = getattr(out, "name", None)
    folder = Path(name).resolve().parent if isinstance(name, str) else None
    return tempfile.TemporaryFile(dir=folder)  # type: ignore[return-value]


class Gathered:
    """A file written in larger bites: small pieces are gathered first."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._written = out, 0
        # One buffer: thousands of small pieces in a list would take several times their bytes.
        self._buffer = bytearray()

    @property
    def position(self) -> int:
        """How many bytes were written before, those that are gathered included."""
        return self._written + len(self._buffer)

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Add bytes; they reach the file when enough have come together."""
        if len(piece) >= GATHER:
            self.flush()
            self._out.write(piece)
            self._written += len(piece)
            return
        self._buffer += piece
        if len(self._buffer) >= GATHER:
            self.flush()

    def flush(self) -> None:
        """Put down what is gathered."""
        self._out.write(self._buffer)
        self._written += len(self._buffer)
        self._buffer.clear()


class Spooled:
    """Pieces that wait in a temporary file beside ``out`` until the file's end; made only when there is one."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._spool: BinaryIO | None = None
        self._gathered: Gathered | None = None

    def add(self, piece: bytes, separator: bytes = b"") -> None:
        """Add a piece, parted from the one before."""
        if not piece:
            return
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

    def add_all(self, doubts: Iterable[Doubt]) -> None:
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
