"""Projects as a whole: opening a dataset, listing, changing, deleting; datasets one may open."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from annotations import projects
from annotations.access import project_for
from annotations.answers import project_answers
from annotations.fields import TaskBody
from annotations.models import Project
from annotations.paging import bare_list, checked, page_of
from annotations.shapes import ProjectShape
from annotations.states import Role
from versions import opening, tasks
from versions.serializers import DatasetQuery, ForceQuery, ProjectBody, ProjectChange
from versions.shapes import AcceptedShape, DatasetShape, OpenedProjectShape
from versions.views.common import accepted, start_job

SKIP = [OpenApiParameter("skip", int), OpenApiParameter("limit", int)]


class ProjectViewSet(viewsets.ViewSet):
    """``/projects``."""

    @extend_schema(parameters=SKIP, responses=ProjectShape(many=True))
    def list(self, request: Request) -> Response:
        """Projects one is a member of, newest first."""
        mine = Project.objects.visible_to(request.user).prefetch_related("tasks").order_by("-created_at", "id")
        page = page_of(request, most=100, start="skip")
        return bare_list(project_answers(page.of(mine)), mine.count())

    @extend_schema(request=ProjectBody, responses={201: OpenedProjectShape})
    def create(self, request: Request) -> Response:
        """Open a platform dataset as a project; images and annotations are loaded by the job named in the answer."""
        project, job = opening.open_dataset(request.user, **checked(ProjectBody, request.data))
        tasks.nudge(tasks.run_job, job.pk)
        answer = {**_answer(project), "job_id": str(job.pk)}
        return Response(answer, status.HTTP_201_CREATED, headers={"Location": f"/api/v1/projects/{project.pk}"})

    @extend_schema(responses=ProjectShape)
    def retrieve(self, request: Request, project_id: str) -> Response:
        """One project."""
        return Response(_answer(project_for(request.user, project_id)))

    @extend_schema(request=ProjectChange, responses=ProjectShape)
    def partial_update(self, request: Request, project_id: str) -> Response:
        """Change name, description, task_config, settings or status."""
        project = project_for(request.user, project_id, Role.ADMIN)
        values = checked(ProjectChange, request.data)
        projects.change_project(project, by=request.user.get_username(), **values)
        return Response(_answer(project))

    @extend_schema(parameters=[ForceQuery], responses={204: None})
    def destroy(self, request: Request, project_id: str) -> Response:
        """Delete: a tombstone stays, and every file; with published versions only by ``force=true``."""
        project = project_for(request.user, project_id, Role.OWNER)
        force = checked(ForceQuery, request.query_params)["force"]
        opening.close_project(project, by=request.user.get_username(), force=force)
        tasks.nudge(tasks.write_project_record, project.pk)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=TaskBody, responses=ProjectShape)
    def add_task(self, request: Request, project_id: str) -> Response:
        """Add a further task."""
        project = project_for(request.user, project_id, Role.ADMIN)
        task_type = checked(TaskBody, request.data)["task_type"]
        opening.add_task(project, task_type, by=request.user.get_username())
        return Response(_answer(Project.objects.get(pk=project.pk)))

    @extend_schema(request=None, responses={202: AcceptedShape})
    def rescan(self, request: Request, project_id: str) -> Response:
        """List the store's images again: new ones are added, sizes still unknown are learned."""
        project = project_for(request.user, project_id, Role.ADMIN)
        return accepted(request, start_job(request, "rescan", project, {}))


def _answer(project: Project) -> dict[str, Any]:
    return project_answers([project])[0]


class DatasetViewSet(viewsets.ViewSet):
    """``/datasets``."""

    @extend_schema(parameters=[*SKIP, DatasetQuery], responses=DatasetShape(many=True))
    def list(self, request: Request) -> Response:
        """Platform datasets one may open, with the project of those that are open."""
        search = checked(DatasetQuery, request.query_params)["search"]
        datasets = opening.datasets_for(request.user, search=search)
        page = page_of(request, most=100, start="skip")
        return bare_list(opening.dataset_answers(page.of(datasets), request.user), datasets.count())
