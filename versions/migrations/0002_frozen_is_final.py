"""Published content never changes: PostgreSQL refuses, whoever asks.

A frozen row is added by a version whose own row is not there yet: that row is the last thing a freeze writes, so
nothing is added to or taken from a version that anybody can see. A freeze says which version it makes. A row of
annotations is never touched again: a later one tells what became of them. An image's row is closed once, in its place.

A published version's bookkeeping (status, sync; files, hash and warnings until it is ready) may move on. TRUNCATE is
refused as well unless the session says ``labeler.allow_truncate`` (the reset command and the tests do).
"""

from django.db import migrations

SNAPSHOTS = """
-- The setting ``labeler.freezing`` names version, task and the version's ordinal, as 7/3/2. Once for a statement,
-- however many rows it has.
CREATE FUNCTION begin_to_freeze() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    freezing text[] := string_to_array(labeler_setting('freezing'), '/');
BEGIN
    -- The version is not there, nor is one of its place or a later one.
    IF freezing IS NULL OR EXISTS (SELECT FROM annotation_versions WHERE id = freezing[1]::bigint) OR EXISTS (
            SELECT FROM project_tasks t
            JOIN annotation_versions v ON v.project_id = t.project_id AND v.task_type = t.task_type
            WHERE t.id = freezing[2]::bigint AND v.ordinal >= freezing[3]::int) THEN
        RAISE EXCEPTION 'snapshots are final: % on % refused', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END IF;
    INSERT INTO frozen_versions (version_id, task_id) VALUES (freezing[1]::bigint, freezing[2]::bigint)
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE FUNCTION refuse_to_change_frozen_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'snapshots are final: % on % refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
"""

# A row is opened by the version being frozen, and closed by it, once; conditions cost less than a tenth of a function.
FREEZING = "IS DISTINCT FROM current_setting('labeler.freezing', true)"
ANNOTATIONS = f"""
CREATE TRIGGER frozen_for_a_version BEFORE INSERT ON frozen_annotations EXECUTE FUNCTION begin_to_freeze();
CREATE TRIGGER frozen_is_opened BEFORE INSERT ON frozen_annotations FOR EACH ROW
    WHEN ((NEW.version_id || '/' || NEW.task_id || '/' || NEW.opened) {FREEZING})
    EXECUTE FUNCTION refuse_to_change_frozen_rows();
CREATE TRIGGER frozen_stays BEFORE UPDATE OR DELETE ON frozen_annotations
    EXECUTE FUNCTION refuse_to_change_frozen_rows();

-- A version's content on an image: of each annotation the newest state up to its ordinal. What is older than the newest
-- row that tells of all of them is not read.
CREATE FUNCTION frozen_at(task bigint, image bigint, ordinal integer)
    RETURNS TABLE (annotation_id bigint, snapshot_data text) LANGUAGE sql STABLE ROWS 10 AS $$
    SELECT newest.annotation_id, newest.snapshot_data FROM (
        SELECT DISTINCT ON (s.annotation_id) s.annotation_id, s.snapshot_data
        FROM frozen_annotations f
        CROSS JOIN LATERAL unnest(f.annotation_ids, f.snapshots) AS s (annotation_id, snapshot_data)
        WHERE f.task_id = task AND f.image_id = image AND f.opened <= ordinal AND f.opened >= (
            SELECT l.whole_since FROM frozen_annotations l
            WHERE l.task_id = task AND l.image_id = image AND l.opened <= ordinal ORDER BY l.opened DESC LIMIT 1)
        ORDER BY s.annotation_id, f.opened DESC) newest
    WHERE newest.snapshot_data IS NOT NULL
$$;

CREATE VIEW annotation_snapshots AS
    SELECT f.version_id, later.version_id AS until_version_id, f.task_id, f.opened, later.opened AS closed,
           s.annotation_id, f.image_id, s.snapshot_data
    FROM frozen_annotations f
    CROSS JOIN LATERAL unnest(f.annotation_ids, f.snapshots) AS s (annotation_id, snapshot_data)
    LEFT JOIN LATERAL (
        SELECT l.version_id, l.opened FROM frozen_annotations l
        WHERE l.task_id = f.task_id AND l.image_id = f.image_id AND l.opened > f.opened
          AND s.annotation_id = ANY(l.annotation_ids)
        ORDER BY l.opened LIMIT 1) later ON true
    WHERE s.snapshot_data IS NOT NULL;
"""
ANNOTATIONS_UNDO = "DROP VIEW annotation_snapshots; DROP FUNCTION frozen_at(bigint, bigint, integer);"

