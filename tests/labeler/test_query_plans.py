"""What the hot routes ask PostgreSQL, and how it answers: no table that grows is read from end to end, no page of a
list reads more rows than is said here, and each route asks as many statements as is said here.

The plans are those of the very statements, with what triggers and functions ask inside (auto_explain), in a project so
large that PostgreSQL chooses as it does for a million annotations; the limits are rows that were really read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pytest
from django.db import connection
from django.test import Client

from annotations.models import Image
from annotations.tables import ENOUGH
from annotations.tokens import issue_token
from tests.conftest import empty_tables
from tests.world import World, a_user, a_world
from versions import autosave, jobs, journal, publishing, records, sides
from versions.comparing import Comparison
from versions.models import Version

pytestmark = pytest.mark.django_db

# As many images as make PostgreSQL look one up by its key instead of reading them all; annotations on each fifth.
IMAGES, DRAWN, TASKS = 20_000, 5, ("detection", "segmentation")
# As many images as the newest version froze anew, with five annotations each.
ANEW = 20
# What the admin counts at most.
COUNTED = ENOUGH + 1
CLASSES = ("Cat", *(f"Class{number}" for number in range(19)))
# Tables with more rows for more images, annotations, changes or versions. Marks are not among them: they are queues.
GROWING = {
    "dataset_images", "image_annotation_status", "annotations", "annotation_history", "image_history",
    "annotation_versions", "version_exports", "frozen_annotations", "version_images", "journal_segments",
}  # fmt: skip

# Triggers are off: what they would add is written here in their place.
LARGE = """
INSERT INTO dataset_images (project_id, path, width, height, depth, size, etag)
SELECT %(project)s, 'part-' || n / 1000 || '/' || lpad(n::text, 6, '0') || '.jpg', 1920, 1080, 3, 1, ''
FROM generate_series(1, %(images)s) n;

INSERT INTO image_annotation_status (project_id, image_id, task_type, status, is_image_confirmed, total_annotations,
    confirmed_annotations, verified_annotations, draft_annotations, no_object_markers, revision, saved_revision,
    confirmed_revision, last_modified_at)
SELECT i.project_id, i.id, t, CASE i.id %% 3 WHEN 0 THEN 'not-started' WHEN 1 THEN 'in-progress' ELSE 'completed' END,
    i.id %% 3 = 2, n, CASE i.id %% 3 WHEN 2 THEN n ELSE 0 END, 0, CASE i.id %% 3 WHEN 2 THEN 0 ELSE n END, 0, 3,
    CASE WHEN i.id %% 500 = 0 THEN 2 ELSE 3 END, 0, now()
FROM dataset_images i CROSS JOIN unnest(%(tasks)s::text[]) t
CROSS JOIN LATERAL (SELECT CASE i.id %% %(drawn)s WHEN 0 THEN 5 ELSE 0 END AS n) drawn
WHERE i.project_id = %(project)s;

INSERT INTO annotations (project_id, image_id, task_type, annotation_type, geometry, bbox, area, class_id, attributes,
    state, version, created_by, created_at, updated_by, updated_at)
SELECT s.project_id, s.image_id, s.task_type, CASE s.task_type WHEN 'detection' THEN 'bbox' ELSE 'polygon' END,
    '{"type": "bbox", "bbox": [1, 2, 30, 40]}', '[1, 2, 30, 40]', 1200, c.id, '{}',
    CASE s.status WHEN 'completed' THEN 'confirmed' ELSE 'draft' END, 1, 'ann', now(), 'ann',
    now() - s.image_id * interval '1 minute'
FROM image_annotation_status s
JOIN classes c ON c.project_id = s.project_id AND c.task_type = s.task_type AND c.index = s.image_id %% %(classes)s
CROSS JOIN LATERAL generate_series(1, s.total_annotations)
WHERE s.project_id = %(project)s ORDER BY s.image_id;

INSERT INTO annotation_history (annotation_id, project_id, image_id, task_type, action, new_state, changed_by,
    timestamp, batch_id, is_undo)
SELECT a.id, a.project_id, a.image_id, a.task_type, 'create', one.state, 'ann', now() - interval '2 days',
    md5(a.id::text)::uuid, false
FROM annotations a CROSS JOIN (SELECT to_jsonb(o) AS state FROM annotations o LIMIT 1) one;

INSERT INTO image_history (image_id, project_id, task_type, previous_state, new_state, changed_by, timestamp, batch_id)
SELECT image_id, project_id, task_type, '{}', '{}', 'ann', now(), md5(id::text)::uuid
FROM image_annotation_status WHERE project_id = %(project)s;

