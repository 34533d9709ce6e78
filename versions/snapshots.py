"""Freezing live rows, and turning table rows, frozen or live, into export rows.

A frozen state is stored once, with the version in which it first appeared, and lasts until a later version tells of the
same annotation. The content of version N is the newest state of each up to its ordinal (``frozen_at`` in SQL). Which
images may differ is told by ``image_marks``, which every writer appends to.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import orjson
import psycopg
from django.core.files.storage import storages
from django.db import connection

from annotations.models import LabelClass, Project, ProjectTask, iso
from annotations.states import AnnotationState
from exports import rows
from versions.models import Version

VERIFIED = (AnnotationState.VERIFIED.value,)
SETTLED = (AnnotationState.CONFIRMED.value, AnnotationState.VERIFIED.value)
EVERYTHING = (AnnotationState.DRAFT.value, *SETTLED)

# The full row as JSON text: the keys are the fields of exports.rows.AnnotationRow, a class is named by its key. What is
# null of UNSAID is left out: it is so of most rows, and a fifth of their bytes. Put together as text, as
# json_build_object takes twice as long.
UNSAID = dict.fromkeys(("confidence", "notes", "client_id", "confirmed_by", "confirmed_at"))
ANNOTATION = """(
    '{"id":' || a.id || ',"type":"' || a.annotation_type || '","geometry":' || a.geometry
    || ',"bbox":' || coalesce(a.bbox::text, 'null') || ',"area":' || coalesce(a.area::text, 'null')
    || ',"class_key":' || json_text(c.class_id) || ',"state":"' || a.state || '","attributes":' || a.attributes
    || coalesce(',"confidence":' || a.confidence, '')
    || CASE WHEN a.notes IS NULL THEN '' ELSE ',"notes":' || json_text(a.notes) END
    || ',"version":' || a.version || coalesce(',"client_id":"' || a.client_id || '"', '')
    || ',"created_by":' || json_text(a.created_by) || ',"created_at":' || json_moment(a.created_at)
    || ',"updated_by":' || json_text(a.updated_by) || ',"updated_at":' || json_moment(a.updated_at)
    || CASE WHEN a.confirmed_by IS NULL THEN '' ELSE ',"confirmed_by":' || json_text(a.confirmed_by) END
    || CASE WHEN a.confirmed_at IS NULL THEN '' ELSE ',"confirmed_at":' || json_moment(a.confirmed_at) END || '}')"""

METADATA = """(
    '{"status":"' || s.status || '","labeled_by":' || json_text(first.created_by)
    || ',"labeled_at":' || json_moment(first.created_at) || ',"reviewed_by":' || json_text(s.confirmed_by)
    || ',"reviewed_at":' || json_moment(s.confirmed_at)
    || ',"first_modified_at":' || json_moment(s.first_modified_at)
    || ',"last_modified_at":' || json_moment(s.last_modified_at) || '}')"""

# Live images of a task with the earliest of the chosen annotations, which names the labeler: looked up for each image,
# where some of the images are asked for at last; for all of them in one go, which is half of the work.
EACH_FIRST = """LATERAL (
        SELECT e.created_by, e.created_at, e.id FROM annotations e
        WHERE e.project_id = s.project_id AND e.image_id = s.image_id AND e.task_type = s.task_type
          AND e.state = ANY(%(states)s)
        ORDER BY e.created_at, e.id LIMIT 1) first ON true"""
ALL_FIRST = """(
        SELECT DISTINCT ON (e.image_id) e.image_id, e.created_by, e.created_at, e.id FROM annotations e
        WHERE e.project_id = %(project)s AND e.task_type = %(task_type)s AND e.state = ANY(%(states)s)
          AND (%(images)s::bigint[] IS NULL OR e.image_id = ANY(%(images)s))
        ORDER BY e.image_id, e.created_at, e.id) first ON first.image_id = s.image_id"""
LIVE_IMAGES = """
    FROM image_annotation_status s
    JOIN dataset_images i ON i.id = s.image_id
    LEFT JOIN {first}
    WHERE s.project_id = %(project)s AND s.task_type = %(task_type)s
      AND (%(images)s::bigint[] IS NULL OR (s.image_id = ANY(%(images)s) AND i.id = ANY(%(images)s)))
      AND {listed}"""

# The live annotations of a selection.
CHOSEN = """a.project_id = %(project)s AND a.task_type = %(task_type)s AND a.state = ANY(%(states)s)
    AND (%(images)s::bigint[] IS NULL OR a.image_id = ANY(%(images)s))"""

# A file lists an image that has something to show, or that a person closed with nothing on it.
LISTED = "(first.id IS NOT NULL OR (s.is_image_confirmed AND s.total_annotations = 0))"
STARTED = "s.status <> 'not-started'"


@dataclass(frozen=True)
class Selection:
    """Which live rows count: their states, and optionally only some images (primary keys)."""

    states: tuple[str, ...] = SETTLED
    images: tuple[int, ...] | None = None
    started_only: bool = False

    @property
    def listed(self) -> str:
        """The SQL condition that lists an image."""
        return STARTED if self.started_only else LISTED

    def parameters(self, task: ProjectTask) -> dict[str, Any]:
        """Values for the SQL of this module."""
        return {
            "project": task.project_id,
            "task_type": task.task_type,
            "task": task.pk,
            "states": list(self.states),
            # As a literal: it stands in a query a dozen times.
            "images": None if self.images is None else f"{{{','.join(map(str, self.images))}}}",
        }


WORKING = Selection(states=EVERYTHING, started_only=True)


@dataclass(frozen=True)
class Frozen:
    """What a freeze did: rows opened and closed, and by how much the totals moved."""

    annotations_opened: int
    annotations_closed: int
    images_opened: int
    images_closed: int
    # Primary keys of the images looked at; None: all.
    looked_at: tuple[int, ...] | None
    # What was found by the way; None: nothing was asked.
    found: list[Any] | None = None

    @property
    def annotations_more(self) -> int:
        """By how many annotations the version holds more (or fewer) than the one before."""
        return self.annotations_opened - self.annotations_closed

    @property
    def images_more(self) -> int:
        """By how many images the version lists more (or fewer) than the one before."""
        return self.images_opened - self.images_closed


@dataclass(frozen=True)
class ByTheWay:
    """What else is asked of the rows that a freeze reads, as SQL: what is ``seen`` of each annotation (columns), CTEs
    on ``seen`` and ``wanted_images``, what was ``found`` in the end (columns), and the values of their parameters."""

    seen: str
    findings: str
    found: str
    values: Callable[[], dict[str, Any]]

    def asked_in(self, sql: str) -> str:
        """The SQL with all of it in place. Not str.format: SQL that makes JSON text has braces of its own."""
        asked = sql.replace("{seen}", self.seen).replace("{findings}", self.findings)
        return asked.replace("{found}", self.found)


# Freezing -----------------------------------------------------------------------------------

# What differs of an image's annotations is one row, with a null for each that is part of the task no more. An image is
# frozen anew with any of its annotations, so that one interval of its row is one state of all it holds (ready.py builds
# on it). It is closed in its place, which is told by ``ctid`` (nobody moves a row under a publish's lock but the
# publish): no index needs to be asked again.
FREEZE = f"""
WITH wanted AS MATERIALIZED (
    SELECT a.id, a.image_id, a.created_by, a.created_at, {ANNOTATION} AS data, {{seen}}
    FROM annotations a LEFT JOIN classes c ON c.id = a.class_id
    WHERE a.project_id = %(project)s AND a.task_type = %(task_type)s AND a.state = ANY(%(states)s)
      AND (%(images)s::bigint[] IS NULL OR a.image_id = ANY(%(images)s))),
