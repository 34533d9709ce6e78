"""Placing the demo dataset where a platform would have it, and opening it as a project, partly labeled."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from annotations import confirming, tokens
from annotations.models import Image, Project, User
from exports import stores
from labeler.embedded import platform_db
from labeler.embedded.state import write_private
from versions import opening, work
from versions.errors import VersionError
from versions.states import JobState

FOLDER = Path(__file__).resolve().parent / "blood-cells"
DATASET_ID = "ds_bccd_sample"
LOGIN = "demo"
TASK = "detection"
# The photographs whose boxes are all drawn; the next two are half done, the others not begun.
DONE = 14

Say = Callable[[str], None]


class DemoFailed(VersionError):
    """The demo could not be loaded; the message says why."""


def load(data: Path, say: Say) -> None:
    """Place and open the demo dataset; what is there already stays as it is."""
    place_rows()
    place_files(say)
    user, known = _person(data)
    if not Project.objects.alive().filter(dataset_id=DATASET_ID).exists():
        project = _open(user, say)
        _confirm_finished(project, user)
        say(f"Opened {DATASET_ID} as {project.pk}.")
    write_private(data / "demo.json", json.dumps(known, indent=1))


def place_rows() -> None:
    """The dataset and its person in the platform's database, if this is the embedded one, which has an owner URL."""
    owner = os.environ.get("LABELER_DEMO_PLATFORM_OWNER_URL")
    if owner:
        platform_db.put_rows(
            owner,
            datasets=[(DATASET_ID, "BCCD blood cells (sample)", len(photographs()))],
            users=[(LOGIN, "Demo Person", "demo@example.org")],
        )


def photographs() -> list[Path]:
    """The images of the demo dataset, by name."""
    return sorted((FOLDER / "images").glob("*.jpg"))


def place_files(say: Say) -> None:
    """Images and the first annotations in the platform store; an official file that is there is never replaced."""
    wanted = {f"datasets/{DATASET_ID}/images/{path.name}": path for path in photographs()}
    wanted[f"datasets/{DATASET_ID}/annotations.json"] = FOLDER / "annotations.json"
    missing = {key: path for key, path in wanted.items() if stores.find("platform", key) is None}
    for key, path in missing.items():
        stores.put_new(
            "platform",
            key,
            path,
            content_type="application/json" if path.suffix == ".json" else "image/jpeg",
            sha256=stores.sha256_of_file(path),
            size=path.stat().st_size,
        )
    if missing:
        say(f"Placed {len(missing)} files of the demo dataset in the platform store.")


def _person(data: Path) -> tuple[User, dict[str, str]]:
    """The demo's person and how to sign in; made at the first start and told again at each."""
    path = data / "demo.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    user = User.objects.filter(username=LOGIN).first()
    if user is None or "password" not in known:
        known = {"login": LOGIN, "password": secrets.token_urlsafe(9)}
        user = user or User(username=LOGIN, is_staff=True, is_superuser=True)
        user.set_password(known["password"])
        user.save()
    if not tokens.is_living(known.get("token", "")):
        known["token"], _ = tokens.issue_token(user, name="demo", days=366)
    return user, known


def _open(user: User, say: Say) -> Project:
    project, job = opening.open_dataset(
        user,
        dataset_id=DATASET_ID,
        name="Blood cells",
        description="Microscope photographs with red cells, white cells and platelets; 14 of 40 are done.",
        task_types=[TASK],
    )
    say("Reading image headers and existing annotations ...")
    job = work.run(job.pk)
    if job.status != JobState.DONE:
        raise DemoFailed(f"The demo dataset could not be opened: {job.error}")
    return project


def _confirm_finished(project: Project, user: User) -> None:
    for image in Image.objects.filter(project=project).in_list_order()[:DONE]:
        confirming.confirm_image(image, TASK, by=user.get_username())
