"""From an annotation file to staged rows: matching images, classes and shapes, counting what is skipped.

Only a file this very project wrote keeps its annotation ids; foreign ids are given anew. The file
streams through in batches: neither it nor the project is ever held in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from django.db import connection

from annotations import projects
from annotations.errors import AnnotationError, BrokenGeometry
from annotations.geometry import TASK_OF, Shape, checked, corners
from annotations.models import Image, LabelClass, ProjectTask
from annotations.states import TASK_ALIASES, Progress
from exports import readers
from exports.rows import FileAnnotation, FileClass, FileHeader, FileImage, Problem
from exports.yolo_reader import Known, Lookup
from versions import staging
from versions.errors import ForeignFile

BATCH = 1000
SAMPLE = 1000

FILE_IMAGES = """
DROP TABLE IF EXISTS listed_images; DROP TABLE IF EXISTS file_images;
CREATE TEMP TABLE listed_images (
    seq bigserial, file_id text NOT NULL, file_name text NOT NULL, width int, height int, status text,
    confirmed_by text, confirmed_at timestamptz, first_modified_at timestamptz, last_modified_at timestamptz,
    image_id bigint, known_width int, known_height int) ON COMMIT DROP;
CREATE TEMP TABLE file_images (LIKE listed_images, PRIMARY KEY (file_id)) ON COMMIT DROP;
"""
# The first entry of an id counts.
FIRST_ENTRIES = "INSERT INTO file_images SELECT DISTINCT ON (file_id) * FROM listed_images ORDER BY file_id, seq"
FURTHER_ENTRIES = """
SELECT l.file_id FROM listed_images l JOIN file_images f USING (file_id) WHERE l.seq > f.seq ORDER BY l.seq"""


@dataclass
class Reading:
    """What became of a file's entries. ``errors`` lists the skipped ones and ``warnings`` those that were read, but
    not as written: the first 1,000 of each; ``listing`` takes all of them, a JSON object a line."""

    staged: int = 0
    skipped: int = 0
    warned: int = 0
    total: int = 0
    errors: list[dict[str, str]] = field(default_factory=list)
    warnings: list[dict[str, str]] = field(default_factory=list)
    listing: BinaryIO | None = field(default=None, repr=False)

    def skip(self, where: str, reason: str) -> None:
        """Count and list an entry that was left out."""
        self.skipped += 1
        self._list(self.errors, "skipped", where, reason)

    def warn(self, where: str, reason: str) -> None:
        """Count and list an entry that was read, but not as written."""
        self.warned += 1
        self._list(self.warnings, "changed", where, reason)

    def _list(self, sample: list[dict[str, str]], outcome: str, where: str, reason: str) -> None:
        if len(sample) < SAMPLE:
            sample.append({"where": where, "reason": reason})
        if self.listing is not None:
            line = {"outcome": outcome, "where": where, "reason": reason}
            self.listing.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def as_dict(self) -> dict[str, Any]:
        """For answers."""
        return {
            "imported": self.staged,
            "skipped": self.skipped,
            "total": self.total,
            "warned": self.warned,
            "errors": self.errors,
            "warnings": self.warnings,
        }


def stage_file(
    path: Path,
    task: ProjectTask,
    *,
    by: str,
    format_name: str | None = "dice",
    listing: BinaryIO | None = None,
    tell: Callable[[int], None] = lambda count: None,
) -> Reading:
    """Stage an annotation file (None: its format is guessed) for ``staging.apply``; inside the transaction that
    applies it. Shapes of another task are taken as what this one holds where that is plain, and listed.

    Classes the task does not know are made; ``listing`` takes every problem as a line of JSON; ``tell`` hears how many
    annotations have been read. Raises exports.errors.BrokenFile for a file that cannot be read at all and ForeignFile
    for one of another task.
    """
    reading = Reading(listing=listing)
    with path.open("rb") as file:
        opened = readers.open_file(file, format_name, lookup=_lookup(task), task=task.task_type)
        header = opened.header
        refuse_other_task(header, task)
        _stage_file_images(opened.entries(), header, task, reading)
        classes = Classes(header.classes, task, by, reading)
        own = header.project_id == task.project_id
        staging.open_tables()
        entries = opened.entries()
        for batch in _batches((e for e in entries if isinstance(e, FileAnnotation)), BATCH):
            staging.stage_annotations(list(_rows(batch, task, classes, reading, own=own)))
            tell(reading.total)
    _drop_markers_beside_objects(reading)
    _stage_progress()
    return reading


def _lookup(task: ProjectTask) -> Lookup:
    """Finds the project's images by path without extension; they are read once, when first asked for."""
    known: dict[str, list[Known]] = {}

    def lookup(stems: Sequence[str]) -> dict[str, list[Known]]:
        if not known:
            rows = Image.objects.filter(project_id=task.project_id).values_list("path", "width", "height")
            for path, width, height in rows.iterator():
                folder, slash, base = path.rpartition("/")
                stem = f"{folder}{slash}{base.rpartition('.')[0] or base}"
                known.setdefault(stem, []).append(Known(path, width, height))
        return {stem: known[stem] for stem in stems if stem in known}

    return lookup