present_images AS MATERIALIZED (
    SELECT v.ctid AS place, v.image_id, v.path, v.width, v.height, v.depth, v.split, v.metadata
    FROM version_images v WHERE v.task_id = %(task)s AND v.closed IS NULL
      AND (%(images)s::bigint[] IS NULL OR v.image_id = ANY(%(images)s))),
present AS (
    SELECT p.image_id, f.annotation_id AS id, f.snapshot_data AS data
    FROM present_images p CROSS JOIN LATERAL frozen_at(%(task)s, p.image_id, %(ordinal)s) f),
compared AS MATERIALIZED (
    SELECT coalesce(w.id, p.id) AS id, coalesce(w.image_id, p.image_id) AS image_id, w.data, p.id IS NOT NULL AS closes,
        w.data IS DISTINCT FROM p.data AS differs
    FROM wanted w FULL JOIN present p ON p.id = w.id),
told AS MATERIALIZED (
    SELECT image_id, count(data) AS opened, count(*) FILTER (WHERE closes) AS closed, array_agg(id ORDER BY id) AS ids,
        array_agg(data ORDER BY id) AS texts
    FROM compared WHERE differs GROUP BY image_id),
kept AS (SELECT DISTINCT image_id FROM compared WHERE NOT differs),
opened AS (
    INSERT INTO frozen_annotations (version_id, task_id, opened, whole_since, image_id, annotation_ids, snapshots)
    SELECT %(version)s, %(task)s, %(ordinal)s, CASE WHEN k.image_id IS NULL THEN %(ordinal)s ELSE (
            SELECT l.whole_since FROM frozen_annotations l WHERE l.task_id = %(task)s AND l.image_id = t.image_id
            ORDER BY l.opened DESC LIMIT 1) END, t.image_id, t.ids, t.texts
    FROM told t LEFT JOIN kept k ON k.image_id = t.image_id ORDER BY t.image_id),
