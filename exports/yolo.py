"""YOLO: a zip of one label file an image, lists of the splits, names and ``data.yaml``.

Source: dice-format.md section 10 and Ultralytics' dataset formats: ``class cx cy w h`` for detection,
``class x1 y1 x2 y2 ...`` for segmentation, all as shares of the image size. What YOLO says otherwise:

- a polygon of several rings is one row a ring: YOLO has no way to tie parts together, so the parts
  are counted under ``polygon_parts_apart``;
- a label of a classified image is its class with a box of the whole image, so that the files load
  like any others;
- rotated boxes are left out for now: a row of corners makes loaders read every box of the same file
  as a polygon. They are counted, as are masks, keypoints, lines and circles;
- ``data.yaml`` has no ``path``: loaders then start from the folder it lies in.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, BinaryIO

import orjson

from exports import shapes
from exports.dice import listed_class, without_idle_markers
from exports.rows import AnnotationRow, Dataset, ImageRow
from exports.splits import SPLITS, split_of
from exports.writer import Gathered, Summary, Warnings, spool_beside
from exports.zipstream import ZipStream

# Six decimals: less than this would be written as a box without width.
LEAST = 0.000001


@dataclass(frozen=True, slots=True)
class YoloPiece:
    """A label file's name (None if the image's name is not safe in a zip) and text, the image and its
    split, how many annotations the text holds, and what was left out."""

    name: str | None
    text: bytes
    image: str
    split: str
    count: int
    doubts: tuple[tuple[str, Any], ...]


class YoloWriter:
    """Writes one YOLO zip to ``out``."""

    def __init__(self, dataset: Dataset, out: BinaryIO) -> None:
        self.dataset = dataset
        self.by_key = dataset.class_by_key
        self.zip = ZipStream(out)
        self.spools = {name: spool_beside(out) for name in SPLITS}
        self.lists = {name: Gathered(spool) for name, spool in self.spools.items()}
        self.names = Names()
        self.image_count = self.annotation_count = 0
        self.warnings = Warnings()

    def begin(self) -> None:
        """Names of the classes, by id."""
        names = [entry.name for entry in self.dataset.classes]
        # A line a class, whatever is in its name: data.yaml has it as it is.
        self.zip.add("classes.txt", "".join(f"{' '.join(name.splitlines())}\n" for name in names).encode())
        self.zip.add("data.yaml", data_yaml(names).encode())

    def render(self, image: ImageRow) -> YoloPiece:
        """The image's label file; a shape YOLO has no form for becomes a doubt."""
        kept, doubts = without_idle_markers(image)
        lines, left_out, count = [], list(doubts), 0
        for row in kept:
            written, reason = self._lines(row, image)
            lines += written
            count += bool(written)
            if reason:
                left_out.append((reason, row.id))
        name = label_name(image.file_name)
        split = split_of(image.file_name, image.split, self.dataset.split_ratios)
        return YoloPiece(name, "".join(lines).encode(), image.file_name, split, count, tuple(left_out))

    def append(self, piece: YoloPiece) -> None:
        """Add the label file; a second image with the same label name is listed, not overwritten."""
        if piece.name is None:
            self.warnings.add("unsafe_file_name", piece.image)
        elif not self.names.add(piece.name):
            self.warnings.add("label_name_collision", piece.image)
        else:
            self.zip.add(piece.name, piece.text)
            self.lists[piece.split].write(f"./images/{piece.image}\n".encode())
            self.image_count += 1
            self.annotation_count += piece.count
            for code, subject in piece.doubts:
                self.warnings.add(code, subject)

    def finish(self) -> Summary:
        """The lists of train, val and test images; counts are of what the zip holds."""
        for name, spool in self.spools.items():
            self.lists[name].flush()
            spool.seek(0)
            self.zip.add_file(f"{name}.txt", spool)
            spool.close()
        self.zip.finish()
        return Summary(self.annotation_count, self.image_count, None, self.warnings.listed())

    def _lines(self, row: AnnotationRow, image: ImageRow) -> tuple[list[str], str | None]:
        """The row's lines, and why it (or a part of it) is not as it was drawn."""
        if row.type == "no_object":
            # An empty label file says just that.
            return [], None
        if row.type not in TYPES:
            return [], f"yolo_left_out_{row.type}"
        if row.class_key is None:
            return [], "yolo_left_out_no_class"
        parts, reason = _parts(row, image)
        index = listed_class(self.by_key, row).index
        return [_line(index, part) for part in parts], reason


