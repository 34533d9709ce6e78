"""Label Studio's JSON export: a list of tasks, each with an image and the annotations people gave it.

Source: Label Studio's documentation. Places and sizes are percent of the image, boxes turn clockwise about their top
left corner. The newest annotation that was not cancelled counts; predictions do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

import ijson.backends.yajl2_c as ijson
from ijson.common import JSONError

from exports import brushes
from exports.errors import BrokenFile
from exports.foreign import Entry, Json, Unreadable, number, refuse_nul, size, turned
from exports.json_source import Source, first_line, refuse_deep
from exports.rows import FileAnnotation, FileHeader, FileImage, Problem

KINDS = ("rectanglelabels", "polygonlabels", "ellipselabels", "brushlabels")
IMAGE_KEYS = ("image", "img", "picture", "photo")


class LabelStudioFile:
    """An opened file."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        # Classes are known by the names annotations give.
        self.header = FileHeader(form="label_studio", classes=())
        if self._first_byte() != b"[":
            raise BrokenFile("The file is no Label Studio export: it must be a list of tasks.")
        with _damaged():
            refuse_deep(self._source())

    def _first_byte(self) -> bytes:
        self.file.seek(0)
        return self.file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]

    def _source(self) -> BinaryIO:
        self.file.seek(0)
        # Lenient: a bare NaN costs its entry, not the file.
        return Source(self.file, lenient=True)  # type: ignore[return-value]

    def entries(self) -> Iterator[Entry]:
        """Every task with its newest annotation."""
        with _damaged():
            for position, task in enumerate(ijson.items(self._source(), "item", use_float=True)):
                yield from _task(task, f"[{position}]")


@contextmanager
def _damaged() -> Iterator[None]:
    try:
        yield
    except (JSONError, UnicodeDecodeError) as error:
        raise BrokenFile(f"The file is damaged: {first_line(error)}") from error


def _task(task: Any, where: str) -> Iterator[Entry]:
    try:
        if not isinstance(task, dict):
            raise Unreadable("must be an object")
        name = refuse_nul(_image_name(task), "the image's name")
        given = _given(task)
    except Unreadable as reason:
        yield Problem(where, str(reason))
        return
    chosen = max(given, key=lambda each: str(each.get("updated_at") or each.get("created_at") or ""), default={})
    result = chosen.get("result", [])
    result = result if isinstance(result, list) else [result]
    width, height = next(filter(None, map(_told_size, result)), (None, None))
    done = bool(chosen) and not result
    yield FileImage(name, name, width, height, status="completed" if done else None)
    if len(given) > 1:
        older = f"{len(given) - 1} older annotations of the task are left out; the newest one counts"
        yield Problem(f"{where}.annotations", older, skipped=False)
    for position, entry in enumerate(result):
        yield from _entries(entry, name, chosen, f"{where}.annotations.result[{position}]")


def _told_size(entry: Any) -> tuple[int, int] | None:
    """The image's width and height as the entry tells them, if it does."""
    if not isinstance(entry, dict):
        return None
    try:
        return size(entry.get("original_width"), "original_width"), size(entry.get("original_height"), "")
    except Unreadable:
        return None


def _image_name(task: Json) -> str:
    """The image's name as the store may know it: the path of its address, or of a local file."""
    data = task.get("data")
    address = (
        next((data[key] for key in IMAGE_KEYS if isinstance(data.get(key), str)), None)
        if isinstance(data, dict)
        else None
    )
    if not address and isinstance(data, dict):
        address = next((value for value in data.values() if isinstance(value, str) and "." in value), None)
    if not address:
        raise Unreadable("names no image in data")
    try:
        parts = urlsplit(address)
    except ValueError:
        raise Unreadable(f"{address[:100]!r} is no address of an image") from None
    local = parse_qs(parts.query).get("d")
    name = unquote(local[0] if local else parts.path).lstrip("/")
    # Uploads are renamed: eight hexadecimal digits and a dash before the name.
    folder, _, base = name.rpartition("/")
    if "upload" in folder and len(base) > 9 and base[8] == "-":
        return base[9:]
    return name


