"""DICE 1.0, nested form, in all three kinds: published, working and export.

Source: dice-format.md sections 2 to 6. Top-level keys come in the order of its table, one image a
line, totals and hash last, so that one streaming pass is enough.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, BinaryIO, NamedTuple

import orjson

from exports import shapes
from exports.canonical import ContentHash, compact, text_and_digest, tidy, tidy_text
from exports.errors import ExportError
from exports.rows import BACKGROUND, AnnotationRow, Dataset, ImageRow, LabelClass
from exports.simple import SimpleImage
from exports.splits import SPLITS, split_of
from exports.writer import COMMA, Doubt, Gathered, Spooled, Summary, Warnings, heard, told

TASK_NAMES = {
    "detection": "object_detection",
    "classification": "image_classification",
    "segmentation": "instance_segmentation",
    "keypoint": "keypoint_detection",
    "line": "line_detection",
    "geometry": "geometry_detection",
}
SOURCE = "platform_labeler_v1.0"
NO_CLASS = "(no class)"
STATES = ("draft", "confirmed", "verified")
STATE_CODES = {state: at << 2 for at, state in enumerate(STATES)}
SMALL, MEDIUM = 32**2, 96**2

Json = dict[str, Any]


class DicePiece(NamedTuple):
    """Images as DICE text with their digests and what the statistics need of them."""

    digests: bytes  # 32 bytes an image
    flags: bytes  # a byte an image: the place of its split, and NEGATIVE if it holds nothing
    codes: bytes  # four bytes an annotation, see _code
    text: bytes  # each image followed by a comma and a new line
    chosen: bytes  # the splits a person chose, as members of an object, each followed by a comma
    # What the flat mirror adds: the annotations that have a box, each followed by a comma and a new line.
    flat: bytes
    doubts: bytes


NEGATIVE = 4
SIZES = ("", "small", "medium", "large")
CLASSLESS = (1 << 28) - 1


@dataclass
class _Totals:
    flags: Counter[int] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)

    @property
    def images(self) -> int:
        return self.flags.total()

    @property
    def annotations(self) -> int:
        return self.codes.total()

    def splits(self) -> dict[str, int]:
        return {name: sum(self.flags[at | more] for more in (0, NEGATIVE)) for at, name in enumerate(SPLITS)}

    def negative(self) -> int:
        return sum(count for flag, count in self.flags.items() if flag & NEGATIVE)

    def states(self) -> dict[str, int]:
        return self._by(STATES, lambda code: STATES[code >> 2 & 3])

    def box_sizes(self) -> dict[str, int]:
        sizes = self._by(SIZES, lambda code: SIZES[code & 3])
        return {name: sizes[name] for name in SIZES[1:]}

    def classes(self, names: Sequence[str]) -> dict[str, int]:
        counts = self._by(names, lambda code: NO_CLASS if code >> 4 == CLASSLESS else names[code >> 4])
        return dict(counts)

    def _by(self, names: Sequence[str], name_of: Callable[[int], str]) -> Counter[str]:
        counts = Counter(dict.fromkeys(names, 0))
        for code, count in self.codes.items():
            counts[name_of(code)] += count
        return counts


class DiceWriter:
    """Writes one DICE file to ``out``."""

    piece = DicePiece
    laid = {"text": COMMA, "flat": COMMA}

    def __init__(self, dataset: Dataset, out: BinaryIO) -> None:
        self.dataset = dataset
        self.by_key = dataset.class_by_key
        self.classes = class_entries(dataset)
        self.out = Gathered(out)
        self.totals = _Totals()
        self.is_empty = True
        self.hash = ContentHash(dataset.dataset_id, TASK_NAMES[dataset.task_type], self.classes)
        self.warnings = Warnings()
        self._is_working = dataset.version_type == "working"
        self.takes_simple = not self._is_working and not dataset.flat_mirror
        self._told_classes = {entry.key: _told_class(entry) for entry in dataset.classes}
        # Both grow with the images, so they wait on disk for the end of the file.
        self.chosen, self.flat = Spooled(out), Spooled(out)
        self.chosen_count = 0
        self.starts: dict[str, int] = {}

    def begin(self) -> None:
        """Everything above ``images``."""
        dataset = self.dataset
        head = {
            "format_version": "1.0",
            "dataset_id": dataset.dataset_id,
            "dataset_name": dataset.dataset_name,
            "project_id": dataset.project_id,
            "task_type": TASK_NAMES[dataset.task_type],
            "version": dataset.version,
            "version_type": dataset.version_type,
            "include_draft": dataset.include_draft,
            "created_at": dataset.created_at,
            "last_modified_at": dataset.last_modified_at,
            "storage_info": dataset.storage_info,
            "classes": self.classes,
        }
        self.out.write(compact(head)[:-1] + b',"images":[')

    def render(self, image: ImageRow, simple: SimpleImage | None = None) -> DicePiece:
        """The image as one line of JSON, and its digest.

        Raises ExportError if a published file would hold an image without size or an annotation
        without class (dice-format.md rule 4), or if a row names a class that is not listed.
        """
        split = split_of(image.file_name, image.split, self.dataset.split_ratios)
        classes = simple.named(self._told_classes) if simple is not None and self.takes_simple else None
        if simple is not None and classes is not None:
            text, in_order = _simple_texts(simple, split, classes)
            digest, codes = sha256(in_order).digest(), _simple_codes(simple, classes)
            return _piece(image, split, text=text, digest=digest, codes=codes, negative=not simple.rows)
        kept, doubts = without_idle_markers(image)
        if self.dataset.version_type == "published":
            _check_publishable(image, kept)
        element = self._element(image, kept, split)
        text, digest = text_and_digest(element)
        codes, negative = [self._code(row) for row in kept], all(row.type == "no_object" for row in kept)
        piece = _piece(image, split, text=text, digest=digest, codes=codes, negative=negative, doubts=doubts)
        return piece._replace(flat=self._flat(element)) if self.dataset.flat_mirror else piece

    def _code(self, row: AnnotationRow) -> int:
        """What the statistics need of an annotation: class, state and the size of a box in 28, 2 and 2 bits."""
        index = self._class_of(row)[0]
        size = _size(shapes.area(row)) if row.type == "bbox" else 0
        return (CLASSLESS if index is None else index) << 4 | STATE_CODES[row.state] | size

    def append(self, piece: DicePiece) -> tuple[()]:
        """Write a line an image and count them."""
        self.out.write(b"\n" if self.is_empty else COMMA)
        self.is_empty = False
        self.starts.setdefault("text", self.out.position)
        # The comma after the last is written with the next.
        self.out.write(memoryview(piece.text)[:-2])
        self.hash.add(piece.digests)
        self.totals.flags.update(piece.flags)
        self.totals.codes.update(memoryview(piece.codes).cast("I"))
        self.chosen_count += piece.chosen.count(b",")
        self.chosen.add(piece.chosen[:-1], b",")
        self.flat.add(piece.flat[:-2], COMMA)
        for doubts in heard(piece.doubts):
            self.warnings.add_all(doubts)
        return ()

    def finish(self) -> Summary:
        """Splits, a person's own choice of them, statistics, the content hash, and the flat mirror."""
        content_hash = self.hash.value()
        splits = self.totals.splits()
        self.out.write(b"\n]," + compact({"splits": splits})[1:-1])
        if self.chosen_count:
            self.out.write(b',"split_config":' + compact(self._split_config())[:-1] + b',"splits":{')
            self.chosen.pour(self.out)
            self.out.write(b"}}")
        tail = {"statistics": self._statistics(splits), "content_hash": content_hash}
        self.out.write(b"," + compact(tail)[1:-1])
        if self.dataset.flat_mirror:
            categories = [entry for entry in self.classes if entry["name"] != BACKGROUND]
            self.out.write(b"," + compact({"categories": categories})[1:-1] + b',"annotations":[\n')
            self.starts["flat"] = self.out.position
            self.flat.pour(self.out)
            self.out.write(b"\n]")
        self.out.write(b"}\n")
        self.out.flush()
        totals = self.totals
        return Summary(totals.annotations, totals.images, content_hash, self.warnings.listed(), self.starts)

    def _split_config(self) -> Json:
        """What a person chose, but the choices (dice-format.md section 2); ``created_by`` would have to be a number."""
        return {
            "method": "manual" if self.chosen_count == self.totals.images else "partial",
            "default_ratio": list(self.dataset.split_ratios),
            "seed": 0,
            "created_at": self.dataset.last_modified_at,
        }

    @staticmethod
    def _flat(element: Json) -> bytes:
        return b"".join(tidy_text(entry) + COMMA for entry in element["annotations"] if "bbox" in entry)

    def _statistics(self, splits: dict[str, int]) -> Json:
        totals = self.totals
        annotations = totals.annotations
        average = round(annotations / totals.images, 2) if totals.images else 0
        names = [entry["name"] for entry in self.classes]
        return {
            "total_images": totals.images,
            "total_annotations": annotations,
            "avg_annotations_per_image": tidy(average),
            "class_distribution": totals.classes(names),
            "split_distribution": splits,
            "state_distribution": totals.states(),
            "negative_images": totals.negative(),
            "bbox_size_stats": totals.box_sizes(),
        }

    def _element(self, image: ImageRow, kept: list[AnnotationRow], split: str) -> Json:
        annotations = [self._annotation(row, image) for row in kept]
        element: Json = {
            "id": image.id,
            "file_name": image.file_name,
            "file_format": file_format(image.file_name),
            "width": image.width,
            "height": image.height,
            "depth": image.depth,
            "split": split,
            "annotations": annotations,
        }
        labels = [entry for entry in annotations if entry["type"] == "classification"]
        if len(labels) == 1 and labels[0]["class_id"] is not None:
            element["annotation"] = {name: labels[0].get(name) for name in ("class_id", "class_name", "confidence")}
        element["metadata"] = {
            "labeled_by": image.labeled_by,
            "labeled_at": image.labeled_at,
            "reviewed_by": image.reviewed_by,
            "reviewed_at": image.reviewed_at,
            "source": SOURCE,
            "status": image.status,
        }
        if self._is_working:
            element["x_first_modified_at"] = image.first_modified_at
            element["x_last_modified_at"] = image.last_modified_at
        return element

    def _annotation(self, row: AnnotationRow, image: ImageRow) -> Json:
        index, name = self._class_of(row)
        entry = {
            "id": row.id,
            "image_id": image.id,
            "class_id": index,
            "category_id": index,
            "class_name": name,
            "type": row.type,
            **SHAPES[row.type](row),
        }
        if row.type not in shapes.SHAPELESS:
            entry["bbox"], entry["bbox_format"] = shapes.box(row), "xywh"
            entry["area"], entry["iscrowd"] = shapes.area(row), shapes.iscrowd(row.attributes)
        entry["state"], entry["attributes"] = row.state, row.attributes
        entry["confidence"] = shapes.share(row.confidence)
        if self._is_working:
            entry |= {"geometry": row.geometry, "meta": meta(row)}
            if row.client_id:
                entry["x_client_id"] = row.client_id
        return entry

    def _class_of(self, row: AnnotationRow) -> tuple[int | None, str]:
        """Class id and name."""
        if row.type == "no_object":
            if not self.dataset.has_background:
                raise ExportError(f"Annotation {row.id} is a no_object marker, but the file is to list none.")
            return len(self.dataset.classes), BACKGROUND
        if row.class_key is None:
            return None, NO_CLASS
        entry = listed_class(self.by_key, row)
        return entry.index, entry.name


