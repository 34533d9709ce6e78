"""What can go wrong between rows, files and stores, in words the other rooms raise on."""

from __future__ import annotations


class ExportError(Exception):
    """Base of this room's errors; ``code`` is the machine word clients see."""

    code = "invalid"

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = facts


class BrokenFile(ExportError):
    """The file cannot be read as any known variant; the message names the place and the mend."""

    code = "invalid"


class StoreError(ExportError):
    """Base of what a store can answer besides success."""

    code = "storage_unavailable"


class StoreUnavailable(StoreError):
    """The store did not answer, or answered that it cannot now; trying again later may help."""


class StoreRefused(StoreError):
    """The store refused for a reason that trying again will not mend (access, bucket, bad request)."""


class ObjectMissing(StoreError):
    """No object lies under the key."""

    code = "not_found"


class PreconditionFailed(StoreError):
    """A create-only or compare-and-swap write met another state of the object; nothing was written."""

    code = "conflict"


class ContentConflict(StoreError):
    """A create-only key already holds other content; the caller must take another key or stop."""

    code = "conflict"
