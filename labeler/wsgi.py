"""The server's entry."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from labeler.counting import share_counters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labeler.settings")
share_counters()
application = get_wsgi_application()
# Routes and views are loaded before gunicorn forks its workers: once for all of them, and no first request waits.
get_resolver().url_patterns  # noqa: B018
