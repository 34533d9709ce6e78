"""Reading annotation files: nested DICE, flat COCO and the forms between (dice-format.md section 8).

The file streams: an image (or, in the flat form, an annotation) is the largest thing held. Entries
that cannot be read are yielded as problems with their place, one by one; only a file that cannot be
read at all raises BrokenFile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from io import SEEK_SET, BytesIO
from typing import Any, BinaryIO
from uuid import UUID

import ijson.backends.yajl2_c as ijson
from ijson.common import JSONError, ObjectBuilder
from msgspec import UNSET, to_builtins

from exports.dice_lines import Lines, PlainAnnotation, PlainImage, PlainMeta, find_lines, trust_lines
from exports.errors import BrokenFile
from exports.json_source import BUFFER, MAX_DEPTH, Source, first_line, has_surrogates
from exports.rows import BACKGROUND, FileAnnotation, FileClass, FileHeader, FileImage, Problem

IN_IMAGE = 3  # brackets open inside an image: the file's, the list's, its own
MAX_PERSON = 150
# Room above for the versions to come: a column holds 2**31 - 1.
MAX_VERSION = 10**9
NO_CLASS = "(no class)"
STATES = ("draft", "confirmed", "verified")
STATUSES = ("not-started", "in-progress", "completed")
TYPES = (
    "bbox", "rotated_bbox", "polygon", "mask", "polyline", "line", "circle", "keypoints", "classification",
    "no_object",
)  # fmt: skip
TYPE_ALIASES = {"keypoint": "keypoints", "box": "bbox", "rle": "mask"}
TOP_SCALARS = (
    "format_version", "project_id", "dataset_id", "task_type", "version", "version_type", "content_hash",
    "last_modified_at",
)  # fmt: skip
LISTS = ("images", "annotations")
NESTED = ("annotations", "annotation")
TOP_OBJECTS = ("classes", "categories", "storage_info", "split_config")

Json = dict[str, Any]
Entry = FileImage | FileAnnotation | Problem


class Unreadable(Exception):
    """An entry that cannot be read; its reason becomes a Problem."""


class DiceFile:
    """An opened annotation file: its header, and its entries as often as they are asked for."""

    def __init__(self, file: BinaryIO, lines: Lines | None = None) -> None:
        self._file = file
        self._lenient = False
        self._lines = lines or find_lines(file)
        top = self._top_of_lines(self._lines) if self._lines else self._top()
        self._has_flat = top["has_flat"]
        self._background: set[str] = set()
        self.header = self._header(top)

    def _source(self) -> BinaryIO:
        self._file.seek(0, SEEK_SET)
        return Source(self._file, lenient=self._lenient)  # type: ignore[return-value]

    # First pass: the top level ------------------------------------------------------------------

    def _top_of_lines(self, lines: Lines) -> Json:
        return {**scan_top(BytesIO(lines.frame)), "nested": lines.nested}  # type: ignore[dict-item]

    def _top(self) -> Json:
        try:
            return self._scan()
        except JSONError:
            # Python and others write bare NaN and endless integers: read on with those as text, so
            # that only the entries holding them are skipped.
            self._lenient = True
            return self._scan()

    def _scan(self) -> Json:
        if self._empty():
            return {"has_flat": False, "nested": False, "values": {}}
        self._lenient = self._lenient or has_surrogates(self._file)
        try:
            return scan_top(self._source())
        except JSONError as error:
            if self._lenient:
                raise BrokenFile(f"The file is not JSON: {first_line(error)}") from error
            raise
        except UnicodeDecodeError as error:
            raise BrokenFile(f"The file is not UTF-8: {error.reason} at byte {error.start}.") from error

    def _empty(self) -> bool:
        self._file.seek(0, SEEK_SET)
        while bite := self._file.read(BUFFER):
            if bite.strip(b"\xef\xbb\xbf \t\r\n"):
                return False
        return True

    def _header(self, top: Json) -> FileHeader:
        values = top["values"]
        _check_texts(values)
        _check_format(values.get("format_version"))
        listed = values.get("classes") if values.get("classes") is not None else values.get("categories")
        classes = _classes(listed)
        self._background = {str(entry.ref) for entry in classes if entry.name == BACKGROUND}
        storage = values.get("storage_info")
        config = values.get("split_config")
        texts = {name: _scalar(values.get(name)) for name in TOP_SCALARS if name != "format_version"}
        return FileHeader(
            form="nested" if top["nested"] else "flat" if top["has_flat"] else "empty",
            classes=tuple(entry for entry in classes if entry.name != BACKGROUND),
            image_root=_scalar(storage.get("image_root")) if isinstance(storage, dict) else None,
            split_config=config if isinstance(config, dict) else None,
            **texts,
        )

    # Second pass: the entries ---------------------------------------------------------------------

    def entries(self) -> Iterator[Entry]:
        """Every image with its nested annotations, then the flat annotations; problems in between."""
        if self._lines is not None:
            for entries in self._entries_of_lines(self._lines.images()):
                yield from entries
            return
        nested: set[str] = set()
        if self._empty():
            return
        try:
            for position, image in enumerate(ijson.items(self._source(), "images.item", use_float=True)):
                yield from self._image(image, f"images[{position}]", nested)
            if self._has_flat:
                flat = ijson.items(self._source(), "annotations.item", use_float=True)
                for position, entry in enumerate(flat):
                    yield from self._flat(entry, f"annotations[{position}]", nested)
        except (JSONError, UnicodeDecodeError) as error:
            raise BrokenFile(f"The file is damaged: {first_line(error)}") from error

    def images_on_trust(self) -> Iterator[list[Entry]]:
        """The entries of each image, of a file from ``open_lines``; raises Odd where it is not one after all."""
        assert self._lines is not None
        return self._entries_of_lines(self._lines.images_on_trust())

    def _entries_of_lines(self, images: Iterable[PlainImage | Any]) -> Iterator[list[Entry]]:
        for position, image in enumerate(images):
            where = f"images[{position}]"
            if isinstance(image, PlainImage):
                try:
                    entries = self._plain(image, where)
                except Unreadable:
                    # What is wrong is told, entry by entry, where each is read alone.
                    entries = [*self._image(to_builtins(image), where, set())]
                yield entries
            else:
                yield [*self._image(image, where, set())]

    def _plain(self, image: PlainImage, where: str) -> list[Entry]:
        """The image and its annotations, as ``_image`` and ``_read`` read them; Unreadable if there is any doubt."""
        file_id = image.id
        header = FileImage(
            file_id=file_id,
            file_name=image.file_name,
            width=_size(image.width),
            height=_size(image.height),
            depth=_size(image.depth),
            split=image.split if image.split in ("train", "val", "test") else None,
            status=image.metadata.status,
            reviewed_by=_person(image.metadata.reviewed_by, "metadata.reviewed_by"),
            reviewed_at=time_of(image.metadata.reviewed_at, "metadata.reviewed_at"),
            first_modified_at=time_of(image.x_first_modified_at, "x_first_modified_at"),
            last_modified_at=time_of(image.x_last_modified_at, "x_last_modified_at"),
        )
        return [
            header,
            *[
                self._plain_annotation(each, file_id, f"{where}.annotations[{position}]")
                for position, each in enumerate(image.annotations)
            ],
        ]

    def _plain_annotation(self, entry: PlainAnnotation, file_image_id: int | str, where: str) -> FileAnnotation:
        reference = entry.class_id if entry.category_id is UNSET else entry.category_id
        if entry.class_name == BACKGROUND or (self._background and str(reference) in self._background):
            raise Unreadable("a marker, not a shape")
        return FileAnnotation(
            file_image_id,
            entry.type,
            plain_geometry(entry),
            reference,
            entry.class_name or None,
            where,
            entry.id if entry.id is not None and entry.id > 0 else None,
            entry.state,
            entry.attributes or {},
            _confidence(entry.confidence),
            client_id=_client_id(entry.x_client_id),
            **({} if entry.meta is None else plain_meta(entry.meta)),
        )

    def _image(self, image: Any, where: str, nested: set[str]) -> Iterator[Entry]:
        try:
            header = _file_image(image)
        except Unreadable as reason:
            yield Problem(where, str(reason))
            return
        yield header
        yield from _doubts(image, where)
        listed = image.get("annotations")
        if isinstance(listed, list):
            if self._has_flat:
                nested.add(str(header.file_id))
            for position, entry in enumerate(listed):
                yield self._annotation(entry, header.file_id, f"{where}.annotations[{position}]")
        elif listed is not None:
            yield Problem(f"{where}.annotations", "must be a list")
        elif isinstance(image.get("annotation"), dict) and {"class_id", "class_name"} & set(image["annotation"]):
            label = {"type": "classification", **image["annotation"]}
            yield self._annotation(label, header.file_id, f"{where}.annotation")

    def _flat(self, entry: Any, where: str, nested: set[str]) -> Iterator[Entry]:
        image_id = entry.get("image_id") if isinstance(entry, dict) else None
        if isinstance(image_id, bool) or not isinstance(image_id, int | str):
            yield Problem(where, "names no image_id")
        elif str(image_id) not in nested:
            yield self._annotation(entry, image_id, where)

    def _annotation(self, entry: Any, file_image_id: int | str, where: str) -> Entry:
        try:
            if not isinstance(entry, dict):
                raise Unreadable("must be an object")
            check_text(entry)
            return self._read(entry, file_image_id, where)
        except Unreadable as reason:
            return Problem(where, str(reason))

    def _read(self, entry: Json, file_image_id: int | str, where: str) -> FileAnnotation:
        reference, name = _class_reference(entry)
        kind = self._kind(entry, reference, name)
        meta = _object(entry.get("meta"))
        gone = self._is_classless(entry, name)
        own_id = entry.get("id")
        return FileAnnotation(
            file_image_id=file_image_id,
            type=kind,
            geometry=geometry_of(kind, entry, self._task),
            class_ref=None if kind == "no_object" or gone else reference,
            class_name=None if kind == "no_object" or gone else name,
            where=where,
            id=own_id if isinstance(own_id, int) and not isinstance(own_id, bool) and own_id > 0 else None,
            state=_state(entry),
            attributes=_attributes(entry),
            confidence=_confidence(entry.get("confidence")),
            notes=_text(meta.get("notes"), "meta.notes"),
            version=_version(meta.get("version")),
            client_id=_client_id(entry.get("x_client_id")),
            **{f"{verb}_by": _person(meta.get(f"{verb}_by"), f"meta.{verb}_by") for verb in VERBS},
            **{f"{verb}_at": time_of(meta.get(f"{verb}_at"), f"meta.{verb}_at") for verb in VERBS},
        )

    @property
    def _task(self) -> str | None:
        return self.header.task_type

    def _is_classless(self, entry: Json, name: str | None) -> bool:
        """Our own working files name no class by two nulls; elsewhere the name decides."""
        nulls = entry.get("class_id", 0) is None and entry.get("category_id") is None
        return nulls and (name in (None, NO_CLASS) or self.header.version_type == "working")

    def _kind(self, entry: Json, reference: int | str | None, name: str | None) -> str:
        if entry.get("is_background") is True or name == BACKGROUND or str(reference) in {"-1", *self._background}:
            return "no_object"
        said = entry.get("type") or entry.get("annotation_type")
        inner = entry["geometry"] if isinstance(entry.get("geometry"), dict) else {}
        said = said or inner.get("type")
        if said is not None:
            kind = TYPE_ALIASES.get(said, said) if isinstance(said, str) else said
            if kind not in TYPES:
                raise Unreadable(f"type {said!r} is not known")
            return kind
        return guess_kind(entry, self._task) or guess_kind(inner, self._task) or "classification"


VERBS = ("created", "updated", "confirmed")


def plain_meta(meta: PlainMeta) -> Json:
    """Who and when, version and notes, as ``_read`` reads them."""
    return {
        "notes": meta.notes,
        "version": meta.version,
        "created_by": _person(meta.created_by, "meta.created_by"),
        "created_at": time_of(meta.created_at, "meta.created_at"),
        "updated_by": _person(meta.updated_by, "meta.updated_by"),
        "updated_at": time_of(meta.updated_at, "meta.updated_at"),
        "confirmed_by": _person(meta.confirmed_by, "meta.confirmed_by"),
        "confirmed_at": time_of(meta.confirmed_at, "meta.confirmed_at"),
    }


def open_file(file: BinaryIO) -> DiceFile:
    """Open a DICE or COCO file for streaming; ``file`` must be seekable. Raises BrokenFile."""
    return DiceFile(file)


def open_lines(file: BinaryIO) -> DiceFile | None:
    """The same for ``images_on_trust``, if the file looks like one of lines; else None. Raises BrokenFile."""
    lines = trust_lines(file)
    return DiceFile(file, lines) if lines else None


# The top level ------------------------------------------------------------------------------


def scan_top(source: BinaryIO) -> Json:
    """Top-level values but images and annotations, and which of the forms the file has."""
    values: Json = {}
    seen: set[str] = set()
    found = {"has_flat": False, "nested": False, "values": values}
    builder: ObjectBuilder | None = None
    key, depth, building = "", 0, ""
    # Events without their paths: the paths of a deeply nested file would fill gigabytes before its depth is seen.
    for event, value in ijson.basic_parse(source, use_float=True):
        if event == "map_key":
            if depth == 1:
                key = _new_key(value, seen)
            elif depth == IN_IMAGE and key == "images" and value in NESTED:
                found["nested"] = True
        elif depth == 0 and event != "start_map":
            raise BrokenFile("The file must hold a JSON object, not a list or a value.")
        if builder is None and depth == 1 and event not in ("map_key", "end_map"):
            if key in LISTS and event not in ("start_array", "null"):
                raise BrokenFile(f"{key} must be a list.")
            if key == "annotations" and event == "start_array":
                found["has_flat"] = True
            if key in TOP_SCALARS or key in TOP_OBJECTS:
                builder, building = ObjectBuilder(), key
        if builder is not None:
            builder.event(event, value)
        depth += (event in ("start_map", "start_array")) - (event in ("end_map", "end_array"))
        if depth > MAX_DEPTH:
            raise BrokenFile(f"The file is nested deeper than {MAX_DEPTH} levels.")
        if builder is not None and depth == 1:
            values[building], builder = builder.value, None
    return found


def _new_key(key: str, seen: set[str]) -> str:
    if key in seen:
        raise BrokenFile(f"The file gives {key} twice at its top level.")
    seen.add(key)
    return key


def _check_format(said: Any) -> None:
    if said is not None and str(said).split(".")[0] != "1":
        raise BrokenFile(f"format_version {said} is not read here; versions 1.x are.")


def _scalar(value: Any) -> str | None:
    return None if value is None or isinstance(value, dict | list) else str(value)


def _classes(listed: Any) -> list[FileClass]:
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise BrokenFile("classes must be a list.")
    classes = [_file_class(entry, position) for position, entry in enumerate(listed)]
    names: dict[str, str] = {}
    for entry in classes:
        other = names.setdefault(str(entry.ref), entry.name)
        if other != entry.name:
            raise BrokenFile(f"classes gives the id {entry.ref} to both {other} and {entry.name}.")
    return classes


def _file_class(entry: Any, position: int) -> FileClass:
    if isinstance(entry, str):
        entry = {"id": position, "name": entry}
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise BrokenFile(f"classes[{position}] has no name.")
    color = entry.get("color")
    return FileClass(
        ref=entry["id"] if _is_reference(entry.get("id")) else position,
        name=name,
        key=entry.get("key") if isinstance(entry.get("key"), str) else None,
        color=color if isinstance(color, str) and re.fullmatch(r"#[0-9A-Fa-f]{6}", color) else None,
        supercategory=entry.get("supercategory") if isinstance(entry.get("supercategory"), str) else None,
        description=entry.get("description") if isinstance(entry.get("description"), str) else "",
        keypoints=tuple(str(point) for point in _list(entry.get("keypoints"))),
        skeleton=tuple((pair[0], pair[1]) for pair in _list(entry.get("skeleton")) if _is_bone(pair)),
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _is_bone(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(each) is int and each > 0 for each in value)


def _is_reference(value: Any) -> bool:
    """Ids are numbers or texts; JSON's true is neither."""
    return isinstance(value, int | str) and not isinstance(value, bool)


