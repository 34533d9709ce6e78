"""The policy names the image store's address, as its links do."""

from __future__ import annotations

import pytest
from django.core.files.storage import storages

from labeler import browser_policy
from tests.conftest import storages_on


def test_pictures_of_a_folder_store_come_from_ourselves():
    assert browser_policy.store_origins() == []


@pytest.mark.django_db
def test_pictures_of_a_bucket_may_be_loaded_from_its_address_and_nothing_else_may(settings):
    storages_on("moto", settings)
    address = storages["platform"].link("datasets/x/images/1.png", seconds=60).split("/datasets/")[0]
    policy = browser_policy.policy()
    (images,) = [part for part in policy.split("; ") if part.startswith("img-src")]
    origin = "/".join(address.split("/")[:3])
    assert images == f"img-src 'self' data: blob: {origin}" and policy.count(origin) == 1


@pytest.mark.django_db
def test_a_browser_that_asks_for_an_icon_by_itself_gets_ours(client):
    assert client.get("/favicon.ico").headers["Location"].endswith("labeler/icon.svg")
