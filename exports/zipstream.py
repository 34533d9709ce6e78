"""A zip written front to back in flat memory, the same bytes for the same members.

Python's ``zipfile`` keeps an object for every member until the end, about a kilobyte each; here the
central directory waits in a temporary file. Members are dated 1980-01-01, in the order they are
added, deflated at level 1. Source: PKWARE APPNOTE 6.3, sections 4.3 and 4.5.3 (zip64). ``unpacked`` reads such an
archive, as flatly, to tell whether two hold the same.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from exports.errors import BrokenFile
from exports.writer import Gathered, spool_beside

LEVEL = 1
RAW = -zlib.MAX_WBITS  # bare deflate: a zip brings its own checksum
# A member from bytes is a few kilobytes: making ready zlib's usual 256 KB would take ten times as long as packing it.
SMALL_WINDOW, SMALL_TABLE = -12, 5
BITE = 256 * 1024
DAY_ONE = 0x21  # 1980-01-01 as DOS writes it
UTF8_NAMES = 0x800
DEFLATED = 8
PLAIN, ZIP64 = 20, 45
UNIX = 3 << 8
FILE_MODE = 0o100644 << 16
LIMIT_16 = 0xFFFF
LIMIT_32 = 0xFFFFFFFF
HEADER, ENTRY = struct.Struct("<4sHHHHHLLLHH"), struct.Struct("<4sHHHHHHLLLHHHHHLL")
END, END64, LOCATOR = struct.Struct("<4sHHHHLLH"), struct.Struct("<4sQHHLLQQQQ"), struct.Struct("<4sLQL")
START, STARTS = 42, struct.Struct("<L")  # where in an entry its member's offset stands
SHARED = (UTF8_NAMES, DEFLATED, 0, DAY_ONE)
LARGE = LIMIT_32  # what is as large is told in a zip64 field


# Deflated bytes, and CRC-32 and size of what they unpack to.
Packed = tuple[bytes, int, int]


def pack(content: bytes) -> Packed:
    """A member's content, ready to be added to any archive."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, SMALL_WINDOW, SMALL_TABLE)
    return packer.compress(content) + packer.flush(), zlib.crc32(content), len(content)


def member(name: str, content: bytes) -> tuple[bytes, bytes]:
    """A packed member and its entry in the directory, ready to be added to any archive; of less than 4 GiB."""
    deflated, crc, size = pack(content)
    encoded = name.encode()
    told = (*SHARED, crc, len(deflated), size, len(encoded), 0)
    entry = ENTRY.pack(b"PK\1\2", UNIX | PLAIN, PLAIN, *told, 0, 0, 0, FILE_MODE, 0) + encoded
    return HEADER.pack(b"PK\3\4", PLAIN, *told) + encoded + deflated, entry


class ZipStream:
    """An archive being written to ``out``; nothing is readable before ``finish``."""

    def __init__(self, out: BinaryIO) -> None:
        self.raw = out
        self.out = Gathered(out)
        self.spool = spool_beside(out)
        self.directory = Gathered(self.spool)
        self.offset = self.directory_size = self.count = 0

    def add(self, name: str, content: bytes) -> None:
        """A member from bytes; ``name`` is a relative path with ``/``."""
        self.add_packed(name, pack(content))

    def add_packed(self, name: str, packed: Packed) -> None:
        """A member that was packed before."""
        deflated, crc, size = packed
        self._write(self._header(name, crc, len(deflated), size) + deflated)

    def add_members(self, members: bytes, entries: bytes, lengths: Sequence[tuple[int, int]]) -> None:
        """Members as ``member`` makes them, one after the other, with the lengths of each and of its entry."""
        if self.offset + len(members) >= LARGE:
            return self._add_far(members, entries, lengths)
        table, at, start, place = bytearray(entries), START, self.offset, STARTS.pack_into
        for long, wide in lengths:
            place(table, at, start)
            start += long
            at += wide
        self.directory.write(table)
        self.directory_size += len(table)
        self.count += len(lengths)
        self._write(members)

    def _add_far(self, members: bytes, entries: bytes, lengths: Sequence[tuple[int, int]]) -> None:
        """The same where an offset needs more than 32 bits: one by one."""
        at = place = 0
        for long, wide in lengths:
            crc, packed, size = ENTRY.unpack_from(entries, place)[7:10]
            self._list_member(entries[place + ENTRY.size : place + wide], crc, packed, size)
            self._write(members[at : at + long])
            at, place = at + long, place + wide

    def add_file(self, name: str, content: BinaryIO) -> None:
        """A member from an open file, of any size: packed aside first, as its header needs the sizes."""
        packer, crc, size = zlib.compressobj(LEVEL, zlib.DEFLATED, RAW), 0, 0
        with spool_beside(self.raw) as aside:
            while bite := content.read(BITE):
                crc, size = zlib.crc32(bite, crc), size + len(bite)
                aside.write(packer.compress(bite))
            aside.write(packer.flush())
            packed_size = aside.tell()
            aside.seek(0)
            self._write(self._header(name, crc, packed_size, size))
            while bite := aside.read(BITE):
                self._write(bite)

    def finish(self) -> None:
        """The central directory and the end records."""
        self.directory.flush()
        self.spool.seek(0)
        while bite := self.spool.read(BITE):
            self.out.write(bite)
        self.spool.close()
        self.out.write(self._end())
        self.out.flush()

    def _write(self, piece: bytes) -> None:
        self.out.write(piece)
        self.offset += len(piece)

    def _header(self, name: str, crc: int, packed: int, size: int) -> bytes:
        """What comes before the member that is to be written now; the directory takes note of it."""
        encoded = name.encode()
        # Name, no date but the first, the sizes: once before the content, once in the directory.
        if size >= LARGE or packed >= LARGE:
            extra = struct.pack("<HHQQ", 1, 16, size, packed)
            head = HEADER.pack(b"PK\3\4", ZIP64, *SHARED, crc, LIMIT_32, LIMIT_32, len(encoded), len(extra))
        else:
            extra, head = b"", HEADER.pack(b"PK\3\4", PLAIN, *SHARED, crc, packed, size, len(encoded), 0)
        self._list_member(encoded, crc, packed, size)
        return head + encoded + extra

    def _list_member(self, name: bytes, crc: int, packed: int, size: int) -> None:
        start, extra, needs = self.offset, b"", PLAIN
        if start >= LARGE or size >= LARGE or packed >= LARGE:
            wide = [value for value in (size, packed, start) if value >= LARGE]
            extra, needs = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide), ZIP64
            packed, size, start = min(packed, LIMIT_32), min(size, LIMIT_32), min(start, LIMIT_32)
        head = (b"PK\1\2", UNIX | needs, needs, *SHARED, crc, packed, size, len(name), len(extra), 0, 0, 0)
        entry = ENTRY.pack(*head, FILE_MODE, start) + name + extra
        self.directory.write(entry)
        self.directory_size += len(entry)
        self.count += 1

    def _end(self) -> bytes:
        start, size, count = self.offset, self.directory_size, self.count
        wide = b""
        if count >= LIMIT_16 or size >= LARGE or start >= LARGE:
            versions = (UNIX | ZIP64, ZIP64)
            wide = END64.pack(b"PK\6\6", 44, *versions, 0, 0, count, count, size, start)
            wide += LOCATOR.pack(b"PK\6\7", 0, start + size, 1)
        few = min(count, LIMIT_16)
        where = (min(size, LIMIT_32), min(start, LIMIT_32))
        return wide + END.pack(b"PK\5\6", 0, 0, few, few, *where, 0)