def _check_texts(values: Json) -> None:
    for key, value in values.items():
        try:
            check_text(value)
        except Unreadable as reason:
            raise BrokenFile(f"{key} {reason}.") from reason


# Images -------------------------------------------------------------------------------------


def _file_image(image: Any) -> FileImage:
    if not isinstance(image, dict):
        raise Unreadable("must be an object")
    plain = {key: value for key, value in image.items() if key not in ("annotations", "annotation")}
    check_text(plain)
    name, file_id = image.get("file_name"), image.get("id")
    if not isinstance(name, str) or not name:
        raise Unreadable("has no file_name")
    if file_id is None:
        file_id = name
    if not _is_reference(file_id):
        raise Unreadable("id must be a number or a text")
    metadata = _object(image.get("metadata"))
    return FileImage(
        file_id=file_id,
        file_name=name,
        width=_size(image.get("width")),
        height=_size(image.get("height")),
        depth=_size(image.get("depth")),
        split=image.get("split") if image.get("split") in ("train", "val", "test") else None,
        status=_status(image, metadata),
        **{field: _or_none(read, value, place) for field, read, value, place in _history(image)},
    )


def _history(image: Json) -> list[tuple[str, Callable[[Any, str], str | None], Any, str]]:
    """Who reviewed the image and when, and when it changed: (field, how to read it, value, place)."""
    metadata = _object(image.get("metadata"))
    return [
        ("reviewed_by", _person, metadata.get("reviewed_by"), "metadata.reviewed_by"),
        ("reviewed_at", time_of, metadata.get("reviewed_at"), "metadata.reviewed_at"),
        ("first_modified_at", time_of, image.get("x_first_modified_at"), "x_first_modified_at"),
        ("last_modified_at", time_of, image.get("x_last_modified_at"), "x_last_modified_at"),
    ]


