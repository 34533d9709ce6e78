"""The backends behind the two store aliases: a bucket that speaks S3, or a folder, one interface.

Beyond Django's storage interface both can write create-only and swap by ETag, read ranges, and sign
links. Create-only and swap are conditions the store itself checks: no lock of ours can protect an
object from a request that arrives late.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import hashlib
import io
import json
import logging
import os
import re
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import quote, unquote
from uuid import uuid4

import boto3
import botocore.exceptions
from botocore.config import Config
from django.conf import settings
from django.core import signing
from django.core.files.storage import FileSystemStorage
from django.urls import get_script_prefix, reverse
from django.utils.http import content_disposition_header
from storages.backends.s3 import S3Storage

from exports.errors import ObjectMissing, PreconditionFailed, StoreRefused, StoreUnavailable
from exports.stores import Abilities, StoredObject
from labeler.metrics import STORE_BYTES, STORE_ERRORS

log = logging.getLogger(__name__)

LINK_SALT = "labeler.file-link"
BITE = 1024 * 1024
PROBE_KEY = ".labeler-probe/conditions"


def _checked(key: str) -> str:
    """The key, unless no store can hold it: HTTP clients resolve dot segments on their own, into other names."""
    try:
        length = len(key.encode())
    except UnicodeEncodeError as error:
        raise StoreRefused(f"{key!r} is not an object name: it is not Unicode text.") from error
    if not 0 < length <= 1024 or "\x00" in key or {".", ".."} & set(key.split("/")):
        raise StoreRefused(f"{key!r} is not an object name.")
    return key


# A folder -----------------------------------------------------------------------------------


class FolderStore(FileSystemStorage):
    """A folder that behaves as a bucket: whole objects only, create-only by link, swap under a lock."""

    storage_type = "local"

    def __init__(self, alias: str, location: str) -> None:
        self.alias = alias
        self.bucket_label = f"{alias}-folder"
        super().__init__(location=location)

    def deconstruct(self) -> tuple[str, list, dict]:
        """For Django's migrations."""
        return "labeler.storage.FolderStore", [], {"alias": self.alias, "location": str(self.location)}

    @property
    def root(self) -> Path:
        """The folder objects lie in; everything else of the store is in ``.store`` beside them."""
        return Path(self.location)

    @property
    def _private(self) -> Path:
        return self.root / ".store"

    @staticmethod
    def _parts(key: str) -> list[str]:
        parts = _checked(key).split("/")
        if "" in parts or parts[0] == ".store" or any(len(part.encode()) > 255 for part in parts):
            raise StoreRefused(f"{key!r} is not the name of an object in a folder.")
        return parts

    def _path(self, key: str) -> Path:
        path = self.root.joinpath(*self._parts(key))
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise StoreRefused(f"{key!r} leads out of the store.")
        return path

    def _side(self, key: str, etag: str) -> Path:
        # Named by the object's ETag too: a crash before the object is swapped leaves the old one described.
        name = f"{hashlib.sha256(key.encode()).hexdigest()}.{etag.strip(chr(34))}.json"
        return self._private / "meta" / name

    def put(
        self,
        key: str,
        body: BinaryIO,
        *,
        size: int,
        content_type: str,
        sha256: str,
        metadata: dict[str, str] | None = None,
        create_only: bool = False,
        if_match: str | None = None,
        given: Path | None = None,
    ) -> StoredObject:
        """Write an object whole. Raises PreconditionFailed when the condition is not met. ``given`` is the file that
        ``body`` reads, if nobody writes to it any more: it becomes the object without being copied."""
        path = self._path(key)
        with self._unavailable(), self._incoming(body, given) as incoming:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked(key):
                if if_match is not None and (not path.is_file() or self._etag(path) != if_match):
                    raise PreconditionFailed(f"{key} is not what it was.")
                if create_only and path.is_file():
                    raise PreconditionFailed(f"{key} exists.")
                if path.is_dir():
                    raise StoreRefused(f"{key} is a folder of other objects.")
                side = {"content_type": content_type, "metadata": {**(metadata or {}), "sha256": sha256}}
                before, now = self._etag(path) if path.exists() else None, self._etag(incoming)
                self._write_side(self._side(key, now), side)
                if create_only:
                    self._link(incoming, path, key)
                else:
                    os.replace(incoming, path)
                _sync(path.parent)
                # Not before: should the power fail, the old object may be the one that is there.
                if before not in (None, now):
                    self._side(key, before).unlink(missing_ok=True)
            STORE_BYTES.labels(self.alias).inc(size)
            return self.head(key)

    def keeps_files_of(self, folder: Path) -> bool:
        """Whether a file given from this folder becomes the object: those of the same file system do, unless it is
        mounted twice; then they are copied."""
        with self._unavailable():
            self.root.mkdir(parents=True, exist_ok=True)
            return folder.stat().st_dev == self.root.stat().st_dev

    def _link(self, incoming: Path, path: Path, key: str) -> None:
        try:
            os.link(incoming, path)
        except FileExistsError as error:
            raise PreconditionFailed(f"{key} exists.") from error
        incoming.unlink()

    @contextmanager
    def _incoming(self, body: BinaryIO, given: Path | None) -> Iterator[Path]:
        new = self._new()
        _remove_forgotten(new.parent)
        try:
            if given is None or not _named_too(given, new):
                with new.open("xb") as out:
                    _pour(body, out)
            _sync(new)
            os.chmod(new, 0o644)
            yield new
        finally:
            new.unlink(missing_ok=True)

    def _new(self) -> Path:
        """A name for what is being written."""
        folder = self._private / "incoming"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / uuid4().hex

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        folder = self._private / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        # A few locks for all keys: enough that writers of different objects rarely wait.
        with (folder / hashlib.sha256(key.encode()).hexdigest()[:2]).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write_side(self, side: Path, values: dict[str, Any]) -> None:
        """On the disk before the object it describes: no power cut leaves one without the other."""
        side.parent.mkdir(parents=True, exist_ok=True)
        new = self._new()
        try:
            new.write_text(json.dumps(values))
            _sync(new)
            os.replace(new, side)
        finally:
            new.unlink(missing_ok=True)
        _sync(side.parent)

    @staticmethod
    def _etag(path: Path) -> str:
        return _etag_of(path.stat())

    def head(self, key: str) -> StoredObject:
        """What is known of an object; raises ObjectMissing."""
        with self._unavailable():
            found, side = self._described(key)
        etag, metadata = _etag_of(found), side.get("metadata", {})
        return StoredObject(
            key=key,
            size=found.st_size,
            etag=etag,
            last_modified=datetime.fromtimestamp(found.st_mtime, UTC),
            content_type=side.get("content_type", "application/octet-stream"),
            metadata=metadata,
            sha256=metadata.get("sha256"),
        )

    def _described(self, key: str) -> tuple[os.stat_result, dict[str, Any]]:
        """The file and what was written beside it, both of one moment."""
        path = self._path(key)
        found = self._found(key, path)
        while (side := self._read_side(self._side(key, _etag_of(found)))) is None:
            again = self._found(key, path)
            if _etag_of(again) == _etag_of(found):
                # A file put there by hand has no side information.
                return found, {}
            found = again
        return found, side if isinstance(side, dict) else self._side_again(key, found)

    def _side_again(self, key: str, found: os.stat_result) -> dict[str, Any]:
        """What the object itself tells, in place of what stood beside it and cannot be read."""
        log.warning("What lay beside %s in the %s folder cannot be read; its hash is found anew.", key, self.alias)
        etag = _etag_of(found)
        with cast(io.BufferedReader, self.open_read(key)) as body:
            if _etag_of(os.fstat(body.fileno())) != etag:
                raise StoreUnavailable(f"{key} was replaced while it was looked at; try again.")
            side = {"metadata": {"sha256": hashlib.file_digest(body, "sha256").hexdigest()}}
        # Where we may only read, it is found anew each time.
        with suppress(OSError), self._locked(key):
            if self._etag(self._path(key)) == etag:
                self._write_side(self._side(key, etag), side)
        return side

    def _found(self, key: str, path: Path) -> os.stat_result:
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ObjectMissing(f"{key} is not in the store.") from error
        if not stat.S_ISREG(found.st_mode):
            raise ObjectMissing(f"{key} is not in the store.")
        return found

    def _read_side(self, side: Path) -> Any:
        """None where there is none, False where it cannot be read: a disk that lost its power may have emptied it."""
        try:
            found = json.loads(side.read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            return False
        return found if isinstance(found, dict) else False

    def open_read(self, key: str) -> BinaryIO:
        """The object for reading, streamed; raises ObjectMissing."""
        path = self._path(key)
        with self._unavailable():
            self._found(key, path)
            try:
                return path.open("rb")
            except FileNotFoundError as error:
                raise ObjectMissing(f"{key} is not in the store.") from error

    def open_local(self, key: str, folder: Path) -> BinaryIO:
        """The object as a file; it is one."""
        return self.open_read(key)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``start``; fewer at the end."""
        with self.open_read(key) as file:
            file.seek(start)
            return file.read(length)

    def copy(self, source: str, target: str, *, given: Path | None = None) -> StoredObject:
        """Copy an object inside the store; ``given`` is a file of the same bytes, as with ``put``."""
        found = self.head(source)
        with self._unavailable(), self.open_read(source) if given is None else given.open("rb") as body:
            return self.put(
                target,
                body,
                size=found.size,
                content_type=found.content_type,
                sha256=found.sha256 or "",
                metadata=found.metadata,
                given=given,
            )

    def listing(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key starts with ``prefix``, in key order."""
        start = self._path(prefix.rstrip("/")) if prefix.strip("/") else self.root
        base = start if prefix.endswith("/") or not prefix else start.parent
        if not base.is_dir():
            return
        found = (Path(folder) / name for folder, _, names in os.walk(base) for name in names)
        keys = (path.relative_to(self.root).as_posix() for path in found)
        for key in sorted(key for key in keys if key.startswith(prefix) and not key.startswith(".store/")):
            # Links out of the folder, names no request could carry, and what was removed meanwhile are no objects.
            with suppress(ObjectMissing, StoreRefused):
                yield self.head(key)

    def remove(self, key: str) -> None:
        """Take an object away; one that is not there is no error."""
        path = self._path(key)
        if not path.is_file():
            return
        with self._unavailable(), self._locked(key), suppress(FileNotFoundError):
            side = self._side(key, self._etag(path))
            path.unlink()
            side.unlink(missing_ok=True)

    def link(self, key: str, *, seconds: int, filename: str | None = None) -> str:
        """A signed address under ``/files/`` that works for ``seconds``, whoever holds it."""
        # The disk is not looked at: whoever opens the link reads by the same rules, and a list has hundreds of links.
        self._parts(key)
        until = int(datetime.now(UTC).timestamp()) + seconds
        # Made of characters that stand in a query as they are.
        token = _signer(settings.SECRET_KEY).sign_object([self.alias, key, until, filename])
        return f"{_opened_at(get_script_prefix())}?token={token}"

    def probe(self) -> Abilities:
        """Both conditions hold on a folder."""
        return Abilities(create_only=True, compare_and_swap=True)

    @contextmanager
    def _unavailable(self) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise StoreRefused(f"In the {self.alias} folder an object stands where a folder must be.") from error
        except OSError as error:
            STORE_ERRORS.labels(self.alias, "unavailable").inc()
            raise StoreUnavailable(f"The {self.alias} folder does not work: {error.strerror}.") from error


@cache
def _signer(secret: str) -> signing.TimestampSigner:
    """What ``signing.dumps`` signs with, made once for all links."""
    return signing.TimestampSigner(key=secret, salt=LINK_SALT)


@cache
def _opened_at(prefix: str) -> str:
    """Where links are opened, looked up once below each prefix: a list has hundreds of them."""
    return reverse("file-link")


def _etag_of(found: os.stat_result) -> str:
    return f'"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"'


def _remove_forgotten(incoming: Path) -> None:
    """Let go what writers that were killed left behind; no write takes a day."""
    yesterday = time.time() - 24 * 3600
    for entry in os.scandir(incoming):
        with suppress(FileNotFoundError):
            if entry.stat().st_mtime < yesterday:
                os.unlink(entry.path)


def _named_too(given: Path, new: Path) -> bool:
    """Give a file a second name; False where it cannot have one, as on another file system."""
    try:
        os.link(given, new)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            return False
        raise
    # It is new to the store, however long ago it was made: by its age others tell what was forgotten.
    os.utime(new)
    return True


def _pour(body: BinaryIO, out: BinaryIO) -> None:
    """Write all of ``body`` to ``out``; from one file to another inside the kernel, where it can. What is written is
    brought to the disk bite by bite: all of it at once would hold up everybody else's commits."""
    done = 0
    if isinstance(body, io.BufferedReader) and isinstance(body.raw, io.FileIO):
        start = body.tell()
        while more := _copied_inside(body, out, start + done, done):
            done = _brought(out, done, more)
        body.seek(start + done)
        out.seek(done)
    while bite := body.read(BITE):
        out.write(bite)
        done = _brought(out, done, len(bite))


def _copied_inside(body: BinaryIO, out: BinaryIO, start: int, at: int) -> int:
    """How many bytes the kernel copied; none of what it cannot do. What is wrong with the disk the copy of what is left
    will tell."""
    with suppress(OSError):
        return os.copy_file_range(body.fileno(), out.fileno(), BITE, start, at)
    return 0


def _brought(out: BinaryIO, before: int, more: int) -> int:
    """How much is written with ``more``; with each further BITE it is waited until that is on the disk. Raises OSError,
    which a disk says only once."""
    after = before + more
    if after // BITE > before // BITE:
        out.flush()
        os.fdatasync(out.fileno())
    return after


def _sync(path: Path) -> None:
    """Wait until a file, or what a folder lists, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# A bucket -----------------------------------------------------------------------------------

UNAVAILABLE = {
    "InternalError",
    "ServiceUnavailable",
    "SlowDown",
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "TooManyRequests",
    "Throttling",
    "RequestLimitExceeded",
    "OperationAborted",
    "500",
    "502",
    "503",
    "504",
}
MISSING = {"NoSuchKey", "404", "NotFound"}
CONDITION = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
PART = 64 * 1024 * 1024
MULTIPART_FROM = 1024 * 1024 * 1024
# Seconds that our clock and the store's may differ; S3 refuses requests beyond.
SKEW = 15 * 60
# Keys in one answer of a listing: the most that S3 allows.
PAGE = 1000

# One session for all clients: it reads the description of S3 once, a quarter of a second. Clients are safe to share
# between threads, making them is not.
_session = boto3.session.Session()
_making_client = threading.Lock()


class S3Store(S3Storage):
    """A bucket of any store that speaks S3. Versioned objects go through the client, which can be asked for
    conditions; django-storages' own ``save`` cannot."""

    def __init__(
        self,
        alias: str,
        bucket_name: str,
        access_key: str,
        secret_key: str,
        endpoint_url: str | None = None,
        public_endpoint_url: str | None = None,
        region_name: str = "us-east-1",
        storage_type: str = "s3",
    ) -> None:
        self.alias, self.storage_type, self.bucket_label = alias, storage_type, bucket_name
        self.public_endpoint_url = public_endpoint_url
        super().__init__(
            bucket_name=bucket_name,
            access_key=access_key,
            secret_key=secret_key,
            endpoint_url=endpoint_url,
            region_name=region_name,
            addressing_style="path",
            signature_version="s3v4",
            file_overwrite=False,
            default_acl=None,
            querystring_auth=True,
        )

    def _client(self, endpoint: str | None) -> Any:
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            connect_timeout=3,
            read_timeout=20,
            retries={"mode": "standard", "max_attempts": 2},
            max_pool_connections=32,
            # Older stores refuse the newer default checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        with _making_client:
            return _session.client(
                "s3",
                aws_access_key_id=self.access_key,
                aws_secret_access_key=self.secret_key,
                region_name=self.region_name,
                endpoint_url=endpoint,
                config=config,
            )

    @cached_property
    def client(self) -> Any:
        """The client for our own requests."""
        return self._client(self.endpoint_url)

    @cached_property
    def signer(self) -> Any:
        """The client that signs links, for the address browsers reach the store by."""
        return self._client(self.public_endpoint_url or self.endpoint_url)

    def put(
        self,
        key: str,
        body: BinaryIO,
        *,
        size: int,
        content_type: str,
        sha256: str,
        metadata: dict[str, str] | None = None,
        create_only: bool = False,
        if_match: str | None = None,
        given: Path | None = None,
    ) -> StoredObject:
        """Write an object whole. Raises PreconditionFailed when the store says the condition is not met."""
        place = self._place(key)
        described = {
            **place,
            "ContentType": content_type,
            "Metadata": {name: quote(value) for name, value in {**(metadata or {}), "sha256": sha256}.items()},
        }
        try:
            condition = self._condition(key, size, create_only, if_match)
            with self._translated(key):
                if size >= MULTIPART_FROM:
                    self._put_parts(body, described, condition)
                else:
                    self.client.put_object(Body=body, ContentLength=size, **described, **condition)
        except ObjectMissing as error:
            # Only a swap can miss its object; stores differ in how they say so.
            raise PreconditionFailed(f"{key} is gone.") from error
        STORE_BYTES.labels(self.alias).inc(size)
        return self.head(key)

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket_name, "Key": _checked(key)}

    def _condition(self, key: str, size: int, create_only: bool, if_match: str | None) -> dict[str, str]:
        """The request's condition; where the store ignores it, a look before the write is all there is."""
        if create_only:
            # Stores that check it on a whole upload may ignore it on one in parts.
            surely = self.abilities.create_only and size < MULTIPART_FROM
            if not surely and self._exists(key):
                raise PreconditionFailed(f"{key} exists.")
            return {"IfNoneMatch": "*"} if self.abilities.create_only else {}
        if if_match is not None:
            if self.abilities.compare_and_swap:
                return {"IfMatch": if_match}
            if self.head(key).etag != if_match:
                raise PreconditionFailed(f"{key} is not what it was.")
        return {}

    def _exists(self, key: str) -> bool:
        try:
            self.head(key)
        except ObjectMissing:
            return False
        return True

    def _put_parts(self, body: BinaryIO, described: dict[str, Any], condition: dict[str, str]) -> None:
        place = {"Bucket": described["Bucket"], "Key": described["Key"]}
        upload = self.client.create_multipart_upload(**described)["UploadId"]
        try:
            parts: list[dict[str, Any]] = []
            while bite := body.read(PART):
                number = len(parts) + 1
                answer = self.client.upload_part(Body=bite, PartNumber=number, UploadId=upload, **place)
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
            self.client.complete_multipart_upload(
                UploadId=upload, MultipartUpload={"Parts": parts}, **place, **condition
            )
        except BaseException:
            self.client.abort_multipart_upload(UploadId=upload, **place)
            raise

    def head(self, key: str) -> StoredObject:
        """What is known of an object; raises ObjectMissing."""
        with self._translated(key):
            found = self.client.head_object(**self._place(key))
        # Ceph gives the underscores of names back as dashes; ours have no dashes.
        metadata = {name.lower().replace("-", "_"): unquote(value) for name, value in found.get("Metadata", {}).items()}
        return StoredObject(
            key=key,
            size=found["ContentLength"],
            etag=found["ETag"],
            last_modified=found["LastModified"],
            content_type=found.get("ContentType", "application/octet-stream"),
            metadata=metadata,
            sha256=metadata.get("sha256"),
        )

    def open_read(self, key: str) -> BinaryIO:
        """The object for reading, streamed; raises ObjectMissing."""
        with self._translated(key):
            body = self.client.get_object(**self._place(key))["Body"]
        return cast(BinaryIO, _Body(body, lambda: self._translated(key)))

    def open_local(self, key: str, folder: Path) -> BinaryIO:
        """The object as a file: a copy of it, without a name, in ``folder``. Raises OSError where that has no room."""
        with self.open_read(key) as body, ExitStack() as stack:
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            shutil.copyfileobj(body, file, BITE)
            file.flush()
            stack.pop_all()
        return cast(BinaryIO, file)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``start``; fewer at the end."""
        span = f"bytes={start}-{start + length - 1}"
        try:
            with self._translated(key):
                return self.client.get_object(**self._place(key), Range=span)["Body"].read()
        except StoreRefused as error:
            if getattr(error.__cause__, "response", {}).get("Error", {}).get("Code") in (
                "InvalidRange",
                "416",
            ):
                return b""
            raise

    def keeps_files_of(self, folder: Path) -> bool:
        """Never: a bucket gets what files hold."""
        return False

    def copy(self, source: str, target: str, *, given: Path | None = None) -> StoredObject:
        """Copy an object inside the store, its type and metadata with it; it does so by itself, whatever is given."""
        with self._translated(source):
            self.client.copy(self._place(source), self.bucket_name, _checked(target), SourceClient=self.client)
        return self.head(target)

    def listing(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key starts with ``prefix``, in key order, all pages."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket_name, Prefix=prefix, PaginationConfig={"PageSize": PAGE}
        )
        with self._translated(prefix):
            for page in pages:
                for entry in page.get("Contents", []):
                    yield StoredObject(
                        key=entry["Key"],
                        size=entry["Size"],
                        etag=entry["ETag"],
                        last_modified=entry["LastModified"],
                        content_type="",
                        metadata={},
                        sha256=None,
                    )

    def remove(self, key: str) -> None:
        """Take an object away; one that is not there is no error."""
        with self._translated(key):
            self.client.delete_object(**self._place(key))

    def link(self, key: str, *, seconds: int, filename: str | None = None) -> str:
        """A presigned address for reading, at most 7 days."""
        values = self._place(key)
        if filename:
            values["ResponseContentDisposition"] = content_disposition_header(True, filename) or "attachment"
        return self.signer.generate_presigned_url("get_object", Params=values, ExpiresIn=min(seconds, 604_800))

    def probe(self) -> Abilities:
        """Which conditions the store really checks, tried on an object of our own."""
        return self.abilities

    @cached_property
    def abilities(self) -> Abilities:
        """As found by trying, once for each process."""
        key = f"{PROBE_KEY}-{base64.b32encode(os.urandom(10)).decode().lower()}"
        with self._translated(key):
            self.client.put_object(Bucket=self.bucket_name, Key=key, Body=b"1")
            try:
                create = self._refuses(key, IfNoneMatch="*")
                swap = self._refuses(key, IfMatch='"0123456789abcdef0123456789abcdef"') and self._takes(key)
            finally:
                self.client.delete_object(Bucket=self.bucket_name, Key=key)
        return Abilities(create_only=create, compare_and_swap=swap)

    def _refuses(self, key: str, **condition: str) -> bool:
        try:
            self.client.put_object(Bucket=self.bucket_name, Key=key, Body=b"2", **condition)
        except botocore.exceptions.ClientError as error:
            if _busy(error):
                # Says nothing about conditions: found again at the next try.
                raise
            return _code(error) in CONDITION
        return False

    def _takes(self, key: str) -> bool:
        etag = self.client.head_object(Bucket=self.bucket_name, Key=key)["ETag"]
        return not self._refuses(key, IfMatch=etag)

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except botocore.exceptions.ClientError as error:
            raise self._meaning(key, error) from error
        except (botocore.exceptions.HTTPClientError, botocore.exceptions.BotoCoreError) as error:
            STORE_ERRORS.labels(self.alias, "unavailable").inc()
            raise StoreUnavailable(f"The {self.alias} store does not answer ({type(error).__name__}).") from error

    def _meaning(self, key: str, error: botocore.exceptions.ClientError) -> Exception:
        code = _code(error)
        if code in CONDITION:
            return PreconditionFailed(f"{key} is not as the condition wants it.")
        if code in MISSING:
            return ObjectMissing(f"{key} is not in the store.")
        if _busy(error):
            STORE_ERRORS.labels(self.alias, "unavailable").inc()
            return StoreUnavailable(f"The {self.alias} store cannot answer now ({code}).")
        STORE_ERRORS.labels(self.alias, "refused").inc()
        return StoreRefused(f"The {self.alias} store refused {key} ({code}).")


class _Body(io.RawIOBase):
    """An object on its way: what goes wrong while it is read is told in the same words as before."""

    def __init__(self, body: Any, translated: Callable[[], AbstractContextManager[None]]) -> None:
        self._body, self._translated = body, translated

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        with self._translated():
            return self._body.read(None if size is None or size < 0 else size)

    def readinto(self, into: Any) -> int:
        content = self.read(len(into))
        into[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._body.close()
        super().close()


def _busy(error: botocore.exceptions.ClientError) -> bool:
    """The store cannot answer now; what it cannot do at all (501) stays so."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return _code(error) in UNAVAILABLE or status == 429 or (status >= 500 and status != 501)


def _code(error: botocore.exceptions.ClientError) -> str:
    code = re.sub(r"\s", "", str(error.response.get("Error", {}).get("Code", "")))
    # To a HEAD a store cannot say why it refuses; the time it says it is can.
    return "RequestTimeTooSkewed" if code == "403" and _apart(error) > SKEW else code


def _apart(error: botocore.exceptions.ClientError) -> float:
    """Seconds between our clock and that of the store that answered; 0 where it does not say."""
    said = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return abs(time.time() - parsedate_to_datetime(said).timestamp())
    except ValueError:
        return 0.0
