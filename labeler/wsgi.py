"""The server's entry."""

import os

from django.core.wsgi import get_wsgi_application

from labeler.counting import share_counters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labeler.settings")
share_counters()
application = get_wsgi_application()