# Pieces of the format --------------------------------------------------------------------------


def _piece(
    image: ImageRow,
    split: str,
    *,
    text: bytes,
    digest: bytes,
    codes: Sequence[int],
    negative: bool,
    doubts: tuple[Doubt, ...] = (),
) -> DicePiece:
    if "images" in image.file_name.split("/")[:-1]:
        doubts = (*doubts, ("path_segment_images", image.file_name))
    return DicePiece(
        digests=digest,
        flags=bytes([SPLITS.index(split) | (NEGATIVE if negative else 0)]),
        codes=array("I", codes).tobytes(),
        text=text + COMMA,
        chosen=f'"{image.id}":"{image.split}",'.encode() if image.split else b"",
        flat=b"",
        doubts=told(doubts),
    )


# Of a class: its code, and its members of an annotation, in a file and with their keys in order.
ToldClass = tuple[int, str, str]


def _told_class(entry: LabelClass) -> ToldClass:
    index, name = entry.index, _text(entry.name)
    return (
        index << 4,
        f'"class_id":{index},"category_id":{index},"class_name":{name}',
        f'"category_id":{index},"class_id":{index},"class_name":{name}',
    )


def _simple_texts(simple: SimpleImage, split: str, classes: list[ToldClass]) -> tuple[bytes, bytes]:
    """What ``_element`` gives of such an image as text, and the same with its keys in order."""
    image = simple.image
    annotations, in_order = _simple_annotations(simple, classes)
    name, extension = _text(image.file_name), _text(file_format(image.file_name))
    by, at, reviewer, reviewed = map(_text, (image.labeled_by, image.labeled_at, image.reviewed_by, image.reviewed_at))
    text = (
        f'{{"id":{image.id},"file_name":{name},"file_format":{extension},"width":{image.width}'
        f',"height":{image.height},"depth":{image.depth},"split":"{split}","annotations":[{annotations}]'
        f',"metadata":{{"labeled_by":{by},"labeled_at":{at},"reviewed_by":{reviewer},"reviewed_at":{reviewed}'
        f',"source":"{SOURCE}","status":{_text(image.status)}}}}}'
    )
    sorted_text = (
        f'{{"annotations":[{in_order}],"depth":{image.depth},"file_format":{extension},"file_name":{name}'
        f',"height":{image.height},"id":{image.id},"metadata":{{"labeled_at":{at},"labeled_by":{by}'
        f',"reviewed_at":{reviewed},"reviewed_by":{reviewer},"source":"{SOURCE}","status":{_text(image.status)}}}'
        f',"split":"{split}","width":{image.width}}}'
    )
    return text.encode(), sorted_text.encode()


