"""Object names in both buckets, as pure functions of ids and numbers (dice-format.md section 1).

``further`` is the name of a task that is not the project's first one; it goes before the version.
Nothing but safe characters ever becomes part of a key: all functions raise ExportError otherwise.
"""

from __future__ import annotations

import re

from exports.errors import ExportError

FILES = {
    "dice": "annotations_dice.json",
    "coco": "annotations_coco.json",
    "yolo": "annotations_yolo.zip",
}
# The Platform's word for a task, in the names of its official files (dice-format.md section 2).
OFFICIAL_SUFFIXES = {
    "detection": "detection",
    "classification": "classification",
    "segmentation": "segmentation",
    "keypoint": "pose",
    "line": "line",
    "geometry": "geometry",
}
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")
NUMBER = re.compile(r"v(0|[1-9]\d{0,5})\.\d{1,9}\Z", re.ASCII)
DUMPS = "dumps/"
DUMP = re.compile(r"\d{8}T\d{6}Z\Z", re.ASCII)
EXPORT = re.compile(r"export_\d{8}_\d{6}\Z", re.ASCII)


def safe(part: str) -> str:
    """The part itself if it may stand in a key: letters, digits, ``_ . -``, at most 100."""
    if not SAFE.match(part) or ".." in part:
        raise ExportError(f"{part!r} cannot be part of an object name; use letters, digits, _, . and -.")
    return part


def _number(number: str) -> str:
    if not NUMBER.match(number):
        raise ExportError(f"{number!r} is not a version number; these look like v1.0 or v0.12.")
    return number


def _export(name: str) -> str:
    if not EXPORT.match(name):
        raise ExportError(f"{name!r} does not name an export; these look like export_20260112_110000.")
    return name


def _file(format_name: str) -> str:
    if format_name not in FILES:
        raise ExportError(f"{format_name!r} is not a format; there are {', '.join(FILES)}.")
    return FILES[format_name]


def _task(further: str | None) -> str:
    if further is None:
        return ""
    if further not in OFFICIAL_SUFFIXES:
        raise ExportError(f"{further!r} is not a task; there are {', '.join(OFFICIAL_SUFFIXES)}.")
    return f"{further}/"


def _prefix(prefix: str) -> str:
    """A configured prefix: empty, or folders that each end in ``/``."""
    *folders, last = prefix.split("/")
    if last:
        raise ExportError(f"The prefix {prefix!r} must be empty or end with '/'.")
    return "".join(f"{safe(folder)}/" for folder in folders)


# Projects and their published versions (labeler store) --------------------------------------------


def project_folder(project_id: str) -> str:
    """Everything of a project lies below this prefix, but for its latest working save."""
    return f"exports/{safe(project_id)}/"


def project_record(project_id: str) -> str:
    """The project record."""
    return f"{project_folder(project_id)}project.json"


def image_list(project_id: str) -> str:
    """The project's full list of images, beside the project record."""
    return f"{project_folder(project_id)}images.jsonl.gz"


def version_folder(project_id: str, number: str, further: str | None = None) -> str:
    """Everything of a published version lies below this prefix."""
    return f"{project_folder(project_id)}{_task(further)}{_number(number)}/"


def published(project_id: str, number: str, format_name: str, further: str | None = None) -> str:
    """A published file."""
    return version_folder(project_id, number, further) + _file(format_name)


def manifest(project_id: str, number: str, further: str | None = None) -> str:
    """The version record; its presence says the version is complete."""
    return version_folder(project_id, number, further) + "manifest.json"


def frozen_rows(project_id: str, number: str, further: str | None = None) -> str:
    """What the version opened and closed, beside its manifest."""
    return version_folder(project_id, number, further) + "frozen_rows.jsonl.gz"


def pieces(project_id: str, form: str, further: str | None = None) -> str:
    """Where the pieces of the newest files of a ``form``, published or working, lie; replaced by each. A cache."""
    return f"{project_folder(project_id)}{_task(further)}{safe(form)}.pieces"


# Working saves and ad-hoc exports (labeler store) ---------------------------------------------------


def working_folder(project_id: str, further: str | None = None) -> str:
    """Retained working saves of a task lie below this prefix, a folder a number."""
    return f"{project_folder(project_id)}working/{_task(further)}"


def working_retained(project_id: str, number: str, further: str | None = None) -> str:
    """The retained copy of a working save."""
    return f"{working_folder(project_id, further)}{_number(number)}/{FILES['dice']}"


def working_retained_metadata(project_id: str, number: str, further: str | None = None) -> str:
    """What is known of a retained copy, beside it."""
    return f"{working_folder(project_id, further)}{_number(number)}/metadata.json"


def working_latest(dataset_id: str, further: str | None = None) -> str:
    """The latest working save, replaced by each."""
    return f"datasets/{safe(dataset_id)}/working/{_task(further)}annotations.json"


