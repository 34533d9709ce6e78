"""COCO: one JSON of boxes, polygons, masks and keypoints, as pycocotools reads it.

Source: dice-format.md section 10 and the COCO data format. ``annotations`` stream out, the shorter
``images`` are spooled to a temporary file and appended; ``info`` comes last, as it counts what COCO
cannot carry. Rotated boxes are written as a polygon with its envelope, circles as boxes; lines and
labels have no form in COCO and are left out, as are ``no_object`` markers: an image without
annotations says the same.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from exports import shapes
from exports.canonical import compact, tidy_text
from exports.dice import listed_class, without_idle_markers
from exports.rows import AnnotationRow, Dataset, ImageRow, LabelClass
from exports.simple import SimpleImage
from exports.writer import COMMA, Gathered, Spooled, Summary, Warnings, heard, told

Json = dict[str, Any]


class CocoPiece(NamedTuple):
    """Entries of images and of their annotations, and what was left out."""

    images: bytes  # each followed by a comma and a new line
    annotations: bytes  # those of an image on one line, followed by a comma and a new line
    counts: bytes  # COUNT of each image: how many annotations are written
    # Lines of two lists: what was skipped, by type or reason, and doubts.
    notes: bytes


COUNT = struct.Struct("=I")


class CocoWriter:
    """Writes one COCO file to ``out``."""

    piece = CocoPiece
    laid = {"images": COMMA, "annotations": COMMA}
    takes_simple = True

    def __init__(self, dataset: Dataset, out: BinaryIO) -> None:
        self.dataset = dataset
        self.by_key = dataset.class_by_key
        self._ids = {entry.key: entry.index + 1 for entry in dataset.classes}
        self.out = Gathered(out)
        self.images = Spooled(out)
        self.image_count = self.annotation_count = 0
        self.skipped: Counter[str] = Counter()
        self.warnings = Warnings()
        self.starts: dict[str, int] = {}

    def begin(self) -> None:
        """Categories, then the open list of annotations."""
        points = self.dataset.task_type == "keypoint"
        head = {"licenses": [], "categories": [category(entry, points=points) for entry in self.dataset.classes]}
        self.out.write(compact(head)[:-1] + b',"annotations":[')

    def render(self, image: ImageRow, simple: SimpleImage | None = None) -> CocoPiece:
        """The image's entries; annotations COCO has no form for are counted and become doubts."""
        classes = simple.named(self._ids) if simple is not None else None
        if simple is not None and classes is not None:
            return _piece(image, _simple_text(simple, classes), len(classes), ())
        kept, idle = without_idle_markers(image)
        doubts, skipped = list(idle), [code for code, _ in idle]
        written = []
        for row in kept:
            if row.type == "circle":
                skipped.append("circle_as_box")
                doubts.append(("coco_circle_as_box", row.id))
            reason = _left_out(row)
            if reason is None:
                written.append(self._annotation(row, image))
            else:
                skipped.append(reason)
                # A marker loses nothing by being left out: its image is listed without annotations.
                doubts += [] if row.type == "no_object" else [(f"coco_left_out_{reason}", row.id)]
        if not image.width or not image.height:
            doubts.append(("image_size_unknown", image.file_name))
        return _piece(image, tidy_text(written)[1:-1], len(written), (skipped, doubts) if skipped or doubts else ())

    def append(self, piece: CocoPiece) -> tuple[()]:
        """Stream the annotations, spool the images."""
        if piece.annotations:
            self.out.write(COMMA if self.annotation_count else b"\n")
            self.starts.setdefault("annotations", self.out.position)
            self.out.write(memoryview(piece.annotations)[:-2])
        self.images.add(piece.images[:-2], COMMA)
        counts = memoryview(piece.counts).cast("I")
        self.annotation_count += sum(counts)
        self.image_count += len(counts)
        for skipped, doubts in heard(piece.notes):
            self.skipped.update(skipped)
            self.warnings.add_all(doubts)
        return ()

    def finish(self) -> Summary:
        """The spooled images, storage and info with what was skipped."""
        self.out.write(b'\n],"images":[')
        self.out.write(b"\n" if self.image_count else b"")
        self.starts["images"] = self.out.position
        self.images.pour(self.out)
        tail = {"storage_info": self.dataset.storage_info, "info": self._info()}
        self.out.write(b"\n]," + compact(tail)[1:] + b"\n")
        self.out.flush()
        return Summary(self.annotation_count, self.image_count, None, self.warnings.listed(), self.starts)

    def _info(self) -> Json:
        dataset = self.dataset
        return {
            "description": dataset.dataset_name,
            "version": dataset.version,
            "date_created": dataset.last_modified_at,
            "dataset_id": dataset.dataset_id,
            "project_id": dataset.project_id,
            "skipped": dict(sorted(self.skipped.items())),
        }

    def _annotation(self, row: AnnotationRow, image: ImageRow) -> Json:
        return {
            "id": row.id,
            "image_id": image.id,
            "category_id": listed_class(self.by_key, row).index + 1,
            "bbox": shapes.box(row),
            "area": shapes.area(row),
            "iscrowd": shapes.iscrowd(row.attributes),
            **SHAPES[row.type](row),
        }


