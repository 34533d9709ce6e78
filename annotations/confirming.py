"""Confirming, verifying and taking it back: annotations one by one, images as a whole (api.md section 5)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from django.db import connection
from django.db.models import F
from django.utils import timezone

from annotations.acting import acting
from annotations.editing import lock_all, locked, write
from annotations.errors import AnnotationError, EmptyImage, Forbidden, InvalidTransition, Unclassed
from annotations.locks import claim
from annotations.models import Annotation, Image, ImageStatus
from annotations.progress import lock_progress
from annotations.states import AnnotationState, Progress, Role

# Written out, as annotations/querysets.py tells.
CONFIRM = """
UPDATE annotations SET state = 'confirmed', confirmed_at = %(now)s, confirmed_by = %(by)s, version = version + 1,
    updated_by = %(by)s, updated_at = %(now)s WHERE id = ANY(%(ids)s)"""
COMPLETE = """
UPDATE image_annotation_status SET status = 'completed', is_image_confirmed = true, confirmed_at = %(now)s,
    confirmed_by = %(by)s, first_modified_at = coalesce(first_modified_at, %(now)s),
    last_modified_at = coalesce(last_modified_at, %(now)s) WHERE id = ANY(%(ids)s)"""

DRAFT, CONFIRMED, VERIFIED = AnnotationState.DRAFT, AnnotationState.CONFIRMED, AnnotationState.VERIFIED


# Annotations --------------------------------------------------------------------------------


def confirm_annotation(annotation_id: int, *, by: str) -> Annotation:
    """draft -> confirmed, with who and when; repeating changes nothing. Raises NotFound and Unclassed."""
    with acting(by):
        row = locked(annotation_id, by=by)
        if row.state == DRAFT:
            _refuse_unclassed([row])
            write(row, by=by, state=CONFIRMED, confirmed_at=timezone.now(), confirmed_by=by)
        return row


def unconfirm_annotation(annotation_id: int, *, by: str, role: Role) -> Annotation:
    """-> draft, who and when cleared; taking back a verified one needs a reviewer. Raises NotFound, Forbidden."""
    with acting(by):
        row = locked(annotation_id, by=by)
        if row.state == VERIFIED and role.rank < Role.REVIEWER.rank:
            raise Forbidden("Only a reviewer takes back a verified annotation.")
        if row.state != DRAFT:
            write(row, by=by, state=DRAFT, confirmed_at=None, confirmed_by=None)
        return row


def verify_annotation(annotation_id: int, *, by: str, verified: bool = True) -> Annotation:
    """confirmed -> verified, or back with ``verified=False``. Raises NotFound and InvalidTransition for a draft."""
    with acting(by):
        row = locked(annotation_id, by=by)
        if row.state == DRAFT:
            raise InvalidTransition("A draft is confirmed before it is verified.")
        wanted = VERIFIED if verified else CONFIRMED
        if row.state != wanted:
            write(row, by=by, state=wanted)
        return row


def _refuse_unclassed(rows: Sequence[Annotation]) -> None:
    bare = [row.pk for row in rows if row.label_class_id is None and row.annotation_type != "no_object"]
    if bare:
        raise Unclassed(
            f"{len(bare)} drafts have no class; give them one before confirming.",
            errors={"annotation_ids": bare},
            annotation_ids=bare,
        )


def bulk_confirm(ids: Sequence[int], *, by: str) -> tuple[list[Annotation], list[dict]]:
    """Confirm many annotations of one project; those without a class are listed, the others confirmed."""
    with acting(by, batch=uuid.uuid4()):
        lock_all(ids, by=by)
        rows = list(Annotation.objects.filter(pk__in=list(ids)).order_by("pk").select_for_update())
        drafts = [row for row in rows if row.state == DRAFT]
        errors = []
        for row in drafts:
            try:
                _refuse_unclassed([row])
            except AnnotationError as error:
                errors.append({"annotation_id": row.pk, "code": error.code, "detail": str(error)})
        failed = {error["annotation_id"] for error in errors}
        _confirm_rows([row.pk for row in drafts if row.pk not in failed], by)
        settled = Annotation.objects.filter(pk__in=[row.pk for row in rows if row.pk not in failed])
        return list(settled.order_by("pk")), errors


def _confirm_rows(ids: Sequence[int], by: str) -> None:
    if not ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(CONFIRM, {"now": timezone.now(), "by": by, "ids": list(ids)})


# Images -------------------------------------------------------------------------------------


def confirm_image(image: Image, task_type: str, *, by: str, allow_empty: bool = False) -> ImageStatus:
    """All drafts become confirmed, the image completed; confirming again changes nothing.

    Raises EmptyImage for one without annotations unless ``allow_empty`` (an explicit "nothing here"),
    and Unclassed with the ids of drafts that have no class.
    """
    confirmed, refused = confirm_images(image.project_id, task_type, [image.pk], by=by, allow_empty=allow_empty)
    for error in refused.values():
        raise error
    return confirmed[image.pk]


def confirm_images(
    project_id: str, task_type: str, images: Sequence[int], *, by: str, allow_empty: bool = False
) -> tuple[dict[int, ImageStatus], dict[int, AnnotationError]]:
    """As ``confirm_image`` for many (primary keys), as one deed: what is confirmed, and why the others are not."""
    with acting(by, batch=uuid.uuid4()):
        statuses = lock_progress(project_id, [(image, task_type) for image in images])
        claim(statuses, by=by)
        fresh = [status for status in statuses if status.status != Progress.COMPLETED]
        drafts = _drafts_on(fresh)
        refused = {
            status.image_id: error
            for status in fresh
            if (error := _why_not(status, drafts.get(status.image_id, []), allow_empty))
        }
        willing = [status for status in fresh if status.image_id not in refused]
        _confirm_rows([row.pk for status in willing for row in drafts.get(status.image_id, [])], by)
        _complete(willing, by)
        done = [status.pk for status in statuses if status.image_id not in refused]
        return {status.image_id: status for status in ImageStatus.objects.again(done)}, refused


def _drafts_on(statuses: Sequence[ImageStatus]) -> dict[int, list[Annotation]]:
    if not statuses:
        return {}
    first, images = statuses[0], [status.image_id for status in statuses]
    found: dict[int, list[Annotation]] = {}
    for row in Annotation.objects.locked_drafts(first.project_id, first.task_type, images):
        found.setdefault(row.image_id, []).append(row)
    return found


def _why_not(status: ImageStatus, drafts: Sequence[Annotation], allow_empty: bool) -> AnnotationError | None:
    if status.total_annotations == 0 and not allow_empty:
        return EmptyImage("The image has no annotations; send allow_empty to say that nothing is on it.")
    try:
        _refuse_unclassed(drafts)
    except Unclassed as error:
        return error
    return None


def _complete(statuses: Sequence[ImageStatus], by: str) -> None:
    if not statuses:
        return
    with connection.cursor() as cursor:
        cursor.execute(COMPLETE, {"now": timezone.now(), "by": by, "ids": [status.pk for status in statuses]})


def verify_image(image: Image, task_type: str, *, by: str, verified: bool = True) -> ImageStatus:
    """All confirmed annotations become verified (``verified=False``: the verified ones confirmed again), as one deed.

    Raises InvalidTransition for an image nobody confirmed, with the ids of its drafts, if any.
    """
    with acting(by, batch=uuid.uuid4()):
        status = lock_progress(image.project_id, [(image.pk, task_type)])[0]
        claim([status], by=by)
        rows = Annotation.objects.on(status)
        drafts = list(rows.drafts().order_by("pk").values_list("pk", flat=True)[:100])
        if drafts and verified:
            reason = f"The image has {status.draft_annotations} drafts; confirm or delete them first."
            raise InvalidTransition(reason, annotation_ids=drafts)
        if verified and not status.is_image_confirmed:
            raise InvalidTransition("The image is not confirmed; confirm it first.", annotation_ids=[])
        was, becomes = (CONFIRMED, VERIFIED) if verified else (VERIFIED, CONFIRMED)
        rows.filter(state=was).update(state=becomes, version=F("version") + 1, updated_by=by, updated_at=timezone.now())
        return ImageStatus.objects.select_related("image").get(pk=status.pk)


def unconfirm_image(image: Image, task_type: str, *, by: str, keep_annotations: bool = False) -> ImageStatus:
    """The image goes back to in progress, its confirmed annotations to draft (not with ``keep_annotations``);
    verified ones stay."""
    with acting(by, batch=uuid.uuid4()):
        status = lock_progress(image.project_id, [(image.pk, task_type)])[0]
        claim([status], by=by)
        if not keep_annotations:
            settled = Annotation.objects.on(status).filter(state=CONFIRMED).exclude(annotation_type="no_object")
            settled.update(
                state=DRAFT,
                confirmed_at=None,
                confirmed_by=None,
                version=F("version") + 1,
                updated_by=by,
                updated_at=timezone.now(),
            )
        ImageStatus.objects.filter(pk=status.pk).update(
            status=Progress.IN_PROGRESS,
            is_image_confirmed=False,
            confirmed_at=None,
            confirmed_by=None,
            first_modified_at=status.first_modified_at or timezone.now(),
        )
        return ImageStatus.objects.again([status.pk])[0]
