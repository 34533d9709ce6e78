"""docker-compose.yml and Dockerfile: valid, complete, and every service's own command and environment tried against
real servers. (The containers themselves need Docker; README.md says what that leaves untried.)"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import psycopg
import pytest
import yaml

from labeler.embedded import platform_db
from labeler.embedded.broker import Broker
from labeler.embedded.postgres import Postgres
from labeler.embedded.processes import Child, free_port
from labeler.embedded.up import PYTHON, programs
from tests.system import ROOT

TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
EXAMPLE = [line for line in (ROOT / ".env.example").read_text().splitlines() if line and not line.startswith("#")]
COPIED = [line.split()[1:] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY")]
OURS = ["web", "worker", "beat", "journal", "migrate", "buckets"]
BIN = Path(sys.executable).parent
VARIABLE = re.compile(r"\$\{(\w+)(:\?|:-)?([^}]*)\}")
SECRET = re.compile(r"PASSWORD|SECRET|ACCESS_KEY")
HOST = "labeler.example.org"


# What can be seen without running anything --------------------------------------------


def test_the_compose_file_is_one():
    said = subprocess.run(
        [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_dockerfile_is_clean():
    said = subprocess.run([BIN / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_example_names_every_variable_and_no_other():
    assert {found[1] for found in VARIABLE.finditer(TEXT)} == {line.partition("=")[0] for line in EXAMPLE}


def test_no_secret_has_a_default_or_stands_in_the_file():
    for name, kind, _ in VARIABLE.findall(TEXT):
        assert kind == ":?" or not SECRET.search(name), name
    for line in EXAMPLE:
        name, _, value = line.partition("=")
        assert not (SECRET.search(name) and value), f"{name} must be chosen by who runs it"
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert not SECRET.search(name) or VARIABLE.fullmatch(value), f"{name} must come from .env"


def test_every_image_is_pinned():
    base = re.search(r"^FROM (\S+)$", (ROOT / "Dockerfile").read_text(), re.M)
    given = [service["image"] for service in SERVICES.values() if "build" not in service]
    for image in [base[1], *given]:
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\S*", image), image


def test_the_image_does_not_run_as_root():
    assert re.search(r"^USER [1-9]\d*$", (ROOT / "Dockerfile").read_text(), re.M)


def test_secrets_of_the_folder_stay_out_of_images_and_commits():
    assert ".env" in (ROOT / ".dockerignore").read_text().splitlines()
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", ["web", "worker", "beat", "journal"])
def test_compose_runs_what_one_command_runs(name):
    # Apart from where gunicorn keeps its heartbeat: in a container that is memory.
    ours = programs("0.0.0.0", 8000, Path("/data"))[name]
    plain = ("python" if word == PYTHON else word.removeprefix(f"{ROOT}/") for word in ours)
    assert SERVICES[name]["command"] == [word.replace("/data/tmp", "/dev/shm") for word in plain]


def test_people_do_not_wait_behind_long_work():
    assert SERVICES["worker"]["command"][:3] == ["nice", "-n", "10"]
    # What niceness is within a container, shares are between them.
    assert SERVICES["worker"]["cpu_shares"] < 1024
    assert "cpu_shares" not in SERVICES["web"] | SERVICES["postgres"]


def test_the_image_by_itself_is_the_web_server():
    command = re.search(r"^CMD (.+)$", (ROOT / "Dockerfile").read_text(), re.M)
    assert json.loads(command[1]) == SERVICES["web"]["command"]


def test_the_images_health_is_the_web_servers_and_asked_of_no_other():
    asked = re.search(r"^HEALTHCHECK .*CMD (.+)$", (ROOT / "Dockerfile").read_text(), re.M)
    assert ["CMD", *json.loads(asked[1])] == SERVICES["web"]["healthcheck"]["test"]
    for name in set(OURS) - {"web", "worker"}:
        assert SERVICES[name]["healthcheck"] == {"disable": True}, name


def test_there_is_exactly_one_beat():
    beats = [name for name, service in SERVICES.items() if "beat" in service.get("command", [])]
    assert beats == ["beat"]
    assert not {"deploy", "scale"} & set(SERVICES["beat"])


def test_all_our_services_have_the_same_environment():
    for name in OURS:
        assert SERVICES[name]["environment"] == SERVICES["web"]["environment"], name


def test_nothing_starts_before_what_it_needs():
    def waits(name: str) -> dict[str, str]:
        return {on: how["condition"] for on, how in SERVICES[name]["depends_on"].items()}

    for name in ("web", "worker", "beat"):
        assert waits(name) == {"migrate": "service_completed_successfully", "redis": "service_healthy"}
    assert waits("journal") == {"migrate": "service_completed_successfully"}, "it needs no queue"
    assert waits("migrate") == {"postgres": "service_healthy", "buckets": "service_completed_successfully"}
    assert waits("buckets") == {"s3": "service_healthy"}
    for name in ("postgres", "redis", "s3"):
        assert "test" in SERVICES[name]["healthcheck"], name
    for name in ("migrate", "buckets"):
        assert SERVICES[name]["restart"] == "no", "what runs once must be able to end"


def test_postgresql_is_asked_by_tcp():
    # On its socket it answers while the platform's database is still being made.
    assert SERVICES["postgres"]["healthcheck"]["test"][1:3] == ["pg_isready", "-h"]


def test_only_pages_and_objects_are_published():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"web": ["${LABELER_PORT:-8000}:8000"], "s3": ["${STORE_PORT:-8333}:8333"]}


# What runs ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def answers() -> dict[str, str]:
    """.env as somebody careful fills it in."""
    given = dict(line.split("=", 1) for line in EXAMPLE)
    secret = {name: secrets.token_urlsafe(60) for name in given if SECRET.search(name)}
    return given | secret | {
        "LABELER_ALLOWED_HOSTS": HOST,
        "LABELER_TRUSTED_ORIGINS": f"https://{HOST}",
        "STORE_PUBLIC_ENDPOINT": "https://store.example.org",
        "LABELER_HTTPS": "true",
        "LABELER_BEHIND_PROXY": "true",
    }  # fmt: skip


def filled(service: str, answers: dict[str, str]) -> dict[str, str]:
    """A service's environment as compose hands it over."""
    given = SERVICES[service]["environment"].items()
    return {name: VARIABLE.sub(lambda found: answers[found[1]], str(value)) for name, value in given}


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    """The files of the image, and no others."""
    tree = tmp_path_factory.mktemp("image")
    for *sources, target in COPIED:
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tree / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, tree / target)
    return tree