# Which images a version looked at is said while it is frozen.
LOOKED_AT = r"""
CREATE TRIGGER frozen_version_stays BEFORE UPDATE OR DELETE ON frozen_versions FOR EACH ROW
    WHEN ((OLD.version_id || '/' || OLD.task_id) IS DISTINCT FROM
        substring(current_setting('labeler.freezing', true) FROM '^\d+/\d+'))
    EXECUTE FUNCTION refuse_to_change_frozen_rows();
"""

# All columns of an image but those a close sets.
FIXED = ("id", "version_id", "task_id", "opened", "image_id", "path", "width", "height", "depth", "split", "metadata")
OLD, NEW = (", ".join(f"{row}.{column}" for column in FIXED) for row in ("OLD", "NEW"))
IMAGES = f"""
CREATE TRIGGER frozen_for_a_version BEFORE INSERT OR UPDATE ON version_images EXECUTE FUNCTION begin_to_freeze();
CREATE TRIGGER frozen_is_opened BEFORE INSERT ON version_images FOR EACH ROW WHEN (
    NEW.closed IS NOT NULL OR NEW.until_version_id IS NOT NULL
    OR (NEW.version_id || '/' || NEW.task_id || '/' || NEW.opened) {FREEZING})
    EXECUTE FUNCTION refuse_to_change_frozen_rows();
CREATE TRIGGER frozen_is_closed_once BEFORE UPDATE ON version_images FOR EACH ROW WHEN (
    OLD.closed IS NOT NULL OR OLD.until_version_id IS NOT NULL OR NEW.closed IS NULL
    OR (NEW.until_version_id || '/' || NEW.task_id || '/' || NEW.closed) {FREEZING} OR ({OLD}) IS DISTINCT FROM ({NEW}))
    EXECUTE FUNCTION refuse_to_change_frozen_rows();
CREATE TRIGGER frozen_stays BEFORE DELETE ON version_images EXECUTE FUNCTION refuse_to_change_frozen_rows();
"""


TRUNCATING = """
CREATE FUNCTION refuse_to_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF labeler_setting('allow_truncate') IS NULL THEN
        RAISE EXCEPTION 'TRUNCATE of % refused', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER frozen_is_kept BEFORE TRUNCATE ON frozen_annotations EXECUTE FUNCTION refuse_to_truncate();
CREATE TRIGGER version_images_are_kept BEFORE TRUNCATE ON version_images EXECUTE FUNCTION refuse_to_truncate();
CREATE TRIGGER versions_are_kept BEFORE TRUNCATE ON annotation_versions EXECUTE FUNCTION refuse_to_truncate();
CREATE TRIGGER history_is_kept BEFORE TRUNCATE ON annotation_history EXECUTE FUNCTION refuse_to_truncate();
CREATE TRIGGER history_is_kept BEFORE TRUNCATE ON image_history EXECUTE FUNCTION refuse_to_truncate();
CREATE TRIGGER frozen_versions_are_kept BEFORE TRUNCATE ON frozen_versions EXECUTE FUNCTION refuse_to_truncate();
CREATE TRIGGER annotations_are_kept BEFORE TRUNCATE ON annotations EXECUTE FUNCTION refuse_to_truncate();
"""

SNAPSHOTS_UNDO = """
DROP FUNCTION begin_to_freeze() CASCADE;
DROP FUNCTION refuse_to_change_frozen_rows() CASCADE;
"""

