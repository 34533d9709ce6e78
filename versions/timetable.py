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
        # A message nobody took before the next one came is worth nothing: they do not pile up while no worker runs.
        wanted = {"task": task, "interval": interval, "expire_seconds": max(every, 10)}
        task_model.objects.get_or_create(name=name, defaults=wanted)
