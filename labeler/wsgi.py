"""The server's entry."""

import gc
import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.forms.renderers import get_default_renderer
from django.template.loader import get_template
from django.urls import reverse
from django.utils import translation

from labeler.counting import share_counters

# What pages are put together from: read and parsed once, as a page of the admin takes some twenty of them.
PAGES = (
    "label/page.html", "dashboard/page.html", "start.html", "registration/login.html", "error.html",
    "admin/index.html", "admin/app_list.html", "admin/change_form.html",
    "admin/large_table.html", "admin/change_list.html", "admin/base_site.html", "admin/base.html",
    "admin/color_theme_toggle.html", "admin/nav_sidebar.html", "admin/change_list_object_tools.html",
    "admin/search_form.html", "admin/actions.html", "admin/change_list_results.html", "admin/pagination.html",
    "admin/filter.html",
)  # fmt: skip
COLLECT_AFTER = 50_000
WIDGETS = ("select", "select_option", "hidden", "input", "attrs")


def load_pages() -> None:
    """Load templates, words of each language, routes and views before gunicorn forks its workers: once for all of
    them, and no first request waits."""
    for language, _ in settings.LANGUAGES:
        with translation.override(language):
            reverse("admin:index")
    for name in PAGES:
        get_template(name)
    for widget in WIDGETS:
        get_default_renderer().get_template(f"django/forms/widgets/{widget}.html")


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labeler.settings")
share_counters()
application = get_wsgi_application()
load_pages()
# What was loaded until now stays: forked processes share it, and never look through it for garbage. A request makes
# some thousand objects and lets go of them by itself.
gc.freeze()
gc.set_threshold(COLLECT_AFTER)
