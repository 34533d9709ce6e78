"""Every format that is read, by name; the name may be left out where the file tells it."""

from __future__ import annotations

from typing import BinaryIO

from exports import dice_reader
from exports.cvat_reader import CvatFile
from exports.errors import BrokenFile
from exports.foreign import Reader
from exports.label_studio_reader import LabelStudioFile
from exports.yolo_reader import Lookup, YoloFile

READABLE = ("dice", "coco", "yolo", "cvat", "label_studio")


def open_file(file: BinaryIO, format_name: str | None, *, lookup: Lookup, task: str) -> Reader:
    """Open a seekable file for reading; ``lookup`` finds the project's images, ``task`` is what it is read for.

    Raises BrokenFile for a file that cannot be read at all, or a format nobody reads.
    """
    name = format_name or guess(file)
    if name in ("dice", "coco"):
        return dice_reader.open_file(file)
    if name == "yolo":
        return YoloFile(file, lookup, task)
    if name == "cvat":
        return CvatFile(file)
    if name == "label_studio":
        return LabelStudioFile(file)
    raise BrokenFile(f"The format {name!r} is not read; {', '.join(READABLE)} are.")


def guess(file: BinaryIO) -> str:
    """The format by its first bytes: a zip is YOLO, XML is CVAT, a list is Label Studio, an object DICE or COCO."""
    file.seek(0)
    start = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    file.seek(0)
    if start.startswith(b"PK"):
        return "yolo"
    return {b"<": "cvat", b"[": "label_studio"}.get(start[:1], "dice")