class Names:
    """The label names given out, 16 to 32 bytes each: as Python texts a million would fill 150 MB.

    Kept as 64-bit digests in an open table; that two of a million names share one has odds of one
    in thirty million, and would be counted as a collision of names.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * 1024))
        self._count = 0

    def add(self, name: str) -> bool:
        """Take in a name; False if it was there already."""
        if 2 * self._count >= len(self._slots):
            self._grow()
        # 0 marks a free slot.
        digest = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") or 1
        slot = self._slot(digest)
        if self._slots[slot]:
            return False
        self._slots[slot] = digest
        self._count += 1
        return True

    def _slot(self, digest: int) -> int:
        mask = len(self._slots) - 1
        slot = digest & mask
        while self._slots[slot] not in (0, digest):
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        old, self._slots = self._slots, array("Q", bytes(16 * len(self._slots)))
        for digest in filter(None, old):
            self._slots[self._slot(digest)] = digest


def label_name(file_name: str) -> str | None:
    """``labels/`` and the image's path with ``.txt``; None if that could leave the folder or break a list."""
    parts = file_name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in file_name:
        return None
    if any(ord(each) < 32 or each == "\x7f" for each in file_name):
        return None
    # Not by pathlib: it interns every part of every path, and that table never shrinks.
    folder, slash, base = file_name.rpartition("/")
    stem = base.rpartition(".")[0] or base
    return f"labels/{folder}{slash}{stem}.txt"


def data_yaml(names: Sequence[str]) -> str:
    """``data.yaml``: JSON strings are YAML strings, so any class name comes back as it was."""
    head = "train: train.txt\nval: val.txt\ntest: test.txt\n"
    listed = "".join(f"  {index}: {_quoted(name)}\n" for index, name in enumerate(names))
    return f"{head}nc: {len(names)}\nnames:{' {}' if not names else ''}\n{listed}"


def _quoted(name: str) -> str:
    # YAML takes a few code points as line breaks or not at all; escaped they are safe in a quoted string.
    text = orjson.dumps(name).decode()
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


# Shapes as lists of shares of the image size ------------------------------------------------------

TYPES = ("bbox", "polygon", "classification")
WHOLE_IMAGE = [0.5, 0.5, 1.0, 1.0]
Parts = list[list[float]]


def _line(index: int, part: Sequence[float]) -> str:
    return " ".join([str(index), *(f"{value:.6f}" for value in part)]) + "\n"


def _parts(row: AnnotationRow, image: ImageRow) -> tuple[Parts, str | None]:
    """The row's parts, and why it is not whole if it is not."""
    if row.type == "classification":
        return [WHOLE_IMAGE], None
    if not image.width or not image.height:
        return [], "image_size_unknown"
    parts = (_box if row.type == "bbox" else _polygon)(row, image.width, image.height)
    if not parts:
        return [], "nothing_inside_the_image"
    if row.type == "polygon" and len(parts) < len(row.geometry["rings"]):
        return parts, "polygon_parts_outside_the_image"
    return parts, "polygon_parts_apart" if len(parts) > 1 else None


def _box(row: AnnotationRow, width: int, height: int) -> Parts:
    """``[[cx, cy, w, h]]`` of the box clipped to the image; nothing when no area is left."""
    x, y, w, h = shapes.box(row)
    left, right = max(0.0, x), min(float(width), x + w)
    top, bottom = max(0.0, y), min(float(height), y + h)
    if right <= left or bottom <= top:
        return []
    centre = [(left + right) / 2 / width, (top + bottom) / 2 / height]
    return [[*centre, max((right - left) / width, LEAST), max((bottom - top) / height, LEAST)]]


def _polygon(row: AnnotationRow, width: int, height: int) -> Parts:
    """A part a ring, its points clamped to the image; rings without any area left are dropped."""
    rings = [[(_share(x, width), _share(y, height)) for x, y in ring] for ring in row.geometry["rings"]]
    return [shapes.flat(ring) for ring in rings if shapes.ring_area(ring) > 0]


def _share(value: float, whole: int) -> float:
    return min(max(value / whole, 0.0), 1.0)
