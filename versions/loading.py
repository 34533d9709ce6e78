"""The first load of a file of lines: read once, each image straight into the live table, the next ones being read while
PostgreSQL writes those before.

Only a file without a flaw goes this way, into a task without annotations. Whatever there is to say of a file (something
skipped, an image the project does not know, ids of its own) is said by the general way (importing.py): what was loaded
by then is taken back, and the file is read again. Both ways make the same rows; a test holds one against the other.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from django.db import DataError, IntegrityError, connection, transaction

from annotations.errors import BrokenGeometry
from annotations.models import Annotation, ProjectTask
from annotations.progress import lock_task
from annotations.states import Progress
from exports import dice_reader
from exports.dice_lines import Odd
from exports.errors import BrokenFile
from exports.rows import FileAnnotation, FileImage
from versions import importing, staging
from versions.errors import ForeignFile
from versions.importing import Classes, Reading

# Annotations and images in one COPY, about: what its triggers look through stays within PostgreSQL's work_mem.
BATCH, BATCH_IMAGES = 1000, 500
# And bytes of the file: three batches are held at a time, as objects, which take many times as much.
BATCH_BYTES = 512 * 1024

# Those of ``staging.ANNOTATION_COLUMNS`` that such a file tells, after what all its rows have in common.
COLUMNS = (
    "project_id", "task_type", "version",
    "image_id", "annotation_type", "geometry", "bbox", "area", "class_id", "attributes", "confidence", "notes", "state",
    "created_by", "created_at", "updated_by", "updated_at", "confirmed_by", "confirmed_at",
)  # fmt: skip
TOLD = ("image_id", "task_type", "status", *importing.COLUMNS[5:])
LISTED = (*importing.COLUMNS, "image_id", "known_width", "known_height")
# Two entries for one image of the project, or two of one id, are for the general way.
TABLES = importing.FILE_IMAGES + "CREATE UNIQUE INDEX ON file_images (image_id);"
IMAGES = """
SELECT i.path, s.status, i.id, i.width, i.height FROM dataset_images i
JOIN image_annotation_status s ON s.image_id = i.id AND s.task_type = %(task_type)s
WHERE i.project_id = %(project)s AND i.path = ANY(%(paths)s)"""
PROGRESS = """
INSERT INTO wanted_images (image_id, status, confirmed_by, confirmed_at, first_modified_at, last_modified_at)
SELECT f.image_id, CASE WHEN f.status = 'completed' AND s.draft_annotations = 0 THEN 'completed' ELSE 'in-progress' END,
    f.confirmed_by, f.confirmed_at, f.first_modified_at, f.last_modified_at
FROM file_images f JOIN image_annotation_status s ON s.image_id = f.image_id AND s.task_type = %s
WHERE s.total_annotations > 0 OR f.status IN ('completed', 'in-progress')"""


@dataclass(frozen=True)
class Entry:
    """An image of the file with its annotations."""

    image: FileImage
    annotations: list[FileAnnotation]


def load(path: Path, task: ProjectTask, *, by: str) -> Reading | None:
    """Load a DICE file into the task, inside the caller's transaction; None where it has to go the general way, with
    nothing changed. Raises ForeignFile for a file of another task."""
    try:
        with path.open("rb") as file, transaction.atomic(), _no_looking_for_cycles():
            return _load(file, task, by)
    except (Odd, BrokenFile, BrokenGeometry, DataError, IntegrityError):
        return None


@contextmanager
def _no_looking_for_cycles() -> Iterator[None]:
    """The points of a batch of polygons are many small lists, none of which holds another that holds it; Python would
    look through them for such over and over, for as long as all the rest of the reading takes."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _load(file: BinaryIO, task: ProjectTask, by: str) -> Reading:
    opened = dice_reader.open_lines(file)
    if opened is None or opened.header.project_id == task.project_id:
        raise Odd
    header = opened.header
    importing.refuse_other_task(header, task)
    reading = Reading()
    classes = Classes(header.classes, task, by, reading)
    lock_task(task.project_id, task.task_type)
    if reading.skipped or Annotation.objects.filter(project_id=task.project_id, task_type=task.task_type).exists():
        raise Odd
    staging.open_tables()
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        cursor.execute("SELECT to_json(now()) #>> '{}'")
        maker = Lines(task, classes, reading, by=by, now=cursor.fetchone()[0])
    _copy_all(_batches(opened.images_on_trust(), file.tell), maker, header.image_root or "")
    if reading.warned:
        raise Odd
    with connection.cursor() as cursor:
        cursor.execute(PROGRESS, [task.task_type])
    staging.finish_load(task, reading.staged)
    return reading


def _copy_all(batches: Iterator[list[Entry]], maker: Lines, root: str) -> None:
    """Three at a time: a batch is read, the one before it becomes lines, and PostgreSQL writes the one before that."""
    with ThreadPoolExecutor(1) as ahead:
        made = b""
        batch = next(batches, [])
        while batch:
            found = _stage_images(batch, maker.task, root)
            making = ahead.submit(maker.lines_of, batch, found)
            reading: Future[list[Entry]] = ahead.submit(next, batches, [])
            _copy(made)
            made, batch = making.result(), reading.result()
        _copy(made)


def _copy(lines: bytes) -> None:
    if lines:
        with staging.copied("annotations", COLUMNS) as copy:
            copy.write(lines)


