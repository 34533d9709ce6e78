"""A small world for tests of doors: one project with people of every role, images, boxes, a save and a version."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from rest_framework.test import APIClient

from annotations import confirming, editing, images, projects
from annotations.acting import acting
from annotations.images import FoundImage
from annotations.models import Annotation, Image, Project, ProjectTask, User
from annotations.states import Role
from versions import autosave, publishing, work
from versions.models import Job, Version
from versions.publishing import PublishWish
from versions.waiting import wait_until

DATASET = "ds_world"
PEOPLE = {"vic": "viewer", "ann": "annotator", "rev": "reviewer", "adm": "admin", "olga": "owner"}
WIDTH, HEIGHT = 200, 100


@dataclass
class World:
    """What the tests talk about."""

    project: Project
    task: ProjectTask
    images: list[Image]

    def reload(self) -> Project:
        """The project as it is now."""
        return Project.objects.prefetch_related("tasks").get(pk=self.project.pk)


def a_user(name: str, **values: Any) -> User:
    """An account; its name is its user id."""
    return User.objects.get_or_create(username=name, defaults=values)[0]


def a_client(name: str) -> APIClient:
    """Somebody signed in; their account is made if it is not there."""
    client = APIClient()
    client.force_authenticate(a_user(name))
    return client


def a_world(
    *,
    tasks: tuple[str, ...] = ("detection",),
    count: int = 3,
    dataset: str = DATASET,
    classes: tuple[str, ...] = ("Cat", "Dog"),
    folder: str = "a",
) -> World:
    """A project of olga's with members of every role and images ``a/1.png`` ... of 200 x 100 pixels."""
    project = projects.create_project(
        dataset_id=dataset, dataset_name="World", name="World", by="olga", task_types=list(tasks)
    )
    project = Project.objects.prefetch_related("tasks").get(pk=project.pk)
    for task in project.tasks.all():
        for name in classes:
            projects.create_class(task, name=name, class_id=name.lower(), by="olga")
    for user_id, role in PEOPLE.items():
        if role != "owner":
            projects.set_member(project, user_id, Role(role), by="olga", by_role=Role.OWNER)
    found = [FoundImage(f"{folder}/{number}.png", WIDTH, HEIGHT, 3, 10, "", None) for number in range(1, count + 1)]
    images.register_images(project, found)
    projects.activate(project, by="olga")
    listed = list(Image.objects.filter(project=project).order_by("pk"))
    return World(project, projects.task_of(project, None), listed)


def a_box(world: World, image: Image, *, x: float = 10, by: str = "ann", **fields: Any) -> Annotation:
    """A box of 20 x 30 pixels at (x, 20) on an image, a draft of the first class."""
    body = {
        "annotation_type": "bbox",
        "geometry": {"type": "bbox", "bbox": [x, 20, 20, 30]},
        "class_name": "Cat",
        **fields,
    }
    return editing.create_annotation(world.project, image, body, by=by)[0]


def confirmed(world: World, image: Image, *, boxes: int = 1, by: str = "ann") -> list[Annotation]:
    """Boxes on an image, and the image confirmed."""
    made = [a_box(world, image, x=10 + 25 * number, by=by) for number in range(boxes)]
    confirming.confirm_image(image, "detection", by=by)
    return made


def published(world: World, *, finish: bool = True, by: str = "adm", **wish: Any) -> Version:
    """The next version, its files made and official unless ``finish`` is false."""
    version = publishing.request_publish(world.task, PublishWish(**wish), by=by)
    return publishing.advance(version.pk) if finish else version


def saved(world: World, *, by: str = "ann") -> Version | None:
    """A working save now."""
    return autosave.save_working(world.task, trigger="manual", by=by)


def imported(world: World, content: bytes, *, by: str = "adm", **wish: Any) -> Job:
    """A file somebody sent to be imported; its job waits for a worker."""
    answer = a_client(by).post(
        f"/api/v1/projects/{world.project.pk}/import?wait=0",
        {"file": SimpleUploadedFile("annotations", content), **wish},
        format="multipart",
    )
    assert answer.status_code == 202, answer.content
    return Job.objects.get(pk=answer.json()["job_id"])


def broken_off(job: Job) -> None:
    """What a worker leaves that is killed right after the job's work was committed."""
    Job.objects.filter(pk=job.pk).update(status="running", attempts=1)
    work.HANDLERS[job.kind](Job.objects.get(pk=job.pk), lambda share: None)


def raw(sql: str, values: Any = None, *, by: str = "tester") -> None:
    """SQL as somebody at psql writes it, in a transaction of its own."""
    from django.db import connection

    with acting(by), connection.cursor() as cursor:
        cursor.execute(sql, values)


WAITING = """
SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"""


def beside(session: Any, act: Callable[[], Any]) -> Future[Any]:
    """What somebody else does at the same time; comes back once he waits for a lock, or is through. ``session`` is a
    connection that is in no transaction."""

    somebody = ThreadPoolExecutor(1)
    outcome = somebody.submit(_and_go, act)
    somebody.shutdown(wait=False)
    begun = time.monotonic()
    while not outcome.done() and not session.execute(WAITING).fetchone()[0]:
        assert time.monotonic() - begun < 60, "neither through nor waiting"
        time.sleep(0.01)
    return outcome


def who_waits() -> int:
    """How many statements in this database wait for somebody else's lock."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(WAITING)
        return cursor.fetchone()[0]


def somebody_waits() -> bool:
    """Whether a statement in this database waits for somebody else's lock."""
    return who_waits() > 0


def in_a_deadlock(act: Callable[[], Any], sessions: Sequence[Any], hold: str, rows: Sequence[int]) -> Any:
    """What comes of an act that locks three rows in their order while somebody has the last one and wants the first.
    It is the act that is told, however busy the machine is: each looks once, a while after it began to wait, and the
    act begins last, as a third one keeps it at the row between until the other waits."""
    (other, third), (first, between, last) = sessions, rows
    other.execute("SET deadlock_timeout = '5min'")
    with ThreadPoolExecutor(2) as pool, other.transaction():
        with third.transaction():
            third.execute(hold, [between])
            other.execute(hold, [last])
            outcome = pool.submit(_and_go, act)
            assert wait_until(lambda: who_waits() == 1, 60)
            wanted = pool.submit(other.execute, hold, [first])
            assert wait_until(lambda: who_waits() == 2, 60)
        answer = outcome.result(60)
        wanted.result(60)
        return answer


def _and_go(act: Callable[[], Any]) -> Any:
    try:
        return act()
    finally:
        connections.close_all()


def official_key() -> str:
    """Where the world's official file lies."""
    return f"{settings.LABELER_OFFICIAL_PREFIX}{DATASET}/annotations.json"
