"""What must hold on every write path, bulk and raw SQL included: history, counters, marks, final ids.

Statement-level triggers. What they ask about a few rows is planned once for each connection; about many rows it goes
through EXECUTE, planned for the rows at hand (with a plan kept from single rows a bulk update takes minutes).
"""

from django.db import migrations

SETTINGS = """
CREATE FUNCTION labeler_setting(name text) RETURNS text LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('labeler.' || name, true), '') $$;

-- Who is acting: set by the product for each transaction; a person at psql is named by role.
CREATE FUNCTION labeler_actor() RETURNS text LANGUAGE sql STABLE AS
$$ SELECT coalesce(labeler_setting('actor'), 'db:' || session_user) $$;

-- The deed a change belongs to, undone as one: named by the product, else one for each transaction.
CREATE FUNCTION labeler_batch() RETURNS uuid LANGUAGE plpgsql AS $$
BEGIN
    IF labeler_setting('batch') IS NULL THEN
        PERFORM set_config('labeler.batch', gen_random_uuid()::text, true);
    END IF;
    RETURN labeler_setting('batch')::uuid;
END $$;

-- As parts of JSON text; null for nothing. A tenth of what json_build_object and to_char cost, for a million rows.
CREATE FUNCTION json_text(said text) RETURNS text LANGUAGE sql STABLE AS
$$ SELECT coalesce(json_scalar(said)::text, 'null') $$;
CREATE FUNCTION json_moment(moment timestamptz) RETURNS text LANGUAGE sql STABLE AS
$$ SELECT coalesce(left(json_scalar(moment AT TIME ZONE 'UTC')::text, -1) || 'Z"', 'null') $$;
"""

SETTINGS_UNDO = """
DROP FUNCTION json_moment(timestamptz); DROP FUNCTION json_text(text);
DROP FUNCTION labeler_batch(); DROP FUNCTION labeler_actor();
DROP FUNCTION labeler_setting(text);
"""

# An annotation belongs to an image and a class of its own project and task, whoever writes it. Foreign keys would ask
# again for each row, a third of what a bulk insert costs; so the annotation triggers ask once for all rows of a
# statement (BELONG), and what they found stays true: parents are never deleted and never change their keys.
# (Classes have a guard of their own, see RECORDS.)
BELONGING = """
CREATE FUNCTION keep_parent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% rows are kept for ever, and stay in their project: annotations belong to them', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER image_kept BEFORE DELETE ON dataset_images FOR EACH ROW EXECUTE FUNCTION keep_parent();
CREATE TRIGGER image_stays BEFORE UPDATE ON dataset_images FOR EACH ROW
    WHEN ((OLD.id, OLD.project_id) IS DISTINCT FROM (NEW.id, NEW.project_id)) EXECUTE FUNCTION keep_parent();
CREATE TRIGGER task_kept BEFORE DELETE ON project_tasks FOR EACH ROW EXECUTE FUNCTION keep_parent();
CREATE TRIGGER task_stays BEFORE UPDATE ON project_tasks FOR EACH ROW
    WHEN ((OLD.project_id, OLD.task_type) IS DISTINCT FROM (NEW.project_id, NEW.task_type))
    EXECUTE FUNCTION keep_parent();
"""

# What an import or a restore says of the images it writes to, so that the progress row of an image is written once and
# not twice. Rows are here only while it runs, and count for no other deed.
TOLD = """
CREATE UNLOGGED TABLE told_statuses (
    batch_id uuid DEFAULT labeler_batch(), image_id bigint, task_type text, status text NOT NULL, confirmed_by text,
    confirmed_at timestamptz, first_modified_at timestamptz, last_modified_at timestamptz,
    PRIMARY KEY (batch_id, image_id, task_type));
"""
TOLD_UNDO = "DROP TABLE told_statuses;"

BELONGING_UNDO = "DROP FUNCTION keep_parent() CASCADE;"

