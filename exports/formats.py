"""The formats by name: their writer, file name and content type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from exports.coco import CocoWriter
from exports.dice import DiceWriter
from exports.keys import FILES
from exports.rows import Dataset
from exports.writer import Writer
from exports.yolo import YoloWriter


@dataclass(frozen=True)
class Format:
    """How one format is written and what its file is called."""

    file_name: str
    content_type: str
    writer: Callable[[Dataset, BinaryIO], Writer]


FORMATS = {
    "dice": Format(FILES["dice"], "application/json", DiceWriter),
    "coco": Format(FILES["coco"], "application/json", CocoWriter),
    "yolo": Format(FILES["yolo"], "application/zip", YoloWriter),
}
