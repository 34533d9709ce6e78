"""Every task has its save state from the first moment, so that staff may ask for a save before there was one."""

from django.db import migrations

RULE = """
CREATE FUNCTION add_save_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO save_states (task_id, content_hash, requested_trigger, requested_by, attempts, last_error)
    VALUES (NEW.id, '', '', '', 0, '');
    RETURN NULL;
END $$;
CREATE TRIGGER task_saves AFTER INSERT ON project_tasks FOR EACH ROW EXECUTE FUNCTION add_save_state();
"""


class Migration(migrations.Migration):
    dependencies = [("versions", "0003_timetable")]
    operations = [migrations.RunSQL(RULE, "DROP FUNCTION add_save_state() CASCADE;")]
