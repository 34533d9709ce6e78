"""What every test finds: databases, empty stores, rows of the platform, S3 buckets on request."""

from __future__ import annotations

import copy
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from django.core.cache import cache as the_cache
from django.core.files.storage import storages
from django.db import connection
from django.test import TransactionTestCase
from hypothesis import settings as made_up_cases

from tests.cases import SOAK
from tests.ceph import ACCESS_KEY, SECRET_KEY
from tests.proxy import Proxy
from tests.servers import copy_of_template

# For tests that do not say how many cases they try. A busy machine is slow, and that is no failure.
made_up_cases.register_profile("labeler", max_examples=100 * SOAK, deadline=None, print_blob=True)
made_up_cases.load_profile("labeler")

LONG = (
    "tests/journeys/",
    "tests/page/",
    "tests/faults/",
    "tests/labeler/test_deployment.py",
    "tests/labeler/test_embedded.py",
    "tests/labeler/test_operations.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items) -> None:
    """A test that may use the database may read the platform's too: answers name people. Files that take a minute begin
    first, so that at the end no process works alone on one of them."""
    for item in items:
        for mark in item.iter_markers("django_db"):
            mark.kwargs.setdefault("databases", ["default", "platform"])
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture(scope="session")
def django_db_setup(request, django_test_environment, django_db_blocker):
    """Only our own database is made; the platform's is there, and we may only read it."""
    name = f"test_{connection.settings_dict['NAME']}"
    # Not taken down: the server itself goes with the run.
    copy_of_template(os.environ["TEST_SERVER_URL"], name)
    connection.close()
    connection.settings_dict["NAME"] = name


# Where the stores lie that are folders.
STORES = ("LABELER_STORE_FOLDER", "PLATFORM_STORE_FOLDER")

# Made with the database, the same for every test.
LASTING = {"django_migrations", "django_content_type", "auth_permission"}


def empty_tables(case: TransactionTestCase | None = None) -> None:
    """What Django's ``flush`` does after a test, for the tables that hold rows: to truncate a hundred empty ones and to
    make content types and permissions anew takes longer than most tests."""
    with connection.cursor() as cursor:
        tables = [name for name in connection.introspection.table_names(cursor) if name not in LASTING]
        holds = " UNION ALL ".join(f"(SELECT '{name}' FROM \"{name}\" LIMIT 1)" for name in tables)
        cursor.execute(holds)
        filled = [name for (name,) in cursor.fetchall()]
        # No trigger and no foreign key has a say, as with TRUNCATE.
        cursor.execute("SET session_replication_role = replica")
        for name in filled:
            cursor.execute(f'DELETE FROM "{name}"')
        cursor.execute("SET session_replication_role = DEFAULT")


TransactionTestCase._fixture_teardown = empty_tables  # type: ignore[method-assign]


# The world that stands in the database while a module's tests roll back what they do to it, and its stores' files.
STANDING: list[tuple[Any, Path]] = []


@pytest.fixture(scope="module")
def standing_world(request, django_db_setup, django_db_blocker, tmp_path_factory):
    """What the module's ``make_world()`` makes, committed once for all its tests that need no commits of their own."""
    kept = tmp_path_factory.mktemp("stores")
    with django_db_blocker.unblock():
        try:
            STANDING.append((request.module.make_world(), kept))
        except BaseException:
            empty_tables()
            raise
    for name in STORES:
        if Path(os.environ[name]).exists():
            shutil.copytree(os.environ[name], kept / name)
    yield
    with django_db_blocker.unblock():
        fell()


def commits(item) -> bool:
    """True for a test whose transactions are its own."""
    mark = item.get_closest_marker("django_db")
    return bool(mark and mark.kwargs.get("transaction"))


def fell() -> None:
    """Nobody's world stands any more."""
    if STANDING:
        empty_tables()
        STANDING.clear()


@pytest.fixture
def world(request, standing_world, db) -> Any:
    """The module's world as it was made: its rows, which are rolled back after the test, and files laid out anew. A
    test with commits of its own has a world of its own."""
    if not STANDING or commits(request.node):
        return request.module.make_world()
    made, kept = STANDING[0]
    for folder in kept.iterdir():
        shutil.copytree(folder, os.environ[folder.name], dirs_exist_ok=True)
    return copy.deepcopy(made)


@pytest.fixture(autouse=True)
def _clean_surroundings(request):
    """Stores and caches as at the first start; and no standing world where nothing is rolled back."""
    if commits(request.node):
        request.getfixturevalue("transactional_db")
        fell()
    yield
    the_cache.clear()
    for name in STORES:
        shutil.rmtree(os.environ[name], ignore_errors=True)


@pytest.fixture
def platform_rows():
    """Write rows into the platform's database as its owner does: ``platform_rows(datasets=[...], users=[...])``."""
    from labeler.embedded.platform_db import put_rows

    def put(datasets=(), users=()):
        put_rows(os.environ["PLATFORM_OWNER_URL"], datasets=list(datasets), users=list(users))

    yield put
    with psycopg.connect(os.environ["PLATFORM_OWNER_URL"], autocommit=True) as connection:
        connection.execute("DELETE FROM datasets; DELETE FROM users")


@pytest.fixture
def other_session():
    """A second session of the database, for SQL that is held open by hand."""
    with a_session() as session:
        yield session


@pytest.fixture
def two_sessions():
    """Two more sessions of the database."""
    with a_session() as one, a_session() as other:
        yield one, other


def a_session() -> psycopg.Connection:
    """A session of the tests' database that Django knows nothing of; each statement is a transaction of its own."""
    server = os.environ["TEST_SERVER_URL"].rsplit("/", 1)[0]
    return psycopg.connect(f"{server}/{connection.settings_dict['NAME']}", autocommit=True)


def s3_servers() -> list[str]:
    """The S3 servers that run: moto always, Ceph where it is installed."""
    return ["moto", *(["ceph"] if os.environ.get("TEST_S3_CEPH") else [])]


def s3_options(server: str, alias: str) -> dict:
    """A fresh bucket on a server, as OPTIONS of the backend."""
    ceph = server == "ceph"
    options = {
        "alias": alias,
        "bucket_name": f"{alias}-{uuid.uuid4().hex[:12]}",
        "endpoint_url": os.environ["TEST_S3_CEPH" if ceph else "TEST_S3_MOTO"],
        "region_name": "us-east-1",
        "access_key": ACCESS_KEY if ceph else "moto-key",
        "secret_key": SECRET_KEY if ceph else "moto-secret",
    }
    s3_client(options["endpoint_url"], options["access_key"], options["secret_key"]).create_bucket(
        Bucket=options["bucket_name"]
    )
    return options


@contextmanager
def behind_proxy(settings: Any, alias: str) -> Iterator[Proxy]:
    """A store on moto, behind a proxy that fails on purpose; what it can do is asked before the faults begin."""
    options = s3_options("moto", alias)
    proxy = Proxy(options["endpoint_url"])
    entry = {"BACKEND": "labeler.storage.S3Store", "OPTIONS": {**options, "endpoint_url": proxy.endpoint}}
    settings.STORAGES = {**settings.STORAGES, alias: entry}
    assert storages[alias].probe().create_only
    proxy.seen.clear()
    yield proxy
    proxy.stop()


@cache
def s3_client(endpoint: str, access_key: str, secret_key: str) -> Any:
    """A client that is none of ours, one for all tests."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
    )


def storages_on(server: str, settings) -> None:
    """Put both aliases on a server: folder, moto or ceph."""
    if server == "folder":
        return
    entries = {
        alias: {"BACKEND": "labeler.storage.S3Store", "OPTIONS": s3_options(server, alias)}
        for alias in ("labeler", "platform")
    }
    settings.STORAGES = {**settings.STORAGES, **entries}


@pytest.fixture(params=["folder", *s3_servers()] if "TEST_S3_MOTO" in os.environ else ["folder"])
def stores(request, settings):
    """Both stores on each kind of store in turn; gives the kind's name."""
    storages_on(request.param, settings)
    return request.param


@pytest.fixture
def put_object(tmp_path):
    """Lay an object into a store: ``put_object("platform", key, b"...")``."""
    from exports import stores as api

    def put(alias: str, key: str, content: bytes, content_type: str = "application/octet-stream"):
        path = Path(tmp_path) / uuid.uuid4().hex
        path.write_bytes(content)
        digest = api.sha256_of_file(path)
        return api.put_latest(alias, key, path, content_type=content_type, sha256=digest, size=len(content))

    assert storages is not None
    return put
