"""The few pages of the front door itself: where one arrives, and signing in."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from annotations.answers import project_answers
from annotations.models import Project


@login_required
def start(request: HttpRequest) -> HttpResponse:
    """One's projects, how far they are, and where everything is."""
    mine = Project.objects.visible_to(request.user).prefetch_related("tasks").order_by("-created_at")[:100]
    return render(request, "start.html", {"projects": project_answers(mine)})
