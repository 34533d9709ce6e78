"""``python -m labeler.embedded.up``: the whole of Labeler from one command, stopped by Ctrl+C.

Starts what the environment does not name (PostgreSQL, Redis, folder stores), migrates, loads the demo,
then runs web, worker, beat and journal until it is told to stop; starting again keeps all data.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from labeler.embedded import platform_db
from labeler.embedded.broker import Broker
from labeler.embedded.postgres import Postgres, ServerFailed
from labeler.embedded.processes import Child, free_port, port_is_taken
from labeler.embedded.state import State, write_private

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = sys.executable
# Seconds in which the web server has to answer while it runs.
PATIENCE = 300


def main() -> int:
    """Run until stopped; returns the exit code."""
    options = _options()
    data = Path(os.environ.get("LABELER_DATA", ROOT / "var")).resolve()
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    try:
        with ExitStack() as running:
            _run(data, options, running, stop)
    except (ServerFailed, OSError) as error:
        print(f"Labeler cannot run: {error}", file=sys.stderr)
        return 1
    print("Stopped; all data is kept.", flush=True)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m labeler.embedded.up",
        description="Run Labeler with everything it needs; Ctrl+C stops it, starting again keeps all data.",
        epilog="Environment: LABELER_PORT (8000), LABELER_HOST (127.0.0.1), LABELER_DATA (./var). A server named by "
        "DATABASE_URL, PLATFORM_DATABASE_URL, REDIS_URL, LABELER_STORE_* or PLATFORM_STORE_* is used instead of "
        "an embedded one.",
    )
    parser.add_argument("--no-demo", action="store_true", help="do not load the demo dataset")
    parser.add_argument("--quiet", action="store_true", help="keep the logs in files only")
    return parser.parse_args()


def _run(data: Path, options: argparse.Namespace, running: ExitStack, stop: threading.Event) -> None:
    began = time.monotonic()
    host, port = os.environ.get("LABELER_HOST", "127.0.0.1"), int(os.environ.get("LABELER_PORT", "8000"))
    if port_is_taken(host, port):
        raise ServerFailed(f"port {port} is taken; choose another with LABELER_PORT=8001.")
    logs = data / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    _only_one(data, running)
    environment, servers = start_servers(data, running)
    _write_environment(data, environment)
    manage(environment, "prepare", *(["--no-demo"] if options.no_demo else []))
    children: list[Child] = []
    for name, command in programs(host, port, data).items():
        child = Child(name, command, environment, logs / f"{name}.log", echo=not options.quiet)
        running.callback(child.stop)
        children.append(child)
        environment_check(child, name)
    _wait_for_page(host, port, [*servers, *children], stop)
    _greet(data, host, port, time.monotonic() - began)
    _watch([*servers, *children], stop)
    print("\nStopping ...", flush=True)


def environment_check(child: Child, name: str) -> None:
    """Fail early when a program ends as soon as it starts."""
    time.sleep(0.2)
    if child.process.poll() is not None:
        raise ServerFailed(f"{name} ended at once; its log says why.")


def _watch(children: Sequence[Child | Postgres | Broker], stop: threading.Event) -> None:
    """Until told to stop. A program that ends by itself ends the run: without its worker Labeler only looks well."""
    while not stop.wait(1):
        _check_all_run(children)


def _check_all_run(children: Sequence[Child | Postgres | Broker]) -> None:
    for child in children:
        if child.process is not None and (code := child.process.poll()) is not None:
            raise ServerFailed(f"{child.name} ended by itself (exit code {code}); its log says why.")


def _only_one(data: Path, running: ExitStack) -> None:
    lock = running.enter_context((data / "lock").open("w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ServerFailed(f"another run uses {data}; stop it, or choose a folder with LABELER_DATA.") from None


def start_servers(data: Path, running: ExitStack) -> tuple[dict[str, str], list[Postgres | Broker]]:
    """Start what the environment does not name; returns the environment for everything else, and what was started."""
    servers: list[Postgres | Broker] = []
    state = State.load(data)
    given = dict(os.environ)
    environment = {"LABELER_MODE": "embedded", "LABELER_SECRET_KEY": state.secret_key, **given}
    environment["LABELER_DATA"] = str(data)
    environment["TMPDIR"] = str(_folder(data / "tmp"))
    if "DATABASE_URL" not in given or "PLATFORM_DATABASE_URL" not in given:
        server, named = _start_postgres(data, state, running)
        servers.append(server)
        environment = named | environment
    if "REDIS_URL" not in given:
        if port_is_taken("127.0.0.1", state.broker_port):
            state.broker_port = free_port()
        broker = Broker(data / "broker", port=state.broker_port, password=state.broker_password,
                        log=data / "logs" / "broker.log")  # fmt: skip
        running.callback(broker.stop)
        broker.start()
        servers.append(broker)
        environment["REDIS_URL"] = broker.url()
    for prefix, folder in (("LABELER_STORE", "labeler-store"), ("PLATFORM_STORE", "platform-store")):
        if f"{prefix}_BUCKET" not in given and f"{prefix}_FOLDER" not in given:
            environment[f"{prefix}_FOLDER"] = str(_folder(data / folder))
    state.save(data)
    return environment, servers


def _start_postgres(data: Path, state: State, running: ExitStack) -> tuple[Postgres, dict[str, str]]:
    if port_is_taken("127.0.0.1", state.postgres_port):
        state.postgres_port = free_port()
    server = Postgres(data / "postgres", port=state.postgres_port, user="labeler",
                      password=state.postgres_password, log=data / "logs" / "postgres.log")  # fmt: skip
    print(f"PostgreSQL {server.binaries.major} from {server.binaries.found_by}", flush=True)
    running.callback(server.stop)
    server.start()
    for name in ("labeler", "platform"):
        platform_db.create_database(server.url("postgres"), name)
    platform_db.create_platform(server.url("platform"), state.reader_password)
    reader = f"postgres://{platform_db.READER}:{state.reader_password}@127.0.0.1:{server.port}/platform"
    return server, {
        "DATABASE_URL": server.url("labeler"),
        "PLATFORM_DATABASE_URL": reader,
        "LABELER_DEMO_PLATFORM_OWNER_URL": server.url("platform"),
    }


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _write_environment(data: Path, environment: dict[str, str]) -> None:
    """So that ``manage.py`` finds the running servers by itself."""
    ours = ("LABELER_", "PLATFORM_", "DATABASE_URL", "REDIS_URL")
    lines = [f"{name}={value}" for name, value in sorted(environment.items()) if name.startswith(ours)]
    write_private(data / "env", "\n".join(lines) + "\n")


def manage(environment: dict[str, str], *arguments: str) -> None:
    """Run one management command; raises ServerFailed when it fails."""
    done = subprocess.run([PYTHON, str(ROOT / "manage.py"), *arguments], env=environment, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise ServerFailed(f"manage.py {arguments[0]} failed; its words are above.")


def programs(host: str, port: int, data: Path) -> dict[str, list[str]]:
    """The long-running programs by name, in the order they are started."""
    scratch = str(data / "tmp")
    return {
        "beat": [PYTHON, "-m", "celery", "--quiet", "-A", "labeler.celery", "beat", "--loglevel", "INFO", "--pidfile="],
        "journal": [PYTHON, str(ROOT / "manage.py"), "keep_journal"],
        # People do not wait behind long work: where both want a processor, the web server has it first.
        "worker": ["nice", "-n", "10", PYTHON, "-m", "celery", "--quiet", "-A", "labeler.worker", "worker",
                   "--loglevel", "INFO", "--concurrency", "2", "--without-gossip", "--without-mingle"],
        "web": [PYTHON, "-m", "gunicorn", "labeler.wsgi", "--bind", f"{host}:{port}", "--worker-class", "gthread",
                "--preload", "--workers", "2", "--threads", "8", "--keep-alive", "75", "--worker-tmp-dir", scratch,
                "--no-control-socket",
                "--logger-class", "labeler.logs.GunicornLogger"],
    }  # fmt: skip


def _wait_for_page(host: str, port: int, children: Sequence[Child | Postgres | Broker], stop: threading.Event) -> None:
    """Until the web server answers: on a busy machine that takes its time, and a program that fails ends."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        _check_all_run(children)
        try:
            urllib.request.urlopen(f"http://{host}:{port}/health/live", timeout=10).close()
            return
        except (urllib.error.URLError, OSError):
            if stop.wait(0.1):
                return
    raise ServerFailed(f"the web server did not answer within {PATIENCE} s; its log says why.")


def _greet(data: Path, host: str, port: int, seconds: float) -> None:
    lines = ["", f"Labeler is running (started in {seconds:.1f} s)", f"  address  http://{host}:{port}/"]
    demo = data / "demo.json"
    if demo.exists():
        known = json.loads(demo.read_text())
        lines += [
            f"  login    {known['login']}",
            f"  password {known['password']}",
            f"  token    {known['token']}",
        ]
    lines += [f"  data     {data}", "  Ctrl+C stops it; starting again keeps all data.", ""]
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    sys.exit(main())
