"""Pieces of finished files, found again: the next file takes those of images that did not change from the last one.

While files are written, a list is made beside them: of each batch the ids and states of its images, how long each
image's bytes in each strand are, and the strands that no file holds as they are. Most of what was rendered lies in the
files, one image after the other, and is not written a second time. Whoever reads the list has to know it for the right
one, and the files for those it was made with.

The list is a row of messages: MessagePack, the length of each before it. Numbers are of the machine that wrote them.
"""

from __future__ import annotations

import os
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import msgspec

from exports.errors import BrokenFile
from exports.formats import FORMATS
from exports.rows import ImageRow
from exports.writer import Batch, Made, ReadyImages, lengths_of

# The state of an image whose pieces do not lie in every file: it is in no such state.
NEVER = -1
LENGTH = struct.Struct("<Q")
BUFFER = 256 * 1024


class Column(NamedTuple):
    """A strand of one format; ``ends`` is what each image ends with where the file holds it, None where it does not."""

    format: str
    strand: str
    ends: bytes | None


def columns_of(formats: Sequence[str]) -> list[Column]:
    """The strands of all formats, as writers hand them out."""
    return [Column(name, each, FORMATS[name].laid.get(each)) for name in formats for each in FORMATS[name].strands]


class Listing(NamedTuple):
    """Images in file order and the states they are in, none of them negative; 64 bits each."""

    ids: array[int]
    states: array[int]


class Noted(msgspec.Struct, array_like=True, gc=False):
    """A batch as the list holds it: as arrays of numbers; None for strands that lie in the files."""

    ids: bytes
    states: bytes
    lengths: list[bytes]
    strands: list[bytes | None]

    @property
    def listing(self) -> Listing:
        """Its images."""
        return Listing(array("q", self.ids), array("q", self.states))


NOTED = msgspec.msgpack.Decoder(Noted)


class PieceList:
    """The list of files that are being written to ``path``; memory stays flat."""

    def __init__(self, path: Path, formats: Sequence[str]) -> None:
        self.path, self.formats, self.rendered = path, tuple(formats), 0
        self._columns, self._states = columns_of(formats), deque[int]()
        self._out = path.open("wb", buffering=BUFFER)

    def expect(self, state: int) -> None:
        """The next image that has to be rendered is in this state."""
        self._states.append(state)

    def take(self, batch: Batch, made: Made, left_out: Sequence[Collection[int]]) -> None:
        """Note a batch that was written; as ``exports.writer.Keep``."""
        ids, states = self._listed(batch)
        lengths = [*made.lengths]
        for name, places in zip(self.formats, left_out, strict=True):
            for place in places:
                states[place] = NEVER
                self._nothing_of(name, place, lengths)
        apart = zip(self._columns, made.strands, strict=True)
        strands = [strand if column.ends is None else None for column, strand in apart]
        said = msgspec.msgpack.encode(Noted(ids.tobytes(), states.tobytes(), lengths, strands))
        self._out.write(LENGTH.pack(len(said)))
        self._out.write(said)

    def _listed(self, batch: Batch) -> Listing:
        ids, states = array("q"), array("q")
        for image in batch:
            if isinstance(image, ReadyImages):
                ids += image.ids
                states += image.states
            else:
                ids.append(image.id)
                states.append(self._states.popleft())
                self.rendered += 1
        return Listing(ids, states)

    def _nothing_of(self, name: str, place: int, lengths: list[bytes]) -> None:
        for at, column in enumerate(self._columns):
            if column.format == name and column.ends is not None:
                changed = lengths_of(lengths[at])
                changed[place] = 0
                lengths[at] = changed.tobytes()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """All is noted. Raises OSError."""
        self._out.close()


