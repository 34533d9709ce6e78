"""All formats of one pass: they agree, repeat themselves, and stay small in memory."""

from __future__ import annotations

import ast
import errno
import fcntl
import hashlib
import io
import json
import os
import random
import tracemalloc
import zipfile
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

import exports.writer
import exports.zipstream
from exports.formats import FORMATS
from exports.writer import Hashing, ReadyImages, Twin, write_all
from tests.exports.builders import a_box, a_dataset, a_row, an_image, many_images, written
from tests.exports.test_dice import all_types

POLYGONS = [[[1.5, 2.25], [100, 7], [60, 80.125]], [[0, 0], [640, 0], [640, 480]]]


def detection():
    images = [
        an_image(1, a_box(1, [10.123456, 20.5, 100.25, 50]), a_box(2, [600, 400, 100, 200], class_key="k-dog")),
        an_image(2, a_row(3, "no_object")),
        an_image(3),
        an_image(4, a_box(4, [0, 0, 640, 480], state="verified")),
    ]
    return a_dataset(has_background=True), images


def segmentation():
    rows = [
        a_row(at, "polygon", geometry={"type": "polygon", "rings": [ring]}) for at, ring in enumerate(POLYGONS, start=1)
    ]
    return a_dataset("segmentation"), [an_image(1, *rows), an_image(2)]


def read_all(dataset, images) -> tuple[dict, dict, zipfile.ZipFile]:
    """The three files of a single pass over a generator."""
    outs = {name: io.BytesIO() for name in FORMATS}
    write_all((image for image in images), [FORMATS[name].writer(dataset, out) for name, out in outs.items()])
    archive = zipfile.ZipFile(outs["yolo"])
    return json.loads(outs["dice"].getvalue()), json.loads(outs["coco"].getvalue()), archive


def yolo_rows(archive: zipfile.ZipFile, file_name: str) -> list[list[float]]:
    text = archive.read(f"labels/{Path(file_name).with_suffix('.txt')}").decode()
    return [[float(value) for value in line.split()] for line in text.splitlines()]


def clipped(box: list[float], image: dict) -> list[float]:
    """Edges of a box as shares, clipped to the image."""
    x, y, w, h = box
    edges = [x / image["width"], y / image["height"], (x + w) / image["width"], (y + h) / image["height"]]
    return [min(max(edge, 0), 1) for edge in edges]


@pytest.mark.parametrize("made", [detection, segmentation])
def test_images_and_splits_agree(made):
    dice, coco, archive = read_all(*made())
    assert [image["id"] for image in coco["images"]] == [image["id"] for image in dice["images"]]
    for split in ("train", "val", "test"):
        names = [f"./images/{image['file_name']}" for image in dice["images"] if image["split"] == split]
        assert archive.read(f"{split}.txt").decode().split() == names


@pytest.mark.parametrize("made", [detection, segmentation])
def test_dice_and_coco_agree_annotation_by_annotation(made):
    dice, coco, _ = read_all(*made())
    objects = [
        (entry["id"], image["id"], entry["category_id"] + 1, entry["bbox"], entry["area"], entry["iscrowd"])
        for image in dice["images"]
        for entry in image["annotations"]
        if entry["type"] != "no_object"
    ]
    fields = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
    assert [tuple(entry[name] for name in fields) for entry in coco["annotations"]] == objects


def test_dice_and_yolo_agree_box_by_box():
    dice, _, archive = read_all(*detection())
    for image in dice["images"]:
        objects = [entry for entry in image["annotations"] if entry["type"] == "bbox"]
        for entry, row in zip(objects, yolo_rows(archive, image["file_name"]), strict=True):
            index, cx, cy, w, h = row
            assert index == entry["class_id"]
            edges = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
            assert edges == pytest.approx(clipped(entry["bbox"], image), abs=1e-6)


