"""Made-up projects through the database: brought in as a file, saved, lost, restored; published, lost, restored."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import given

from annotations import images as listed
from annotations import projects
from annotations.images import FoundImage
from annotations.models import Annotation, Image, Project, ProjectTask
from tests.cases import made_up
from tests.exports.builders import written
from tests.exports.generated import HEIGHT, WIDTH
from tests.exports.generated import projects as generated
from tests.exports.test_round_trip import near
from versions import autosave, publishing, restoring, uploads
from versions.publishing import PublishWish

pytestmark = pytest.mark.django_db(transaction=True)

NUMBERS = count(1)
# What of a row a file carries; the version goes up with every restore.
FIELDS = (
    "image__path", "annotation_type", "geometry", "bbox", "area", "label_class__name", "state", "attributes",
    "confidence", "notes", "created_by", "created_at", "confirmed_by", "confirmed_at",
)  # fmt: skip


@made_up(12)
@given(generated())
def test_what_was_lost_comes_back_as_it_was(tmp_path, project):
    dataset, images = project
    task = opened(dataset, images)
    path = tmp_path / "file.json"
    path.write_bytes(written("dice", dataset, images)[0])
    _, reading = uploads.add_file(path, task, by="ann", atomic=True)
    told = [row for image in images for row in image.annotations]
    assert reading.skipped == 0 and reading.staged == len(told)
    assert [near(row.geometry) for row in told] == [row[2] for row in content(task)]
    assert [row.state for row in told] == [row[6] for row in content(task)]

    whole = rows(task)
    autosave.save_working(task, trigger="manual", by="ann")
    lose(task)
    restoring.restore(task, source="working", by="adm")
    assert rows(task) == whole

    version = publishing.request_publish(task, PublishWish(include_draft=True, allow_empty=True), by="adm")
    version = publishing.advance(version.pk)
    assert version.status == "ready", version.last_error
    lose(task)
    restoring.restore(task, source="version", version=version, by="adm")
    # A version does not list an image that somebody only looked at.
    drawn = {row[1] for row in content_of(whole)}
    assert rows(task) == [
        (row[0], "not-started", row[2]) if row[1] == "in-progress" and row[0] not in drawn else row for row in whole
    ]
    again = publishing.request_publish(task, PublishWish(include_draft=True, allow_empty=True), by="adm")
    assert publishing.advance(again.pk).content_hash == version.content_hash


def opened(dataset: Any, images: Any) -> ProjectTask:
    """An empty project with the images and classes of a made-up one."""
    name = f"ds_trip{next(NUMBERS)}"
    project = projects.create_project(
        dataset_id=name, dataset_name=name, name=name, by="olga", task_types=[dataset.task_type]
    )
    project = Project.objects.prefetch_related("tasks").get(pk=project.pk)
    listed.register_images(
        project, [FoundImage(image.file_name, WIDTH, HEIGHT, image.depth, 1, "", None) for image in images]
    )
    projects.activate(project, by="olga")
    return projects.task_of(project, None)


def lose(task: ProjectTask) -> None:
    Annotation.objects.filter(project_id=task.project_id).delete()
    assert not rows(task)


def rows(task: ProjectTask) -> list[tuple]:
    """Every row with its id, and how far each image is."""
    found = Annotation.objects.filter(project_id=task.project_id).order_by("pk")
    paths = Image.objects.filter(project_id=task.project_id).order_by("path")
    return [*found.values_list("pk", *FIELDS), *paths.values_list("path", "statuses__status", "split")] if found else []


def content_of(found: list[tuple]) -> list[tuple]:
    return [row for row in found if len(row) > 3]


def content(task: ProjectTask) -> list[tuple]:
    return list(Annotation.objects.filter(project_id=task.project_id).order_by("pk").values_list(*FIELDS))
