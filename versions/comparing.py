"""What differs between two versions of a task, between a version and the live rows, or a working save and either.

Annotations are matched by id; rows whose id is only on one side are the same if they are equal, and one shape drawn
anew if they are of one class and share half of their joint area. PostgreSQL finds the rows that differ, image by image
in path order; only those of one image are ever held here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import orjson
from django.db import connection

from annotations.models import Image, ProjectTask
from exports.rows import BACKGROUND
from versions import publishing, sides
from versions.errors import InvalidRequest
from versions.likeness import CONFIDENCE_DECIMALS, Lonely, partners
from versions.models import Version
from versions.sides import Side
from versions.snapshots import UNSAID, stream
from versions.states import VersionType

Json = dict[str, Any]

NO_CLASS = "(no class)"
# A request reads no larger file than this many annotations; the command has no such limit.
MOST_FROM_FILE = 100_000


@dataclass
class ImageChange:
    """One image that differs: how many annotations came, went and changed, and whether only one side lists it
    (``listing``: both, added or removed)."""

    pk: int
    path: str
    listing: str = "both"
    added: int = 0
    removed: int = 0
    modified: int = 0
    by_class: Counter[tuple[str | None, str, str]] = field(default_factory=Counter)


@dataclass
class ImageDiff:
    """One image in full: rows as exports.rows.AnnotationRow has them; ``unchanged_rows`` only where asked for."""

    pk: int
    path: str
    added: list[Json] = field(default_factory=list)
    removed: list[Json] = field(default_factory=list)
    modified: list[tuple[Json, Json]] = field(default_factory=list)
    unchanged: int = 0
    unchanged_rows: list[Json] = field(default_factory=list)


@dataclass
class Overview:
    """All figures of a comparison, and the stretch of changed images that was asked for, out of ``listed``."""

    images_with_changes: int = 0
    listed: int = 0
    total_images: int = 0
    images_added: int = 0
    images_removed: int = 0
    added: int = 0
    removed: int = 0
    modified: int = 0
    unchanged: int = 0
    by_class: dict[str, Counter[str]] = field(default_factory=dict)
    page: list[ImageChange] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """True if anything a person can see is not the same."""
        return self.images_with_changes > 0


# Choosing -------------------------------------------------------------------------------------


def check_pair(a: Version | None, b: Version | None) -> ProjectTask:
    """The task both belong to (None is the live rows). Raises InvalidRequest naming ``a`` or ``b`` if there is none."""
    known = [version for version in (a, b) if version is not None]
    if not known:
        raise InvalidRequest(
            "Live rows are compared with a version.", errors={"b": ["must be a version, as a is the live rows."]}
        )
    if len({version.project_id for version in known}) > 1:
        raise InvalidRequest("The versions are of different projects.", errors={"b": ["is of another project."]})
    if len({version.task_type for version in known}) > 1:
        raise InvalidRequest("The versions are of different tasks.", errors={"b": ["is of another task."]})
    for version in known:
        if version.version_type == VersionType.WORKING:
            sides.kept_file(version)
    return publishing.task_of(known[0])


def refuse_large_files(**versions: Version | None) -> None:
    """Raises InvalidRequest for a working save too large to be read while somebody waits."""
    for name, version in versions.items():
        if version is None or version.version_type != VersionType.WORKING:
            continue
        if version.annotation_count > MOST_FROM_FILE:
            raise InvalidRequest(
                f"{version.version_number} is a file of {version.annotation_count} annotations; a request reads at "
                f"most {MOST_FROM_FILE}. Use manage.py compare_versions.",
                errors={name: ["is too large to be compared in a request."]},
            )


# Comparing ------------------------------------------------------------------------------------

CONTENT = f"""jsonb_build_array({{row}}->'class_key', {{row}}->'type',
        ({{row}}->'geometry') - 'image_width' - 'image_height', {{row}}->'attributes',
        round(({{row}}->>'confidence')::numeric, {CONFIDENCE_DECIMALS}))"""

# Rows by pairs of equal id; of rows alone, equal ones are twins. Alike: the same for a person, whatever the id.
PAIRS = f"""
WITH touched AS MATERIALIZED ({{touched}}),
pairs AS MATERIALIZED (
    SELECT coalesce(o.image_id, n.image_id) AS image_id, o.annotation_id AS old_id, n.annotation_id AS new_id,
        o.data::jsonb AS o, n.data::jsonb AS n
    FROM ({{old_rows}}) o FULL JOIN ({{new_rows}}) n
        ON o.image_id = n.image_id AND o.annotation_id = n.annotation_id
    WHERE {{only}}),
judged AS (
    SELECT *, CASE WHEN old_id IS NOT NULL AND new_id IS NOT NULL
            THEN {CONTENT.format(row="o")} = {CONTENT.format(row="n")} END AS equal,
        CASE WHEN old_id IS NULL THEN {CONTENT.format(row="n")}
             WHEN new_id IS NULL THEN {CONTENT.format(row="o")} END AS lonely
    FROM pairs),
counted AS (
    SELECT *, row_number() OVER (PARTITION BY image_id, lonely, old_id IS NULL ORDER BY coalesce(old_id, new_id)) AS nth
    FROM judged WHERE equal IS NOT TRUE),
