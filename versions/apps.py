"""App config of the versions room."""

from django.apps import AppConfig


class VersionsConfig(AppConfig):
    """Working and published versions."""

    name = "versions"
    verbose_name = "Versions"
