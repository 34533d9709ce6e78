"""How often somebody may do what is costly or guessed at: counted in PostgreSQL, so all processes count together."""

from __future__ import annotations

import time
from typing import Any, cast

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm
from django.db import connection
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import ScopedRateThrottle

# Windows of fixed length: one row for each counted person and purpose, taken over by the next window.
COUNT = """
INSERT INTO throttle_counts AS t (key, window_number, count) VALUES (%(key)s, %(window)s, 1)
ON CONFLICT (key) DO UPDATE SET window_number = EXCLUDED.window_number,
    count = CASE WHEN t.window_number = EXCLUDED.window_number THEN t.count + 1 ELSE 1 END
RETURNING count"""


class CountedThrottle(ScopedRateThrottle):
    """At most the rate of ``view.throttle_scope`` in changing requests of a person, or an address; reading is free."""

    duration: int

    def allow_request(self, request: Request, view: Any) -> bool:
        """False when the window's share is used up."""
        scope = getattr(view, self.scope_attr, None)
        if not scope or request.method in ("GET", "HEAD", "OPTIONS"):
            return True
        who = str(request.user.pk) if request.user and request.user.is_authenticated else self.get_ident(request)
        return self.take(scope, who)

    def take(self, scope: str, who: str) -> bool:
        """One more for this person or address; False when it was one too many."""
        most, seconds = self.parse_rate(self.THROTTLE_RATES[scope])
        assert most is not None and seconds is not None
        self.duration = seconds
        with connection.cursor() as cursor:
            cursor.execute(COUNT, {"key": f"{scope}:{who}"[:255], "window": int(time.time() // seconds)})
            return cursor.fetchone()[0] <= most

    def wait(self) -> float:
        """Seconds until the next window."""
        return self.duration - time.time() % self.duration


def refuse_too_many_tries(request: HttpRequest | None) -> None:
    """Count one try to sign in by this address, pages and API together; raises ValidationError at one too many."""
    if request is None:
        return
    throttle = CountedThrottle()
    if not throttle.take("login", throttle.get_ident(cast(Request, request))):
        raise forms.ValidationError("Too many tries from here. Wait a minute and try again.", code="throttled")


class PatientSignIn(AuthenticationForm):
    """Name and password, not too often."""

    def too_many(self) -> bool:
        """True if it was refused unseen."""
        return self.has_error("__all__", "throttled")

    def clean(self) -> dict[str, Any]:
        """As Django's, after the try was counted."""
        refuse_too_many_tries(self.request)
        return super().clean()


class PatientStaffSignIn(AdminAuthenticationForm):
    """The same for the admin's own page."""

    def clean(self) -> dict[str, Any]:
        """As Django's, after the try was counted."""
        refuse_too_many_tries(self.request)
        return super().clean()
