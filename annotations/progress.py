"""Image progress: locking it before a change, and recounting it when somebody doubts the counters.

The counters themselves are kept by triggers (migration 0002); nothing here adds or subtracts.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection, transaction
from django.db.models import QuerySet

from annotations.models import ImageStatus


def lock_progress(project_id: str, pairs: Iterable[tuple[int, str]]) -> list[ImageStatus]:
    """Lock the progress rows of (image primary key, task) pairs, in one order for all writers.

    Every writer takes these locks before it touches annotations, so two never wait for each other.
    """
    wanted = set(pairs)
    rows = ImageStatus.objects.locked(project_id, {image for image, _ in wanted}, {task for _, task in wanted})
    return [row for row in rows if (row.image_id, row.task_type) in wanted]


def lock_progress_on(images: Iterable[int]) -> None:
    """Hold every writer of images (primary keys), whatever the task, before the rows of the images change: a changed
    image is a changed progress row, too."""
    _hold(ImageStatus.objects.filter(image__in=list(images)))


def lock_progress_of(annotation_id: int) -> ImageStatus | None:
    """Lock the progress row of the image and task an annotation belongs to; None if there is no such annotation."""
    return ImageStatus.objects.locked_of(annotation_id)


def lock_task(project_id: str, task_type: str) -> None:
    """Hold every writer of one task until the end of the transaction."""
    _hold(ImageStatus.objects.of(project_id, task_type))


def _hold(rows: QuerySet[ImageStatus]) -> None:
    for _ in rows.select_for_update().order_by("pk").values_list("pk").iterator():
        pass


RECOUNT = """
SELECT s.id, i.path, s.task_type, count(a.id)::int AS total,
    (count(a.id) FILTER (WHERE a.state <> 'draft'))::int AS settled,
    (count(a.id) FILTER (WHERE a.state = 'verified'))::int AS verified,
    (count(a.id) FILTER (WHERE a.annotation_type = 'no_object'))::int AS markers
FROM image_annotation_status s
JOIN dataset_images i ON i.id = s.image_id
LEFT JOIN annotations a ON a.image_id = s.image_id AND a.task_type = s.task_type AND a.project_id = s.project_id
WHERE (%(project)s::text IS NULL OR s.project_id = %(project)s)
GROUP BY s.id, i.path, s.task_type
HAVING (s.total_annotations, s.confirmed_annotations, s.verified_annotations, s.no_object_markers) IS DISTINCT FROM
    (count(a.id)::int, (count(a.id) FILTER (WHERE a.state <> 'draft'))::int,
     (count(a.id) FILTER (WHERE a.state = 'verified'))::int,
     (count(a.id) FILTER (WHERE a.annotation_type = 'no_object'))::int)
ORDER BY s.id"""


@transaction.atomic
def recount(project_id: str | None = None, *, dry_run: bool = False) -> list[tuple[str, str]]:
    """Set every counter to what a count gives; returns the (path, task) pairs that differed."""
    with connection.cursor() as cursor:
        cursor.execute(RECOUNT, {"project": project_id})
        wrong = cursor.fetchall()
        if not dry_run:
            cursor.execute("SELECT set_config('labeler.recounting', 'yes', true)")
            cursor.executemany(
                "UPDATE image_annotation_status SET total_annotations = %s, confirmed_annotations = %s,"
                " verified_annotations = %s, draft_annotations = %s, no_object_markers = %s WHERE id = %s",
                [
                    (total, settled, verified, total - settled, markers, pk)
                    for pk, _, _, total, settled, verified, markers in wrong
                ],
            )
            cursor.execute("SELECT set_config('labeler.recounting', '', true)")
    return [(path, task) for _, path, task, *_ in wrong]
