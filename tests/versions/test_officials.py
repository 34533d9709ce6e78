"""The official files: which there are, and the Platform's own split going on in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from annotations import confirming, images
from annotations.models import Image
from exports import stores as api
from tests.conftest import storages_on
from tests.world import World, a_client, a_world, confirmed, official_key, published
from versions import publishing

pytestmark = pytest.mark.django_db(transaction=True)
OWN = "datasets/ds_world/annotations_detection.json"


@pytest.fixture(params=["folder", "moto"])
def world(request, settings) -> World:
    storages_on(request.param, settings)
    made = a_world()
    confirmed(made, made.images[0])
    confirmed(made, made.images[1])
    return made


def official(key: str) -> dict[str, Any]:
    return json.loads(api.read_small("platform", key))


def split(**choices: str) -> dict[str, Any]:
    return {"method": "partial", "default_ratio": [0.8, 0.2], "seed": 42, "splits": choices, "created_by": 7}


@pytest.fixture
def put(put_object) -> Callable[[str, dict[str, Any]], None]:
    """Somebody else writes an official file."""
    return lambda key, content: put_object("platform", key, json.dumps(content).encode(), "application/json")


def test_the_first_task_writes_its_own_file_and_the_generic_one(world):
    version = published(world)
    assert version.platform_keys == [OWN, official_key()] and version.platform_status == "synced"
    assert api.hash_of("platform", OWN) == api.hash_of("platform", official_key())
    assert official(OWN)["version"] == "v1.0"


def test_a_split_the_platform_stored_goes_on_for_images_that_still_exist(world, put):
    first, second = (str(image.pk) for image in world.images[:2])
    published(world)
    for key in (OWN, official_key()):
        config = split(**{first: "val", second: "train", "999999": "test", "x": "val"})
        put(key, {**official(key), "split_config": config})
    version = published(world)
    for key in (OWN, official_key()):
        said = official(key)
        assert said["version"] == "v2.0"
        assert said.pop("split_config") == split(**{first: "val", second: "train"})
        with_hash = api.read_small("labeler", f"exports/{world.project.pk}/v2.0/annotations_dice.json")
        assert said == json.loads(with_hash)
    before = api.head("platform", OWN).etag
    publishing.request_sync(version)
    assert publishing.advance(version.pk).platform_status == "synced"
    assert api.head("platform", OWN).etag == before


def test_a_split_of_somebody_elses_file_is_mapped_by_file_name(world, put):
    listed = [{"id": 71, "file_name": "a/2.png"}, {"id": 72, "file_name": "gone.png"}]
    put(official_key(), {"images": listed, "annotations": [], "split_config": split(**{"71": "val", "72": "test"})})
    published(world)
    for key in (OWN, official_key()):
        assert official(key)["split_config"]["splits"] == {str(world.images[1].pk): "val"}


def test_a_persons_own_split_wins(world, put):
    put(official_key(), {"project_id": world.project.pk, "images": [], "split_config": split(**{"1": "val"})})
    images.set_split(world.project, [world.images[0].pk], "test", by="adm")
    published(world)
    assert official(official_key())["split_config"]["splits"] == {str(world.images[0].pk): "test"}
    assert api.hash_of("platform", OWN) == api.hash_of("platform", official_key())


@pytest.mark.parametrize("content", [b"not json", b"{}", b'{"split_config": 5}', b'{"split_config": {"splits": {}}}'])
def test_an_official_file_without_a_split_that_can_be_read_is_replaced(world, put_object, content):
    put_object("platform", official_key(), content, "application/json")
    version = published(world)
    assert version.platform_status == "synced" and "split_config" not in official(official_key())


def test_the_flat_mirror_is_a_setting_and_is_rebuilt_with_the_version(world):
    adm = a_client("adm")
    path = f"/api/v1/projects/{world.project.pk}"
    assert adm.patch(path, {"settings": {"flat_mirror": "yes"}}, format="json").status_code == 400
    assert adm.patch(path, {"settings": {"flat_mirror": True}}, format="json").status_code == 200
    world.task.project.refresh_from_db()
    published(world)
    adm.patch(path, {"settings": {}}, format="json")
    said = official(OWN)
    assert len(said["annotations"]) == 2 and said["categories"][0]["name"] == "Cat"
    from versions import verifying
    from versions.models import Version

    assert all(finding.well for finding in verifying.verify(Version.objects.get()))


def test_images_are_put_into_splits_over_http_and_the_next_version_has_it(world):
    published(world)
    adm, path = a_client("adm"), f"/api/v1/projects/{world.project.pk}/images/split"
    body = {"image_ids": ["a/1.png", "a/2.png"], "split": "test"}
    assert adm.post(path, body, format="json").json() == {"changed": 2}
    assert adm.post(path, body, format="json").json() == {"changed": 0}
    published(world)
    assert [image["split"] for image in official(OWN)["images"]] == ["test", "test"]
    adm.post(path, {**body, "split": None}, format="json")
    assert set(Image.objects.values_list("split", flat=True)) == {None}
    for wrong, field in (
        ({"image_ids": ["gone.png"], "split": "val"}, "image_ids"),
        ({**body, "split": "some"}, "split"),
    ):
        answer = adm.post(path, wrong, format="json")
        assert answer.status_code == 400 and field in answer.json()["errors"]
    assert confirming.DRAFT