def _batches(images: Iterable[Sequence[Any]], tell: Callable[[], int]) -> Iterator[list[Entry]]:
    """``tell`` says how far the file has been read."""
    batch: list[Entry] = []
    count, began = 0, 0
    for image, *shapes in images:
        if not isinstance(image, FileImage) or not all(isinstance(each, FileAnnotation) for each in shapes):
            raise Odd
        if len(shapes) > 1 and any(each.type == "no_object" for each in shapes):
            raise Odd
        batch.append(Entry(image, shapes))
        count += len(shapes)
        if count >= BATCH or len(batch) >= BATCH_IMAGES or tell() - began >= BATCH_BYTES:
            yield batch
            batch, count, began = [], 0, tell()
    if batch:
        yield batch


Known = tuple[int, int | None, int | None]


# Images -------------------------------------------------------------------------------------


def _stage_images(batch: list[Entry], task: ProjectTask, root: str) -> list[Known]:
    """Key, width and height of the project's image for each of the batch. Raises Odd where one has none by its name, a
    started one, or another size than the file says."""
    found = _find(batch, task, root)
    pairs = list(zip(batch, found, strict=True))
    listed = ((0, *importing.image_row(entry.image), *known) for entry, known in pairs)
    staging.copy_rows("file_images", ("seq", *LISTED), listed)
    told = ((known[0], task.task_type, *_status(entry)) for entry, known in pairs if entry.annotations)
    staging.copy_rows("told_statuses", TOLD, told)
    return found


def _find(batch: list[Entry], task: ProjectTask, root: str) -> list[Known]:
    names = [_names(each.image.file_name, root) for each in batch]
    paths = [*chain.from_iterable(names)]
    values: dict[str, Any] = {"project": task.project_id, "task_type": task.task_type, "paths": paths}
    with connection.cursor() as cursor:
        cursor.execute(IMAGES, values)
        by_path = {path: (status, (image, width, height)) for path, status, image, width, height in cursor.fetchall()}
    found: list[Known] = []
    for entry, spellings in zip(batch, names, strict=True):
        told = next((by_path[name] for name in spellings if name in by_path), None)
        if told is None or told[0] != Progress.NOT_STARTED or not _has_its_size(entry.image, told[1]):
            raise Odd
        found.append(told[1])
    return found


def _status(entry: Entry) -> tuple[str | None, ...]:
    """What ``PROGRESS`` will say of an image with annotations."""
    image = entry.image
    drafts = any(each.state == "draft" for each in entry.annotations)
    status = Progress.COMPLETED if image.status == Progress.COMPLETED and not drafts else Progress.IN_PROGRESS
    return status.value, image.reviewed_by, image.reviewed_at, image.first_modified_at, image.last_modified_at


def _names(name: str, root: str) -> list[str]:
    """What the image may be called in the project, in the order of importing.MATCHES."""
    names = [name]
    if name.startswith("images/"):
        names.append(name.removeprefix("images/"))
    if root and name.startswith(root):
        names.append(name.removeprefix(root))
    return names


def _has_its_size(image: FileImage, known: Known) -> bool:
    """True if the file says no other size than the project; a size to be learned is for the general way."""
    told = (image.width, image.height)
    return told == known[1:] or not all(told)


# Annotations --------------------------------------------------------------------------------


class Lines:
    """Makes the lines of a COPY; it never asks the database, as it works while that is busy."""

    def __init__(self, task: ProjectTask, classes: Classes, reading: Reading, *, by: str, now: str) -> None:
        self.task, self.classes, self.reading, self.by, self.now = task, classes, reading, by, now

    def lines_of(self, batch: list[Entry], images: list[Known]) -> bytes:
        """The annotations of a batch. Raises Odd, BrokenGeometry and ForeignFile for what is not plain."""
        lines = [
            self._line(annotation, image)
            for entry, image in zip(batch, images, strict=True)
            for annotation in entry.annotations
        ]
        self.reading.staged += len(lines)
        self.reading.total += len(lines)
        return "".join(lines).encode()

    def _line(self, entry: FileAnnotation, image: Known) -> str:
        # No id of the file is taken over, as it is of another project; so none can be somebody's.
        if entry.client_id is not None or not self._is_of_known_class(entry):
            raise Odd
        try:
            row = importing.row_of(entry, image, self.task, self.classes, self.reading, own=False)
        except ForeignFile as error:
            raise Odd from error
        *shape, _, _, made_by, made_at, updated_by, updated_at, confirmed_by, confirmed_at = row[1:]
        made_by, made_at = self.by if made_by is None else made_by, made_at or self.now
        updated_by = made_by if updated_by is None else updated_by
        people = (made_by, made_at, updated_by, updated_at or made_at, confirmed_by, confirmed_at)
        return text_line([self.task.project_id, self.task.task_type, 1, *shape, *people])

    def _is_of_known_class(self, entry: FileAnnotation) -> bool:
        """Making one would ask the database, on a connection of this thread's own."""
        known, ref = self.classes, entry.class_ref
        listed = ref is not None and str(ref) in known.by_ref
        return entry.type == "no_object" or listed or entry.class_name in known.by_name


SPECIAL = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def text_line(values: Sequence[str | int | float | None]) -> str:
    """A line of COPY's text format; texts hold no NUL."""
    texts = ["\0" if value is None else value if isinstance(value, str) else repr(value) for value in values]
    line = "\t".join(texts)
    # Few texts hold any of these: looking at the whole line costs less than at each of its fields.
    if "\\" in line or "\n" in line or "\r" in line or line.count("\t") >= len(texts):
        line = "\t".join([text.translate(SPECIAL) for text in texts])
    return line.replace("\0", "\\N") + "\n"
