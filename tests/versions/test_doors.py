"""The doors of this room over HTTP: what they answer, refuse and repeat."""

from __future__ import annotations

import json

import pytest
from django.core import signing
from rest_framework.test import APIClient

from annotations.models import Annotation, Project
from annotations.tokens import issue_token
from tests.world import a_box, a_client, a_user, a_world, confirmed, published, saved
from versions import beacons, publishing, work
from versions.models import Job, SaveState, Version

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world():
    made = a_world()
    confirmed(made, made.images[0])
    return made


def path(world, rest: str) -> str:
    return f"/api/v1/projects/{world.project.pk}{rest}"


# Images -----------------------------------------------------------------------------------------


def test_image_ids_work_raw_and_encoded_and_with_a_trailing_slash(world):
    ann = a_client("ann")
    for spelling in ("a/2.png", "a%2F2.png"):
        answer = ann.post(path(world, f"/images/{spelling}/confirm"), {"allow_empty": True}, format="json")
        assert answer.status_code == 200 and answer.json()["image_id"] == "a/2.png"
        assert ann.post(path(world, f"/images/{spelling}/unconfirm/"), {}, format="json").status_code == 200


def test_confirming_reports_the_autosave(world):
    answer = a_client("ann").post(path(world, "/images/a/1.png/confirm"), {}, format="json").json()
    assert answer["is_confirmed"] is True and answer["confirmed_by"] == "ann"
    assert answer["auto_save"] == {"queued": False, "confirmed_since_save": 1, "threshold": 10}


def test_an_empty_image_is_confirmed_only_on_purpose(world):
    ann = a_client("ann")
    refused = ann.post(path(world, "/images/a/2.png/confirm"), {}, format="json")
    assert refused.status_code == 400 and refused.json()["code"] == "empty_image"
    answer = ann.post(path(world, "/images/a/2.png/confirm"), {"allow_empty": True}, format="json")
    assert answer.json()["status"] == "completed" and answer.json()["total_annotations"] == 0


def test_bulk_confirm_lists_what_it_could_not_confirm(world):
    bare = a_box(world, world.images[1], class_name=None)
    body = {"image_ids": ["a/1.png", "a/2.png", "a/3.png", "gone.png"]}
    answer = a_client("ann").post(path(world, "/images/bulk-confirm"), body, format="json").json()
    assert (answer["confirmed"], answer["failed"]) == (1, 3)
    codes = {error["image_id"]: error["code"] for error in answer["errors"]}
    assert codes == {"a/2.png": "conflict", "a/3.png": "empty_image", "gone.png": "not_found"}
    assert next(e for e in answer["errors"] if e["image_id"] == "a/2.png")["annotation_ids"] == [bare.pk]


def test_the_next_image_goes_round_to_the_start(world):
    vic = a_client("vic")
    assert vic.get(path(world, "/images/next")).json()["id"] == "a/2.png"
    assert vic.get(path(world, "/images/next?after=a/2.png")).json()["id"] == "a/3.png"
    assert vic.get(path(world, "/images/next?after=a/3.png")).json()["id"] == "a/2.png"
    assert vic.get(path(world, "/images/next?status=in-progress")).status_code == 204
    wrong = vic.get(path(world, "/images/next?status=open"))
    assert wrong.status_code == 400 and "status" in wrong.json()["errors"]


def test_image_and_status_lists_have_the_same_order(world):
    vic = a_client("vic")
    images = vic.get(path(world, "/images?limit=2&offset=1")).json()
    statuses = vic.get(path(world, "/images/status?limit=2&offset=1")).json()
    assert (
        [i["id"] for i in images["images"]] == [s["image_id"] for s in statuses["statuses"]] == ["a/2.png", "a/3.png"]
    )
    assert images["total"] == statuses["total"] == 3
    for wrong in ("limit=201", "limit=0", "offset=-1", "limit=x"):
        assert vic.get(path(world, f"/images?{wrong}")).status_code == 400


# Saving -----------------------------------------------------------------------------------------


def beacon_body(world, user: str = "ann", **values) -> dict:
    return {"trigger": "beforeunload", "beacon_token": beacons.token_for(user, world.project.pk)[0], **values}


