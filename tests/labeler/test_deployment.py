"""docker-compose.yml and Dockerfile: valid, complete, and every service's own command and environment tried against
real servers. (The containers themselves need Docker; README.md says what that leaves untried.)"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import boto3
import psycopg
import pytest
import yaml

from labeler.embedded import platform_db
from labeler.embedded.processes import Child, free_port
from tests.servers import READER_PASSWORD, _create_platform
from tests.system import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = ["web", "worker", "beat", "migrate", "buckets"]
BIN = Path(sys.executable).parent
VARIABLE = re.compile(r"\$\{(\w+)(:\?|:-)?([^}]*)\}")


def test_the_compose_file_is_one():
    subprocess.run(
        [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"], check=True
    )


def test_the_dockerfile_is_clean():
    subprocess.run([BIN / "hadolint", ROOT / "Dockerfile"], check=True)


def test_the_example_names_every_variable_and_no_other():
    used = {found[1] for found in VARIABLE.finditer((ROOT / "docker-compose.yml").read_text())}
    named = {
        line.split("=")[0]
        for line in (ROOT / ".env.example").read_text().splitlines()
        if "=" in line[:40] and line[0] != "#"
    }
    assert used == named


def test_no_password_has_a_default():
    text = (ROOT / "docker-compose.yml").read_text()
    for name, kind, _ in VARIABLE.findall(text):
        if "PASSWORD" in name or "SECRET" in name or "KEY" in name:
            assert kind == ":?", name
    for line in (ROOT / ".env.example").read_text().splitlines():
        if any(word in line for word in ("PASSWORD=", "SECRET_KEY=", "ACCESS_KEY=")):
            assert line.endswith("=")


def test_what_the_images_copy_is_there():
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
    assert (ROOT / "labeler/embedded/platform_init.sh").exists()


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The compose file's own environment with values that lead to the test servers."""
    mark = uuid.uuid4().hex[:8]
    server = os.environ["TEST_SERVER_URL"].rsplit("/", 1)[0]
    platform_db.create_database(os.environ["TEST_SERVER_URL"], f"compose_{mark}")
    platform_db.create_database(os.environ["TEST_SERVER_URL"], f"compose_platform_{mark}")
    _create_platform(f"{server}/compose_platform_{mark}")
    address = server.rpartition("@")[2]
    filled = {name: fill(str(value)) for name, value in SERVICES["web"]["environment"].items()}
    moved = {
        "DATABASE_URL": f"{server}/compose_{mark}",
        "PLATFORM_DATABASE_URL": f"postgres://labeler_reader:{READER_PASSWORD}@{address}/compose_platform_{mark}",
        "REDIS_URL": os.environ["REDIS_URL"].rpartition("/")[0] + "/7",
        "LABELER_STORE_ENDPOINT": os.environ["TEST_S3_MOTO"],
        "PLATFORM_STORE_ENDPOINT": os.environ["TEST_S3_MOTO"],
        "LABELER_STORE_BUCKET": f"labeler-annotations-{mark}",
        "PLATFORM_STORE_BUCKET": f"platform-datasets-{mark}",
    }
    assert set(moved) <= set(filled)
    data = tmp_path_factory.mktemp("compose")
    return {"PATH": f"{BIN}:{os.environ['PATH']}", "LABELER_DATA": str(data), "HOME": str(data), **filled, **moved}


def fill(value: str) -> str:
    """What somebody careful would write into .env."""
    known = {"LABELER_HTTPS": "false", "LABELER_BEHIND_PROXY": "false", "LABELER_ALLOWED_HOSTS": "labeler.example.org",
             "LABELER_TRUSTED_ORIGINS": "https://labeler.example.org",
             "STORE_PUBLIC_ENDPOINT": "https://store.example.org"}  # fmt: skip
    return VARIABLE.sub(lambda found: known.get(found[1]) or secrets.token_hex(30), value)


def once(service: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        SERVICES[service]["command"], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def prepared(environment):
    """As compose does it: buckets, then migrate."""
    assert "made" in once("buckets", environment)
    assert "is there" in once("buckets", environment), "the second start finds them"
    once("migrate", environment)
    once("migrate", environment)
    return environment


def test_all_our_services_have_the_same_environment():
    for name in OURS:
        assert SERVICES[name]["environment"] == SERVICES["web"]["environment"]


def test_buckets_and_tables_are_made_at_start(prepared):
    client = boto3.client(
        "s3",
        endpoint_url=prepared["LABELER_STORE_ENDPOINT"],
        region_name="us-east-1",
        aws_access_key_id=prepared["LABELER_STORE_ACCESS_KEY"],
        aws_secret_access_key=prepared["LABELER_STORE_SECRET_KEY"],
    )
    names = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    assert {prepared["LABELER_STORE_BUCKET"], prepared["PLATFORM_STORE_BUCKET"]} <= names
    with psycopg.connect(prepared["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM annotations").fetchone() == (0,)


def started(service: str, environment: dict[str, str], folder: Path, **swaps: str) -> tuple[Child, Path]:
    command = [swaps.get(word, word) for word in SERVICES[service]["command"]]
    log = folder / f"{service}.log"
    log.touch()
    return Child(service, command, environment, log, echo=False), log


def wait_for(said: str, log: Path, child: Child) -> None:
    for _ in range(300):
        if said in log.read_text():
            return
        assert child.process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_web_answers_in_production_mode(prepared, tmp_path):
    port = free_port()
    child, log = started("web", prepared, tmp_path, **{"0.0.0.0:8000": f"127.0.0.1:{port}"})
    try:
        wait_for("Listening at", log, child)
        for _ in range(100):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=5) as answer:
                    assert answer.status == 200
                break
            except OSError:
                time.sleep(0.1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=30) as answer:
            assert answer.status == 200, answer.read()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/accounts/login/")
        request.add_header("Host", "labeler.example.org")
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert b"Sign in" in answer.read()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/static/labeler/page.css")
        request.add_header("Host", "labeler.example.org")
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert b"body" in answer.read(), "static files are collected and served"
    finally:
        child.stop()


def test_the_worker_takes_tasks(prepared, tmp_path):
    child, log = started("worker", prepared, tmp_path)
    try:
        wait_for("ready.", log, child)
        said = subprocess.run(
            [BIN / "celery", "-A", "labeler.celery", "inspect", "ping", "--timeout", "5"],
            env=prepared, cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert "pong" in said.stdout, said.stdout + said.stderr
    finally:
        child.stop()


def test_beat_finds_its_timetable_in_the_database(prepared, tmp_path):
    child, log = started("beat", prepared, tmp_path)
    try:
        wait_for("beat: Starting...", log, child)
        with psycopg.connect(prepared["DATABASE_URL"]) as connection:
            names = connection.execute("SELECT name FROM django_celery_beat_periodictask ORDER BY name").fetchall()
        assert [name for (name,) in names if "celery" not in name] == ["Finish what is owed", "Remove expired exports"]
    finally:
        child.stop()
