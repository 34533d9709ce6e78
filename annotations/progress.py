"""Image progress: locking it before a change, and recounting it when somebody doubts the counters.

The counters themselves are kept by triggers (migration 0002); nothing here adds or subtracts.

Locks are taken in this order: the task's row, progress rows by id, images, annotations by id. Whoever needs a task's
row (``hold_task``, ``lock_task``, ``hold_tasks``) takes it before anything else of the project, so while he waits for
it nobody waits for him, and no circle can go through it: only ``add_task`` can be kept waiting, by the share of the
project's row, and it has nothing yet. What comes after the row (classes, the project's numbers, progress rows) is what
came before there was this lock, in the order of before. Nobody waits for it who draws, saves or publishes: they take
no task's row, and the FOR KEY SHARE of foreign keys goes along with every lock on it, as none changes its key.

One circle is left: a trigger counts in the project's row that an image or a class changed, and a file that makes a
class holds that row from then on, before it locks progress rows. Who changes images meanwhile waits for it with their
progress rows locked, so not for long (``not_for_long``); at the worst the import is begun again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from django.db import connection, transaction
from django.db.models import QuerySet

from annotations.asking import must_be_atomic
from annotations.models import ImageStatus, ProjectTask


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


def hold_task(project_id: str, task_type: str) -> None:
    """Until the end of the transaction nobody else names the task's classes or replaces its rows, and no image comes
    to it. Who draws is not held."""
    ProjectTask.objects.select_for_update(no_key=True).get(project_id=project_id, task_type=task_type)


# A person who asks sits before it: he had better come again than hold a thread of the web server.
PATIENCE = "10s"


@contextmanager
def not_for_long() -> Iterator[None]:
    """In a transaction: who waits in here for a lock for ten seconds is told to come again (OperationalError, 503)."""
    _wait_at_most(PATIENCE)
    yield
    _wait_at_most("0")


def _wait_at_most(time: str) -> None:
    must_be_atomic()
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [time])


# A task that is being added is waited for; then its row is there to be locked, and to get progress rows.
HOLD_TASKS = (
    "SELECT FROM projects WHERE id = %s FOR KEY SHARE",
    "SELECT FROM project_tasks WHERE project_id = %s ORDER BY id FOR SHARE",
)


def hold_tasks(project_id: str) -> None:
    """Before images come: until the end of the transaction the project gets no task, and nobody replaces the rows of
    one, or is doing so. Any number may hold them so at once."""
    must_be_atomic()
    with connection.cursor() as cursor:
        for sql in HOLD_TASKS:
            cursor.execute(sql, [project_id])


def lock_task(project_id: str, task_type: str) -> None:
    """Hold every writer of one task until the end of the transaction, those of images that come meanwhile too."""
    hold_task(project_id, task_type)
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
