"""The official file: always a complete version, never an older one, whatever the order of what happens."""

from __future__ import annotations

import itertools
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.files.storage import storages

from exports import stores as api
from exports.errors import StoreRefused, StoreUnavailable
from exports.platform import Local, Outcome, number_of, replace_official
from labeler.storage import S3Store
from tests.conftest import behind_proxy, storages_on

KEY = "datasets/ds_1/annotations.json"


@pytest.fixture
def replace(tmp_path):
    """Make a version official: ``replace("v2.0")``."""

    def do(version: str, content: str = "") -> Outcome:
        path = tmp_path / f"{version}-{threading.get_ident()}"
        path.write_text(json.dumps({"version": version, "content": content}))
        file = Local(path, api.sha256_of_file(path), path.stat().st_size)
        return replace_official(
            KEY,
            lambda present: file,
            version=version,
            metadata={"dataset_id": "ds_일", "version": version, "updated_at": "2026-11-23T00:00:00Z"},
        )

    return do


@pytest.fixture
def proxy(settings):
    """The platform's store on moto, behind a proxy that fails on purpose."""
    with behind_proxy(settings, "platform") as proxy:
        yield proxy


@pytest.fixture(params=["folder", "moto"])
def swapping(request, settings):
    """Stores that check ETags themselves; Ceph 16 does not."""
    storages_on(request.param, settings)


def official() -> str:
    """The version in the official file, which must also be the one it says it is."""
    said = json.loads(api.read_small("platform", KEY))["version"]
    assert api.head("platform", KEY).metadata["version"] == said
    return said


@pytest.mark.parametrize(
    ("version", "number"),
    [("v1.0", (1, 0)), ("v10.12", (10, 12)), *((odd, (0, 0)) for odd in ("v2", "1.0", "v1.0-x", " v1.0", "", None))],
)
def test_a_version_is_two_numbers(version, number):
    assert number_of(version) == number


def test_ten_is_newer_than_nine():
    assert number_of("v10.0") > number_of("v9.0")


def test_the_official_file_says_what_it_is(stores, replace):
    outcome = replace("v1.0")
    found = api.head("platform", KEY)
    assert outcome == Outcome("synced", found.etag)
    assert found.content_type == "application/json"
    assert found.metadata == {
        "dataset_id": "ds_일",
        "version": "v1.0",
        "updated_at": "2026-11-23T00:00:00Z",
        "sha256": api.hash_of("platform", KEY),
    }


def test_a_newer_version_takes_the_place(stores, replace):
    replace("v1.0")
    assert replace("v2.0").status == "synced"
    assert official() == "v2.0"


def test_an_older_version_finds_itself_superseded(stores, replace):
    newer = replace("v10.0")
    assert replace("v9.0") == Outcome("superseded", newer.etag)
    assert official() == "v10.0"


def test_the_very_file_without_its_number_is_written_again(stores, replace, put_object):
    replace("v1.0")
    put_object("platform", KEY, api.read_small("platform", KEY))
    assert "version" not in api.head("platform", KEY).metadata
    assert replace("v1.0").status == "synced"
    assert official() == "v1.0"


def test_a_file_of_nobody_we_know_is_replaced(stores, replace, put_object):
    put_object("platform", KEY, b'{"made": "by hand"}')
    assert replace("v1.0").status == "synced"
    assert official() == "v1.0"


def test_repeating_changes_nothing(stores, replace):
    first = replace("v1.0")
    assert replace("v1.0") == first
    assert api.head("platform", KEY).etag == first.etag


def test_a_file_that_only_claims_to_be_the_version_is_mended(stores, replace, tmp_path):
    replace("v1.0")
    said = api.head("platform", KEY)
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"?" * said.size)
    api.put_latest("platform", KEY, damaged, content_type="application/json", sha256=said.sha256 or "",
                   size=said.size, metadata={"version": "v1.0"})  # fmt: skip
    assert replace("v1.0").status == "synced"
    assert official() == "v1.0"


def test_a_file_that_was_taken_away_comes_back(stores, replace):
    replace("v1.0")
    api.remove("platform", KEY)
    assert replace("v1.0").status == "synced"
    assert official() == "v1.0"