def _given(task: Json) -> list[Json]:
    """The annotations people gave and did not cancel."""
    listed = task.get("annotations") or task.get("completions") or []
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise Unreadable("annotations must be a list of objects")
    return [each for each in listed if not each.get("was_cancelled")]


def _entries(entry: Any, name: str, annotation: Json, where: str) -> Iterator[Entry]:
    """The entry's annotation, or one for each of several choices."""
    try:
        if not isinstance(entry, dict) or not isinstance(entry.get("value"), dict):
            raise Unreadable("has no value")
        kind, geometry = _shape(entry)
        labels = _labels(entry)
    except Unreadable as reason:
        yield Problem(where, str(reason))
        return
    for label in labels:
        yield FileAnnotation(name, kind, geometry, None, label, where, created_by=_person(annotation))


def _labels(entry: Json) -> list[str]:
    labels = entry["value"].get(entry["type"])
    if not isinstance(labels, list) or not labels or not all(isinstance(each, str) for each in labels):
        raise Unreadable("must have a label")
    if len(labels) > 1 and entry["type"] != "choices":
        raise Unreadable("must have one label")
    return [refuse_nul(each, "its label") for each in labels]


def _person(annotation: Json) -> str | None:
    """Who drew it, by their number there: it is nobody's number here, and their address is theirs."""
    said = annotation.get("completed_by")
    who = said.get("id") if isinstance(said, dict) else said
    return f"label_studio:{who}" if type(who) is int else None


def _shape(entry: Json) -> tuple[str, Json]:
    kind, value = entry.get("type"), entry["value"]
    if kind == "choices":
        return "classification", {"type": "classification"}
    if not isinstance(kind, str) or kind not in KINDS:
        raise Unreadable(f"{str(kind)[:40]} has no form here")
    width, height = (
        size(entry.get("original_width"), "original_width"),
        size(entry.get("original_height"), "original_height"),
    )
    if kind == "brushlabels":
        return _brush(value, size(entry.get("original_width"), "width"), size(entry.get("original_height"), "height"))
    if kind == "rectanglelabels":
        return _rectangle(value, width, height)
    if kind == "ellipselabels":
        x, y = number(value.get("x"), "x") * width / 100, number(value.get("y"), "y") * height / 100
        rx, ry = (
            number(value.get("radiusX"), "radiusX") * width / 100,
            number(value.get("radiusY"), "radiusY") * height / 100,
        )
        if abs(rx - ry) > 0.01 * max(rx, ry):
            raise Unreadable("only round ellipses have a form here")
        return "circle", {"type": "circle", "center": [x, y], "radius": (rx + ry) / 2}
    points = value.get("points")
    if not isinstance(points, list) or not all(isinstance(each, list) and len(each) == 2 for each in points):
        raise Unreadable("points must be a list of [x, y]")
    pairs = [[number(x, "x") * width / 100, number(y, "y") * height / 100] for x, y in points]
    return "polygon", {"type": "polygon", "points": pairs}


def _brush(value: Json, width: int, height: int) -> tuple[str, Json]:
    packed = value.get("rle")
    if not isinstance(packed, list):
        raise Unreadable("rle must be a list of bytes")
    counts = brushes.runs_of(packed, width, height)
    return "mask", {"type": "mask", "rle": {"size": [height, width], "counts": counts}}


def _rectangle(value: Json, width: float, height: float) -> tuple[str, Json]:
    """Turned about the top left corner there, about the centre here."""
    x, w = (number(value.get(name), name) * width / 100 for name in ("x", "width"))
    y, h = (number(value.get(name), name) * height / 100 for name in ("y", "height"))
    angle = number(value.get("rotation") or 0, "rotation")
    turn = math.radians(angle)
    cx = x + math.cos(turn) * w / 2 - math.sin(turn) * h / 2
    cy = y + math.sin(turn) * w / 2 + math.cos(turn) * h / 2
    return turned(cx - w / 2, cy - h / 2, w, h, angle)
