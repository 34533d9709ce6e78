"""What happened, and taking it back."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from annotations import audit, history, images, projects, undoing
from annotations.access import image_for, project_for
from annotations.answers import class_answer, class_counts
from annotations.errors import NotFound
from annotations.fields import TaskQuery
from annotations.models import AnnotationHistory, LabelClass
from annotations.paging import bare_list, checked, page_of
from annotations.serializers import ForceBody, HistoryQuery, RestoreDeletedBody, UndoBody
from annotations.shapes import (
    AuditShape,
    ClassHistoryShape,
    ClassShape,
    HistoryShape,
    RestoredDeletedShape,
    UndoneChangeShape,
    UndoneShape,
)
from annotations.states import Role
from annotations.undoing import Deleted, Scope, Undone

MAX_ID = 2**63 - 1
SHOWN = 1000
PAGE = [OpenApiParameter("skip", int), OpenApiParameter("limit", int)]


class HistoryViewSet(viewsets.ViewSet):
    """``/annotations/history``."""

    @extend_schema(parameters=[HistoryQuery, *PAGE], responses=HistoryShape(many=True))
    def of_project(self, request: Request, project_id: str) -> Response:
        """What happened in a project, newest first, with ``X-Total-Count``."""
        project = project_for(request.user, project_id)
        query = checked(HistoryQuery, request.query_params)
        query["image"] = image_for(project, query["image_id"]).pk if query["image_id"] is not None else None
        page = page_of(request, most=100, start="skip")
        answers = history.history_answers(page.of(history.history_of(project, query)))
        return bare_list(answers, history.history_total(project, query))

    @extend_schema(parameters=PAGE, responses=HistoryShape(many=True))
    def of_annotation(self, request: Request, annotation_id: str) -> Response:
        """What happened to one annotation, newest first; also after it was deleted."""
        rows = history.history_of_annotation(_known(annotation_id))
        _visible(request, rows[0].project_id, "No such annotation.")
        return bare_list(history.history_answers(page_of(request, most=100, start="skip").of(rows)), rows.count())

    @extend_schema(request=ForceBody, responses=UndoneChangeShape)
    def undo(self, request: Request, history_id: str) -> Response:
        """Take one change back; 409 ``not_latest`` if the annotation changed since and not ``force``."""
        row = AnnotationHistory.objects.filter(pk=_known(history_id)).first()
        if row is None:
            raise NotFound("No such change.")
        role = _visible(request, row.project_id, "No such change.", Role.ANNOTATOR)
        force = checked(ForceBody, request.data or {})["force"]
        done = undoing.undo_change(row.pk, by=request.user.get_username(), role=role, force=force)
        entry = history.history_answers(_rows(done).filter(annotation_id=row.annotation_id))[0]
        return Response({"history": entry, "annotation": entry["new_state"]})


def _known(text: str) -> int:
    number = int(text)
    if number > MAX_ID:
        raise NotFound("No such change.")
    return number


def _visible(request: Request, project_id: str, missing: str, role: Role = Role.VIEWER) -> Role:
    """The person's role; what belongs to an invisible project answers as what is ``missing``."""
    try:
        return Role(project_for(request.user, project_id, role).my_role)
    except NotFound:
        raise NotFound(missing) from None


def _rows(done: Undone) -> Any:
    return AnnotationHistory.objects.filter(batch_id__in=done.batches).order_by("-id")


class UndoViewSet(viewsets.ViewSet):
    """``/projects/{project_id}/annotations/...``: steps, deeds and deletions taken back."""

    @extend_schema(request=UndoBody, responses=UndoneShape)
    def undo(self, request: Request, project_id: str) -> Response:
        """Take back the last deeds (or, with ``redo``, the last undos), or the deed ``batch_id``; one transaction."""
        project = project_for(request.user, project_id, Role.ANNOTATOR)
        body = checked(UndoBody, request.data or {})
        by, role = request.user.get_username(), Role(project.my_role)
        image = image_for(project, body["image_id"]).pk if body["image_id"] is not None else None
        scope = Scope(project.pk, by if body["mine"] else None, image)
        if body["batch_id"] is not None:
            done = undoing.undo_batch(scope, body["batch_id"], by=by, role=role, force=body["force"])
        else:
            done = undoing.undo_steps(scope, body["steps"], by=by, role=role, redo=body["redo"], force=body["force"])
        return Response(
            {
                "undone": done.annotations,
                "steps": len(done.batches),
                "batch_ids": [str(batch) for batch in done.batches],
                "history": history.history_answers(_rows(done)[:SHOWN]),
            }
        )

    @extend_schema(request=RestoreDeletedBody, responses=RestoredDeletedShape)
    def restore_deleted(self, request: Request, project_id: str) -> Response:
        """Bring deleted annotations back, by who deleted them, when, where; a dry run unless ``dry_run`` is false."""
        project = project_for(request.user, project_id, Role.REVIEWER)
        body = checked(RestoreDeletedBody, request.data or {})
        wanted = Deleted(
            by=body["by"],
            since=body["since"],
            until=body["until"],
            images=None if body["image_ids"] is None else tuple(images.keys_of(project, body["image_ids"])),
            annotations=None if body["annotation_ids"] is None else tuple(body["annotation_ids"]),
            batch=body["batch_id"],
        )
        done = undoing.restore_deleted(project.pk, wanted, by=request.user.get_username(), dry_run=body["dry_run"])
        return Response(done.as_dict())


class ClassHistoryViewSet(viewsets.ViewSet):
    """``/projects/{project_id}/classes/history``."""

    @extend_schema(parameters=[TaskQuery, *PAGE], responses=ClassHistoryShape(many=True))
    def list(self, request: Request, project_id: str) -> Response:
        """What happened to the classes of a task, newest first."""
        project = project_for(request.user, project_id)
        task = projects.task_of(project, checked(TaskQuery, request.query_params)["task_type"])
        rows = history.history_of_classes(task)
        page = page_of(request, most=100, start="skip")
        return bare_list(history.class_history_answers(page.of(rows)), rows.count())

    @extend_schema(parameters=[TaskQuery], request=ForceBody, responses=ClassShape)
    def undo(self, request: Request, project_id: str, history_id: str) -> Response:
        """Give a class the values it had before a change; 409 ``not_latest`` if it changed since and not ``force``."""
        project = project_for(request.user, project_id, Role.ADMIN)
        task = projects.task_of(project, checked(TaskQuery, request.query_params)["task_type"])
        force = checked(ForceBody, request.data or {})["force"]
        entry: LabelClass = history.undo_class_change(
            task, _known(history_id), by=request.user.get_username(), force=force
        )
        return Response(class_answer(entry, class_counts([project_id])))


class AuditViewSet(viewsets.ViewSet):
    """``/projects/{project_id}/audit``."""

    @extend_schema(parameters=PAGE, responses=AuditShape(many=True))
    def list(self, request: Request, project_id: str) -> Response:
        """Who published, restored, imported, deleted, changed members; newest first."""
        project = project_for(request.user, project_id, Role.ADMIN)
        rows = audit.entries_of(project)
        page = page_of(request, most=100, start="skip")
        return bare_list(audit.audit_answers(page.of(rows)), rows.count())