def _or_none(read: Callable[[Any, str], str | None], value: Any, place: str) -> str | None:
    try:
        return read(value, place)
    except Unreadable:
        return None


def _doubts(image: Json, where: str) -> Iterator[Problem]:
    """What ``_file_image`` left out of an image it could otherwise read."""
    for _, read, value, place in _history(image):
        try:
            read(value, place)
        except Unreadable as reason:
            yield Problem(where, f"{reason}; the image is read without it", skipped=False)


def _size(value: Any) -> int | None:
    """0, negative and missing sizes are unknown, to be filled from the image."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 1_000_000:
        return None
    return int(value) if value == int(value) else None


def _status(image: Json, metadata: Json) -> str | None:
    if metadata.get("status") in STATUSES:
        return metadata["status"]
    listed = image.get("annotations")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    if metadata.get("reviewed_at") and all(entry.get("state") != "draft" for entry in entries):
        return "completed"
    return "in-progress" if entries or image.get("annotation") else None


# Annotations --------------------------------------------------------------------------------


def _class_reference(entry: Json) -> tuple[int | str | None, str | None]:
    """What the annotation says of its class: an id (or a name in its place), and a name."""
    reference = entry.get("category_id") if entry.get("category_id") is not None else entry.get("class_id")
    if reference is not None and not _is_reference(reference):
        raise Unreadable("class_id must be a number or a text")
    name = entry.get("class_name")
    if name is not None and not isinstance(name, str):
        raise Unreadable("class_name must be a text")
    if name is None and isinstance(reference, str) and not reference.lstrip("-").isdigit():
        name = reference
    return reference, name or None


def guess_kind(entry: Json, task: str | None) -> str | None:
    """The type of an annotation that does not say it, from the fields it has; bbox last, as every shape has one."""
    for field, kind in (("keypoints", "keypoints"), ("rotated_bbox", "rotated_bbox"), ("circle", "circle")):
        if entry.get(field):
            return kind
    if entry.get("radius") is not None and entry.get("center") is not None:
        return "circle"
    for field in ("polyline", "line"):
        if entry.get(field):
            return "line" if task in ("line", "line_detection") and _is_pair(entry[field]) else "polyline"
    for field in ("polygon", "points", "rings"):
        if entry.get(field):
            return "polygon"
    if entry.get("rle") or (entry.get("segmentation") and isinstance(entry["segmentation"], dict)):
        return "mask"
    if entry.get("segmentation"):
        return "polygon"
    if entry.get("bbox") is not None or {"x", "y", "width", "height"} <= set(entry):
        return "bbox"
    return None


def _is_pair(value: Any) -> bool:
    try:
        return len(points_of(value)) == 2
    except (TypeError, ValueError, KeyError):
        return False


def geometry_of(kind: str, entry: Json, task: str | None) -> Json:
    """The geometry in the API's canonical shape; a ``geometry`` object wins over derived fields."""
    inner = entry["geometry"] if isinstance(entry.get("geometry"), dict) else {}
    sizes = {name: _size(inner.get(name)) for name in ("image_width", "image_height")}
    told = {name: size for name, size in sizes.items() if size}
    try:
        return {"type": kind, **GEOMETRIES[kind](inner, entry), **told}
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise Unreadable(f"its {kind} cannot be read") from error


