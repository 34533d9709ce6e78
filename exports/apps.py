"""App config of the exports room."""

from django.apps import AppConfig


class ExportsConfig(AppConfig):
    """Formats and stores."""

    name = "exports"
