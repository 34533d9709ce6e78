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
    found = Project.objects.visible_to(user).filter(pk=project_id)
    project = found.prefetch_related("tasks").with_my_role().first()
    if project is None:
        raise NotFound("No such project.")
    if Role(project.my_role).rank < role.rank:
        raise Forbidden(f"This needs the role {role.value} in the project; you are {project.my_role}.")
    return project


def annotation_for(user: Any, annotation_id: int, role: Role = Role.VIEWER) -> Annotation:
    """The annotation, if its project is visible to ``user`` with at least ``role``; else as project_for."""
    found = Annotation.objects.with_names().filter(pk=annotation_id).first()
    if found is None:
        raise NotFound("No such annotation.")
    try:
        project_for(user, found.project_id, role)
    except NotFound:
        raise NotFound("No such annotation.") from None
    return found


def image_for(project: Project, image_id: str) -> Image:
    """The image of the project with that path; raises NotFound."""
    image = Image.objects.filter(project=project, path=image_id).first()
    if image is None:
        raise NotFound("No such image in this project.")
    return image
