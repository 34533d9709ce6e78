"""Opening a dataset as a project: list its images, learn their sizes from the headers, import its annotations.

Everything may be repeated: images that are known are skipped, annotations are imported in one
transaction and only into a task that has none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet

from annotations import images, projects
from annotations.acting import acting
from annotations.errors import AnnotationError, Forbidden, HasAnnotations, NotFound
from annotations.images import FoundImage
from annotations.models import Annotation, AnnotationHistory, PlatformDataset, Project, ProjectTask
from annotations.progress import hold_task, lock_task
from annotations.states import ProjectStatus
from exports import keys, stores
from exports.errors import BrokenFile, ObjectMissing, StoreRefused
from exports.image_header import ImageHeader, read_header
from exports.platform import number_of
from versions import artifacts, importing, jobs, loading, staging
from versions.errors import ForeignFile, HasPublished, VersionError
from versions.models import Job, Version
from versions.replacing import nobody, replace_rows

log = logging.getLogger(__name__)

Report = Callable[[float], None]
BATCH = 500
READERS = 16
FIRST_BYTES = 4 * 1024
MOST_BYTES = 64 * 1024
# What stops an opening until somebody mends it.
FLAWS = (AnnotationError, VersionError, BrokenFile, StoreRefused, ObjectMissing)
EXTENSIONS = {"jpg", "jpeg", "png", "gif", "bmp", "webp", "tif", "tiff"}


def open_dataset(user: Any, *, dataset_id: str, **values: Any) -> tuple[Project, Job]:
    """A new project of a platform dataset with the job that loads it.

    Raises Forbidden unless the user may open datasets, NotFound for an unknown one, Duplicate if it is
    open already.
    """
    if not user.may_open_datasets():
        raise Forbidden("Opening datasets needs a permission; ask an administrator.")
    dataset = PlatformDataset.objects.filter(pk=dataset_id).first()
    if dataset is None:
        raise NotFound("No such dataset.")
    keys.safe(dataset_id)
    by = user.get_username()
    classes = values.pop("task_classes", {})
    with acting(by):
        project = projects.create_project(dataset_id=dataset_id, dataset_name=dataset.name, by=by, **values)
        for task in project.tasks.all():
            projects.define_classes(task, classes.get(task.task_type, {}), by=by)
        job = jobs.start("open", by=by, project=project)
    return project, job


def close_project(project: Project, *, by: str, force: bool) -> None:
    """Delete a project, leaving a tombstone; raises HasPublished if it has published versions and not ``force``."""
    published = Version.objects.published().filter(project=project).count()
    if published and not force:
        raise HasPublished(
            f"The project has {published} published versions; send force=true to delete it (its files stay).",
            count=published,
        )
    projects.delete_project(project, by=by)


def datasets_for(user: Any, *, search: str = "") -> QuerySet[PlatformDataset]:
    """Platform datasets the user may open, by id; raises Forbidden for one who may open none."""
    if not user.may_open_datasets():
        raise Forbidden("Opening datasets needs a permission; ask an administrator.")
    datasets = PlatformDataset.objects.order_by("id")
    return datasets.filter(Q(id__icontains=search) | Q(name__icontains=search)) if search else datasets


def dataset_answers(datasets: Iterable[PlatformDataset], user: Any) -> list[dict[str, Any]]:
    """Datasets with whether they are open; the project's id only for its members."""
    datasets = list(datasets)
    ids = [dataset.pk for dataset in datasets]
    living = set(Project.objects.alive().filter(dataset_id__in=ids).values_list("dataset_id", flat=True))
    mine = dict(Project.objects.visible_to(user).filter(dataset_id__in=ids).values_list("dataset_id", "id"))
    return [
        {
            "id": dataset.pk,
            "name": dataset.name,
            "num_items": dataset.num_items,
            "is_open": dataset.pk in living,
            "project_id": mine.get(dataset.pk),
        }
        for dataset in datasets
    ]


# The loading itself ---------------------------------------------------------------------------


