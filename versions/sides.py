"""The two sides of a comparison as SQL: frozen rows of a version, live rows, or the file of a working save.

Frozen states are stored once, so two versions differ in what opened or closed between their ordinals; live rows differ
from the newest version only on images that are marked. Those sources cost what differs. A working save is a file: it is
staged in a temporary table and costs its whole size, as does whatever it is compared with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, OuterRef

from annotations.geometry import checked
from annotations.models import ProjectTask
from exports import dice_reader
from exports.canonical import compact
from exports.errors import BrokenFile
from exports.rows import FileAnnotation, FileHeader, FileImage, Problem
from versions import artifacts, snapshots
from versions.errors import InvalidRequest, NoWorkingSave
from versions.models import Artifact, FrozenVersion, Version
from versions.snapshots import ANNOTATION, EACH_FIRST, EVERYTHING, LISTED, LIVE_IMAGES, SETTLED
from versions.staging import copy_rows
from versions.states import VersionType

LIVE = -1
LIVE_NUMBER = "live"
BATCH = 1000

Json = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """One side: a version, or the live rows (None); which annotation states count; its classes by key, each with
    ``name`` and ``retired`` (None where a file does not tell)."""

    version: Version | None
    states: tuple[str, ...] = EVERYTHING
    classes: Json | None = None

    @property
    def number(self) -> str:
        """``v1.0``, or ``live``."""
        return self.version.version_number if self.version else LIVE_NUMBER

    @property
    def pk(self) -> int:
        """The version's id; -1 for live rows."""
        return self.version.pk if self.version else LIVE

    @property
    def kind(self) -> str:
        """Where its rows are: frozen, live or file."""
        if self.version is None:
            return "live"
        return "frozen" if self.version.version_type == VersionType.PUBLISHED else "file"

    @property
    def ordinal(self) -> int | None:
        """Of a published version."""
        return self.version.ordinal if self.version else None

    def class_name(self, key: str | None) -> str | None:
        """What this side calls a class; None if it does not know it."""
        entry = (self.classes or {}).get(key or "")
        return entry["name"] if entry else None


def in_order(a: Version | None, b: Version | None) -> tuple[Side, Side]:
    """The older and the newer side; live rows are the newest there are."""
    older, newer = sorted((Side(a), Side(b)), key=_age)
    return older, newer


def _age(side: Side) -> tuple[Any, ...]:
    version = side.version
    if version is None:
        return (1,)
    return 0, version.created_at, version.ordinal or 0, version.pk


def selection(old: Side, new: Side, include_draft: bool | None) -> tuple[Side, Side]:
    """The sides with the annotation states that count. A published version holds what it froze; live rows and saves
    are looked at as the published side is, or with or without drafts where ``include_draft`` says so; two that are
    not published with everything."""
    published = [side for side in (old, new) if side.kind == "frozen"]
    states: tuple[str, ...] = EVERYTHING
    if include_draft is not None:
        states = EVERYTHING if include_draft else SETTLED
    elif published:
        states = _frozen_states(published[0])
    return _selected(old, states), _selected(new, states)


def _selected(side: Side, states: tuple[str, ...]) -> Side:
    return replace(side, states=_frozen_states(side) if side.kind == "frozen" else states)


def _frozen_states(side: Side) -> tuple[str, ...]:
    assert side.version is not None
    return tuple(side.version.manifest["states"])


def with_classes(side: Side, task: ProjectTask) -> Side:
    """The side with its classes; a save's are known once its file is staged."""
    if side.kind == "file":
        return side
    listed = side.version.manifest["classes"] if side.version else snapshots.class_list(task)
    known = {entry["class_id"]: {"name": entry["name"], "retired": entry["retired"]} for entry in listed}
    return replace(side, classes=known)


# Rows and listed images of a side, whole ------------------------------------------------------


def of_side(sql: str, side: str) -> str:
    """The SQL for that side (old or new). Not str.format: SQL that makes JSON text has braces of its own."""
    return sql.replace("{side}", side)


