"""Which rows of history are not in the journal yet (docs/decisions/0013-journal.md)."""

from django.db import migrations, models

# A mark is committed with the rows it names, so whoever sees one sees the others: no row in flight is ever passed over.
# Rows beside one another have one mark, so an import of a million leaves few, but never for more than LENGTH rows, so
# that what takes marks is not handed more than it can hold. While a rebuild brings history back out of the journal
# itself, nothing is marked.
LENGTH = 1000
RULE = f"""
CREATE FUNCTION mark_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF labeler_setting('replaying') = 'history' THEN RETURN NULL; END IF;
    IF (SELECT count(*) FROM (SELECT FROM new_rows LIMIT 2) counted) = 1 THEN
        INSERT INTO history_marks (kind, first_id, last_id, project_id) SELECT TG_ARGV[0], id, id, project_id
        FROM new_rows;
    ELSE
        INSERT INTO history_marks (kind, first_id, last_id, project_id)
        SELECT TG_ARGV[0], min(id), max(id), project_id
        FROM (SELECT id, project_id, id - row_number() OVER (PARTITION BY project_id ORDER BY id) AS gap
              FROM new_rows) n
        GROUP BY project_id, gap, id / {LENGTH} ORDER BY 2;
    END IF;
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
                ("first_id", models.BigIntegerField()),
                ("last_id", models.BigIntegerField()),
                ("project_id", models.CharField(max_length=64)),
            ],
            options={"db_table": "history_marks"},
        ),
        migrations.RunSQL(RULE, "DROP FUNCTION mark_history() CASCADE;"),
    ]
