"""Label Studio's JSON export: a list of tasks, each with an image and the annotations people gave it.

Source: Label Studio's documentation. Places and sizes are percent of the image, boxes turn clockwise about their top
left corner. The newest annotation that was not cancelled counts; predictions do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

import ijson.backends.yajl2_c as ijson
from ijson.common import JSONError

from exports.errors import BrokenFile
from exports.foreign import Entry, Json, Unreadable, number, turned
from exports.rows import FileAnnotation, FileHeader, FileImage, Problem

LABELS = {
    "rectanglelabels": "rectanglelabels", "polygonlabels": "polygonlabels", "ellipselabels": "ellipselabels",
    "choices": "choices", "vectorlabels": "vectorlabels",
}  # fmt: skip
IMAGE_KEYS = ("image", "img", "picture", "photo")


class LabelStudioFile:
    """An opened file."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        # Classes are known by the names annotations give.
        self.header = FileHeader(form="label_studio", classes=())
        if self._first_byte() != b"[":
            raise BrokenFile("The file is no Label Studio export: it must be a list of tasks.")

    def _first_byte(self) -> bytes:
        self.file.seek(0)
        return self.file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]

    def entries(self) -> Iterator[Entry]:
        """Every task with its newest annotation."""
        self.file.seek(0)
        try:
            for position, task in enumerate(ijson.items(self.file, "item", use_float=True)):
                yield from _task(task, f"[{position}]")
        except (JSONError, UnicodeDecodeError) as error:
            raise BrokenFile(f"The file is damaged: {error}") from error


def _task(task: Any, where: str) -> Iterator[Entry]:
    try:
        if not isinstance(task, dict):
            raise Unreadable("must be an object")
        name = _image_name(task)
        chosen = _newest(task)
    except Unreadable as reason:
        yield Problem(where, str(reason))
        return
    listed = chosen.get("result")
    result: list[Any] = listed if isinstance(listed, list) else []
    sizes = [(r.get("original_width"), r.get("original_height")) for r in result if isinstance(r, dict)]
    width, height = next(
        ((w, h) for w, h in sizes if type(w) is int and type(h) is int and w > 0 and h > 0), (None, None)
    )
    done = bool(chosen) and not result
    yield FileImage(name, name, width, height, status="completed" if done else None)
    for position, entry in enumerate(result):
        yield _entry(entry, name, chosen, f"{where}.annotations.result[{position}]")


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
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d")
    name = unquote(local[0] if local else parts.path).lstrip("/")
    # Uploads are renamed: eight hexadecimal digits and a dash before the name.
    folder, _, base = name.rpartition("/")
    if "upload" in folder and len(base) > 9 and base[8] == "-":
        return base[9:]
    return name


def _newest(task: Json) -> Json:
    listed = task.get("annotations") or task.get("completions") or []
    if not isinstance(listed, list):
        raise Unreadable("annotations must be a list")
    kept = [each for each in listed if isinstance(each, dict) and not each.get("was_cancelled")]
    return max(kept, key=lambda each: str(each.get("updated_at") or each.get("created_at") or ""), default={})


def _entry(entry: Any, name: str, annotation: Json, where: str) -> Entry:
    try:
        if not isinstance(entry, dict) or not isinstance(entry.get("value"), dict):
            raise Unreadable("has no value")
        kind, geometry = _shape(entry)
        labels = entry["value"].get(LABELS.get(str(entry.get("type")), ""))
        if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str):
            raise Unreadable("must have one label")
        person = annotation.get("completed_by")
        who = person.get("email") or person.get("id") if isinstance(person, dict) else person
        return FileAnnotation(name, kind, geometry, None, labels[0], where,
                              created_by=str(who)[:150] if who is not None else None)  # fmt: skip
    except Unreadable as reason:
        return Problem(where, str(reason))


def _shape(entry: Json) -> tuple[str, Json]:
    kind, value = entry.get("type"), entry["value"]
    if kind == "choices":
        return "classification", {"type": "classification"}
    if kind not in LABELS:
        raise Unreadable(f"{str(kind)[:40]} has no form here")
    width, height = (
        number(entry.get("original_width"), "original_width"),
        number(entry.get("original_height"), "original_height"),
    )
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


def _rectangle(value: Json, width: float, height: float) -> tuple[str, Json]:
    """Turned about the top left corner there, about the centre here."""
    x, w = (number(value.get(name), name) * width / 100 for name in ("x", "width"))
    y, h = (number(value.get(name), name) * height / 100 for name in ("y", "height"))
    angle = number(value.get("rotation") or 0, "rotation")
    turn = math.radians(angle)
    cx = x + math.cos(turn) * w / 2 - math.sin(turn) * h / 2
    cy = y + math.sin(turn) * w / 2 + math.cos(turn) * h / 2
    return turned(cx - w / 2, cy - h / 2, w, h, angle)
