"""What stands in the way of a publish, and what its publisher should know: blockers and warnings.

Both are found by the same queries for the preview and for the publish itself, over the images that changed since the
last version: what was there before has been looked at (and waived) by the publish that first held it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.db import connection

from annotations.models import ProjectTask
from annotations.states import AnnotationState
from versions import snapshots
from versions.errors import InvalidRequest, PublishBlocked
from versions.models import Version

SAMPLE = 10
LISTED = 1000
SHRUNK = 0.2

MEND = {
    "unknown_class": "annotations have no class; give them one",
    "image_size_unknown": "images have no known size; re-scan them or set it in the admin",
    "shape_outside_image": "shapes lie wholly outside their image; move or delete them",
    "mask_size": "masks are of another size than their image; draw them again, or correct the size in the admin",
    "keypoint_count": "annotations have more or fewer keypoints than their class names; mend them or the class",
    "nothing_to_publish": "no image has anything to publish; confirm some, or send allow_empty",
}
MEANING = {
    "unfinished_images": "images are not completed",
    "drafts_left_out": "drafts are left out; confirm them or send include_draft",
    "confirmed_left_out": "confirmed annotations are left out, as nobody verified them",
    "count_shrunk": "annotations fewer than in the last version, more than a fifth of it",
    "tiny_boxes": "new or changed shapes have a side below {tiny} px",
    "duplicate_shapes": "new or changed shapes repeat another of the same class on the same image",
}


@dataclass(frozen=True)
class Finding:
    """One reason with how often it was met and some of the ids or paths."""

    code: str
    count: int
    sample: list[Any]
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """For answers and the version's record."""
        return asdict(self)


@dataclass(frozen=True)
class Waiver:
    """A warning somebody takes responsibility for."""

    code: str
    reason: str


def _finding(code: str, count: int, sample: Sequence[Any]) -> Finding:
    words = (MEND | MEANING)[code].format(tiny=settings.LABELER_TINY_PIXELS)
    return Finding(code, count, list(sample), f"{count} {words}.")


NOTHING = Finding("nothing_to_publish", 0, [], "No image has anything to publish; confirm some, or send allow_empty.")


# Looking --------------------------------------------------------------------------------------

# Shapes, annotations without a class, images without a size, and shapes that repeat another: a box is its envelope, of
# other shapes the whole geometry must be equal (a hash of its text, which takes less room; PostgreSQL's hash of jsonb
# takes 30 degrees for -30). Annotations are read by the freeze, which reads the same ones, or by LOOK. This is what is
# kept of each of them.
SEEN = """a.class_id, a.annotation_type AS kind,
        a.annotation_type IN ('bbox', 'rotated_bbox', 'polygon', 'mask', 'circle') AS areal,
        (a.bbox->0)::numeric AS x, (a.bbox->1)::numeric AS y, (a.bbox->2)::numeric AS w, (a.bbox->3)::numeric AS h,
        CASE WHEN a.annotation_type NOT IN ('bbox', 'classification', 'no_object')
            THEN hashtextextended(a.geometry::text, 0) END AS shape,
        CASE WHEN a.annotation_type = 'mask' THEN a.geometry #> '{rle,size}' END AS mask_size"""
FINDINGS = """
looked AS MATERIALIZED (
    SELECT s.*, i.width, i.height, CASE WHEN i.width IS NOT NULL AND i.height IS NOT NULL
        THEN s.mask_size <> jsonb_build_array(i.height, i.width) END AS misfit
    FROM seen s JOIN {images} i ON i.id = s.image_id),
outside AS (
    SELECT id FROM looked WHERE x > width OR y > height OR x + w < 0 OR y + h < 0
        OR (areal AND (x = width OR y = height OR x + w = 0 OR y + h = 0))),
tiny AS (SELECT id FROM looked WHERE areal AND least(w, h) < %(tiny)s),
repeated AS (
    SELECT id FROM (
        SELECT id, row_number() OVER (PARTITION BY image_id, class_id, kind, x, y, w, h, shape ORDER BY id) AS place
        FROM looked) placed WHERE place > 1)"""