WHOLE_ROWS = {
    "frozen": """
    SELECT v.image_id, s.annotation_id, s.snapshot_data AS data
    FROM version_images v CROSS JOIN LATERAL frozen_at(v.task_id, v.image_id, %({side}_ordinal)s) s
    WHERE v.task_id = %(task)s AND v.opened <= %({side}_ordinal)s
      AND (v.closed IS NULL OR v.closed > %({side}_ordinal)s)
      AND (%(images)s::bigint[] IS NULL OR v.image_id = ANY(%(images)s))""",
    "live": f"""
    SELECT a.image_id, a.id AS annotation_id, {ANNOTATION} AS data
    FROM annotations a LEFT JOIN classes c ON c.id = a.class_id
    WHERE a.project_id = %(project)s AND a.task_type = %(task_type)s AND a.state = ANY(%(states)s)
      AND (%(images)s::bigint[] IS NULL OR a.image_id = ANY(%(images)s))""",
    "file": """
    SELECT f.image_id, f.annotation_id, f.data FROM compared_rows f
    WHERE f.side = '{side}' AND f.state = ANY(%(states)s)
      AND (%(images)s::bigint[] IS NULL OR f.image_id = ANY(%(images)s))""",
}

# A save lists every image somebody started; what counts here is what a publish would list.
WHOLE_LISTS = {
    "frozen": """
    SELECT v.image_id FROM version_images v
    WHERE v.task_id = %(task)s AND v.opened <= %({side}_ordinal)s
      AND (v.closed IS NULL OR v.closed > %({side}_ordinal)s)
      AND (%(images)s::bigint[] IS NULL OR v.image_id = ANY(%(images)s))""",
    "live": f"SELECT i.id AS image_id {LIVE_IMAGES.format(first=EACH_FIRST, listed=LISTED)}",
    "file": """
    SELECT f.image_id FROM compared_images f
    WHERE f.side = '{side}' AND (%(images)s::bigint[] IS NULL OR f.image_id = ANY(%(images)s))
      AND (EXISTS (SELECT FROM compared_rows r
                   WHERE r.side = f.side AND r.image_id = f.image_id AND r.state = ANY(%(states)s))
           OR f.completed AND NOT EXISTS (SELECT FROM compared_rows r
                                          WHERE r.side = f.side AND r.image_id = f.image_id))""",
}

# What may differ between a published version and a later one, or live rows ---------------------
# ``last`` is the ordinal of the newest version looked at, ``between`` the versions after the older side up to it. Those
# opened and closed rows of no images but those they looked at, unless one looked at ``everything``. Where one of them
# changed an image, all its annotations are compared.

TOUCHED = """
    SELECT m.image_id FROM image_marks m WHERE m.project_id = %(project)s AND m.task_type = %(task_type)s
    UNION SELECT a.image_id FROM annotations a
    WHERE a.project_id = %(project)s AND a.task_type = %(task_type)s AND a.state = ANY(%(other_states)s)"""
NOTHING_TOUCHED = "SELECT 0::bigint AS image_id WHERE false"
IN_TOUCHED = "IN (SELECT t.image_id FROM touched t)"
LOOKED_AT = """(%(everything)s OR {image} = ANY(ARRAY(
        SELECT unnest(f.images) FROM frozen_versions f WHERE f.version_id = ANY(%(between)s))))"""
IMAGE_LOOKED_AT = LOOKED_AT.format(image="v.image_id")
CHANGED_IMAGES = f"""
        SELECT f.image_id FROM frozen_annotations f
        WHERE f.task_id = %(task)s AND f.opened > %(old_ordinal)s AND f.opened <= %(last)s
          AND {LOOKED_AT.format(image="f.image_id")}"""

