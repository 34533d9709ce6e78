"""Bearer tokens: shown once, kept as SHA-256, expiring, revocable."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from annotations.acting import acting
from annotations.asking import first
from annotations.models import ApiToken, User
from annotations.querysets import TOKENS_USER

DAYS = 90


def issue_token(user: User, *, name: str, days: int = DAYS, by: str | None = None) -> tuple[str, ApiToken]:
    """A new token in plain text, which is told only now, and its row. ``by`` is who issued it, if not the user."""
    plain = secrets.token_urlsafe(32)
    expires = timezone.now() + timedelta(days=days)
    with acting(by or user.get_username()):
        return plain, ApiToken.objects.create(user=user, name=name, digest=digest_of(plain), expires_at=expires)


def revoke_token(token: ApiToken, *, by: str) -> None:
    """The token works no more; revoking twice changes nothing."""
    with acting(by):
        ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())


def is_living(plain: str) -> bool:
    """True if the token works now."""
    living = Q(revoked_at=None, expires_at__gt=timezone.now(), user__is_active=True)
    return ApiToken.objects.filter(living, digest=digest_of(plain)).exists()


def digest_of(plain: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(plain.encode()).hexdigest()


class BearerAuthentication(BaseAuthentication):
    """``Authorization: Bearer <token>``."""

    def authenticate(self, request: Request) -> tuple[User, str] | None:
        """The token's user, and its digest; None when no bearer token came, AuthenticationFailed for one that does not
        work."""
        words = get_authorization_header(request).split()
        if not words or words[0].lower() != b"bearer":
            return None
        if len(words) != 2:
            raise AuthenticationFailed("Write the header as: Authorization: Bearer <token>.")
        digest = hashlib.sha256(words[1]).hexdigest()
        user = first(User, TOKENS_USER, [digest, timezone.now()])
        if user is None:
            raise AuthenticationFailed("The token is unknown, expired or revoked; sign in for a new one.")
        return user, digest

    def authenticate_header(self, request: Request) -> str:
        """What a 401 answers with."""
        return "Bearer"


class BearerScheme(OpenApiAuthenticationExtension):
    """How the OpenAPI document names the bearer token."""

    target_class = BearerAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """An HTTP bearer scheme."""
        return {"type": "http", "scheme": "bearer"}