def refuse_other_task(header: FileHeader, task: ProjectTask) -> None:
    """Raise ForeignFile for a file that says it is of another task."""
    if header.task_type is None:
        return
    named = TASK_ALIASES.get(header.task_type, header.task_type)
    if named != task.task_type:
        raise ForeignFile(f"The file is for the task {named}, not for {task.task_type}.")


def _batches(entries: Iterable[Any], size: int) -> Iterator[list[Any]]:
    entries = iter(entries)
    while batch := list(islice(entries, size)):
        yield batch


# Images -------------------------------------------------------------------------------------

COLUMNS = (
    "file_id", "file_name", "width", "height", "status", "confirmed_by", "confirmed_at",
    "first_modified_at", "last_modified_at",
)  # fmt: skip

# Exact name, then without a leading images/, then with the image root stripped, then a unique base name.
MATCHES = (
    "i.path = f.file_name",
    "f.file_name LIKE 'images/%%' AND i.path = substr(f.file_name, 8)",
    "%(root)s <> '' AND starts_with(f.file_name, %(root)s) AND i.path = substr(f.file_name, length(%(root)s) + 1)",
)
MATCH = """
UPDATE file_images f SET image_id = i.id, known_width = i.width, known_height = i.height
FROM dataset_images i WHERE f.image_id IS NULL AND i.project_id = %(project)s AND {rule}"""
MATCH_BASE_NAME = """
UPDATE file_images f SET image_id = i.id, known_width = i.width, known_height = i.height
FROM (SELECT regexp_replace(path, '^.*/', '') AS base, min(id) AS id, min(width) AS width, min(height) AS height
      FROM dataset_images WHERE project_id = %(project)s GROUP BY 1 HAVING count(*) = 1) i
WHERE f.image_id IS NULL AND regexp_replace(f.file_name, '^.*/', '') = i.base"""


def _stage_file_images(entries: Iterable[Any], header: FileHeader, task: ProjectTask, reading: Reading) -> None:
    """First pass: every image and every problem of the file; images are matched to the project's."""
    with connection.cursor() as cursor:
        cursor.execute(FILE_IMAGES)
        # In batches: a reader may ask the database while it reads, and cannot while a COPY is open.
        for batch in _batches(_images(entries, reading), BATCH):
            staging.copy_rows("listed_images", COLUMNS, batch)
        cursor.execute(FIRST_ENTRIES)
        values = {"project": task.project_id, "root": header.image_root or ""}
        if not cursor.rowcount:
            return
        for rule in MATCHES:
            cursor.execute(MATCH.format(rule=rule), values)
        cursor.execute(MATCH_BASE_NAME, values)
        _list_doubles_and_strangers(cursor, reading)
        _learn_sizes(cursor)