def test_dice_coco_and_yolo_agree_point_by_point():
    dice, coco, archive = read_all(*segmentation())
    image = dice["images"][0]
    for entry, other, row in zip(
        image["annotations"], coco["annotations"], yolo_rows(archive, image["file_name"]), strict=True
    ):
        assert other["segmentation"] == entry["segmentation"]
        points = entry["segmentation"][0]
        shares = [value / (image["height"] if at % 2 else image["width"]) for at, value in enumerate(points)]
        assert row == [entry["class_id"], *[pytest.approx(share, abs=1e-6) for share in shares]]


# Bytes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_equal_rows_make_equal_bytes(name):
    assert written(name, *all_types("detection", "published")) == written(name, *all_types("detection", "published"))


@pytest.mark.parametrize("name", FORMATS)
def test_kept_pieces_make_the_same_file_as_fresh_ones(name):
    dataset, images = all_types("segmentation", "published")
    fresh, kept = io.BytesIO(), []

    def keep(batch, made, _) -> None:
        ids = array("q", [image.id for image in batch])
        kept.append(ReadyImages(ids, array("q", [1] * len(ids)), made))

    said = write_all(images, [FORMATS[name].writer(dataset, fresh)], keep)
    again = io.BytesIO()
    assert sum(len(each.ids) for each in kept) == len(images)
    assert write_all(kept, [FORMATS[name].writer(dataset, again)]) == said
    assert again.getvalue() == fresh.getvalue() == written(name, dataset, images)[0]


# Memory -------------------------------------------------------------------------------------------


