"""What operators look at, on a running system: request ids, logs, figures, health, alarms; no secret in any of it."""

from __future__ import annotations

import gzip
import json
import secrets
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from tests.journeys import days
from tests.system import RunningSystem

METRICS_TOKEN = "figures-" + secrets.token_hex(8)


class Alarms(BaseHTTPRequestHandler):
    """Takes events as Sentry does."""

    heard: list[bytes] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.heard.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *words: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def alarms():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Alarms)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://public@127.0.0.1:{server.server_port}/1"
    server.shutdown()


@pytest.fixture(scope="module")
def system(tmp_path_factory, alarms):
    """A system that has published one version."""
    made = RunningSystem(tmp_path_factory.mktemp("operations"), "moto", LABELER_LOG_FORMAT="json",
                         LABELER_METRICS_TOKEN=METRICS_TOKEN, LABELER_SENTRY_DSN=alarms)  # fmt: skip
    days.a_dataset(made, 2)
    made.start()
    made.olga = made.person("olga", staff=True)
    made.project = days.a_project(made.olga)
    days.draw(made.olga, made.project, "line-a/0001.png")
    days.confirm_one(made.olga, made.project, "line-a/0001.png")
    headers = {"X-Request-ID": "publish-of-the-test"}
    path = f"/projects/{made.project}/versions/publish"
    _, version, made.answered = made.olga.send("POST", path, {}, **headers)
    days.published(made, made.olga, made.project, version["id"])
    yield made
    made.close()


def lines(system: RunningSystem, program: str) -> list[dict]:
    """A program's log; every line must be JSON."""
    return [json.loads(line) for line in (system.folder / f"{program}.log").read_text().splitlines() if line[:1] == "{"]


def ask(system: RunningSystem, path: str, token: str | None = None) -> tuple[int, str]:
    """Status and text of a page outside the API."""
    request = urllib.request.Request(f"http://127.0.0.1:{system.port}{path}")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_request_keeps_its_id_through_answer_log_and_task(system):
    assert system.answered["X-Request-ID"] == "publish-of-the-test"
    (line,) = [each for each in lines(system, "web") if each.get("request_id") == "publish-of-the-test"]
    assert (line["method"], line["status"], line["user"]) == ("POST", 201, "olga")
    done = system.wait(
        lambda: [each for each in lines(system, "worker") if each["request_id"] == "publish-of-the-test"],
        "a task's line",
    )
    assert "advance_publish" in json.dumps(done)


def test_an_id_that_could_forge_a_log_line_is_not_taken(system):
    _, _, headers = system.olga.send("GET", f"/projects/{system.project}", **{"X-Request-ID": 'x"} {"level": "FORGED'})
    assert len(headers["X-Request-ID"]) == 32


def test_every_line_of_web_and_worker_is_json(system):
    for program in ("web", "worker"):
        text = (system.folder / f"{program}.log").read_text()
        strange = [line for line in text.splitlines() if line[:1] != "{"]
        assert not strange, strange[:5]


def test_figures_count_web_and_worker_together(system):
    status, text = ask(system, "/metrics", METRICS_TOKEN)
    assert status == 200, system.logs()
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    route = "/api/v1/projects/(?P<project_id>[^/\\\\x00]+)/versions/publish"
    assert any(name.startswith("labeler_requests_total") and route[:40] in name for name in figures), text[:3000]
    assert float(figures['labeler_tasks_total{outcome="done",task="versions.tasks.advance_publish"}']) >= 1
    assert float(figures['labeler_publishes{state="ready"}']) == 1
    assert float(figures['labeler_store_bytes_total{store="labeler"}']) > 1000
    assert float(figures["labeler_saves_late"]) == 0 and "labeler_oldest_due_save_seconds" in figures


def test_figures_are_for_staff_and_the_scraper_only(system):
    assert ask(system, "/metrics")[0] == 403
    assert ask(system, "/metrics", "wrong")[0] == 403
    assert ask(system, "/metrics", system.person("ann").token)[0] == 403
    assert ask(system, "/metrics", system.olga.token)[0] == 200


def test_readiness_tells_what_is_owed_and_for_how_long(system):
    status, text = ask(system, "/health/ready")
    answer = json.loads(text)
    assert status == 200 and answer["parts"]["labeler_store"] == "ok"
    assert answer["oldest_unfinished_publish_seconds"] is None and answer["oldest_unfinished_job_seconds"] is None


def test_no_secret_is_in_a_log_a_task_a_figure_an_alarm_or_a_row(system):
    ask(system, f"/files/?token={'planted-' + 'x' * 40}")
    system.olga.send("POST", "/auth/login", {"username": "olga", "password": "planted-password"})
    # What goes wrong unexpectedly tells the most.
    _execute(system, "ALTER TABLE classes RENAME TO classes_away")
    assert system.olga.send("GET", f"/projects/{system.project}/classes")[0] == 500
    _execute(system, "ALTER TABLE classes_away RENAME TO classes")
    system.wait(lambda: any(b"classes" in event for event in Alarms.heard), "an alarm")
    environment = system.environment
    planted = {
        "planted-", system.olga.token, METRICS_TOKEN, environment["LABELER_SECRET_KEY"],
        environment["LABELER_STORE_SECRET_KEY"] + "@", urlsplit(environment["DATABASE_URL"]).password,
        urlsplit(environment["PLATFORM_DATABASE_URL"]).password, urlsplit(environment["REDIS_URL"]).password,
    }  # fmt: skip
    places = {log.name: log.read_text() for log in system.folder.glob("*.log")}
    places["alarms"] = b"".join(Alarms.heard).decode()
    places["figures"] = ask(system, "/metrics", METRICS_TOKEN)[1]
    places["queue"] = _queued(environment["REDIS_URL"])
    rows = system.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    for (table,) in rows:
        places[table] = str(system.query(f'SELECT * FROM "{table}"'))
    found = [(place, secret) for place, text in places.items() for secret in planted if secret and secret in text]
    assert not found


def _execute(system: RunningSystem, statement: str) -> None:
    with psycopg.connect(system.environment["DATABASE_URL"]) as connection:
        connection.execute(statement)


def _queued(url: str) -> str:
    with redis.Redis.from_url(url) as queue:
        said = []
        for key in queue.scan_iter():
            kind = queue.type(key)
            said.append(key)
            said += queue.lrange(key, 0, -1) if kind == b"list" else []
            said += queue.hvals(key) if kind == b"hash" else []
        return b" ".join(said).decode(errors="replace")
