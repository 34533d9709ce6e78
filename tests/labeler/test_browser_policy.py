"""The policy names the image store's address, as its links do."""

from __future__ import annotations

import pytest
from django.core.files.storage import storages

from labeler import browser_policy
from tests.conftest import storages_on
from tests.world import a_user


def test_pictures_of_a_folder_store_come_from_ourselves():
    assert browser_policy.store_origins() == []


@pytest.mark.django_db
def test_pictures_of_a_bucket_may_be_loaded_from_its_address_and_nothing_else_may(settings):
    storages_on("moto", settings)
    address = storages["platform"].link("datasets/x/images/1.png", seconds=60).split("/datasets/")[0]
    policy = browser_policy.policy()
    (images,) = [part for part in policy.split("; ") if part.startswith("img-src")]
    origin = "/".join(address.split("/")[:3])
    assert images == f"img-src 'self' data: blob: {origin}" and policy.count(origin) == 1


@pytest.mark.django_db
def test_a_browser_that_asks_for_an_icon_by_itself_gets_ours(client):
    assert client.get("/favicon.ico").headers["Location"].endswith("labeler/icon.svg")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "address",
    ["/", "/accounts/login/", "/admin/", "/api/v1/me", "/api/v1/none", "/api/docs/", "/none", "/files/?token=x",
     "/static/labeler/css/base.css", "/words.js"],
)  # fmt: skip
def test_no_answer_of_ours_is_framed_guessed_at_or_runs_what_is_not_ours(client, address):
    client.force_login(a_user("boss", is_staff=True, is_superuser=True))
    headers = client.get(address).headers
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.django_db
def test_the_cookie_of_a_session_is_out_of_reach_for_scripts_and_other_sites(client):
    user = a_user("vic")
    user.set_password("a long enough password")
    user.save()
    client.post("/accounts/login/", {"username": "vic", "password": "a long enough password"})
    cookie = client.cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


def test_a_frontend_of_another_origin_may_send_what_the_api_listens_to(client, settings):
    settings.CORS_ALLOWED_ORIGINS = ["https://label.example.org"]
    asked = {"origin": "https://label.example.org", "access-control-request-method": "POST",
             "access-control-request-headers": "authorization,content-type,idempotency-key"}  # fmt: skip
    allowed = client.options("/api/v1/annotations/batch", headers=asked).headers
    assert allowed["Access-Control-Allow-Origin"] == "https://label.example.org"
    for name in asked["access-control-request-headers"].split(","):
        assert name in allowed["Access-Control-Allow-Headers"].split(", ")
    stranger = client.options("/api/v1/annotations/batch", headers={**asked, "origin": "https://other.example.org"})
    assert "Access-Control-Allow-Origin" not in stranger.headers