def _images(entries: Iterable[Any], reading: Reading) -> Iterator[tuple[Any, ...]]:
    """Rows in the order of COLUMNS; problems go to ``reading``."""
    for entry in entries:
        if isinstance(entry, FileImage):
            yield image_row(entry)
        elif isinstance(entry, Problem):
            (reading.skip if entry.skipped else reading.warn)(entry.where, entry.reason)
            reading.total += entry.skipped


def image_row(image: FileImage) -> tuple[Any, ...]:
    """The image in the order of COLUMNS."""
    return (
        str(image.file_id),
        image.file_name,
        image.width,
        image.height,
        image.status,
        image.reviewed_by,
        image.reviewed_at,
        image.first_modified_at,
        image.last_modified_at,
    )


def _list_doubles_and_strangers(cursor: Any, reading: Reading) -> None:
    cursor.execute(FURTHER_ENTRIES)
    for (file_id,) in cursor.fetchall():
        reading.warn(f"images id {file_id}", "listed twice; the first one counts")
    cursor.execute("SELECT file_name FROM file_images WHERE image_id IS NULL ORDER BY seq")
    for (name,) in cursor.fetchall():
        reading.warn(name, "no such image in the project; its annotations are skipped")
    cursor.execute(
        "UPDATE file_images f SET image_id = NULL FROM file_images g"
        " WHERE f.image_id = g.image_id AND f.seq > g.seq RETURNING f.file_name"
    )
    for (name,) in cursor.fetchall():
        reading.warn(name, "a second entry for the same image of the project; its annotations are skipped")
    cursor.execute(
        "SELECT file_name, width, height, known_width, known_height FROM file_images WHERE image_id IS NOT NULL"
        " AND (width, height) IS DISTINCT FROM (known_width, known_height)"
        " AND width > 0 AND height > 0 AND known_width > 0 ORDER BY seq"
    )
    for name, width, height, known_width, known_height in cursor.fetchall():
        reading.warn(name, f"the file has {width} x {height} pixels, the image {known_width} x {known_height};"
                     " shapes are taken as the file has them")  # fmt: skip


def _learn_sizes(cursor: Any) -> None:
    """A size the store did not tell is taken from the file; one it did tell stays."""
    cursor.execute(
        "UPDATE dataset_images i SET width = f.width, height = f.height FROM file_images f"
        " WHERE i.id = f.image_id AND i.width IS NULL AND f.width > 0 AND f.height > 0"
    )
    cursor.execute(
        "UPDATE file_images SET known_width = width, known_height = height"
        " WHERE known_width IS NULL AND width > 0 AND height > 0"
    )


# Classes ------------------------------------------------------------------------------------


