"""``manage.py create_token``: a bearer token for a person or a program."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotations.models import User
from annotations.tokens import DAYS, issue_token


class Command(BaseCommand):
    """The token is shown once; only its hash is kept."""

    help = "Issue a bearer token for a user."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """For whom, for how long."""
        parser.add_argument("username", help="the user's name (the platform user id)")
        parser.add_argument("--name", default="command", help="what the token is for")
        parser.add_argument("--days", type=int, default=DAYS, help=f"how long it works (default {DAYS})")

    def handle(self, *args: Any, **options: Any) -> None:
        """Issue and show."""
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(
                f"There is no user {options['username']}; make one in the admin or with createsuperuser."
            )
        if not 1 <= options["days"] <= 3660:
            raise CommandError("--days must be from 1 to 3660.")
        plain, row = issue_token(user, name=options["name"], days=options["days"])
        self.stderr.write(f"Works until {row.expires_at:%Y-%m-%d}; it is not shown again.")
        self.stdout.write(plain)
