"""Bad input over HTTP: a clear 4xx naming field and reason, nothing written, never a 5xx."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from django.db import transaction
from rest_framework.test import APIClient

from annotations.images import FoundImage, register_images
from annotations.models import Annotation, AnnotationHistory, LabelClass, Member
from tests.world import a_box, a_client, a_world

pytestmark = pytest.mark.django_db


def make_world():
    return a_world()


def body(world, **fields) -> dict:
    return {
        "project_id": world.project.pk, "image_id": "a/1.png", "annotation_type": "bbox",
        "geometry": {"type": "bbox", "bbox": [1, 2, 10, 20]}, "class_name": "Cat", **fields,
    }  # fmt: skip


def refused(answer, status: int, *fields: str) -> None:
    assert answer.status_code == status, answer.content
    told = answer.json()
    assert isinstance(told["detail"], str) and told["detail"] and told["code"]
    for field in fields:
        assert field in told["errors"], told
    assert not Annotation.objects.exists() and not AnnotationHistory.objects.exists()


def send(world, content, name: str = "ann"):
    return a_client(name).post("/api/v1/annotations", content, content_type="application/json")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ('{"geometry": NaN}', "NaN"),
        ('{"geometry": Infinity}', "Infinity"),
        ('{"geometry": -Infinity}', "-Infinity"),
        ('{"x": 1e999}', "too large"),
        ('{"x": ' + "9" * 400 + "}", "too large"),
        ('{"notes": "a\\u0000b"}', "NUL"),
        ('{"notes": "\\ud800"}', "surrogate"),
        ('{"\\udfff": 1}', "surrogate"),
        ('{"a": 1, "a": 2}', "twice"),
        ("[" * 100_000, "deeper"),
        ('{"a": ' * 70 + "1" + "}" * 70, "deeper"),
        ("{", "not JSON"),
        ("", "required"),
        ('"text"', ""),
        ("[1, 2]", ""),
        ("null", ""),
    ],
)
def test_json_that_cannot_be_stored_is_refused_with_its_place(world, raw, said):
    answer = send(world, raw)
    refused(answer, 400)
    assert said in answer.json()["detail"]


def test_bytes_that_are_not_utf8_and_other_media_types_are_refused(world):
    refused(send(world, b'{"notes": "\xff"}'), 400)
    refused(a_client("ann").post("/api/v1/annotations", "<a/>", content_type="application/xml"), 415)


def test_a_body_too_large_is_413(world, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    answer = send(world, json.dumps(body(world, notes="x" * 2000)))
    refused(answer, 413)
    assert answer.json()["code"] == "too_large"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"geometry": {"type": "bbox", "bbox": [300, 1, 10, 10]}}, "geometry"),
        ({"geometry": {"type": "bbox", "bbox": [-50, 1, 10, 10]}}, "geometry"),
        ({"geometry": {"type": "bbox", "bbox": [200, 1, 10, 10]}}, "geometry"),
        ({"geometry": {"type": "bbox", "bbox": [1, 1, 0, 10]}}, "geometry.bbox[2]"),
        ({"geometry": {"type": "bbox", "bbox": [1, 1, 10, -1]}}, "geometry.bbox[3]"),
        ({"geometry": {"type": "bbox", "bbox": [1, 1, 10]}}, "geometry.bbox"),
        ({"geometry": {"type": "bbox", "bbox": [1, 1, 10, "20"]}}, "geometry.bbox[3]"),
        ({"geometry": {"type": "bbox", "bbox": [1, 1, 10, True]}}, "geometry.bbox[3]"),
        ({"geometry": {"type": "bbox"}}, "geometry.bbox"),
        ({"geometry": "box"}, "geometry"),
        ({"geometry": None}, "geometry"),
        ({"annotation_type": "cube"}, "annotation_type"),
        ({"class_id": "none"}, "class_id"),
        ({"class_id": None, "class_name": "Cow"}, "class_name"),
        ({"class_id": 7}, "class_id"),
        ({"attributes": []}, "attributes"),
        ({"attributes": {"a": "x" * 70_000}}, "attributes"),
        ({"confidence": 101}, "confidence"),
        ({"confidence": -1}, "confidence"),
        ({"confidence": "high"}, "confidence"),
        ({"confidence": True}, "confidence"),
        ({"notes": 5}, "notes"),
        ({"notes": "x" * 10_001}, "notes"),
        ({"client_id": "not-a-uuid"}, "client_id"),
        ({"annotation_type": "no_object", "geometry": {"type": "no_object"}}, "attributes.task_type"),
    ],
)
def test_a_field_that_makes_no_sense_is_named(world, fields, named):
    refused(send(world, json.dumps(body(world, **fields))), 400, named)


@pytest.mark.parametrize("field", ["project_id", "image_id", "annotation_type"])
def test_a_missing_field_is_named(world, field):
    refused(send(world, json.dumps({k: v for k, v in body(world).items() if k != field})), 400, field)


@pytest.mark.parametrize(
    "image", ["../a/1.png", "/a/1.png", "a/1.png/", "a//1.png", "A/1.png", "a/1.png\x7f", "..", "x" * 900]
)
def test_no_path_trick_reaches_an_image(world, image):
    answer = send(world, json.dumps(body(world, image_id=image)))
    assert answer.status_code in (400, 404), answer.content
    assert not Annotation.objects.exists()


def test_ids_of_another_project_are_as_good_as_none(world):
    other = a_world(dataset="ds_other")
    Member.objects.filter(project=other.project).delete()
    refused(send(world, json.dumps(body(other))), 404)
    LabelClass.objects.create(
        project=other.project,
        task_type=other.task.task_type,
        class_id="other_dog",
        index=7,
        name="Other dog",
        color="#123456",
    )
    refused(send(world, json.dumps(body(world, class_id="other_dog"))), 400, "class_id")


def test_fields_that_are_not_for_clients_are_left_aside(world):
    cheat = {"annotation_state": "verified", "state": "verified", "is_verified": True, "confirmed_by": "me", "id": 7,
             "version": 9, "created_by": "me", "project": "x"}  # fmt: skip
    row = send(world, json.dumps(body(world, **cheat))).json()
    assert (row["annotation_state"], row["version"], row["created_by"], row["confirmed_by"]) == (
        "draft",
        1,
        "ann",
        None,
    )
    changed = a_client("ann").patch(f"/api/v1/annotations/{row['id']}", cheat | {"version": 1}, format="json").json()
    assert (changed["annotation_state"], changed["version"]) == ("draft", 1)


@pytest.mark.parametrize("version", [0, -1, "1", 1.5, True, 2**70])
def test_a_version_that_is_no_number_is_named(world, version):
    row = a_box(world, world.images[0])
    answer = a_client("ann").patch(
        f"/api/v1/annotations/{row.pk}", json.dumps({"version": version, "notes": "x"}), content_type="application/json"
    )
    assert answer.status_code == 400, answer.content
    assert Annotation.objects.get().notes is None


@pytest.mark.parametrize("number", ["0", "99999999999999999999", "9223372036854775808", "-1", "1.0", "abc", "١"])
def test_an_annotation_id_nobody_has_is_404(world, number):
    for method in ("get", "delete"):
        assert getattr(a_client("ann"), method)(f"/api/v1/annotations/{number}").status_code == 404


def test_a_conflict_is_told_as_the_reference_client_reads_it(world):
    row = a_box(world, world.images[0])
    ann = a_client("ann")
    ann.patch(f"/api/v1/annotations/{row.pk}", {"notes": "a", "version": 1}, format="json")
    answer = ann.patch(f"/api/v1/annotations/{row.pk}", {"notes": "b", "version": 1}, format="json")
    told = answer.json()
    assert answer.status_code == 409 and told["code"] == "conflict"
    assert told["detail"]["error"] == "conflict" and told["detail"]["current_version"] == 2
    assert told["detail"]["your_version"] == 1 and told["detail"]["last_updated_by"] == "ann"
    assert told["current"]["notes"] == "a" and told["detail"]["last_updated_at"].endswith("Z")


def test_a_batch_of_more_than_a_thousand_is_refused(world):
    answer = a_client("ann").post("/api/v1/annotations/batch", {"annotations": [body(world)] * 1001}, format="json")
    refused(answer, 400, "annotations")
    for content in ({"annotations": []}, {"annotations": "x"}, {}):
        refused(a_client("ann").post("/api/v1/annotations/batch", content, format="json"), 400, "annotations")


def test_a_batch_names_each_bad_entry_by_its_place(world):
    items = [body(world), {"project_id": 5}, None, body(world, class_name="Cow"), body(world, image_id="none")]
    told = a_client("ann").post("/api/v1/annotations/batch", {"annotations": items}, format="json").json()
    assert (told["created"], told["failed"]) == (1, 4)
    assert [error["index"] for error in told["errors"]] == [1, 2, 3, 4]
    assert all(error["detail"] and error["code"] for error in told["errors"])


def test_batch_update_lists_conflicts_with_the_row_as_it_stands(world):
    first, second = a_box(world, world.images[0]), a_box(world, world.images[1])
    updates = [{"id": first.pk, "version": 1, "notes": "x"}, {"id": second.pk, "version": 5, "notes": "y"},
               {"notes": "no id"}, {"id": 999999999, "notes": "z"}]  # fmt: skip
    told = a_client("ann").post("/api/v1/annotations/batch-update", {"updates": updates}, format="json").json()
    assert (told["updated"], told["failed"]) == (1, 3)
    assert told["conflicts"][0]["id"] == second.pk and told["conflicts"][0]["current"]["version"] == 1
    atomic = {"updates": [{"id": first.pk, "notes": "q"}, {"id": second.pk, "version": 5}], "atomic": True}
    assert a_client("ann").post("/api/v1/annotations/batch-update", atomic, format="json").status_code == 400
    assert Annotation.objects.get(pk=first.pk).notes == "x"


def test_batch_delete_is_by_ids_or_by_images_and_not_both(world):
    first, second = a_box(world, world.images[0]), a_box(world, world.images[1])
    ann = a_client("ann")
    both = {"annotation_ids": [first.pk], "project_id": world.project.pk, "image_ids": ["a/1.png"]}
    for content in ({}, both, {"project_id": world.project.pk}):
        assert ann.post("/api/v1/annotations/batch-delete", content, format="json").status_code == 400
    by_image = {"project_id": world.project.pk, "image_ids": ["a/1.png", "none"]}
    told = ann.post("/api/v1/annotations/batch-delete", by_image, format="json").json()
    assert (told["deleted"], told["failed"]) == (1, 1) and told["batch_id"]
    assert list(Annotation.objects.values_list("pk", flat=True)) == [second.pk]


@pytest.mark.parametrize(
    ("fields", "status", "named"),
    [
        ({"name": "__background__"}, 400, "name"),
        ({"name": "  "}, 400, "name"),
        ({"name": "two\nlines"}, 400, "name"),
        ({"name": "x" * 201}, 400, "name"),
        ({"color": "red"}, 400, "color"),
        ({"class_id": "../x"}, 400, "class_id"),
        ({"class_id": "a b"}, 400, "class_id"),
        ({"class_id": "__background__"}, 400, "name"),
        ({"name": "Cat"}, 409, "name"),
        ({"class_id": "cat"}, 409, "class_id"),
    ],
)
def test_a_class_that_cannot_be_is_refused(world, fields, status, named):
    content = {"name": "Cow", "color": "#112233", **fields}
    answer = a_client("adm").post(f"/api/v1/projects/{world.project.pk}/classes", content, format="json")
    refused(answer, status, named)
    assert LabelClass.objects.count() == 2


def test_a_class_in_use_is_not_removed(world):
    a_box(world, world.images[0])
    answer = a_client("adm").delete(f"/api/v1/projects/{world.project.pk}/classes/cat")
    assert answer.status_code == 409 and answer.json()["code"] == "class_in_use"


def test_the_order_of_classes_names_all_of_them_once(world):
    url = f"/api/v1/projects/{world.project.pk}/classes/reorder"
    for ids in (["dog"], ["dog", "cat", "cow"], ["dog", "dog"], []):
        assert a_client("adm").put(url, {"class_ids": ids}, format="json").status_code == 400


def test_roles_above_ones_own_are_neither_given_nor_taken(world):
    url = f"/api/v1/projects/{world.project.pk}/members"
    adm = a_client("adm")
    assert adm.post(url, {"user_id": "x", "role": "owner"}, format="json").status_code == 403
    assert adm.patch(f"{url}/olga", {"role": "viewer"}, format="json").status_code == 403
    assert adm.delete(f"{url}/olga").status_code == 403
    assert adm.post(url, {"user_id": "x", "role": "king"}, format="json").status_code == 400
    assert adm.patch(f"{url}/nobody", {"role": "viewer"}, format="json").status_code == 404
    assert a_client("olga").patch(f"{url}/adm", {"hand_over": True}, format="json").json()["role"] == "owner"
    assert Member.objects.get(user_id="olga").role == "admin"


def test_a_bad_bearer_token_is_401_with_a_reason():
    for header in ("Bearer", "Bearer x", "Bearer a b", "Bearer \x00"):
        answer = APIClient(HTTP_AUTHORIZATION=header).get("/api/v1/me")
        assert answer.status_code == 401 and answer.json()["detail"]


def test_odd_queries_are_named_and_never_an_error_of_ours(world):
    vic, url = a_client("vic"), f"/api/v1/annotations/project/{world.project.pk}"
    for query in (
        "limit=1001",
        "skip=-1",
        "annotation_state=odd",
        "updated_since=yesterday",
        "task_type=x",
        "limit=%00",
    ):
        answer = vic.get(f"{url}?{query}")
        assert answer.status_code == 400 and answer.json()["errors"], query
    assert vic.get(f"{url}?image_id=%00").status_code in (200, 400)
    assert vic.get(f"{url}?state__in=x&project__owner=1&password=1").status_code == 200


# Addresses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
@pytest.mark.parametrize(
    "path",
    [
        "/projects/%00", "/projects/%00/stats", "/projects/{project}/classes/%00", "/projects/{project}/members/%00",
        "/projects/{project}/images/%00/confirm", "/projects/{project}/images/a/1.png%00/unconfirm",
        "/projects/{project}/versions/%00", "/datasets/%00/project", "/annotations/project/%00", "/annotations/%00",
        "/annotations/import/project/%00", "/jobs/%00", "/projects/{project}/images/%ED%A0%80/confirm",
    ],
)  # fmt: skip
def test_no_address_with_characters_nobody_stores_is_an_error_of_ours(world, path, method):
    answer = getattr(a_client("olga"), method)(f"/api/v1{path.format(project=world.project.pk)}", {}, format="json")
    assert answer.status_code in (404, 405) and answer.json()["detail"], answer.content


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/projects/{project}/images/status?image_ids=%00", "image_ids"),
        ("/projects/{project}/images/status?image_ids=a/1.png&image_ids=a%00", "image_ids"),
        ("/projects/{project}/images/next?after=%00", "after"),
        ("/annotations/project/{project}?image_id=%00", "image_id"),
        ("/annotations/project/{project}?updated_since=0001-01-01T00:00:00%2B14:00", "updated_since"),
        ("/annotations/project/{project}?updated_since=9999-12-31T23:59:59-14:00", "updated_since"),
        ("/projects/{project}/images/status?task_type=%00", "task_type"),
        ("/projects/{project}/images/status?status=done", "status"),
        ("/projects/{project}/classes?task_type=line", "task_type"),
    ],
)
def test_a_query_nobody_can_answer_is_named(world, path, named):
    answer = a_client("vic").get(f"/api/v1{path.format(project=world.project.pk)}")
    refused(answer, 400, named)


@pytest.mark.parametrize("path", [" lead.png", "trail.png ", " ", "a b/c  d.png", "é/ü.png", "100%.png", "a?b#c.png"])
def test_an_image_is_found_by_its_very_name_in_bodies_queries_and_addresses(world, path):
    register_images(world.project, [FoundImage(path, 200, 100, 3, 1, "", None)])
    row = send(world, json.dumps(body(world, image_id=path)))
    assert row.status_code == 201 and row.json()["image_id"] == path
    ann, url = a_client("ann"), f"/api/v1/projects/{world.project.pk}/images/{quote(path, safe='')}"
    listed = ann.get(f"/api/v1/annotations/project/{world.project.pk}", {"image_id": path}).json()
    assert [each["id"] for each in listed] == [row.json()["id"]]
    assert ann.post(f"{url}/confirm", {}, format="json").json()["image_id"] == path
    bulk = {"project_id": world.project.pk, "image_ids": [path]}
    assert ann.post("/api/v1/annotations/batch-delete", bulk, format="json").json()["deleted"] == 1


# Every field of every body ------------------------------------------------------------------------

ODD = [None, True, 0, -1, 1.5, "", "x", [], [1], [None], [[[]]], {}, {"a": 1}, 2**62, "x" * 5000]
BOX = {"project_id": "{project}", "image_id": "a/1.png", "annotation_type": "bbox",
       "geometry": {"type": "bbox", "bbox": [1, 1, 5, 5]}, "class_name": "Cat"}  # fmt: skip
PROJECT = "/projects/{project}"
BODIES = [
    ("post", "/annotations", BOX, "client_id class_id attributes confidence notes"),
    ("patch", "/annotations/{annotation}", {}, "geometry class_id class_name attributes confidence notes version"),
    ("post", "/annotations/{annotation}/confirm", {}, "confirmed"),
    ("post", "/annotations/{annotation}/verify", {}, "verified"),
    ("post", "/annotations/batch", {"annotations": [BOX]}, "atomic"),
    ("post", "/annotations/batch-update", {"updates": [{"id": "{annotation}"}]}, "atomic"),
    ("post", "/annotations/batch-delete", {}, "annotation_ids project_id image_ids task_type"),
    ("post", "/annotations/bulk-confirm", {}, "annotation_ids"),
    ("post", f"{PROJECT}/classes", {"name": "N", "color": "#112233"},
     "class_id description supercategory keypoints skeleton"),
    ("patch", f"{PROJECT}/classes/dog", {}, "name color description order"),
    ("put", f"{PROJECT}/classes/reorder", {}, "class_ids"),
    ("post", f"{PROJECT}/task-types", {}, "task_type"),
    ("post", f"{PROJECT}/members", {"user_id": "new", "role": "viewer"}, ""),
    ("patch", f"{PROJECT}/members/vic", {}, "role hand_over"),
    ("post", f"{PROJECT}/images/bulk-confirm", {"image_ids": ["a/2.png"]}, "task_type allow_empty"),
    ("post", f"{PROJECT}/images/a/2.png/confirm", {}, "allow_empty"),
    ("post", f"{PROJECT}/images/a/2.png/unconfirm", {}, "keep_annotations"),
    ("post", f"{PROJECT}/images/split", {"image_ids": ["a/1.png"], "split": "val"}, ""),
    ("post", "/projects", {"name": "New", "dataset_id": "ds_new", "task_types": ["detection"]},
     "description task_config settings classes task_classes"),
    ("patch", PROJECT, {}, "name description task_config settings status"),
    ("post", f"{PROJECT}/export", {"export_format": "dice"},
     "export_formats include_draft verified_only image_ids task_type version_id"),
    ("post", f"{PROJECT}/restore?wait=0", {"source": "platform"}, "version_id mode image_ids dry_run task_type"),
    ("post", f"{PROJECT}/rollback?wait=0", {"version_id": "v1.0"}, "description task_type"),
    ("post", f"{PROJECT}/working-version/save", {}, "trigger task_type beacon_token"),
    ("post", "/me/tokens", {"name": "script"}, "days"),
]  # fmt: skip


def filled(value, world, annotation):
    """Words in braces replaced by the ids there are."""
    text = json.dumps(value).replace("{project}", world.project.pk).replace("{annotation}", str(annotation.pk))
    return json.loads(text)


@pytest.mark.parametrize(("method", "path", "given", "more"), BODIES, ids=lambda each: str(each)[:40])
def test_no_type_in_any_field_is_an_error_of_ours(world, method, path, given, more):
    """Odd values are taken where they mean something; where not, the answer says what is wrong in one sentence."""
    annotation = a_box(world, world.images[0])
    url, client = "/api/v1" + filled(path, world, annotation), a_client("olga")
    for field, value in ((field, value) for field in [*given, *more.split()] for value in ODD):
        # Each is sent to the same world.
        with transaction.atomic():
            told = getattr(client, method)(url, {**filled(given, world, annotation), field: value}, format="json")
            transaction.set_rollback(True)
        assert told.status_code < 500, (field, value, told.content)
        # A conflict of versions is the one answer whose detail is an object.
        if told.status_code >= 400 and told.json()["code"] != "conflict":
            assert isinstance(told.json()["detail"], str) and told.json()["code"], (field, value, told.content)
        if told.status_code == 400 and told.json()["code"] == "invalid" and "failed" not in told.json():
            assert told.json()["errors"], (field, value, told.content)


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _, _ in BODIES])
@pytest.mark.parametrize("whole", ["[]", "[1]", '"text"', "1", "true", "null", "[{}]"])
def test_a_body_that_is_no_object_writes_nothing(world, method, path, whole):
    annotation = a_box(world, world.images[0])
    url = "/api/v1" + filled(path, world, annotation)
    before = AnnotationHistory.objects.count(), Member.objects.count(), LabelClass.objects.count()
    answer = getattr(a_client("olga"), method)(url, whole, content_type="application/json")
    assert answer.status_code < 500, answer.content
    if whole in ("[1]", '"text"', "1", "true", "[{}]"):
        assert answer.status_code == 400 and answer.json()["errors"], answer.content
        assert before == (AnnotationHistory.objects.count(), Member.objects.count(), LabelClass.objects.count())
