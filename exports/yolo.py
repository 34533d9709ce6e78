"""YOLO: a zip of one label file an image, lists of the splits, names, ``data.yaml`` and what was left out.

Source: dice-format.md section 10 and Ultralytics' dataset formats. Each task has one form, named in ``data.yaml``, as
loaders take a row's meaning from its length; all values are shares of the image size:

- detect: ``class cx cy w h``; circles are written as their box;
- obb, where any box of the project is rotated: ``class x1 y1 x2 y2 x3 y3 x4 y4``, plain boxes too, by their corners;
- segment: ``class x1 y1 x2 y2 ...``, a row a ring, as YOLO cannot tie parts together; masks by their outlines;
- pose: ``class cx cy w h px py v ...`` with as many points as the class with most, ``kpt_shape`` and ``flip_idx``;
- classify: loaders want folders of images by class, which a zip without images cannot be: ``classification.csv`` has
  ``split,path,class_id,class_name`` a label, and the label files a box of the whole image.

What a form cannot carry is counted by reason in ``left_out.json`` and in the version's warnings. ``data.yaml`` has no
``path``: loaders then start from the folder it lies in.
"""

from __future__ import annotations

import csv
import re
import struct
from array import array
from collections.abc import Sequence
from hashlib import blake2b
from io import StringIO
from itertools import cycle
from operator import mul, truediv
from typing import BinaryIO, NamedTuple

import orjson

from exports import outlines, shapes
from exports.dice import listed_class, without_idle_markers
from exports.errors import ExportError
from exports.rows import AnnotationRow, Dataset, ImageRow, LabelClass
from exports.simple import SimpleImage
from exports.splits import SPLITS, split_of
from exports.writer import Doubt, Gathered, Spooled, Summary, Warnings, heard, spool_beside, told
from exports.zipstream import ZipStream, member

# Twice the area of a ring, in shares: what is more than this is more than nothing, however it is rounded.
SURE = 0.000001
# Six decimals: less than this would be written as a box without width.
LEAST = 0.000001


class YoloPiece(NamedTuple):
    """Label files, packed, with all that the zip says of them and of their images."""

    heads: bytes  # HEAD of each image
    members: bytes
    entries: bytes  # of the zip's directory
    lines: bytes  # in the list of the image's split
    labels: bytes  # lines of classification.csv
    doubts: bytes  # lines of an image's name and its doubts


# Digest of the label file's name (0: the image's name is not safe in a zip), the lengths of member, entry, line and
# labels, how many annotations the label file holds, and the place of the split.
HEAD = struct.Struct("<QIIIIIB")
Head = tuple[int, int, int, int, int, int, int]
IN_LIST = "./images/"
# An empty part of a path, one that leads elsewhere, a separator of other systems, a control character.
UNSAFE = re.compile(r"(?:^|/)\.{0,2}(?:/|\Z)|[\\\x00-\x1f\x7f]")


