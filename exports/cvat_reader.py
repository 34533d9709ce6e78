"""CVAT for images 1.1 (XML): boxes, polygons, lines, masks, ellipses, skeletons and tags.

Source: CVAT's documentation of the format. The file streams, an image at a time. Documents with a DTD are refused
before anything is parsed: entities are how XML reads what it should not.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any, BinaryIO

from exports.errors import BrokenFile
from exports.foreign import Entry, Json, Unreadable, number, size, turned
from exports.rows import FileAnnotation, FileClass, FileHeader, FileImage, Problem

BITE = 1024 * 1024
SUBSETS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
MOST_PIXELS = 100_000_000
# Of one image with everything on it (or of the head), which is held as a whole; a longer tag is parsed over and over.
MOST_BYTES = 32 * 1024 * 1024
MOST_PARTS = 250_000
MOST_DEPTH = 64
RUNS = re.compile(rb"\x00+|\x01+")


class _Held:
    """How much of a file is in memory; raises BrokenFile where it is more than any image has."""

    def __init__(self) -> None:
        self.bytes = self.parts = 0

    def bite(self, size: int) -> None:
        """So many bytes more."""
        self.bytes += size
        if self.bytes > MOST_BYTES + BITE:
            raise BrokenFile(f"A single image, or tag, has more than {MOST_BYTES // 1024**2} MiB.")

    def part(self, depth: int) -> None:
        """An element more, so deep."""
        self.parts += 1
        if depth > MOST_DEPTH:
            raise BrokenFile(f"The file is nested deeper than {MOST_DEPTH} levels.")
        if self.parts > 2 * MOST_PARTS:
            raise BrokenFile(f"A single image has more than {MOST_PARTS:,} elements.")

    def forget(self) -> None:
        """All of it is gone."""
        self.bytes = self.parts = 0


class CvatFile:
    """An opened file."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        _refuse_hostile(file)
        self.skeletons: dict[str, list[str]] = {}
        self.header = FileHeader(form="cvat", classes=tuple(self._classes()))

    def _events(self) -> Iterator[tuple[int, str, Any]]:
        """(how deep, "start" or "end", element); what is below the root is forgotten after its end."""
        self.file.seek(0)
        parser: Any = ElementTree.XMLPullParser(("start", "end"))
        root: Any = None
        depth, held = 0, _Held()
        try:
            while bite := self.file.read(BITE):
                parser.feed(bite)
                held.bite(len(bite))
                for event, element in parser.read_events():
                    root = element if root is None else root
                    depth += (event == "start") - (event == "end")
                    yield depth, event, element
                    held.part(depth)
                    if depth == 1 and event == "end":
                        root.clear()
                        held.forget()
            parser.close()
        except ElementTree.ParseError as error:
            raise BrokenFile(f"The file is not XML: {error}") from error
        except (LookupError, ValueError) as error:
            raise BrokenFile(f"The file names an encoding that is not read here; send it as UTF-8: {error}") from error

    def _classes(self) -> Iterator[FileClass]:
        """The labels of ``meta``; those of a skeleton's points belong to it and are no classes."""
        for depth, event, element in self._events():
            if depth == 1 and event == "start" and element.tag != "annotations":
                raise BrokenFile("The file is no CVAT for images: its first element must be <annotations>.")
            if event == "end" and element.tag == "labels":
                yield from self._labels(element)
            if event == "start" and element.tag == "image":
                return

    def _labels(self, labels: Any) -> Iterator[FileClass]:
        for label in labels.findall("label"):
            name = (label.findtext("name") or "").strip()
            if not name or label.findtext("parent"):
                continue
            points = [
                each.findtext("name") or "" for each in labels.findall("label") if each.findtext("parent") == name
            ]
            self.skeletons[name] = points
            color = label.findtext("color")
            yield FileClass(
                ref=name, name=name, color=color if color and len(color) == 7 else None, keypoints=tuple(points)
            )

    def entries(self) -> Iterator[Entry]:
        """Every image with what is on it."""
        for depth, event, element in self._events():
            if depth != 1 or event == "start":
                continue
            if element.tag == "image":
                yield from self._image(element)
            elif element.tag == "track":
                where = f"track {element.get('id') or '?'} {element.get('label') or ''}".rstrip()
                yield Problem(where, "belongs to a video; export the task as CVAT for images")

    def _image(self, element: Any) -> Iterator[Entry]:
        name = element.get("name") or ""
        where = f"image {element.get('id') or '?'} {name}"
        if not name:
            yield Problem(where, "has no name")
            return
        try:
            width, height = size(element.get("width"), "width"), size(element.get("height"), "height")
        except Unreadable as reason:
            yield Problem(where, str(reason))
            return
        yield FileImage(name, name, width, height, split=SUBSETS.get((element.get("subset") or "").lower()))
        for position, shape in enumerate(each for each in element):
            place = f"{where}, {shape.tag} {position + 1}"
            try:
                kind, geometry = self._shape(shape, width, height)
                yield FileAnnotation(name, kind, geometry, shape.get("label"), shape.get("label"), place,
                                     attributes=_attributes(shape))  # fmt: skip
            except Unreadable as reason:
                yield Problem(place, str(reason))

    def _shape(self, shape: Any, width: int, height: int) -> tuple[str, Json]:
        if not shape.get("label"):
            raise Unreadable("has no label")
        read = {"box": _box, "ellipse": _ellipse, "polygon": _polygon, "polyline": _polyline, "tag": _tag}.get(
            shape.tag
        )
        if read is not None:
            return read(shape)
        if shape.tag == "mask":
            return _mask(shape, width, height)
        if shape.tag == "skeleton":
            return self._skeleton(shape)
        raise Unreadable(f"a {str(shape.tag)[:40]} has no form here")

    def _skeleton(self, shape: Any) -> tuple[str, Json]:
        names = self.skeletons.get(shape.get("label") or "", [])
        told = {each.get("label"): each for each in shape.findall("points")}
        if not names or not set(told) <= set(names):
            raise Unreadable("its points are not those the label lists")
        points: list[list[float]] = []
        for name in names:
            each = told.get(name)
            if each is None or each.get("outside") == "1":
                points.append([0, 0, 0])
            else:
                pairs = _pairs(each)
                if len(pairs) != 1:
                    raise Unreadable(f"its point {name} must be one x,y")
                points.append([*pairs[0], 1 if each.get("occluded") == "1" else 2])
        return "keypoints", {"type": "keypoints", "keypoints": points}


