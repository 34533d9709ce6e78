"""Words of rows that pages show as they are (``{% translate task.task_type %}``), noted here for translators."""

from __future__ import annotations

from django.utils.translation import gettext_noop

TASKS = (
    gettext_noop("classification"),
    gettext_noop("detection"),
    gettext_noop("segmentation"),
    gettext_noop("keypoint"),
    gettext_noop("line"),
    gettext_noop("geometry"),
)
ROLES = (
    gettext_noop("viewer"),
    gettext_noop("annotator"),
    gettext_noop("reviewer"),
    gettext_noop("admin"),
    gettext_noop("owner"),
)
PROJECT_STATUSES = (gettext_noop("loading"), gettext_noop("active"), gettext_noop("failed"), gettext_noop("archived"))
PUBLISH_STATES = (gettext_noop("exporting"), gettext_noop("ready"), gettext_noop("failed"))
PLATFORM_STATES = (
    gettext_noop("pending"),
    gettext_noop("synced"),
    gettext_noop("failed"),
    gettext_noop("superseded"),
)
