"""The OpenAPI document: valid, complete, true to the answers, and its page needs nothing from elsewhere."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.test import Client

from annotations import editing, projects, shapes
from tests.world import a_box, a_client, a_user, a_world, confirmed, imported, published, saved
from versions import shapes as more
from versions import work

pytestmark = pytest.mark.django_db(transaction=True)


def keys(shape: Any) -> set[str]:
    return set(shape().fields)


def test_the_document_is_valid_and_drawn_without_a_warning(tmp_path):
    path = tmp_path / "schema.yml"
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(path))
    document = yaml.safe_load(path.read_text())
    assert document["openapi"].startswith("3.") and len(document["paths"]) > 40
    assert not [name for name in document["paths"] if name.endswith("/")]
    for name, routes in document["paths"].items():
        for method, route in routes.items():
            assert route.get("description"), f"{method} {name} is not explained"


@pytest.mark.parametrize("page", ["/api/docs/"])
def test_its_pages_need_no_other_host(page):
    text = Client().get(page).content.decode()
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', text)


def test_answers_have_the_fields_the_document_promises():
    world = a_world()
    confirmed(world, world.images[0])
    version = published(world)
    box = a_box(world, world.images[1])
    saved(world)
    a_user("olga", is_staff=True)
    olga, base = a_client("olga"), f"/api/v1/projects/{world.project.pk}"
    lock = f"/api/v1/image-locks/{world.project.pk}/a/1.png"
    diff = f"/api/v1/version-diff/versions/{version.pk}/compare/-1"
    export = olga.post(f"{base}/export", {}, format="json").json()
    work.run(export["job_id"])
    brought = work.run(imported(world, b'{"images": [], "annotations": []}').pk)
    history = olga.get(f"/api/v1/annotations/history/annotation/{box.pk}").json()[0]
    told = {
        shapes.ProjectShape: olga.get(base),
        shapes.StatsShape: olga.get(f"{base}/stats"),
        shapes.AnnotationShape: olga.get(f"/api/v1/annotations/{box.pk}"),
        shapes.AnnotationStateShape: olga.post(f"/api/v1/annotations/{box.pk}/confirm", {}, format="json"),
        shapes.StatusListShape: olga.get(f"{base}/images/status"),
        shapes.MeShape: olga.get("/api/v1/me"),
        shapes.AcquiredShape: olga.post(f"{lock}/acquire"),
        shapes.HeartbeatShape: olga.post(f"{lock}/heartbeat"),
        shapes.LockShape: olga.get(f"{lock}/status"),
        shapes.LockListShape: olga.get(f"/api/v1/image-locks/{world.project.pk}"),
        shapes.ReleasedShape: olga.delete(lock),
        shapes.NewTokenShape: olga.post("/api/v1/me/tokens", {"name": "x"}, format="json"),
        more.ImageListShape: olga.get(f"{base}/images"),
        more.ConfirmationShape: olga.post(f"{base}/images/a/1.png/confirm", {}, format="json"),
        more.VersionShape: olga.get(f"{base}/versions/v1.0"),
        more.VersionListShape: olga.get(f"{base}/versions"),
        more.SnapshotListShape: olga.get(f"{base}/versions/v1.0/snapshots"),
        more.CompareShape: olga.get(f"{diff}?include_draft=true"),
        more.CompareSummaryShape: olga.get(f"{diff}/summary"),
        more.ChangedImageListShape: olga.get(f"{diff}/images?include_draft=true"),
        more.PreviewShape: olga.get(f"{base}/versions/publish/preview"),
        more.DownloadShape: olga.get(f"/api/v1/versions/{version.pk}/download"),
        more.WorkingVersionShape: olga.get(f"{base}/working-version"),
        more.SaveShape: olga.post(f"{base}/working-version/save", {}, format="json"),
        more.AcceptedShape: olga.post(f"{base}/images/rescan"),
        more.LinkShape: olga.get(f"{base}/imports/{brought.pk}/report"),
        more.JobShape: olga.get(f"/api/v1/jobs/{export['job_id']}"),
        shapes.BatchShape: olga.post("/api/v1/annotations/batch", {"annotations": [{}]}, format="json"),
        shapes.BatchUpdateShape: olga.post("/api/v1/annotations/batch-update", {"updates": [{"id": 1}]}, format="json"),
        shapes.BatchDeleteShape: olga.post("/api/v1/annotations/batch-delete", {"annotation_ids": [9]}, format="json"),
        shapes.UndoneChangeShape: olga.post(
            f"/api/v1/annotations/history/{history['id']}/undo", {"force": True}, format="json"
        ),
        shapes.UndoneShape: olga.post(f"{base}/annotations/undo", {}, format="json"),
        shapes.RestoredDeletedShape: olga.post(f"{base}/annotations/restore-deleted", {}, format="json"),
        shapes.BulkConfirmShape: olga.post("/api/v1/annotations/bulk-confirm", {"annotation_ids": [9]}, format="json"),
    }
    for shape, answer in told.items():
        assert answer.status_code < 300, (shape, answer.content)
        assert set(answer.json()) == keys(shape), shape
    nested = {
        shapes.ClassShape: olga.get(f"{base}/classes").json()[0],
        shapes.MemberShape: olga.get(f"{base}/members").json()[0],
        shapes.HistoryShape: history,
        shapes.ClassHistoryShape: olga.get(f"{base}/classes/history").json()[0],
        shapes.TokenShape: olga.get("/api/v1/me/tokens").json()[0],
        shapes.ImageShape: told[more.ImageListShape].json()["images"][0],
        shapes.ImageStatusShape: told[shapes.StatusListShape].json()["statuses"][0],
        shapes.TaskStatsShape: told[shapes.StatsShape].json()["task_stats"][0],
        more.FileShape: told[more.VersionShape].json()["exports"][0],
        more.PlatformSyncShape: told[more.VersionShape].json()["platform_sync"],
        more.SnapshotShape: told[more.SnapshotListShape].json()["snapshots"][0],
        more.AutoSaveShape: told[more.ConfirmationShape].json()["auto_save"],
    }
    for shape, value in nested.items():
        assert set(value) == keys(shape), shape
    assert set(brought.result) | {"job_id"} == keys(more.ImportedFileShape)
    result = told[more.JobShape].json()["result"]
    assert set(result) | {"job_id"} == keys(more.ExportShape)


def test_comparisons_have_the_fields_the_document_promises():
    world = a_world()
    box = confirmed(world, world.images[0])[0]
    version = published(world)
    editing.update_annotation(box.pk, {"class_name": "Dog"}, by="ann")
    projects.change_class(box.label_class, name="Kitten", by="olga")
    projects.create_class(world.task, name="Cow", by="olga")
    query = {"include_draft": "true", "image_id": "a/1.png"}
    answer = a_client("vic").get(f"/api/v1/version-diff/versions/{version.pk}/compare/-1", query).json()
    (diff,) = answer["image_diffs"].values()
    (pair,) = diff["modified"]
    told = {
        more.CompareTotalsShape: answer["summary"],
        more.ClassCountsShape: answer["class_stats"]["Dog"],
        more.ClassChangesShape: answer["classes"],
        more.ClassRenameShape: answer["classes"]["renamed"][0],
        more.ClassNameShape: answer["classes"]["added"][0],
        more.ImageDiffShape: diff,
        more.ImageCountsShape: diff["summary"],
        more.ModifiedShape: pair,
        more.StateShape: pair["new"],
        more.ChangesShape: pair["changes"],
    }
    for shape, value in told.items():
        assert set(value) == keys(shape), shape
