"""The two kinds of store behind one interface: folder and bucket must keep the same promises."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.core import signing
from django.core.files.storage import storages

import labeler.storage
from exports.errors import ObjectMissing, PreconditionFailed, StoreRefused, StoreUnavailable
from exports.stores import Abilities, StoredObject
from labeler.embedded.processes import free_port
from labeler.storage import LINK_SALT, FolderStore, S3Store
from tests.conftest import s3_options, s3_servers, storages_on
from tests.proxy import Proxy

KEY = "datasets/ds_1/annotations.json"
ODD_NAMES = [
    "데이터/사진 1.png",
    "ключ/ёж 'in' \"quotes\".png",
    "a b/c+d=e&f;g,h@i.png",
    "50%25/#1/?x=y.png",
    "$dollar/!bang/(1)/[2]/{3}/~tilde/^.png",
    "faces/😀.png",
    "dots/...png",
    ".hidden/file",
]
IMPOSSIBLE_NAMES = [
    "",
    ".",
    "..",
    "../evil",
    "a/../../evil",
    "a/../b",
    "a/./b",
    "a/..",
    "nul\x00.png",
    "half a character \ud83d.png",
    "long/" * 300,
]
NO_FILE_NAMES = ["/", "/etc/passwd", "a/", "a//b", ".store", ".store/meta/x", "x" * 256, "ё" * 128]


def put(store, key: str = KEY, content: bytes = b"content", **wish) -> StoredObject:
    """Write bytes as the product does."""
    digest = hashlib.sha256(content).hexdigest()
    wish.setdefault("content_type", "application/json")
    return store.put(key, io.BytesIO(content), size=len(content), sha256=digest, **wish)


def content_of(store, key: str = KEY) -> bytes:
    with store.open_read(key) as body:
        return body.read()


@pytest.fixture
def store(stores):
    """The labeler's store, on each kind in turn."""
    return storages["labeler"]


@pytest.fixture(params=["folder", "moto"])
def swapping(request, settings):
    """A store that checks ETags itself; Ceph 16 does not."""
    storages_on(request.param, settings)
    return storages["labeler"]


@pytest.fixture(params=s3_servers())
def bucket(request) -> S3Store:
    """A bucket on each S3 server."""
    return S3Store(**s3_options(request.param, "labeler"))


@pytest.fixture
def folder(tmp_path) -> FolderStore:
    return FolderStore("labeler", str(tmp_path / "store"))


@pytest.fixture
def proxied():
    """A bucket on moto behind a proxy that can fail on purpose: ``(store, proxy)``."""
    options = s3_options("moto", "labeler")
    proxy = Proxy(options["endpoint_url"])
    yield S3Store(**{**options, "endpoint_url": proxy.endpoint}), proxy
    proxy.stop()


# Writing and reading --------------------------------------------------------------------------


def test_what_was_written_is_what_is_read_and_known(store):
    written = put(store, content=b'{"a": 1}', metadata={"version": "v1.0"})
    found = store.head(KEY)
    assert found == written
    assert (found.key, found.size, found.content_type) == (KEY, 8, "application/json")
    assert found.sha256 == hashlib.sha256(b'{"a": 1}').hexdigest()
    assert found.metadata == {"version": "v1.0", "sha256": found.sha256}
    assert abs(found.last_modified.timestamp() - time.time()) < 3600
    assert content_of(store) == b'{"a": 1}'


def test_an_empty_object_is_an_object(store):
    put(store, content=b"")
    assert (store.head(KEY).size, content_of(store)) == (0, b"")


def test_metadata_in_any_script_comes_back(store):
    values = ["라벨링 데이터셋", "Ёж 100% & 'so'=?", "a\nb", "😀", "", "%41"]
    for value in values:
        put(store, metadata={"dataset_id": value, "updated_at": "2026-11-23T00:00:00Z"})
        found = store.head(KEY).metadata
        assert (found["dataset_id"], found["updated_at"]) == (value, "2026-11-23T00:00:00Z")


def test_an_odd_name_is_one_name_everywhere(store):
    for key in ODD_NAMES:
        put(store, key, key.encode())
        store.copy(key, f"copies/{key}")
    assert [found.key for found in store.listing("copies/")] == sorted(f"copies/{key}" for key in ODD_NAMES)
    for key in ODD_NAMES:
        assert content_of(store, f"copies/{key}") == key.encode() == store.read_range(key, 0, 100)
        store.remove(key)
        with pytest.raises(ObjectMissing):
            store.head(key)
    assert len(list(store.listing(""))) == len(ODD_NAMES)


def test_a_name_no_store_can_hold_is_refused_by_every_door(store):
    put(store, "good", b"1")
    doors = [
        lambda key: put(store, key),
        lambda key: put(store, key, create_only=True),
        store.head,
        store.open_read,
        lambda key: store.read_range(key, 0, 1),
        lambda key: store.copy("good", key),
        lambda key: store.copy(key, "copy"),
        store.remove,
        lambda key: store.link(key, seconds=60),
    ]
    for key, door in itertools.product(IMPOSSIBLE_NAMES, doors):
        with pytest.raises(StoreRefused):
            door(key)
    assert [found.key for found in store.listing("")] == ["good"]


