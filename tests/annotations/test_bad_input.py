"""Bad input over HTTP: a clear 4xx naming field and reason, nothing written, never a 5xx."""

from __future__ import annotations

import json

import pytest
from rest_framework.test import APIClient

from annotations.models import Annotation, AnnotationHistory, LabelClass, Member
from tests.world import a_box, a_client, a_world

pytestmark = pytest.mark.django_db


@pytest.fixture
def world():
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
    dogs = LabelClass.objects.get(project=other.project, name="Dog")
    LabelClass.objects.filter(pk=dogs.pk).update(class_id="other_dog")
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
    items = [body(world), {"project_id": 5}, "text", body(world, class_name="Cow"), body(world, image_id="none")]
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