def load_dataset(project: Project, *, by: str, report: Report) -> dict[str, Any]:
    """List images and import the official file of each of the project's tasks that never had annotations; returns what
    was found, of the first task and, by name, of ``further_tasks``."""
    try:
        found = load_images(project, report=report)
        first, *further = _load_tasks(project, by)
    except FLAWS:
        projects.activate(project, by=by, status=ProjectStatus.FAILED)
        raise
    projects.activate(project, by=by)
    return {**found, "annotations": first[1], "further_tasks": dict(further)}


def _load_tasks(project: Project, by: str) -> list[tuple[str, dict[str, Any] | None]]:
    """What became of each task's file. All numbers are raised and all files tried before the first flaw is raised: one
    broken file keeps no other task from its own."""
    tasks, done, flaws = list(project.tasks.all()), [], []
    for task in tasks:
        raise_floor(task)
    for task in tasks:
        try:
            done.append((task.task_type, _load_task(project, task, by)))
        except FLAWS as flaw:
            flaws.append(flaw)
    if flaws:
        raise flaws[0]
    return done


def _load_task(project: Project, task: ProjectTask, by: str) -> dict[str, Any] | None:
    """What became of the task's official file; None if the task has annotations, or had some: what was deleted since an
    earlier try does not come back by itself."""
    if AnnotationHistory.objects.filter(project_id=project.pk, task_type=task.task_type).exists():
        return None
    try:
        return import_official(project, task, by=by).as_dict()
    except ForeignFile as error:
        # A file of another task is no reason not to label this one.
        reading = importing.Reading()
        reading.warn("annotations.json", f"{error} Nothing was imported.")
        return reading.as_dict()


def add_task(project: Project, task_type: str, *, by: str) -> ProjectTask:
    """Add a further task; its versions go on above those of its official file. Raises Duplicate."""
    wanted = ProjectTask(project=project, task_type=task_type, position=project.tasks.count())
    return projects.add_task(project, task_type, by=by, number_floor=official_major(wanted))


def load_images(project: Project, *, report: Report) -> dict[str, Any]:
    """Register every image below the project's image root; sizes come from ranged header reads.

    At most 64 KiB of an image are fetched, 4 KiB where that is enough. Images whose header does not
    tell a size are listed and stay unknown.
    """
    counts = {"images": 0, "new_images": 0, "bytes_fetched": 0, "most_bytes_of_an_image": 0}
    unsized: list[str] = []
    left_out: list[str] = []
    listed = stores.listing("platform", project.image_root)
    with ThreadPoolExecutor(READERS) as readers:
        for batch in _batches((each for each in listed if _is_image(each.key)), BATCH):
            left_out += [path for each in batch if not _storable(path := _path(project, each))]
            fresh = _not_known(project, batch)
            headers = list(readers.map(fetch_header, (each.key for each in fresh)))
            found = [_found(project, each, header) for each, (header, _) in zip(fresh, headers, strict=True)]
            unsized += [image.path for image in found if image.width is None]
            counts["new_images"] += images.register_images(project, found)
            counts["images"] += len(batch)
            counts["bytes_fetched"] += sum(fetched for _, fetched in headers)
            most = max((fetched for _, fetched in headers), default=0)
            counts["most_bytes_of_an_image"] = max(counts["most_bytes_of_an_image"], most)
            report(min(0.5, counts["images"] / 100_000))
    return {
        **counts,
        "unknown_sizes": unsized[:100],
        "unknown_size_count": len(unsized),
        "left_out": left_out[:100],
        "left_out_count": len(left_out),
    }


def _batches(entries: Iterable[Any], size: int) -> Iterator[list[Any]]:
    entries = iter(entries)
    while batch := list(islice(entries, size)):
        yield batch


def _is_image(key: str) -> bool:
    return key.rpartition(".")[2].lower() in EXTENSIONS


def _not_known(project: Project, batch: list[stores.StoredObject]) -> list[stores.StoredObject]:
    known = images.known_paths(project, (_path(project, each) for each in batch))
    return [each for each in batch if _path(project, each) not in known and _storable(_path(project, each))]


def _path(project: Project, stored: stores.StoredObject) -> str:
    return stored.key.removeprefix(project.image_root)