def plain_geometry(entry: PlainAnnotation) -> Json:
    """The same for a plain box or polygon; Unreadable for one that ``geometry_of`` has to look at."""
    inner = entry.geometry
    told = {}
    if inner is not UNSET:
        sizes = {"image_width": inner.image_width, "image_height": inner.image_height}
        told = {name: size for name, size in sizes.items() if size is not UNSET}
    if entry.type == "bbox":
        box = entry.bbox if inner is UNSET or inner.bbox is UNSET else inner.bbox
        if box is not UNSET:
            return {"type": "bbox", "bbox": box, **told}
    elif inner is not UNSET and inner.rings:
        return {"type": "polygon", "rings": inner.rings, **told}
    elif entry.segmentation and (inner is UNSET or inner.rings is UNSET):
        rings = entry.segmentation
        if all(len(ring) % 2 == 0 and len(ring) > 2 for ring in rings):
            pairs = [[list(pair) for pair in zip(ring[::2], ring[1::2], strict=True)] for ring in rings]
            return {"type": "polygon", "rings": pairs, **told}
    raise Unreadable(f"its {entry.type} is spelled in an unusual way")


def points_of(value: Any) -> list[list[float]]:
    """Points from ``[[x, y], ...]`` or flat ``[x1, y1, ...]``."""
    if value and not isinstance(value[0], list | tuple | dict):
        if len(value) % 2:
            raise ValueError("odd number of coordinates")
        return [list(pair) for pair in zip(value[::2], value[1::2], strict=True)]
    return [[point["x"], point["y"]] if isinstance(point, dict) else list(point) for point in value]


