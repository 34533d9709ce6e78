"""When autovacuum comes to the two tables whose indexes are counted for lists (docs/operations.md)."""

from django.db import migrations

# A count from an index alone looks a row up only where its page changed since the last vacuum. By default that is a fifth
# of the table: two million rows of a long history, a third of a second for every page of it.
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
