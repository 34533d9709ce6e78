"""Tokens: told once, kept as a digest, worth nothing once expired, revoked or their owner is gone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from annotations.models import ApiToken
from annotations.throttles import CountedThrottle
from annotations.tokens import DAYS, digest_of, is_living, issue_token, revoke_token
from tests.world import a_client, a_user, a_world

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _one_window(monkeypatch):
    # The window of a day, as a minute may end within a test.
    monkeypatch.setitem(CountedThrottle.THROTTLE_RATES, "login", "20/day")


def status(header: str) -> int:
    """What ``/me`` answers to an Authorization header."""
    return APIClient(HTTP_AUTHORIZATION=header).get("/api/v1/me").status_code


def test_a_token_works_for_its_owner_alone():
    plain, _ = issue_token(a_user("ann"), name="script")
    issue_token(a_user("rev"), name="script")
    answer = APIClient(HTTP_AUTHORIZATION=f"Bearer {plain}").get("/api/v1/me")
    assert (answer.status_code, answer.json()["id"]) == (200, "ann")


def test_the_text_of_a_token_is_nowhere_in_the_database():
    plain, row = issue_token(a_user("ann"), name="script")
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(t)::text FROM api_tokens t")
        (stored,) = cursor.fetchone()
    assert plain not in stored and row.digest in stored
    assert row.digest == digest_of(plain) and len(row.digest) == 64


def test_the_digest_of_a_token_is_no_token():
    _, row = issue_token(a_user("ann"), name="script")
    assert status(f"Bearer {row.digest}") == 401


def test_no_two_tokens_are_alike():
    user = a_user("ann")
    plains = {issue_token(user, name="same")[0] for _ in range(20)}
    assert len(plains) == 20 and min(map(len, plains)) >= 43


def test_a_token_lives_for_the_days_it_was_given_and_no_longer():
    plain, row = issue_token(a_user("ann"), name="script", days=2)
    assert timedelta(days=1, hours=23) < row.expires_at - timezone.now() <= timedelta(days=2)
    ApiToken.objects.filter(pk=row.pk).update(expires_at=timezone.now())
    assert not is_living(plain) and status(f"Bearer {plain}") == 401


def test_without_a_word_a_token_lives_ninety_days():
    _, row = issue_token(a_user("ann"), name="script")
    assert DAYS == 90 and (row.expires_at - timezone.now()).days == 89


def test_a_revoked_token_works_no_more_and_its_first_end_is_kept():
    plain, row = issue_token(a_user("ann"), name="script")
    other, _ = issue_token(a_user("ann"), name="other")
    revoke_token(row, by="ann")
    first = ApiToken.objects.get(pk=row.pk).revoked_at
    revoke_token(row, by="ann")
    assert not is_living(plain) and status(f"Bearer {plain}") == 401
    assert ApiToken.objects.get(pk=row.pk).revoked_at == first
    assert is_living(other) and status(f"Bearer {other}") == 200


def test_the_token_of_somebody_who_left_works_no_more():
    user = a_user("ann")
    plain, _ = issue_token(user, name="script")
    user.is_active = False
    user.save()
    assert not is_living(plain) and status(f"Bearer {plain}") == 401


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer a b", "Bearer x", "bearer  ", "Basic YTpi", "Token x", "x" * 5000]
)
def test_a_header_that_names_no_living_token_is_401_with_how_to_sign_in(header):
    answer = APIClient(HTTP_AUTHORIZATION=header).get("/api/v1/me")
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "unauthenticated" and answer.json()["detail"]


def test_a_token_that_does_not_work_is_refused_even_beside_a_session():
    client = APIClient(HTTP_AUTHORIZATION="Bearer gone")
    client.force_login(a_user("ann"))
    assert client.get("/api/v1/me").status_code == 401


def test_a_token_needs_no_csrf_and_a_session_does():
    plain, _ = issue_token(a_user("ann"), name="script")
    bearer = APIClient(enforce_csrf_checks=True, HTTP_AUTHORIZATION=f"Bearer {plain}")
    assert bearer.post("/api/v1/me/tokens", {"name": "next"}, format="json").status_code == 201
    session = APIClient(enforce_csrf_checks=True)
    session.force_login(a_user("ann"))
    assert session.post("/api/v1/me/tokens", {"name": "next"}, format="json").status_code == 403


def test_the_list_shows_living_tokens_of_oneself_without_their_text():
    plain, living = issue_token(a_user("ann"), name="living")
    _, revoked = issue_token(a_user("ann"), name="revoked")
    revoke_token(revoked, by="ann")
    issue_token(a_user("ann"), name="expired", days=-1)
    issue_token(a_user("rev"), name="foreign")
    (told,) = a_client("ann").get("/api/v1/me/tokens").json()
    assert (told["id"], told["name"]) == (living.pk, "living")
    assert set(told) == {"id", "name", "created_at", "expires_at"} and plain not in str(told)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"days": 0}, "days"),
        ({"days": 367}, "days"),
        ({"days": "soon"}, "days"),
        ({"days": True}, "days"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": ["x"]}, "name"),
    ],
)
def test_a_token_that_cannot_be_is_refused_and_none_is_made(fields, named):
    answer = a_client("ann").post("/api/v1/me/tokens", {"name": "script", **fields}, format="json")
    assert answer.status_code == 400 and named in answer.json()["errors"]
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize("password", ["wrong", "", None, "a long enough password "])
def test_signing_in_with_a_wrong_password_makes_no_token(password):
    user = a_user("ann")
    user.set_password("a long enough password")
    user.save()
    answer = APIClient().post("/api/v1/auth/token", {"username": "ann", "password": password}, format="json")
    assert answer.status_code in (400, 401) and not ApiToken.objects.exists()


def test_unknown_and_wrong_are_told_alike():
    user = a_user("ann")
    user.set_password("a long enough password")
    user.save()
    answers = [
        APIClient().post("/api/v1/auth/token", {"username": name, "password": "wrong"}, format="json")
        for name in ("ann", "nobody")
    ]
    assert answers[0].status_code == answers[1].status_code == 401
    assert answers[0].content == answers[1].content


def test_somebody_who_left_cannot_sign_in():
    user = a_user("ann", is_active=False)
    user.set_password("a long enough password")
    user.save()
    body = {"username": "ann", "password": "a long enough password"}
    assert APIClient().post("/api/v1/auth/token", body, format="json").status_code == 401


def test_guessing_passwords_is_slowed_down(settings):
    # Slowed down by the count, not by the work that hashing a password is.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    answers = [
        APIClient().post("/api/v1/auth/token", {"username": "ann", "password": str(n)}, format="json")
        for n in range(21)
    ]
    assert [answer.status_code for answer in answers] == [401] * 20 + [429]
    assert answers[-1].json()["code"] == "throttled" and int(answers[-1].headers["Retry-After"]) > 0


def test_all_ways_to_sign_in_are_counted_together(settings, client):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    wrong = {"username": "ann", "password": "wrong"}
    for number in range(20):
        client.post(("/accounts/login/", "/admin/login/")[number % 2], wrong)
    assert b"Too many tries" in client.post("/accounts/login/", wrong).content
    assert b"Too many tries" in client.post("/admin/login/", wrong).content
    assert APIClient().post("/api/v1/auth/token", wrong, format="json").status_code == 429


def test_an_address_somebody_claims_is_not_believed(settings, client):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    body = {"username": "ann", "password": "wrong"}
    said = [
        APIClient().post("/api/v1/auth/token", body, format="json", headers={"X-Forwarded-For": f"10.0.0.{n}"})
        for n in range(21)
    ]
    assert said[-1].status_code == 429


def test_what_others_do_is_not_counted_against_oneself(monkeypatch):
    monkeypatch.setattr(CountedThrottle, "THROTTLE_RATES", {"login": "2/day"})
    throttle = CountedThrottle()
    assert [throttle.take("login", who) for who in ("a", "a", "a", "b")] == [True, True, False, True]


@pytest.mark.parametrize("path, body", [("export", {}), ("working-version/save", {}), ("import", {})])
def test_exports_saves_and_imports_are_limited_and_reading_is_not(path, body, monkeypatch):
    world = a_world()
    few = {"beacon": "1/day", "import": "1/day", "export": "1/day"}
    monkeypatch.setattr(CountedThrottle, "THROTTLE_RATES", few)
    send = a_client("adm").post
    assert send(f"/api/v1/projects/{world.project.pk}/{path}", body, format="json").status_code != 429
    answer = send(f"/api/v1/projects/{world.project.pk}/{path}", body, format="json")
    assert answer.status_code == 429 and int(answer["Retry-After"]) > 0
    assert a_client("ann").post(f"/api/v1/projects/{world.project.pk}/{path}", body, format="json").status_code != 429