class YoloWriter:
    """Writes one YOLO zip to ``out``."""

    piece = YoloPiece
    laid = {"members": b""}

    def __init__(self, dataset: Dataset, out: BinaryIO) -> None:
        self.dataset = dataset
        self.by_key = dataset.class_by_key
        self._indexes = {entry.key: entry.index for entry in dataset.classes}
        self.form = form_of(dataset)
        self.takes_simple = self.form in LIKE_SIMPLE
        self.points = max((len(entry.keypoints) for entry in dataset.classes), default=0)
        self.out, self.csv = out, Spooled(out)
        self.zip: ZipStream
        self.spools: dict[str, BinaryIO]
        self.lists: dict[str, Gathered]
        self.names = Names()
        self.image_count = self.annotation_count = 0
        self.warnings = Warnings()
        self.starts: dict[str, int] = {}

    def begin(self) -> None:
        """Names of the classes, by id. No file is opened before: who only renders needs none."""
        self.zip = ZipStream(self.out)
        self.spools = {name: spool_beside(self.out) for name in SPLITS}
        self.lists = {name: Gathered(spool) for name, spool in self.spools.items()}
        names = [entry.name for entry in self.dataset.classes]
        # A line a class, whatever is in its name: data.yaml has it as it is.
        self.zip.add("classes.txt", "".join(f"{' '.join(name.splitlines())}\n" for name in names).encode())
        self.zip.add("data.yaml", data_yaml(self.dataset, self.form, self.points).encode())

    def render(self, image: ImageRow, simple: SimpleImage | None = None) -> YoloPiece:
        """The image's label file; a shape YOLO has no form for becomes a doubt."""
        classes = simple.named(self._indexes) if simple is not None and self.takes_simple else None
        if simple is not None and classes is not None:
            return self._piece(image, *_simple_text(simple, classes))
        kept, doubts = without_idle_markers(image)
        lines, left_out, count = [], list(doubts), 0
        for row in kept:
            written, reason = self._lines(row, image)
            lines += written
            count += bool(written)
            if reason:
                left_out.append((reason, row.id))
        return self._piece(image, "".join(lines), count, left_out, kept)

    def _piece(
        self, image: ImageRow, text: str, count: int, left_out: list[Doubt], kept: Sequence[AnnotationRow] = ()
    ) -> YoloPiece:
        name = label_name(image.file_name)
        if name is None:
            unsafe = told([image.file_name, [("unsafe_file_name", image.file_name)]])
            return YoloPiece(HEAD.pack(*[0] * 7), b"", b"", b"", b"", unsafe)
        split = split_of(image.file_name, image.split, self.dataset.split_ratios)
        labels = self._csv(kept, image, split).encode() if self.form == "classify" else b""
        packed, entry = member(name, text.encode())
        line = f"{IN_LIST}{image.file_name}\n".encode()
        lengths = (len(packed), len(entry), len(line), len(labels))
        head = HEAD.pack(digest_of(name), *lengths, count, SPLITS.index(split))
        return YoloPiece(head, packed, entry, line, labels, told([image.file_name, left_out] if left_out else ()))

    def append(self, piece: YoloPiece) -> list[int]:
        """Add the label files; a second image with the same label name is listed, not overwritten."""
        self.starts.setdefault("members", self.zip.offset)
        heads: list[Head] = list(HEAD.iter_unpack(piece.heads))
        again = self.names.again([head[0] for head in heads])
        # The file holds all there is of an unsafe name: nothing.
        taken = [place for place in again if heads[place][0]]
        if again:
            piece, heads = self._without(piece, heads, again)
        self.zip.add_members(piece.members, piece.entries, [head[1:3] for head in heads])
        lines = piece.lines.splitlines(keepends=True)
        for place, split in enumerate(SPLITS):
            listed = [line for line, head in zip(lines, heads, strict=True) if head[6] == place]
            self.lists[split].write(b"".join(listed))
        self.csv.add(piece.labels)
        self.image_count += len(heads)
        self.annotation_count += sum([head[5] for head in heads])
        for _, doubts in heard(piece.doubts):
            self.warnings.add_all(doubts)
        return taken

    def _without(self, piece: YoloPiece, heads: list[Head], again: set[int]) -> tuple[YoloPiece, list[Head]]:
        """The piece without the images at some places: their names are unsafe, or taken."""
        strands: list[list[bytes]] = [[], [], [], []]
        starts, taken = [0, 0, 0, 0], set()
        for place, head in enumerate(heads):
            parts = [strand[at : at + long] for strand, at, long in zip(piece[1:5], starts, head[1:5], strict=True)]
            starts = [at + long for at, long in zip(starts, head[1:5], strict=True)]
            if place not in again:
                for strand, part in zip(strands, parts, strict=True):
                    strand.append(part)
            elif head[0]:
                name = parts[2][len(IN_LIST) : -1].decode()
                self.warnings.add("label_name_collision", name)
                taken.add(name)
        doubts = [each for each in heard(piece.doubts) if each[0] not in taken]
        members, entries, lines, labels = [b"".join(strand) for strand in strands]
        left = [head for place, head in enumerate(heads) if place not in again]
        return YoloPiece(b"", members, entries, lines, labels, b"".join(map(told, doubts))), left

    def finish(self) -> Summary:
        """The lists of train, val and test images, and what was left out; counts are of what the zip holds."""
        if self.form == "classify":
            with spool_beside(self.out) as spool:
                gathered = Gathered(spool)
                gathered.write(b"split,path,class_id,class_name\n")
                self.csv.pour(gathered)
                gathered.flush()
                spool.seek(0)
                self.zip.add_file("classification.csv", spool)
        for name, spool in self.spools.items():
            self.lists[name].flush()
            spool.seek(0)
            self.zip.add_file(f"{name}.txt", spool)
            spool.close()
        self.zip.add("left_out.json", orjson.dumps(self.warnings.counts(), option=orjson.OPT_INDENT_2) + b"\n")
        self.zip.finish()
        return Summary(self.annotation_count, self.image_count, None, self.warnings.listed(), self.starts)

    def _lines(self, row: AnnotationRow, image: ImageRow) -> tuple[list[str], str | None]:
        """The row's lines, and why it (or a part of it) is not as it was drawn."""
        if row.type == "no_object":
            # An empty label file says just that.
            return [], None
        if row.type not in TYPES:
            return [], f"yolo_left_out_{row.type}"
        if row.class_key is None:
            return [], "yolo_left_out_no_class"
        parts, reason = self._parts(row, image)
        index = listed_class(self.by_key, row).index
        return [_line(index, part) for part in parts], reason

    def _parts(self, row: AnnotationRow, image: ImageRow) -> tuple[Parts, str | None]:
        """The row's parts, and why it is not whole if it is not."""
        if row.type == "classification":
            return [WHOLE_IMAGE], None
        if not image.width or not image.height:
            return [], "image_size_unknown"
        if row.type in ("polygon", "mask"):
            return _outline(row, image.width, image.height)
        if row.type == "rotated_bbox" and self.form != "obb":
            raise ExportError(f"Annotation {row.id} is a rotated box, but the file is to hold none.")
        if self.form == "obb":
            corners = _corners(row, image.width, image.height)
            return ([corners], None) if corners else ([], "nothing_inside_the_image")
        box = _box(row, image.width, image.height)
        if not box:
            return [], "nothing_inside_the_image"
        if row.type == "keypoints":
            more = len(row.geometry["keypoints"]) > self.points
            points = _points(row, image.width, image.height, self.points)
            return [[*box[0], *points]], "yolo_points_no_class_names" if more else None
        return box, "yolo_circle_as_box" if row.type == "circle" else None

    def _csv(self, kept: Sequence[AnnotationRow], image: ImageRow, split: str) -> str:
        out = StringIO()
        lines = csv.writer(out, lineterminator="\n")
        for row in kept:
            if row.type == "classification" and row.class_key is not None:
                entry = listed_class(self.by_key, row)
                lines.writerow([split, image.file_name, entry.index, entry.name])
        return out.getvalue()


