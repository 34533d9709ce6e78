"""When autovacuum comes to the two tables whose indexes are counted for lists (docs/operations.md)."""

from django.db import migrations

# A count from an index alone looks rows up whose page changed since the last vacuum: by default up to a fifth
# of a table, of a long history two million rows.
SETTINGS = """
ALTER TABLE annotation_history SET (autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE image_annotation_status SET (autovacuum_vacuum_scale_factor = 0.02);
"""
DEFAULTS = """
ALTER TABLE annotation_history RESET (autovacuum_vacuum_insert_scale_factor, autovacuum_analyze_scale_factor);
ALTER TABLE image_annotation_status RESET (autovacuum_vacuum_scale_factor);
"""


class Migration(migrations.Migration):
    dependencies = [("annotations", "0006_history_marks")]
    operations = [migrations.RunSQL(SETTINGS, DEFAULTS)]