CHANGED_ROWS = {
    "old": f"""
    SELECT c.image_id, s.annotation_id, s.snapshot_data AS data
    FROM ({CHANGED_IMAGES} UNION SELECT t.image_id FROM touched t) c
    CROSS JOIN LATERAL frozen_at(%(task)s, c.image_id, %(old_ordinal)s) s""",
    "new": f"""
    SELECT c.image_id, s.annotation_id, s.snapshot_data AS data
    FROM ({CHANGED_IMAGES} EXCEPT SELECT t.image_id FROM touched t) c
    CROSS JOIN LATERAL frozen_at(%(task)s, c.image_id, %(last)s) s""",
    "live": f" UNION ALL {WHOLE_ROWS['live']} AND a.image_id {IN_TOUCHED}",
}
CHANGED_LISTS = {
    "old": f"""
    SELECT v.image_id FROM version_images v
    WHERE v.task_id = %(task)s AND v.closed > %(old_ordinal)s AND v.closed <= %(last)s AND v.opened <= %(old_ordinal)s
      AND {IMAGE_LOOKED_AT} AND v.image_id NOT {IN_TOUCHED}
    UNION ALL {of_side(WHOLE_LISTS["frozen"], "old")} AND v.image_id {IN_TOUCHED}""",
    "new": f"""
    SELECT v.image_id FROM version_images v
    WHERE v.task_id = %(task)s AND v.opened > %(old_ordinal)s AND v.opened <= %(last)s
      AND (v.closed IS NULL OR v.closed > %(last)s) AND {IMAGE_LOOKED_AT} AND v.image_id NOT {IN_TOUCHED}""",
    "live": f" UNION ALL {WHOLE_LISTS['live']} AND s.image_id {IN_TOUCHED}",
}


@dataclass(frozen=True)
class Sources:
    """SQL of ``image_id, annotation_id, data`` (rows) and ``image_id`` (lists) of both sides; rows both sides share
    unchanged may be missing from both, unless it is ``whole``. ``touched`` is a query they refer to."""

    touched: str
    old_rows: str
    new_rows: str
    old_list: str
    new_list: str
    whole: bool


def sources(old: Side, new: Side, images: Sequence[int] | None = None) -> Sources:
    """Where the rows to compare come from: what may differ where that is known, else everything (of ``images``)."""
    if images is not None or old.kind == "file" or new.kind == "file":
        return Sources(
            NOTHING_TOUCHED,
            of_side(WHOLE_ROWS[old.kind], "old"),
            of_side(WHOLE_ROWS[new.kind], "new"),
            of_side(WHOLE_LISTS[old.kind], "old"),
            of_side(WHOLE_LISTS[new.kind], "new"),
            whole=True,
        )
    live = new.kind == "live"
    return Sources(
        TOUCHED if live else NOTHING_TOUCHED,
        CHANGED_ROWS["old"],
        CHANGED_ROWS["new"] + (CHANGED_ROWS["live"] if live else ""),
        CHANGED_LISTS["old"],
        CHANGED_LISTS["new"] + (CHANGED_LISTS["live"] if live else ""),
        whole=False,
    )


def parameters(old: Side, new: Side, task: ProjectTask) -> Json:
    """Values for the SQL of this module; inside the transaction that runs it."""
    published = Version.objects.of(task.project_id, task.task_type).published().filter(ordinal__gt=old.ordinal or 0)
    if new.kind == "frozen":
        published = published.filter(ordinal__lte=new.ordinal)
    whole = Exists(FrozenVersion.objects.filter(version=OuterRef("pk"), images=None))
    later = list(published.annotate(whole=whole).order_by("ordinal").values_list("pk", "ordinal", "whole"))
    loose = new.states if new.kind != "frozen" else old.states
    return {
        "project": task.project_id,
        "task_type": task.task_type,
        "task": task.pk,
        "states": list(loose),
        "old_ordinal": old.ordinal,
        "new_ordinal": new.ordinal,
        "last": later[-1][1] if later else old.ordinal,
        "between": [pk for pk, *_ in later],
        "everything": any(whole for *_, whole in later),
        "other_states": _states_apart(task, loose) if new.kind == "live" else [],
        "images": None,
    }


def _states_apart(task: ProjectTask, states: Iterable[str]) -> list[str]:
    """States that either the newest published version holds or the live side counts, but not both: unmarked images
    with such rows differ as well."""
    newest = Version.objects.of(task.project_id, task.task_type).published().order_by("ordinal").last()
    return sorted(set(newest.manifest["states"]) ^ set(states)) if newest else []


# Files of working saves -----------------------------------------------------------------------

TABLES = """
DROP TABLE IF EXISTS compared_rows; DROP TABLE IF EXISTS compared_images;
CREATE TEMP TABLE compared_rows (side text, image_id bigint NOT NULL, annotation_id bigint NOT NULL,
    state text NOT NULL, data text NOT NULL) ON COMMIT DROP;
CREATE TEMP TABLE compared_images (side text, image_id bigint NOT NULL, completed boolean NOT NULL) ON COMMIT DROP;
"""
INDEXES = """
CREATE INDEX ON compared_rows (side, image_id);
ANALYZE compared_rows; ANALYZE compared_images;
"""


