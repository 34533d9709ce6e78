"""Valid annotation files of every format, damaged on purpose: each is imported cleanly or refused by name, and a
refused one leaves nothing behind. `make hostile` tries thousands."""

from __future__ import annotations

import copy
import io
import json
import random
import re
import resource
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st

from annotations import images, projects
from annotations.errors import AnnotationError
from annotations.geometry import TYPES, checked
from annotations.images import FoundImage
from annotations.models import Annotation, AnnotationHistory, Image, ImageStatus, LabelClass, Project
from annotations.progress import recount
from annotations.states import TASK_ALIASES
from exports.errors import BrokenFile
from tests.cases import made_up
from tests.exports.test_foreign_readers import CVAT, packed, region
from tests.exports.test_foreign_readers import task as studio_task
from tests.world import World, a_box, a_world
from versions import uploads
from versions.errors import VersionError

pytestmark = pytest.mark.django_db

CONTRACT = Path(__file__).resolve().parent.parent / "golden" / "contract"
TASKS = ("detection", "segmentation", "keypoint", "line", "classification", "geometry")
# What reading may cost in memory beyond what the process has: the files here are small.
MOST_MEMORY = 256 * 1024**2
ERRORS = (BrokenFile, VersionError, AnnotationError)

STUDIO = [
    studio_task(
        region("rectanglelabels", x=10, y=20, width=50, height=40, rotation=0, rectanglelabels=["car"]),
        region("polygonlabels", points=[[0, 0], [50, 0], [50, 50]], polygonlabels=["road"]),
        region("ellipselabels", x=50, y=50, radiusX=10, radiusY=20, ellipselabels=["hole"]),
        {"type": "choices", "value": {"choices": ["dark"]}},
        image="/data/upload/1/0a1b2c3d-0001.jpg",
    )
]
YAML = "names: [cat, dog]\nkpt_shape: [2, 3]\n"
ROWS = {
    "detection": "0 0.5 0.5 0.25 0.5\n1 0.2 0.2 0.1 0.1 0.9\n",
    "segmentation": "0 0.1 0.1 0.5 0.1 0.5 0.5\n1 0.5 0.5 0.25 0.5\n",
    "keypoint": "0 0.5 0.5 0.25 0.5 0.4 0.4 2 0.6 0.6 1\n",
    "classification": "1\n",
}


def make_world() -> World:
    """A project of every task with the images all those files speak of, and something drawn already."""
    world = a_world(tasks=TASKS)
    listed = [entry for file in SEEDS_JSON for entry in file["images"]]
    sizes = {entry["file_name"]: (entry.get("width") or None, entry.get("height") or None) for entry in listed}
    found = [FoundImage(name, *size, 3, 10, "", None) for name, size in (sizes | {"0001.jpg": (200, 100)}).items()]
    images.register_images(world.project, found)
    a_box(world, world.images[0])
    return world


SEEDS_JSON = [
    json.loads(path.read_text())
    for path in sorted([*CONTRACT.glob("[!d]*.json"), CONTRACT / "detection.json", *CONTRACT.glob("reader/*.json")])
]


def a_seed(dice: random.Random) -> tuple[str, str, Any]:
    """A format, a task and a valid file of it: JSON as values, XML as text, a zip as its members."""
    kind = dice.choice(["json", "json", "json", "yolo", "cvat", "label_studio"])
    if kind == "json":
        file = dice.choice(SEEDS_JSON)
        said = file.get("task_type", "detection")
        return ("coco" if "categories" in file else "dice"), str(TASK_ALIASES.get(said, said)), file
    if kind == "yolo":
        task = dice.choice(list(ROWS))
        return kind, task, {"data.yaml": YAML, "labels/line-a/0001.txt": ROWS[task], "labels/line-a/0002.txt": ""}
    task = dice.choice(TASKS)
    return kind, task, CVAT.replace("a/0001.jpg", "line-a/0001.jpg") if kind == "cvat" else STUDIO


