"""Object names: every key of the contract, and nothing that leaves its place."""

from __future__ import annotations

import pytest

from exports import keys
from exports.errors import ExportError

P, D = "proj_1", "ds_1"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (keys.project_record(P), "exports/proj_1/project.json"),
        (keys.image_list(P), "exports/proj_1/images.jsonl.gz"),
        (keys.published(P, "v1.0", "dice"), "exports/proj_1/v1.0/annotations_dice.json"),
        (keys.published(P, "v1.0", "coco"), "exports/proj_1/v1.0/annotations_coco.json"),
        (keys.published(P, "v12.3", "yolo"), "exports/proj_1/v12.3/annotations_yolo.zip"),
        (
            keys.published(P, "v1.0", "dice", "segmentation"),
            "exports/proj_1/segmentation/v1.0/annotations_dice.json",
        ),
        (keys.manifest(P, "v1.0"), "exports/proj_1/v1.0/manifest.json"),
        (keys.frozen_rows(P, "v1.0", "line"), "exports/proj_1/line/v1.0/frozen_rows.jsonl.gz"),
        (keys.working_retained(P, "v0.7"), "exports/proj_1/working/v0.7/annotations_dice.json"),
        (keys.working_retained_metadata(P, "v0.7"), "exports/proj_1/working/v0.7/metadata.json"),
        (keys.working_retained(P, "v0.7", "line"), "exports/proj_1/working/line/v0.7/annotations_dice.json"),
        (keys.pieces(P, "published"), "exports/proj_1/published.pieces"),
        (keys.pieces(P, "working", "line"), "exports/proj_1/line/working.pieces"),
        (keys.working_latest(D), "datasets/ds_1/working/annotations.json"),
        (keys.working_metadata(D), "datasets/ds_1/working/metadata.json"),
        (keys.working_latest(D, "line"), "datasets/ds_1/working/line/annotations.json"),
        (keys.working_metadata(D, "line"), "datasets/ds_1/working/line/metadata.json"),
        (
            keys.adhoc(P, "export_20260112_110000", "j-1", "yolo"),
            "exports/proj_1/adhoc/export_20260112_110000-j-1/annotations_yolo.zip",
        ),
        (keys.official("datasets/", D), "datasets/ds_1/annotations.json"),
        (keys.official("", D), "ds_1/annotations.json"),
        (keys.official_of_task("datasets/", D, "keypoint"), "datasets/ds_1/annotations_pose.json"),
        (keys.official_of_task("a/b/", D, "detection"), "a/b/ds_1/annotations_detection.json"),
    ],
)
def test_keys_are_those_of_the_contract(made, expected):
    assert made == expected


@pytest.mark.parametrize(
    "part", ["", ".", "..", "a/b", "../x", "a..b", "-x", "a b", "a\n", "é", "x" * 101, "a%2fb", "a\\b"]
)
def test_an_unsafe_id_becomes_no_key(part):
    for make in (keys.project_record, keys.working_latest, lambda bad: keys.official("datasets/", bad)):
        with pytest.raises(ExportError, match="cannot be part of an object name"):
            make(part)


@pytest.mark.parametrize("number", ["1.0", "v1", "v01.0", "v1.0/", "v1.0\n", "latest", "v-1.0", "v٣.0"])
def test_only_version_numbers_name_versions(number):
    with pytest.raises(ExportError, match="is not a version number"):
        keys.published(P, number, "dice")
    with pytest.raises(ExportError, match="is not a version number"):
        keys.working_retained(P, number)


def test_tasks_formats_exports_and_prefixes_are_checked():
    with pytest.raises(ExportError, match=r"'\.\./x' is not a task"):
        keys.manifest(P, "v1.0", "../x")
    with pytest.raises(ExportError, match="'pascal' is not a format"):
        keys.published(P, "v1.0", "pascal")
    with pytest.raises(ExportError, match="does not name an export"):
        keys.adhoc(P, "x", "j", "dice")
    for prefix in ("datasets", "/", "../", "a//"):
        with pytest.raises(ExportError):
            keys.official(prefix, D)