GUARD = """
CREATE FUNCTION guard_annotation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.id, OLD.project_id, OLD.image_id, OLD.task_type)
       IS DISTINCT FROM (NEW.id, NEW.project_id, NEW.image_id, NEW.task_type) THEN
        RAISE EXCEPTION 'an annotation never moves: delete it and create another'
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.state = 'draft' AND NEW.state = 'verified' AND labeler_setting('action') IS NULL THEN
        RAISE EXCEPTION 'a draft is confirmed before it is verified' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.version <= OLD.version THEN
        NEW.version := OLD.version + 1;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER annotations_guarded BEFORE UPDATE ON annotations FOR EACH ROW
    WHEN (NEW.version <= OLD.version OR NEW.state = 'verified' OR NEW.id <> OLD.id OR NEW.image_id <> OLD.image_id
          OR NEW.project_id <> OLD.project_id OR NEW.task_type <> OLD.task_type)
    EXECUTE FUNCTION guard_annotation();
"""

GUARD_UNDO = "DROP FUNCTION guard_annotation() CASCADE;"

# Differences per image (deltas, a query on the changed rows), applied to its progress row. Of many images the rows are
# locked in one order first, so that two bulk writers cannot wait for each other. Only the trigger function itself sees
# the changed rows, so this is a piece of each of them and not a function of its own.
LOCK = """count(*) FROM (SELECT s.id FROM image_annotation_status s JOIN ({deltas}) d
        ON s.image_id = d.image_id AND s.task_type = d.task_type ORDER BY s.id FOR UPDATE OF s) locked"""
COUNTERS = """UPDATE image_annotation_status s SET
        total_annotations = s.total_annotations + d.total,
        confirmed_annotations = s.confirmed_annotations + d.settled,
        verified_annotations = s.verified_annotations + d.verified,
        draft_annotations = s.draft_annotations + d.total - d.settled,
        no_object_markers = s.no_object_markers + d.markers,
        revision = s.revision + 1,"""
COUNT = f"""{COUNTERS}
        first_modified_at = CASE WHEN d.touched THEN coalesce(s.first_modified_at, now()) ELSE s.first_modified_at END,
        last_modified_at = CASE WHEN d.touched THEN now() ELSE s.last_modified_at END,
        status = CASE WHEN d.touched OR d.reopened THEN 'in-progress' ELSE s.status END,
        is_image_confirmed = s.is_image_confirmed AND NOT (d.touched OR d.reopened),
        confirmed_at = CASE WHEN d.touched OR d.reopened THEN NULL ELSE s.confirmed_at END,
        confirmed_by = CASE WHEN d.touched OR d.reopened THEN NULL ELSE s.confirmed_by END
      FROM ({{deltas}}) d WHERE s.image_id = d.image_id AND s.task_type = d.task_type"""
# The rows of an image, as a rule. A plan kept from so few is right for as few, and for no more.
MOST = 50
APPLY = f"""
    IF few <= {MOST} THEN
        IF few > 1 THEN PERFORM {LOCK}; END IF;
        {COUNT};
    ELSE
        EXECUTE $q$ SELECT {LOCK} $q$;
        EXECUTE $q$ {{many}} $q$ USING deed;
    END IF;
"""

INSERTED = """SELECT image_id, task_type, count(*)::int AS total,
        (count(*) FILTER (WHERE state <> 'draft'))::int AS settled,
        (count(*) FILTER (WHERE state = 'verified'))::int AS verified,
        (count(*) FILTER (WHERE annotation_type = 'no_object'))::int AS markers,
        true AS touched, false AS reopened FROM new_rows GROUP BY image_id, task_type"""

