"""Domain words for what a person may not do; ``labeler.errors`` turns them into HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class AnnotationError(Exception):
    """Base: ``code`` is the machine word, ``errors`` names fields, ``facts`` go into the answer as they are."""

    code = "invalid"

    def __init__(self, message: str, *, errors: dict | None = None, **facts: object) -> None:
        super().__init__(message)
        self.errors = errors or {}
        self.facts = facts


def sentence(fields: Mapping[str, Any]) -> str:
    """The first wrong field of a serializer's errors, in one sentence."""
    name, said = next(iter(fields.items()))
    while isinstance(said, dict | list):
        # Entries that are right are listed as empty.
        said = next(filter(None, said.values() if isinstance(said, dict) else said), "is wrong.")
    return str(said) if name == "non_field_errors" else f"{name}: {said}"


class BrokenGeometry(AnnotationError):
    """A shape that cannot be what its type says."""


class NotFound(AnnotationError):
    """Missing, or not for this person to know of."""

    code = "not_found"


class Forbidden(AnnotationError):
    """A member, but the role is too low."""

    code = "forbidden"


class VersionConflict(AnnotationError):
    """The row changed since the client read it; ``current`` is the row as it stands."""

    code = "conflict"

    def __init__(self, current: object, your_version: int) -> None:
        super().__init__("Annotation was changed by someone else")
        self.current = current
        self.your_version = your_version


class InvalidTransition(AnnotationError):
    """A state that cannot follow the present one."""

    code = "invalid_transition"


class ChangedSince(AnnotationError):
    """What is to be undone was changed again; ``annotation_ids`` lists where (the first 100)."""

    code = "not_latest"


class Duplicate(AnnotationError):
    """It is there already."""

    code = "duplicate"


class ClassInUse(AnnotationError):
    """A class that annotations still name cannot go."""

    code = "class_in_use"


class EmptyImage(AnnotationError):
    """Confirming an image without annotations needs ``allow_empty``."""

    code = "empty_image"


class Unclassed(AnnotationError):
    """Drafts without a class cannot be settled; ``annotation_ids`` lists them."""

    code = "conflict"


class ImageLocked(AnnotationError):
    """Somebody else has the image, and the project wants locks respected; ``locked_by`` says who."""

    code = "locked"


class HasAnnotations(AnnotationError):
    """Importing over existing annotations needs ``force``."""

    code = "has_annotations"
