"""Whole projects made up by hypothesis: every task, type, state and kind of metadata a file can hold."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from annotations.errors import BrokenGeometry
from annotations.geometry import Shape, checked
from exports.rows import AnnotationRow, Dataset, ImageRow, LabelClass
from tests.exports.builders import TASKS, a_dataset

WIDTH, HEIGHT = 640, 480
MOMENTS = st.datetimes().map(lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z".zfill(27))
# What PostgreSQL can store as text.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="\x00/\\"), min_size=1, max_size=8
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e6, 1e6) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
PEOPLE = st.none() | NAMES


def _pixels(most: float) -> st.SearchStrategy[float]:
    return st.integers(0, int(most)) | st.floats(0, most).map(lambda value: round(value, 3)) | st.floats(0, most)


POINTS = st.tuples(_pixels(WIDTH), _pixels(HEIGHT)).map(list)


@st.composite
def boxes(draw: Any) -> list[float]:
    """A box inside the image, at least a hundredth of a pixel wide and high."""
    x, y = draw(_pixels(WIDTH - 2)), draw(_pixels(HEIGHT - 2))
    return [x, y, max(0.01, draw(_pixels(1)) * (WIDTH - x)), max(0.01, draw(_pixels(1)) * (HEIGHT - y))]


@st.composite
def rings(draw: Any) -> list[list[float]]:
    """A star of three to seven corners that encloses something."""
    x, y, size = draw(st.integers(0, 300)), draw(st.integers(0, 200)), draw(st.floats(5, 100))
    return [[x, y], [x + size, y], [x + size, y + size], *draw(st.lists(POINTS, max_size=4))]


@st.composite
def runs(draw: Any) -> dict[str, Any]:
    """Uncompressed RLE of the whole image, columns first, with at least one pixel set."""
    left = WIDTH * HEIGHT
    counts = []
    for _ in range(draw(st.integers(1, 4))):
        counts += [draw(st.integers(1, 5000)), draw(st.integers(1, 5000))]
    return {"size": [HEIGHT, WIDTH], "counts": [*counts, left - sum(counts)]}


GEOMETRIES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "bbox": boxes().map(lambda box: {"bbox": box}),
    "rotated_bbox": st.tuples(boxes(), st.floats(-179.99, 179.99)).map(lambda both: {"bbox": [*both[0], both[1]]}),
    "polygon": st.lists(rings(), min_size=1, max_size=3).map(lambda each: {"rings": each}),
    "mask": runs().map(lambda rle: {"rle": rle}),
    "polyline": st.lists(POINTS, min_size=2, max_size=6).map(lambda points: {"points": points}),
    "line": st.lists(POINTS, min_size=2, max_size=2).map(lambda points: {"points": points}),
    "circle": st.tuples(POINTS, st.floats(0.5, 90)).map(lambda both: {"center": both[0], "radius": both[1]}),
    "keypoints": st.lists(
        st.tuples(POINTS, st.sampled_from([1, 2])).map(lambda both: [*both[0], both[1]]) | st.just([0, 0, 0]),
        min_size=3,
        max_size=3,
    )
    .filter(lambda points: any(point[2] for point in points))
    .map(lambda points: {"keypoints": points}),
    "classification": st.just({}),
}


def _valid(kind: str, geometry: dict[str, Any]) -> Shape | None:
    try:
        return checked(kind, {"type": kind, **geometry}, width=WIDTH, height=HEIGHT)
    except BrokenGeometry:
        return None


def shapes(kind: str) -> st.SearchStrategy[Shape]:
    """Shapes as they are stored: everything the API takes, in its canonical form."""
    return GEOMETRIES[kind].map(lambda geometry: _valid(kind, geometry)).filter(bool)


# Made once: a strategy that is built while a value is drawn is checked anew each time.
STATES = st.sampled_from(["draft", "confirmed", "verified"])
ATTRIBUTES = st.dictionaries(TEXTS, VALUES, max_size=3)
CONFIDENCES = st.none() | st.integers(0, 100) | st.floats(0, 100).map(lambda value: round(value, 4))
NOTES = st.none() | TEXTS.filter(bool)
REVISIONS = st.integers(1, 10**9)
CLIENT_IDS = st.none() | st.uuids().map(str)
STEPS = st.integers(1, 1000)
CLASS_NAMES = st.lists(NAMES, min_size=1, max_size=4, unique=True)
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), max_size=4, unique=True)
DEPTHS = st.sampled_from([1, 3, 4])
PROGRESS = st.sampled_from(["completed", "in-progress", "not-started"])
SPLITS = st.sampled_from([None, "train", "val", "test"])
SOMETIMES = st.none() | MOMENTS
SHAPES = {kind: shapes(kind) for kind in GEOMETRIES}


@st.composite
def _row(draw: Any, row_id: int, kind: str, keys: list[str]) -> AnnotationRow:
    shape = draw(SHAPES[kind])
    state = draw(STATES)
    settled = state != "draft"
    return AnnotationRow(
        id=row_id,
        type=kind,
        geometry=shape.geometry,
        bbox=shape.bbox,
        area=shape.area,
        class_key=draw(st.sampled_from(keys)),
        state=state,
        attributes=draw(ATTRIBUTES),
        confidence=draw(CONFIDENCES),
        notes=draw(NOTES),
        version=draw(REVISIONS),
        client_id=draw(CLIENT_IDS),
        created_by=draw(NAMES),
        created_at=draw(MOMENTS),
        updated_by=draw(NAMES),
        updated_at=draw(MOMENTS),
        confirmed_by=draw(NAMES) if settled else None,
        confirmed_at=draw(MOMENTS) if settled else None,
    )


@st.composite
def projects(draw: Any, tasks: tuple[str, ...] = tuple(TASKS), kinds: tuple[str, ...] | None = None) -> Any:
    """A working dataset with its images, at most a dozen annotations, ids ascending."""
    task = draw(st.sampled_from(tasks))
    classes = tuple(
        LabelClass(index, f"k{index}", name, keypoints=("a", "b", "c") if task == "keypoint" else ())
        for index, name in enumerate(draw(CLASS_NAMES))
    )
    dataset: Dataset = a_dataset(task, "working", classes=classes)
    row_id = 0
    images: list[ImageRow] = []
    some_kinds = st.lists(st.sampled_from(kinds or TASKS[task]), max_size=4)
    for image_id, path in enumerate(sorted(draw(PATHS)), start=1):
        rows = []
        for kind in draw(some_kinds):
            row_id += draw(STEPS)
            rows.append(draw(_row(row_id, kind, [entry.key for entry in classes])))
        images.append(
            ImageRow(
                id=image_id,
                file_name=path,
                width=WIDTH,
                height=HEIGHT,
                depth=draw(DEPTHS),
                status=draw(PROGRESS),
                split=draw(SPLITS),
                reviewed_by=draw(PEOPLE),
                reviewed_at=draw(SOMETIMES),
                first_modified_at=draw(SOMETIMES),
                last_modified_at=draw(SOMETIMES),
                annotations=tuple(rows),
            )
        )
    return dataset, images
