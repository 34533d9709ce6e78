"""What belongs to a project without touching versions: statistics, classes, members."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from annotations import projects
from annotations.access import project_for
from annotations.answers import class_answer, class_counts, member_answers, project_answers
from annotations.errors import NotFound
from annotations.fields import ClassBody, TaskQuery
from annotations.models import LabelClass, Project
from annotations.paging import bare_list, checked
from annotations.serializers import (
    ClassChange,
    MemberBody,
    ReorderBody,
    RoleBody,
)
from annotations.shapes import ClassShape, MemberShape, ProjectShape, StatsShape
from annotations.states import Role


class ProjectPartsViewSet(viewsets.ViewSet):
    """Statistics, and the project of a dataset."""

    @extend_schema(responses=StatsShape)
    def stats(self, request: Request, project_id: str) -> Response:
        """Images by progress, for each task."""
        return Response(projects.stats(project_for(request.user, project_id)))

    @extend_schema(responses=ProjectShape)
    def of_dataset(self, request: Request, dataset_id: str) -> Response:
        """The project of a dataset, if there is one and the user is a member."""
        found = Project.objects.visible_to(request.user).filter(dataset_id=dataset_id).first()
        if found is None:
            raise NotFound("No project of this dataset.")
        return Response(project_answers([found])[0])


class ClassViewSet(viewsets.ViewSet):
    """``/projects/{project_id}/classes``."""

    @extend_schema(parameters=[TaskQuery], responses=ClassShape(many=True))
    def list(self, request: Request, project_id: str) -> Response:
        """Classes in display order."""
        task = _task(request, project_for(request.user, project_id))
        answers = _answers(projects.classes_of(project_id, task.task_type), project_id)
        return bare_list(answers, len(answers))

    @extend_schema(parameters=[TaskQuery], request=ClassBody, responses={201: ClassShape})
    def create(self, request: Request, project_id: str) -> Response:
        """Add a class under the next permanent index."""
        task = _task(request, project_for(request.user, project_id, Role.ADMIN))
        entry = projects.create_class(task, by=request.user.get_username(), **checked(ClassBody, request.data))
        return Response(_answers([entry], project_id)[0], status.HTTP_201_CREATED)

    @extend_schema(parameters=[TaskQuery], request=ClassChange, responses=ClassShape)
    def partial_update(self, request: Request, project_id: str, class_id: str) -> Response:
        """Rename, recolour, describe or move a class."""
        task = _task(request, project_for(request.user, project_id, Role.ADMIN))
        entry = projects.class_for(task, class_id)
        changed = projects.change_class(entry, by=request.user.get_username(), **checked(ClassChange, request.data))
        return Response(_answers([changed], project_id)[0])

    @extend_schema(parameters=[TaskQuery], responses={204: None})
    def destroy(self, request: Request, project_id: str, class_id: str) -> Response:
        """Retire a class nobody uses."""
        task = _task(request, project_for(request.user, project_id, Role.ADMIN))
        projects.remove_class(projects.class_for(task, class_id), by=request.user.get_username())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(parameters=[TaskQuery], request=ReorderBody, responses=ClassShape(many=True))
    def reorder(self, request: Request, project_id: str) -> Response:
        """Set the display order."""
        task = _task(request, project_for(request.user, project_id, Role.ADMIN))
        wanted = checked(ReorderBody, request.data)["class_ids"]
        entries = projects.reorder_classes(task, wanted, by=request.user.get_username())
        return Response(_answers(entries, project_id))


def _task(request: Request, project: Project) -> projects.ProjectTask:
    return projects.task_of(project, checked(TaskQuery, request.query_params)["task_type"])


def _answers(entries: object, project_id: str) -> list[dict]:
    counts = class_counts([project_id])
    listed: list[LabelClass] = list(entries)  # type: ignore[call-overload]
    return [class_answer(entry, counts) for entry in listed]


class MemberViewSet(viewsets.ViewSet):
    """``/projects/{project_id}/members``."""

    @extend_schema(responses=MemberShape(many=True))
    def list(self, request: Request, project_id: str) -> Response:
        """Who may do what."""
        project = project_for(request.user, project_id)
        answers = member_answers(project.members.order_by("user_id"))
        return bare_list(answers, len(answers))

    @extend_schema(request=MemberBody, responses={201: MemberShape})
    def create(self, request: Request, project_id: str) -> Response:
        """Add a person, or change a role."""
        project = project_for(request.user, project_id, Role.ADMIN)
        body = checked(MemberBody, request.data)
        member = projects.set_member(
            project,
            body["user_id"],
            Role(body["role"]),
            by=request.user.get_username(),
            by_role=Role(project.my_role),
        )
        return Response(member_answers([member])[0], status.HTTP_201_CREATED)

    @extend_schema(request=RoleBody, responses=MemberShape)
    def partial_update(self, request: Request, project_id: str, user_id: str) -> Response:
        """Change a role; the owner may hand the project over."""
        body = checked(RoleBody, request.data)
        by = request.user.get_username()
        if body["hand_over"]:
            project = project_for(request.user, project_id, Role.OWNER)
            return Response(member_answers([projects.hand_over(project, user_id, by=by)])[0])
        project = project_for(request.user, project_id, Role.ADMIN)
        if not project.members.filter(user_id=user_id).exists():
            raise NotFound("No such member.")
        member = projects.set_member(project, user_id, Role(body["role"]), by=by, by_role=Role(project.my_role))
        return Response(member_answers([member])[0])

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, project_id: str, user_id: str) -> Response:
        """Take a person out."""
        project = project_for(request.user, project_id, Role.ADMIN)
        projects.remove_member(project, user_id, by=request.user.get_username(), by_role=Role(project.my_role))
        return Response(status=status.HTTP_204_NO_CONTENT)