# An image that gets many annotations at once gets the status its file tells, if told_statuses holds one ($1: the deed).
COUNT_AS_TOLD = f"""{COUNTERS}
        first_modified_at = coalesce(w.first_modified_at, s.first_modified_at, now()),
        last_modified_at = coalesce(w.last_modified_at, now()),
        status = coalesce(w.status, 'in-progress'),
        is_image_confirmed = coalesce(w.status = 'completed', false),
        confirmed_at = CASE WHEN w.status = 'completed' THEN w.confirmed_at END,
        confirmed_by = CASE WHEN w.status = 'completed' THEN w.confirmed_by END
      FROM ({INSERTED}) d
      LEFT JOIN told_statuses w ON w.batch_id = $1 AND w.image_id = d.image_id AND w.task_type = d.task_type
      WHERE s.image_id = d.image_id AND s.task_type = d.task_type"""

DELETED = """SELECT image_id, task_type, -count(*)::int AS total,
        -(count(*) FILTER (WHERE state <> 'draft'))::int AS settled,
        -(count(*) FILTER (WHERE state = 'verified'))::int AS verified,
        -(count(*) FILTER (WHERE annotation_type = 'no_object'))::int AS markers,
        true AS touched, false AS reopened FROM old_rows GROUP BY image_id, task_type"""

UPDATED = """SELECT n.image_id, n.task_type, 0 AS total,
        sum((n.state <> 'draft')::int - (o.state <> 'draft')::int)::int AS settled,
        sum((n.state = 'verified')::int - (o.state = 'verified')::int)::int AS verified,
        sum((n.annotation_type = 'no_object')::int - (o.annotation_type = 'no_object')::int)::int AS markers,
        bool_or((o.geometry, o.class_id, o.attributes, o.confidence, o.annotation_type)
            IS DISTINCT FROM (n.geometry, n.class_id, n.attributes, n.confidence, n.annotation_type)) AS touched,
        bool_or(o.state <> 'draft' AND n.state = 'draft') AS reopened
    FROM new_rows n JOIN old_rows o USING (id) GROUP BY n.image_id, n.task_type"""

STATUS_OF = """jsonb_build_object('status', {row}.status, 'confirmed_at', {row}.confirmed_at,
        'confirmed_by', {row}.confirmed_by, 'first_modified_at', {row}.first_modified_at)"""

# Which parent of a changed row is not there, or is of another project or task (the first found, with the row's id).
STRANGER = """SELECT n.id, CASE WHEN i.project_id IS DISTINCT FROM n.project_id THEN 'image'
                WHEN t.id IS NULL THEN 'task' ELSE 'class' END
        FROM new_rows n
        LEFT JOIN dataset_images i ON i.id = n.image_id
        LEFT JOIN project_tasks t ON t.project_id = n.project_id AND t.task_type = n.task_type
        LEFT JOIN classes c ON c.id = n.class_id
        WHERE i.project_id IS DISTINCT FROM n.project_id OR t.id IS NULL
            OR (n.class_id IS NOT NULL
                AND (c.project_id, c.task_type) IS DISTINCT FROM (n.project_id, n.task_type)) LIMIT 1"""
# The same of many rows, each image and each class looked for once.
STRANGERS = """SELECT id, parent FROM (
        SELECT n.id, CASE WHEN i.project_id IS DISTINCT FROM n.project_id THEN 'image'
            WHEN t.id IS NULL THEN 'task' END AS parent
        FROM (SELECT min(id) AS id, project_id, task_type, image_id FROM new_rows GROUP BY 2, 3, 4) n
        LEFT JOIN dataset_images i ON i.id = n.image_id
        LEFT JOIN project_tasks t ON t.project_id = n.project_id AND t.task_type = n.task_type
        UNION ALL
        SELECT n.id, CASE WHEN (c.project_id, c.task_type) IS DISTINCT FROM (n.project_id, n.task_type) THEN 'class' END
        FROM (SELECT min(id) AS id, project_id, task_type, class_id FROM new_rows
              WHERE class_id IS NOT NULL GROUP BY 2, 3, 4) n
        LEFT JOIN classes c ON c.id = n.class_id) asked WHERE parent IS NOT NULL LIMIT 1"""
