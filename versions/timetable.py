"""The timetable's rows: seeded by a migration, changed by staff in the admin, seeded again by tests."""

from __future__ import annotations

from typing import Any

ENTRIES = {
    "Finish what is owed": ("versions.tasks.sweep", None),
    "Remove expired exports": ("versions.tasks.remove_expired_exports", 24 * 3600),
    "Dump the database": ("labeler.tasks.dump_database", 24 * 3600),
}


def seed(apps: Any, sweep_seconds: int) -> None:
    """Add the entries that are missing; what staff changed stays."""
    interval_model = apps.get_model("django_celery_beat", "IntervalSchedule")
    task_model = apps.get_model("django_celery_beat", "PeriodicTask")
    for name, (task, seconds) in ENTRIES.items():
        every = seconds or sweep_seconds
        interval, _ = interval_model.objects.get_or_create(every=every, period="seconds")
        # Messages do not pile up for ever while no worker runs. Not sooner: to a worker whose clock runs ahead of the
        # scheduler's, a message is as old as the difference.
        wanted = {"task": task, "interval": interval, "expire_seconds": max(every, 3600)}
        task_model.objects.get_or_create(name=name, defaults=wanted)
