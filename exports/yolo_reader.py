"""YOLO zips: detect, segment, pose, obb and labels of whole images, as Ultralytics writes and reads them.

Source: Ultralytics' dataset formats. Rows are shares of the image size, so each image must be known with its size: a
``Lookup`` gives, by path without extension, what the project has. What a row is follows from ``task`` or ``kpt_shape``
in ``data.yaml``, else from the task it is read for: its length alone does not tell a polygon of four points from a box.
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import yaml

from exports.errors import BrokenFile
from exports.foreign import Entry, Json, Unreadable, from_corners, number, refuse_text
from exports.rows import FileAnnotation, FileClass, FileHeader, FileImage, Problem

MOST_MEMBERS = 2_000_000
MOST_BYTES = 8 * 1024**3
MOST_LABEL = 32 * 1024**2
MOST_YAML = 4 * 1024**2
MOST_RATIO = 1000
BOMB_FROM = 1024**2
TASKS = {"detect": "detection", "obb": "detection", "segment": "segmentation", "pose": "keypoint",
         "classify": "classification"}  # fmt: skip
FORMS = {"segmentation": "segment", "keypoint": "pose", "classification": "classify"}
BATCH = 500
SPLIT_FOLDERS = ("train", "val", "valid", "validation", "test")
# What reading a damaged or strange member of a zip raises.
DAMAGED = (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Known:
    """An image the project has: its path, and its size in pixels if known."""

    path: str
    width: int | None
    height: int | None


# The project's images by path without extension; several share one if only the extension tells them apart.
Lookup = Callable[[Sequence[str]], dict[str, list[Known]]]


class YoloFile:
    """An opened zip."""

    def __init__(self, file: BinaryIO, lookup: Lookup, task: str) -> None:
        try:
            self.zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError) as error:
            raise BrokenFile(f"The file is no zip: {error}") from error
        _refuse_hostile(self.zip.infolist())
        # The name of each member given twice or more: which of them counts cannot be known.
        self.doubles = {name for name, count in Counter(self.zip.namelist()).items() if count > 1}
        self.root = _root(self.zip)
        said = self._yaml()
        self.lookup = lookup
        self.points = _kpt_shape(said)
        self.form = _form(said, self.points, task)
        self.names = self._names(said)
        classes = tuple(FileClass(ref=index, name=name) for index, name in enumerate(self.names))
        self.header = FileHeader(form="yolo", classes=classes, task_type=None)

    def entries(self) -> Iterator[Entry]:
        """Every label file in the order of the zip."""
        prefix = f"{self.root}labels/"
        members = [each for each in self.zip.infolist() if each.filename.startswith(prefix)]
        labels = [each for each in members if each.filename.endswith(".txt")]
        for start in range(0, len(labels), BATCH):
            batch = [(each.filename[len(prefix) : -4], each) for each in labels[start : start + BATCH]]
            known = self.lookup([name for stem, _ in batch for name in _names_of(stem)])
            for stem, member in batch:
                found = (known[name] for name in _names_of(stem) if name in known)
                yield from self._label_file(member, next(found, []))

    def _label_file(self, member: zipfile.ZipInfo, known: list[Known]) -> Iterator[Entry]:
        if member.filename in self.doubles:
            yield Problem(member.filename, "is in the zip more than once; its rows are skipped")
            return
        if len(known) != 1:
            reason = "no image of the project has this name" if not known else "several images share this name"
            yield Problem(member.filename, f"{reason}; its rows are skipped")
            return
        image = known[0]
        try:
            text = refuse_text(self.zip.read(member), member.filename)
        except (Unreadable, *DAMAGED) as reason:
            yield Problem(member.filename, str(reason))
            return
        lines = [(place, line) for place, line in enumerate(text.splitlines(), 1) if line.strip()]
        # An empty label file says that nothing is on the image.
        yield FileImage(image.path, image.path, image.width, image.height, status=None if lines else "completed")
        for place, line in lines:
            yield self._row(line.split(), image, f"{member.filename}:{place}")

    def _row(self, words: list[str], image: Known, where: str) -> Entry:
        try:
            if not image.width or not image.height:
                raise Unreadable("the size of its image is not known")
            index = _index(words[0], self.names)
            values = [number(word, "value") for word in words[1:]]
            kind, geometry = _shape(self.form, values, image.width, image.height, self.points)
        except Unreadable as reason:
            return Problem(where, str(reason))
        # A sixth number is a confidence, as predictions have it.
        sure = values[4] if kind == "bbox" and self.form == "detect" and len(values) == 5 else None
        if sure is not None and not 0 <= sure <= 1:
            return Problem(where, f"confidence {words[5]} is not from 0 to 1")
        return FileAnnotation(
            image.path, kind, geometry, index, self.names[index], where,
            confidence=None if sure is None else round(sure * 100, 8),
        )  # fmt: skip

    def _yaml(self) -> Json:
        for name in ("data.yaml", "dataset.yaml", "data.yml"):
            try:
                member = self.zip.getinfo(self.root + name)
            except KeyError:
                continue
            if member.filename in self.doubles:
                raise BrokenFile(f"{name} is in the zip more than once.")
            if member.file_size > MOST_YAML:
                raise BrokenFile(f"{name} is larger than {MOST_YAML // 1024**2} MiB.")
            try:
                said = yaml.safe_load(refuse_text(self.zip.read(member), name))
            except (yaml.YAMLError, Unreadable, *DAMAGED, RecursionError, ValueError) as error:
                raise BrokenFile(f"{name} cannot be read: {str(error).splitlines()[0]}") from error
            return said if isinstance(said, dict) else {}
        return {}

    def _names(self, said: Json) -> list[str]:
        names = said.get("names")
        if isinstance(names, dict):
            if sorted(map(str, names), key=_as_index) != [str(index) for index in range(len(names))]:
                raise BrokenFile("names in data.yaml must count 0, 1, 2, ... without gaps.")
            names = [names[key] for key in sorted(names, key=_as_index)]
        if names is None:
            names = self._listed_names()
        # Numbers are names, too; lists are none, and their text could fill the memory.
        if not isinstance(names, list) or not names or not all(type(name) in (str, int, float) for name in names):
            raise BrokenFile("The zip has no class names: data.yaml needs names, or classes.txt a name a line.")
        if not all(str(name).strip() for name in names):
            raise BrokenFile("A class has an empty name; every class of data.yaml or classes.txt needs one.")
        return [str(name) for name in names]

    def _listed_names(self) -> list[str] | None:
        name = f"{self.root}classes.txt"
        if name not in self.zip.namelist():
            return None
        try:
            return refuse_text(self.zip.read(name), "classes.txt").rstrip().splitlines()
        except (Unreadable, *DAMAGED) as error:
            raise BrokenFile(f"classes.txt cannot be read: {error}") from error


def _as_index(key: Any) -> int:
    """The number a key of ``names`` is, also as text; -1 if it is none."""
    text = str(key) if type(key) in (int, str) else ""
    return int(text) if text.isdecimal() and len(text) < 10 else -1


def _names_of(stem: str) -> list[str]:
    """What the image of a label file may be called: ``train/a`` is also the image a of the split train."""
    split, slash, rest = stem.partition("/")
    return [stem, rest] if slash and split in SPLIT_FOLDERS else [stem]


def _refuse_hostile(members: list[zipfile.ZipInfo]) -> None:
    """Raise BrokenFile for names that leave the folder, links, encryption, and contents beyond measure."""
    if len(members) > MOST_MEMBERS:
        raise BrokenFile(f"The zip has more than {MOST_MEMBERS:,} members.")
    if sum(member.file_size for member in members) > MOST_BYTES:
        raise BrokenFile(f"The zip unpacks to more than {MOST_BYTES // 1024**3} GiB.")
    for member in members:
        name = member.filename
        if name.startswith("/") or "\\" in name or ".." in name.split("/") or ":" in name.split("/")[0]:
            raise BrokenFile(f"The zip holds the name {name!r}, which leaves its folder.")
        if member.external_attr >> 28 == 0o12:
            raise BrokenFile(f"The zip holds a link: {name!r}.")
        if member.flag_bits & 1:
            raise BrokenFile(f"The zip is encrypted: {name!r}.")
        large = member.file_size > BOMB_FROM and member.file_size > MOST_RATIO * max(1, member.compress_size)
        if large or (name.endswith(".txt") and member.file_size > MOST_LABEL):
            raise BrokenFile(f"{name!r} unpacks to {member.file_size:,} bytes, which no label file does.")


def _root(packed: zipfile.ZipFile) -> str:
    """Where ``labels/`` lies: at the top, or in the one folder everything is in."""
    names = packed.namelist()
    if any(name.startswith("labels/") for name in names):
        return ""
    roots = {name.split("/labels/")[0] + "/" for name in names if "/labels/" in name}
    if len(roots) == 1:
        return roots.pop()
    raise BrokenFile("The zip has no folder labels/ with the label files.")


def _kpt_shape(said: Json) -> tuple[int, int] | None:
    shape = said.get("kpt_shape")
    if shape is None:
        return None
    if not (isinstance(shape, list) and len(shape) == 2 and type(shape[0]) is int and shape[1] in (2, 3)):
        raise BrokenFile("kpt_shape in data.yaml must be [number of points, 2 or 3].")
    return shape[0], shape[1]


def _form(said: Json, points: tuple[int, int] | None, task: str) -> str:
    if said.get("task") in TASKS:
        return str(said["task"])
    return "pose" if points else FORMS.get(task, "detect")


def _index(word: str, names: Sequence[str]) -> int:
    index = number(word, "class id")
    if index != int(index) or not 0 <= index < len(names):
        raise Unreadable(f"class id {word} is not in names")
    return int(index)


def _shape(form: str, values: list[float], width: int, height: int, points: tuple[int, int] | None) -> tuple[str, Json]:
    if form == "classify":
        return "classification", {"type": "classification"}
    if form == "pose":
        return _pose(values, width, height, points)
    if len(values) == 4:
        return "bbox", {"type": "bbox", "bbox": _box(values, width, height)}
    if len(values) == 5 and form == "detect":
        return "bbox", {"type": "bbox", "bbox": _box(values[:4], width, height)}
    if len(values) < 6 or len(values) % 2:
        raise Unreadable(f"a row of {len(values) + 1} numbers is no box and no polygon")
    pairs = [(x * width, y * height) for x, y in zip(values[::2], values[1::2], strict=True)]
    if form == "obb":
        if len(pairs) != 4:
            raise Unreadable("a turned box has four corners")
        return from_corners(pairs)
    return "polygon", {"type": "polygon", "points": [list(pair) for pair in pairs]}


def _box(values: Sequence[float], width: int, height: int) -> list[float]:
    cx, cy, w, h = values
    return [(cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height]


def _pose(values: list[float], width: int, height: int, shape: tuple[int, int] | None) -> tuple[str, Json]:
    if shape is None:
        raise Unreadable("points need kpt_shape in data.yaml")
    count, size = shape
    if len(values) != 4 + count * size:
        raise Unreadable(f"a row of {len(values) + 1} numbers is no box with {count} points of {size}")
    points: list[list[Any]] = []
    for at in range(4, len(values), size):
        x, y, *v = values[at : at + size]
        shown = v[0] if v else 2 if (x or y) else 0
        points.append([x * width, y * height, shown] if shown else [0, 0, 0])
    return "keypoints", {"type": "keypoints", "keypoints": points, "bbox": _box(values[:4], width, height)}