@pytest.fixture(scope="module")
def postgres(answers, tmp_path_factory) -> Iterator[Postgres]:
    """A new server as the image of PostgreSQL makes it: its user, its database, then our script."""
    given = filled("postgres", answers)
    data = tmp_path_factory.mktemp("compose-postgres")
    server = Postgres(data / "data", port=free_port(), user=given["POSTGRES_USER"], log=data / "log",
                      password=given["POSTGRES_PASSWORD"], durable=False)  # fmt: skip
    server.start()
    try:
        platform_db.create_database(server.url("postgres"), given["POSTGRES_DB"])
        place = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGPASSWORD": server.password}
        path = f"{server.binaries.folder}:{os.environ['PATH']}"
        script = SERVICES["postgres"]["volumes"][1].split(":")[0]
        subprocess.run([ROOT / script], env={**given, **place, "PATH": path}, check=True, capture_output=True)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def redis(answers, tmp_path_factory) -> Iterator[Broker]:
    """A new broker with the password of .env."""
    folder = tmp_path_factory.mktemp("compose-redis")
    server = Broker(folder, port=free_port(), password=filled("redis", answers)["REDIS_PASSWORD"], log=folder / "log")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def environment(answers, postgres, redis, tmp_path_factory) -> dict[str, str]:
    """The compose file's own environment; only the addresses of the servers are those of this machine."""
    places = {
        "@postgres:5432": f"@127.0.0.1:{postgres.port}",
        "@redis:6379": f"@127.0.0.1:{redis.port}",
        "http://s3:8333": os.environ["TEST_S3_MOTO"],
    }
    given = filled("web", answers)
    for name, value in given.items():
        for there, here in places.items():
            value = value.replace(there, here)
        given[name] = value
    data = str(tmp_path_factory.mktemp("compose-data"))
    # The rest is what Dockerfile and Docker set.
    return {**given, "LABELER_DATA": data, "HOME": data, "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOSTNAME": socket.gethostname(), "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip


def once(service: str, environment: dict[str, str], image: Path) -> str:
    """Run a service that ends; what it said."""
    command = SERVICES[service]["command"]
    done = subprocess.run(command, env=environment, cwd=image, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def prepared(environment, image) -> dict[str, str]:
    """As compose does it: buckets, then migrate."""
    assert once("buckets", environment, image).count("made") == 2
    once("migrate", environment, image)
    return environment


@contextmanager
def running(service: str, environment: dict[str, str], image: Path, folder: Path, until: str, **swaps: str):
    """A service that stays, from the moment its log says ``until``; stopped by its own process id."""
    command = [swaps.get(word, word) for word in SERVICES[service]["command"]]
    log = folder / f"{service}.log"
    log.touch()
    child = Child(service, ["env", "-C", str(image), *command], environment, log, echo=False)
    try:
        for _ in range(600):
            if until in log.read_text():
                break
            assert child.process.poll() is None, log.read_text()
            time.sleep(0.1)
        else:
            raise AssertionError(log.read_text())
        yield
        assert child.process.poll() is None, log.read_text()
    finally:
        child.stop()


def healthy(service: str, environment: dict[str, str], image: Path, **swaps: str) -> subprocess.CompletedProcess:
    """A service's own healthcheck, as Docker runs it."""
    kind, *words = SERVICES[service]["healthcheck"]["test"]
    words = [word.replace("$$", "$") for word in words]
    for there, here in swaps.items():
        words = [word.replace(there, here) for word in words]
    command = ["sh", "-c", words[0]] if kind == "CMD-SHELL" else words
    return subprocess.run(command, env=environment, cwd=image, capture_output=True, text=True, timeout=60)


def test_the_new_server_has_a_platform_that_labeler_may_only_read(postgres, answers):
    reader = filled("web", answers)["PLATFORM_DATABASE_URL"].replace("@postgres:5432", f"@127.0.0.1:{postgres.port}")
    with psycopg.connect(reader, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM datasets").fetchone() == (0,)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("DELETE FROM users")
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM users")


def test_the_new_server_has_the_same_platform_as_the_embedded_one(postgres):
    columns = ("SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
               " WHERE table_schema = 'public' ORDER BY 1, 2")  # fmt: skip
    with psycopg.connect(postgres.url("platform")) as ours, psycopg.connect(os.environ["PLATFORM_OWNER_URL"]) as theirs:
        assert ours.execute(columns).fetchall() == theirs.execute(columns).fetchall() != []


def test_buckets_are_made_at_start_and_found_at_the_next(prepared, image):
    client = boto3.client(
        "s3",
        endpoint_url=prepared["LABELER_STORE_ENDPOINT"],
        region_name="us-east-1",
        aws_access_key_id=prepared["LABELER_STORE_ACCESS_KEY"],
        aws_secret_access_key=prepared["LABELER_STORE_SECRET_KEY"],
    )
    names = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    assert {prepared["LABELER_STORE_BUCKET"], prepared["PLATFORM_STORE_BUCKET"]} <= names
    assert once("buckets", prepared, image).count("is there") == 2


def test_tables_are_made_at_start_and_left_alone_at_the_next(prepared, image):
    once("migrate", prepared, image)
    with psycopg.connect(prepared["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM annotations").fetchone() == (0,)


def test_a_store_that_does_not_answer_stops_the_start(environment, image):
    gone = f"http://127.0.0.1:{free_port()}"
    done = subprocess.run(
        SERVICES["buckets"]["command"], env=environment | {"LABELER_STORE_ENDPOINT": gone},
        cwd=image, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode != 0
    assert f"The store at {gone} does not answer." in done.stderr


def test_a_weak_key_stops_the_start(environment, image):
    done = subprocess.run(
        SERVICES["migrate"]["command"], env=environment | {"LABELER_SECRET_KEY": "short"},
        cwd=image, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode != 0
    assert "LABELER_SECRET_KEY is shorter than 50 characters" in done.stderr


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as the answer it is."""

    def redirect_request(self, *args):
        return None


def ask(address: str, **headers: str) -> tuple[int, str]:
    """Status and text (of a redirect: where to), whatever they are."""
    opener = urllib.request.build_opener(NoRedirect)
    try:
        with opener.open(urllib.request.Request(address, headers=headers), timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Location") or error.read().decode()


def test_web_answers_in_production_mode(prepared, image, tmp_path):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    proxied = {"Host": HOST, "X-Forwarded-Proto": "https"}
    swaps = {"0.0.0.0:8000": f"127.0.0.1:{port}"}
    with running("web", prepared, image, tmp_path, "Listening at", **swaps):
        assert ask(f"{address}/health/live")[0] == 200
        status, said = ask(f"{address}/health/ready")
        assert status == 200, said
        status, said = ask(f"{address}/accounts/login/", **proxied)
        assert (status, "Sign in" in said) == (200, True)
        status, said = ask(f"{address}/static/labeler/css/base.css", **proxied)
        assert (status, "body" in said) == (200, True), "static files are collected and served"
        assert ask(f"{address}/accounts/login/", Host=HOST) == (301, f"https://{HOST}/accounts/login/")
        assert ask(f"{address}/accounts/login/", **proxied | {"Host": "evil.example.org"})[0] == 400
        checked = healthy("web", prepared, image, **{"127.0.0.1:8000": f"127.0.0.1:{port}"})
        assert checked.returncode == 0, checked.stderr
    gone = healthy("web", prepared, image, **{"127.0.0.1:8000": f"127.0.0.1:{port}"})
    assert gone.returncode != 0, "a server that is gone is not healthy"


def test_the_worker_takes_tasks(prepared, image, tmp_path):
    with running("worker", prepared, image, tmp_path, "ready."):
        checked = healthy("worker", prepared, image)
        assert (checked.returncode, "pong" in checked.stdout) == (0, True), checked.stdout + checked.stderr
        stranger = healthy("worker", prepared | {"HOSTNAME": "another"}, image)
        assert stranger.returncode != 0, "a worker answers for itself only"


def test_the_journal_is_kept(prepared, image, tmp_path):
    with running("journal", prepared, image, tmp_path, "The journal is kept every 5 s."):
        pass


def test_beat_works_by_the_timetable_in_the_database(prepared, image, tmp_path):
    with running("beat", prepared, image, tmp_path, "beat: Starting..."):
        with psycopg.connect(prepared["DATABASE_URL"]) as connection:
            names = connection.execute("SELECT name FROM django_celery_beat_periodictask ORDER BY name").fetchall()
        assert [name for (name,) in names if "celery" not in name] == [
            "Dump the database",
            "Finish what is owed",
            "Remove expired exports",
        ]
