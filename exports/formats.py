"""The formats by name: their writer, file name and content type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from exports.coco import CocoPiece, CocoWriter
from exports.dice import DicePiece, DiceWriter
from exports.keys import FILES
from exports.rows import Dataset
from exports.writer import Writer
from exports.yolo import YoloPiece, YoloWriter


@dataclass(frozen=True)
class Format:
    """How one format is written and what its file is called."""

    file_name: str
    content_type: str
    writer: Callable[[Dataset, BinaryIO], Writer]
    # The names of the strands of its pieces.
    strands: tuple[str, ...]
    # Those that lie in the file as they are, with what each image ends with there.
    laid: dict[str, bytes]


FORMATS = {
    "dice": Format(FILES["dice"], "application/json", DiceWriter, DicePiece._fields, DiceWriter.laid),
    "coco": Format(FILES["coco"], "application/json", CocoWriter, CocoPiece._fields, CocoWriter.laid),
    "yolo": Format(FILES["yolo"], "application/zip", YoloWriter, YoloPiece._fields, YoloWriter.laid),
}
