"""Published versions are audited, and the audit log is never emptied."""

from django.db import migrations

AUDIT = """
CREATE FUNCTION audit_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit('version.published', NEW.project_id, NEW.version_number, jsonb_build_object(
        'task_type', NEW.task_type, 'annotation_count', NEW.annotation_count, 'image_count', NEW.image_count,
        'include_draft', NEW.include_draft, 'description', nullif(NEW.description, '')));
    RETURN NULL;
END $$;
CREATE TRIGGER version_audited AFTER INSERT ON annotation_versions FOR EACH ROW
    WHEN (NEW.version_type = 'published') EXECUTE FUNCTION audit_version();
CREATE TRIGGER audit_is_kept BEFORE TRUNCATE ON audit_entries EXECUTE FUNCTION refuse_to_truncate();
"""

AUDIT_UNDO = """
DROP TRIGGER audit_is_kept ON audit_entries;
DROP TRIGGER version_audited ON annotation_versions; DROP FUNCTION audit_version();
"""


class Migration(migrations.Migration):
    dependencies = [("versions", "0004_save_state_of_each_task"), ("annotations", "0004_audit")]
    operations = [migrations.RunSQL(AUDIT, AUDIT_UNDO)]