BELONG = f"""
    IF few <= {MOST} THEN
        SELECT * INTO stranger, parent FROM ({STRANGER}) found;
    ELSE
        EXECUTE $q$ {STRANGERS} $q$ INTO stranger, parent;
    END IF;
    IF stranger IS NOT NULL THEN
        RAISE EXCEPTION 'annotation % is of another project or task than its %', stranger, parent
            USING ERRCODE = 'foreign_key_violation', TABLE = 'annotations',
                  CONSTRAINT = format('annotation_%s_is_of_its_project', parent);
    END IF;
"""
# How many rows changed, or that they are too many for a plan that is kept.
FEW = f"few int := (SELECT count(*) FROM (SELECT FROM {{rows}} LIMIT {MOST + 1}) counted);"
BELONG_NEEDS = f"""{FEW.format(rows="new_rows")}
    stranger bigint; parent text;"""

# The change an undo takes back, told to the trigger for each annotation (annotations/undoing.py).
TAKEN_BACK = """LEFT JOIN LATERAL (
        SELECT h.id, h.is_undo FROM undo_targets t JOIN annotation_history h ON h.id = t.takes_back
        WHERE t.batch_id = {deed} AND t.annotation_id = {row}.id) u ON true"""

# What a rebuild brings back out of the journal has its history already, up to this very state.
NOT_REPLAYED = """(labeler_setting('replaying') IS NULL OR (
        SELECT (h.new_state->>'version')::int FROM annotation_history h
        WHERE h.annotation_id = n.id ORDER BY h.id DESC LIMIT 1) IS DISTINCT FROM n.version)"""
NOT_REPLAYED_DELETE = """(labeler_setting('replaying') IS NULL OR (
        SELECT h.new_state IS NULL FROM annotation_history h
        WHERE h.annotation_id = o.id ORDER BY h.id DESC LIMIT 1) IS NOT TRUE)"""

NOTED = f"""INSERT INTO annotation_history (annotation_id, project_id, image_id, task_type, action,
                                        previous_state, new_state, changed_by, timestamp, batch_id, undoes, is_undo)
        SELECT n.id, n.project_id, n.image_id, n.task_type,
            coalesce(labeler_setting('action'), CASE
                WHEN (o.geometry, o.class_id, o.attributes, o.confidence, o.annotation_type)
                     IS DISTINCT FROM (n.geometry, n.class_id, n.attributes, n.confidence, n.annotation_type)
                     THEN 'update'
                WHEN o.state = 'draft' AND n.state <> 'draft' THEN 'confirm'
                WHEN o.state <> 'draft' AND n.state = 'draft' THEN 'unconfirm'
                WHEN o.state = 'confirmed' AND n.state = 'verified' THEN 'verify'
                ELSE 'update' END),
            to_json(o), to_json(n), labeler_actor(), clock_timestamp(), {{deed}}, u.id,
            u.id IS NOT NULL AND NOT u.is_undo
        FROM new_rows n JOIN old_rows o USING (id) {TAKEN_BACK.format(deed="{deed}", row="n")}
        WHERE {NOT_REPLAYED} ORDER BY n.id"""