INSERT INTO annotation_versions (project_id, task_type, version_number, major, minor, version_type, ordinal,
    description, created_at, created_by, annotation_count, image_count, include_draft, trigger, formats, manifest,
    status, content_hash, warnings, last_error, attempts, platform_status, platform_keys, platform_attempts,
    platform_error)
SELECT p, t, CASE WHEN n > published THEN 'v0.' || n ELSE 'v' || n || '.0' END,
    CASE WHEN n > published THEN 0 ELSE n END, CASE WHEN n > published THEN n ELSE 0 END,
    CASE WHEN n > published THEN 'working' ELSE 'published' END, CASE WHEN n > published THEN NULL ELSE n END, '',
    now(), 'adm', 1, 1, false, '', '["dice"]', '{}', 'ready', '', '[]', '', 0,
    CASE WHEN n > published THEN 'not_applicable' ELSE 'synced' END, '[]', 0, ''
FROM (VALUES (%(project)s, 200, 600), (%(other)s, 1000, 3000)) of (p, published, total)
CROSS JOIN LATERAL generate_series(1, total) n CROSS JOIN unnest(%(tasks)s::text[]) t;

INSERT INTO version_exports (version_id, format, s3_key, size_bytes, sha256, created_at)
SELECT v.id, f, v.id || f, 1, '', now() FROM annotation_versions v CROSS JOIN unnest('{dice,coco,yolo}'::text[]) f;

INSERT INTO frozen_annotations (version_id, task_id, opened, whole_since, image_id, annotation_ids, snapshots)
SELECT v.id, t.id, 1, 1, a.image_id, array_agg(a.id ORDER BY a.id),
    array_agg(json_build_object('id', a.id, 'type', 'bbox', 'geometry', a.geometry, 'bbox', a.bbox)::text ORDER BY a.id)
FROM annotations a JOIN project_tasks t USING (project_id, task_type)
JOIN annotation_versions v ON v.project_id = a.project_id AND v.task_type = a.task_type AND v.ordinal = 1
GROUP BY v.id, t.id, a.image_id ORDER BY a.image_id;

-- The newest published version looked at some images and froze all on them anew, those between changed nothing.
INSERT INTO frozen_versions (version_id, task_id, images)
SELECT v.id, t.id, CASE v.ordinal WHEN 1 THEN NULL WHEN 200 THEN
    ARRAY(SELECT image_id FROM image_annotation_status s WHERE s.project_id = v.project_id
        AND s.task_type = v.task_type AND s.total_annotations > 0 ORDER BY image_id LIMIT %(anew)s) ELSE '{}' END
FROM annotation_versions v JOIN project_tasks t USING (project_id, task_type)
WHERE v.project_id = %(project)s AND v.ordinal IS NOT NULL;

INSERT INTO frozen_annotations (version_id, task_id, opened, whole_since, image_id, annotation_ids, snapshots)
SELECT n.version_id, f.task_id, 200, 200, f.image_id, f.annotation_ids,
    ARRAY(SELECT replace(s, '[1,', '[2,') FROM unnest(f.snapshots) s)
FROM frozen_versions n JOIN frozen_annotations f ON f.task_id = n.task_id AND f.image_id = ANY(n.images)
ORDER BY f.image_id;

INSERT INTO version_images (version_id, task_id, opened, image_id, path, width, height, depth, metadata)
SELECT v.id, t.id, 1, i.id, i.path, 1920, 1080, 3, '{}'
FROM dataset_images i JOIN project_tasks t USING (project_id)
JOIN annotation_versions v ON v.project_id = i.project_id AND v.task_type = t.task_type AND v.ordinal = 1;

INSERT INTO journal_segments (project_id, number, previous, rows, count, high_water, begun_at, sha256, size_bytes,
    sealed_at)
SELECT %(project)s, n, '', '{}', 1, '{}', now(), '', 1, now() FROM generate_series(1, 2000) n;
"""


@dataclass
class Large:
    """The large project, signed-in clients, and what the routes name."""

    project_id: str
    api: Client
    staff: Client
    names: dict[str, Any]

    def ask(self, route: Route) -> Any:
        """The answer to a route, with the world's names in it."""
        address = route.path.format(p=self.project_id, **self.names)
        if address.startswith("/admin"):
            return self.staff.get(address)
        body = {**route.body, "project_id": self.project_id, "image_id": self.names["image"]} if route.body else {}
        told = {} if route.method == "get" else {"data": body, "content_type": "application/json"}
        return getattr(self.api, route.method)(f"/api/v1{address}", **told)


