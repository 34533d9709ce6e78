"""Domain words of this room; ``labeler.errors`` turns them into HTTP."""

from __future__ import annotations

from typing import Any


class VersionError(Exception):
    """Base: ``code`` is the machine word, ``errors`` names fields, ``facts`` go into the answer as they are."""

    code = "invalid"

    def __init__(self, message: str, *, errors: dict | None = None, **facts: object) -> None:
        super().__init__(message)
        self.errors = errors or {}
        self.facts = facts


class InvalidVersionNumber(VersionError):
    """A number of the wrong form."""

    def __init__(self, message: str) -> None:
        super().__init__(message, errors={"version_number": [message]})


class InvalidRequest(VersionError):
    """A request whose parts do not fit together; ``errors`` names them."""


class NoSuchVersion(VersionError):
    """Missing, or not for this person to know of."""

    code = "not_found"


class VersionExists(VersionError):
    """The number is not above every published one."""

    code = "version_exists"


class NothingToPublish(VersionError):
    """The version would hold no image."""

    code = "nothing_to_publish"


class PublishBlocked(VersionError):
    """Something must be mended first; ``errors`` lists it by reason."""

    code = "publish_blocked"


class NotReady(VersionError):
    """The version's files are still being made."""

    code = "conflict"


class NotLatest(VersionError):
    """A newer version is official."""

    code = "conflict"


class NoWorkingSave(VersionError):
    """There is no working save to go back to."""

    code = "not_found"


class ForeignFile(VersionError):
    """The file does not belong to this project or claims rows of another."""

    code = "invalid"


class RestoreRefused(VersionError):
    """What is about to be replaced could not be saved first."""

    code = "storage_unavailable"


class HasPublished(VersionError):
    """A project with published versions is only deleted with ``force``."""

    code = "has_versions"


class JobFailed(VersionError):
    """A job that was waited for failed; ``code`` and fields are those of its own error."""

    def __init__(self, job: Any) -> None:
        told = dict(job.result or {})
        self.code = told.pop("code", "internal")
        super().__init__(job.error, errors=told.pop("errors", None), job_id=str(job.pk), **told)


class AlreadyDone(VersionError):
    """The job has ended meanwhile: what was done for it a second time is taken back."""

    code = "conflict"


class NothingInStores(VersionError):
    """No project record lies in the labeler store."""

    code = "not_found"
