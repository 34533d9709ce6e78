"""Annotations: create, read, change, delete, confirm, verify; one by one and in batches."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from annotations import confirming, editing, history
from annotations.access import annotation_for, image_for, project_for, role_at
from annotations.answers import annotation_answers, state_answer
from annotations.errors import AnnotationError, NotFound, sentence
from annotations.idempotency import once
from annotations.models import Annotation, Image, Project
from annotations.paging import bare_list, checked, page_of
from annotations.serializers import (
    AnnotationBody,
    AnnotationChange,
    AnnotationQuery,
    BatchBody,
    BatchDeleteBody,
    BatchUpdateBody,
    ConfirmBody,
    IdField,
    IdsBody,
    VerifyBody,
)
from annotations.shapes import (
    AnnotationShape,
    AnnotationStateShape,
    BatchDeleteShape,
    BatchShape,
    BatchUpdateShape,
    BulkConfirmShape,
)
from annotations.states import Role

MAX_ID = 2**63 - 1


def known_id(text: str) -> int:
    """An id from a path; one no row can have is not found."""
    number = int(text)
    if number > MAX_ID:
        raise NotFound("No such annotation.")
    return number


class AnnotationViewSet(viewsets.ViewSet):
    """``/annotations`` and ``/annotations/{id}``."""

    @extend_schema(request=AnnotationBody, responses={200: AnnotationShape, 201: AnnotationShape})
    def create(self, request: Request) -> Response:
        """Draw an annotation; a repeated ``client_id`` answers 200 with the row it made."""
        body = checked(AnnotationBody, request.data)
        project = project_for(request.user, body["project_id"], Role.ANNOTATOR)
        image = image_for(project, body["image_id"])
        row, new = editing.create_annotation(project, image, body, by=request.user.get_username())
        return Response(annotation_answers([row])[0], status.HTTP_201_CREATED if new else status.HTTP_200_OK)

    @extend_schema(responses=AnnotationShape)
    def retrieve(self, request: Request, annotation_id: str) -> Response:
        """One annotation."""
        return Response(annotation_answers([annotation_for(request.user, known_id(annotation_id))])[0])

    @extend_schema(request=AnnotationChange, responses=AnnotationShape)
    def update(self, request: Request, annotation_id: str) -> Response:
        """Change the fields that are present; with ``version`` only if nobody changed the row since (409)."""
        number = known_id(annotation_id)
        role_at(request.user, number, Role.ANNOTATOR)
        body = checked(AnnotationChange, request.data)
        return Response(
            annotation_answers([editing.update_annotation(number, body, by=request.user.get_username())])[0]
        )

    @extend_schema(parameters=[OpenApiParameter("version", int)], responses={204: None})
    def destroy(self, request: Request, annotation_id: str) -> Response:
        """Delete an annotation; its history stays."""
        number = known_id(annotation_id)
        role_at(request.user, number, Role.ANNOTATOR)
        version = checked(VersionQuery, request.query_params)["version"]
        editing.delete_annotation(number, by=request.user.get_username(), version=version)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=ConfirmBody, responses=AnnotationStateShape)
    def confirm(self, request: Request, annotation_id: str) -> Response:
        """draft -> confirmed; ``{"confirmed": false}`` takes it back."""
        if checked(ConfirmBody, request.data or {})["confirmed"]:
            number = known_id(annotation_id)
            role_at(request.user, number, Role.ANNOTATOR)
            done = confirming.confirm_annotation(number, by=request.user.get_username())
            return Response(state_answer(done))
        return self._take_back(request, annotation_id)

    @extend_schema(request=None, responses=AnnotationStateShape)
    def unconfirm(self, request: Request, annotation_id: str) -> Response:
        """-> draft; a verified one only by a reviewer."""
        return self._take_back(request, annotation_id)

    def _take_back(self, request: Request, annotation_id: str) -> Response:
        number = known_id(annotation_id)
        role = role_at(request.user, number, Role.ANNOTATOR)
        done = confirming.unconfirm_annotation(number, by=request.user.get_username(), role=role)
        return Response(state_answer(done))

    @extend_schema(request=VerifyBody, responses=AnnotationStateShape)
    def verify(self, request: Request, annotation_id: str) -> Response:
        """confirmed -> verified; ``{"verified": false}`` takes it back."""
        number = known_id(annotation_id)
        role_at(request.user, number, Role.REVIEWER)
        wanted = checked(VerifyBody, request.data or {})["verified"]
        done = confirming.verify_annotation(number, by=request.user.get_username(), verified=wanted)
        return Response(state_answer(done))


class VersionQuery(serializers.Serializer):
    """``?version`` of a delete."""

    version = IdField(required=False, default=None)


class ProjectAnnotationsViewSet(viewsets.ViewSet):
    """``/annotations/project/{project_id}``."""

    @extend_schema(
        parameters=[AnnotationQuery, OpenApiParameter("skip", int), OpenApiParameter("limit", int)],
        responses=AnnotationShape(many=True),
    )
    def list(self, request: Request, project_id: str) -> Response:
        """Annotations by id, a bare array with ``X-Total-Count``; with ``as_of`` as they stood at that moment."""
        project = project_for(request.user, project_id)
        page = page_of(request, most=1000, default=100, start="skip")
        query = checked(AnnotationQuery, request.query_params)
        if query["as_of"] is not None:
            query["image"] = image_for(project, query["image_id"]).pk if query["image_id"] is not None else None
            stood, total = history.as_of(project, query["as_of"], query, limit=page.limit, offset=page.offset)
            return bare_list(annotation_answers(stood), total)
        rows = _filtered(project, query).order_by("pk")
        return bare_list(annotation_answers(page.of(rows.with_names())), rows.count())


def _filtered(project: Project, query: dict[str, Any]) -> Any:
    rows = Annotation.objects.filter(project=project)
    if query["image_id"] is not None:
        rows = rows.filter(image=image_for(project, query["image_id"]))
    if query["task_type"] is not None:
        rows = rows.filter(task_type=query["task_type"])
    if query["annotation_state"] is not None:
        rows = rows.filter(state=query["annotation_state"])
    if query["updated_since"] is not None:
        rows = rows.filter(updated_at__gte=query["updated_since"])
    return rows


class BatchViewSet(viewsets.ViewSet):
    """Up to 1,000 changes in one request; each fails alone unless ``atomic``."""

    @extend_schema(request=BatchBody, responses={200: BatchShape})
    def create(self, request: Request) -> Response:
        """Create bodies; ``Idempotency-Key`` makes a retry safe."""
        body = checked(BatchBody, request.data)
        user = request.user
        if not user.pk:
            raise NotFound("No such project.")

        def act() -> dict[str, Any]:
            done, errors = editing.each_item(
                body["annotations"],
                lambda item: _create_one(user, item),
                by=user.get_username(),
                atomic=body["atomic"],
            )
            ids = [row.pk for _, row in done]
            return {"created": len(ids), "failed": len(errors), "annotation_ids": ids, "errors": errors}

        answer = once(user.get_username(), request.headers.get("Idempotency-Key"), request.data, act)
        return _batch_response(answer, body["atomic"])

    @extend_schema(request=BatchUpdateBody, responses=BatchUpdateShape)
    def update(self, request: Request) -> Response:
        """Changes with ``id`` and, if wanted, ``version``; conflicts are listed with the row as it stands."""
        body = checked(BatchUpdateBody, request.data)
        user = request.user
        conflicts: list[dict[str, Any]] = []
        done, errors = editing.each_item(
            body["updates"],
            lambda item: _update_one(user, item, conflicts),
            by=user.get_username(),
            atomic=body["atomic"],
        )
        answer = {
            "updated": len(done),
            "failed": len(errors),
            "annotations": annotation_answers(row for _, row in done),
            "errors": errors,
            "conflicts": conflicts,
        }
        return _batch_response(answer, body["atomic"])

    @extend_schema(request=BatchDeleteBody, responses=BatchDeleteShape)
    def delete(self, request: Request) -> Response:
        """By ids, or everything on some images; ``batch_id`` names the deed in history."""
        body = checked(BatchDeleteBody, request.data)
        if "annotation_ids" in body:
            allowed, errors = _allowed(request.user, body["annotation_ids"])
        else:
            allowed, errors = _on_images(request.user, body)
        deleted, batch = editing.delete_batch(allowed, by=request.user.get_username())
        answer = {"deleted": deleted, "failed": len(errors), "errors": errors, "batch_id": str(batch)}
        return Response(answer)

    @extend_schema(request=IdsBody, responses=BulkConfirmShape)
    def confirm(self, request: Request) -> Response:
        """Confirm many; those that cannot be are listed."""
        ids = checked(IdsBody, request.data)["annotation_ids"]
        allowed, errors = _allowed(request.user, ids)
        rows, refused = confirming.bulk_confirm(allowed, by=request.user.get_username())
        errors = [*({"annotation_id": e.pop("id"), **e} for e in errors), *refused]
        answer = {
            "confirmed": len(rows),
            "failed": len(errors),
            "results": [state_answer(row) for row in rows],
            "errors": errors,
            "failed_ids": [error["annotation_id"] for error in errors],
        }
        return Response(answer)


def _batch_response(answer: dict[str, Any], atomic: bool) -> Response:
    if atomic and answer["failed"]:
        detail = f"{answer['failed']} entries are wrong; atomic was asked for, so nothing was written."
        return Response({"detail": detail, "code": "invalid", **answer}, status.HTTP_400_BAD_REQUEST)
    return Response(answer)


def _create_one(user: Any, item: Any) -> Annotation:
    body = _item(AnnotationBody, item)
    project = project_for(user, body["project_id"], Role.ANNOTATOR)
    row, _ = editing.create_annotation(project, image_for(project, body["image_id"]), body, by=user.get_username())
    return row


def _update_one(user: Any, item: Any, conflicts: list[dict[str, Any]]) -> Annotation:
    body = _item(AnnotationChange, item)
    annotation_id = _item(IdOnly, item)["id"]
    role_at(user, annotation_id, Role.ANNOTATOR)
    try:
        return editing.update_annotation(annotation_id, body, by=user.get_username())
    except editing.VersionConflict as conflict:
        current = annotation_answers([conflict.current])[0]  # type: ignore[list-item]
        conflicts.append(
            {"id": annotation_id, "your_version": conflict.your_version, "current_version": current["version"],
             "current": current}
        )  # fmt: skip
        raise


class IdOnly(serializers.Serializer):
    """The ``id`` of an entry of batch-update."""

    id = IdField()


def _item(serializer: type, item: Any) -> dict[str, Any]:
    wanted = serializer(data=item)
    if not wanted.is_valid():
        raise AnnotationError(sentence(wanted.errors), errors=wanted.errors)
    return wanted.validated_data


def _allowed(user: Any, ids: list[int]) -> tuple[list[int], list[dict[str, Any]]]:
    """Which of the annotations the user may change, and an error for each other one."""
    places = dict(Annotation.objects.filter(pk__in=ids).values_list("pk", "project_id"))
    refusals: dict[str, AnnotationError] = {}
    for project_id in sorted(set(places.values())):
        try:
            project_for(user, project_id, Role.ANNOTATOR)
        except AnnotationError as error:
            refusals[project_id] = error if error.code == "forbidden" else NotFound("No such annotation.")
    missing = NotFound("No such annotation.")
    allowed, errors = [], []
    for position, each in enumerate(dict.fromkeys(ids)):
        refusal = refusals.get(places[each]) if each in places else missing
        if refusal is None:
            allowed.append(each)
        else:
            errors.append(editing.item_error(position, {"id": each}, refusal))
    return allowed, errors


def _on_images(user: Any, body: dict[str, Any]) -> tuple[list[int], list[dict[str, Any]]]:
    project = project_for(user, body["project_id"], Role.ANNOTATOR)
    known = dict(Image.objects.filter(project=project, path__in=body["image_ids"]).values_list("path", "pk"))
    errors = [
        {"index": index, "image_id": path, "code": "not_found", "detail": "No such image in this project."}
        for index, path in enumerate(body["image_ids"])
        if path not in known
    ]
    rows = Annotation.objects.filter(project=project, image_id__in=known.values())
    if body["task_type"]:
        rows = rows.filter(task_type=body["task_type"])
    return list(rows.values_list("pk", flat=True)), errors
