"""Projects, their tasks, classes and members: what may be defined and changed, one action each."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Max, Q
from django.utils import timezone

from annotations.acting import acting
from annotations.asking import asked
from annotations.errors import AnnotationError, ClassInUse, Duplicate, Forbidden, NotFound
from annotations.models import Annotation, ImageStatus, LabelClass, Member, Project, ProjectTask
from annotations.progress import hold_task, not_for_long
from annotations.states import Progress, ProjectStatus, Role

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
MOST_NAME = 200
COLOR = re.compile(r"#[0-9A-Fa-f]{6}\Z")
BACKGROUND = "__background__"
# Addresses of routes that stand where a class's id does.
WORDS_OF_ROUTES = ("reorder", "history")


# Projects -----------------------------------------------------------------------------------


def create_project(
    *, dataset_id: str, dataset_name: str, name: str, by: str, task_types: Sequence[str], **values: Any
) -> Project:
    """A project in state loading, with its tasks and ``by`` as owner; raises Duplicate for a dataset in use."""
    if Project.objects.alive().filter(dataset_id=dataset_id).exists():
        raise Duplicate("This dataset is open as a project already; a dataset has one project.")
    try:
        with acting(by):
            project = Project.objects.create(
                dataset_id=dataset_id,
                dataset_name=dataset_name,
                name=name,
                owner_id=by,
                updated_by=by,
                **values,
            )
            for position, task_type in enumerate(task_types):
                ProjectTask.objects.create(project=project, task_type=task_type, position=position)
            Member.objects.create(project=project, user_id=by, role=Role.OWNER, added_by=by)
    except IntegrityError as error:
        if "one_living_project_per_dataset" in str(error):
            raise Duplicate("This dataset is open as a project already; a dataset has one project.") from error
        raise
    return project


def change_project(project: Project, *, by: str, **values: Any) -> Project:
    """Change name, description, task_config, settings or status."""
    with acting(by):
        for field, value in values.items():
            setattr(project, field, value)
        project.updated_at, project.updated_by = timezone.now(), by
        project.save(update_fields=[*values, "updated_at", "updated_by"])
    return project


def delete_project(project: Project, *, by: str) -> None:
    """Leave a tombstone: nothing is removed, ids and numbers are never given out again."""
    change_project(project, by=by, deleted_at=timezone.now())


def undelete_project(project: Project, *, by: str) -> None:
    """Bring a deleted project back; raises Duplicate if its dataset was opened anew meanwhile."""
    if Project.objects.alive().filter(dataset_id=project.dataset_id).exists():
        raise Duplicate("The dataset was opened again meanwhile; delete that project first.")
    change_project(project, by=by, deleted_at=None)


def add_task(project: Project, task_type: str, *, by: str, number_floor: int = 0) -> ProjectTask:
    """Add a further task, whose versions are numbered above ``number_floor``; the first one stays first. Raises
    Duplicate."""
    with acting(by):
        Project.objects.select_for_update().get(pk=project.pk)
        if project.tasks.filter(task_type=task_type).exists():
            raise Duplicate(f"The project has the task {task_type} already.")
        last = project.tasks.aggregate(last=Max("position"))["last"]
        position = 0 if last is None else last + 1
        return ProjectTask.objects.create(
            project=project, task_type=task_type, position=position, number_floor=number_floor
        )


# Most requests ask it.
TASKS = "SELECT {columns} FROM project_tasks t WHERE project_id = %s ORDER BY position"


def task_of(project: Project, task_type: str | None) -> ProjectTask:
    """The named task, or the first; raises AnnotationError naming ``task_type``."""
    tasks: list[ProjectTask] = asked(ProjectTask, TASKS, [project.pk])
    for task in tasks:
        if task_type is None or task.task_type == task_type:
            task.project = project
            return task
    known = ", ".join(task.task_type for task in tasks)
    raise AnnotationError(
        f"The project has no task {task_type}; it has {known}.",
        errors={"task_type": [f"must be one of {known}."]},
    )


def stats(project: Project) -> dict[str, Any]:
    """Images by progress, for each task."""
    # One index answers this: an image is confirmed when it is completed, and has a row for each task.
    counted: dict[str, dict[str, int]] = {task.task_type: {} for task in project.tasks.all()}
    rows = ImageStatus.objects.filter(project=project).values("task_type", "status").annotate(images=Count("*"))
    for row in rows.order_by("task_type", "status"):
        counted[row["task_type"]][row["status"]] = row["images"]
    listed = [{"task_type": task, **_progress(images)} for task, images in counted.items()]
    total = max((sum(images.values()) for images in counted.values()), default=0)
    return {"project_id": project.pk, "total_images": total, "task_stats": listed}


def _progress(images: dict[str, int]) -> dict[str, int]:
    completed = images.get(Progress.COMPLETED, 0)
    return {
        "total_images": sum(images.values()),
        "not_started": images.get(Progress.NOT_STARTED, 0),
        "in_progress": images.get(Progress.IN_PROGRESS, 0),
        "completed": completed,
        "confirmed": completed,
    }


# Classes ------------------------------------------------------------------------------------


def classes_of(project_id: str, task_type: str) -> Any:
    """Living classes of a task in display order."""
    return LabelClass.objects.filter(project_id=project_id, task_type=task_type, retired_at=None).order_by(
        "order", "index"
    )


# Which field is meant by a constraint.
ONCE = {"one_class_per_name": "name", "one_class_per_key": "class_id"}


@contextmanager
def refusing_taken() -> Iterator[None]:
    """Around a transaction that names classes: what a row written past this file took meanwhile is a Duplicate."""
    try:
        yield
    except IntegrityError as error:
        for constraint, field in ONCE.items():
            if constraint in str(error):
                raise Duplicate(f"Another class has this {field}.", errors={field: ["is in use."]}) from error
        raise


def create_class(task: ProjectTask, *, name: str, by: str, class_id: str | None = None, **values: Any) -> LabelClass:
    """Add a class under the next permanent index; one of a retired name comes back as it was.

    Raises AnnotationError naming the field, and Duplicate for an id or name in use.
    """
    _check_class(name=name, class_id=class_id, color=values.get("color"), supercategory=values.get("supercategory"))
    with refusing_taken(), acting(by):
        with not_for_long():
            hold_task(task.project_id, task.task_type)
        mine = LabelClass.objects.filter(project_id=task.project_id, task_type=task.task_type)
        same_name = mine.filter(name=name).first()
        if same_name is not None:
            return _revive(same_name, class_id, values)
        if class_id is not None and mine.filter(class_id=class_id).exists():
            raise Duplicate(f"The class id {class_id} is in use.", errors={"class_id": ["is in use."]})
        highest = mine.aggregate(index=Max("index"), order=Max("order"))
        return LabelClass.objects.create(
            project_id=task.project_id,
            task_type=task.task_type,
            class_id=class_id or secrets.token_hex(4),
            name=name,
            index=0 if highest["index"] is None else highest["index"] + 1,
            order=values.pop("order", 0 if highest["order"] is None else highest["order"] + 1),
            **values,
        )


def create_classes(task: ProjectTask, wanted: Sequence[Mapping[str, Any]], *, by: str) -> list[LabelClass]:
    """Add many new classes at once, under the next permanent indexes; each as the arguments of ``create_class``.

    All or nothing: raises AnnotationError naming the field, and Duplicate if an id or a name is in use, retired or not.
    """
    for values in wanted:
        _check_class(**{name: values.get(name) for name in ("name", "class_id", "color", "supercategory")})
    with refusing_taken(), acting(by):
        hold_task(task.project_id, task.task_type)
        mine = LabelClass.objects.filter(project_id=task.project_id, task_type=task.task_type)
        names, ids = [each["name"] for each in wanted], [each["class_id"] for each in wanted if each.get("class_id")]
        if len(set(names)) < len(names) or mine.filter(Q(name__in=names) | Q(class_id__in=ids)).exists():
            raise Duplicate(
                "A class of one of these names or ids is there already, perhaps retired.",
                errors={"name": ["is in use."]},
            )
        highest = mine.aggregate(index=Max("index"), order=Max("order"))
        index, order = (0 if highest[each] is None else highest[each] + 1 for each in ("index", "order"))
        return LabelClass.objects.bulk_create(
            LabelClass(
                project_id=task.project_id,
                task_type=task.task_type,
                index=index + at,
                order=order + at,
                **{**values, "class_id": values.get("class_id") or secrets.token_hex(4)},
            )
            for at, values in enumerate(wanted)
        )


def _revive(entry: LabelClass, class_id: str | None, values: Mapping[str, Any]) -> LabelClass:
    if entry.retired_at is None or class_id not in (None, entry.class_id):
        raise Duplicate(
            f"The class name {entry.name} is in use"
            + (" by a retired class; leave class_id out to bring it back." if entry.retired_at else "."),
            errors={"name": ["is in use."]},
        )
    for field, value in values.items():
        setattr(entry, field, value)
    entry.retired_at = None
    entry.save(update_fields=[*values, "retired_at"])
    return entry


def _check_class(
    *, name: str | None, class_id: str | None = None, color: str | None = None, supercategory: str | None = None
) -> None:
    problems: dict[str, list[str]] = {}
    if name is not None and (not name.strip() or any(ord(each) < 32 for each in name)):
        problems["name"] = ["must hold visible text on one line."]
    for field, text in (("name", name), ("supercategory", supercategory)):
        if text is not None and len(text) > MOST_NAME:
            problems[field] = [f"has {len(text)} characters; at most {MOST_NAME} are taken."]
    if BACKGROUND in (name, class_id):
        problems["name"] = [f"{BACKGROUND} is reserved for images without objects."]
    if class_id in WORDS_OF_ROUTES:
        problems["class_id"] = [f"{class_id} is a word of the API; choose another."]
    if class_id is not None and class_id != BACKGROUND and not KEY.match(class_id):
        problems["class_id"] = ["takes letters, digits, _ . and -, at most 64."]
    if color is not None and not COLOR.match(color):
        problems["color"] = ["must look like #RRGGBB."]
    if problems:
        field, reasons = next(iter(problems.items()))
        raise AnnotationError(f"The class cannot be taken as it is: its {field} {reasons[0]}", errors=problems)


def class_for(task: ProjectTask, class_id: str) -> LabelClass:
    """A living class of the task by its id; raises NotFound."""
    entry = classes_of(task.project_id, task.task_type).filter(class_id=class_id).first()
    if entry is None:
        raise NotFound("No such class.")
    return entry


def change_class(entry: LabelClass, *, by: str, **values: Any) -> LabelClass:
    """Rename, recolour, describe or move a class; no annotation row changes. Raises Duplicate."""
    _check_class(name=values.get("name"), color=values.get("color"))
    with refusing_taken(), acting(by):
        # Two people giving the same name at once: the second is told, as with create_class.
        with not_for_long():
            hold_task(entry.project_id, entry.task_type)
        mine = LabelClass.objects.filter(project_id=entry.project_id, task_type=entry.task_type)
        if "name" in values and mine.exclude(pk=entry.pk).filter(name=values["name"]).exists():
            raise Duplicate("Another class has this name.", errors={"name": ["is in use."]})
        for field, value in values.items():
            setattr(entry, field, value)
        entry.save(update_fields=list(values))
    return entry


def remove_class(entry: LabelClass, *, by: str) -> None:
    """Retire a class: it keeps its index in every file. Raises ClassInUse while annotations name it."""
    with acting(by):
        with not_for_long():
            hold_task(entry.project_id, entry.task_type)
        LabelClass.objects.select_for_update().get(pk=entry.pk)
        used = Annotation.objects.filter(label_class=entry).count()
        if used:
            raise ClassInUse(f"{used} annotations are of this class; give them another first.", count=used)
        entry.retired_at = timezone.now()
        entry.save(update_fields=["retired_at"])


@transaction.atomic
def reorder_classes(task: ProjectTask, class_ids: Sequence[str], *, by: str) -> list[LabelClass]:
    """Set the display order; ``class_ids`` must be all living classes of the task, each once."""
    entries = {entry.class_id: entry for entry in classes_of(task.project_id, task.task_type)}
    if len(class_ids) != len(set(class_ids)) or set(class_ids) != set(entries):
        raise AnnotationError(
            "class_ids must name every class of the task exactly once.",
            errors={"class_ids": [f"must be exactly: {', '.join(sorted(entries))}."]},
        )
    with acting(by):
        for order, class_id in enumerate(class_ids):
            if entries[class_id].order != order:
                entries[class_id].order = order
                entries[class_id].save(update_fields=["order"])
    return [entries[class_id] for class_id in class_ids]


def define_classes(task: ProjectTask, classes: Mapping[str, Mapping[str, Any]], *, by: str) -> None:
    """Make the classes a new project came with: ``{class_id: {name, color, ...}}``, in display order."""
    ordered = sorted(classes.items(), key=lambda item: item[1].get("order", 0))
    for class_id, values in ordered:
        given = {field: values[field] for field in CLASS_FIELDS if values.get(field) not in (None, "")}
        create_class(task, name=str(values.get("name", "")), class_id=class_id, by=by, **given)


CLASS_FIELDS = ("color", "description", "supercategory", "keypoints", "skeleton")


# Members ------------------------------------------------------------------------------------


def set_member(project: Project, user_id: str, role: Role, *, by: str, by_role: Role) -> Member:
    """Add a member or change a role. Nobody gives or takes a role above their own; there is one owner."""
    with acting(by):
        _hold_members(project)
        present = project.members.filter(user_id=user_id).first()
        if role == Role.OWNER or (present and present.role == Role.OWNER):
            raise Forbidden("The owner is changed by handing the project over (PATCH with hand_over).")
        if max(role.rank, Role(present.role).rank if present else 0) > by_role.rank:
            raise Forbidden("You cannot give or change a role above your own.")
        return project.members.update_or_create(
            user_id=user_id, defaults={"role": role}, create_defaults={"role": role, "added_by": by}
        )[0]


def hand_over(project: Project, user_id: str, *, by: str, by_staff: bool = False) -> Member:
    """Make another member the owner; the old one stays as admin. Only the owner does it, or staff, as owners leave.

    Raises NotFound, Forbidden.
    """
    with acting(by):
        _hold_members(project)
        if not by_staff and not project.members.filter(user_id=by, role=Role.OWNER).exists():
            raise Forbidden("Only the owner hands the project over.")
        heir = project.members.filter(user_id=user_id).first()
        if heir is None:
            raise NotFound("No such member.")
        project.members.filter(role=Role.OWNER).update(role=Role.ADMIN)
        heir.role = Role.OWNER
        heir.save(update_fields=["role"])
        change_project(project, by=by, owner_id=user_id)
    return heir


def remove_member(project: Project, user_id: str, *, by: str, by_role: Role) -> None:
    """Take a member out. Raises NotFound, and Forbidden for the owner or a role above one's own."""
    with acting(by):
        _hold_members(project)
        member = project.members.filter(user_id=user_id).first()
        if member is None:
            raise NotFound("No such member.")
        if member.role == Role.OWNER or Role(member.role).rank > by_role.rank:
            raise Forbidden("The owner, and roles above your own, cannot be removed.")
        member.delete()


def _hold_members(project: Project) -> None:
    """One change of members at a time, else two at once leave no owner, or two."""
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)


def activate(project: Project, *, by: str, status: str = ProjectStatus.ACTIVE) -> None:
    """The images are listed (or could not be)."""
    change_project(project, by=by, status=status)