class Classes:
    """The task's classes as a file refers to them: by its own ids, by key, by name; unknown ones are made."""

    def __init__(self, listed: Iterable[FileClass], task: ProjectTask, by: str, reading: Reading) -> None:
        self.task, self.by = task, by
        self.by_name: dict[str, int] = {}
        self.by_key: dict[str, int] = {}
        # How many points a class names, by its primary key.
        self.points: dict[int, int] = {}
        for entry in LabelClass.objects.filter(project_id=task.project_id, task_type=task.task_type):
            self._know(entry)
        self.by_ref: dict[str, int] = {}
        listed = list(listed)
        self._make_unknown(listed)
        for file_class in listed:
            try:
                self.by_ref[str(file_class.ref)] = self._of(file_class)
            except ForeignFile as error:
                reading.skip(f"class {str(file_class.ref)[:100]}", str(error))
                reading.total += 1

    def _know(self, entry: LabelClass) -> int:
        self.by_name[entry.name], self.by_key[entry.class_id] = entry.pk, entry.pk
        self.points[entry.pk] = len(entry.keypoints)
        return entry.pk

    def _of(self, entry: FileClass) -> int:
        """Import matches ``key``, then ``name``."""
        if entry.key in self.by_key:
            return self.by_key[entry.key]
        if entry.name in self.by_name:
            return self.by_name[entry.name]
        return self._make(**_values(entry))

    def _make_unknown(self, listed: Iterable[FileClass]) -> None:
        """Make all unknown ones at once; where one of them cannot be made, none is, and each is tried by itself."""
        unknown: dict[str, FileClass] = {}
        for entry in listed:
            if entry.key not in self.by_key and entry.name not in self.by_name:
                unknown.setdefault(entry.name, entry)
        keys = [entry.key for entry in unknown.values() if entry.key]
        if not unknown or len(set(keys)) < len(keys):
            return
        with suppress(AnnotationError):
            for made in projects.create_classes(self.task, [_values(each) for each in unknown.values()], by=self.by):
                self._know(made)

    def _make(self, name: str, **values: Any) -> int:
        """Make a class; raises ForeignFile naming it if it cannot be one."""
        try:
            made = projects.create_class(self.task, name=name, by=self.by, **values)
        except AnnotationError as error:
            reasons = "; ".join(f"{field} {' '.join(each)}" for field, each in error.errors.items()) or str(error)
            raise ForeignFile(f"the class {name[:40]!r} cannot be made: {reasons}") from error
        return self._know(made)

    def resolve(self, annotation: FileAnnotation) -> int | None:
        """Primary key of the annotation's class: by id, then by name; None when it has none."""
        if annotation.class_ref is not None and str(annotation.class_ref) in self.by_ref:
            return self.by_ref[str(annotation.class_ref)]
        if annotation.class_name is None:
            return None
        return self.by_name.get(annotation.class_name) or self._make(annotation.class_name)


def _values(entry: FileClass) -> dict[str, Any]:
    """What the file tells of a class, as the arguments it is made with."""
    told = {
        "class_id": entry.key,
        "color": entry.color,
        "supercategory": entry.supercategory,
        "description": entry.description,
        "keypoints": list(entry.keypoints),
        "skeleton": [list(pair) for pair in entry.skeleton],
    }
    return {"name": entry.name, **{field: value for field, value in told.items() if value}}


# Annotations --------------------------------------------------------------------------------


def _rows(
    batch: list[FileAnnotation], task: ProjectTask, classes: Classes, reading: Reading, *, own: bool
) -> Iterator[tuple]:
    images = _images_of(batch)
    for entry in batch:
        reading.total += 1
        image = images.get(str(entry.file_image_id))
        try:
            row = row_of(entry, image, task, classes, reading, own=own)
        except (BrokenGeometry, ForeignFile) as error:
            reading.skip(entry.where, str(error))
            continue
        reading.staged += 1
        yield row


def _images_of(batch: list[FileAnnotation]) -> dict[str, tuple[int, int | None, int | None]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT file_id, image_id, known_width, known_height FROM file_images"
            " WHERE file_id = ANY(%s) AND image_id IS NOT NULL",
            [list({str(entry.file_image_id) for entry in batch})],
        )
        return {file_id: (image, width, height) for file_id, image, width, height in cursor.fetchall()}


def _refuse_other_points(shape: Shape, named: int) -> None:
    points = shape.geometry.get("keypoints")
    if points is not None and named and len(points) != named:
        raise ForeignFile(f"it has {len(points)} keypoints, its class names {named}")