def _simple_annotations(simple: SimpleImage, classes: list[ToldClass]) -> tuple[str, str]:
    """The annotations as members of a list, and the same with their keys in order."""
    image_id, kind = f'"image_id":{simple.image.id}', f'"type":"{simple.kind}"'
    outlines = [f',"segmentation":[[{outline}]]' for outline in simple.outlines] or [""] * len(simple.rows)
    columns = zip(
        simple.ids,
        classes,
        simple.boxes,
        simple.areas,
        outlines,
        [row.state for row in simple.rows],
        simple.confidences,
        simple.attributes,
        simple.in_order,
        simple.crowds,
        strict=True,
    )
    both = [
        (
            f'{{"id":{key},{image_id},{told},{kind}{outline},"bbox":[{box}],"bbox_format":"xywh","area":{area}'
            f',"iscrowd":{crowd},"state":"{state}","attributes":{attributes},"confidence":{confidence}}}',
            f'{{"area":{area},"attributes":{ordered},"bbox":[{box}],"bbox_format":"xywh",{in_order}'
            f',"confidence":{confidence},"id":{key},{image_id},"iscrowd":{crowd}{outline},"state":"{state}",{kind}}}',
        )
        for key, (_, told, in_order), box, area, outline, state, confidence, attributes, ordered, crowd in columns
    ]
    return ",".join([text for text, _ in both]), ",".join([text for _, text in both])