@pytest.mark.parametrize("key", NO_FILE_NAMES)
def test_a_name_that_is_no_file_name_is_refused_by_a_folder(folder, key):
    for door in (lambda: put(folder, key), lambda: folder.head(key), lambda: folder.link(key, seconds=60)):
        with pytest.raises(StoreRefused):
            door()


def test_a_missing_object_is_missing_by_every_door(store):
    put(store, "there/object", b"1")
    for key in ("absent", "there", "there/object/below"):
        for door in (store.head, store.open_read, lambda key: store.read_range(key, 0, 1)):
            with pytest.raises(ObjectMissing):
                door(key)
    with pytest.raises(ObjectMissing):
        store.copy("absent", "copy")


def test_ranges_end_where_the_object_ends(store):
    put(store, content=b"0123456789")
    wanted = [(0, 4), (3, 2), (8, 100), (9, 1), (10, 5), (1000, 5)]
    assert [store.read_range(KEY, *span) for span in wanted] == [b"0123", b"34", b"89", b"9", b"", b""]


def test_a_range_of_an_empty_object_is_empty(store):
    put(store, content=b"")
    assert store.read_range(KEY, 0, 10) == b""


def test_a_large_object_is_read_in_bites(store):
    content = os.urandom(3 * 1024 * 1024 + 17)
    put(store, content=content)
    with store.open_read(KEY) as body:
        bites = list(iter(lambda: body.read(100_000), b""))
    assert b"".join(bites) == content
    assert max(map(len, bites)) <= 100_000


def test_an_object_can_be_read_by_what_expects_a_file(store):
    put(store, content=b"one\ntwo\n")
    with io.TextIOWrapper(io.BufferedReader(store.open_read(KEY))) as lines:
        assert [line.strip() for line in lines] == ["one", "two"]


def test_writing_again_replaces_content_type_and_metadata_too(store):
    first = put(store, content=b"1", metadata={"version": "v1.0", "note": "old"})
    second = put(store, content=b"22", content_type="text/plain", metadata={"version": "v2.0"})
    assert first.etag != second.etag
    found = store.head(KEY)
    assert (found.content_type, found.metadata["version"], "note" in found.metadata) == ("text/plain", "v2.0", False)
    assert content_of(store) == b"22"


def test_the_same_content_under_another_name_has_its_own_metadata(store):
    put(store, "a", b"same", metadata={"version": "v1.0"})
    put(store, "b", b"same", metadata={"version": "v2.0"})
    assert [store.head(key).metadata["version"] for key in "ab"] == ["v1.0", "v2.0"]


def test_a_copy_takes_type_and_metadata_along(store):
    put(store, "from", b"content", content_type="application/zip", metadata={"dataset_id": "ds_일"})
    copied = store.copy("from", "to/there")
    assert (copied.content_type, copied.metadata["dataset_id"]) == ("application/zip", "ds_일")
    assert copied.sha256 == hashlib.sha256(b"content").hexdigest()
    assert content_of(store, "to/there") == content_of(store, "from") == b"content"


def test_a_copy_made_in_parts_takes_them_along_too(store):
    # Larger than what is copied by one request.
    content = os.urandom(9 * 1024 * 1024)
    put(store, "from", content, metadata={"dataset_id": "ds_1"})
    copied = store.copy("from", "to")
    assert (copied.content_type, copied.metadata, copied.size) == (
        "application/json", {"dataset_id": "ds_1", "sha256": hashlib.sha256(content).hexdigest()}, len(content)
    )  # fmt: skip
    assert content_of(store, "to") == content


def test_a_copy_replaces_what_was_there(store):
    put(store, "from", b"new")
    put(store, "to", b"old, and longer")
    store.copy("from", "to")
    assert content_of(store, "to") == b"new"


def test_removing_twice_is_no_error(store):
    put(store)
    store.remove(KEY)
    store.remove(KEY)
    assert list(store.listing("")) == []


def test_nothing_of_a_removed_object_is_left_in_a_folder(folder):
    put(folder, metadata={"a": "b"})
    put(folder, content=b"again", metadata={"a": "c"})
    folder.remove(KEY)
    left = [path for path in folder.root.rglob("*") if path.is_file() and path.parent.name != "locks"]
    assert left == []


# Listing --------------------------------------------------------------------------------------


def test_keys_are_listed_in_key_order_over_all_pages(store, monkeypatch):
    # A thousand to a page would take a thousand writes to fill one.
    monkeypatch.setattr(labeler.storage, "PAGE", 10)
    keys = [f"many/{number * 7 % 40:04}.png" for number in range(40)]
    for key in keys:
        put(store, key, key.encode())
    found = list(store.listing("many/"))
    assert [each.key for each in found] == sorted(keys)
    assert {each.size for each in found} == {len("many/0000.png")}