# Damage ---------------------------------------------------------------------------------------------

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**40, -0.0, 1e-300, 1e308, float("nan"), float("inf"), "", " ", "0",
    "NaN", "\0", "\ud800", "‮", "x" * 70_000, "../../../etc/passwd", "/etc/passwd", "C:\\x", "a/\n/b", "__background__",
    [], {}, [[]], [None] * 50, [1] * 5000, {"": {}}, {"type": "bbox"}, "2026-13-45T99:99:99Z", "1.0", "9" * 400,
]  # fmt: skip


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in it something stands."""
    keys = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, each in keys for found in [(*place, key), *places(each, (*place, key))]]


def damaged_json(value: Any, dice: random.Random) -> Any:
    """A copy with up to three things odd, gone, doubled or exchanged."""
    for _ in range(dice.randint(0, 3)):
        value = json.loads(json.dumps(value))
        *above, last = dice.choice(places(value) or [()]) or (None,)
        if last is None:
            break
        parent = value
        for key in above:
            parent = parent[key]
        deed = dice.choice(["odd", "odd", "gone", "doubled", "deep", "moved"])
        if deed == "gone":
            del parent[last]
        elif deed == "doubled" and isinstance(parent, list):
            parent.extend([parent[last]] * dice.choice([1, 5]))
        elif deed == "moved":
            parent[last] = parent
            value = _cut(value)
        else:
            parent[last] = _deep(dice.choice([40, 70, 300])) if deed == "deep" else copy.copy(dice.choice(ODD))
    return value


def _deep(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def _cut(value: Any, above: tuple[int, ...] = ()) -> Any:
    """The same without a circle: what holds itself is empty there."""
    if id(value) in above:
        return None
    if isinstance(value, dict):
        return {key: _cut(each, (*above, id(value))) for key, each in value.items()}
    return [_cut(each, (*above, id(value))) for each in value] if isinstance(value, list) else value


WORDS = [
    "",
    "-1",
    "0",
    "nan",
    "inf",
    "1e999",
    "9" * 400,
    "x",
    "&#0;",
    "\0",
    "1_0",
    "0x10",
    "١",
    "../x",
    "true",
    "1;2,3",
]
PLACES = {"number": r"-?\d+\.?\d*", "quoted": r'"[^"]*"', "line": r"[^\n]*\n", "double": r"[^\n]*\n", "tag": r"</?\w+"}


def damaged_text(text: str, dice: random.Random) -> str:
    """A copy with up to four words, numbers or lines odd, gone or doubled."""
    for _ in range(dice.randint(0, 4)):
        deed = dice.choice(["number", "number", "quoted", "line", "double", "tag"])
        found = list(re.finditer(PLACES[deed], text))
        if not found:
            continue
        at = dice.choice(found)
        word = dice.choice(WORDS)
        instead = {"number": word, "quoted": f'"{word}"', "line": "", "double": at[0] * 3, "tag": f"<{word}"}[deed]
        text = text[: at.start()] + instead + text[at.end() :]
    return text


def damaged_bytes(content: bytes, dice: random.Random) -> bytes:
    """One time in two as it is, else cut, with bytes changed, or in another encoding."""
    deed = dice.choice(["", "", "", "", "cut", "noise", "utf-16", "latin-1", "bom"])
    if deed == "cut":
        return content[: dice.randrange(len(content) + 1)]
    if deed == "noise":
        at = dice.randrange(len(content) + 1)
        return content[:at] + dice.randbytes(dice.choice([1, 4, 60])) + content[at + dice.choice([0, 1, 4]) :]
    if deed in ("utf-16", "latin-1"):
        return content.decode("utf-8", "replace").encode(deed, "replace")
    return b"\xef\xbb\xbf" + content if deed == "bom" else content


MEMBERS: list[Callable[[random.Random], tuple[str, str | bytes]]] = [
    lambda dice: ("../labels/x.txt", "0 .5 .5 .1 .1"),
    lambda dice: ("/labels/x.txt", "0 .5 .5 .1 .1"),
    lambda dice: ("labels/" + "d/" * 300 + "x.txt", "0 .5 .5 .1 .1"),
    lambda dice: ("labels/line-a/0001.TXT", "0 .5 .5 .1 .1"),
    lambda dice: ("labels/bomb.txt", b"0" * 5_000_000),
    lambda dice: ("data.yaml", "a: &a [x,x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b]\nnames: [*c,*c,*c,*c]\n"),
    lambda dice: ("data.yaml", "names: [" * 500),
    lambda dice: ("data.yaml", dice.randbytes(40)),
    lambda dice: ("labels/line-a/0002.txt", dice.randbytes(40)),
    lambda dice: ("labels/\x00.txt", "0"),
]  # fmt: skip


def damaged_zip(members: dict[str, str], dice: random.Random) -> bytes:
    """The zip, some of its members damaged, perhaps a hostile one among them."""
    changed: dict[str, str | bytes] = {name: damaged_text(text, dice) for name, text in members.items()}
    if dice.random() < 0.3:
        changed |= [dice.choice(MEMBERS)(dice)]
    if dice.random() < 0.1:
        del changed[dice.choice(list(changed))]
    out = io.BytesIO()
    packing = dice.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(out, "w", packing) as archive:
        for name, content in changed.items():
            archive.writestr(name, content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
    return out.getvalue()


def a_damaged_file(dice: random.Random, project: Project) -> tuple[str, str, bytes]:
    """Format, task and bytes; one file in three says that this very project wrote it."""
    name, task, seed = a_seed(dice)
    if name == "yolo":
        return name, task, damaged_bytes(damaged_zip(seed, dice), dice)
    if name == "cvat":
        return name, task, damaged_bytes(damaged_text(seed, dice).encode("utf-8", "replace"), dice)
    value = damaged_json(seed, dice)
    if isinstance(value, dict) and dice.random() < 0.3:
        value = {**value, "project_id": project.pk}
    return name, task, damaged_bytes(json.dumps(value).encode(), dice)


# What became of them --------------------------------------------------------------------------------


def rows_of(project: Project) -> list[Any]:
    """Everything of the project an import may touch."""
    mine = {"project": project}
    return [
        list(Annotation.objects.filter(**mine).order_by("pk").values_list("pk", "version", "state", "image")),
        AnnotationHistory.objects.filter(project_id=project.pk).count(),
        list(Image.objects.filter(**mine).order_by("pk").values_list("pk", "path", "width", "height")),
        list(ImageStatus.objects.filter(**mine).order_by("pk").values_list("pk", "status", "revision")),
        list(LabelClass.objects.filter(**mine).order_by("pk").values_list("pk", "name", "retired_at")),
    ]


def is_sound(project: Project) -> None:
    """Each annotation is one a person could have drawn there, counters are what a count gives, nothing holds a NUL."""
    for row in Annotation.objects.filter(project=project).select_related("image", "label_class"):
        assert row.annotation_type in TYPES
        checked(row.annotation_type, row.geometry, width=None, height=None)
        json.dumps([row.geometry, row.attributes, row.confidence], allow_nan=False)
        assert row.label_class is None or row.label_class.project_id == project.pk
        assert row.image.project_id == project.pk
    assert recount(project.pk, dry_run=True) == []


heard: Counter[str] = Counter()


@made_up(60)
@given(st.integers(0, 2**64), st.booleans(), st.booleans())
def test_a_damaged_file_is_imported_cleanly_or_refused_by_name(world, tmp_path, seed, atomic, dry_run):
    dice, project = random.Random(seed), world.project
    name, task_type, content = a_damaged_file(dice, project)
    path = tmp_path / "file"
    path.write_bytes(content)
    task = projects.task_of(project, task_type)
    before, memory = rows_of(project), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with transaction.atomic():
        try:
            changes, reading = uploads.add_file(
                path, task, by="adm", format_name=dice.choice([name, None]), atomic=atomic, dry_run=dry_run
            )
        except ERRORS as error:
            assert str(error)
            assert rows_of(project) == before, "a file that was refused left something behind"
            heard["refused"] += 1
        else:
            heard["imported" if reading.staged else "read as nothing"] += 1
            assert reading.staged + reading.skipped <= reading.total or reading.total == 0, reading
            left = len(before[0]) if dry_run else len(before[0]) + changes.added - changes.removed
            assert Annotation.objects.filter(project=project).count() == left
            is_sound(project)
        transaction.set_rollback(True)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024
    assert grown < MOST_MEMORY, f"{grown:,} bytes for a file of {len(content):,}"


@pytest.fixture(scope="module", autouse=True)
def _figures():
    yield
    print(f"damaged files: {dict(heard)}")


# Bombs ----------------------------------------------------------------------------------------------

LAUGHS = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
YAMLS = "".join(f"l{n + 1}: &l{n + 1} [{','.join([f'*l{n}'] * 10)}]\n" for n in range(9))
BOMBS = {
    "xml entities": f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><annotations>&l9;</annotations>'.encode(),
    "xml depth": b"<annotations>" + b"<image>" * 20_000,
    "xml attribute": b'<annotations><image name="' + b"x" * 4_000_000 + b'"/></annotations>',
    "yaml aliases": packed(**{"data_yaml": f"l0: &l0 [ha]\n{YAMLS}names: *l9\n", "labels__x.txt": "0 .5 .5 .1 .1"}),
    "yaml names": packed(**{"data_yaml": f"l0: &l0 [ha]\n{YAMLS}names: [*l9, a]\n", "labels__x.txt": "0 .5 .5 .1 .1"}),
    "yaml keys": packed(**{"data_yaml": f"l0: &l0 [ha]\n{YAMLS}names: {{*l9 : a}}\n", "labels__x.txt": "0"}),
    "zip of zeros": packed(**{"data_yaml": "names: [a]", "labels__x.txt": b"0" * 30_000_000}),
    "zip of many": packed(**{"data_yaml": "names: [a]", **{f"labels__{n}.txt": "0 .5 .5 .1 .1" for n in range(500)}}),
    "json depth": b'{"images": ' + b"[" * 100_000,
    "json objects": b'{"a":' * 30_000,
    "json text": b'{"images": [{"id": 1, "file_name": "' + b"x" * 4_000_000,
    "json number": b'{"images": [{"id": ' + b"9" * 500_000 + b', "file_name": "a/1.png"}]}',
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_little_memory_and_changes_nothing(world, tmp_path, name):
    path = tmp_path / "file"
    path.write_bytes(BOMBS[name])
    before, memory = rows_of(world.project), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        _, reading = uploads.add_file(path, world.task, by="adm")
    except ERRORS as error:
        assert 0 < len(str(error)) < 2000
    else:
        assert reading.staged == 0
    assert rows_of(world.project)[0] == before[0]
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024 < MOST_MEMORY