class Names:
    """The label names given out, 16 to 32 bytes each: as Python texts a million would fill 150 MB.

    Kept as 64-bit digests in an open table; that two of a million names share one has odds of one
    in thirty million, and would be counted as a collision of names. Up to a hundred thousand names fit in without the
    table being made larger, so memory is the same for a small project and a large one.
    """

    def __init__(self) -> None:
        self._slots = array("Q", [0]) * (1 << 18)
        self._count = 0

    def again(self, digests: Sequence[int]) -> set[int]:
        """Take in the digests of some names; the places of those that were there already, and of zeros."""
        if 2 * (self._count + len(digests)) >= len(self._slots):
            self._grow()
        slots, mask, found = self._slots, len(self._slots) - 1, set()
        for place, digest in enumerate(digests):
            slot = digest & mask
            # 0 marks a free slot.
            while slots[slot] and slots[slot] != digest:
                slot = (slot + 1) & mask
            if slots[slot] or not digest:
                found.add(place)
            else:
                slots[slot] = digest
        self._count += len(digests) - len(found)
        return found

    def _grow(self) -> None:
        old, self._slots, self._count = self._slots, array("Q", [0]) * (2 * len(self._slots)), 0
        self.again(array("Q", filter(None, old)))


def digest_of(name: str) -> int:
    """64 bits that stand for a label file's name; never 0."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") or 1


def label_name(file_name: str) -> str | None:
    """``labels/`` and the image's path with ``.txt``; None if that could leave the folder or break a list."""
    if UNSAFE.search(file_name):
        return None
    # Not by pathlib: it interns every part of every path, and that table never shrinks.
    folder, slash, base = file_name.rpartition("/")
    stem = base.rpartition(".")[0] or base
    return f"labels/{folder}{slash}{stem}.txt"


def form_of(dataset: Dataset) -> str:
    """What every row of the dataset is: detect, obb, segment, pose or classify."""
    if dataset.task_type == "detection" and dataset.has_rotated:
        return "obb"
    return FORMS.get(dataset.task_type, "detect")