def test_key_order_is_that_of_bytes_not_of_folders(store):
    keys = ["a/b", "a-b", "a.b", "a0", "a", "B", "a/b/c.png", "é", "z", "ab"]
    # An object and a folder of the same name cannot be side by side in a folder.
    keys = [key for key in keys if key not in ("a", "a/b")]
    for key in keys:
        put(store, key, b"1")
    assert [found.key for found in store.listing("")] == sorted(keys, key=str.encode)


def test_a_prefix_is_a_beginning_and_not_a_folder(store):
    keys = ["ds/1/a.png", "ds/1/b/c.png", "ds/10/d.png", "other"]
    for key in keys:
        put(store, key, b"1")
    expected = {
        "": keys,
        "ds/1/": keys[:2],
        "ds/1": keys[:3],
        "ds/1/b/c": keys[1:2],
        "ds/2/": [],
        "other/": [],
    }
    assert {prefix: [found.key for found in store.listing(prefix)] for prefix in expected} == expected


def test_a_store_nobody_wrote_to_is_empty(store):
    assert list(store.listing("")) == list(store.listing("any/")) == []


def test_what_is_no_object_does_not_spoil_a_folders_listing(folder, tmp_path):
    put(folder, "images/1.png", b"1")
    images, outside = folder.root / "images", tmp_path / "secret"
    outside.write_text("not ours")
    (images / "link-out.png").symlink_to(outside)
    (images / "broken.png").symlink_to("gone.png")
    Path(os.fsdecode(os.fsencode(images) + b"/not-unicode-\xff.png")).write_bytes(b"1")
    (images / "by-hand.png").write_bytes(b"22")
    found = [(each.key, each.size, each.sha256) for each in folder.listing("images/")]
    assert found == [("images/1.png", 1, hashlib.sha256(b"1").hexdigest()), ("images/by-hand.png", 2, None)]
    with pytest.raises(StoreRefused):
        folder.open_read("images/link-out.png")


def test_an_object_and_a_folder_cannot_share_a_name(folder):
    put(folder, "a/b", b"1")
    for wish in ({}, {"create_only": True}):
        with pytest.raises(StoreRefused):
            put(folder, "a", b"2", **wish)
        with pytest.raises(StoreRefused):
            put(folder, "a/b/c", b"3", **wish)
    assert [found.key for found in folder.listing("")] == ["a/b"]


def put_file(store, path: Path, **wish) -> StoredObject:
    size, digest = path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
    with path.open("rb") as body:
        return store.put(KEY, body, size=size, content_type="a/b", sha256=digest, **wish)


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "built"
    path.write_bytes(bytes(range(256)) * 8192)
    return path


def test_a_file_that_is_given_away_becomes_the_object_without_being_copied(folder, file):
    put_file(folder, file, given=file, create_only=True)
    number, content = file.stat().st_ino, file.read_bytes()
    file.unlink()
    assert (folder.root / KEY).stat().st_ino == number
    assert content_of(folder) == content