FOUND = """(SELECT count(*) FROM outside),
    (SELECT array_agg(id) FROM (SELECT id FROM outside ORDER BY id LIMIT %(most)s) o),
    (SELECT count(*) FROM tiny),
    (SELECT array_agg(id) FROM (SELECT id FROM tiny ORDER BY id LIMIT %(sample)s) t),
    (SELECT array_agg(id) FROM (
        SELECT id FROM looked WHERE class_id IS NULL AND kind <> 'no_object' ORDER BY id LIMIT %(most)s) c),
    (SELECT array_agg(path) FROM (SELECT i.path {listed_images}
        (i.width IS NULL OR i.height IS NULL) ORDER BY i.path LIMIT %(most)s) s),
    (SELECT count(*) FROM repeated), (SELECT (array_agg(id ORDER BY id))[1:%(sample)s] FROM repeated),
    (SELECT array_agg(id) FROM (SELECT id FROM looked WHERE misfit ORDER BY id LIMIT %(most)s) m)"""
LISTED_IMAGES = snapshots.LIVE_IMAGES.format(first=snapshots.EACH_FIRST, listed=snapshots.LISTED) + " AND"
# Most images have nothing to find. All annotations of an image are asked at once whether there may be anything, which
# takes half the time of looking at each, and LOOK looks at those images alone. This may name too many images, never too
# few: each condition holds wherever one of the findings does.
SUSPECT = f"""
SELECT g.image_id FROM (
    SELECT a.image_id, bool_or(a.class_id IS NULL OR a.annotation_type = 'mask') AS asked,
        count(*) > count(DISTINCT hash_record_extended(ROW(a.class_id, a.annotation_type, a.bbox), 0)) AS alike,
        min((a.bbox->0)::numeric) AS min_x, min((a.bbox->1)::numeric) AS min_y,
        max((a.bbox->0)::numeric) AS max_x, max((a.bbox->1)::numeric) AS max_y,
        least(min((a.bbox->2)::numeric), min((a.bbox->3)::numeric)) AS side
    FROM annotations a WHERE {snapshots.CHOSEN} GROUP BY a.image_id) g
JOIN dataset_images i ON i.id = g.image_id
WHERE g.asked OR g.alike OR least(g.min_x, g.min_y) < 0 OR g.max_x >= i.width OR g.max_y >= i.height
   OR g.side <= %(tiny)s"""
LOOK = f"""
WITH seen AS (
    SELECT a.id, a.image_id, {SEEN} FROM annotations a
    WHERE {snapshots.CHOSEN} AND a.image_id IN ({SUSPECT})),
{FINDINGS.format(images="dataset_images")}
SELECT {FOUND.replace("{listed_images}", LISTED_IMAGES)}"""
BY_THE_WAY = snapshots.ByTheWay(
    seen=SEEN,
    findings=FINDINGS.format(images="wanted_images"),
    found=FOUND.replace("{listed_images}", "FROM wanted_images i WHERE"),
    values=lambda: {"tiny": settings.LABELER_TINY_PIXELS, "most": LISTED, "sample": SAMPLE},
)

# Of classes that name their points; the class may have been given other names since the annotation was drawn.
POINTS = """
SELECT count(*), (array_agg(a.id ORDER BY a.id))[1:%(most)s]
FROM annotations a JOIN classes c ON c.id = a.class_id
WHERE a.project_id = %(project)s AND a.task_type = %(task_type)s AND a.state = ANY(%(states)s)
  AND a.annotation_type = 'keypoints' AND jsonb_array_length(c.keypoints) > 0
  AND jsonb_array_length(c.keypoints) <> jsonb_array_length(a.geometry->'keypoints')"""