@pytest.mark.parametrize(
    "content_type", ["text/plain;charset=UTF-8", "application/json", "application/x-www-form-urlencoded", "multipart"]
)
def test_a_beacon_saves_in_every_form_a_browser_may_send(world, content_type):
    a_user("ann")
    body = beacon_body(world)
    client = APIClient(enforce_csrf_checks=True)
    url = path(world, "/working-version/save")
    if content_type == "multipart":
        answer = client.post(url, body, format="multipart")
    elif "urlencoded" in content_type:
        answer = client.post(url, "&".join(f"{k}={v}" for k, v in body.items()), content_type=content_type)
    else:
        answer = client.post(url, json.dumps(body), content_type=content_type)
    assert answer.status_code == 202, answer.content
    assert answer.json()["status"] == "queued" and answer.json()["job_id"]
    assert SaveState.objects.get().requested_trigger == "beforeunload"


def test_a_beacon_token_opens_nothing_else(world):
    for name in ("ann", "vic"):
        a_user(name)
    other = a_world(dataset="ds_other")
    client, url = APIClient(), path(world, "/working-version/save")

    def send(**values):
        return client.post(url, json.dumps(values), content_type="text/plain").status_code

    token = beacons.token_for("ann", world.project.pk)[0]
    assert send(beacon_token=token + "x") == 401
    assert send(beacon_token=beacons.token_for("ann", other.project.pk)[0]) == 404
    assert send(beacon_token=beacons.token_for("vic", world.project.pk)[0]) == 403
    assert send(beacon_token=beacons.token_for("nobody", world.project.pk)[0]) == 401
    assert send(beacon_token=signing.dumps(["ann", world.project.pk], salt="something else")) == 401
    assert send() == 401
    assert client.get(path(world, ""), HTTP_AUTHORIZATION=f"Bearer {token}").status_code == 401


def test_an_old_beacon_token_has_ended(world, monkeypatch):
    a_user("ann")
    token = beacons.token_for("ann", world.project.pk)[0]
    monkeypatch.setattr(beacons, "SECONDS", -1)
    body = json.dumps({"beacon_token": token})
    answer = APIClient().post(path(world, "/working-version/save"), body, content_type="text/plain")
    assert answer.status_code == 401


def test_a_session_without_csrf_token_cannot_save(world):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(a_user("ann"))
    assert client.post(path(world, "/working-version/save"), {}, format="json").status_code == 403


def test_the_state_tells_what_is_unsaved_and_gives_a_token_to_those_who_may_save(world):
    told = a_client("ann").get(path(world, "/working-version")).json()
    assert (told["version"], told["dirty"], told["confirmed_since_save"]) == (None, True, 1)
    assert told["image_threshold"] == 10 and told["interval_seconds"] == 1800 and told["next_due_at"]
    assert beacons.read_token(told["beacon_token"]) == ("ann", world.project.pk)
    assert a_client("vic").get(path(world, "/working-version")).json()["beacon_token"] is None
    saved(world)
    told = a_client("ann").get(path(world, "/working-version")).json()
    assert (told["version"]["version_number"], told["dirty"], told["next_due_at"]) == ("v0.1", False, None)


# Versions -----------------------------------------------------------------------------------------


def test_a_version_still_exporting_is_listed_and_not_downloadable(world):
    made = a_client("adm").post(path(world, "/versions/publish"), {}, format="json").json()
    assert (made["status"], made["exports"], made["download_url"]) == ("exporting", [], None)
    vic = a_client("vic")
    assert [v["id"] for v in vic.get(path(world, "/versions")).json()["versions"]] == [made["id"]]
    refused = vic.get(f"/api/v1/versions/{made['id']}/download")
    assert refused.status_code == 409 and "exporting" in refused.json()["detail"]
    publishing.advance(made["id"])
    told = vic.get(f"/api/v1/versions/{made['id']}/download?format=yolo").json()
    assert told["filename"] == f"{world.project.pk}_v1.0_annotations_yolo.zip"
    there = vic.get(f"/api/v1/versions/{made['id']}/download?redirect=1")
    assert there.status_code == 302
    assert b"".join(APIClient().get(there.headers["Location"]).streaming_content)[:1] == b"{"
    assert vic.get(f"/api/v1/versions/{made['id']}/download?format=pascal").status_code == 404


def test_the_same_idempotency_key_publishes_once(world):
    adm = a_client("adm")
    first = adm.post(path(world, "/versions/publish"), {}, format="json", HTTP_IDEMPOTENCY_KEY="k")
    again = adm.post(path(world, "/versions/publish"), {}, format="json", HTTP_IDEMPOTENCY_KEY="k")
    assert first.status_code == again.status_code == 201 and first.json()["id"] == again.json()["id"]
    other = adm.post(path(world, "/versions/publish"), {"description": "x"}, format="json", HTTP_IDEMPOTENCY_KEY="k")
    assert other.status_code == 409 and other.json()["code"] == "duplicate"
    assert Version.objects.count() == 1


