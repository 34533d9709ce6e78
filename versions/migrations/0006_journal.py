"""The journal's segments (docs/decisions/0013-journal.md)."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("versions", "0005_audit"), ("annotations", "0006_history_marks")]
    operations = [
        migrations.CreateModel(
            name="JournalSegment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("previous", models.CharField(blank=True, default="", max_length=64)),
                ("rows", models.JSONField(default=dict)),
                ("count", models.PositiveIntegerField(default=0)),
                ("high_water", models.JSONField(default=dict)),
                ("begun_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("sha256", models.CharField(blank=True, default="", max_length=64)),
                ("size_bytes", models.BigIntegerField(default=0)),
                ("sealed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="annotations.project",
                    ),
                ),
            ],
            options={
                "db_table": "journal_segments",
                "constraints": [
                    models.UniqueConstraint(fields=("project", "number"), name="one_segment_per_number"),
                ],
                "indexes": [
                    models.Index(fields=["project"], condition=models.Q(("sealed_at", None)), name="journal_unsealed"),
                ],
            },
        ),
    ]