# How far a task is: what is not closed, what is left out, and some of it; of the whole task, so each by an index that
# leads to what is counted and to nothing else.
STATUSES = "FROM image_annotation_status s WHERE s.project_id = %(project)s AND s.task_type = %(task_type)s"
LIVE = "FROM annotations a WHERE a.project_id = %(project)s AND a.task_type = %(task_type)s AND a.state ="
PROGRESS = f"""
SELECT (SELECT count(*) {STATUSES} AND s.status IN ('not-started', 'in-progress')),
    CASE WHEN 'draft' = ANY(%(states)s) THEN 0 ELSE (SELECT count(*) {LIVE} 'draft') END,
    CASE WHEN 'confirmed' = ANY(%(states)s) THEN 0 ELSE (SELECT count(*) {LIVE} 'confirmed') END,
    (SELECT array_agg(path) FROM (
        SELECT i.path FROM (
            SELECT s.image_id {STATUSES} AND s.status IN ('not-started', 'in-progress')
            ORDER BY s.image_id LIMIT %(sample)s) p
        JOIN dataset_images i ON i.id = p.image_id ORDER BY p.image_id) o),
    CASE WHEN 'draft' = ANY(%(states)s) THEN NULL ELSE (SELECT array_agg(id) FROM (
        SELECT a.id {LIVE} 'draft' ORDER BY a.id LIMIT %(sample)s) d) END,
    CASE WHEN 'confirmed' = ANY(%(states)s) THEN NULL ELSE (SELECT array_agg(id) FROM (
        SELECT a.id {LIVE} 'confirmed' ORDER BY a.id LIMIT %(sample)s) c) END"""
# The same where there is no image to look at.
NO_LOOK = """
SELECT 0, NULL::bigint[], 0, NULL::bigint[], NULL::bigint[], NULL::text[], 0, NULL::bigint[], NULL::bigint[]"""
WHOLE_LOOK = "SELECT * FROM ({look}) looked, ({progress}) progress"


@dataclass(frozen=True)
class Looked:
    """What one look at the shapes of a task found: of these states, on these images (primary keys; None: all)."""

    task: ProjectTask
    states: tuple[str, ...]
    images: Sequence[int] | None
    outside: tuple[int, list[int]]
    tiny: tuple[int, list[int]]
    unclassed: list[int]
    unsized: list[str]
    repeated: tuple[int, list[int]]
    misfit: list[int]
    # Images that are not closed, drafts, confirmed annotations that are not verified; each with some of them.
    unfinished: tuple[int, list[str]]
    drafts: tuple[int, list[int]]
    unverified: tuple[int, list[int]]


def look(
    task: ProjectTask, states: Sequence[str], images: Sequence[int] | None, found: Sequence[Any] | None = None
) -> Looked:
    """Look at every box once, and at the progress of the task, for blockers and warnings both; ``found`` is what a
    freeze found BY_THE_WAY."""
    values = _values(task, states, images)
    if found is None:
        shapes = LOOK if images is None or images else NO_LOOK
        row = _row(WHOLE_LOOK.format(look=shapes, progress=PROGRESS), values)
    else:
        row = (*found, *_row(PROGRESS, values))
    outside, outside_ids, tiny, tiny_ids, unclassed, unsized, repeated, repeated_ids, misfit = row[:9]
    unfinished, drafts, unverified, unfinished_paths, draft_ids, unverified_ids = row[9:]
    return Looked(
        task,
        tuple(states),
        images,
        outside=(outside, outside_ids or []),
        tiny=(tiny, tiny_ids or []),
        unclassed=unclassed or [],
        unsized=unsized or [],
        repeated=(repeated, repeated_ids or []),
        misfit=misfit or [],
        unfinished=(unfinished, unfinished_paths or []),
        drafts=(drafts, draft_ids or []),
        unverified=(unverified, unverified_ids or []),
    )


def blockers(looked: Looked) -> list[Finding]:
    """What must be mended before these states can be published."""
    found: dict[str, tuple[int, list[Any]]] = {
        "unknown_class": (len(looked.unclassed), looked.unclassed),
        "image_size_unknown": (len(looked.unsized), looked.unsized),
        "shape_outside_image": looked.outside,
        "mask_size": (len(looked.misfit), looked.misfit),
        "keypoint_count": _miscounted(looked),
    }
    return [_finding(code, count, sample) for code, (count, sample) in found.items() if count]