def test_the_same_idempotency_key_starts_one_export(world):
    ann = a_client("ann")
    made = [
        ann.post(path(world, "/export"), {"export_format": "dice"}, format="json", HTTP_IDEMPOTENCY_KEY="e").json()
        for _ in range(2)
    ]
    assert made[0]["job_id"] == made[1]["job_id"] and Job.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"version_number": "2.0"}, 400, "invalid"),
        ({"export_formats": ["pascal"]}, 400, "invalid"),
        ({"export_formats": []}, 400, "invalid"),
        ({"export_format": "coco", "export_formats": ["yolo"]}, 400, "invalid"),
        ({"task_type": "segmentation"}, 400, "invalid"),
        ({"include_draft": "perhaps"}, 400, "invalid"),
        ({"description": ["x"]}, 400, "invalid"),
    ],
)
def test_a_publish_that_makes_no_sense_is_refused_with_the_field_named(world, body, status, code):
    answer = a_client("adm").post(path(world, "/versions/publish"), body, format="json")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert isinstance(answer.json()["detail"], str) and set(answer.json()["errors"]) & set(body)
    assert not Version.objects.exists()


def test_published_versions_cannot_be_changed_over_http(world):
    version = published(world)
    for method in ("put", "patch", "delete"):
        answer = getattr(a_client("olga"), method)(path(world, f"/versions/{version.pk}"), {}, format="json")
        assert answer.status_code == 405 and isinstance(answer.json()["detail"], str)


def test_frequent_saves_never_hide_published_versions(world):
    published(world)
    for number in range(3):
        Annotation.objects.update(notes=str(number))
        saved(world)
    told = a_client("vic").get(path(world, "/versions?limit=1")).json()
    assert [v["version_type"] for v in told["versions"]] == ["working", "published"] and told["total"] == 4
    assert [v["version_number"] for v in a_client("vic").get(path(world, "/versions?version_type=working")).json()[
        "versions"]] == ["v0.3", "v0.2", "v0.1"]  # fmt: skip


def test_a_version_is_found_by_id_and_by_number(world):
    version = published(world)
    vic = a_client("vic")
    assert vic.get(path(world, "/versions/v1.0")).json()["id"] == version.pk
    for missing in ("v2.0", "999", "nonsense", str(2**70)):
        assert vic.get(path(world, f"/versions/{missing}")).status_code == 404


def test_snapshots_are_read_page_by_page(world):
    confirmed(world, world.images[1], boxes=2)
    version = published(world)
    vic, seen, cursor = a_client("vic"), [], ""
    while cursor is not None:
        page = vic.get(path(world, f"/versions/{version.pk}/snapshots?limit=2{cursor}")).json()
        seen += [(row["image_id"], row["annotation_id"]) for row in page["snapshots"]]
        cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
    assert seen == [(row.image.path, row.pk) for row in Annotation.objects.order_by("image_id", "pk")]
    only = vic.get(path(world, f"/versions/{version.pk}/snapshots?image_id=a/2.png")).json()["snapshots"]
    assert len(only) == 2
    assert vic.get(path(world, f"/versions/{version.pk}/snapshots?cursor=x")).status_code == 400
    assert vic.get(path(world, f"/versions/{version.pk}/snapshots?image_id=none.png")).status_code == 404
    work_save = saved(world)
    assert vic.get(path(world, f"/versions/{work_save.pk}/snapshots")).status_code == 400


# Exports, restores, jobs ----------------------------------------------------------------------------


def test_an_export_of_live_rows_or_a_version_is_made_by_the_same_writers(world):
    version = published(world)
    ann = a_client("ann")
    made = ann.post(path(world, "/export"), {"export_formats": ["dice", "yolo"]}, format="json")
    assert made.status_code == 202 and made.headers["Location"] == f"/api/v1/jobs/{made.json()['job_id']}"
    work.run(made.json()["job_id"])
    job = ann.get(f"/api/v1/jobs/{made.json()['job_id']}").json()
    assert job["status"] == "done" and job["progress"] == 1
    assert [file["format"] for file in job["result"]["exports"]] == ["dice", "yolo"]
    content = b"".join(APIClient().get(job["result"]["download_url"]).streaming_content)
    assert json.loads(content)["version_type"] == "export" and json.loads(content)["images"][0]["annotations"]
    body = {"export_format": "coco", "version_id": version.pk}
    frozen = ann.post(path(world, "/export"), body, format="json").json()["job_id"]
    result = work.run(frozen).result["exports"][0]
    assert result["sha256"] == version.artifacts.get(format="coco").sha256