VISIBLE = "SELECT relallvisible > 0.9 * relpages FROM pg_class WHERE oid = 'annotations'::regclass"


def _vacuum(cursor: Any) -> None:
    """Until annotations are known to be visible to everybody, as index-only scans want it: whoever holds an older
    snapshot meanwhile, be it autovacuum's own, keeps pages from being so."""
    for _ in range(50):
        cursor.execute("VACUUM (ANALYZE)")
        cursor.execute(VISIBLE)
        if cursor.fetchone()[0]:
            return
        time.sleep(0.1)
    pytest.fail("Somebody holds an older snapshot for too long: annotations are not visible to everybody.")


@pytest.fixture(scope="module")
def standing(django_db_setup, django_db_blocker) -> Iterator[World]:
    """A large project beside a small one, with statistics as autovacuum would leave them."""
    with django_db_blocker.unblock():
        try:
            small = a_world(tasks=TASKS, dataset="ds_small", count=5)
            made = a_world(tasks=TASKS, dataset="ds_large", count=0, classes=CLASSES)
            values = {
                "project": made.project.pk,
                "images": IMAGES,
                "drawn": DRAWN,
                "tasks": list(TASKS),
                "anew": ANEW,
                "classes": len(CLASSES),
                "other": small.project.pk,
            }
            with connection.cursor() as cursor:
                cursor.execute("LOAD 'auto_explain'")
                cursor.execute("SET session_replication_role = replica")
                cursor.execute(LARGE, values)
                cursor.execute("SET session_replication_role = DEFAULT")
                _vacuum(cursor)
            yield made
        finally:
            with connection.cursor() as cursor:
                cursor.execute("SET session_replication_role = replica")
                # Deleted rows would still lie there, and every later test would read past them.
                cursor.execute(f"TRUNCATE {', '.join(sorted(GROWING))} CASCADE")
                cursor.execute("SET session_replication_role = DEFAULT")
            empty_tables()


@pytest.fixture
def large(standing, db) -> Large:
    api = Client(headers={"authorization": f"Bearer {issue_token(a_user('olga'), name='plans')[0]}"})
    staff = Client()
    staff.force_login(a_user("boss", is_staff=True, is_superuser=True))
    images = Image.objects.filter(project=standing.project).order_by("path")
    drawn = images.filter(statuses__total_annotations__gt=0, statuses__task_type="detection", path__gt="part-15/")
    draft, done = (drawn.filter(statuses__status=status)[0] for status in ("in-progress", "completed"))
    names = {
        "image": draft.path, "done": done.path, "first": images[0].path, "last": images.last().path,
        "annotation": draft.annotations.filter(task_type="detection")[0].pk,
        "version": Version.objects.of(standing.project.pk, "detection").get(ordinal=200).pk,
    }  # fmt: skip
    return Large(standing.project.pk, api, staff, names)


# What PostgreSQL was asked and how it answered --------------------------------------------------


@dataclass(frozen=True)
class Scan:
    """How one node of a plan read a table, and how many of its rows."""

    table: str
    kind: str
    rows: int
    query: str

    def __str__(self) -> str:
        return f"{self.kind} of {self.table}, {self.rows} rows, for: {' '.join(self.query.split())[:2000]}"


