"""The first rows of the timetable."""

from django.conf import settings
from django.db import migrations

from versions.timetable import ENTRIES, seed


def add(apps, schema_editor):
    seed(apps, settings.LABELER_SWEEP_SECONDS)


def remove(apps, schema_editor):
    apps.get_model("django_celery_beat", "PeriodicTask").objects.filter(name__in=ENTRIES).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("versions", "0002_frozen_is_final"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]
    operations = [migrations.RunPython(add, remove)]
