"""Settings as a new process reads them: production starts with a careful environment and with no other."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
START = "import django; django.setup()"
KEY = "check-only-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJ"
GOOD = {
    "DJANGO_SETTINGS_MODULE": "labeler.settings",
    "LABELER_SECRET_KEY": KEY,
    "LABELER_ALLOWED_HOSTS": "labeler.example.org",
    "LABELER_DATA": "/nowhere",
    "DATABASE_URL": "postgres://labeler:careful-1@127.0.0.1:1/labeler",
    "PLATFORM_DATABASE_URL": "postgres://reader:careful-2@127.0.0.1:1/platform",
    "REDIS_URL": "redis://:careful-3@127.0.0.1:1/0",
    "LABELER_STORE_BUCKET": "labeler-annotations",
    "LABELER_STORE_ENDPOINT": "https://store.example.org",
    "LABELER_STORE_ACCESS_KEY": "key-1",
    "LABELER_STORE_SECRET_KEY": "careful-4",
    "PLATFORM_STORE_BUCKET": "platform-datasets",
    "PLATFORM_STORE_ACCESS_KEY": "key-2",
    "PLATFORM_STORE_SECRET_KEY": "careful-5",
}


def run(code: str, *without: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process that has the good environment, changed, and nothing else of ours."""
    environment = {name: value for name, value in (GOOD | changes).items() if name not in without}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], **environment},
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def refused(*without: str, **changes: str) -> str:
    """What a process that must not start says last."""
    done = run(START, *without, **changes)
    assert done.returncode != 0, f"started without {without} and with {changes}"
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("django.core.exceptions.ImproperlyConfigured: "), done.stderr
    return last.partition(": ")[2]


def value_of(expression: str, *without: str, **changes: str) -> str:
    """A setting as a process that starts has it."""
    code = f"{START}; from django.conf import settings; print({expression})"
    done = run(code, *without, **changes)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# What production needs ------------------------------------------------------------------------


def test_a_careful_environment_starts_in_production():
    assert value_of("settings.MODE, settings.DEBUG") == "production False"


def test_folders_can_take_the_place_of_buckets():
    names = [name for name in GOOD if "_STORE_" in name]
    backend = value_of("settings.STORAGES['labeler']['BACKEND']", *names,
                       LABELER_STORE_FOLDER="/nowhere/a", PLATFORM_STORE_FOLDER="/nowhere/b")  # fmt: skip
    assert backend == "labeler.storage.FolderStore"


@pytest.mark.parametrize(
    "name",
    [
        "LABELER_SECRET_KEY",
        "DATABASE_URL",
        "PLATFORM_DATABASE_URL",
        "REDIS_URL",
        "LABELER_STORE_BUCKET",
        "LABELER_STORE_ACCESS_KEY",
        "PLATFORM_STORE_SECRET_KEY",
    ],
)
def test_what_is_missing_is_named(name):
    assert refused(name) == f"Set {name} in the environment; README.md lists every variable."


def test_no_debug_in_production():
    assert refused(LABELER_DEBUG="true") == "Production refuses to start: LABELER_DEBUG is on"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "shorter than 50"),
        ("too-short", "shorter than 50"),
        ("a" * 80, "shorter than 50"),
        (f"django-insecure-{KEY}", "made for development"),
    ],
)
def test_no_weak_key_in_production(key, said):
    told = refused(LABELER_SECRET_KEY=key)
    assert told.startswith("Production refuses to start: LABELER_SECRET_KEY is") and said in told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgres://labeler:postgres@127.0.0.1:1/labeler"),
        ("DATABASE_URL", "postgres://labeler@127.0.0.1:1/labeler"),
        ("PLATFORM_DATABASE_URL", "postgres://reader:changeme@127.0.0.1:1/platform"),
        ("PLATFORM_DATABASE_URL", "postgres://reader:@127.0.0.1:1/platform"),
        ("REDIS_URL", "redis://:password@127.0.0.1:1/0"),
        ("LABELER_STORE_SECRET_KEY", "minioadmin"),
        ("PLATFORM_STORE_SECRET_KEY", "secret"),
        ("PLATFORM_STORE_SECRET_KEY", ""),
    ],
)
def test_no_default_password_in_production(name, value):
    told = refused(**{name: value})
    assert told.startswith(f"Production refuses to start: {name} "), told
    assert "default" in told
    assert ";" not in told, "nothing else is wrong"


def test_everything_that_is_wrong_is_said_at_once():
    told = refused(LABELER_DEBUG="yes", LABELER_SECRET_KEY="short", REDIS_URL="redis://:admin@127.0.0.1:1/0")
    assert [part.split()[0] for part in told.partition(": ")[2].split("; ")] == [
        "LABELER_DEBUG", "LABELER_SECRET_KEY", "REDIS_URL"
    ]  # fmt: skip


