"""What the dashboard shows of one task: figures of the rooms below, made into rows and charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.formats import date_format, number_format
from django.utils.translation import gettext, pgettext

from annotations import figures
from annotations.models import ProjectTask
from annotations.people import names_of
from labeler.charts import bar, column_chart
from versions.listing import versions_of
from versions.models import Version
from versions.states import PlatformState, PublishState

Json = dict[str, Any]
MOST_CLASSES = 40
VERSIONS = 5
# The tone of a badge by the state it tells.
PUBLISH_TONES: dict[str, str] = {PublishState.READY: "good", PublishState.EXPORTING: "warn", PublishState.FAILED: "bad"}
PLATFORM_TONES: dict[str, str] = {
    PlatformState.SYNCED: "good",
    PlatformState.PENDING: "warn",
    PlatformState.FAILED: "bad",
}


def dashboard(task: ProjectTask) -> Json:
    """Everything the page shows of a task, in a fixed number of queries."""
    which = (task.project_id, task.task_type)
    activity = figures.activity_figures(*which)
    return {
        "progress": _progress(figures.progress_figures(*which)),
        **_classes(figures.class_figures(*which)),
        "people": figures.people_figures(*which),
        "activity": _activity(activity),
        "activity_totals": {kind: sum(day[kind] for day in activity) for kind in figures.KINDS},
        "days": figures.DAYS,
        **_sizes(figures.size_figures(*which)),
        **_versions(task),
    }


def _progress(counts: Json) -> Json:
    """Shares in percent are rounded down: 100 means all."""
    images = counts["images"]
    parts = [("completed", counts["completed"]), ("in-progress", counts["in_progress"])]
    return {**counts, "bar": bar(parts, images), "percent": 100 * counts["completed"] // images if images else 0}


def _classes(rows: Sequence[Json]) -> Json:
    most = max((row["total"] for row in rows), default=0)
    shown = [
        {**row, "bar": bar([("settled", row["settled"]), ("drafts", row["drafts"])], most)}
        for row in rows[:MOST_CLASSES]
    ]
    return {"classes": shown, "more_classes": len(rows) - len(shown)}


def _activity(days: Sequence[Json]) -> Json | None:
    """The chart, or None where nothing happened."""
    if not any(day[kind] for day in days for kind in figures.KINDS):
        return None
    columns = [
        {**day, "label": _day(day["day"]) if number % 5 == 4 else "", "title": _day_title(day)}
        for number, day in enumerate(days)
    ]
    return column_chart(columns, tuple(figures.KINDS))


def _day(day: Any) -> str:
    return date_format(day, pgettext("format of a day in a chart, as Django writes dates", "j M"))


def _day_title(day: Json) -> str:
    words = gettext("%(day)s: %(drawn)s drawn, %(changed)s changed, %(confirmed)s confirmed")
    return words % {**{kind: _number(day[kind]) for kind in figures.KINDS}, "day": _day(day["day"])}


def _sizes(groups: Sequence[Json]) -> Json:
    measured = sum(group["count"] for group in groups)
    columns = [
        {**group, "label": _size(group), "title": f"{_size(group)} px: {_number(group['count'])}"} for group in groups
    ]
    return {
        "sizes": column_chart(columns, ["count"]) if measured else None,
        "measured": measured,
        "only_newest": measured >= figures.MOST_SHAPES,
    }


def _size(group: Json) -> str:
    if group["below"] is None:
        return f"\N{GREATER-THAN OR EQUAL TO} {group['least']}"
    return f"{group['least']}\N{EN DASH}{group['below']}" if group["least"] else f"< {group['below']}"


def _versions(task: ProjectTask) -> Json:
    listed, total = versions_of(task.project_id, task_type=task.task_type, version_type=None, limit=VERSIONS, offset=0)
    published = [version for version in listed if version.version_type == "published"]
    working = [version for version in listed if version.version_type == "working"]
    official = next((each for each in published if each.platform_status == PlatformState.SYNCED), None)
    names = names_of(version.created_by for version in published)
    return {
        "published": [_version(version, version is official, names) for version in published],
        "working": working[0] if working else None,
        "version_total": total,
    }


def _version(version: Version, official: bool, names: Mapping[str, str | None]) -> Json:
    """Of all that were written to the platform, the newest is its official file."""
    written = version.platform_status == PlatformState.SYNCED
    platform = PlatformState.SUPERSEDED if written and not official else version.platform_status
    return {
        "number": version.version_number,
        "description": version.description,
        "created_at": version.created_at,
        "created_by": names.get(version.created_by) or version.created_by,
        "images": version.image_count,
        "annotations": version.annotation_count,
        "status": version.status,
        "tone": PUBLISH_TONES.get(version.status, ""),
        "platform": str(platform),
        "platform_tone": PLATFORM_TONES.get(platform, ""),
    }


def _number(value: int) -> str:
    return number_format(value, use_l10n=True, force_grouping=True)