def working_metadata(dataset_id: str, further: str | None = None) -> str:
    """Written last of a save: it marks it complete."""
    return f"datasets/{safe(dataset_id)}/working/{_task(further)}metadata.json"


def adhoc(project_id: str, export: str, job_id: str, format_name: str) -> str:
    """A file of an ad-hoc export (``export`` is ``export_YYYYMMDD_HHMMSS``); these expire."""
    return f"{project_folder(project_id)}adhoc/{_export(export)}-{safe(job_id)}/{_file(format_name)}"


def upload(project_id: str, job_id: str) -> str:
    """An annotation file somebody brought to be imported by a job; these expire."""
    return f"{project_folder(project_id)}imports/{safe(job_id)}/upload"


def import_report(project_id: str, job_id: str) -> str:
    """What an import could not read, or read otherwise than written: a JSON object a line."""
    return f"{project_folder(project_id)}imports/{safe(job_id)}/report.jsonl"


# The journal and dumps of the database (labeler store) -----------------------------------------------


def journal_folder(project_id: str) -> str:
    """The segments of a project's journal lie below this prefix."""
    return f"{project_folder(project_id)}journal/"


def journal_segment(project_id: str, number: int) -> str:
    """A segment of the journal, create-only; the names are in the order of the numbers."""
    if not 0 < number < 10**9:
        raise ExportError(f"{number} is not the number of a segment.")
    return f"{journal_folder(project_id)}{number:09}.jsonl.gz"


def dump(name: str) -> str:
    """A dump of the whole database (``name`` is ``20260112T030000Z``)."""
    if not DUMP.match(name):
        raise ExportError(f"{name!r} does not name a dump; these look like 20260112T030000Z.")
    return f"{DUMPS}{name}/database.dump"


def dump_metadata(name: str) -> str:
    """Written after a dump: it marks it complete."""
    return f"{dump(name).rpartition('/')[0]}/metadata.json"


# Official files (platform store) ---------------------------------------------------------------------


def officials(prefix: str, dataset_id: str, task: str, *, first: bool) -> list[str]:
    """The official files a task writes, in that order: its own, then (the first task) the generic one."""
    own = official_of_task(prefix, dataset_id, task)
    return [own, official(prefix, dataset_id)] if first else [own]


def official(prefix: str, dataset_id: str) -> str:
    """The official file of a dataset, which the first task writes."""
    return f"{_prefix(prefix)}{safe(dataset_id)}/annotations.json"


def official_of_task(prefix: str, dataset_id: str, task: str) -> str:
    """The official file of one task of a dataset; the Platform calls ``keypoint`` ``pose``."""
    _task(task)
    return f"{_prefix(prefix)}{safe(dataset_id)}/annotations_{OFFICIAL_SUFFIXES[task]}.json"


# Every key there is -----------------------------------------------------------------------------------

_PART = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
_FURTHER = f"(?:(?:{'|'.join(OFFICIAL_SUFFIXES)})/)?"
_VERSION = r"v(?:0|[1-9]\d{0,5})\.\d{1,9}"
_FILE = "|".join(re.escape(name) for name in FILES.values())
# What may lie in the labeler store; a new kind of object is added here with its function above.
KNOWN = (
    rf"exports/{_PART}/(?:project\.json|images\.jsonl\.gz)",
    rf"exports/{_PART}/{_FURTHER}{_VERSION}/(?:{_FILE}|frozen_rows\.jsonl\.gz|manifest\.json)",
    rf"exports/{_PART}/{_FURTHER}(?:published|working)\.pieces",
    rf"exports/{_PART}/working/{_FURTHER}{_VERSION}/(?:annotations_dice|metadata)\.json",
    rf"exports/{_PART}/adhoc/export_\d{{8}}_\d{{6}}-{_PART}/(?:{_FILE})",
    rf"exports/{_PART}/imports/{_PART}/(?:upload|report\.jsonl)",
    rf"exports/{_PART}/journal/\d{{9}}\.jsonl\.gz",
    rf"datasets/{_PART}/working/{_FURTHER}(?:annotations|metadata)\.json",
    r"dumps/\d{8}T\d{6}Z/(?:database\.dump|metadata\.json)",
    r"\.labeler-probe/[a-z0-9-]+",
)
_ANY_KNOWN = re.compile(f"(?:{'|'.join(KNOWN)})\\Z", re.ASCII)
_PUBLISHED = re.compile(rf"exports/({_PART})/(?:([a-z]+)/)?(v[1-9]\d{{0,5}}\.\d{{1,9}})/", re.ASCII)


def is_known(key: str) -> bool:
    """True for a key that a function of this module makes for the labeler store."""
    return _ANY_KNOWN.match(key) is not None


def published_under(key: str) -> tuple[str, str | None, str] | None:
    """Project, further task and number of the published version a key belongs to; None for any other key."""
    found = _PUBLISHED.match(key)
    return (found[1], found[2], found[3]) if found else None