@pytest.mark.parametrize("order", list(itertools.permutations(["v1.0", "v2.0", "v10.0"])))
def test_any_order_ends_with_the_newest(stores, replace, order):
    for version in order:
        replace(version)
    assert official() == "v10.0"
    again = {version: replace(version).status for version in order}
    assert again == {"v1.0": "superseded", "v2.0": "superseded", "v10.0": "synced"}
    assert official() == "v10.0"


def test_five_versions_at_once_end_with_the_newest(swapping, replace):
    for _ in range(5):
        start = threading.Barrier(5)

        def race(version: str, start: threading.Barrier = start) -> str:
            start.wait()
            return replace(version).status

        versions = [f"v{number}.0" for number in range(1, 6)]
        with ThreadPoolExecutor(5) as threads:
            outcomes = dict(zip(versions, threads.map(race, versions), strict=True))
        assert official() == "v5.0"
        assert outcomes["v5.0"] == "synced"
        assert set(outcomes.values()) <= {"synced", "superseded"}
        api.remove("platform", KEY)


def test_the_same_version_by_two_workers_is_one_file(swapping, replace):
    start = threading.Barrier(8)

    def race(_: int) -> str:
        start.wait()
        return replace("v1.0").status

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(race, range(8))) == {"synced"}
    assert official() == "v1.0"


def test_a_request_that_was_held_up_cannot_undo_a_newer_version(proxy, replace, tmp_path):
    replace("v1.0")
    proxy.holding = lambda method, path: method == "PUT"
    with ThreadPoolExecutor(1) as threads:
        late = threads.submit(replace, "v2.0")
        assert proxy.held.wait(60)
        newer = tmp_path / "newer"
        newer.write_text('{"version": "v3.0"}')
        direct = S3Store("platform", storages["platform"].bucket_name, "moto-key", "moto-secret",
                         os.environ["TEST_S3_MOTO"])  # fmt: skip
        with newer.open("rb") as body:
            direct.put(KEY, body, size=newer.stat().st_size, content_type="application/json",
                       sha256=api.sha256_of_file(newer), metadata={"version": "v3.0"})  # fmt: skip
        proxy.release.set()
        assert late.result(60).status == "superseded"
    assert official() == "v3.0"


def test_an_answer_that_was_lost_is_settled_by_looking(proxy, replace):
    lost = []
    proxy.dropping_answers = lambda method, path: method == "PUT" and not lost.append(path)
    outcome = replace("v1.0")
    assert len(lost) > 1, "every answer was lost"
    assert outcome == Outcome("synced", api.head("platform", KEY).etag)


def test_a_lost_request_is_told_as_such(proxy, replace):
    replace("v1.0")
    proxy.failing = lambda method, path: method == "PUT"
    with pytest.raises(StoreUnavailable):
        replace("v2.0")
    assert official() == "v1.0"
    proxy.failing = lambda method, path: False
    assert replace("v2.0").status == "synced"


def test_a_store_that_is_gone_is_unavailable(proxy, replace):
    proxy.failing = lambda method, path: True
    with pytest.raises(StoreUnavailable):
        replace("v1.0")


def test_a_file_others_keep_writing_is_left_for_later(proxy, replace):
    direct = S3Store("platform", storages["platform"].bucket_name, "moto-key", "moto-secret",
                     os.environ["TEST_S3_MOTO"])  # fmt: skip
    writes = itertools.count()

    def meddle(method: str, path: str) -> bool:
        if method == "PUT":
            content = f"somebody else {next(writes)}".encode()
            direct.client.put_object(Bucket=direct.bucket_name, Key=KEY, Body=content)
        return False

    proxy.holding = meddle
    with pytest.raises(StoreUnavailable, match="kept changing"):
        replace("v1.0")
    assert api.read_small("platform", KEY).startswith(b"somebody else")


def test_a_bucket_that_is_not_there_is_refused(proxy, replace, settings):
    entry = settings.STORAGES["platform"]
    options = {**entry["OPTIONS"], "bucket_name": "no-such-bucket-at-all"}
    settings.STORAGES = {**settings.STORAGES, "platform": {**entry, "OPTIONS": options}}
    with pytest.raises(StoreRefused):
        replace("v1.0")