@pytest.mark.parametrize(
    "body",
    [
        {"export_format": "xml"}, {"image_ids": ["none.png"]}, {"image_ids": []}, {"version_id": "v0.1"},
        {"task_type": "painting"},
    ],
)  # fmt: skip
def test_an_export_that_makes_no_sense_is_refused_at_once(world, body):
    saved(world)
    answer = a_client("ann").post(path(world, "/export"), body, format="json")
    assert answer.status_code == 400 and answer.json()["errors"], answer.content
    assert not Job.objects.exists()


def test_a_restore_is_a_dry_run_unless_it_says_otherwise(world):
    version = published(world)
    Annotation.objects.update(notes="changed")
    body = {"source": "version", "version_id": version.pk}
    started = a_client("adm").post(path(world, "/restore?wait=0"), body, format="json").json()
    result = work.run(started["job_id"]).result
    assert result["dry_run"] is True and result["updated"] == 1
    assert Annotation.objects.get().notes == "changed"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"source": "version"}, 400),
        ({"source": "working"}, 404),
        ({"source": "working", "version_id": 1}, 400),
        ({"source": "dreams"}, 400),
        ({"source": "platform", "mode": "mix"}, 400),
        ({"source": "version", "version_id": "v9.0"}, 404),
        ({"source": "platform", "image_ids": ["none.png"]}, 400),
    ],
)
def test_a_restore_that_cannot_be_is_refused_at_once(world, body, status):
    answer = a_client("adm").post(path(world, "/restore"), body, format="json")
    assert answer.status_code == status, answer.content
    assert not Job.objects.exists()


def test_only_a_published_version_is_rolled_back_to(world):
    save = saved(world)
    answer = a_client("adm").post(path(world, "/rollback"), {"version_id": save.pk}, format="json")
    assert answer.status_code == 400 and "version_id" in answer.json()["errors"]


def test_importing_over_annotations_needs_force_and_saves_first(world, put_object):
    adm = a_client("adm")
    url = f"/api/v1/annotations/import/project/{world.project.pk}"
    refused = adm.post(url)
    assert refused.status_code == 409 and refused.json()["code"] == "has_annotations"
    put_object("platform", "datasets/ds_world/annotations.json", b"not json")
    broken = adm.post(f"{url}?force=true&wait=0").json()["job_id"]
    failed = work.run(broken)
    assert failed.status == "failed" and Annotation.objects.count() == 1, "all or nothing"
    empty = {"classes": [], "images": []}
    put_object("platform", "datasets/ds_world/annotations.json", json.dumps(empty).encode())
    done = work.run(adm.post(f"{url}?force=true&wait=0").json()["job_id"])
    assert done.status == "done" and done.result["imported"] == 0 and Annotation.objects.count() == 0
    assert Version.objects.working().first().annotation_count == 1


def test_deleting_a_project_with_versions_needs_force_and_leaves_everything(world):
    published(world)
    olga = a_client("olga")
    refused = olga.delete(path(world, ""))
    assert refused.status_code == 409 and refused.json()["code"] == "has_versions"
    assert olga.delete(path(world, "?force=true")).status_code == 204
    assert olga.get(path(world, "")).status_code == 404
    assert Project.objects.get().deleted_at and Annotation.objects.count() == 1 and Version.objects.count() == 1


def test_a_job_is_told_to_its_creator_and_to_admins(world):
    job = a_client("ann").post(path(world, "/export"), {}, format="json").json()["job_id"]
    assert a_client("ann").get(f"/api/v1/jobs/{job}").status_code == 200
    assert a_client("adm").get(f"/api/v1/jobs/{job}").status_code == 200
    for name in ("rev", "vic", "oscar"):
        assert a_client(name).get(f"/api/v1/jobs/{job}").status_code == 404


def test_errors_are_told_in_one_shape(world):
    client = a_client("ann")
    for answer in (
        client.get("/api/v1/nothing-here"),
        client.get(path(world, "/versions/v9.0")),
        client.post(path(world, "/export"), "{", content_type="application/json"),
        client.post(path(world, "/export"), "<x/>", content_type="application/xml"),
        client.get(path(world, "/images?limit=x")),
    ):
        assert isinstance(answer.json()["detail"], str) and answer.json()["code"], answer.content


def test_links_in_answers_work_without_any_identity(world):
    version = published(world)
    _, token = issue_token(a_user("vic"), name="x")
    told = a_client("vic").get(path(world, f"/versions/{version.pk}")).json()
    assert token.digest not in json.dumps(told)
    for file in told["exports"]:
        answer = APIClient().get(file["download_url"])
        assert answer.status_code == 200
        assert answer.headers["Content-Disposition"].startswith("attachment")
