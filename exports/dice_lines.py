"""Files with one image a line, as we write them: read line by line, ten times as fast as by the events of a parser.

JSON texts hold no raw line break, so the bytes of a line are the bytes of an image. A file is taken for such a one only
after each of its lines has been looked at, and whatever is odd in it (a text with ``\\u``, an integer beyond 64 bits,
deep nesting, flat annotations, anything that is not JSON) leaves the whole file to the reader of all other shapes, with
its limits and its words. Both read the same of the same file; a test holds one against the other.

Who can take back what was read of a file may read it on trust instead, once: Odd then comes in its middle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import SEEK_END, SEEK_SET
from typing import Annotated, Any, BinaryIO, Literal
from uuid import uuid4

import orjson
from msgspec import UNSET, DecodeError, Meta, Struct, UnsetType
from msgspec.json import Decoder

from exports.json_source import MAX_DEPTH

MOST_BYTES = 16 * 1024 * 1024
MOST_TAIL = 1024 * 1024
START = b'"images":[\n'
LONG_NUMBER = re.compile(rb"\d{19}")
BRACKETS = bytes(each for each in range(256) if each not in b"[]{}")
CLOSED = re.compile(rb"\[\]|\{\}")
ABOVE = 2  # brackets open around an image: the file's and the list's

Json = dict[str, Any]
Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Number = Whole | float
Index = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Pixels = Annotated[int, Meta(ge=1, le=1_000_000)]
State = Literal["draft", "confirmed", "verified"]


class PlainGeometry(Struct, forbid_unknown_fields=True):
    """The geometry of a working file, of the two commonest types."""

    type: Literal["bbox", "polygon"]
    bbox: list[Number] | UnsetType = UNSET
    rings: list[list[list[Number]]] | UnsetType = UNSET
    image_width: Pixels | UnsetType = UNSET
    image_height: Pixels | UnsetType = UNSET


class PlainMeta(Struct, forbid_unknown_fields=True):
    """Who and when."""

    created_by: str | None = None
    created_at: str | None = None
    updated_by: str | None = None
    updated_at: str | None = None
    confirmed_by: str | None = None
    confirmed_at: str | None = None
    version: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    notes: str | None = None


class PlainAnnotation(Struct, forbid_unknown_fields=True):
    """A box or a polygon that names its class by a number, without anything a reader has to guess."""

    type: Literal["bbox", "polygon"]
    class_id: Index
    id: Whole | None = None
    image_id: Whole | str | None = None
    category_id: Index | UnsetType = UNSET
    class_name: str | None = None
    bbox: list[Number] | UnsetType = UNSET
    segmentation: list[list[Number]] | UnsetType = UNSET
    bbox_format: Literal["xywh"] | UnsetType = UNSET
    area: Number | None = None
    iscrowd: Literal[0] | UnsetType = UNSET
    state: State = "confirmed"
    attributes: dict[str, str | Whole | float | bool | None] | None = None
    confidence: Number | None = None
    geometry: PlainGeometry | UnsetType = UNSET
    meta: PlainMeta | None = None
    x_client_id: str | None = None


class PlainImageMeta(Struct, forbid_unknown_fields=True):
    """Who labeled and reviewed an image, and its status."""

    status: Literal["not-started", "in-progress", "completed"]
    labeled_by: str | None = None
    labeled_at: str | None = None
    reviewed_by: str | None = None
    reviewed_at: str | None = None
    source: str | None = None


class PlainImage(Struct, forbid_unknown_fields=True):
    """An image that holds nothing but plain annotations."""

    id: Whole | str
    file_name: Annotated[str, Meta(min_length=1)]
    annotations: list[PlainAnnotation]
    metadata: PlainImageMeta
    width: Whole | None = None
    height: Whole | None = None
    depth: Whole | None = None
    split: str | None = None
    file_format: str | None = None
    x_first_modified_at: str | None = None
    x_last_modified_at: str | None = None


PLAIN = Decoder(PlainImage)


class Odd(Exception):
    """A file that the other reader had better read."""


class Lines:
    """A file of lines: ``frame`` is what is around its images, ``nested`` whether any of them holds annotations."""

    def __init__(self, file: BinaryIO, start: int, frame: bytes, *, nested: bool) -> None:
        self._file, self._start = file, start
        self.frame, self.nested = frame, nested

    def images(self) -> Iterator[PlainImage | Any]:
        """Each image: a PlainImage where it is one, else its JSON value."""
        self._file.seek(self._start, SEEK_SET)
        while (line := self._file.readline()) and not line.startswith(b"]"):
            text = line.rstrip(b",\n")
            try:
                yield PLAIN.decode(text)
            except DecodeError:
                yield orjson.loads(text)

    def images_on_trust(self) -> Iterator[PlainImage | Any]:
        """The same of lines that nobody has looked at yet. Raises Odd, perhaps after most of them."""
        self._file.seek(self._start, SEEK_SET)
        before, line = b",\n", self._file.readline(MOST_BYTES)
        while line.startswith(b"{") and line.endswith(b"\n") and before.endswith(b",\n"):
            try:
                yield _image_of(line[:-2] if line.endswith(b",\n") else line[:-1])
            except (DecodeError, orjson.JSONDecodeError, UnicodeDecodeError) as error:
                raise Odd from error
            before, line = line, self._file.readline(MOST_BYTES)
        rest = line + self._file.read(MOST_BYTES)
        if before.endswith(b",\n") or self.frame[self._start :] != rest:
            raise Odd


def find_lines(file: BinaryIO) -> Lines | None:
    """The file as lines, if each of them is an image that both readers would read alike; else None."""
    file.seek(0, SEEK_SET)
    head = file.readline(MOST_BYTES)
    if not head.startswith(b"{") or not head.endswith(START):
        return None
    try:
        nested, last = _look_at_images(file)
        tail = last + file.read(MOST_BYTES)
        frame = head + tail
        if file.read(1) or b"\\u" in frame or not _is_frame(head, tail):
            return None
    except (Odd, DecodeError, orjson.JSONDecodeError, UnicodeDecodeError):
        return None
    return Lines(file, len(head), frame, nested=nested)


def trust_lines(file: BinaryIO) -> Lines | None:
    """The file as lines if its beginning and its end look like it, for ``images_on_trust``; else None."""
    file.seek(0, SEEK_SET)
    head = file.readline(MOST_BYTES)
    tail = _tail(file, len(head))
    try:
        plain = head.startswith(b"{") and head.endswith(START) and b"\\u" not in head + tail
        if not plain or not _is_frame(head, tail):
            return None
    except orjson.JSONDecodeError:
        return None
    return Lines(file, len(head), head + tail, nested=True)


def _tail(file: BinaryIO, start: int) -> bytes:
    """What comes after the last image: from the last line that begins with a bracket, or nothing."""
    end = file.seek(0, SEEK_END)
    file.seek(max(start - 1, end - MOST_TAIL, 0), SEEK_SET)
    text = file.read(MOST_TAIL)
    return text[text.rfind(b"\n]") + 1 :] if b"\n]" in text else b""


def _look_at_images(file: BinaryIO) -> tuple[bool, bytes]:
    """Whether any image holds annotations, and the line after the last one. Raises Odd, DecodeError and others."""
    nested, before = False, b""
    while line := file.readline(MOST_BYTES):
        if line.startswith(b"]") and not before.endswith(b",\n"):
            return nested, line
        if (before and not before.endswith(b",\n")) or not line.startswith(b"{") or not line.endswith(b"\n"):
            raise Odd
        nested = _holds_annotations(line[:-2] if line.endswith(b",\n") else line[:-1]) or nested
        before = line
    raise Odd


def _holds_annotations(text: bytes) -> bool:
    """True if the image on this line does. Raises Odd for what the two readers might read differently."""
    image = _image_of(text)
    return isinstance(image, PlainImage) or "annotations" in image or "annotation" in image


def _image_of(text: bytes) -> PlainImage | Any:
    """The image on a line. Raises Odd for what the two readers might read differently."""
    if b"\\u" in text:
        raise Odd
    try:
        return PLAIN.decode(text)
    except DecodeError:
        if LONG_NUMBER.search(text) or not _is_shallow(text):
            raise Odd from None
        return orjson.loads(text)


def _is_shallow(text: bytes) -> bool:
    """True if brackets, those in texts too, are open no deeper than allowed: each turn closes the innermost."""
    left = text.translate(None, BRACKETS)
    for _ in range(MAX_DEPTH - ABOVE):
        if not left:
            return True
        left = CLOSED.sub(b"", left)
    return not left


def _is_frame(head: bytes, tail: bytes) -> bool:
    """True if the lines between really are the elements of the file's list of images, its only list of them."""
    mark = uuid4().hex
    value = orjson.loads(head + b'"%s"' % mark.encode() + tail)
    return value.get("images") == [mark] and "annotations" not in value