def kept_file(version: Version) -> Artifact:
    """The file of a working save; raises NoWorkingSave once retention has let it go."""
    kept = version.artifacts.filter(format="dice", removed_at=None).first()
    if kept is None:
        raise NoWorkingSave(
            f"The file of {version.version_number} is no longer kept (retention); compare with a newer save.",
            errors={"version_id": [f"{version.version_number} has no file any more."]},
        )
    return kept


@contextmanager
def one_moment(old: Side, new: Side, task: ProjectTask) -> Iterator[tuple[Side, Side]]:
    """A transaction in which both sides are seen at one moment, with their classes and with files staged.

    Files are fetched before it begins: nothing waits for a store inside. Raises NoWorkingSave, StoreError, BrokenFile.
    """
    files = {name: side for name, side in (("old", old), ("new", new)) if side.kind == "file"}
    if not files:
        with artifacts.one_instant():
            yield with_classes(old, task), with_classes(new, task)
        return
    with artifacts.scratch() as folder:
        paths = {name: _fetched(side, folder / name) for name, side in files.items()}
        with transaction.atomic(durable=True):
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                cursor.execute(TABLES)
            sides = {"old": with_classes(old, task), "new": with_classes(new, task)}
            for name, path in paths.items():
                sides[name] = replace(sides[name], classes=_stage(name, path, task))
            with connection.cursor() as cursor:
                cursor.execute(INDEXES)
            yield sides["old"], sides["new"]


def _fetched(side: Side, path: Path) -> Path:
    assert side.version is not None
    artifact = kept_file(side.version)
    artifacts.fetch("labeler", artifact.s3_key, path, sha256=artifact.sha256)
    return path


def _stage(side: str, path: Path, task: ProjectTask) -> Json:
    """Stage a save's rows and images; its classes by key."""
    with path.open("rb") as file:
        opened = dice_reader.open_file(file)
        if opened.header.project_id != task.project_id:
            raise InvalidRequest(f"The file of the save is of the project {opened.header.project_id}.")
        keys = {str(entry.ref): entry.key for entry in opened.header.classes}
        entries = opened.entries()
        while batch := list(islice(entries, BATCH)):
            problem = next((entry for entry in batch if isinstance(entry, Problem) and entry.skipped), None)
            if problem is not None:
                raise BrokenFile(f"{problem.where}: {problem.reason}")
            copy_rows("compared_images", ("side", "image_id", "completed"), _image_rows(side, batch))
            rows = _rows(side, batch, keys, task)
            copy_rows("compared_rows", ("side", "image_id", "annotation_id", "state", "data"), rows)
    return _file_classes(opened.header)


def _file_classes(header: FileHeader) -> Json:
    return {entry.key: {"name": entry.name, "retired": None} for entry in header.classes if entry.key}


def _image_rows(side: str, batch: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    for entry in batch:
        if isinstance(entry, FileImage):
            yield side, int(entry.file_id), entry.status == "completed"


def _rows(side: str, batch: Iterable[Any], keys: Json, task: ProjectTask) -> Iterator[tuple[Any, ...]]:
    for entry in batch:
        if isinstance(entry, FileAnnotation):
            data = compact(_row(entry, keys, task)).decode()
            yield side, int(entry.file_image_id), entry.id, entry.state, data


def _row(entry: FileAnnotation, keys: Json, task: ProjectTask) -> Json:
    """A save's annotation as the full row that frozen and live ones are."""
    shape = checked(entry.type, entry.geometry, width=None, height=None)
    marker = {"task_type": task.task_type} if entry.type == "no_object" else {}
    told = ("id", "state", "confidence", "notes", "version", "client_id", "created_by", "created_at", "updated_by",
            "updated_at", "confirmed_by", "confirmed_at")  # fmt: skip
    return {
        **{name: getattr(entry, name) for name in told},
        "type": shape.type,
        "geometry": shape.geometry,
        "bbox": shape.bbox,
        "area": shape.area,
        "class_key": None if entry.class_ref is None else keys.get(str(entry.class_ref)),
        "attributes": {**entry.attributes, **marker},
    }