def _simple_codes(simple: SimpleImage, classes: list[ToldClass]) -> list[int]:
    """As ``DiceWriter._code``."""
    codes = [code | STATE_CODES[row.state] for row, (code, _, _) in zip(simple.rows, classes, strict=True)]
    if simple.kind == "polygon":
        return codes
    return [code | _size(row.area) for row, code in zip(simple.rows, codes, strict=True)]


def _text(value: str | int | None) -> str:
    return orjson.dumps(value).decode()


def class_entries(dataset: Dataset) -> list[Json]:
    """The ``classes`` list by permanent index; ``__background__`` comes last, if a marker needs it.

    Raises ExportError if the indexes are not 0..n-1 in order: readers take them for positions.
    """
    indexes = [entry.index for entry in dataset.classes]
    if indexes != list(range(len(indexes))):
        raise ExportError(f"Class indexes must be 0 to {len(indexes) - 1} in order, not {indexes}.")
    entries = [_class_entry(entry) for entry in dataset.classes]
    if dataset.has_background:
        entries.append(_class_entry(LabelClass(len(entries), BACKGROUND, BACKGROUND, "#000000", "none")))
    return entries


def listed_class(by_key: dict[str, LabelClass], row: AnnotationRow) -> LabelClass:
    """The class a row names; raises ExportError if the file does not list it (it is never guessed)."""
    try:
        return by_key[row.class_key or ""]
    except KeyError:
        raise ExportError(f"Annotation {row.id} has class {row.class_key!r}, which is not listed.") from None