HISTORY = f"""
CREATE FUNCTION record_annotation_inserts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    deed uuid; said text := labeler_setting('action'); who text := labeler_actor();
    {BELONG_NEEDS}
BEGIN
    IF few = 0 THEN RETURN NULL; END IF;
    {BELONG}
    deed := labeler_batch();
    INSERT INTO annotation_history (annotation_id, project_id, image_id, task_type, action,
                                    previous_state, new_state, changed_by, timestamp, batch_id, undoes, is_undo)
    SELECT n.id, n.project_id, n.image_id, n.task_type, coalesce(said, 'create'),
           NULL, to_json(n), who, clock_timestamp(), deed, u.id, u.id IS NOT NULL AND NOT u.is_undo
    FROM new_rows n {TAKEN_BACK.format(deed="deed", row="n")} WHERE {NOT_REPLAYED};
    {APPLY.format(deltas=INSERTED, many=COUNT_AS_TOLD)}
    RETURN NULL;
END $$;

CREATE FUNCTION record_annotation_deletes() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    deed uuid;
    {FEW.format(rows="old_rows")}
BEGIN
    IF few = 0 THEN RETURN NULL; END IF;
    deed := labeler_batch();
    INSERT INTO annotation_history (annotation_id, project_id, image_id, task_type, action,
                                    previous_state, new_state, changed_by, timestamp, batch_id, undoes, is_undo)
    SELECT o.id, o.project_id, o.image_id, o.task_type, coalesce(labeler_setting('action'), 'delete'),
           to_json(o), NULL, labeler_actor(), clock_timestamp(), deed, u.id, u.id IS NOT NULL AND NOT u.is_undo
    FROM old_rows o {TAKEN_BACK.format(deed="deed", row="o")} WHERE {NOT_REPLAYED_DELETE} ORDER BY o.id;
    {APPLY.format(deltas=DELETED, many=COUNT.format(deltas=DELETED))}
    RETURN NULL;
END $$;

CREATE FUNCTION record_annotation_updates() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    deed uuid;
    {BELONG_NEEDS}
BEGIN
    IF few = 0 THEN RETURN NULL; END IF;
    {BELONG}
    deed := labeler_batch();
    IF few <= {MOST} THEN
        {NOTED.format(deed="deed")};
    ELSE
        EXECUTE $q$ {NOTED.format(deed="$1")} $q$ USING deed;
    END IF;
    {APPLY.format(deltas=UPDATED, many=COUNT.format(deltas=UPDATED))}
    RETURN NULL;
END $$;

CREATE TRIGGER annotations_inserted AFTER INSERT ON annotations REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION record_annotation_inserts();
CREATE TRIGGER annotations_deleted AFTER DELETE ON annotations REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION record_annotation_deletes();
CREATE TRIGGER annotations_updated AFTER UPDATE ON annotations REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION record_annotation_updates();

CREATE FUNCTION refuse_to_change_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'history is only appended: % refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER history_is_appended BEFORE UPDATE OR DELETE ON annotation_history FOR EACH ROW
    EXECUTE FUNCTION refuse_to_change_history();
CREATE TRIGGER history_is_appended BEFORE UPDATE OR DELETE ON image_history FOR EACH ROW
    EXECUTE FUNCTION refuse_to_change_history();
CREATE TRIGGER history_is_appended BEFORE UPDATE OR DELETE ON class_history FOR EACH ROW
    EXECUTE FUNCTION refuse_to_change_history();
"""

HISTORY_UNDO = """
DROP FUNCTION refuse_to_change_history() CASCADE;
DROP FUNCTION record_annotation_inserts() CASCADE;
DROP FUNCTION record_annotation_deletes() CASCADE;
DROP FUNCTION record_annotation_updates() CASCADE;
"""

