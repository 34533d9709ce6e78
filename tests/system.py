"""The whole system as it runs for people: web, worker and beat as processes, HTTP from outside."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg import sql

from labeler.embedded import platform_db
from labeler.embedded.processes import Child, free_port
from labeler.embedded.up import PYTHON, programs
from tests.conftest import s3_client, s3_options
from tests.servers import READER_PASSWORD, ROOT, _create_platform, copy_of_template

PERSON = """
WITH account AS (
    INSERT INTO accounts (username, password, first_name, last_name, email, is_superuser, is_staff, is_active,
        date_joined)
    VALUES (%(name)s, '!', '', '', '', %(staff)s, %(staff)s, true, now())
    ON CONFLICT (username) DO UPDATE SET is_active = true RETURNING id)
INSERT INTO api_tokens (user_id, name, digest, created_at, expires_at)
SELECT id, 'tests', %(digest)s, now(), now() + interval '1 day' FROM account"""


class RunningSystem:
    """One Labeler on its own databases, queue and stores (``folder``, ``moto`` or ``ceph``)."""

    def __init__(self, folder: Path, stores: str = "folder", **settings: str) -> None:
        self.folder, self.stores = folder, stores
        self.server = os.environ["TEST_SERVER_URL"].rsplit("/", 1)[0]
        self.mark = uuid.uuid4().hex[:10]
        self.port = free_port()
        self.children: dict[str, Child] = {}
        self.buckets: dict[str, dict] = {}
        self.environment = self._environment() | settings

    # Before the start

    def _environment(self) -> dict[str, str]:
        platform_db.create_database(os.environ["TEST_SERVER_URL"], f"platform_{self.mark}")
        _create_platform(f"{self.server}/platform_{self.mark}")
        address = self.server.rpartition("@")[2]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LABELER_", "PLATFORM_"))}
        return {
            **kept,
            "LABELER_MODE": "embedded",
            "LABELER_DATA": str(self.folder / "data"),
            "LABELER_SECRET_KEY": secrets.token_urlsafe(60),
            # As in the timetable of the database this one is a copy of.
            "LABELER_SWEEP_SECONDS": "1",
            "DATABASE_URL": self._database(),
            "PLATFORM_DATABASE_URL": (
                f"postgres://{platform_db.READER}:{READER_PASSWORD}@{address}/platform_{self.mark}"
            ),
            "REDIS_URL": self._queue(),
            **self._store("LABELER_STORE", "labeler"),
            **self._store("PLATFORM_STORE", "platform"),
        }

    def _queue(self) -> str:
        # Databases 8 to 15 of the broker are for systems, one a test process.
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw7")
        url = os.environ["REDIS_URL"].rpartition("/")[0] + f"/{8 + int(worker.removeprefix('gw')) % 8}"
        # What a system before this one left unsaid is not for us.
        with redis.Redis.from_url(url) as queue:
            queue.flushdb()
        return url

    def _store(self, prefix: str, alias: str) -> dict[str, str]:
        if self.stores == "folder":
            return {f"{prefix}_FOLDER": str(self.folder / f"{alias}-store")}
        options = self.buckets[alias] = s3_options(self.stores, alias)
        return {
            f"{prefix}_BUCKET": options["bucket_name"],
            f"{prefix}_ENDPOINT": options["endpoint_url"],
            f"{prefix}_ACCESS_KEY": options["access_key"],
            f"{prefix}_SECRET_KEY": options["secret_key"],
        }

    def _database(self) -> str:
        name = f"labeler_{self.mark}"
        copy_of_template(os.environ["TEST_SERVER_URL"], name)
        return f"{self.server}/{name}"

    def new_database(self) -> str:
        """An empty database; its URL."""
        name = f"labeler_{self.mark}_{uuid.uuid4().hex[:6]}"
        platform_db.create_database(os.environ["TEST_SERVER_URL"], name)
        return f"{self.server}/{name}"

    def put_platform_rows(self, datasets: list[tuple], users: list[tuple]) -> None:
        """Rows of the platform's own database."""
        platform_db.put_rows(f"{self.server}/platform_{self.mark}", datasets=datasets, users=users)

    # Objects, as somebody outside sees them

    def client(self, alias: str) -> Any:
        """A client of the bucket."""
        options = self.buckets[alias]
        return s3_client(options["endpoint_url"], options["access_key"], options["secret_key"])

    def put_object(self, alias: str, key: str, content: bytes) -> None:
        """Lay an object into a store by hand."""
        if self.stores == "folder":
            path = self.folder / f"{alias}-store" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        else:
            self.client(alias).put_object(Bucket=self.buckets[alias]["bucket_name"], Key=key, Body=content)

    def read_object(self, alias: str, key: str) -> bytes:
        """An object's bytes."""
        if self.stores == "folder":
            return (self.folder / f"{alias}-store" / key).read_bytes()
        bucket = self.buckets[alias]["bucket_name"]
        return self.client(alias).get_object(Bucket=bucket, Key=key)["Body"].read()

    def keys(self, alias: str) -> list[str]:
        """All keys of a store."""
        if self.stores == "folder":
            root = self.folder / f"{alias}-store"
            found = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
            return sorted(key for key in found if not key.startswith(".store/"))
        pages = self.client(alias).get_paginator("list_objects_v2")
        bucket = self.buckets[alias]["bucket_name"]
        return sorted(entry["Key"] for page in pages.paginate(Bucket=bucket) for entry in page.get("Contents", []))

    # Running

    def start(self, *names: str) -> RunningSystem:
        """Start the programs (all, or those named) and wait for the page."""
        (self.folder / "data" / "tmp").mkdir(parents=True, exist_ok=True)
        for name in names or ("beat", "journal", "worker", "web"):
            self.start_program(name)
        if not names or "web" in names:
            self.wait(lambda: self._answers(), "the page")
        return self

    def start_program(self, name: str) -> None:
        """Start web, worker, beat or journal."""
        command = programs("127.0.0.1", self.port, self.folder / "data")[name]
        # Beside other tests, which are no people, a worker that gives way would hardly work.
        command = command[command.index(PYTHON) :]
        log = self.folder / f"{name}.log"
        self.children[name] = Child(name, command, self.environment, log, echo=False)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/live", timeout=2).close()
        except (urllib.error.URLError, OSError):
            return False
        return True

    def kill(self, name: str) -> None:
        """``kill -9`` a program and all its children."""
        child = self.children.pop(name)
        os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()

    def stop(self) -> None:
        """Stop everything."""
        for name in ("web", "beat", "worker", "journal"):
            if name in self.children:
                self.children.pop(name).stop(grace=10)

    def close(self) -> None:
        """Kill everything, and take the databases away."""
        for name in list(self.children):
            self.kill(name)
        with psycopg.connect(os.environ["TEST_SERVER_URL"], autocommit=True) as connection:
            found = connection.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE %s", [f"%{self.mark}%"]
            ).fetchall()
            for (name,) in found:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        shutil.rmtree(self.folder, ignore_errors=True)

    def manage(self, *arguments: str, expect: int = 0, **environment: str) -> str:
        """Run a management command; returns its output, fails unless it exits with ``expect``."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == expect, f"{arguments} exited with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def person(self, name: str, *, staff: bool = False) -> Api:
        """An account with a token, as a client. Written as rows: the commands for it have their own tests."""
        token = secrets.token_urlsafe(32)
        digest = hashlib.sha256(token.encode()).hexdigest()
        with psycopg.connect(self.environment["DATABASE_URL"]) as connection:
            connection.execute(PERSON, {"name": name, "staff": staff, "digest": digest})
        return Api(f"http://127.0.0.1:{self.port}", token)

    def query(self, text: str, *values: Any) -> list[tuple]:
        """Rows straight from the database."""
        with psycopg.connect(self.environment["DATABASE_URL"]) as connection:
            return connection.execute(text, values).fetchall()

    def wait(self, done: Any, what: str, seconds: float = 60) -> Any:
        """Wait until ``done()`` is true; fails with the logs when it does not become so."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := done():
                return found
            time.sleep(0.1)
        raise AssertionError(f"{what} did not happen in {seconds} s\n{self.logs()}")

    def logs(self) -> str:
        """The end of every program's log."""
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted(self.folder.glob("*.log")))


class Api:
    """A client with a bearer token; answers are checked for their status at once."""

    def __init__(self, address: str, token: str) -> None:
        self.address, self.token = address, token

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, answer (JSON or bytes) and headers, whatever they are."""
        url = path if path.startswith("http") else f"{self.address}/api/v1{path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            request.add_header(name, value)
        if not path.startswith("http"):
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, _value(answer.read(), answer.headers), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, _value(error.read(), error.headers), dict(error.headers)

    def __call__(self, method: str, path: str, body: Any = None, *, expect: int = 200, **headers: str) -> Any:
        """The answer; fails unless its status is ``expect``."""
        status, answer, _ = self.send(method, path, body, **headers)
        assert status == expect, f"{method} {path}: {status}, not {expect}: {answer}"
        return answer

    def download(self, url: str) -> bytes:
        """What a link gives, without any identity."""
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.read()


def _value(content: bytes, headers: Any) -> Any:
    if headers.get("Content-Type", "").startswith("application/json"):
        return json.loads(content)
    return content


def in_path(image_id: str) -> str:
    """An image id as it stands in a path."""
    return urllib.parse.quote(image_id)