def peak_of(count: int, folder: Path) -> int:
    """The most bytes held while writing every format of ``count`` images to disk."""
    outs = [(folder / file.file_name).open("wb") for file in FORMATS.values()]
    tracemalloc.start()
    write_all(
        many_images(count),
        [file.writer(a_dataset(), out) for file, out in zip(FORMATS.values(), outs, strict=True)],
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    for out in outs:
        out.close()
    return peak


def test_memory_does_not_grow_with_the_images(tmp_path, monkeypatch):
    # Buffers so small that both runs fill them: what still grows would grow for ever. Allowed are the digests of the
    # label names of the zip, 32 bytes an image in the table and 16 in the one it grows out of.
    monkeypatch.setattr(exports.writer, "GATHER", 4096)
    monkeypatch.setattr(exports.zipstream, "BITE", 4096)
    peak_of(10, tmp_path)  # what the first use loads stays, and belongs to neither figure
    few, many = peak_of(1_000, tmp_path), peak_of(4_000, tmp_path)
    assert many - few < 48 * 3_000


def test_nothing_is_written_outside_the_folder_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert peak_of(5, tmp_path) > 0


# The room ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(Path(exports.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_the_room_knows_neither_tables_nor_http_nor_the_rooms_above(path):
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [
        name
        for node in found
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    ]
    forbidden = (
        "django.db",
        "django.http",
        "rest_framework",
        "annotations",
        "versions",
        "labeler",
        "celery",
        "psycopg",
    )
    assert not [name for name in names if name.startswith(forbidden)]


def test_what_the_disk_refuses_while_a_file_is_written_is_said(monkeypatch):
    monkeypatch.setattr(exports.writer, "BRING", 1)
    reader, writer = os.pipe()
    # No disk is behind a pipe, and the system says so.
    with open(reader, "rb"), open(writer, "wb") as out, ThreadPoolExecutor(1) as aside, ThreadPoolExecutor(1) as disk:
        file = Hashing(out, aside, disk)
        file.write(b"one")
        with pytest.raises(OSError):
            file.settle()
        file.write(b"two")
        with pytest.raises(OSError):
            file.settle()


def test_what_the_disk_refuses_is_said_while_the_file_is_written(monkeypatch):
    monkeypatch.setattr(exports.writer, "HOLD", 1)
    with open("/dev/full", "wb", buffering=0) as out, ThreadPoolExecutor(1) as aside:
        file = Hashing(out, aside)
        file.write(b"one")
        with pytest.raises(OSError, match="No space left on device"):
            file.write(b"two")


def test_no_more_than_a_few_handfuls_wait_to_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr(exports.writer, "HOLD", 100)
    go_on, held = Event(), []
    with (tmp_path / "file").open("wb") as out, ThreadPoolExecutor(1) as aside, ThreadPoolExecutor(1) as other:
        aside.submit(go_on.wait, 30)
        file = Hashing(out, aside)

        def write() -> None:
            for _ in range(10):
                file.write(b"x" * 60)
                held.append(file.size)

        writing = other.submit(write)
        try:
            writing.result(0.5)
        except TimeoutError:
            waited_at = held[-1]
        finally:
            go_on.set()
        assert waited_at == 180, "the second handful waits for the first"
        writing.result()
        file.settle()
    assert (tmp_path / "file").read_bytes() == b"x" * 600


def test_a_twin_is_whole_wherever_the_file_was_when_it_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(exports.writer, "BRING", 1000)
    monkeypatch.setattr(exports.writer, "HOLD", 100)
    with (
        (tmp_path / "file").open("wb") as out,
        Twin(tmp_path / "file") as twin,
        ThreadPoolExecutor(1) as aside,
        ThreadPoolExecutor(1) as disk,
    ):
        file = Hashing(out, aside, disk, twin)
        for number in range(500):
            file.write(bytes([number % 256]) * (number % 70))
        aside.submit(lambda: None).result()
        disk.submit(lambda: None).result()
        assert twin.path.stat().st_size > 0, "it does not wait for the end"
        file.settle()
        assert twin.path.read_bytes() == (tmp_path / "file").read_bytes()
        assert twin.path.stat().st_size == file.size == sum(number % 70 for number in range(500))


@pytest.mark.parametrize("refused", ["never", "when it is opened", "when it is written"])
@pytest.mark.parametrize("size", [0, 1, 4096, 3 * 4096, 10 * 4096 + 17, 3_000_001])
def test_a_twin_is_whole_whether_the_system_lets_it_past_its_cache_or_not(tmp_path, monkeypatch, refused, size):
    opened, write = os.open, os.write

    def no_direct(path, flags, *how) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return opened(path, flags, *how)

    def no_direct_write(number, piece) -> int:
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return write(number, piece)

    if refused == "when it is opened":
        monkeypatch.setattr(os, "open", no_direct)
    elif refused == "when it is written":
        monkeypatch.setattr(os, "write", no_direct_write)
    content = random.Random(size).randbytes(size)
    with (tmp_path / "file").open("wb", buffering=0) as out, Twin(tmp_path / "file") as twin:
        out.write(content[: size // 2])
        twin.follow()
        assert twin.path.stat().st_size <= size // 2
        out.write(content[size // 2 :])
        twin.follow()
        twin.finish()
        twin.finish()
    assert twin.path.read_bytes() == content


def test_a_twin_that_the_disk_refuses_gives_way_and_costs_the_file_nothing(tmp_path, caplog):
    # A device that is always full.
    (tmp_path / "file.twin").symlink_to("/dev/full")
    with (tmp_path / "file").open("wb") as out, Twin(tmp_path / "file") as twin, ThreadPoolExecutor(2) as others:
        file = Hashing(out, others, others, twin)
        file.write(b"one")
        file.settle()
        file.settle()
    assert twin.path is None and not (tmp_path / "file.twin").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"one"
    assert caplog.messages == [f"There is no second file of {tmp_path / 'file'}: No space left on device."]


def test_a_file_brought_to_the_disk_in_parts_is_whole(tmp_path, monkeypatch):
    brought, bring = [], os.fdatasync
    monkeypatch.setattr(exports.writer, "BRING", 1000)
    monkeypatch.setattr(os, "fdatasync", lambda number: brought.append(number) or bring(number))
    parts = [bytes([number]) * 700 for number in range(50)]
    with (tmp_path / "file").open("wb") as out, ThreadPoolExecutor(1) as aside, ThreadPoolExecutor(1) as disk:
        file = Hashing(out, aside, disk)
        for part in parts:
            file.write(part)
            file.settle()
    content = (tmp_path / "file").read_bytes()
    # A part is brought with the write that makes it long enough, two parts of 700 bytes.
    assert len(brought) == 25
    assert content == b"".join(parts)
    assert (file.size, file.sha256()) == (len(content), hashlib.sha256(content).hexdigest())
