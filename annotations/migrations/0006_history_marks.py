"""Which rows of history are not in the journal yet (docs/decisions/0013-journal.md)."""

from django.db import migrations, models

# A mark is committed with the row it names, so whoever sees one sees the other: no row in flight is ever passed over.
# While a rebuild brings history back out of the journal itself, nothing is marked.
RULE = """
CREATE FUNCTION mark_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF labeler_setting('replaying') = 'history' THEN RETURN NULL; END IF;
    INSERT INTO history_marks (kind, history_id, project_id) SELECT TG_ARGV[0], id, project_id FROM new_rows;
    RETURN NULL;
END $$;
CREATE TRIGGER history_marked AFTER INSERT ON annotation_history REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_history('annotation');
CREATE TRIGGER history_marked AFTER INSERT ON image_history REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_history('image');
CREATE TRIGGER history_marked AFTER INSERT ON class_history REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_history('class');
"""


class Migration(migrations.Migration):
    dependencies = [("annotations", "0005_throttle_counts")]
    operations = [
        migrations.CreateModel(
            name="HistoryMark",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=10)),
                ("history_id", models.BigIntegerField()),
                ("project_id", models.CharField(max_length=64)),
            ],
            options={"db_table": "history_marks"},
        ),
        migrations.RunSQL(RULE, "DROP FUNCTION mark_history() CASCADE;"),
    ]
