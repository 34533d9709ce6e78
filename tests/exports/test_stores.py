"""The stores by alias: writing twice is writing once, and an answer that was lost is looked for."""

from __future__ import annotations

import gzip
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.files.storage import storages

from exports import stores as api
from exports.errors import ContentConflict, ObjectMissing, PreconditionFailed, StoreRefused, StoreUnavailable
from exports.stores import StoredObject
from tests.conftest import behind_proxy, s3_client

KEY = "exports/1/v1.0/annotations.json"


@pytest.fixture
def written(tmp_path):
    """A local file, as the arguments of a write: ``written(b"...")``."""

    def write(content: bytes) -> dict:
        path = tmp_path / f"file{len(list(tmp_path.iterdir()))}"
        path.write_bytes(content)
        return {
            "path": path,
            "sha256": api.sha256_of_file(path),
            "size": len(content),
            "content_type": "application/json",
        }

    return write


@pytest.fixture
def proxy(settings):
    """The labeler's store on moto, behind a proxy that fails on purpose."""
    with behind_proxy(settings, "labeler") as proxy:
        yield proxy


def first_of(method: str, part: str):
    """A rule for the first request of its kind only."""
    seen = []

    def rule(asked: str, path: str) -> bool:
        if asked == method and part in path:
            seen.append(path)
            return len(seen) == 1
        return False

    return rule


def put_new(written: dict, key: str = KEY, **wish) -> StoredObject:
    return api.put_new("labeler", key, written.pop("path"), **written, **wish)


# Create-only ----------------------------------------------------------------------------------


def test_writing_the_same_twice_is_writing_once(stores, written):
    first = put_new(written(b"content"), metadata={"version": "v1.0"})
    second = put_new(written(b"content"), metadata={"version": "v1.0"})
    assert first == second
    assert api.read_small("labeler", KEY) == b"content"


def test_other_content_under_the_same_key_is_a_conflict_and_changes_nothing(stores, written):
    put_new(written(b"first"))
    with pytest.raises(ContentConflict, match=KEY):
        put_new(written(b"other"))
    assert api.read_small("labeler", KEY) == b"first"


def test_a_hash_somebody_wrote_beside_it_proves_nothing(stores, written):
    honest = written(b"content")
    forged = {**written(b"forged!"), "sha256": honest["sha256"]}
    api.put_latest("labeler", KEY, forged.pop("path"), **forged)
    assert api.head("labeler", KEY).sha256 == honest["sha256"]
    with pytest.raises(ContentConflict):
        put_new(honest)


def test_of_sixteen_who_write_the_same_all_succeed(stores, written):
    start = threading.Barrier(16)
    wishes = [written(b"same content") for _ in range(16)]

    def write(wish: dict) -> StoredObject:
        start.wait()
        return put_new(wish)

    with ThreadPoolExecutor(16) as threads:
        assert len({found.etag for found in threads.map(write, wishes)}) == 1


def test_of_sixteen_who_write_different_things_one_succeeds(stores, written):
    start = threading.Barrier(16)
    wishes = [written(b"content %d" % number) for number in range(16)]

    def write(wish: dict) -> bool:
        start.wait()
        try:
            put_new(wish)
        except ContentConflict:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        assert sorted(threads.map(write, wishes)) == [False] * 15 + [True]


def test_an_answer_that_was_lost_once_is_success(proxy, written):
    proxy.dropping_answers = first_of("PUT", KEY)
    found = put_new(written(b"content"), metadata={"version": "v1.0"})
    # The second try was refused, because the first had landed.
    assert proxy.count("PUT", KEY) == 2
    assert (found.sha256, found.metadata["version"]) == (api.hash_of("labeler", KEY), "v1.0")


def test_a_write_nobody_ever_answered_is_success_when_it_is_tried_again(proxy, written):
    proxy.dropping_answers = lambda method, path: method == "PUT"
    with pytest.raises(StoreUnavailable):
        put_new(written(b"content"))
    proxy.dropping_answers = lambda method, path: False
    assert put_new(written(b"content")).size == 7


def test_a_store_that_cannot_now_is_no_conflict(proxy, written):
    proxy.failing = lambda method, path: method == "PUT"
    with pytest.raises(StoreUnavailable):
        put_new(written(b"content"))
    assert api.find("labeler", KEY) is None


def test_what_was_in_the_way_and_is_gone_is_worth_another_try(proxy, written):
    put_new(written(b"in the way"))
    store = storages["labeler"]

    def clear_away(method: str, path: str) -> bool:
        if method == "GET":
            client = s3_client(os.environ["TEST_S3_MOTO"], "moto-key", "moto-secret")
            client.delete_object(Bucket=store.bucket_name, Key=KEY)
        return False

    proxy.holding = clear_away
    with pytest.raises(StoreUnavailable, match="gone"):
        put_new(written(b"content"))
    assert put_new(written(b"content")).size == 7


