"""The worker's entry (``celery -A labeler.worker worker``), as ``wsgi.py`` is the web's."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labeler.settings")

from labeler.celery import app
from labeler.counting import share_counters

share_counters()
__all__ = ["app"]