def row_of(
    entry: FileAnnotation, image: Any, task: ProjectTask, classes: Classes, reading: Reading, *, own: bool
) -> tuple[Any, ...]:
    """The row of an annotation, in the order of ``staging.ANNOTATION_COLUMNS``; ``image`` is the key, width and height
    of its image. Raises BrokenGeometry and ForeignFile."""
    if image is None:
        raise ForeignFile(f"its image {entry.file_image_id} is not in the project")
    image_id, width, height = image
    shape = checked(entry.type, entry.geometry, width=width, height=height)
    if entry.type != "no_object" and TASK_OF.get(entry.type) != task.task_type:
        shape = _fitted(shape, task.task_type, width, height)
        reading.warn(entry.where, f"a {entry.type} is taken as a {shape.type}, as the task is {task.task_type}")
    class_pk = None if entry.type == "no_object" else classes.resolve(entry)
    if class_pk is None and entry.type != "no_object":
        if entry.class_ref is not None:
            raise ForeignFile(f"its class {entry.class_ref} is not in the file's class list")
        if entry.state != "draft":
            raise ForeignFile("it names no class, and only drafts may be without one")
    _refuse_other_points(shape, classes.points.get(class_pk or 0, 0))
    settled = entry.state != "draft"
    return (
        entry.id if own else None,
        image_id,
        shape.type,
        orjson.dumps(shape.geometry).decode(),
        None if shape.bbox is None else orjson.dumps(shape.bbox).decode(),
        shape.area,
        class_pk,
        orjson.dumps(_attributes(entry, task)).decode(),
        entry.confidence,
        entry.notes,
        entry.state,
        entry.version if own else None,
        entry.client_id,
        entry.created_by,
        entry.created_at,
        entry.updated_by or entry.created_by,
        entry.updated_at or entry.created_at,
        entry.confirmed_by if settled else None,
        entry.confirmed_at if settled else None,
    )


def _fitted(shape: Shape, task_type: str, width: int | None, height: int | None) -> Shape:
    """The shape as what the task holds: areas as boxes, boxes as polygons; raises ForeignFile for all others."""
    if task_type == "detection" and shape.type in ("polygon", "mask", "circle", "keypoints"):
        return checked("bbox", {"type": "bbox", "bbox": shape.bbox}, width=width, height=height)
    if task_type == "segmentation" and shape.type in ("bbox", "rotated_bbox"):
        box = [*shape.geometry["bbox"], 0][:5]
        return checked("polygon", {"type": "polygon", "rings": [corners(box)]}, width=width, height=height)
    raise ForeignFile(f"a {shape.type} does not belong to the task {task_type}")


def _attributes(entry: FileAnnotation, task: ProjectTask) -> dict[str, Any]:
    return {**entry.attributes, "task_type": task.task_type} if entry.type == "no_object" else entry.attributes


def _drop_markers_beside_objects(reading: Reading) -> None:
    """An image says "nothing here" or has objects, never both: the marker goes, with a warning."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM wanted_annotations m WHERE m.annotation_type = 'no_object' AND EXISTS ("
            " SELECT FROM wanted_annotations o WHERE o.image_id = m.image_id AND (o.annotation_type <> 'no_object'"
            " OR o.seq < m.seq)) RETURNING (SELECT file_name FROM file_images f WHERE f.image_id = m.image_id LIMIT 1)"
        )
        for (name,) in cursor.fetchall():
            reading.staged -= 1
            reading.skip(name, "marked as having no object beside objects; the marker is dropped")


def _stage_progress() -> None:
    """Status as the file says; else in progress where it has annotations."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO wanted_images (image_id, status, confirmed_by, confirmed_at, first_modified_at,"
            " last_modified_at) SELECT f.image_id,"
            " CASE WHEN f.status = %(completed)s AND EXISTS (SELECT FROM wanted_annotations w"
            "   WHERE w.image_id = f.image_id AND w.state = 'draft') THEN %(working)s"
            "  WHEN f.status IN (%(completed)s, %(working)s) THEN f.status"
            "  WHEN EXISTS (SELECT FROM wanted_annotations w WHERE w.image_id = f.image_id) THEN %(working)s"
            "  ELSE 'not-started' END,"
            " f.confirmed_by, f.confirmed_at, f.first_modified_at, f.last_modified_at"
            " FROM file_images f WHERE f.image_id IS NOT NULL",
            {"completed": Progress.COMPLETED, "working": Progress.IN_PROGRESS},
        )
        cursor.execute("DELETE FROM wanted_images WHERE status = 'not-started'")