def test_a_file_that_is_given_away_twice_keeps_what_is_said_of_it(folder, file):
    for _ in range(2):
        put_file(folder, file, given=file)
    assert folder.head(KEY).sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("reason", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_a_file_that_cannot_have_a_second_name_is_copied(folder, file, reason, monkeypatch):
    def refuse(source, target):
        raise OSError(reason, os.strerror(reason))

    # As a disk of its own for what is built, or one that knows no second names, would answer.
    monkeypatch.setattr(os, "link", refuse)
    put_file(folder, file, given=file)
    assert (folder.root / KEY).stat().st_ino != file.stat().st_ino
    assert content_of(folder) == file.read_bytes()


def test_files_of_another_file_system_are_not_brought_to_the_disk_for_a_folder(folder, file):
    assert folder.keeps_files_of(file.parent)
    assert not folder.keeps_files_of(Path("/proc"))


def test_a_folder_that_may_not_be_made_is_told_of_before_anything_is_written(tmp_path):
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(StoreRefused, match="an object stands where a folder must be"):
        FolderStore(alias="labeler", location=str(tmp_path / "store")).keeps_files_of(tmp_path)


def test_a_file_that_is_kept_is_copied_and_may_change_afterwards(folder, file):
    content = file.read_bytes()
    put_file(folder, file)
    file.write_bytes(b"other")
    assert content_of(folder) == content


@pytest.mark.parametrize("able", [True, False], ids=["in the kernel", "by hand"])
def test_of_a_file_that_was_begun_to_be_read_the_rest_is_stored(folder, file, able, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    if not able:
        monkeypatch.setattr(os, "copy_file_range", refuse)
    with file.open("rb") as body:
        begun = body.read(10)
        folder.put(KEY, body, size=file.stat().st_size - 10, content_type="a/b", sha256="")
    assert begun + content_of(folder) == file.read_bytes()


@pytest.mark.parametrize("able", [True, False], ids=["in the kernel", "by hand"])
def test_a_disk_that_loses_a_part_of_a_copy_says_so(folder, file, able, monkeypatch):
    def lose(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    if not able:
        monkeypatch.setattr(os, "copy_file_range", lose)
    monkeypatch.setattr(os, "fdatasync", lose)
    with pytest.raises(StoreUnavailable, match="Input/output error"):
        put_file(folder, file)
    monkeypatch.undo()
    with pytest.raises(ObjectMissing):
        folder.head(KEY)
    put_file(folder, file)
    assert content_of(folder) == file.read_bytes()


@pytest.mark.parametrize("mebibytes", [0.5, 1, 2.5])
def test_a_copy_is_brought_to_the_disk_a_megabyte_at_a_time(folder, tmp_path, mebibytes, monkeypatch):
    brought: list[int] = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda number: (brought.append(os.fstat(number).st_size), real(number)))
    file = tmp_path / "large"
    file.write_bytes(os.urandom(int(mebibytes * 1024**2)))
    put_file(folder, file)
    assert brought == [at * 1024**2 for at in range(1, int(mebibytes) + 1)]


# Power cuts -----------------------------------------------------------------------------------


@pytest.fixture
def brought(monkeypatch) -> list[str]:
    """What is done to the disk, in its order: ``fsync`` or a name, and the path."""
    done: list[str] = []

    def told(name: str, path_of):
        real = getattr(os, name)

        def call(*arguments, **named):
            path = path_of(*arguments)
            if name != "unlink" or os.path.exists(path):
                done.append(f"{name} {path}")
            return real(*arguments, **named)

        monkeypatch.setattr(os, name, call)

    told("fsync", lambda handle: os.readlink(f"/proc/self/fd/{handle}"))
    told("link", lambda source, target: target)
    told("replace", lambda source, target: target)
    told("unlink", lambda path, *_: path)
    return done


def steps(brought: list[str], root: Path) -> list[str]:
    """The steps in words, without the names of what is being written."""
    kinds = {"incoming": "what is written", "meta": "beside it", "exports": "the object"}
    words = []
    for step in brought:
        name, _, path = step.partition(" ")
        parts = Path(path).relative_to(root).parts
        words.append(f"{name} {kinds[next(part for part in parts if part in kinds)]}")
    return words


def test_an_object_and_what_lies_beside_it_are_on_the_disk_before_it_is_there(folder, brought):
    put(folder, "exports/a", create_only=True)
    assert steps(brought, folder.root) == [
        "fsync what is written", "fsync what is written", "replace beside it", "fsync beside it",
        "link the object", "unlink what is written", "fsync the object",
    ]  # fmt: skip


def test_an_object_is_described_until_another_is_on_the_disk_in_its_place(folder, brought):
    put(folder, "exports/a", b"old")
    brought.clear()
    put(folder, "exports/a", b"new")
    assert steps(brought, folder.root)[-3:] == ["replace the object", "fsync the object", "unlink beside it"]


@pytest.mark.parametrize("left", [b"", b"\0" * 300, b'{"content_type": "a/', b"\xff\xfe", b"[]"])
def test_what_lies_beside_an_object_may_be_spoiled_and_its_hash_is_found_anew(linked, caplog, left):
    store, digest = storages["labeler"], hashlib.sha256(b"content").hexdigest()
    put(store, metadata={"version": "v1.0"})
    (side,) = (store.root / ".store" / "meta").iterdir()
    side.write_bytes(left)
    found = store.head(KEY)
    assert (found.sha256, found.metadata, found.content_type) == (
        digest,
        {"sha256": digest},
        "application/octet-stream",
    )
    assert [each.sha256 for each in store.listing("")] == [digest]
    assert store.copy(KEY, "copy").sha256 == digest
    assert body_of(linked()) == b"content"
    assert caplog.text.count("cannot be read") == 1 and KEY in caplog.text
    # As one whose first answer was lost finds out that its object is there.
    with pytest.raises(PreconditionFailed):
        put(store, create_only=True)
    put(store, if_match=found.etag, metadata={"version": "v2.0"})
    assert store.head(KEY).metadata["version"] == "v2.0"
    assert len([*side.parent.iterdir()]) == 2


# Conditions -----------------------------------------------------------------------------------


def test_create_only_leaves_what_is_there_alone(store):
    put(store, content=b"first", create_only=True, metadata={"n": "1"})
    with pytest.raises(PreconditionFailed):
        put(store, content=b"second", create_only=True, metadata={"n": "2"})
    assert (content_of(store), store.head(KEY).metadata["n"]) == (b"first", "1")


def test_of_sixteen_who_create_at_once_one_wins(store):
    start = threading.Barrier(16)

    def create(number: int) -> int | None:
        start.wait()
        try:
            put(store, content=b"%d" % number * 1000, create_only=True, metadata={"n": str(number)})
        except PreconditionFailed:
            return None
        return number

    with ThreadPoolExecutor(16) as threads:
        winners = [number for number in threads.map(create, range(16)) if number is not None]
    assert len(winners) == 1
    assert content_of(store) == b"%d" % winners[0] * 1000
    assert store.head(KEY).metadata["n"] == str(winners[0])


def test_an_object_can_be_created_again_after_it_was_removed(store):
    put(store, content=b"first", create_only=True)
    store.remove(KEY)
    put(store, content=b"second", create_only=True)
    assert content_of(store) == b"second"


def test_a_swap_needs_the_etag_of_now(store):
    first = put(store, content=b"first")
    second = put(store, content=b"second", if_match=first.etag)
    with pytest.raises(PreconditionFailed):
        put(store, content=b"late", if_match=first.etag)
    assert content_of(store) == b"second"
    assert store.head(KEY).etag == second.etag


def test_a_swap_of_a_removed_object_fails(store):
    first = put(store)
    store.remove(KEY)
    with pytest.raises(PreconditionFailed):
        put(store, content=b"late", if_match=first.etag)
    assert list(store.listing("")) == []


def test_of_sixteen_who_swap_at_once_one_wins(swapping):
    first = put(swapping, content=b"first")
    start = threading.Barrier(16)

    def swap(number: int) -> int | None:
        start.wait()
        try:
            put(swapping, content=b"%d" % number, if_match=first.etag)
        except PreconditionFailed:
            return None
        return number

    with ThreadPoolExecutor(16) as threads:
        winners = [number for number in threads.map(swap, range(16)) if number is not None]
    assert len(winners) == 1
    assert content_of(swapping) == b"%d" % winners[0]


class SlowBody(io.BytesIO):
    """Content that arrives when it is told to."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.begun.set()
        assert self.go_on.wait(60)
        return super().read(size)


def test_a_write_that_was_slow_cannot_undo_a_newer_one_in_a_folder(folder):
    first = put(folder, content=b"first")
    late = SlowBody(b"late")
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(
            folder.put, KEY, late, size=4, content_type="a/b", sha256="", if_match=first.etag
        )  # fmt: skip
        assert late.begun.wait(60)
        put(folder, content=b"newer", if_match=first.etag)
        late.go_on.set()
        with pytest.raises(PreconditionFailed):
            writing.result(60)
    assert content_of(folder) == b"newer"


def test_a_request_that_was_held_up_cannot_undo_a_newer_one_in_a_bucket(proxied):
    store, proxy = proxied
    first = put(store, content=b"first")
    direct = S3Store("labeler", store.bucket_name, "moto-key", "moto-secret", os.environ["TEST_S3_MOTO"])
    assert store.abilities.compare_and_swap
    proxy.holding = lambda method, path: method == "PUT"
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(put, store, content=b"late", if_match=first.etag)
        assert proxy.held.wait(60)
        put(direct, content=b"newer", if_match=first.etag)
        proxy.release.set()
        with pytest.raises(PreconditionFailed):
            writing.result(60)
    assert content_of(direct) == b"newer"


def test_a_reader_sees_the_old_object_or_the_new_one_whole(folder):
    put(folder, content=b"0" * 100_000, metadata={"n": "0"})
    done = threading.Event()

    def read() -> int:
        seen = 0
        while not done.is_set():
            content, known = content_of(folder), folder.head(KEY)
            assert len(set(content)) == 1 and len(content) == 100_000
            assert known.metadata["n"] in "0123456789" and known.content_type == "application/json"
            seen += 1
        return seen

    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(read) for _ in range(2)]
        for number in range(200):
            digit = str(number % 10)
            put(folder, content=digit.encode() * 100_000, metadata={"n": digit})
        done.set()
        assert all(reader.result(60) > 0 for reader in readers)


def test_a_body_that_breaks_off_leaves_the_object_as_it_was(folder):
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    put(folder, content=b"whole")
    with pytest.raises(StoreUnavailable):
        folder.put(KEY, Broken(), size=4, content_type="a/b", sha256="")
    assert content_of(folder) == b"whole"
    assert list((folder.root / ".store" / "incoming").iterdir()) == []


# What a store can do is found by trying -------------------------------------------------------


def test_folder_and_moto_check_both_conditions(swapping):
    assert swapping.probe() == Abilities(create_only=True, compare_and_swap=True)


def test_every_bucket_checks_create_only_and_keeps_nothing_of_the_trial(bucket):
    assert bucket.probe().create_only
    assert list(bucket.listing("")) == []


def test_a_bucket_is_believed_to_swap_only_if_it_does(bucket):
    first = put(bucket, content=b"first")
    put(bucket, content=b"second")
    refused = bucket._refuses(KEY, IfMatch=first.etag)
    taken = not bucket._refuses(KEY, IfMatch=bucket.head(KEY).etag)
    assert bucket.probe().compare_and_swap == (refused and taken)


def test_a_busy_store_is_asked_again_and_not_thought_unable(proxied):
    store, proxy = proxied
    proxy.failing = lambda method, path: method == "PUT" and proxy.count("PUT", "labeler-probe") > 1
    with pytest.raises(StoreUnavailable):
        store.probe()
    proxy.failing = lambda method, path: False
    assert store.probe() == Abilities(create_only=True, compare_and_swap=True)


# Large objects go in parts --------------------------------------------------------------------


@pytest.fixture
def small_parts(monkeypatch):
    """As if 6 MB were a lot: what S3 allows as smallest part is 5 MiB."""
    monkeypatch.setattr(labeler.storage, "MULTIPART_FROM", 6_000_000)
    monkeypatch.setattr(labeler.storage, "PART", 5 * 1024 * 1024)


def test_an_object_in_parts_is_as_any_other(bucket, small_parts):
    content = os.urandom(11_000_000)
    written = put(bucket, content=content, metadata={"version": "v1.0"}, create_only=True)
    assert (written.size, written.content_type, written.metadata["version"]) == (
        11_000_000, "application/json", "v1.0"
    )  # fmt: skip
    assert content_of(bucket) == content


def test_create_only_holds_for_objects_in_parts(bucket, small_parts):
    put(bucket, content=b"first")
    with pytest.raises(PreconditionFailed):
        put(bucket, content=b"2" * 7_000_000, create_only=True)
    assert content_of(bucket) == b"first"


def test_parts_of_an_upload_that_failed_are_taken_away(proxied, small_parts):
    store, proxy = proxied
    assert store.probe().create_only
    proxy.failing = lambda method, path: "partNumber=2" in path
    with pytest.raises(StoreUnavailable):
        put(store, content=b"1" * 11_000_000, create_only=True)
    assert "Uploads" not in store.client.list_multipart_uploads(Bucket=store.bucket_name)
    assert list(store.listing("")) == []


# Stores that do not answer, or refuse ---------------------------------------------------------


def doors(store) -> list:
    """Every way to ask a store for something."""
    return [
        lambda: put(store, "k", b"1"),
        lambda: put(store, "k", b"1", create_only=True),
        lambda: store.open_read("k"),
        lambda: store.read_range("k", 0, 1),
        lambda: store.copy("k", "l"),
        lambda: list(store.listing("")),
        lambda: store.remove("k"),
        lambda: store.probe(),
    ]


def test_an_endpoint_where_nobody_listens_is_unavailable():
    gone = S3Store("labeler", "any", "key", "secret", f"http://127.0.0.1:{free_port()}")
    for door in [*doors(gone), lambda: gone.head("k")]:
        with pytest.raises(StoreUnavailable):
            door()


def test_no_request_waits_for_ever():
    config = S3Store("labeler", "any", "key", "secret", "http://127.0.0.1:1").client.meta.config
    assert config.connect_timeout + config.read_timeout <= 30
    assert config.retries["total_max_attempts"] <= 3


def test_a_store_that_answers_503_is_unavailable(proxied):
    store, proxy = proxied
    proxy.failing = lambda method, path: True
    for door in [*doors(store), lambda: store.head("k")]:
        with pytest.raises(StoreUnavailable):
            door()


REFUSAL = "<?xml version='1.0'?><Error><Code>{}</Code><Message>Not now.</Message></Error>"


@pytest.fixture
def refusing():
    """A bucket whose server refuses everything, ``refusing(status, code, date)`` says how."""
    said = {}

    class Handler(BaseHTTPRequestHandler):
        def refuse(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b"" if self.command == "HEAD" else REFUSAL.format(said["code"]).encode()
            self.send_response_only(said["status"])
            for name, value in (("Date", said["date"]), ("Content-Length", str(len(body)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = refuse

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def refuse(status: int, code: str, ahead: float = 0) -> S3Store:
        said.update(status=status, code=code, date=formatdate(time.time() + ahead, usegmt=True))
        return S3Store("labeler", "any", "key", "secret", f"http://127.0.0.1:{server.server_port}")

    yield refuse
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "ahead"),
    [
        (429, "TooManyRequests", 0), (429, "SlowDown", 0), (429, "AnyOther", 0), (503, "SlowDown", 0),
        (403, "RequestTimeTooSkewed", 3600), (403, "RequestTimeTooSkewed", -3600),
    ],
)  # fmt: skip
def test_what_a_store_refuses_for_now_is_tried_again(refusing, status, code, ahead):
    store = refusing(status, code, ahead)
    for door in (lambda: put(store, "k"), lambda: store.head("k")):
        with pytest.raises(StoreUnavailable):
            door()


def test_another_request_in_the_way_of_a_write_is_waited_for(refusing):
    store = refusing(409, "OperationAborted")
    with pytest.raises(StoreUnavailable):
        put(store, "k")


def test_access_that_is_denied_is_no_matter_of_clocks(refusing):
    store = refusing(403, "AccessDenied", 60)
    for door in [*doors(store), lambda: store.head("k")]:
        with pytest.raises(StoreRefused):
            door()


def test_a_store_that_hangs_up_is_unavailable(proxied):
    store, proxy = proxied
    proxy.dropping_answers = lambda method, path: True
    with pytest.raises(StoreUnavailable):
        put(store)


def test_a_bucket_that_is_not_there_refuses(bucket):
    options = {"access_key": bucket.access_key, "secret_key": bucket.secret_key}
    wrong = S3Store("labeler", "no-such-bucket-at-all", endpoint_url=bucket.endpoint_url, **options)
    for door in doors(wrong):
        # Asked about one object, S3 itself does not say which of the two is missing.
        with pytest.raises((StoreRefused, ObjectMissing)):
            door()
    with pytest.raises(StoreRefused):
        list(wrong.listing(""))
    with pytest.raises(StoreRefused):
        put(wrong)


def half_an_answer(listener: socket.socket) -> None:
    """Answer every request with ten bytes of a thousand."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.recv(65536)
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: "1"\r\n\r\n' + b"0123456789")


@pytest.fixture
def breaking_off():
    """A bucket whose server dies in the middle of every answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=half_an_answer, args=(listener,), daemon=True).start()
        yield S3Store("labeler", "any", "key", "secret", f"http://127.0.0.1:{listener.getsockname()[1]}")
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("size", [-1, 100, 1000])
def test_a_store_that_dies_while_it_is_read_is_unavailable(breaking_off, size):
    with breaking_off.open_read("k") as body, pytest.raises(StoreUnavailable):
        while body.read(size):
            pass


def test_half_a_range_is_not_taken_for_the_whole(breaking_off):
    with pytest.raises(StoreUnavailable):
        breaking_off.read_range("k", 0, 1000)


def test_a_folder_that_cannot_be_one_refuses_and_says_which(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    store = FolderStore("platform", str(tmp_path / "file"))
    with pytest.raises(StoreRefused, match="platform folder"):
        put(store)
    with pytest.raises(ObjectMissing):
        store.head(KEY)


def test_a_folder_on_a_full_disk_is_unavailable_and_keeps_what_it_has(tmp_path):
    store = FolderStore("labeler", str(tmp_path))
    put(store, content=b"whole")

    class Full(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(28, "No space left on device")

    with pytest.raises(StoreUnavailable, match="No space left"):
        store.put(KEY, Full(), size=1, content_type="a/b", sha256="")
    assert content_of(store) == b"whole"


# Links ----------------------------------------------------------------------------------------


@pytest.fixture
def linked(settings, client):
    """A folder's link as a browser uses it: ``linked(key, **wish)`` gives the answer."""
    store = storages["labeler"]

    def get(key: str = KEY, *, change=lambda url: url, seconds: int = 60, filename: str | None = None, **headers):
        return client.get(change(store.link(key, seconds=seconds, filename=filename)), headers=headers)

    return get


def body_of(answer) -> bytes:
    return b"".join(answer.streaming_content) if answer.streaming else answer.content


def test_a_link_needs_no_identity(linked):
    put(storages["labeler"], content=b"0123456789")
    answer = linked()
    assert (answer.status_code, body_of(answer), answer["Content-Length"]) == (200, b"0123456789", "10")
    assert answer["Accept-Ranges"] == "bytes"
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_a_link_ends(linked):
    put(storages["labeler"])
    answer = linked(seconds=-1)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "expired" in answer.json()["detail"]


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url[:-1] + ("A" if url[-1] != "A" else "B"),
        lambda url: url.replace("token=", "token=x"),
        lambda url: url.partition("?")[0],
        lambda url: url.partition("?")[0] + "?token=",
        lambda url: url.partition("?")[0] + "?token=%00%ff",
        lambda url: url.partition("?")[0] + "?token=링크",
        lambda url: url + url.partition("token=")[2],
    ],
)
def test_a_changed_link_is_refused(linked, change):
    put(storages["labeler"])
    answer = linked(change=change)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_what_was_signed_for_another_purpose_is_no_link(linked):
    put(storages["labeler"])
    token = signing.dumps(["labeler", KEY, int(time.time()) + 60, None], salt="another", compress=True)
    assert linked(change=lambda url: url.partition("?")[0] + f"?token={token}").status_code == 403


