"""Celery's door to what the front door itself does by the timetable."""

from __future__ import annotations

from celery import shared_task

from labeler import dumping


@shared_task
def dump_database() -> str | None:
    """Once a day: the whole database into the labeler store."""
    made = dumping.dump()
    return made.name if made else None