def _piece(image: ImageRow, annotations: bytes, count: int, notes: tuple[Any, ...]) -> CocoPiece:
    entry = {"id": image.id, "file_name": image.file_name, "width": image.width, "height": image.height}
    # An image's annotations share a line.
    line = annotations + COMMA if annotations else b""
    return CocoPiece(compact(entry) + COMMA, line, COUNT.pack(count), told(notes))


def _simple_text(simple: SimpleImage, ids: list[int]) -> bytes:
    """What ``_annotation`` gives of each annotation of such an image, as members of a list."""
    image_id, outlines = str(simple.image.id), [f"[{outline}]" for outline in simple.outlines] or [""] * len(ids)
    columns = zip(simple.ids, ids, simple.boxes, simple.areas, simple.crowds, outlines, strict=True)
    return ",".join(
        [
            f'{{"id":{key},"image_id":{image_id},"category_id":{category_id},"bbox":[{box}],"area":{area}'
            f',"iscrowd":{crowd},"segmentation":[{outline}]}}'
            for key, category_id, box, area, crowd, outline in columns
        ]
    ).encode()


def _left_out(row: AnnotationRow) -> str | None:
    """Why COCO does not take the row: its type, or ``no_class``; None if it does."""
    if row.type not in SHAPES:
        return row.type
    return "no_class" if row.class_key is None else None


def category(entry: LabelClass, *, points: bool = False) -> Json:
    """A category; its id is the class id + 1, as COCO counts from 1. With ``points`` it always names its keypoints,
    even if it has none: loaders of keypoint files ask for them."""
    values: Json = {"id": entry.index + 1, "name": entry.name, "supercategory": entry.supercategory}
    if entry.keypoints or points:
        values["keypoints"] = list(entry.keypoints)
        values["skeleton"] = [list(pair) for pair in entry.skeleton]
    return values


def _box(row: AnnotationRow) -> Json:
    return {"segmentation": []}


def _keypoints(row: AnnotationRow) -> Json:
    points = shapes.flat(row.geometry["keypoints"])
    return {"segmentation": [], "keypoints": points, "num_keypoints": shapes.shown(row)}


SHAPES: dict[str, Callable[[AnnotationRow], Json]] = {
    "bbox": _box,
    "rotated_bbox": lambda row: {"segmentation": [shapes.rotated(row)[1]]},
    "polygon": lambda row: {"segmentation": shapes.rings(row)},
    "mask": lambda row: {"segmentation": row.geometry["rle"]},
    "circle": _box,
    "keypoints": _keypoints,
}