differing AS (
    SELECT image_id, old_id, new_id, o, n, equal IS NULL AND count(*) OVER (PARTITION BY image_id, lonely, nth) = 2
        AS alike FROM counted)"""

OVERVIEW = (
    PAIRS
    + """,
listing AS (
    SELECT coalesce(o.image_id, n.image_id) AS image_id,
        CASE WHEN o.image_id IS NULL THEN 'added' ELSE 'removed' END AS listing
    FROM ({old_list}) o FULL JOIN ({new_list}) n ON o.image_id = n.image_id
    WHERE o.image_id IS NULL OR n.image_id IS NULL),
found AS (
    SELECT image_id, NULL AS listing, old_id, new_id, coalesce(n, o)->>'type' AS type, o->>'class_key' AS old_class,
        n->>'class_key' AS new_class, CASE WHEN old_id IS NULL OR new_id IS NULL THEN coalesce(n, o)->>'bbox' END AS box
    FROM differing WHERE NOT alike
    UNION ALL SELECT image_id, listing, NULL, NULL, NULL, NULL, NULL, NULL FROM listing)
SELECT i.id, i.path, f.listing, f.old_id, f.new_id, f.type, f.old_class, f.new_class, f.box
FROM found f JOIN dataset_images i ON i.id = f.image_id
ORDER BY i.path, i.id, coalesce(f.old_id, f.new_id)"""
)

DETAILS = (
    PAIRS
    + """
SELECT i.id, i.path, d.old_id, d.new_id, d.alike,
    CASE WHEN NOT d.alike THEN d.o::text END, CASE WHEN NOT d.alike OR %(whole)s THEN d.n::text END
FROM (SELECT image_id, old_id, new_id, o, n, alike FROM differing
      UNION ALL SELECT image_id, old_id, new_id, o, n, true FROM judged WHERE equal) d
JOIN dataset_images i ON i.id = d.image_id
ORDER BY i.path, i.id, coalesce(d.old_id, d.new_id)"""
)

# Equal texts are equal rows; whether unequal ones differ for a person is judged afterwards.
ONLY_UNEQUAL = "o.data IS DISTINCT FROM n.data"
EVERY_PAIR = "true"

TOTALS = """
WITH touched AS MATERIALIZED ({touched})
SELECT (SELECT count(*) FROM ({old_rows}) o), (SELECT count(*) FROM ({old_list}) l)"""


@dataclass(frozen=True)
class Comparison:
    """Two sides of a task, the older and the newer one, inside the transaction that sees both at one moment."""

    task: ProjectTask
    old: Side
    new: Side
    values: Json

    def overview(
        self, *, limit: int = 0, offset: int = 0, image: Image | None = None, kind: str | None = None
    ) -> Overview:
        """All figures, and changed images from ``offset`` on; of one image only where it is given. ``kind`` (added,
        removed, modified) lists only images with a change of that kind; the figures stay those of all."""
        result = Overview()
        for change in self.changed_images(image):
            _count(result, change, self._class_name)
            if kind is None or getattr(change, kind):
                if offset <= result.listed < offset + limit:
                    result.page.append(change)
                result.listed += 1
        annotations, images = self._old_totals(image)
        result.unchanged = annotations - result.removed - result.modified
        result.total_images = images + result.images_added
        return result

    def changed_images(self, image: Image | None = None) -> Iterator[ImageChange]:
        """Every image that differs, by path, streamed."""
        only = None if image is None else [image.pk]
        sql = self._sql(OVERVIEW, only, ONLY_UNEQUAL)
        rows = stream(sql, {**self.values, "images": only}, size=2000)
        for (pk, path), found in groupby(rows, key=lambda row: row[:2]):
            yield _change(pk, path, [row[2:] for row in found])

    def details(self, images: Sequence[int], *, whole: bool = False) -> list[ImageDiff]:
        """The images (primary keys) in full, by path; the unchanged rows too if it is to be ``whole``."""
        sql = self._sql(DETAILS, images, EVERY_PAIR)
        rows = stream(sql, {**self.values, "images": list(images), "whole": whole}, size=2000)
        found = groupby(rows, key=lambda row: row[:2])
        return [_diff(pk, path, [row[2:] for row in of_image], whole=whole) for (pk, path), of_image in found]

    def _sql(self, template: str, images: Sequence[int] | None, only: str) -> str:
        return template.format(**vars(sides.sources(self.old, self.new, images)), only=only)

    def _old_totals(self, image: Image | None) -> tuple[int, int]:
        """Annotations and images of the older side: its own totals where it has them, else a count."""
        found = sides.sources(self.old, self.new, None if image is None else [image.pk])
        if not found.whole and self.old.version is not None:
            return self.old.version.annotation_count, self.old.version.image_count
        with connection.cursor() as cursor:
            values = {**self.values, "images": None if image is None else [image.pk]}
            cursor.execute(TOTALS.format(**vars(found)), values)
            return cursor.fetchone()

    def _class_name(self, key: str | None, type: str) -> str:
        if type == "no_object":
            return BACKGROUND
        return self.new.class_name(key) or self.old.class_name(key) or NO_CLASS

    def classes(self) -> dict[str, list[Json]]:
        """Classes renamed, added and removed (retired) between the sides; no annotation row changes with them. What a
        file does not tell (whether a class was retired) is left out."""
        old, new = self.old.classes or {}, self.new.classes or {}
        both = [(key, old[key], new[key]) for key in new if key in old]
        return {
            "renamed": [
                {"class_id": key, "old_name": was["name"], "new_name": now["name"]}
                for key, was, now in both
                if was["name"] != now["name"]
            ],
            "added": [
                *_named({key: entry for key, entry in new.items() if key not in old and not entry["retired"]}),
                *_named({key: now for key, was, now in both if was["retired"] is True and now["retired"] is False}),
            ],
            "removed": [
                *_named({key: entry for key, entry in old.items() if key not in new and not entry["retired"]}),
                *_named({key: now for key, was, now in both if was["retired"] is False and now["retired"] is True}),
            ],
        }


def _named(entries: Json) -> list[Json]:
    return [{"class_id": key, "name": entry["name"]} for key, entry in entries.items()]


@contextmanager
def compared(
    a: Version | None, b: Version | None, task: ProjectTask, *, include_draft: bool | None = None
) -> Iterator[Comparison]:
    """Compare two versions of ``task``, None standing for the live rows; whichever is older becomes ``old``.

    ``include_draft`` chooses the rows of a side that is not published (see sides.selection). Raises NoWorkingSave and
    StoreError where a working save's file cannot be had.
    """
    old, new = sides.selection(*sides.in_order(a, b), include_draft)
    with sides.one_moment(old, new, task) as (older, newer):
        yield Comparison(task, older, newer, sides.parameters(older, newer, task))


def _count(result: Overview, change: ImageChange, name: Any) -> None:
    result.images_with_changes += 1
    result.images_added += change.listing == "added"
    result.images_removed += change.listing == "removed"
    result.added += change.added
    result.removed += change.removed
    result.modified += change.modified
    for (key, type, what), count in change.by_class.items():
        result.by_class.setdefault(name(key, type), Counter())[what] += count


# One image ------------------------------------------------------------------------------------


def _change(pk: int, path: str, rows: Iterable[Sequence[Any]]) -> ImageChange:
    """Count one image's differing rows (listing, old id, new id, type, old class, new class, box)."""
    change = ImageChange(pk, path)
    removed: list[Lonely] = []
    added: list[Lonely] = []
    for listing, old_id, new_id, type, old_class, new_class, box in rows:
        if listing is not None:
            change.listing = listing
        elif old_id is None:
            added.append(Lonely(new_id, type, new_class, _box(box)))
        elif new_id is None:
            removed.append(Lonely(old_id, type, old_class, _box(box)))
        else:
            _tally(change, "modified", new_class, type)
    _tally_lonely(change, removed, added)
    return change