def _check_publishable(image: ImageRow, kept: Sequence[AnnotationRow]) -> None:
    if not image.width or not image.height:
        raise ExportError(f"{image.file_name} has no known size; a published file needs one.")
    for row in kept:
        if row.class_key is None and row.type != "no_object":
            raise ExportError(f"Annotation {row.id} has no class; a published file needs one.")


def _class_entry(entry: LabelClass) -> Json:
    values: Json = {
        "id": entry.index,
        "name": entry.name,
        "color": entry.color,
        "supercategory": entry.supercategory,
        "key": entry.key,
    }
    if entry.description:
        values["description"] = entry.description
    if entry.keypoints:
        values["keypoints"] = list(entry.keypoints)
    if entry.skeleton:
        values["skeleton"] = [list(pair) for pair in entry.skeleton]
    return values


def without_idle_markers(image: ImageRow) -> tuple[list[AnnotationRow], tuple[Doubt, ...]]:
    """The annotations to write: a ``no_object`` marker beside objects is dropped, with a doubt for each."""
    dropped = [row for row in image.annotations if row.type == "no_object"]
    if not dropped or len(dropped) == len(image.annotations):
        return list(image.annotations), ()
    objects = [row for row in image.annotations if row.type != "no_object"]
    return objects, tuple(("no_object_beside_objects", row.id) for row in dropped)


def file_format(file_name: str) -> str:
    """Lower-case extension without the dot; ``bin`` for a name without one."""
    _stem, dot, extension = file_name.rpartition("/")[2].rpartition(".")
    return extension.lower() if dot and extension.isascii() and extension.isalnum() else "bin"


def _size(area: float) -> int:
    """The place in SIZES of a box with this area, as COCO counts."""
    return 1 if area < SMALL else 2 if area < MEDIUM else 3


def meta(row: AnnotationRow) -> Json:
    """Who and when, version and notes: what a working save must bring back."""
    return {
        "created_by": row.created_by,
        "created_at": row.created_at,
        "updated_by": row.updated_by,
        "updated_at": row.updated_at,
        "confirmed_by": row.confirmed_by,
        "confirmed_at": row.confirmed_at,
        "version": row.version,
        "notes": row.notes,
    }


def _nothing(row: AnnotationRow) -> Json:
    return {}


def _rotated(row: AnnotationRow) -> Json:
    box, corners = shapes.rotated(row)
    return {"rotated_bbox": box, "segmentation": [corners]}


def _keypoints(row: AnnotationRow) -> Json:
    return {"keypoints": shapes.flat(row.geometry["keypoints"]), "num_keypoints": shapes.shown(row)}


SHAPES: dict[str, Callable[[AnnotationRow], Json]] = {
    "bbox": _nothing,
    "rotated_bbox": _rotated,
    "polygon": lambda row: {"segmentation": shapes.rings(row)},
    "mask": lambda row: {"segmentation": row.geometry["rle"]},
    "polyline": lambda row: {"polyline": shapes.flat(row.geometry["points"])},
    "line": lambda row: {"polyline": shapes.flat(row.geometry["points"])},
    "circle": lambda row: {"circle": {"center": row.geometry["center"], "radius": row.geometry["radius"]}},
    "keypoints": _keypoints,
    "classification": _nothing,
    "no_object": lambda row: {"is_background": True},
}
