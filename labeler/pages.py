"""Pages of the front door: where one arrives, signing in, the labeling page, and how a project goes.

The labeling page is a frame: what it shows it asks of the public API, with the session the browser has.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.views.decorators.cache import cache_control

from annotations.access import project_for
from annotations.answers import project_answers
from annotations.errors import AnnotationError, NotFound
from annotations.models import Project
from annotations.projects import stats, task_of
from annotations.states import Role
from labeler.dashboard import dashboard


@login_required
def start(request: HttpRequest) -> HttpResponse:
    """One's projects, how far they are, and where everything is."""
    mine = list(
        Project.objects.visible_to(request.user).with_my_role().prefetch_related("tasks").order_by("-created_at")[:100]
    )
    entries = [
        {**answer, "role": project.my_role, "tasks": _progress(project)}
        for answer, project in zip(project_answers(mine), mine, strict=True)
    ]
    return render(request, "start.html", {"projects": entries})


def _progress(project: Project) -> list[dict[str, Any]]:
    """Each task with its shares of images in percent, rounded down: 100 means all of them."""
    return [
        {**task, "done": 100 * task["completed"] // total, "begun": 100 * task["in_progress"] // total}
        for task in stats(project)["task_stats"]
        for total in [task["total_images"] or 1]
    ]


@login_required
def label(request: HttpRequest, project_id: str) -> HttpResponse:
    """The labeling page of a project; which image and task is up to its scripts."""
    project = _project(request, project_id)
    context = {
        "project": project,
        "role": project.my_role,
        "may_edit": Role(project.my_role).rank >= Role.ANNOTATOR.rank,
        "modules": modules(),
        "may_publish": Role(project.my_role).rank >= Role.ADMIN.rank,
    }
    return render(request, "label/page.html", context)


@cache_control(max_age=86400)
def favicon(_request: HttpRequest) -> HttpResponse:
    """Asked for by browsers on pages that name no icon: the admin's, and files opened by themselves."""
    return redirect(static("labeler/icon.svg"))


@cache
def modules() -> list[str]:
    """The labeling page's modules but its dialogs, so that a browser loads them at once and not import by import."""
    folder = Path(settings.BASE_DIR, "labeler", "static")
    found = folder.glob("labeler/js/**/*.js")
    return sorted(str(path.relative_to(folder)) for path in found if path.parent.name != "dialogs")


@login_required
def project(request: HttpRequest, project_id: str) -> HttpResponse:
    """How one task of a project goes (``?task=``, else the first), to be read only; 404 for a task it does not have."""
    found = _project(request, project_id)
    try:
        task = task_of(found, request.GET.get("task"))
    except AnnotationError:
        raise Http404 from None
    context = {"project": found, "role": found.my_role, "task": task, "tasks": found.tasks.all(), **dashboard(task)}
    return render(request, "dashboard/page.html", context)


@login_required
def signed_in(request: HttpRequest) -> HttpResponse:
    """Where signing in again ends: it tells the labeling page in the other tab, which goes on sending."""
    return render(request, "signed_in.html")


def _project(request: HttpRequest, project_id: str) -> Project:
    """The project with the person's role; a page that is not there for anybody else (404)."""
    try:
        return project_for(request.user, project_id)
    except NotFound:
        raise Http404 from None