first AS (
    SELECT DISTINCT ON (image_id) image_id, created_by, created_at, id FROM wanted ORDER BY image_id, created_at, id),
wanted_images AS MATERIALIZED (
    SELECT i.id, i.path, i.width, i.height, i.depth, i.split, {METADATA} AS metadata
    {LIVE_IMAGES.format(first="first ON first.image_id = s.image_id", listed=LISTED)}),
differing_images AS MATERIALIZED (
    SELECT w.*, p.place
    FROM wanted_images w FULL JOIN present_images p ON p.image_id = w.id
    LEFT JOIN told t ON t.image_id = coalesce(w.id, p.image_id)
    WHERE t.image_id IS NOT NULL OR w.id IS NULL OR p.image_id IS NULL
       OR (w.path, w.width, w.height, w.depth, w.split, w.metadata)
        IS DISTINCT FROM (p.path, p.width, p.height, p.depth, p.split, p.metadata)),
closed_images AS (
    UPDATE version_images v SET closed = %(ordinal)s, until_version_id = %(version)s
    WHERE v.ctid = ANY(ARRAY(SELECT place FROM differing_images WHERE place IS NOT NULL)) RETURNING 1),
opened_images AS (
    INSERT INTO version_images
        (version_id, task_id, opened, image_id, path, width, height, depth, split, metadata)
    SELECT %(version)s, %(task)s, %(ordinal)s, id, path, width, height, depth, split, metadata
    FROM differing_images WHERE id IS NOT NULL ORDER BY id RETURNING 1),
seen AS (SELECT * FROM wanted), {{findings}}
SELECT (SELECT coalesce(sum(opened), 0)::bigint FROM told), (SELECT coalesce(sum(closed), 0)::bigint FROM told),
    (SELECT count(*) FROM opened_images), (SELECT count(*) FROM closed_images), {{found}}"""


# Nothing is frozen yet: nothing to compare with. The rows are not set aside on the way, only how many they were.
FIRST = f"""
WITH opened AS (
    INSERT INTO frozen_annotations (version_id, task_id, opened, whole_since, image_id, annotation_ids, snapshots)
    SELECT %(version)s, %(task)s, %(ordinal)s, %(ordinal)s, a.image_id, array_agg(a.id ORDER BY a.id),
        array_agg({ANNOTATION} ORDER BY a.id)
    FROM annotations a LEFT JOIN classes c ON c.id = a.class_id
    WHERE a.project_id = %(project)s AND a.task_type = %(task_type)s AND a.state = ANY(%(states)s)
    GROUP BY a.image_id ORDER BY a.image_id RETURNING cardinality(annotation_ids) AS count),