# Reading back -------------------------------------------------------------------------------


class Listed(NamedTuple):
    """A member as the directory has it: sizes and the place of its header in bytes."""

    name: bytes
    crc: int
    packed: int
    size: int
    start: int


def unpacked(path: Path) -> str:
    """SHA-256 (hex) of what an archive holds: its members with their names, in order, however they were packed.

    Raises BrokenFile for an archive that is damaged, or built otherwise than ``ZipStream`` does.
    """
    digest, place = hashlib.sha256(), 0
    try:
        with path.open("rb") as directory, path.open("rb") as members:
            start, count = _directory(directory)
            for entry in _listed(directory, start, count):
                _refuse(entry.start != place)
                digest.update(struct.pack("<HQ", len(entry.name), entry.size) + entry.name)
                _read_member(members, entry, digest)
                place = members.tell()
            _refuse(place != start)
    except (struct.error, zlib.error) as error:
        raise BrokenFile(f"{path.name} is damaged: {error}.") from error
    return digest.hexdigest()


def _refuse(wrong: bool) -> None:
    if wrong:
        raise BrokenFile("The archive is damaged, or another program wrote it.")


def _directory(file: BinaryIO) -> tuple[int, int]:
    """Where the directory begins and how many members it lists; the file ends with this, as nothing comments on it."""
    end = file.seek(0, 2) - END.size
    file.seek(max(end, 0))
    mark, _, _, _, count, size, start, _ = END.unpack(file.read())
    if count == LIMIT_16 or LIMIT_32 in (size, start):
        file.seek(max(end - LOCATOR.size - END64.size, 0))
        count, _, start = END64.unpack(file.read(END64.size))[7:]
    _refuse(mark != b"PK\5\6" or start > end)
    return start, count


def _listed(file: BinaryIO, start: int, count: int) -> Iterator[Listed]:
    file.seek(start)
    for _ in range(count):
        mark, *_, crc, packed, size, long, further, _, _, _, _, at = ENTRY.unpack(file.read(ENTRY.size))
        _refuse(mark != b"PK\1\2")
        name, extra = file.read(long), file.read(further)
        wide = iter(struct.unpack_from(f"<{len(extra) // 8}Q", extra, 4)) if extra else iter(())
        size, packed, at = (next(wide, 0) if value == LIMIT_32 else value for value in (size, packed, at))
        yield Listed(name, crc, packed, size, at)


def _read_member(file: BinaryIO, entry: Listed, digest: Any) -> None:
    """Unpack the member that begins here into ``digest``, a piece at a time."""
    mark, *_, long, further = HEADER.unpack(file.read(HEADER.size))
    _refuse(mark != b"PK\3\4" or file.read(long) != entry.name)
    file.seek(further, 1)
    crc = size = 0
    for piece in _pieces(file, entry.packed):
        digest.update(piece)
        crc, size = zlib.crc32(piece, crc), size + len(piece)
    _refuse((crc, size) != (entry.crc, entry.size))


def _pieces(file: BinaryIO, packed: int) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(RAW)
    while bite := file.read(min(packed, BITE)):
        packed -= len(bite)
        while bite:
            yield unpacker.decompress(bite, BITE)
            bite = unpacker.unconsumed_tail
    yield unpacker.flush()
    _refuse(packed > 0 or not unpacker.eof or bool(unpacker.unused_data))