UNDO = """
-- Rows are here only while an undo runs; nobody else sees them.
CREATE UNLOGGED TABLE undo_targets (
    batch_id uuid, annotation_id bigint, takes_back bigint NOT NULL, PRIMARY KEY (batch_id, annotation_id));

-- The change at the bottom of a chain of undos and redos.
CREATE FUNCTION undo_root(change bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    below bigint;
BEGIN
    LOOP
        SELECT undoes INTO below FROM annotation_history WHERE id = change;
        IF below IS NULL THEN RETURN change; END IF;
        change := below;
    END LOOP;
END $$;

-- The last change to an annotation that still stands, of those before an id (0: none does). One that was undone does
-- not, nor does what came between it and its undo; one that was redone stands.
CREATE FUNCTION standing(subject bigint, before bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    change bigint; taken_back boolean;
BEGIN
    LOOP
        SELECT id, is_undo INTO change, taken_back FROM annotation_history
        WHERE annotation_id = subject AND id < before ORDER BY id DESC LIMIT 1;
        IF NOT FOUND THEN RETURN 0; END IF;
        before := undo_root(change);
        IF NOT taken_back THEN RETURN before; END IF;
    END LOOP;
END $$;

-- May a change be taken back now? 'open': it is the last that stands (of an undo: nothing stands above what it left);
-- 'done': it was taken back already; 'under': others changed the annotation since.
CREATE FUNCTION undo_verdict(change bigint, OUT verdict text, OUT takes_back bigint) LANGUAGE plpgsql STABLE AS $$
DECLARE
    subject bigint; odd boolean; bottom bigint; top bigint; next bigint;
BEGIN
    SELECT annotation_id, is_undo INTO subject, odd FROM annotation_history WHERE id = change;
    bottom := undo_root(change);
    top := standing(subject, 9223372036854775807);
    takes_back := change;
    LOOP
        SELECT id INTO next FROM annotation_history WHERE undoes = takes_back ORDER BY id DESC LIMIT 1;
        EXIT WHEN next IS NULL;
        takes_back := next;
    END LOOP;
    IF (SELECT is_undo FROM annotation_history WHERE id = takes_back) <> odd THEN
        verdict := 'done';
    ELSIF odd THEN
        verdict := CASE WHEN top = standing(subject, bottom) THEN 'open' ELSE 'under' END;
    ELSIF top = bottom THEN
        verdict := 'open';
    ELSE
        -- Under other changes, or gone with one below it that was taken back by force.
        WHILE top > bottom LOOP
            top := standing(subject, top);
        END LOOP;
        verdict := CASE WHEN top = bottom THEN 'under' ELSE 'done' END;
    END IF;
END $$;
"""

UNDO_UNDO = """
DROP FUNCTION undo_verdict(bigint);
DROP FUNCTION standing(bigint, bigint);
DROP FUNCTION undo_root(bigint);
DROP TABLE undo_targets;
"""

# What a version could show of a progress row.
SHOWN = """({row}.status, {row}.is_image_confirmed, {row}.confirmed_at, {row}.confirmed_by, {row}.first_modified_at,
        {row}.last_modified_at, {row}.total_annotations, {row}.confirmed_annotations, {row}.verified_annotations,
        {row}.draft_annotations, {row}.no_object_markers, {row}.revision)"""

MARKED = f"""INSERT INTO image_marks (project_id, task_type, image_id)
        SELECT n.project_id, n.task_type, n.image_id FROM new_rows n JOIN old_rows o USING (id)
        WHERE {SHOWN.format(row="o")} IS DISTINCT FROM {SHOWN.format(row="n")} ORDER BY n.id"""
STATUS_KEPT = f"""INSERT INTO image_history (image_id, project_id, task_type, previous_state, new_state, changed_by,
                                   timestamp, batch_id)
        SELECT n.image_id, n.project_id, n.task_type, {STATUS_OF.format(row="o")}, {STATUS_OF.format(row="n")},
               labeler_actor(), clock_timestamp(), {{deed}} FROM new_rows n JOIN old_rows o USING (id)
        WHERE (o.status, o.confirmed_at, o.confirmed_by) IS DISTINCT FROM (n.status, n.confirmed_at, n.confirmed_by)
            AND (labeler_setting('replaying') IS NULL OR NOT EXISTS (
                SELECT FROM image_history h WHERE h.image_id = n.image_id AND h.task_type = n.task_type))
        ORDER BY n.id"""