opened_images AS (
    INSERT INTO version_images (version_id, task_id, opened, image_id, path, width, height, depth, split, metadata)
    SELECT %(version)s, %(task)s, %(ordinal)s, i.id, i.path, i.width, i.height, i.depth, i.split, {METADATA}
    {LIVE_IMAGES.format(first=ALL_FIRST, listed=LISTED)} ORDER BY i.id RETURNING 1)
SELECT (SELECT coalesce(sum(count), 0)::bigint FROM opened), 0, (SELECT count(*) FROM opened_images), 0"""


def freeze(
    version: Version,
    task: ProjectTask,
    states: Sequence[str],
    *,
    since: Version | None,
    images: Sequence[int] | None,
    by_the_way: ByTheWay,
) -> Frozen:
    """Store what changed of these ``images`` (primary keys; None: all) ``since`` the last published version (None:
    there is none) as rows of ``version``; a first one, and one without images, finds nothing ``by_the_way``.

    To be called inside the REPEATABLE READ transaction in which ``open_version`` told the images: the marks it saw and
    removed are exactly those whose changes are seen here, so no writer in flight can slip between two versions.
    """
    if images is not None and not images:
        # What was looked at stands with the version already (OPEN).
        return Frozen(0, 0, 0, 0, ())
    selection = Selection(tuple(states), None if images is None else tuple(images))
    values = {**selection.parameters(task), "version": version.pk, "ordinal": version.ordinal}
    with connection.cursor() as cursor:
        if since is None:
            cursor.execute(FIRST, values)
        else:
            cursor.execute(by_the_way.asked_in(FREEZE), {**values, **by_the_way.values()})
        opened, closed, images_opened, images_closed, *found = cursor.fetchone()
        return Frozen(opened, closed, images_opened, images_closed, selection.images, found or None)


def next_ordinal(since: Version | None) -> int:
    """Which of its task's published versions comes after ``since`` (None: there is none), from 1 on."""
    return (since.ordinal or 0) + 1 if since else 1


def begin(version: Version, task: ProjectTask) -> None:
    """Tell PostgreSQL for which version rows are opened and closed in this transaction; its own row comes last."""
    with connection.cursor() as cursor:
        said = f"{version.pk}/{task.pk}/{version.ordinal}"
        cursor.execute("SELECT set_config('labeler.freezing', %s, true)", [said])


