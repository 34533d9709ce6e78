"""App config of the front door."""

import logging

from django.apps import AppConfig


class LabelerConfig(AppConfig):
    """Holds templates, static files and the commands that start the system."""

    name = "labeler"

    def ready(self) -> None:
        """Make ours the Celery app that ``@shared_task`` finds in every process, web and commands too; start alarms."""
        from labeler import celery  # noqa: F401
        from labeler.alarms import start_alarms

        start_alarms()
        # Python's warnings go the way of all log lines.
        logging.captureWarnings(True)
