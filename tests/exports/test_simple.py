"""Images of boxes or polygons alone, put together from columns: the same pieces as from their rows."""

from __future__ import annotations

import io
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given

from exports.formats import FORMATS
from exports.rows import ImageRow, LabelClass
from exports.simple import simple_image
from tests.cases import made_up
from tests.exports.builders import CAT, a_box, a_dataset, a_row, an_image, in_texts
from tests.exports.generated import projects

CLASSES = (CAT, LabelClass(1, "k-dog", 'a "dog" \u00e9, .0,'))
TOLD = {"iscrowd": 1, "b": {"z": 1, "a": [1.5, None]}, "a": '\u00e9"\\'}


def a_polygon(row_id: int, *rings, **fields):
    return a_row(row_id, "polygon", geometry={"type": "polygon", "rings": list(rings)}, **fields)


SIMPLE = {
    "boxes": an_image(1, a_box(1, [1, 2, 3, 4]), a_box(2, [0.1, 2.25, 3.75, 5], class_key="k-dog", state="verified")),
    "boxes of all sizes": an_image(1, a_box(1, [0, 0, 4, 4]), a_box(2, [0, 0, 40, 40]), a_box(3, [0, 0, 640, 480])),
    "boxes over the edge": an_image(1, a_box(1, [-5, -5.5, 10, 10]), a_box(2, [600, 470.25, 90, 90])),
    "boxes outside": an_image(1, a_box(1, [-5, -5, 5, 5]), a_box(2, [700, 10, 4, 4]), a_box(3, [1, 2, 3, 4])),
    "a narrow box": an_image(1, a_box(1, [10, 10, 0.0002, 5])),
    "what people add": an_image(1, a_box(1, [1, 2, 3, 4], attributes=TOLD, confidence=87.5), a_box(2, [1, 2, 3, 4])),
    "sure": an_image(1, a_box(1, [1, 2, 3, 4], confidence=100)),
    "an attribute beyond 64 bits": an_image(1, a_box(1, [1, 2, 3, 4], attributes={"n": 2**70})),
    "polygons": an_image(1, a_row(1, "polygon"), a_polygon(2, [[0.5, 0], [40.25, 0], [40, 30.125]], confidence=3)),
    "polygons in parts": an_image(1, a_polygon(1, [[0, 0], [9, 0], [9, 9]], [[20, 20], [29, 20], [29, 29]])),
    "polygons over the edge": an_image(1, a_polygon(1, [[-9, 0], [9, -7], [9, 500]], [[-9, -9], [-1, -9], [-1, -1]])),
    "polygons outside": an_image(1, a_polygon(1, [[-9, -9], [-1, -9], [-1, -1]]), a_row(2, "polygon")),
    "polygons without area": an_image(1, a_polygon(1, [[0, 0], [9, 9], [18, 18]], area=0), a_row(2, "polygon")),
    "a tiny polygon": an_image(1, a_polygon(1, [[9, 9], [9.001, 9], [9.001, 9.001]])),
    "nothing": an_image(1, labeled_by='a"b', reviewed_by="r", reviewed_at="t", split="val", depth=1),
    "odd names": an_image(1, a_box(1, [1, 2, 3, 4]), file_name="images/e+ .0,\u20ac.JPEG", labeled_by="e-, .0]"),
    "an unsafe name": an_image(1, a_box(1, [1, 2, 3, 4]), file_name="a/../b.jpg"),
}
ODD = {
    "2.0": an_image(1, a_box(1, [1, 2.0, 3, 4])),
    "-0.0": an_image(1, a_polygon(1, [[-0.0, 0], [9, 0], [9, 9]])),
    "an area of 2.0": an_image(1, a_row(1, "polygon", area=2.0)),
    "0.00001": an_image(1, a_box(1, [1, 2, 3, 0.00001])),
    "1e-9": an_image(1, a_polygon(1, [[0.5, 1e-9], [9, 0], [9, 9]])),
    "beyond 64 bits": an_image(1, a_box(1, [1, 2, 3, 2**70])),
    "1e300": an_image(1, a_row(1, area=1e300)),
    "an attribute of 2.0": an_image(1, a_box(1, [1, 2, 3, 4], attributes={"a": [2.0]})),
    "an attribute of 0.00001": an_image(1, a_box(1, [1, 2, 3, 4], attributes={"a": 0.00001})),
    "a small confidence": an_image(1, a_box(1, [1, 2, 3, 4], confidence=0.001)),
    "a box without envelope": an_image(1, a_box(1, [1, 2, 3, 4]), a_row(2, bbox=None)),
    "no area": an_image(1, a_row(1, area=None)),
    "a polygon without rings": an_image(1, a_row(1, "polygon"), a_polygon(2)),
    "a marker": an_image(1, a_box(1, [1, 2, 3, 4]), a_row(2, "no_object")),
    "two kinds": an_image(1, a_box(1, [1, 2, 3, 4]), a_row(2, "polygon")),
    "no class": an_image(1, a_row(1, class_key=None)),
    "no size": an_image(1, a_box(1, [1, 2, 3, 4]), width=None),
}


def pieces(image: ImageRow, simple, *, task: str = "detection", **fields) -> list[tuple[bytes, ...]]:
    """The image's piece in every format."""
    dataset = a_dataset(task, "export", classes=CLASSES, has_background=True, **fields)
    return [each.writer(dataset, io.BytesIO()).render(image, simple) for each in FORMATS.values()]


@pytest.mark.parametrize("name", SIMPLE)
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_columns_give_the_same_pieces_as_rows(name, task):
    simple = simple_image(in_texts(SIMPLE[name]))
    assert simple is not None
    assert pieces(SIMPLE[name], simple, task=task) == pieces(SIMPLE[name], None, task=task)


@pytest.mark.parametrize("fields", [{"has_rotated": True}, {"flat_mirror": True}, {"task": "classification"}])
def test_a_file_that_shows_more_than_columns_hold_is_made_of_rows(fields):
    image = SIMPLE["what people add"]
    assert pieces(image, simple_image(in_texts(image)), **fields) == pieces(image, None, **fields)


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_goes_through_its_rows(name):
    assert simple_image(in_texts(ODD[name])) is None


def unsaid(image: ImageRow) -> ImageRow:
    """The image with bare shapes: most made-up attributes are odd."""
    bare = tuple(msgspec.structs.replace(row, attributes={}, confidence=None) for row in image.annotations)
    return msgspec.structs.replace(image, annotations=bare)


@made_up(20)
@given(projects(tasks=("detection", "segmentation"), kinds=("bbox", "polygon")))
def test_whatever_is_drawn_gives_the_same_pieces_by_columns_as_by_rows(made):
    dataset, images = made
    writers = [each.writer(replace(dataset, version_type="export"), io.BytesIO()) for each in FORMATS.values()]
    for image in [*images, *map(unsaid, images)]:
        simple = simple_image(in_texts(image))
        assert [each.render(image, simple) for each in writers] == [each.render(image) for each in writers]