def _column(sql: str, values: Sequence[Any] | dict[str, Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return [row[0] for row in cursor.fetchall()]


# Reading ------------------------------------------------------------------------------------

# As ``frozen_at`` has them, joined; a row that tells of all there is on its image holds them in that order already.
FROZEN_ANNOTATIONS = """
    (SELECT CASE WHEN f.whole_since = f.opened THEN array_to_string(f.snapshots, ',') ELSE (
        SELECT string_agg(s.snapshot_data, ',' ORDER BY s.annotation_id)
        FROM frozen_at(v.task_id, v.image_id, %(ordinal)s) s) END
     FROM frozen_annotations f
     WHERE f.task_id = v.task_id AND f.image_id = v.image_id AND f.opened <= %(ordinal)s
     ORDER BY f.opened DESC LIMIT 1)"""

FROZEN_ROWS = f"""
SELECT v.image_id, v.path, v.width, v.height, v.depth, v.split, v.metadata, {FROZEN_ANNOTATIONS}
FROM version_images v
WHERE v.task_id = %(task)s AND v.opened <= %(ordinal)s AND (v.closed IS NULL OR v.closed > %(ordinal)s)
  AND (%(images)s::bigint[] IS NULL OR v.image_id = ANY(%(images)s))
ORDER BY v.image_id"""

LIVE_ANNOTATIONS = f"""
    (SELECT string_agg({ANNOTATION}, ',' ORDER BY a.id)
     FROM annotations a LEFT JOIN classes c ON c.id = a.class_id
     WHERE a.project_id = s.project_id AND a.image_id = s.image_id AND a.task_type = s.task_type
       AND a.state = ANY(%(states)s))"""
LIVE_ROWS = f"""
SELECT i.id, i.path, i.width, i.height, i.depth, i.split, {METADATA}, {LIVE_ANNOTATIONS}"""
PUSHED = 200


def frozen_rows(
    version: Version, task: ProjectTask, images: Sequence[int] | None = None
) -> Generator[rows.ImageRow, None, None]:
    """The version's images with their annotations, in file order, streamed; as ``pushed``."""
    values = {"task": task.pk, "ordinal": version.ordinal, "images": None if images is None else list(images)}
    return _rows(FROZEN_ROWS, values)


def live_rows(task: ProjectTask, selection: Selection) -> Generator[rows.ImageRow, None, None]:
    """The chosen live images with their annotations, in file order, streamed; as ``pushed``."""
    sql = LIVE_ROWS + LIVE_IMAGES.format(first=ALL_FIRST, listed=selection.listed) + "ORDER BY i.id"
    return _rows(sql, selection.parameters(task))


def _rows(sql: str, values: Any) -> Generator[rows.ImageRow, None, None]:
    with closing(pushed(sql, values)) as found:
        yield from map(image_row, found)


def image_row(row: Sequence[Any]) -> rows.ImageRow:
    """An export row from the columns of FROZEN_ROWS."""
    image_id, path, width, height, depth, split, metadata, texts = row
    return rows.ImageRow(
        id=image_id,
        file_name=path,
        width=width,
        height=height,
        depth=depth,
        split=split,
        annotations=rows.Unread(texts),
        **orjson.loads(metadata),
    )


def stream(sql: str, values: Any, *, size: int = 500) -> Iterator[tuple]:
    """Rows of a query through a cursor on the server, ``size`` at a time: memory stays flat."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql, values)
        while batch := cursor.fetchmany(size):
            yield from batch


def pushed(sql: str, values: Any) -> Generator[tuple[Any, ...], None, None]:
    """Rows of a query in binary form, pushed by PostgreSQL, which works ahead of us; memory stays flat.

    Until the last row is taken, or this is closed, the connection can do nothing else, and whoever asks it for
    something waits for ever.
    """
    with connection.cursor() as cursor:
        # Django's cursors put values in on this side, and those know no binary answers.
        said = cursor.mogrify(sql, values)
    # What PostgreSQL says is raised as Django's errors, as everywhere.
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as pushing:
        yield from pushing.stream(said, binary=True, size=PUSHED)


SEQUENCES = {
    "annotation": "annotations_id_seq",
    "image": "dataset_images_id_seq",
    "version": "annotation_versions_id_seq",
    "class": "classes_id_seq",
    "annotation_history": "annotation_history_id_seq",
    "image_history": "image_history_id_seq",
    "class_history": "class_history_id_seq",
}
HIGH_WATER = ", ".join(f"(SELECT last_value FROM {name})" for name in SEQUENCES.values())
HOLDS = """EXISTS (SELECT FROM annotations WHERE project_id = %(project)s AND task_type = %(task_type)s
    AND annotation_type = '{kind}' AND state = ANY(%(states)s))"""
# Of a task: its classes, whether the chosen live rows hold markers and rotated boxes, the highest ids.
CONTENTS = f"""
    (SELECT coalesce(json_agg(json_build_object('index', index, 'class_id', class_id, 'name', name, 'color', color,
        'supercategory', supercategory, 'description', description, 'keypoints', keypoints, 'skeleton', skeleton,
        'retired', retired_at IS NOT NULL) ORDER BY index), '[]')::text
     FROM classes WHERE project_id = %(project)s AND task_type = %(task_type)s),
    {HOLDS.format(kind="no_object")}, {HOLDS.format(kind="rotated_bbox")}, {HIGH_WATER}"""
# How far the journal is in a transaction's view: the last segment taken, and what is visible and waits for a later one,
# as ranges of ids by kind, neighbours joined: JSON like {"image": [[4, 9], [12, 12]]}.
RANGES = """
SELECT kind, count::bigint, (SELECT jsonb_agg(jsonb_build_array(lower(r), upper(r) - 1) ORDER BY r) FROM unnest(ids) r)
FROM (SELECT kind, sum(last_id - first_id + 1) AS count, range_agg(int8range(first_id, last_id, '[]')) AS ids
      FROM {marks} GROUP BY kind) grouped"""
WAITING = RANGES.format(marks="history_marks WHERE project_id = %(project)s")
POSITION = f"""
    (SELECT coalesce(max(number), 0) FROM journal_segments WHERE project_id = %(project)s),
    (SELECT jsonb_object_agg(kind, ranges)::text FROM ({WAITING}) AS marked (kind, count, ranges))"""
# All that a freeze needs before it: who acts, for which version rows are opened and closed, the marks that are taken,
# which images are looked at for it, and how far the journal is.
OPEN = f"""
WITH seen AS (DELETE FROM image_marks WHERE project_id = %(project)s AND task_type = %(task_type)s RETURNING image_id),
next AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('annotation_versions', 'id')) AS id, CASE WHEN NOT %(everything)s THEN
        (SELECT coalesce(array_agg(DISTINCT image_id), '{{}}') FROM seen) END AS images),