def _whole_row(text: str) -> dict[str, Any]:
    """A row with what its text leaves out."""
    return {**UNSAID, **orjson.loads(text)}


def _box(text: str | None) -> list[float] | None:
    return None if text is None else orjson.loads(text)


def _tally(change: ImageChange, what: str, class_key: str | None, type: str) -> None:
    change.by_class[(class_key, type, what)] += 1
    setattr(change, what, getattr(change, what) + 1)


def _tally_lonely(change: ImageChange, removed: list[Lonely], added: list[Lonely]) -> None:
    again = dict(partners(removed, added))
    drawn_anew = set(again.values())
    for row in removed:
        if row.id not in again:
            _tally(change, "removed", row.class_key, row.type)
    for row in added:
        _tally(change, "modified" if row.id in drawn_anew else "added", row.class_key, row.type)


def _diff(pk: int, path: str, rows: Iterable[Sequence[Any]], *, whole: bool) -> ImageDiff:
    """One image's pairs (old id, new id, alike, old, new) as lists."""
    diff = ImageDiff(pk, path)
    removed: dict[int, Json] = {}
    added: dict[int, Json] = {}
    for old_id, new_id, alike, old, new in rows:
        if alike:
            # Of twins, which have an id each, the newer one is the annotation.
            if new_id is not None:
                diff.unchanged += 1
                diff.unchanged_rows += [_whole_row(new)] if whole else []
        elif old_id is None:
            added[new_id] = _whole_row(new)
        elif new_id is None:
            removed[old_id] = _whole_row(old)
        else:
            diff.modified.append((_whole_row(old), _whole_row(new)))
    _settle(diff, removed, added)
    return diff


def _settle(diff: ImageDiff, removed: dict[int, Json], added: dict[int, Json]) -> None:
    again = partners(map(_lonely, removed.values()), map(_lonely, added.values()))
    diff.modified += [(removed.pop(old), added.pop(new)) for old, new in again]
    diff.modified.sort(key=lambda pair: pair[1]["id"])
    diff.removed, diff.added = list(removed.values()), list(added.values())


def _lonely(row: Json) -> Lonely:
    return Lonely(row["id"], row["type"], row["class_key"], row["bbox"])
