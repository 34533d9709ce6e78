"""Comparisons as the contract's objects (api.md, ``/version-diff``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from exports.rows import BACKGROUND
from versions.comparing import Comparison, ImageChange, ImageDiff, Overview
from versions.likeness import changes
from versions.sides import Side

Json = dict[str, Any]


def summary_answer(comparison: Comparison, found: Overview, *, asked_first: int) -> Json:
    """Everything but the images; ``asked_first`` is the id the request named first."""
    old, new = comparison.old, comparison.new
    return {
        **_pair(comparison, asked_first),
        "version_a_number": old.number,
        "version_b_number": new.number,
        "states_a": list(old.states),
        "states_b": list(new.states),
        "project_id": comparison.task.project_id,
        "task_type": comparison.task.task_type,
        "classes": comparison.classes(),
        "summary": _totals(found),
        "class_stats": {name: _three(counts) for name, counts in sorted(found.by_class.items())},
    }


def _pair(comparison: Comparison, asked_first: int) -> Json:
    a, b = comparison.old.pk, comparison.new.pk
    return {"version_a": a, "version_b": b, "swapped": asked_first != a}


def _totals(found: Overview) -> Json:
    return {
        "images_with_changes": found.images_with_changes,
        "total_images": found.total_images,
        "images_added": found.images_added,
        "images_removed": found.images_removed,
        "total_added": found.added,
        "total_removed": found.removed,
        "total_modified": found.modified,
        "total_unchanged": found.unchanged,
        "total_changes": found.added + found.removed + found.modified,
    }


def _three(counts: Any) -> Json:
    return {what: counts[what] for what in ("added", "removed", "modified")}


def images_answer(comparison: Comparison, found: Overview, *, asked_first: int) -> Json:
    """Changed images with counts alone."""
    return {
        "images": [changed_image(change) for change in found.page],
        "total": found.listed,
        **_pair(comparison, asked_first),
    }


def changed_image(change: ImageChange) -> Json:
    """One changed image with counts alone."""
    return {"image_id": change.path, **_counts(change)}


def _counts(change: ImageChange) -> Json:
    return {"listing": change.listing, "added": change.added, "removed": change.removed, "modified": change.modified}


def diff_answers(comparison: Comparison, page: Iterable[ImageChange], diffs: Iterable[ImageDiff]) -> Json:
    """Images in full by path; one that changed in its listing alone has no rows."""
    by_path = {diff.path: diff for diff in diffs}
    return {
        change.path: _diff(comparison, change, by_path.get(change.path) or ImageDiff(change.pk, change.path))
        for change in page
    }


def _diff(comparison: Comparison, change: ImageChange, diff: ImageDiff) -> Json:
    old, new = comparison.old, comparison.new
    total = change.added + change.removed + change.modified
    return {
        "added": [state_answer(row, diff.path, new) for row in diff.added],
        "removed": [state_answer(row, diff.path, old) for row in diff.removed],
        "modified": [modified_answer(before, after, diff.path, old, new) for before, after in diff.modified],
        "unchanged": [state_answer(row, diff.path, new) for row in diff.unchanged_rows],
        "summary": {**_counts(change), "unchanged": diff.unchanged, "total_changes": total},
    }


def modified_answer(before: Json, after: Json, path: str, old: Side, new: Side) -> Json:
    """Both states of one annotation, and what differs."""
    named = {"old_class": _class_name(before, old), "new_class": _class_name(after, new)}
    return {
        "old": state_answer(before, path, old),
        "new": state_answer(after, path, new),
        "changes": {**changes(before, after), **named},
    }


def state_answer(row: Json, path: str, side: Side) -> Json:
    """One annotation as a side has it, in the words of api.md's Annotation."""
    return {
        "id": row["id"],
        "image_id": path,
        "annotation_type": row["type"],
        "geometry": row["geometry"],
        "bbox": row["bbox"],
        "area": row["area"],
        "class_id": row["class_key"],
        "class_name": _class_name(row, side),
        "attributes": row["attributes"],
        "confidence": row["confidence"],
        "notes": row["notes"],
        "annotation_state": row["state"],
        "is_verified": row["state"] == "verified",
        "version": row["version"],
        **{f"{verb}_{what}": row[f"{verb}_{what}"] for verb in ("created", "updated", "confirmed")
           for what in ("by", "at")},
    }  # fmt: skip


def _class_name(row: Json, side: Side) -> str | None:
    return BACKGROUND if row["type"] == "no_object" else side.class_name(row["class_key"])