noted AS (INSERT INTO frozen_versions (version_id, task_id, images) SELECT id, %(task)s, images FROM next)
SELECT id, set_config('labeler.freezing', id || '/' || %(task)s || '/' || %(ordinal)s, true),
    set_config('labeler.actor', %(by)s, true), images, {POSITION}, {CONTENTS}
FROM next"""


# What a file says of itself -------------------------------------------------------------------


def class_list(task: ProjectTask) -> list[dict[str, Any]]:
    """Every class of the task by permanent index, the retired ones too, as plain values."""
    fields = ("index", "class_id", "name", "color", "supercategory", "description", "keypoints", "skeleton")
    listed = LabelClass.objects.filter(project_id=task.project_id, task_type=task.task_type).order_by("index")
    return [
        {**{field: getattr(entry, field) for field in fields}, "retired": entry.retired_at is not None}
        for entry in listed
    ]


def label_classes(entries: Iterable[dict[str, Any]]) -> tuple[rows.LabelClass, ...]:
    """A frozen class list as export rows."""
    return tuple(
        rows.LabelClass(
            index=entry["index"],
            key=entry["class_id"],
            name=entry["name"],
            color=entry["color"],
            supercategory=entry["supercategory"],
            description=entry["description"],
            keypoints=tuple(entry["keypoints"]),
            skeleton=tuple((start, end) for start, end in entry["skeleton"]),
            retired=entry["retired"],
        )
        for entry in entries
    )


def states_of(*, include_draft: bool, verified_only: bool) -> tuple[str, ...]:
    """The annotation states a wish stands for."""
    return EVERYTHING if include_draft else VERIFIED if verified_only else SETTLED


def manifest_of(task: ProjectTask, states: Sequence[str], held: dict[str, Any]) -> dict[str, Any]:
    """All that files need besides rows, frozen with the version: what it ``held`` (see ``contents``), names, storage,
    split ratios, writer."""
    project = task.project
    return {
        "states": list(states),
        **held,
        "flat_mirror": flat_mirror(project),
        "dataset_id": project.dataset_id,
        "dataset_name": project.dataset_name,
        "project_created_at": iso(project.created_at),
        "storage_info": storage_info(project),
        "split_ratios": split_ratios(project),
        "first_task": task.is_first,
        "writer": writer_version(),
    }


def contents(task: ProjectTask, states: Sequence[str]) -> dict[str, Any]:
    """``classes`` of the task as ``class_list``, ``high_water``, and whether the chosen live rows hold markers and
    rotated boxes (``has_background``, ``has_rotated``); one query."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {CONTENTS}", Selection(tuple(states)).parameters(task))
        return _held(*cursor.fetchone())