def _storable(path: str) -> bool:
    """Names with control characters or dot segments cannot be named in a key, a zip or a list of lines."""
    unsafe = any(ord(each) < 32 for each in path) or "\\" in path or len(path) > 900
    if unsafe or any(part in ("", ".", "..") for part in path.split("/")):
        log.warning("The image name %r cannot be used; rename the file and scan again.", path)
        return False
    return True


def fetch_header(key: str) -> tuple[ImageHeader | None, int]:
    """An image's header and how many bytes were fetched for it."""
    start = stores.read_range("platform", key, 0, FIRST_BYTES)
    header = read_header(start)
    if header is not None or len(start) < FIRST_BYTES:
        return header, len(start)
    rest = stores.read_range("platform", key, FIRST_BYTES, MOST_BYTES - FIRST_BYTES)
    return read_header(start + rest), len(start) + len(rest)


def _found(project: Project, stored: stores.StoredObject, header: ImageHeader | None) -> FoundImage:
    return FoundImage(
        path=_path(project, stored),
        width=header.width if header else None,
        height=header.height if header else None,
        depth=header.depth if header else 3,
        size=stored.size,
        etag=stored.etag[:200],
        last_modified=stored.last_modified,
    )


# The official file ------------------------------------------------------------------------------


def _has_annotations(task: ProjectTask) -> bool:
    return Annotation.objects.filter(project_id=task.project_id, task_type=task.task_type).exists()


def official_keys(task: ProjectTask) -> list[str]:
    """Where the task's official file may lie in the platform store; the first that is there counts."""
    prefix, dataset = settings.LABELER_OFFICIAL_PREFIX, task.project.dataset_id
    return keys.officials(prefix, dataset, task.task_type, first=task.is_first)[::-1]


def official_major(task: ProjectTask) -> int:
    """The major number of the task's official file, 0 if it has none: a dataset that was published before, by a project
    now gone, goes on above it."""
    found = [stores.find("platform", key) for key in official_keys(task)]
    return max(number_of(official.metadata.get("version"))[0] if official else 0 for official in found)


def raise_floor(task: ProjectTask) -> None:
    """See to it that the task's versions go on above those of its official file."""
    major = official_major(task)
    if major > task.number_floor:
        task.number_floor = major
        task.save(update_fields=["number_floor"])


def import_official(
    project: Project,
    task: ProjectTask,
    *,
    by: str,
    remove: bool = False,
    tell: Callable[[importing.Reading], None] = nobody,
) -> importing.Reading:
    """Import the dataset's official file into the task, in one transaction; a missing file is zero annotations.

    ``remove`` replaces what is there; ``tell`` as ``import_file``. Raises exports.errors.BrokenFile for a file that
    cannot be read.
    """
    with artifacts.scratch() as folder:
        path = fetch_official(task, folder / "annotations.json")
        if path is not None:
            return import_file(path, task, by=by, remove=remove, tell=tell)
    nothing = importing.Reading()
    with acting(by):
        tell(nothing)
    return nothing


def fetch_official(task: ProjectTask, path: Path) -> Path | None:
    """The task's official file, downloaded to ``path``; None when the dataset has none."""
    for key in official_keys(task):
        try:
            stores.download("platform", key, path)
        except ObjectMissing:
            continue
        return path
    return None


def import_file(
    path: Path, task: ProjectTask, *, by: str, remove: bool, tell: Callable[[importing.Reading], None] = nobody
) -> importing.Reading:
    """Import a local file into the task: all of it that can be read, or nothing. With ``remove`` it replaces what is
    there (saved first); without, HasAnnotations if something is. ``tell`` hears what was read as the last thing in the
    transaction."""

    def stage() -> importing.Reading:
        return importing.stage_file(path, task, by=by)

    if remove:
        return replace_rows(task, stage, by=by, action="import", tell=lambda _, reading: tell(reading))[1]
    with acting(by, action="import"):
        hold_task(task.project_id, task.task_type)
        reading = loading.load(path, task, by=by)
        if reading is None:
            reading = stage()
            _add_to_none(task)
        tell(reading)
    return reading


def _add_to_none(task: ProjectTask) -> None:
    lock_task(task.project_id, task.task_type)
    if _has_annotations(task):
        raise HasAnnotations("Annotations were drawn meanwhile; send force=true to replace them.")
    staging.apply(task, merge=True)