def data_yaml(dataset: Dataset, form: str, points: int) -> str:
    """``data.yaml``: JSON strings are YAML strings, so any class name comes back as it was. Every class that ever was
    is listed, so that ids stay what they are."""
    names = [entry.name for entry in dataset.classes]
    head = f"train: train.txt\nval: val.txt\ntest: test.txt\ntask: {form}\n"
    listed = "".join(f"  {index}: {_quoted(name)}\n" for index, name in enumerate(names))
    pose = f"kpt_shape: [{points}, 3]\nflip_idx: {flips(dataset.classes, points)}\n" if form == "pose" else ""
    return f"{head}nc: {len(names)}\n{pose}names:{' {}' if not names else ''}\n{listed}"


def flips(classes: Sequence[LabelClass], points: int) -> list[int]:
    """For each point the one that takes its place when the image is mirrored, by left and right in its name.

    Only what all classes agree on: a point without a partner, or one that classes pair differently, keeps its place.
    """
    partners = [_partners(entry.keypoints) for entry in classes if entry.keypoints]
    agreed = list(range(points))
    for point in range(points):
        told = {each[point] for each in partners if point < len(each)}
        if len(told) == 1:
            agreed[point] = told.pop()
    # A swap is one only if both sides say so.
    return [other if agreed[other] == point else point for point, other in enumerate(agreed)]


def _partners(names: Sequence[str]) -> list[int]:
    place = {name.lower(): index for index, name in enumerate(names)}
    return [place.get(_mirrored(name.lower()), index) for index, name in enumerate(names)]


def _mirrored(name: str) -> str:
    return SIDE.sub(lambda found: OTHER[found[0]], name)


def _quoted(name: str) -> str:
    # YAML takes a few code points as line breaks or not at all; escaped they are safe in a quoted string.
    text = orjson.dumps(name).decode()
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


# Shapes as lists of shares of the image size ------------------------------------------------------

# Forms that show a box by its centre and size, and a polygon by its outline.
LIKE_SIMPLE = ("detect", "segment")
FORMS = {"segmentation": "segment", "keypoint": "pose", "classification": "classify"}
TYPES = ("bbox", "rotated_bbox", "polygon", "mask", "circle", "keypoints", "classification")
SIDE = re.compile(r"left|right|(?<![a-z])[lr](?![a-z])")
OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}
WHOLE_IMAGE = [0.5, 0.5, 1.0, 1.0]
Parts = list[list[float]]


def _line(index: int, part: Sequence[float]) -> str:
    return f"{index}{' %.6f' * len(part) % tuple(part)}\n"


def _simple_text(simple: SimpleImage, indexes: list[int]) -> tuple[str, int, list[Doubt]]:
    """What ``YoloWriter._lines`` gives of all annotations of such an image, how many of them there are, and doubts."""
    return (_text_of_boxes if simple.kind == "bbox" else _text_of_polygons)(simple, indexes)


def _text_of_boxes(simple: SimpleImage, indexes: list[int]) -> tuple[str, int, list[Doubt]]:
    width, height = simple.size
    forms, values, left_out = [], [], []
    for row, index in zip(simple.rows, indexes, strict=True):
        shares = _box_shares(row.bbox, width, height)
        if shares is None:
            left_out.append(("nothing_inside_the_image", row.id))
        else:
            forms.append(f"{index} %.6f %.6f %.6f %.6f\n")
            values += shares
    # All numbers of an image at once: that is most of what a label file costs.
    return "".join(forms) % tuple(values), len(forms), left_out


def _text_of_polygons(simple: SimpleImage, indexes: list[int]) -> tuple[str, int, list[Doubt]]:
    width, height = simple.size
    forms, values, left_out, count = [], [], [], 0
    for row, index, rings in zip(simple.rows, indexes, simple.rings, strict=True):
        parts = [part for ring in rings if (part := _ring_shares(ring, width, height))]
        for part in parts:
            forms.append(f"{index}{' %.6f' * len(part)}\n")
            values += part
        count += bool(parts)
        if reason := _not_whole(len(parts), len(rings)):
            left_out.append((reason, row.id))
    return "".join(forms) % tuple(values), count, left_out