def _held(classes: str, background: bool, rotated: bool, *highest: int) -> dict[str, Any]:
    return {
        "classes": orjson.loads(classes),
        "has_background": background,
        "has_rotated": rotated,
        "high_water": dict(zip(SEQUENCES, highest, strict=True)),
    }


@dataclass(frozen=True)
class Opened:
    """A version about to be frozen: its primary key, the images to look at (primary keys; None: all), and what the task
    ``held`` (see ``contents``), with the ``journal``'s position."""

    id: int
    images: list[int] | None
    held: dict[str, Any]


def open_version(task: ProjectTask, states: Sequence[str], *, since: Version | None, by: str) -> Opened:
    """Begin a freeze: ``by`` acts in this transaction from here on, and the marks of changed images are taken.

    The images to look at are those changed ``since`` the last published version; all where nothing was published
    before, or other states were.
    """
    everything = since is None or since.manifest["states"] != list(states)
    said = {"by": by, "everything": everything, "ordinal": next_ordinal(since)}
    with connection.cursor() as cursor:
        cursor.execute(OPEN, {**Selection(tuple(states)).parameters(task), **said})
        key, _, _, images, number, also, *held = cursor.fetchone()
    found = {**_held(*held), "journal": position_of(number, also)}
    found["high_water"]["version"] = max(found["high_water"]["version"], key)
    return Opened(key, images, found)


def position_of(number: int, also: str | None) -> dict[str, Any]:
    """What POSITION found, as ``journal.position`` tells it."""
    return {"number": number, "also": orjson.loads(also or "{}")}


def high_water() -> dict[str, int]:
    """The highest ids given out, so that a rebuilt database never gives one out again."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {HIGH_WATER}")
        return dict(zip(SEQUENCES, cursor.fetchone(), strict=True))


def writer_version() -> dict[str, Any]:
    """What the bytes of files depend on besides the rows: our writers and the library that packs."""
    return {"labeler": 1, "zlib": zlib.ZLIB_RUNTIME_VERSION}


def storage_info(project: Project) -> dict[str, str]:
    """Where the images lie, as files say it."""
    store: Any = storages["platform"]
    return {
        "storage_type": store.storage_type,
        "bucket": store.bucket_label,
        "image_root": project.image_root,
    }


def flat_mirror(project: Project) -> bool:
    """Whether DICE files also hold the flat mirror; from the project's settings."""
    return project.settings.get("flat_mirror") is True


def split_ratios(project: Project) -> tuple[float, float, float]:
    """Train, val and test shares for images without an explicit split; from the project's settings."""
    train, val, test = project.settings.get("split_ratios") or (0.7, 0.2, 0.1)
    return float(train), float(val), float(test)


# Counting live rows for a preview ---------------------------------------------------------------


def live_counts(task: ProjectTask, states: Sequence[str]) -> dict[str, int]:
    """What a version frozen now would count: annotation_count, image_count, draft_annotations."""
    values = Selection(tuple(states)).parameters(task)
    images = _column(f"SELECT count(*) {LIVE_IMAGES.format(first=ALL_FIRST, listed=LISTED)}", values)[0]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(CASE WHEN %(drafts)s THEN total_annotations WHEN %(confirmed)s"
            " THEN confirmed_annotations ELSE verified_annotations END), 0),"
            " coalesce(sum(draft_annotations), 0) FROM image_annotation_status"
            " WHERE project_id = %(project)s AND task_type = %(task_type)s",
            {
                **values,
                "drafts": AnnotationState.DRAFT.value in states,
                "confirmed": AnnotationState.CONFIRMED.value in states,
            },
        )
        annotations, drafts = cursor.fetchone()
    return {"annotation_count": annotations, "image_count": images, "draft_annotations": drafts}