@dataclass
class Asked:
    """Statements of the client, and scans of growing tables, those inside triggers too."""

    statements: list[str] = field(default_factory=list)
    scans: list[Scan] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows read of growing tables."""
        return sum(scan.rows for scan in self.scans)

    def __str__(self) -> str:
        return "\n".join(["", *self.statements, "", *map(str, self.scans)])

    def end_to_end(self) -> list[Scan]:
        """Scans that read a whole table; a count that ends after some thousand rows is none."""
        return [scan for scan in self.scans if scan.kind == "Seq Scan" and f"LIMIT {COUNTED})" not in scan.query]

    def counted_in_rows(self) -> list[Scan]:
        """Scans that read the rows of a table to count more of them than a page holds."""
        return [scan for scan in self.scans if "count(" in scan.query.lower() and scan.rows > 200
                and scan.kind != "Index Only Scan"]  # fmt: skip

    def hear(self, notice: Any) -> None:
        """What the server logs, told to the client."""
        kind, _, said = notice.message_primary.partition(": ")
        if kind == "statement" or kind.startswith("execute "):
            if "log_statement" not in said:
                self.statements.append(said)
        elif kind == "duration":
            told = json.loads(said.partition("plan:")[2])
            self._add(told["Plan"], told["Query Text"])

    def _add(self, node: dict[str, Any], query: str) -> None:
        if node.get("Relation Name") in GROWING and node["Node Type"] != "ModifyTable":
            lost = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
            rows = round((node["Actual Rows"] + lost) * node["Actual Loops"])
            self.scans.append(Scan(node["Relation Name"], node["Node Type"], rows, query))
        for inner in node.get("Plans", []):
            self._add(inner, query)


WATCHING = {
    "client_min_messages": "log", "log_statement": "all", "auto_explain.log_min_duration": "0",
    "auto_explain.log_nested_statements": "on", "auto_explain.log_analyze": "on", "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
}  # fmt: skip


@contextmanager
def watched() -> Iterator[Asked]:
    """What is asked of the database meanwhile."""
    asked = Asked()
    connection.ensure_connection()
    connection.connection.add_notice_handler(asked.hear)
    try:
        with connection.cursor() as cursor:
            cursor.execute(" ".join(f"SET {name} = '{value}';" for name, value in WATCHING.items()))
        yield asked
    finally:
        with connection.cursor() as cursor:
            cursor.execute(" ".join(f"RESET {name};" for name in reversed(WATCHING)))
        connection.connection.remove_notice_handler(asked.hear)


# Routes ---------------------------------------------------------------------------------------


class Route(NamedTuple):
    """A request, how many statements it asks, and how many rows of growing tables it may read."""

    method: str
    path: str
    statements: int
    rows: int
    body: dict[str, Any] | None = None


BOX = {"annotation_type": "bbox", "geometry": {"type": "bbox", "bbox": [5, 5, 20, 20]}, "class_name": "Cat"}
BYE = {"trigger": "beforeunload", "task_type": "detection"}
T = "task_type=detection"

CHANGES = {
    "save": Route("post", "/annotations", 11, 20, BOX),
    "update": Route("patch", "/annotations/{annotation}", 12, 20, {"geometry": BOX["geometry"]}),
    "delete": Route("delete", "/annotations/{annotation}", 10, 20),
    "confirm one": Route("post", "/annotations/{annotation}/confirm", 10, 20),
    "confirm image": Route("post", f"/projects/{{p}}/images/{{image}}/confirm?{T}", 15, 60),
    "unconfirm image": Route("post", f"/projects/{{p}}/images/{{done}}/unconfirm?{T}", 14, 60),
    "lock": Route("post", "/image-locks/{p}/{image}/acquire", 6, 5),
    "save now, by a closing page": Route("post", "/projects/{p}/working-version/save", 11, 10, BYE),
}
LISTS = {
    "images": Route("get", "/projects/{p}/images?limit=100", 4, 100),
    "images, in the middle": Route("get", "/projects/{p}/images?limit=100&offset=10000", 4, 600),
    "images, last page": Route("get", "/projects/{p}/images?limit=100&offset=19900", 4, 600),
    "images, around one": Route("get", "/projects/{p}/images?limit=100&around={last}", 6, 1200),
    "statuses": Route("get", f"/projects/{{p}}/images/status?limit=100&{T}", 5, 400),
    "statuses, last page": Route("get", f"/projects/{{p}}/images/status?limit=100&offset=19900&{T}", 5, 1000),
    "statuses of some": Route("get", f"/projects/{{p}}/images/status?image_ids={{first}},{{last}}&{T}", 5, 20),
    "next": Route("get", f"/projects/{{p}}/images/next?after={{image}}&{T}", 4, 20),
    "next, round to the start": Route("get", f"/projects/{{p}}/images/next?after={{last}}&{T}", 5, 20),
    "annotations of an image": Route("get", "/annotations/project/{p}?image_id={image}", 5, 60),
    "history": Route("get", "/annotations/history/project/{p}?limit=50", 6, 100),
    "history of an image": Route("get", "/annotations/history/project/{p}?image_id={image}", 7, 60),
    "history of a person": Route("get", "/annotations/history/project/{p}?changed_by=ann", 6, 120),
    "history of an annotation": Route("get", "/annotations/history/annotation/{annotation}", 8, 20),
    "working version": Route("get", f"/projects/{{p}}/working-version?{T}", 4, 200),
    # Versions are counted: there are thousands, not millions.
    "versions": Route("get", "/projects/{p}/versions?limit=50", 7, 1_600),
    "versions, late": Route("get", "/projects/{p}/versions?limit=50&offset=350", 7, 3_500),
}
# Counts of a whole project, from an index that holds all they need and no row of a table.
COUNTS = {
    "images in progress": Route("get", "/projects/{p}/images?limit=100&status=in-progress", 5, IMAGES),
    "statuses in progress": Route("get", f"/projects/{{p}}/images/status?status=in-progress&{T}", 5, IMAGES),
    "statistics": Route("get", "/projects/{p}/stats", 4, 2 * IMAGES),
    "classes": Route("get", f"/projects/{{p}}/classes?{T}", 5, 2 * IMAGES),
}
# A list of the admin counts ten thousand rows at most, and passes over those before its page by their keys.
ADMIN = {
    "admin, images": Route("get", "/admin/annotations/image/", 5, COUNTED + 60),
    "admin, annotations": Route("get", "/admin/annotations/annotation/", 5, COUNTED + 160),
    "admin, statuses": Route("get", "/admin/annotations/imagestatus/", 5, COUNTED + 160),
    "admin, statuses, page 400": Route("get", "/admin/annotations/imagestatus/?p=400", 6, COUNTED + 20_000 + 160),
    "admin, history": Route("get", "/admin/annotations/annotationhistory/", 5, COUNTED + 60),
    "admin, versions": Route("get", "/admin/versions/version/", 4, COUNTED + 60),
    "admin, frozen annotations of a version": Route(
        "get", "/admin/versions/frozenannotations/?in_version={version}", 7, 5 * COUNTED
    ),
}
ROUTES = CHANGES | LISTS | COUNTS | ADMIN


@pytest.mark.parametrize("name", ROUTES)
def test_a_hot_route_reads_what_it_shows_and_no_table_from_end_to_end(large, name):
    route = ROUTES[name]
    if route.method == "get":
        # What is kept in the cache is there.
        large.ask(route)
    with watched() as asked:
        answer = large.ask(route)
    assert answer.status_code < 300, answer.content
    assert not asked.end_to_end(), str(asked)
    assert len(asked.statements) == route.statements, str(asked)
    assert 0 < asked.rows <= route.rows, str(asked)


@pytest.mark.parametrize("name", COUNTS)
def test_what_is_counted_is_counted_in_an_index(large, name):
    with watched() as asked:
        large.ask(COUNTS[name])
    assert not asked.counted_in_rows(), str(asked)


OWED = [publishing.left_behind, jobs.left_behind, autosave.due_tasks, autosave.due_since, journal.waiting,
        journal.behind_since]  # fmt: skip


@pytest.mark.parametrize("owed", OWED, ids=lambda owed: f"{owed.__module__}.{owed.__name__}")
def test_the_sweep_finds_what_is_owed_without_reading_what_is_not(large, owed):
    with watched() as asked:
        owed()
    assert asked.statements and not asked.end_to_end() and asked.rows <= 200, str(asked)


def test_what_a_version_changed_is_found_without_reading_what_it_did_not(large, standing):
    older, newer = Version.objects.of(large.project_id, "detection").published().filter(ordinal__in=[199, 200])
    old, new = (replace(side, classes={}) for side in sides.in_order(older, newer))
    comparison = Comparison(standing.task, old, new, sides.parameters(old, new, standing.task))
    with watched() as asked:
        found = comparison.overview(limit=5)
        comparison.details([change.pk for change in found.page])
        changes = list(records.frozen_changes(newer, standing.task))
    assert (found.modified, len(changes)) == (5 * ANEW, 2 * 5 * ANEW)
    assert not asked.end_to_end(), str(asked)
    assert 0 < asked.rows <= 100 * ANEW, str(asked)


DROPPED = {
    "images, last page": "ALTER TABLE dataset_images DROP CONSTRAINT one_image_per_path",
    "save": "ALTER TABLE image_annotation_status DROP CONSTRAINT one_status_per_image_and_task",
    "history of an annotation": "DROP INDEX history_by_annotation",
    "versions": "DROP INDEX versions_by_number",
    "classes": "DROP INDEX annotation_by_class; CREATE INDEX ON annotations (class_id)",
    "statistics": "DROP INDEX status_by_progress",
}


@pytest.mark.parametrize("name", DROPPED)
def test_without_its_index_a_route_is_found_out(large, name):
    with connection.cursor() as cursor:
        cursor.execute(DROPPED[name])
    large.ask(ROUTES[name])
    with watched() as asked:
        large.ask(ROUTES[name])
    assert asked.end_to_end() or asked.counted_in_rows() or asked.rows > ROUTES[name].rows, str(asked)