PROGRESS = f"""
-- Every image has a progress row for every task of its project, from the first moment.
CREATE FUNCTION add_progress_of_images() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO image_annotation_status (project_id, image_id, task_type, status, is_image_confirmed,
        total_annotations, confirmed_annotations, verified_annotations, draft_annotations, no_object_markers,
        revision, saved_revision, confirmed_revision)
    SELECT n.project_id, n.id, t.task_type, 'not-started', false, 0, 0, 0, 0, 0, 0, 0, 0
    FROM new_rows n JOIN project_tasks t ON t.project_id = n.project_id ORDER BY n.id, t.position;
    UPDATE projects SET images_revision = images_revision + 1
    WHERE id IN (SELECT DISTINCT project_id FROM new_rows);
    RETURN NULL;
END $$;
CREATE TRIGGER images_inserted AFTER INSERT ON dataset_images REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION add_progress_of_images();

CREATE FUNCTION add_progress_of_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO image_annotation_status (project_id, image_id, task_type, status, is_image_confirmed,
        total_annotations, confirmed_annotations, verified_annotations, draft_annotations, no_object_markers,
        revision, saved_revision, confirmed_revision)
    SELECT NEW.project_id, i.id, NEW.task_type, 'not-started', false, 0, 0, 0, 0, 0, 0, 0, 0
    FROM dataset_images i WHERE i.project_id = NEW.project_id ORDER BY i.id;
    RETURN NULL;
END $$;
CREATE TRIGGER task_inserted AFTER INSERT ON project_tasks FOR EACH ROW EXECUTE FUNCTION add_progress_of_task();

-- A changed image is a changed state for each of its tasks.
CREATE FUNCTION mark_changed_image() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE image_annotation_status SET revision = revision + 1 WHERE image_id = NEW.id;
    UPDATE projects SET images_revision = images_revision + 1 WHERE id = NEW.project_id;
    RETURN NULL;
END $$;
CREATE TRIGGER image_changed AFTER UPDATE ON dataset_images FOR EACH ROW
    WHEN ((OLD.path, OLD.width, OLD.height, OLD.depth, OLD.split)
          IS DISTINCT FROM (NEW.path, NEW.width, NEW.height, NEW.depth, NEW.split))
    EXECUTE FUNCTION mark_changed_image();

-- Any change of a progress row that a version could show is numbered, here, and marked, below. Counters are
-- only changed from the annotation triggers (depth 2), or by the repair that says so.
CREATE FUNCTION number_progress() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.total_annotations, OLD.confirmed_annotations, OLD.verified_annotations, OLD.draft_annotations,
        OLD.no_object_markers)
       IS DISTINCT FROM
       (NEW.total_annotations, NEW.confirmed_annotations, NEW.verified_annotations, NEW.draft_annotations,
        NEW.no_object_markers)
       AND pg_trigger_depth() < 2 AND labeler_setting('recounting') IS NULL THEN
        RAISE EXCEPTION 'image counters follow the annotations; use manage.py recount_progress to repair them'
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.revision <= OLD.revision THEN
        NEW.revision := OLD.revision + 1;
    END IF;
    IF NEW.is_image_confirmed AND NOT OLD.is_image_confirmed AND labeler_setting('action') IS NULL THEN
        NEW.confirmed_revision := NEW.revision;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER progress_numbered BEFORE UPDATE ON image_annotation_status FOR EACH ROW
    WHEN ({SHOWN.format(row="OLD")} IS DISTINCT FROM {SHOWN.format(row="NEW")})
    EXECUTE FUNCTION number_progress();

-- Marked for the next publish; and what an undo needs of an image besides its annotations: the status it had. A plan
-- kept from single rows is right for a single row, and for no more.
CREATE FUNCTION record_progress() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    few int := (SELECT count(*) FROM (SELECT FROM new_rows LIMIT 2) counted);
BEGIN
    IF few = 1 THEN
        {MARKED};
        {STATUS_KEPT.format(deed="labeler_batch()")};
    ELSIF few > 1 THEN
        EXECUTE $q$ {MARKED} $q$;
        EXECUTE $q$ {STATUS_KEPT.format(deed="$1")} $q$ USING labeler_batch();
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER progress_recorded AFTER UPDATE ON image_annotation_status
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION record_progress();
"""

