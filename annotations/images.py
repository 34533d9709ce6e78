"""Images of a project: registering what the store lists, pages of images and of their progress."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.core.cache import cache
from django.db import connection, transaction
from django.db.models import Count, QuerySet, Window

from annotations.acting import acting
from annotations.errors import AnnotationError
from annotations.models import Image, ImageStatus, Project
from annotations.progress import hold_tasks, lock_progress_on, not_for_long


class FoundImage(NamedTuple):
    """An image as the store lists it; width and height in pixels as shown, None when the header did not tell."""

    path: str
    width: int | None
    height: int | None
    depth: int
    size: int
    etag: str
    last_modified: datetime | None


@transaction.atomic
def register_images(project: Project, found: Sequence[FoundImage]) -> int:
    """Add images that are not known yet, and learn sizes that were not; returns how many are new."""
    fields = ["path", "width", "height", "depth", "size", "etag", "last_modified"]
    values = {name: [getattr(each, name) for each in found] for name in fields}
    hold_tasks(project.pk)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO dataset_images (project_id, path, width, height, depth, size, etag, last_modified)"
            " SELECT %(project)s, * FROM unnest(%(path)s::text[], %(width)s::int[], %(height)s::int[],"
            " %(depth)s::smallint[], %(size)s::bigint[], %(etag)s::text[], %(last_modified)s::timestamptz[])"
            " ON CONFLICT (project_id, path) DO NOTHING",
            {**values, "project": project.pk},
        )
        added = cursor.rowcount
        cursor.execute(
            "UPDATE dataset_images i SET width = f.width, height = f.height, depth = f.depth"
            " FROM unnest(%(path)s::text[], %(width)s::int[], %(height)s::int[], %(depth)s::smallint[])"
            " AS f(path, width, height, depth)"
            " WHERE i.project_id = %(project)s AND i.path = f.path AND i.width IS NULL AND f.width IS NOT NULL",
            {**values, "project": project.pk},
        )
    return added


def known_paths(project: Project, paths: Iterable[str]) -> set[str]:
    """Which of the paths are registered with a known size."""
    known = Image.objects.filter(project=project, path__in=list(paths), width__isnull=False)
    return set(known.values_list("path", flat=True))


def keys_of(project: Project, paths: Sequence[str]) -> list[int]:
    """Primary keys of the project's images with these paths; raises AnnotationError naming those it does not have."""
    known = dict(Image.objects.filter(project=project, path__in=paths).values_list("path", "pk"))
    if unknown := [path for path in paths if path not in known]:
        reasons = [f"{path} is not in the project." for path in unknown[:100]]
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise AnnotationError(f"image_ids: {unknown[0]}{more} is not in the project.", errors={"image_ids": reasons})
    return list(known.values())


def set_split(project: Project, images: Sequence[int], split: str | None, *, by: str) -> int:
    """Put images (primary keys) into train, val or test whatever the ratios say, or None: back to the ratios; returns
    how many changed. The next version has it so."""
    with acting(by), not_for_long():
        lock_progress_on(images)
        held = Image.objects.select_for_update(no_key=True).filter(project=project, pk__in=list(images)).order_by("pk")
        changed = [image.pk for image in held if image.split != split]
        return Image.objects.filter(pk__in=changed).update(split=split)


def change_image(image: Image, *, by: str, **values: Any) -> None:
    """Correct what is known of an image (``width`` and ``height`` in pixels, ``split``). The next version has it so."""
    with acting(by), not_for_long():
        lock_progress_on([image.pk])
        Image.objects.filter(pk=image.pk).update(**values)


# Pages --------------------------------------------------------------------------------------

STEP = 500
# A revision that was there before, as after a restored database, is wrong for minutes at most.
KEEP = 600
# One statement, so that the total is that of the paths.
LANDMARKS = """
SELECT path, total FROM (
    SELECT path, row_number() OVER (ORDER BY path) - 1 AS place, count(*) OVER () AS total
    FROM dataset_images WHERE project_id = %s) listed
WHERE place %% %s = 0 ORDER BY path"""


class Landmarks(NamedTuple):
    """How many images a project has, and each ``STEP``-th path of its list: a page is found from the landmark before
    it, not from the start."""

    total: int
    paths: list[str]


def landmarks_of(project: Project) -> Landmarks:
    """The list's landmarks, looked up anew when anything of the project's images changed."""
    # The revision is the older of what is read here: whoever finds these later finds them as new as it says, or newer.
    key = f"landmarks:{project.pk}:{project.images_revision}"
    kept: Landmarks | None = cache.get(key)
    if kept is None:
        kept = _landmarks(project.pk)
        cache.set(key, kept, KEEP)
    return kept


def _landmarks(project_id: str) -> Landmarks:
    with connection.cursor() as cursor:
        cursor.execute(LANDMARKS, [project_id, STEP])
        found = cursor.fetchall()
    return Landmarks(found[0][1] if found else 0, [path for path, _ in found])


