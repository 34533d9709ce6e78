"""One pass, every format: each writer renders an image to a piece and appends pieces to its file.

A piece is some byte strings, its strands. The strands of several images, joined one by one, are the piece of them all:
a writer is handed a hundred images as one piece and never looks at each. Rendering is pure (an image always gives the
same piece), so pieces can be kept and used again (pieces.py); appending is the only place with state: totals, hashes,
positions.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import mmap
import os
import tempfile
from array import array
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import orjson

from exports.rows import ImageRow
from exports.simple import SimpleImage, simple_image

log = logging.getLogger(__name__)

GATHER = 64 * 1024
# How much of a file is written before it is brought to the disk: whoever commits meanwhile waits behind that much.
BRING = 1024 * 1024
# What is written past the system's cache begins and ends with one.
BLOCK = 4096
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


class Made(NamedTuple):
    """The strands of some images, joined, and of each strand how long each image's are: unsigned integers, 32 bits."""

    strands: Strands
    lengths: Sequence[bytes]

    def parts(self, runs: Sequence[tuple[int, int]]) -> Iterator[Made]:
        """What was made of the images from one place to before another, for each of ``runs``."""
        columns = list(map(lengths_of, self.lengths))
        begun = [list(accumulate(column, initial=0)) for column in columns]
        for start, end in runs:
            yield Made(
                [strand[at[start] : at[end]] for strand, at in zip(self.strands, begun, strict=True)],
                [column[start:end].tobytes() for column in columns],
            )


def lengths_of(column: bytes) -> array[int]:
    """How long the images' bytes in one strand are."""
    return array("I", column)


def joined(several: Sequence[Made]) -> Made:
    """What was made of some images, and of some after them, as if together."""
    if len(several) == 1:
        return several[0]
    strands, lengths = zip(*several, strict=True) if several else ((), ())
    return Made(*[[b"".join(column) for column in zip(*each, strict=True)] for each in (strands, lengths)])


@dataclass(frozen=True, slots=True)
class ReadyImages:
    """Images that follow each other, whose pieces were kept, with the states they were in; none needs a look."""

    # 64 bits each.
    ids: array[int]
    states: array[int]
    made: Made

    @property
    def held(self) -> int:
        """About as much as the texts of their rows would be."""
        return sum(map(len, self.made.strands)) // 2

    @property
    def are_many(self) -> bool:
        """True if they are a batch of their own."""
        return len(self.ids) >= BATCH // 2 or self.held >= HOLD // 2

    def parts(self, runs: Sequence[tuple[int, int]]) -> Iterator[ReadyImages]:
        """Some of them, as ``Made.parts``."""
        for (start, end), made in zip(runs, self.made.parts(runs), strict=True):
            yield ReadyImages(self.ids[start:end], self.states[start:end], made)


Batch = list[ImageRow | ReadyImages]
# Told of every batch: what was made of it, and for each writer the places of those images its file does not hold.
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
    images: Iterable[ImageRow | ReadyImages],
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
    images: Iterable[ImageRow | ReadyImages], writers: Sequence[Writer], helpers: Helpers | None
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


