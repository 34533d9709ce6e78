"""App config of the annotations room."""

from django.apps import AppConfig


class AnnotationsConfig(AppConfig):
    """Live rows: projects, images, annotations, history."""

    name = "annotations"
    verbose_name = "Annotations"