def image_page(
    project: Project, *, limit: int, offset: int, status: str | None = None, task_type: str = "", search: str = ""
) -> tuple[list[Image], int]:
    """A page of the image list and the length of the list: all images, or those with a progress status for the task,
    or with ``search`` in their path."""
    found = images_of(project, status=status, task_type=task_type, search=search)
    if status is None and not search:
        return _from_landmark(project, found, limit, offset), landmarks_of(project).total
    if not search:
        return list(found[offset : offset + limit]), _with_status(project, task_type, status).count()
    # Every path is looked at once: for the page and for the count.
    rows: list[Any] = list(found.annotate(found=Window(Count("*")))[offset : offset + limit])
    return rows, rows[0].found if rows else found.count()


def _with_status(project: Project, task_type: str, status: str | None) -> QuerySet[ImageStatus]:
    return ImageStatus.objects.of(project.pk, task_type).filter(status=status)


def _from_landmark(project: Project, images: QuerySet[Any], limit: int, offset: int) -> list[Any]:
    marks = landmarks_of(project)
    if offset >= marks.total:
        return []
    rest = offset % STEP
    return list(images.filter(path__gte=marks.paths[offset // STEP])[rest : rest + limit])


def images_of(project: Project, *, status: str | None, task_type: str, search: str = "") -> QuerySet[Image]:
    """Images in list order, optionally only those with a progress status for the task, or ``search`` in their path."""
    images = Image.objects.filter(project=project).in_list_order()
    if status is not None:
        images = images.filter(statuses__task_type=task_type, statuses__status=status)
    return images.filter(**{f"path__{_holding(search)}": search}) if search else images


def _holding(search: str) -> str:
    """The lookup that finds ``search`` in upper and lower case alike. A number has neither: then no path need be put
    into one case, which costs as much as looking into it."""
    return "contains" if search.upper() == search.lower() else "icontains"


def position_of(project: Project, image_id: str, *, status: str | None, task_type: str, search: str) -> int | None:
    """How many images of a list (as of ``image_page``) stand before the one with that path; None if it is not in it."""
    found = images_of(project, status=status, task_type=task_type, search=search)
    if not found.filter(path=image_id).exists():
        return None
    before = found.filter(path__lt=image_id)
    if status is not None or search:
        return before.count()
    paths = landmarks_of(project).paths
    passed = max(0, bisect_right(paths, image_id) - 1)
    return passed * STEP + before.filter(path__gte=paths[passed]).count()


def status_page(
    project: Project,
    *,
    task_type: str,
    limit: int,
    offset: int,
    status: str | None = None,
    image_ids: Sequence[str] | None = None,
    search: str = "",
) -> tuple[list[ImageStatus], int]:
    """A page of progress rows in the order of the image list, and how many there are."""
    if status is None and image_ids is None and not search:
        return _statuses_from_landmark(project, task_type, limit, offset), landmarks_of(project).total
    found = statuses_of(project, task_type=task_type, status=status, image_ids=image_ids, search=search)
    counted = found if search or image_ids is not None else _with_status(project, task_type, status)
    return list(found[offset : offset + limit]), counted.count()


def _statuses_from_landmark(project: Project, task_type: str, limit: int, offset: int) -> list[ImageStatus]:
    # Not as a join: of one PostgreSQL would rather read all rows than a late page.
    images = images_of(project, status=None, task_type=task_type).only("path", "project_id")
    listed = {image.pk: image for image in _from_landmark(project, images, limit, offset)}
    rows = {row.image_id: row for row in ImageStatus.objects.filter(image__in=list(listed), task_type=task_type)}
    return [_status_on(image, rows.get(image.pk), task_type) for image in listed.values()]


def _status_on(image: Image, row: ImageStatus | None, task_type: str) -> ImageStatus:
    """The row with its image; one of an image that was not started where there is none."""
    row = row or ImageStatus(project_id=image.project_id, task_type=task_type)
    row.image = image
    return row


def statuses_of(
    project: Project,
    *,
    task_type: str,
    status: str | None = None,
    image_ids: Sequence[str] | None = None,
    search: str = "",
) -> QuerySet[ImageStatus]:
    """Progress rows in the order of the image list."""
    rows = ImageStatus.objects.of(project.pk, task_type).select_related("image").order_by("image__path")
    # Said of the image too: images are then walked in order, and the first page is not the last step of a sort.
    rows = rows.filter(image__project=project)
    if search:
        rows = rows.filter(**{f"image__path__{_holding(search)}": search})
    if status is not None:
        rows = rows.filter(status=status)
    return rows if image_ids is None else rows.filter(image__path__in=image_ids)


def next_image(project: Project, *, task_type: str, status: str, after: str | None) -> Image | None:
    """The first image after ``after`` (a path) with the status, going round to the start once."""
    images = images_of(project, status=status, task_type=task_type)
    following = images.filter(path__gt=after).first() if after else None
    return following or images.exclude(path=after or "").first()


def status_for(image: Image, task_type: str) -> ImageStatus:
    """The image's progress for a task; every image has one for each task of its project."""
    return ImageStatus.objects.select_related("image").get(image=image, task_type=task_type)