def _bbox(inner: Json, entry: Json) -> Json:
    for source in (inner, entry):
        if source.get("bbox") is not None:
            box = list(source["bbox"])
            if len(box) == 4 and (entry.get("bbox_format") == "xyxy"):
                box = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            return {"bbox": box}
        if {"x", "y", "width", "height"} <= set(source):
            return {"bbox": [source["x"], source["y"], source["width"], source["height"]]}
    raise ValueError("no bbox")


def _rotated(inner: Json, entry: Json) -> Json:
    if inner.get("bbox") is not None:
        return {"bbox": list(inner["bbox"])}
    cx, cy, w, h, angle = inner.get("rotated_bbox") or entry["rotated_bbox"]
    return {"bbox": [cx - w / 2, cy - h / 2, w, h, angle]}


def _polygon(inner: Json, entry: Json) -> Json:
    for source in (inner, entry):
        if source.get("rings"):
            return {"rings": [points_of(ring) for ring in source["rings"]]}
        for field in ("points", "polygon"):
            if source.get(field):
                return {"rings": [points_of(source[field])]}
        if source.get("segmentation"):
            value = source["segmentation"]
            nested = isinstance(value[0], list | tuple)
            pairs = nested and value[0] and len(value[0]) == 2 and len(value) > 2
            return {"rings": [points_of(value)] if pairs or not nested else [points_of(ring) for ring in value]}
    raise ValueError("no polygon")


