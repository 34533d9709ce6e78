"""Which projects a person may see and what they may do there; every door asks here first."""

from __future__ import annotations

from typing import Any

from annotations.errors import Forbidden, NotFound
from annotations.models import Annotation, Image, Project
from annotations.states import Role


def project_for(user: Any, project_id: str, role: Role = Role.VIEWER) -> Project:
    """The project, if ``user`` is a member with at least ``role``.

    Raises NotFound for a missing or invisible project (the same answer for both) and Forbidden
    for a member below the role.
    """
    project = Project.objects.visible_to(user).with_my_role().filter(pk=project_id).first()
    if project is None:
        raise NotFound("No such project.")
    _refuse_below(role, project.my_role)
    return project


def annotation_for(user: Any, annotation_id: int, role: Role = Role.VIEWER) -> Annotation:
    """The annotation, if its project is visible to ``user`` with at least ``role``; else as project_for."""
    found = Annotation.objects.visible_to(user).with_names().filter(pk=annotation_id).first()
    if found is None:
        raise NotFound("No such annotation.")
    _refuse_below(role, found.my_role)
    return found


def role_at(user: Any, annotation_id: int, role: Role) -> Role:
    """The user's role where the annotation is, for doors that lock the row before they read it; raises as above."""
    mine = Annotation.objects.visible_to(user).filter(pk=annotation_id).values_list("my_role", flat=True).first()
    if mine is None:
        raise NotFound("No such annotation.")
    _refuse_below(role, mine)
    return Role(mine)


def _refuse_below(needed: Role, mine: str) -> None:
    if Role(mine).rank < needed.rank:
        raise Forbidden(f"This needs the role {needed.value} in the project; you are {mine}.")


def image_for(project: Project, image_id: str) -> Image:
    """The image of the project with that path; raises NotFound."""
    image = Image.objects.filter(project=project, path=image_id).first()
    if image is None:
        raise NotFound("No such image in this project.")
    return image