def _ring_shares(ring: list[int | float], width: int, height: int) -> list[float]:
    """A flat ring as shares of the image, clamped to it; nothing if no area is left."""
    shares = list(map(truediv, ring, cycle((width, height))))
    if min(shares) < 0 or max(shares) > 1:
        shares = [min(max(share, 0.0), 1.0) for share in shares]
    xs, ys = shares[::2], shares[1::2]
    area = sum(map(mul, xs, [*ys[1:], ys[0]])) - sum(map(mul, ys, [*xs[1:], xs[0]]))
    # In this order the sum is quick; what it loses by rounding is far less than SURE.
    return shares if abs(area) > SURE or _area(xs, ys) > 0 else []


def _box(row: AnnotationRow, width: int, height: int) -> Parts:
    """``[[cx, cy, w, h]]`` of the box clipped to the image; nothing when no area is left."""
    # Points in one line have a box without area, and lose nothing by it.
    share = _box_shares(shapes.box(row), width, height, flat=row.type == "keypoints")
    return [] if share is None else [share]


def _box_shares(box: Sequence[float], width: int, height: int, *, flat: bool = False) -> list[float] | None:
    """``[cx, cy, w, h]`` of the box clipped to the image; None when nothing is left, or, unless ``flat``, no area."""
    x, y, w, h = box
    left, top, right, bottom = x, y, x + w, y + h
    if left < 0 or top < 0 or right > width or bottom > height:
        left, right = max(0.0, left), min(float(width), right)
        top, bottom = max(0.0, top), min(float(height), bottom)
    if right < left or bottom < top or (not flat and (right == left or bottom == top)):
        return None
    centre = [(left + right) / 2 / width, (top + bottom) / 2 / height]
    return [*centre, max((right - left) / width, LEAST), max((bottom - top) / height, LEAST)]


def _corners(row: AnnotationRow, width: int, height: int) -> list[float]:
    """The four corners, clockwise from the top left of the unturned box, clamped to the image; nothing if none of it
    is inside. Loaders refuse coordinates beyond the image."""
    if not _box(row, width, height):
        return []
    if row.type == "rotated_bbox":
        flat = shapes.rotated(row)[1]
    else:
        x, y, w, h = shapes.box(row)
        flat = [x, y, x + w, y, x + w, y + h, x, y + h]
    return [_share(value, height if position % 2 else width) for position, value in enumerate(flat)]


def _points(row: AnnotationRow, width: int, height: int, count: int) -> list[float]:
    """``px py v`` of each point; unlabeled ones, and those a class has fewer of, are 0 0 0."""
    flat: list[float] = []
    for x, y, v in row.geometry["keypoints"][:count]:
        flat += [_share(x, width), _share(y, height), float(v)] if v > 0 else [0.0, 0.0, 0.0]
    return flat + [0.0] * (3 * count - len(flat))


def _outline(row: AnnotationRow, width: int, height: int) -> tuple[Parts, str | None]:
    """A part a ring (or an outline of the mask), its points clamped to the image; those without area are dropped."""
    holes = False
    if row.type == "mask":
        rings, holes = outlines.of_mask(row.geometry["rle"])
    else:
        rings = row.geometry["rings"]
    shares = [_shares(ring, width, height) for ring in rings]
    parts = [[value for point in zip(xs, ys, strict=True) for value in point] for xs, ys in shares if _area(xs, ys) > 0]
    return parts, "mask_holes_filled" if parts and holes else _not_whole(len(parts), len(rings))


def _not_whole(parts: int, rings: int) -> str | None:
    """Why an outline of so many rings is not as it was drawn, if so many parts of it are left."""
    if not parts:
        return "nothing_inside_the_image"
    if parts < rings:
        return "polygon_parts_outside_the_image"
    return "polygon_parts_apart" if parts > 1 else None


def _shares(ring: Sequence[Sequence[float]], width: int, height: int) -> tuple[list[float], list[float]]:
    xs, ys = [point[0] / width for point in ring], [point[1] / height for point in ring]
    if min(xs) < 0 or max(xs) > 1:
        xs = [min(max(x, 0.0), 1.0) for x in xs]
    if min(ys) < 0 or max(ys) > 1:
        ys = [min(max(y, 0.0), 1.0) for y in ys]
    return xs, ys


def _area(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Twice the area of a ring, by the shoelace formula."""
    after = zip(xs, ys, [*xs[1:], xs[0]], [*ys[1:], ys[0]], strict=True)
    return abs(sum([x1 * y2 - x2 * y1 for x1, y1, x2, y2 in after]))


def _share(value: float, whole: int) -> float:
    return min(max(value / whole, 0.0), 1.0)