def _mask(inner: Json, entry: Json) -> Json:
    return {"rle": inner.get("rle") or entry.get("rle") or inner.get("segmentation") or entry["segmentation"]}


def _line(inner: Json, entry: Json) -> Json:
    for source in (inner, entry):
        for field in ("points", "line", "polyline"):
            if source.get(field):
                return {"points": points_of(source[field])}
    raise ValueError("no line")


def _circle(inner: Json, entry: Json) -> Json:
    for source in (inner, inner.get("circle"), entry.get("circle"), entry):
        if isinstance(source, dict) and source.get("radius") is not None:
            return {"center": list(source["center"]), "radius": source["radius"]}
    raise ValueError("no circle")


def _keypoints(inner: Json, entry: Json) -> Json:
    value = inner.get("keypoints") or entry["keypoints"]
    if not isinstance(value[0], list | tuple):
        value = [value[start : start + 3] for start in range(0, len(value), 3)]
    box = inner.get("bbox") if inner else entry.get("bbox")
    return {"keypoints": [list(point) for point in value], **({"bbox": list(box)} if box else {})}


def _nothing(inner: Json, entry: Json) -> Json:
    return {}


GEOMETRIES = {
    "bbox": _bbox,
    "rotated_bbox": _rotated,
    "polygon": _polygon,
    "mask": _mask,
    "polyline": _line,
    "line": _line,
    "circle": _circle,
    "keypoints": _keypoints,
    "classification": _nothing,
    "no_object": _nothing,
}