def _miscounted(looked: Looked) -> tuple[int, list[int]]:
    """All of the task: a class that names other points changes no image, so no look at changed ones finds it."""
    if looked.task.task_type != "keypoint":
        return 0, []
    count, ids = _row(POINTS, _values(looked.task, looked.states, None))
    return count, ids or []


def warnings(looked: Looked, previous: Version | None, count: int) -> list[Finding]:
    """What the publisher should know; ``count`` is how many annotations the new version holds."""
    fewer = (previous.annotation_count - count) if previous else 0
    shrunk = fewer if previous and fewer > SHRUNK * previous.annotation_count else 0
    found: dict[str, tuple[int, list[Any]]] = {
        **_unfinished(looked),
        "count_shrunk": (shrunk, [previous.version_number] if previous else []),
        "tiny_boxes": looked.tiny,
        "duplicate_shapes": looked.repeated,
    }
    return [_finding(code, number, sample) for code, (number, sample) in found.items() if number]


def _values(task: ProjectTask, states: Sequence[str], images: Sequence[int] | None) -> dict[str, Any]:
    chosen = snapshots.Selection(tuple(states), None if images is None else tuple(images))
    return {**chosen.parameters(task), **BY_THE_WAY.values()}


def _row(sql: str, values: dict[str, Any]) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchone()


def _unfinished(looked: Looked) -> dict[str, tuple[int, list[Any]]]:
    found: dict[str, tuple[int, list[Any]]] = {"unfinished_images": looked.unfinished}
    if AnnotationState.DRAFT not in looked.states:
        found["drafts_left_out"] = looked.drafts
    if AnnotationState.CONFIRMED not in looked.states:
        found["confirmed_left_out"] = looked.unverified
    return found


def changed_images(task: ProjectTask) -> list[int]:
    """Primary keys of the images marked as changed since the last publish."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT image_id FROM image_marks WHERE project_id = %s AND task_type = %s",
            [task.project_id, task.task_type],
        )
        return [row[0] for row in cursor.fetchall()]


# Deciding -------------------------------------------------------------------------------------


def refuse_blocked(found: Iterable[Finding]) -> None:
    """Raise PublishBlocked with the ids or paths by reason, if there is any blocker."""
    found = list(found)
    if found:
        raise PublishBlocked(
            "To be mended before publishing: " + " ".join(each.detail for each in found),
            errors={each.code: each.sample for each in found},
        )


def check_waivers(waivers: Sequence[Waiver]) -> None:
    """Raise InvalidRequest for a code that is no warning, or twice the same."""
    for waiver in waivers:
        if waiver.code in MEND:
            raise _wrong(f"{waiver.code} cannot be waived: {MEND[waiver.code]}.")
        if waiver.code not in MEANING:
            raise _wrong(f"{waiver.code} is no warning; they are {', '.join(MEANING)}.")
    if len({waiver.code for waiver in waivers}) < len(waivers):
        raise _wrong("names a warning twice.")


def _wrong(reason: str) -> InvalidRequest:
    return InvalidRequest(f"waivers: {reason}", errors={"waivers": [reason]})


def refuse_unwaived(task: ProjectTask, found: Sequence[Finding], waivers: Sequence[Waiver]) -> None:
    """In a project that is strict (setting ``strict_publish``) every warning needs a waiver; raises PublishBlocked."""
    waived = {waiver.code for waiver in waivers}
    standing = [each for each in found if each.code not in waived]
    if standing and task.project.settings.get("strict_publish"):
        raise PublishBlocked(
            "This project publishes only without warnings, or with each of them waived with a reason "
            '(waivers: [{"code", "reason"}]): ' + " ".join(each.detail for each in standing),
            errors={each.code: each.sample for each in standing},
        )


def recorded(waivers: Sequence[Waiver], found: Sequence[Finding], *, by: str, at: str) -> list[dict[str, Any]]:
    """The waivers as the version keeps them: what, why, who, when, and how many it covered."""
    counts = {each.code: each.count for each in found}
    return [{**asdict(waiver), "by": by, "at": at, "count": counts.get(waiver.code, 0)} for waiver in waivers]