@pytest.mark.parametrize("key", ["../../../etc/passwd", "/etc/passwd", ".store/meta/x", "absent", "a\x00b"])
def test_a_link_we_would_never_sign_leads_nowhere(client, key):
    put(storages["labeler"])
    token = signing.dumps(["labeler", key, int(time.time()) + 60, None], salt=LINK_SALT, compress=True)
    answer = client.get("/files/", {"token": token})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_link_only_reads(client):
    url = storages["labeler"].link(KEY, seconds=60)
    for method in (client.post, client.put, client.delete, client.patch):
        assert method(url).status_code == 405


@pytest.mark.parametrize(
    ("wanted", "status", "content", "span"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=-100", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=5-1000", 206, b"56789", "bytes 5-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=1000-2000", 416, b"", "bytes */10"),
        ("bytes=-0", 416, b"", "bytes */10"),
    ],
)
def test_a_link_answers_ranges(linked, wanted, status, content, span):
    put(storages["labeler"], content=b"0123456789")
    answer = linked(Range=wanted)
    assert (answer.status_code, body_of(answer), answer["Content-Range"]) == (status, content, span)


@pytest.mark.parametrize("wanted", ["bytes=-", "lines=1-2", "bytes=0-1,3-4", "bytes=a-b", "bytes=" + "9" * 5000 + "-"])
def test_a_range_that_is_none_gives_the_whole_file(linked, wanted):
    put(storages["labeler"], content=b"0123456789")
    answer = linked(Range=wanted)
    assert (answer.status_code, body_of(answer)) == (200, b"0123456789")