def _refuse_hostile(file: BinaryIO) -> None:
    file.seek(0)
    start = file.read(4)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start:
        raise BrokenFile("The file must be UTF-8.")
    end = start
    while bite := file.read(BITE):
        if b"<!DOCTYPE" in end + bite or b"<!ENTITY" in end + bite:
            raise BrokenFile("The file has a DTD; annotation files need none, so it is not read.")
        end = bite[-16:]


def _attributes(shape: Any) -> Json:
    told: Json = {each.get("name") or "": each.text or "" for each in shape.findall("attribute")}
    told |= {"occluded": True} if shape.get("occluded") == "1" else {}
    return {name: value for name, value in told.items() if name}


def _pairs(shape: Any) -> list[tuple[float, float]]:
    pairs = [each.split(",") for each in (shape.get("points") or "").split(";") if each]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise Unreadable("points must be x,y;x,y;...")
    return [(number(x, "x"), number(y, "y")) for x, y in pairs]


def _box(shape: Any) -> tuple[str, Json]:
    left, top, right, bottom = (number(shape.get(name), name) for name in ("xtl", "ytl", "xbr", "ybr"))
    return turned(left, top, right - left, bottom - top, number(shape.get("rotation") or 0, "rotation"))


def _ellipse(shape: Any) -> tuple[str, Json]:
    cx, cy, rx, ry = (number(shape.get(name), name) for name in ("cx", "cy", "rx", "ry"))
    if abs(rx - ry) > 0.01 * max(rx, ry):
        raise Unreadable("only round ellipses have a form here")
    return "circle", {"type": "circle", "center": [cx, cy], "radius": (rx + ry) / 2}


def _polygon(shape: Any) -> tuple[str, Json]:
    return "polygon", {"type": "polygon", "points": [list(pair) for pair in _pairs(shape)]}


def _polyline(shape: Any) -> tuple[str, Json]:
    return "polyline", {"type": "polyline", "points": [list(pair) for pair in _pairs(shape)]}


def _tag(shape: Any) -> tuple[str, Json]:
    return "classification", {"type": "classification"}


def _whole(value: Any, field: str) -> int:
    said = number(value, field)
    if said != int(said):
        raise Unreadable(f"{field} {value!r} is not a whole number")
    return int(said)


def _mask(shape: Any, width: int, height: int) -> tuple[str, Json]:
    """CVAT's runs go along the rows of the mask's own rectangle, ours down the columns of the image."""
    left, top, w, h = (_whole(shape.get(name), name) for name in ("left", "top", "width", "height"))
    if not (left >= 0 and top >= 0 and w > 0 and h > 0 and left + w <= width and top + h <= height):
        raise Unreadable("its rectangle leaves the image")
    if width * height > MOST_PIXELS:
        raise Unreadable("the image is too large for a mask")
    runs = [_whole(each, "rle") for each in (shape.get("rle") or "").split(",")]
    if any(run < 0 for run in runs) or sum(runs) != w * h:
        raise Unreadable(f"rle must sum to {w * h}, width times height")
    flat = b"".join(bytes([position % 2]) * run for position, run in enumerate(runs))
    columns = b"".join(bytes(top) + flat[column::w] + bytes(height - top - h) for column in range(w))
    pixels = bytes(left * height) + columns + bytes((width - left - w) * height)
    counts = [len(found[0]) for found in RUNS.finditer(pixels)]
    return "mask", {"type": "mask", "rle": {"size": [height, width], "counts": [0, *counts] if pixels[0] else counts}}
