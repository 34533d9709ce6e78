"""The audit log: who published, restored, deleted, let in and shut out. Triggers write most of it (migration 0004)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from annotations.models import AuditEntry, Project, iso
from annotations.people import names_of

Json = dict[str, Any]


NOTE = """SELECT audit(
    CASE labeler_setting('action') WHEN 'import' THEN 'annotations.imported' ELSE 'annotations.restored' END,
    %s, %s, %s::jsonb)"""


def note_action(project_id: str, task_type: str, detail: Json) -> None:
    """Write down that annotations were imported or restored (whichever the transaction is ``acting`` for): a deed of
    many statements, which no trigger sees whole."""
    with connection.cursor() as cursor:
        cursor.execute(NOTE, [project_id, task_type, json.dumps(detail)])


def entries_of(project: Project) -> QuerySet[AuditEntry]:
    """What was done in a project, newest first."""
    return AuditEntry.objects.filter(project_id=project.pk).order_by("-id")


def audit_answers(rows: Iterable[AuditEntry]) -> list[Json]:
    """Entries as the API tells them."""
    rows = list(rows)
    names = names_of(row.actor for row in rows)
    return [
        {
            "id": row.pk,
            "at": iso(row.at),
            "actor": row.actor,
            "actor_name": names.get(row.actor),
            "action": row.action,
            "subject": row.subject,
            "detail": row.detail,
        }
        for row in rows
    ]