VERSIONS = """
CREATE FUNCTION refuse_to_change_versions() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moving text[] := ARRAY['status', 'content_hash', 'warnings', 'last_error', 'attempts', 'retry_at', 'finished_at',
        'platform_status', 'platform_keys', 'platform_synced_at', 'platform_attempts', 'platform_error', 'pieces'];
BEGIN
    IF TG_OP = 'UPDATE' AND to_jsonb(OLD) - moving = to_jsonb(NEW) - moving
       AND NOT (OLD.status = 'ready' AND (NEW.status, NEW.content_hash, NEW.warnings)
                IS DISTINCT FROM (OLD.status, OLD.content_hash, OLD.warnings)) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'published versions are final: % refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$;
-- The version that rows were frozen for is the one that was said: published, and in its place.
CREATE FUNCTION refuse_another_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows were frozen for another version than this' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER version_is_as_frozen BEFORE INSERT ON annotation_versions FOR EACH ROW WHEN (
    split_part(current_setting('labeler.freezing', true), '/', 1) = NEW.id::text
    AND split_part(current_setting('labeler.freezing', true), '/', 3) IS DISTINCT FROM NEW.ordinal::text)
    EXECUTE FUNCTION refuse_another_version();
CREATE TRIGGER published_versions_are_final BEFORE UPDATE OR DELETE ON annotation_versions FOR EACH ROW
    WHEN (OLD.version_type = 'published') EXECUTE FUNCTION refuse_to_change_versions();

CREATE FUNCTION refuse_to_change_published_files() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF EXISTS (SELECT FROM annotation_versions
                   WHERE id = NEW.version_id AND version_type = 'published' AND status = 'ready') THEN
            RAISE EXCEPTION 'a version that is ready gets no further files' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF (SELECT version_type FROM annotation_versions WHERE id = OLD.version_id) = 'published' THEN
        RAISE EXCEPTION 'files of published versions are final: % refused', TG_OP
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER published_files_are_final BEFORE INSERT OR UPDATE OR DELETE ON version_exports FOR EACH ROW
    EXECUTE FUNCTION refuse_to_change_published_files();
"""

VERSIONS_UNDO = """
DROP FUNCTION refuse_another_version() CASCADE;
DROP FUNCTION refuse_to_change_versions() CASCADE;
DROP FUNCTION refuse_to_change_published_files() CASCADE;
"""

# A version opens rows in the middle of the indexes in file order, all over them: with 30 % left free their pages take a
# few rounds of that before they are split. An image is closed in its own page where there is room, without a word to
# any index: none has what a close sets. What was frozen of an image's annotations stays in its row where a page takes
# it, and is not packed, which would cost more than the rest of a freeze.
STORED = """
ALTER TABLE frozen_annotations ALTER snapshots SET STORAGE EXTERNAL;
ALTER TABLE frozen_annotations SET (toast_tuple_target = 8160);
ALTER INDEX snapshots_in_file_order SET (fillfactor = 70);
ALTER INDEX images_in_file_order SET (fillfactor = 70);
ALTER TABLE version_images SET (fillfactor = 85);
"""

# True. It is not said to be parallel safe, so a query that calls it has no parallel plan.
SERIAL = "CREATE FUNCTION one_after_the_other() RETURNS boolean LANGUAGE sql AS 'SELECT true';"

READABLE = """
CREATE VIEW annotation_snapshots_jsonb AS
    SELECT version_id, until_version_id, task_id, opened, closed, annotation_id, image_id,
           snapshot_data::jsonb AS snapshot_data FROM annotation_snapshots;
"""


class Migration(migrations.Migration):
    dependencies = [("versions", "0001_tables"), ("annotations", "0002_rules")]
    operations = [
        migrations.RunSQL(SNAPSHOTS, SNAPSHOTS_UNDO),
        migrations.RunSQL(ANNOTATIONS, ANNOTATIONS_UNDO),
        migrations.RunSQL(IMAGES, migrations.RunSQL.noop),
        migrations.RunSQL(LOOKED_AT, migrations.RunSQL.noop),
        migrations.RunSQL(TRUNCATING, "DROP FUNCTION refuse_to_truncate() CASCADE;"),
        migrations.RunSQL(VERSIONS, VERSIONS_UNDO),
        migrations.RunSQL(STORED, migrations.RunSQL.noop),
        migrations.RunSQL(SERIAL, "DROP FUNCTION one_after_the_other();"),
        migrations.RunSQL(READABLE, "DROP VIEW annotation_snapshots_jsonb;"),
    ]
