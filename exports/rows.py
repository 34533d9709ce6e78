"""The language of this room: what a writer is handed and a reader yields.

Coordinates are pixels from the top left corner, boxes are ``[x, y, width, height]``,
angles degrees clockwise on the screen. Times are UTC strings ending in ``Z``,
confidence is 0-100 (files hold 0-1), user ids are strings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import msgspec

BACKGROUND = "__background__"


@dataclass(frozen=True, slots=True)
class LabelClass:
    """One entry of a version's class list; ``index`` is the permanent id in every format."""

    index: int
    key: str
    name: str
    color: str = "#808080"
    supercategory: str = "object"
    description: str = ""
    keypoints: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()
    retired: bool = False


class AnnotationRow(msgspec.Struct, frozen=True, gc=False):
    """One annotation as frozen or live; ``class_key`` is None for ``no_object`` and classless drafts.

    A million of these pass through a publish: a Struct is read from its JSON text four times as fast as a dataclass.
    """

    id: int
    type: str
    geometry: dict[str, Any]
    # ``int | float``: an integral number stays the int it was written as.
    bbox: list[int | float] | None
    area: int | float | None
    class_key: str | None
    state: str
    attributes: dict[str, Any] = {}
    confidence: int | float | None = None
    notes: str | None = None
    version: int = 1
    client_id: str | None = None
    created_by: str | None = None
    created_at: str | None = None
    updated_by: str | None = None
    updated_at: str | None = None
    confirmed_by: str | None = None
    confirmed_at: str | None = None


ROWS = msgspec.json.Decoder(list[AnnotationRow])


class Unread(Sequence[AnnotationRow]):
    """Rows as their JSON texts, made when they are first asked for: most images are written without (see simple.py)."""

    __slots__ = ("_rows", "text")

    def __init__(self, texts: str | None) -> None:
        """``texts`` are joined by commas."""
        self.text = f"[{texts or ''}]"
        self._rows: list[AnnotationRow] | None = None

    def rows(self) -> list[AnnotationRow]:
        """The rows. Raises msgspec.DecodeError for what is no such text, so NaN and Infinity, which JSON does not know,
        reach no file."""
        if self._rows is None:
            self._rows = ROWS.decode(self.text)
        return self._rows

    def __len__(self) -> int:
        return len(self.rows())

    @overload
    def __getitem__(self, at: int) -> AnnotationRow: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[AnnotationRow]: ...
    def __getitem__(self, at: int | slice) -> AnnotationRow | Sequence[AnnotationRow]:
        return self.rows()[at]


class ImageRow(msgspec.Struct, frozen=True, gc=False):
    """One listed image with its annotations in ascending id; ``split`` only if a person set it."""

    id: int
    file_name: str
    width: int | None
    height: int | None
    depth: int
    status: str
    split: str | None = None
    labeled_by: str | None = None
    labeled_at: str | None = None
    reviewed_by: str | None = None
    reviewed_at: str | None = None
    first_modified_at: str | None = None
    last_modified_at: str | None = None
    annotations: Sequence[AnnotationRow] = ()

    @property
    def held(self) -> int:
        """How many characters its annotations are, where they are texts."""
        return len(self.annotations.text) if isinstance(self.annotations, Unread) else 0


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a file says of itself besides its images; known before the first image is written."""

    dataset_id: str
    dataset_name: str
    project_id: str
    task_type: str
    version: str
    version_type: str
    include_draft: bool
    created_at: str
    last_modified_at: str
    storage_info: dict[str, str]
    classes: tuple[LabelClass, ...]
    has_background: bool
    split_ratios: tuple[float, float, float] = (0.7, 0.2, 0.1)
    # DICE also holds the flat COCO mirror of its objects.
    flat_mirror: bool = False
    # Some box is rotated: YOLO is written as obb.
    has_rotated: bool = False

    @property
    def class_by_key(self) -> dict[str, LabelClass]:
        """Classes by the labeler's own key."""
        return {entry.key: entry for entry in self.classes}


# What a reader yields ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileClass:
    """A class as a file lists it; ``ref`` is the id its annotations use (int or str)."""

    ref: int | str
    name: str
    key: str | None = None
    color: str | None = None
    supercategory: str | None = None
    description: str = ""
    keypoints: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What a file says of itself. ``form`` is nested, flat or empty; unknown values are None."""

    form: str
    classes: tuple[FileClass, ...]
    project_id: str | None = None
    dataset_id: str | None = None
    task_type: str | None = None
    version: str | None = None
    version_type: str | None = None
    image_root: str | None = None
    content_hash: str | None = None
    last_modified_at: str | None = None
    split_config: dict[str, Any] | None = None


class FileImage(msgspec.Struct, frozen=True, gc=False):
    """An image as a file lists it; sizes are None when missing or 0, status None when not said."""

    file_id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None
    depth: int | None = None
    split: str | None = None
    status: str | None = None
    reviewed_by: str | None = None
    reviewed_at: str | None = None
    first_modified_at: str | None = None
    last_modified_at: str | None = None


class FileAnnotation(msgspec.Struct, frozen=True, gc=False):
    """An annotation as a file holds it. ``geometry`` is in the API's canonical shape but not yet
    checked against the image; ``class_name`` resolves classes no list mentions; ``confidence`` 0-100."""

    file_image_id: int | str
    type: str
    geometry: dict[str, Any]
    class_ref: int | str | None
    class_name: str | None
    where: str
    id: int | None = None
    state: str = "confirmed"
    attributes: dict[str, Any] = {}
    confidence: float | None = None
    notes: str | None = None
    version: int | None = None
    client_id: str | None = None
    created_by: str | None = None
    created_at: str | None = None
    updated_by: str | None = None
    updated_at: str | None = None
    confirmed_by: str | None = None
    confirmed_at: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One entry that was skipped (or read with a doubt), where it stands and why."""

    where: str
    reason: str
    skipped: bool = True