# Values -------------------------------------------------------------------------------------


def _state(entry: Json) -> str:
    state = "confirmed" if entry.get("state") is None else entry["state"]
    if state not in STATES:
        raise Unreadable(f"state {state!r} is not one of {', '.join(STATES)}")
    return state


def _attributes(entry: Json) -> Json:
    attributes = entry.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise Unreadable("attributes must be an object")
    if entry.get("iscrowd") in (1, True) and not attributes.get("iscrowd"):
        return {**attributes, "iscrowd": 1}
    return attributes


def _confidence(value: Any) -> float | None:
    """0-100; a file's 0-1 is a share, above 1 a percentage."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise Unreadable("confidence must be a number from 0 to 1, or a percentage up to 100")
    return round(value * 100, 8) if value <= 1 else float(value)


def _text(value: Any, field: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Unreadable(f"{field} must be a text")


def _person(value: Any, field: str) -> str | None:
    text = _text(value, field)
    if text is not None and len(text) > MAX_PERSON:
        raise Unreadable(f"{field} is longer than {MAX_PERSON} characters")
    return text


def _version(value: Any) -> int | None:
    return value if type(value) is int and 1 <= value <= MAX_VERSION else None


def _client_id(value: Any) -> str | None:
    """A UUID as clients send it; the database holds nothing else."""
    if value is None:
        return None
    try:
        return str(UUID(value))
    except (TypeError, ValueError, AttributeError) as error:
        raise Unreadable("x_client_id is not a UUID") from error


def time_of(value: Any, field: str) -> str | None:
    """A time with ``Z``, any offset or none (read as UTC), as UTC with six digits and ``Z``."""
    if value is None:
        return None
    try:
        return _utc(value)
    except OverflowError as error:
        raise Unreadable(f"{field} is out of range") from error
    except (TypeError, ValueError) as error:
        raise Unreadable(f"{field} is not a time") from error


@lru_cache(maxsize=4096)
def _utc(text: str) -> str:
    """What was drawn, imported or confirmed at once has one time: most are asked for again and again."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def check_text(value: Any, depth: int = 0) -> None:
    """Refuse what no database text may hold: NUL, in keys and values; ``Source`` makes NUL of half a surrogate pair."""
    if isinstance(value, str):
        if "\x00" in value:
            raise Unreadable("holds a NUL character or half of a surrogate pair")
    elif isinstance(value, dict):
        for key, each in value.items():
            check_text(key, depth + 1)
            check_text(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            if not isinstance(each, int | float):
                check_text(each, depth + 1)
