"""Who published, restored, deleted, let in: written by triggers on every path, only ever appended."""

import django.utils.timezone
from django.db import migrations, models

AUDIT = """
CREATE FUNCTION audit(what text, project text, subject text, detail jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO audit_entries (at, actor, action, project_id, subject, detail)
    VALUES (clock_timestamp(), labeler_actor(), what, project, subject, jsonb_strip_nulls(detail))
$$;

CREATE FUNCTION audit_member() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM audit('member.added', NEW.project_id, NEW.user_id, jsonb_build_object('role', NEW.role));
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM audit('member.removed', OLD.project_id, OLD.user_id, jsonb_build_object('role', OLD.role));
    ELSIF (OLD.role, OLD.user_id) IS DISTINCT FROM (NEW.role, NEW.user_id) THEN
        PERFORM audit('member.changed', NEW.project_id, NEW.user_id,
                      jsonb_build_object('role', NEW.role, 'role_before', OLD.role));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER member_audited AFTER INSERT OR UPDATE OR DELETE ON project_members FOR EACH ROW
    EXECUTE FUNCTION audit_member();

CREATE FUNCTION audit_project() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM audit('project.created', NEW.id, NEW.name, jsonb_build_object('dataset_id', NEW.dataset_id));
    ELSIF (OLD.deleted_at IS NULL) <> (NEW.deleted_at IS NULL) THEN
        PERFORM audit(CASE WHEN NEW.deleted_at IS NULL THEN 'project.restored' ELSE 'project.deleted' END,
                      NEW.id, NEW.name, '{}');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER project_audited AFTER INSERT OR UPDATE ON projects FOR EACH ROW EXECUTE FUNCTION audit_project();

CREATE FUNCTION audit_class() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit(CASE WHEN NEW.retired_at IS NULL THEN 'class.restored' ELSE 'class.deleted' END,
                  NEW.project_id, NEW.class_id, jsonb_build_object('name', NEW.name, 'task_type', NEW.task_type));
    RETURN NULL;
END $$;
CREATE TRIGGER class_audited AFTER UPDATE ON classes FOR EACH ROW
    WHEN ((OLD.retired_at IS NULL) <> (NEW.retired_at IS NULL)) EXECUTE FUNCTION audit_class();

CREATE FUNCTION audit_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit(CASE WHEN TG_OP = 'INSERT' THEN 'token.issued' ELSE 'token.revoked' END, NULL,
                  (SELECT username FROM accounts WHERE id = NEW.user_id),
                  jsonb_build_object('name', NEW.name, 'expires_at', NEW.expires_at));
    RETURN NULL;
END $$;
CREATE TRIGGER token_issued AFTER INSERT ON api_tokens FOR EACH ROW EXECUTE FUNCTION audit_token();
CREATE TRIGGER token_revoked AFTER UPDATE ON api_tokens FOR EACH ROW
    WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL) EXECUTE FUNCTION audit_token();

-- One entry for each statement; a restore and an import say what they did themselves (annotations/audit.py).
CREATE FUNCTION audit_annotation_deletes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(labeler_setting('action'), '') NOT IN ('restore', 'import') THEN
        PERFORM audit('annotations.deleted', project_id, task_type, jsonb_build_object(
            'count', count(*), 'images', count(DISTINCT image_id), 'batch_id', labeler_batch()))
        FROM old_rows GROUP BY project_id, task_type;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER deletes_audited AFTER DELETE ON annotations REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION audit_annotation_deletes();

CREATE TRIGGER audit_is_appended BEFORE UPDATE OR DELETE ON audit_entries FOR EACH ROW
    EXECUTE FUNCTION refuse_to_change_history();
"""

AUDIT_UNDO = """
DROP TRIGGER audit_is_appended ON audit_entries;
DROP TRIGGER deletes_audited ON annotations; DROP FUNCTION audit_annotation_deletes();
DROP TRIGGER token_issued ON api_tokens; DROP TRIGGER token_revoked ON api_tokens; DROP FUNCTION audit_token();
DROP TRIGGER class_audited ON classes; DROP FUNCTION audit_class();
DROP TRIGGER project_audited ON projects; DROP FUNCTION audit_project();
DROP TRIGGER member_audited ON project_members; DROP FUNCTION audit_member();
DROP FUNCTION audit(text, text, text, jsonb);
"""


class Migration(migrations.Migration):
    dependencies = [("annotations", "0003_image_locks")]
    operations = [
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                ("actor", models.CharField(max_length=150)),
                ("action", models.CharField(max_length=40)),
                ("project_id", models.CharField(max_length=64, null=True)),
                ("subject", models.CharField(max_length=255)),
                ("detail", models.JSONField(default=dict)),
            ],
            options={
                "db_table": "audit_entries",
                "verbose_name_plural": "audit entries",
                "indexes": [models.Index(fields=["project_id", "-id"], name="audit_by_project")],
            },
        ),
        migrations.RunSQL(AUDIT, AUDIT_UNDO),
    ]