# Swap -----------------------------------------------------------------------------------------


def swap(written: dict, etag: str | None) -> StoredObject:
    return api.swap("labeler", KEY, written.pop("path"), etag=etag, metadata={}, **written)


def test_a_swap_from_nothing_needs_nothing_there(stores, written):
    first = swap(written(b"first"), None)
    with pytest.raises(PreconditionFailed):
        swap(written(b"second"), None)
    assert swap(written(b"second"), first.etag).size == 6
    assert api.read_small("labeler", KEY) == b"second"


def test_a_swap_never_makes_an_object_that_was_removed(stores, written):
    first = swap(written(b"first"), None)
    api.remove("labeler", KEY)
    with pytest.raises(PreconditionFailed):
        swap(written(b"second"), first.etag)
    assert api.find("labeler", KEY) is None


# Reading --------------------------------------------------------------------------------------


def test_the_two_aliases_are_two_stores(stores, put_object):
    put_object("labeler", KEY, b"ours")
    assert api.find("platform", KEY) is None
    put_object("platform", KEY, b"theirs")
    assert [api.read_small(alias, KEY) for alias in ("labeler", "platform")] == [b"ours", b"theirs"]


def test_what_is_absent_is_found_to_be_absent(stores, tmp_path):
    assert api.find("labeler", "absent") is None
    for door in (api.head, api.open_read, api.read_small, api.hash_of):
        with pytest.raises(ObjectMissing):
            door("labeler", "absent")
    with pytest.raises(ObjectMissing):
        api.download("labeler", "absent", tmp_path / "file")
    api.remove("labeler", "absent")


def test_a_download_is_what_its_hash_says(stores, put_object, tmp_path):
    content = os.urandom(2 * api.BITE + 5)
    stored = put_object("labeler", KEY, content)
    target = tmp_path / "downloaded"
    assert api.download("labeler", KEY, target) == stored.sha256 == api.hash_of("labeler", KEY)
    assert target.read_bytes() == content


def test_a_small_object_may_not_be_large(stores, put_object):
    put_object("labeler", KEY, b"12345")
    assert api.read_small("labeler", KEY, most=5) == b"12345"
    with pytest.raises(StoreRefused, match="larger than 4 bytes"):
        api.read_small("labeler", KEY, most=4)


def test_a_packed_object_is_unpacked_as_it_streams(stores, put_object):
    put_object("labeler", KEY, gzip.compress(b"line\n" * 1000))
    with api.open_read("labeler", KEY) as body, gzip.open(body) as lines:
        assert sum(1 for _ in lines) == 1000


def test_a_copy_is_the_same_object_elsewhere(stores, put_object):
    stored = put_object("labeler", KEY, b"content", "application/zip")
    copied = api.copy("labeler", KEY, "working/annotations.json")
    assert (copied.sha256, copied.content_type, copied.size) == (stored.sha256, "application/zip", 7)
    assert [found.key for found in api.listing("labeler", "")] == [KEY, "working/annotations.json"]


def test_a_copy_may_be_given_as_a_file_and_is_an_object_of_its_own(stores, put_object, tmp_path):
    stored = put_object("labeler", KEY, b"content", "application/zip")
    given = tmp_path / "given"
    given.write_bytes(b"content")
    for _ in range(2):
        copied = api.copy("labeler", KEY, "working/annotations.json", given=given)
        assert (copied.sha256, copied.content_type, copied.size) == (stored.sha256, "application/zip", 7)
    given.unlink()
    api.remove("labeler", KEY)
    assert api.read_small("labeler", "working/annotations.json") == b"content"
    assert [found.key for found in api.listing("labeler", "")] == ["working/annotations.json"]


def test_a_range_is_read_without_the_rest(proxy, put_object):
    put_object("labeler", KEY, b"0123456789")
    assert api.read_range("labeler", KEY, 4, 3) == b"456"


def test_a_local_files_hash_is_that_of_its_bytes(tmp_path):
    path = Path(tmp_path) / "file"
    path.write_bytes(b"abc")
    assert api.sha256_of_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_replaces_an_object_too_late_replaces_nothing_newer(proxy, written):
    def put(content: bytes) -> None:
        file = written(content)
        api.put_latest("labeler", KEY, file.pop("path"), **file)

    put(b"first")
    late = proxy.strike("late", "PUT", KEY)
    put(b"second")
    put(b"third")
    late.release.set()
    assert late.landed.wait(30) and (len(late.struck), late.outcome) == (1, 412)
    assert api.read_small("labeler", KEY) == b"third"


def test_an_object_others_keep_writing_is_left_for_later(proxy, written, monkeypatch):
    def taken(*args, **wish):
        raise api.PreconditionFailed("another was faster")

    monkeypatch.setattr(api, "swap", taken)
    file = written(b"x")
    with pytest.raises(api.StoreUnavailable, match="kept changing"):
        api.put_latest("labeler", KEY, file.pop("path"), **file)
