"""Oneself: who one is, one's tokens, and signing in for one."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import authenticate
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import status, viewsets
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from annotations import tokens
from annotations.errors import NotFound
from annotations.models import ApiToken, Member, User, iso
from annotations.paging import checked
from annotations.people import names_of
from annotations.serializers import LoginBody, TokenBody
from annotations.shapes import MeShape, NewTokenShape, TokenShape


class MeViewSet(viewsets.ViewSet):
    """``/me`` and ``/me/tokens``."""

    @extend_schema(responses=MeShape)
    def retrieve(self, request: Request) -> Response:
        """Who is signed in, and in which projects with which role."""
        user_id = request.user.get_username()
        mine = Member.objects.filter(user_id=user_id, project__deleted_at=None).order_by("project_id")
        return Response(
            {
                "id": user_id,
                "name": names_of([user_id]).get(user_id),
                "email": None,
                "is_staff": request.user.is_staff,
                "may_open_datasets": _me(request).may_open_datasets(),
                "projects": [{"project_id": each.project_id, "role": each.role} for each in mine],
            }
        )

    @extend_schema(responses=TokenShape(many=True))
    def tokens(self, request: Request) -> Response:
        """One's living tokens; their text was told only once."""
        living = {"revoked_at": None, "expires_at__gt": timezone.now()}
        mine = ApiToken.objects.filter(user=_me(request), **living).order_by("-pk")
        return Response([_token(token) for token in mine])

    @extend_schema(request=TokenBody, responses={201: NewTokenShape})
    def issue(self, request: Request) -> Response:
        """A further token for oneself."""
        body = checked(TokenBody, request.data)
        plain, row = tokens.issue_token(_me(request), **body)
        return Response({**_token(row), "token": plain}, status.HTTP_201_CREATED)

    @extend_schema(responses={204: None})
    def revoke(self, request: Request, token_id: int) -> Response:
        """Make one of one's tokens worthless."""
        token = ApiToken.objects.filter(user=_me(request), pk=token_id).first()
        if token is None:
            raise NotFound("No such token.")
        tokens.revoke_token(token, by=request.user.get_username())
        return Response(status=status.HTTP_204_NO_CONTENT)


class SignInViewSet(viewsets.ViewSet):
    """``/auth/token``: name and password for a token."""

    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    throttle_scope = "login"

    def get_authenticate_header(self, request: Request) -> str:
        """A wrong password is 401, not 403."""
        return "Bearer"

    @extend_schema(request=LoginBody, responses={201: NewTokenShape})
    def create(self, request: Request) -> Response:
        """A bearer token, valid 90 days."""
        body = checked(LoginBody, request.data)
        user = authenticate(request, **body)
        if user is None:
            raise AuthenticationFailed("Name or password is wrong.")
        plain, row = tokens.issue_token(user, name="sign-in")
        return Response({**_token(row), "token": plain}, status.HTTP_201_CREATED)


def _me(request: Request) -> User:
    user = request.user
    assert isinstance(user, User)
    return user


def _token(row: ApiToken) -> dict[str, Any]:
    return {
        "id": row.pk,
        "name": row.name,
        "created_at": iso(row.created_at),
        "expires_at": iso(row.expires_at),
    }