@pytest.mark.parametrize(
    ("filename", "disposition"),
    [
        ("v1.0.zip", 'attachment; filename="v1.0.zip"'),
        ('say "hi".zip', r'attachment; filename="say \"hi\".zip"'),
        ("데이터.zip", "attachment; filename*=utf-8''%EB%8D%B0%EC%9D%B4%ED%84%B0.zip"),
    ],
)
def test_a_download_has_its_name(linked, filename, disposition):
    put(storages["labeler"], content_type="application/zip")
    answer = linked(filename=filename)
    assert answer["Content-Disposition"] == disposition
    assert answer["Content-Type"] == "application/zip"


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("a.png", "image/png"),
        ("a.JPG", "image/jpeg"),
        ("a.html", "application/octet-stream"),
        ("a.svg", "application/octet-stream"),
        ("a.js", "application/octet-stream"),
    ],
)
def test_a_page_is_shown_images_and_nothing_a_browser_runs(linked, key, shown):
    put(storages["labeler"], key, b"<script>alert(1)</script>", content_type="text/html")
    answer = linked(key)
    assert (answer["Content-Type"], answer["X-Content-Type-Options"]) == (shown, "nosniff")


def get(url: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Status, content and headers of a bucket's link, whatever they are."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def test_a_buckets_link_needs_no_identity(bucket):
    for key in [KEY, *ODD_NAMES]:
        put(bucket, key, b"0123456789")
        status, content, headers = get(bucket.link(key, seconds=60, filename="데이터 v1.zip"))
        assert (status, content) == (200, b"0123456789")
        assert headers["Content-Disposition"] == "attachment; filename*=utf-8''%EB%8D%B0%EC%9D%B4%ED%84%B0%20v1.zip"
        assert get(bucket.link(key, seconds=60), Range="bytes=2-4")[:2] == (206, b"234")


def test_a_buckets_link_lives_at_most_seven_days(bucket):
    assert "X-Amz-Expires=604800" in bucket.link(KEY, seconds=30 * 24 * 3600)


def test_a_buckets_link_leads_where_browsers_reach_the_store(bucket):
    outside = S3Store(
        "labeler", bucket.bucket_name, "key", "secret", bucket.endpoint_url, public_endpoint_url="https://store.example.org"
    )  # fmt: skip
    assert outside.link(KEY, seconds=60).startswith(f"https://store.example.org/{bucket.bucket_name}/{KEY}?")


# Who asks: only Ceph looks, moto lets everybody in ------------------------------------------------


needs_ceph = pytest.mark.skipif("ceph" not in s3_servers(), reason="Ceph radosgw is not installed here")


@pytest.fixture
def strict() -> S3Store:
    """A bucket whose server checks signatures and expiry."""
    return S3Store(**s3_options("ceph", "labeler"))


@needs_ceph
def test_a_strict_store_refuses_links_that_ended(strict):
    put(strict)
    url = strict.link(KEY, seconds=1)
    time.sleep(2.5)
    assert get(url)[0] == 403


@needs_ceph
@pytest.mark.parametrize("change", [("annotations.json", "other.json"), ("X-Amz-Expires=60", "X-Amz-Expires=6000")])
def test_a_strict_store_refuses_changed_links(strict, change):
    put(strict)
    put(strict, KEY.replace("annotations", "other"))
    url = strict.link(KEY, seconds=60)
    assert (get(url)[0], get(url.replace(*change))[0], get(url.partition("?")[0])[0]) == (200, 403, 403)


@needs_ceph
@pytest.mark.parametrize("wrong", [{"access_key": "nobody"}, {"secret_key": "guessed"}])
def test_wrong_keys_are_refused_and_not_thought_a_pause(strict, wrong):
    put(strict, "k", b"1")
    stranger = S3Store(
        **{
            "alias": "labeler",
            "bucket_name": strict.bucket_name,
            "endpoint_url": strict.endpoint_url,
            "access_key": strict.access_key,
            "secret_key": strict.secret_key,
            **wrong,
        }
    )
    for door in [*doors(stranger), lambda: stranger.head("k")]:
        with pytest.raises(StoreRefused):
            door()
    assert content_of(strict, "k") == b"1"


def test_what_a_killed_writer_left_is_gone_a_day_later(folder):
    put(folder, "a.txt", b"first")
    incoming = Path(folder.location) / ".store" / "incoming"
    forgotten, fresh = incoming / "forgotten", incoming / "fresh"
    for left in (forgotten, fresh):
        left.write_bytes(b"half")
    os.utime(forgotten, (0, 0))
    put(folder, "b.txt", b"second")
    assert fresh.exists() and not forgotten.exists()
