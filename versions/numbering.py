"""Version numbers: ``v0.N`` for working saves, ``vN.M`` for published versions."""

from __future__ import annotations

import re

from django.db import connection

from annotations.models import ProjectTask
from versions.errors import InvalidVersionNumber, VersionExists
from versions.models import Version
from versions.states import VersionType

PUBLISHED = re.compile(r"v([1-9]\d{0,5})\.(0|[1-9]\d{0,5})\Z")
ANY = re.compile(r"v(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\Z")

NEXT_WORKING = """
SELECT nextval(pg_get_serial_sequence('annotation_versions', 'id')),
    (SELECT coalesce(max(minor), 0) + 1 FROM annotation_versions
     WHERE project_id = %s AND task_type = %s AND version_type = %s)"""


def parse(number: str) -> tuple[int, int]:
    """(major, minor) of any version number; raises InvalidVersionNumber."""
    found = ANY.match(number)
    if found is None:
        raise InvalidVersionNumber(f"{number!r} is not a version number; write v1.0, v2.0, ... .")
    return int(found[1]), int(found[2])


def next_published(task: ProjectTask, newest: Version | None, wanted: str | None = None) -> tuple[int, int]:
    """The next (major, minor) after the ``newest`` published version: its major + 1, or ``wanted`` if it is above.

    Raises InvalidVersionNumber for a malformed and VersionExists for a number not above the others.
    """
    highest = (newest.major, newest.minor) if newest else (0, 0)
    following = max(task.number_floor, highest[0]) + 1
    if wanted is None:
        return following, 0
    if not PUBLISHED.match(wanted):
        raise InvalidVersionNumber("version_number must look like v2.0: v, a major from 1, a dot, a minor.")
    number = parse(wanted)
    if number[0] <= task.number_floor:
        raise _taken(f"Numbers up to v{task.number_floor} were given out before; take v{following}.0 or above.")
    if number <= highest:
        raise _taken(
            f"{wanted} is not above v{highest[0]}.{highest[1]}, the highest number given out; take one above it."
        )
    return number


def _taken(message: str) -> VersionExists:
    return VersionExists(message, errors={"version_number": [message]})


def next_working(task: ProjectTask) -> tuple[int, int]:
    """A primary key, and N of the next ``v0.N``; given-up numbers are not taken again."""
    with connection.cursor() as cursor:
        cursor.execute(NEXT_WORKING, [task.project_id, task.task_type, VersionType.WORKING])
        return cursor.fetchone()