PROGRESS_UNDO = """
DROP FUNCTION record_progress() CASCADE;
DROP FUNCTION number_progress() CASCADE;
DROP FUNCTION mark_changed_image() CASCADE;
DROP FUNCTION add_progress_of_task() CASCADE;
DROP FUNCTION add_progress_of_images() CASCADE;
"""

RECORDS = """
-- The project record in the labeler store carries these; a higher revision means it is owed.
CREATE FUNCTION owe_project_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE projects SET record_revision = record_revision + 1
    WHERE id = CASE TG_OP WHEN 'DELETE' THEN OLD.project_id ELSE NEW.project_id END;
    RETURN NULL;
END $$;
CREATE TRIGGER class_recorded AFTER INSERT OR UPDATE OR DELETE ON classes FOR EACH ROW
    EXECUTE FUNCTION owe_project_record();
CREATE TRIGGER member_recorded AFTER INSERT OR UPDATE OR DELETE ON project_members FOR EACH ROW
    EXECUTE FUNCTION owe_project_record();
CREATE TRIGGER task_recorded AFTER INSERT OR UPDATE OR DELETE ON project_tasks FOR EACH ROW
    EXECUTE FUNCTION owe_project_record();

CREATE FUNCTION owe_own_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.record_revision := OLD.record_revision + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER project_recorded BEFORE UPDATE ON projects FOR EACH ROW
    WHEN ((OLD.name, OLD.description, OLD.dataset_name, OLD.owner_id, OLD.task_config, OLD.settings, OLD.status,
           OLD.deleted_at, OLD.updated_at, OLD.updated_by)
          IS DISTINCT FROM
          (NEW.name, NEW.description, NEW.dataset_name, NEW.owner_id, NEW.task_config, NEW.settings, NEW.status,
           NEW.deleted_at, NEW.updated_at, NEW.updated_by))
    EXECUTE FUNCTION owe_own_record();

CREATE FUNCTION guard_class() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a class keeps its id, index, task and project for ever' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER class_guarded BEFORE UPDATE ON classes FOR EACH ROW
    WHEN ((OLD.id, OLD.project_id, OLD.task_type, OLD.class_id, OLD.index)
          IS DISTINCT FROM (NEW.id, NEW.project_id, NEW.task_type, NEW.class_id, NEW.index))
    EXECUTE FUNCTION guard_class();
CREATE TRIGGER class_kept BEFORE DELETE ON classes FOR EACH ROW EXECUTE FUNCTION guard_class();

CREATE FUNCTION record_class_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO class_history (label_class_id, project_id, task_type, previous_state, new_state, changed_by, timestamp)
    VALUES (NEW.id, NEW.project_id, NEW.task_type, CASE WHEN TG_OP = 'UPDATE' THEN to_jsonb(OLD) END, to_jsonb(NEW),
            labeler_actor(), clock_timestamp());
    RETURN NULL;
END $$;
CREATE TRIGGER class_changed AFTER INSERT OR UPDATE ON classes FOR EACH ROW
    EXECUTE FUNCTION record_class_change();
"""

RECORDS_UNDO = """
DROP FUNCTION guard_class() CASCADE;
DROP FUNCTION record_class_change() CASCADE;
DROP FUNCTION owe_own_record() CASCADE;
DROP FUNCTION owe_project_record() CASCADE;
"""


class Migration(migrations.Migration):
    dependencies = [("annotations", "0001_tables")]
    operations = [
        migrations.RunSQL(SETTINGS, SETTINGS_UNDO),
        migrations.RunSQL(BELONGING, BELONGING_UNDO),
        migrations.RunSQL(GUARD, GUARD_UNDO),
        migrations.RunSQL(UNDO, UNDO_UNDO),
        migrations.RunSQL(TOLD, TOLD_UNDO),
        migrations.RunSQL(HISTORY, HISTORY_UNDO),
        migrations.RunSQL(PROGRESS, PROGRESS_UNDO),
        migrations.RunSQL(RECORDS, RECORDS_UNDO),
    ]