def _batches(images: Iterable[ImageRow | ReadyImages], helpers: Helpers | None) -> Iterator[Batch]:
    """A hundred images each, fewer of those that hold much; for others each batch is to be worth its way. What was
    written together stays together, and little is joined with its neighbours."""
    batch = _Gathering()
    for image in images:
        if isinstance(image, ReadyImages) and batch.has_no_room_for(image):
            yield batch.images
            batch = _Gathering()
        batch.add(image)
        if batch.is_full(HOLD if helpers and helpers.ahead else HOLD // 4):
            yield batch.images
            batch = _Gathering()
    if batch.images:
        yield batch.images


class _Gathering:
    """A batch that grows: how many images it has, and about how many characters their rows are, those of all images
    and those that have to be rendered."""

    def __init__(self) -> None:
        self.images = Batch()
        self.count = self.held = self.to_render = 0

    def add(self, image: ImageRow | ReadyImages) -> None:
        self.images.append(image)
        self.held += image.held
        if isinstance(image, ReadyImages):
            self.count += len(image.ids)
        else:
            self.count += 1
            self.to_render += image.held

    def has_no_room_for(self, image: ReadyImages) -> bool:
        return bool(self.images) and (self.count + len(image.ids) > BATCH or self.held + image.held > HOLD)

    def is_full(self, most: int) -> bool:
        only = self.images[0] if len(self.images) == 1 else None
        is_one = isinstance(only, ReadyImages) and only.are_many
        return is_one or self.count >= BATCH or self.held > HOLD or self.to_render > most


def _rows(batch: Batch) -> list[ImageRow]:
    return [image for image in batch if isinstance(image, ImageRow)]


def _made(batch: Batch, begun: Begun | None, writers: Sequence[Writer]) -> tuple[Batch, Made]:
    return batch, (begun() if begun else None) or render(_rows(batch), writers)


def render(rows: Sequence[ImageRow], writers: Sequence[Writer]) -> Made:
    """The pieces of some images for all writers; pure. Raises what rendering raises."""
    columns = any(writer.takes_simple for writer in writers)
    images = [_strands(row, simple_image(row) if columns else None, writers) for row in rows]
    strands = list(zip(*images, strict=True))
    return Made([b"".join(each) for each in strands], [array("I", map(len, each)).tobytes() for each in strands])


def _strands(row: ImageRow, simple: SimpleImage | None, writers: Sequence[Writer]) -> Strands:
    return [strand for writer in writers for strand in writer.render(row, simple)]


def _together(batch: Batch, rendered: Made) -> Made:
    """What is to be written of a batch: some of its images may be ready, or all."""
    if not any(isinstance(image, ReadyImages) for image in batch):
        return rendered
    others = rendered.parts([(at, at + 1) for at in range(len(_rows(batch)))])
    return joined([image.made if isinstance(image, ReadyImages) else next(others) for image in batch])


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
    """The same file once more, beside the one at ``path``: follows it while it grows, at most about BRING bytes at a
    time. Where the system can, past its cache: nobody reads it soon, and memory for it is half of what a copy takes. It
    costs the first one nothing: where the disk takes no more, or has less room left than was written, it gives its own
    back, and ``path`` is None."""

    def __init__(self, path: Path) -> None:
        self.path: Path | None = path.with_name(f"{path.name}.twin")
        self._from, self._taken = path.open("rb", buffering=0), 0
        self._to, self._is_direct = _opened_past_the_cache(self.path)
        # On a page of its own, as direct writes need it.
        self._buffer = mmap.mmap(-1, max(BRING // BLOCK, 1) * BLOCK)

    def follow(self) -> None:
        """Take over what has come by now, in whole blocks. Raises OSError if the first one cannot be read."""
        self._take_over(self._there() // BLOCK * BLOCK)

    def finish(self) -> None:
        """Take over the rest, and bring it to the disk. Raises OSError as ``follow``."""
        if self.path is not None:
            self._go_through_the_cache()
        self._take_over(self._there())

    def _there(self) -> int:
        return os.fstat(self._from.fileno()).st_size

    def _take_over(self, until: int) -> None:
        while self.path is not None and self._taken < until:
            view = memoryview(self._buffer)[: until - self._taken]
            count = os.preadv(self._from.fileno(), [view], self._taken)
            self._take(view[:count], until)

    def _take(self, bite: memoryview, there: int) -> None:
        try:
            room = os.fstatvfs(self._to)
            if room.f_bavail * room.f_frsize < there:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._write(bite)
            self._taken += len(bite)
        except OSError as error:
            log.warning("There is no second file of %s: %s.", self._from.name, error.strerror)
            self._give_up()

    def _write(self, bite: memoryview) -> None:
        try:
            written = os.write(self._to, bite)
        except OSError as error:
            if not self._is_direct or error.errno != errno.EINVAL:
                raise
            # Some file systems say only now that they cannot.
            self._go_through_the_cache()
            written = os.write(self._to, bite)
        if written < len(bite):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if not self._is_direct:
            os.fdatasync(self._to)

    def _go_through_the_cache(self) -> None:
        if self._is_direct:
            fcntl.fcntl(self._to, fcntl.F_SETFL, fcntl.fcntl(self._to, fcntl.F_GETFL) & ~os.O_DIRECT)
            self._is_direct = False

    def _give_up(self) -> None:
        if self.path is not None:
            self.path.unlink()
        self.path = None

    def __enter__(self) -> Twin:
        return self

    def __exit__(self, *_: object) -> None:
        self._from.close()
        os.close(self._to)


def _opened_past_the_cache(path: Path) -> tuple[int, bool]:
    """A new file, and whether what is written goes past the system's cache, in whole blocks."""
    how = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        return os.open(path, how | os.O_DIRECT, 0o666), True
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.open(path, how, 0o666), False


class Hashing:
    """A file that is hashed on its way and written by ``aside``, a thread of its own, front to back; with ``disk`` it
    is brought there meanwhile, and its twin with it, so whoever waits for it in the end waits for the last few MiB."""

    def __init__(self, out: BinaryIO, aside: Executor, disk: Executor | None = None, twin: Twin | None = None) -> None:
        self._out, self._hash, self._disk, self._twin = out, hashlib.sha256(), disk, twin
        self._aside, self._waiting, self._held = aside, list[Any](), 0
        self._writing, self._bringing = deque[Future[None]](), Future[None]()
        self._bringing.set_result(None)
        self._written = self._brought = 0
        self.name, self.size = out.name, 0

    def write(self, piece: Any) -> int:
        """Take in some bytes, which nobody may change any more. Raises OSError, also of what was written before."""
        self._hash.update(piece)
        self._waiting.append(piece)
        self._held += len(piece)
        self.size += len(piece)
        if self._held >= HOLD:
            self._hand_over()
            # Two handfuls are held at a time, and what comes next.
            if len(self._writing) > 1:
                self._writing.popleft().result()
        return len(piece)

    def _hand_over(self) -> None:
        self._writing.append(self._aside.submit(self._put, self._waiting))
        self._waiting, self._held = [], 0

    def _put(self, pieces: list[Any]) -> None:
        for piece in pieces:
            self._written += self._out.write(piece)
        if self._disk is not None and self._written >= self._brought + BRING and self._bringing.done():
            self._bringing.result()
            self._bringing, self._brought = self._disk.submit(self._bring), self._written

    def _bring(self) -> None:
        os.fdatasync(self._out.fileno())
        if self._twin is not None:
            self._twin.follow()

    def settle(self) -> None:
        """All came: wait until it is written, for what is on its way to the disk, and for the twin. Raises OSError: a
        disk says only once that it lost something."""
        self._hand_over()
        while self._writing:
            self._writing.popleft().result()
        self._bringing.result()
        if self._twin is not None:
            self._out.flush()
            self._twin.finish()

    def sha256(self) -> str:
        """SHA-256 (hex) of all that came."""
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
        if self._buffer:
            # Another one from now on: whoever takes it may be slower than we are.
            buffer, self._buffer = self._buffer, bytearray()
            self._out.write(buffer)
            self._written += len(buffer)


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