class Pieces:
    """What a list of these ``formats`` and some of its files hold: ``files`` by format, and ``starts`` of their laid
    strands (``Summary``)."""

    def __init__(
        self,
        listed: BinaryIO,
        formats: Sequence[str],
        files: Mapping[str, BinaryIO],
        starts: Mapping[str, Mapping[str, int]],
    ) -> None:
        self._listed, self._files, self._starts = listed, files, starts
        # With their places in the list.
        self._columns = [(at, each) for at, each in enumerate(columns_of(formats)) if each.format in files]

    def missing(self, listing: Listing) -> array[int]:
        """The ids of those images of ``listing`` that are not here in their states."""
        found, at = array("q"), 0
        for noted in self._noted():
            here = noted.listing
            end = bisect_right(listing.ids, here.ids[-1], at)
            ids, states = listing.ids[at:end], listing.states[at:end]
            if (ids, states) != here:
                known = dict(zip(*here, strict=True))
                found.extend(pk for pk, state in zip(ids, states, strict=True) if known.get(pk) != state)
            at = end
        return found + listing.ids[at:]

    def stray(self, listing: Listing) -> list[int]:
        """The ids of images that are here in a state that they do not have in ``listing``."""
        found = list[int]()
        for noted in self._noted():
            here = noted.listing
            start, end = bisect_left(listing.ids, here.ids[0]), bisect_right(listing.ids, here.ids[-1])
            known = dict(zip(listing.ids[start:end], listing.states[start:end], strict=True))
            found += [pk for pk, state in zip(*here, strict=True) if state not in (NEVER, known.get(pk))]
        return found

    def merged(
        self, listing: Listing, rows: Generator[ImageRow, None, None]
    ) -> Generator[ImageRow | ReadyImages, None, None]:
        """All images of ``listing`` in order: with their pieces where they are here in their states, else from
        ``rows``, which has those in order, and is closed. Raises BrokenFile if a file does not hold what it should."""
        with closing(rows):
            yield from self._merged(listing, rows)

    def _merged(self, listing: Listing, rows: Iterator[ImageRow]) -> Iterator[ImageRow | ReadyImages]:
        at = 0
        for batch in self.batches():
            end = bisect_right(listing.ids, batch.ids[-1], at)
            wanted = Listing(listing.ids[at:end], listing.states[at:end])
            if wanted == (batch.ids, batch.states):
                yield batch
            else:
                yield from _of_both(wanted, batch, rows)
            at = end
        yield from rows

    def batches(self) -> Iterator[ReadyImages]:
        """All there is, as it was written together. Raises BrokenFile as ``merged``."""
        begun = {place: self._starts[column.format].get(column.strand, 0) for place, column in self._columns}
        for noted in self._noted():
            strands = []
            for place, column in self._columns:
                strand = noted.strands[place]
                if strand is None:
                    long = sum(lengths_of(noted.lengths[place]))
                    strand = self._read(column, begun[place], long) if long else b""
                    begun[place] += long
                strands.append(strand)
            yield ReadyImages(*noted.listing, Made(strands, [noted.lengths[place] for place, _ in self._columns]))

    def _read(self, column: Column, at: int, long: int) -> bytes:
        """So many bytes of a strand; what the last image in the file ends with is not there."""
        ends = column.ends or b""
        try:
            found = os.pread(self._files[column.format].fileno(), long, at)
        except OSError as error:
            raise BrokenFile(f"The {column.format} file cannot be read at byte {at}: {error.strerror}.") from error
        if len(found) < long:
            raise BrokenFile(f"The {column.format} file ends within the {column.strand} of its images.")
        return found if found.endswith(ends) else found[: long - len(ends)] + ends

    def _noted(self) -> Iterator[Noted]:
        self._listed.seek(0)
        while head := self._listed.read(LENGTH.size):
            yield NOTED.decode(self._listed.read(*LENGTH.unpack(head)))


def _of_both(wanted: Listing, batch: ReadyImages, rows: Iterator[ImageRow]) -> Iterator[ImageRow | ReadyImages]:
    """Runs of images that are as they were, and the rows between them."""
    known = {pk: (state, place) for place, (pk, state) in enumerate(zip(batch.ids, batch.states, strict=True))}
    # The places of each run, from one to before another; None for a row.
    plan = list[tuple[int, int] | None]()
    for pk, state in zip(*wanted, strict=True):
        found, place = known.get(pk, (NEVER, 0))
        last = plan[-1] if plan else None
        if found != state:
            plan.append(None)
        elif last is not None and last[1] == place:
            plan[-1] = (last[0], place + 1)
        else:
            plan.append((place, place + 1))
    kept = batch.parts([run for run in plan if run is not None])
    for run in plan:
        yield next(rows) if run is None else next(kept)