def test_a_refusal_tells_no_secret():
    said = run(START, LABELER_DEBUG="yes", LABELER_SECRET_KEY="weak-but-private")
    assert said.returncode != 0
    for secret in ("weak-but-private", "careful-1", "careful-3", "careful-4"):
        assert secret not in said.stdout + said.stderr


def test_a_run_of_one_command_may_do_what_production_may_not():
    assert value_of("settings.DEBUG", LABELER_MODE="embedded", LABELER_DEBUG="on", LABELER_SECRET_KEY="short") == "True"


# Secrets from files ---------------------------------------------------------------------------

SECRETS = {
    "LABELER_SECRET_KEY": "settings.SECRET_KEY",
    "DATABASE_URL": "settings.DATABASES['default']['PASSWORD']",
    "PLATFORM_DATABASE_URL": "settings.DATABASES['platform']['PASSWORD']",
    "REDIS_URL": "settings.CELERY_BROKER_URL",
    "LABELER_STORE_ACCESS_KEY": "settings.STORAGES['labeler']['OPTIONS']['access_key']",
    "LABELER_STORE_SECRET_KEY": "settings.STORAGES['labeler']['OPTIONS']['secret_key']",
    "PLATFORM_STORE_SECRET_KEY": "settings.STORAGES['platform']['OPTIONS']['secret_key']",
}


def test_every_secret_may_come_from_a_file(tmp_path):
    files = {}
    for name in SECRETS:
        (tmp_path / name).write_text(GOOD[name] + "\n")
        files[f"{name}_FILE"] = str(tmp_path / name)
    given = value_of(", ".join(SECRETS.values()), *SECRETS, **files)
    assert given == value_of(", ".join(SECRETS.values()))


def test_a_file_wins_over_a_value_beside_it(tmp_path):
    (tmp_path / "key").write_text(secrets.token_urlsafe(60))
    given = value_of("settings.SECRET_KEY", LABELER_SECRET_KEY_FILE=str(tmp_path / "key"))
    assert given == (tmp_path / "key").read_text()


def test_a_default_password_in_a_file_is_still_a_default_password(tmp_path):
    (tmp_path / "url").write_text("redis://:changeme@127.0.0.1:1/0\n")
    assert "REDIS_URL has a default password" in refused("REDIS_URL", REDIS_URL_FILE=str(tmp_path / "url"))


def test_a_file_that_is_not_there_is_named(tmp_path):
    told = refused("REDIS_URL", REDIS_URL_FILE=str(tmp_path / "absent"))
    assert told.startswith(f"REDIS_URL_FILE names {tmp_path / 'absent'}, which cannot be read")


# Values of the wrong kind ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LABELER_MODE", "develop", "must be one of production, embedded, test"),
        ("LABELER_DEBUG", "maybe", "must be true or false"),
        ("LABELER_SAVE_IMAGES", "ten", "must be a whole number"),
        ("LABELER_SAVE_IMAGES", "-1", "must be a whole number"),
        ("LABELER_SAVE_IMAGES", "²", "must be a whole number"),
        ("LABELER_STORE_TYPE", "ftp", "must be one of s3, r2"),
        ("LABELER_STORE_ENDPOINT", "store.example.org:9000", "must begin with http:// or https://"),
        ("LABELER_STORE_PUBLIC_ENDPOINT", "store.example.org", "must begin with http:// or https://"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(name, value, said):
    assert refused(**{name: value}).startswith(f"{name} {said}")


# What follows from it -------------------------------------------------------------------------


def test_https_is_the_default_and_can_be_left_to_others():
    names = "settings.SECURE_SSL_REDIRECT, settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE"
    assert value_of(names) == "True True True"
    assert value_of(names, LABELER_HTTPS="false") == "False False False"


def test_a_proxys_word_counts_only_if_there_is_a_proxy():
    assert value_of("settings.SECURE_PROXY_SSL_HEADER") == "None"
    given = value_of("settings.SECURE_PROXY_SSL_HEADER", LABELER_BEHIND_PROXY="true")
    assert given == "('HTTP_X_FORWARDED_PROTO', 'https')"


def test_only_tests_may_empty_tables():
    assert "allow_truncate" not in value_of("settings.DATABASES['default']['OPTIONS']")
    assert "allow_truncate" in value_of("settings.DATABASES['default']['OPTIONS']", LABELER_MODE="test")


def test_the_platforms_connection_is_made_for_reading():
    assert "default_transaction_read_only=on" in value_of("settings.DATABASES['platform']['OPTIONS']")


def test_django_finds_nothing_to_warn_of_in_production():
    arguments = ["manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = run(f"import sys; sys.argv = {arguments}; import manage; manage.main()")
    assert (done.returncode, "no issues" in done.stdout) == (0, True), done.stdout + done.stderr


def test_django_warns_of_plain_http():
    arguments = ["manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = run(f"import sys; sys.argv = {arguments}; import manage; manage.main()", LABELER_HTTPS="false")
    assert done.returncode != 0
    assert "SECURE_SSL_REDIRECT" in done.stderr
