"""What may be stored as a shape: every type and spelling of api.md section 2, and every refusal."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pycocotools import mask as codec

from annotations.errors import BrokenGeometry
from annotations.geometry import (
    MAX_COORDINATE,
    MAX_POINTS,
    TASK_OF,
    TYPES,
    Shape,
    checked,
    corners,
    decode_runs,
    envelope,
    mask_extent,
    ring_area,
)

WIDTH, HEIGHT = 640, 480


def shape(kind: str, /, **geometry: Any) -> Shape:
    """The shape in an image of 640 x 480 pixels."""
    return checked(kind, geometry, width=WIDTH, height=HEIGHT)


def refused(kind: Any, geometry: Any) -> str:
    """Why a shape is refused; the message names the field that ``errors`` holds."""
    with pytest.raises(BrokenGeometry) as caught:
        checked(kind, geometry, width=WIDTH, height=HEIGHT)
    message, (field,) = str(caught.value), caught.value.errors
    assert message.startswith(field)
    assert caught.value.errors[field] == [message.removeprefix(f"{field} ")]
    return message


SQUARE = [[0, 0], [40, 0], [40, 30], [0, 30]]
BESIDE = [[100, 100], [110, 100], [110, 110]]
POINTS = [[0, 0], [10, 5], [20, 0]]

# (type, as sent, as stored without its type, envelope, area)
SPELLINGS = [
    ("bbox", {"bbox": [10, 20, 30, 40]}, {"bbox": [10, 20, 30, 40]}, [10, 20, 30, 40], 1200),
    ("bbox", {"x": 10, "y": 20, "width": 30, "height": 40}, {"bbox": [10, 20, 30, 40]}, [10, 20, 30, 40], 1200),
    ("rotated_bbox", {"bbox": [100, 100, 60, 20, 90]}, {"bbox": [100, 100, 60, 20, 90]}, [120, 80, 20, 60], 1200),
    ("polygon", {"points": SQUARE}, {"rings": [SQUARE]}, [0, 0, 40, 30], 1200),
    ("polygon", {"polygon": SQUARE}, {"rings": [SQUARE]}, [0, 0, 40, 30], 1200),
    ("polygon", {"rings": [SQUARE, BESIDE]}, {"rings": [SQUARE, BESIDE]}, [0, 0, 110, 110], 1250),
    ("polygon", {"points": [*SQUARE, SQUARE[0]]}, {"rings": [SQUARE]}, [0, 0, 40, 30], 1200),
    (
        "mask",
        {"rle": {"size": [480, 640], "counts": [961, 3, 306236]}},
        {"rle": {"size": [480, 640], "counts": [961, 3, 306236]}},
        [2, 1, 1, 3],
        3,
    ),
    ("polyline", {"points": POINTS}, {"points": POINTS}, [0, 0, 20, 5], 0),
    ("polyline", {"line": POINTS}, {"points": POINTS}, [0, 0, 20, 5], 0),
    ("line", {"points": [[5, 5], [25, 5]]}, {"points": [[5, 5], [25, 5]]}, [5, 5, 20, 0], 0),
    ("line", {"line": [[5, 5], [25, 5]]}, {"points": [[5, 5], [25, 5]]}, [5, 5, 20, 0], 0),
    ("circle", {"center": [50, 60], "radius": 10}, {"center": [50, 60], "radius": 10}, [40, 50, 20, 20], math.pi * 100),
    (
        "keypoints",
        {"keypoints": [[10, 10, 2], [20, 30, 1], [0, 0, 0]]},
        {"keypoints": [[10, 10, 2], [20, 30, 1], [0, 0, 0]]},
        [10, 10, 10, 20],
        200,
    ),
    (
        "keypoints",
        {"keypoints": [[10, 10, 2]], "bbox": [5, 5, 20, 10]},
        {"keypoints": [[10, 10, 2]], "bbox": [5, 5, 20, 10]},
        [5, 5, 20, 10],
        200,
    ),
    ("classification", {}, {}, None, None),
    ("no_object", {}, {}, None, None),
]


@pytest.mark.parametrize(("kind", "sent", "stored", "box", "area"), SPELLINGS)
def test_every_spelling_is_stored_in_one_form_with_its_envelope_and_area(kind, sent, stored, box, area):
    made = shape(kind, **sent)
    assert (made.type, made.geometry) == (kind, {"type": kind, **stored})
    assert (made.bbox, made.area) == (pytest.approx(box), pytest.approx(area))


@pytest.mark.parametrize(("kind", "sent", "stored", "box", "area"), SPELLINGS)
def test_a_geometry_may_name_its_type_and_the_image_size(kind, sent, stored, box, area):
    made = checked(kind, {"type": kind, **sent, "image_width": 640, "image_height": 480}, width=None, height=None)
    assert made.geometry == {"type": kind, **stored, "image_width": 640, "image_height": 480}
    assert (made.image_width, made.image_height) == (640, 480)


def test_every_type_is_tried_above():
    assert {kind for kind, *_ in SPELLINGS} == set(TYPES) == {*TASK_OF, "no_object"}


@pytest.mark.parametrize("said", [{}, {"type": "keypoint"}, {"type": "keypoints"}])
def test_keypoint_is_another_word_for_keypoints(said):
    made = checked("keypoint", {"keypoints": [[1, 2, 2]], **said}, width=None, height=None)
    assert (made.type, made.geometry["type"]) == ("keypoints", "keypoints")


# Numbers ---------------------------------------------------------------------------------------


def test_integral_floats_become_integers_and_others_stay_to_the_last_bit():
    made = shape("bbox", bbox=[10.0, 20.1, 30.0, 0.30000000000000004])
    assert json.dumps(made.geometry["bbox"]) == "[10, 20.1, 30, 0.30000000000000004]"
    assert json.dumps(shape("bbox", bbox=[-0.0, 0, 2.5, 4]).geometry["bbox"]) == "[0, 0, 2.5, 4]"
    assert json.dumps(shape("bbox", bbox=[0, 0, 2.5, 4]).area) == "10"


@pytest.mark.parametrize("value", ["1", None, True, False, [1], {}, b"1", 1j])
def test_what_is_no_number_is_refused(value):
    assert refused("bbox", {"bbox": [value, 2, 3, 4]}) == "geometry.bbox[0] must be a number."


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 1e300, -1e300, MAX_COORDINATE + 1, 10**400, -(10**400)]
)
def test_what_is_no_pixel_is_refused(value):
    assert refused("bbox", {"bbox": [1, value, 3, 4]}).startswith("geometry.bbox[1] must be a finite number of pixels")


PLACES: list[tuple[str, Callable[[Any], dict[str, Any]], str]] = [
    ("bbox", lambda bad: {"x": 1, "y": bad, "width": 3, "height": 4}, "geometry.y"),
    ("rotated_bbox", lambda bad: {"bbox": [1, 2, 3, 4, bad]}, "geometry.bbox[4]"),
    ("polygon", lambda bad: {"points": [[0, 0], [1, bad], [1, 1]]}, "geometry.points[1][1]"),
    ("polygon", lambda bad: {"rings": [SQUARE, [[0, 0], [1, 0], [bad, 1]]]}, "geometry.rings[1][2][0]"),
    ("polyline", lambda bad: {"points": [[0, 0], [bad, 1]]}, "geometry.points[1][0]"),
    ("line", lambda bad: {"line": [[0, bad], [1, 1]]}, "geometry.line[0][1]"),
    ("circle", lambda bad: {"center": [5, bad], "radius": 1}, "geometry.center[1]"),
    ("circle", lambda bad: {"center": [5, 5], "radius": bad}, "geometry.radius"),
    ("keypoints", lambda bad: {"keypoints": [[1, 1, 2], [1, bad, 0]]}, "geometry.keypoints[1][1]"),
    ("keypoints", lambda bad: {"keypoints": [[1, 1, 2]], "bbox": [0, 0, 5, bad]}, "geometry.bbox[3]"),
]


@pytest.mark.parametrize("bad", [math.nan, math.inf, "7", True, None, 1e9], ids=str)
@pytest.mark.parametrize(("kind", "with_bad", "field"), PLACES)
def test_every_number_of_every_type_is_looked_at(kind, with_bad, field, bad):
    assert refused(kind, with_bad(bad)).startswith(f"{field} must be ")


# Boxes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, -1, -0.5])
@pytest.mark.parametrize(
    ("kind", "with_size", "field"),
    [
        ("bbox", lambda size: {"bbox": [1, 1, size, 5]}, "geometry.bbox[2]"),
        ("bbox", lambda size: {"bbox": [1, 1, 5, size]}, "geometry.bbox[3]"),
        ("bbox", lambda size: {"x": 1, "y": 1, "width": 5, "height": size}, "geometry.height"),
        ("rotated_bbox", lambda size: {"bbox": [1, 1, size, 5, 0]}, "geometry.bbox[2]"),
        ("rotated_bbox", lambda size: {"bbox": [1, 1, 5, size, 0]}, "geometry.bbox[3]"),
        ("circle", lambda size: {"center": [5, 5], "radius": size}, "geometry.radius"),
        ("keypoints", lambda size: {"keypoints": [[1, 1, 2]], "bbox": [1, 1, size, 5]}, "geometry.bbox[2]"),
    ],
)
def test_a_side_or_radius_that_is_not_positive_is_refused(kind, with_size, field, size):
    assert refused(kind, with_size(size)).startswith(f"{field} must be greater than 0")


@pytest.mark.parametrize("box", [[1, 2, 3], [1, 2, 3, 4, 5], [], None, "1,2,3,4", {"x": 1}])
def test_a_box_has_four_numbers(box):
    assert refused("bbox", {"bbox": box}) == "geometry.bbox must be a list of 4 numbers."


def test_a_box_is_not_given_twice_or_by_halves():
    assert "gives the box twice" in refused("bbox", {"bbox": [1, 2, 3, 4], "x": 1})
    assert refused("bbox", {"x": 1, "y": 2}).startswith("geometry.bbox is required")


@pytest.mark.parametrize(
    ("given", "stored"),
    [(0, 0), (0.1, 0.1), (-180, -180), (179.99, 179.99), (180, -180), (270, -90), (-190, 170), (720.5, 0.5),
     (math.nextafter(-180, -200), -180), (math.nextafter(180, 0), math.nextafter(180, 0)), (1e7, -80)],
)  # fmt: skip
def test_an_angle_is_stored_from_minus_180_up_to_180_degrees(given, stored):
    assert shape("rotated_bbox", bbox=[100, 100, 60, 20, given]).geometry["bbox"][4] == stored


def test_an_angle_turns_clockwise_on_the_screen():
    assert corners([0, 0, 10, 10, 45])[0] == pytest.approx([5, 5 - math.sqrt(50)])
    assert corners([100, 100, 60, 20, 90])[0] == pytest.approx([140, 80])


@given(st.floats(-500, 500), st.floats(-500, 500), st.floats(1, 300), st.floats(1, 300), st.floats(-180, 180))
def test_the_envelope_of_a_turned_box_holds_its_corners_and_its_area_stays(x, y, w, h, angle):
    made = checked("rotated_bbox", {"bbox": [x, y, w, h, angle]}, width=None, height=None)
    left, top, width, height = made.bbox
    for cx, cy in corners(made.geometry["bbox"]):
        assert left - 1e-9 <= cx <= left + width + 1e-9
        assert top - 1e-9 <= cy <= top + height + 1e-9
    assert made.area == pytest.approx(w * h) == pytest.approx(ring_area(corners(made.geometry["bbox"])), rel=1e-6)


# Points -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "geometry", "message"),
    [
        ("polygon", {"points": SQUARE[:2]}, "geometry.points needs at least 3 points."),
        ("polygon", {"rings": [SQUARE, SQUARE[:2]]}, "geometry.rings[1] needs at least 3 points."),
        ("polygon", {"rings": []}, "geometry.rings must be a list of at least one ring of points."),
        ("polygon", {"rings": None}, "geometry.rings must be a list of at least one ring of points."),
        ("polygon", {"rings": [SQUARE] * 1001}, "geometry.rings has 1001 rings; at most 1000 are allowed."),
        ("polygon", {"points": [[0, 0], [5, 5], [9, 9]]}, "geometry.points encloses no area."),
        ("polygon", {"points": [[0, 0], [5, 5], [0, 0]]}, "geometry.points encloses no area."),
        ("polygon", {"points": "abc"}, "geometry.points must be a list of points [x, y]."),
        ("polygon", {"points": [[0, 0, 1], [5, 0], [5, 5]]}, "geometry.points[0] must be a list of 2 numbers."),
        ("polygon", {"points": [0, 0, 5, 0, 5, 5]}, "geometry.points[0] must be a list of 2 numbers."),
        ("polyline", {"points": [[1, 1]]}, "geometry.points needs at least 2 points."),
        ("polyline", {"points": []}, "geometry.points needs at least 2 points."),
        ("polyline", {"points": [[1, 1]] * (MAX_POINTS + 1)}, "has 10001 points; at most 10000 are allowed."),
        ("line", {"points": [[1, 1]]}, "geometry.points needs at least 2 points."),
        ("line", {"line": POINTS}, "geometry.line has 3 points; a line has exactly 2."),
        ("line", {}, "geometry.points is required"),
        ("polyline", {"points": POINTS, "line": POINTS}, "geometry.points is required"),
        ("polygon", {"points": SQUARE, "rings": [SQUARE]}, "geometry.points is required"),
        ("polygon", {}, "geometry.points is required"),
        ("circle", {"radius": 5}, "geometry.center must be a list of 2 numbers."),
        ("circle", {"center": [1, 1]}, "geometry.radius must be a number."),
        ("keypoints", {}, "geometry.keypoints must be a list of 1 to 10000 points [x, y, v]."),
        ("keypoints", {"keypoints": []}, "geometry.keypoints must be a list of 1 to 10000 points [x, y, v]."),
        ("keypoints", {"keypoints": [[1, 2]]}, "geometry.keypoints[0] must be a list of 3 numbers."),
        ("keypoints", {"keypoints": [[1, 2, 3]]}, "geometry.keypoints[0][2] must be 0 (unlabeled)"),
        ("keypoints", {"keypoints": [[1, 2, 0.5]]}, "geometry.keypoints[0][2] must be 0 (unlabeled)"),
        ("keypoints", {"keypoints": [[1, 2, 0]]}, "geometry.keypoints shows no point"),
    ],
)  # fmt: skip
def test_points_that_make_no_shape_are_refused(kind, geometry, message):
    assert message in refused(kind, geometry)


def test_unlabeled_keypoints_do_not_count_for_the_envelope():
    assert shape("keypoints", keypoints=[[900, 900, 0], [10, 20, 1]]).bbox == [10, 20, 0, 0]


def test_a_ring_closed_more_than_once_is_opened_whole():
    assert shape("polygon", points=[*SQUARE, SQUARE[0], SQUARE[0]]).geometry["rings"] == [SQUARE]


# Masks -------------------------------------------------------------------------------------------

FEW = {"size": [480, 640], "counts": [961, 3, 306236]}


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        (None, "geometry.rle must be an object"),
        ("abc", "geometry.rle must be an object"),
        ({"size": [480, 640]}, "geometry.rle must be an object"),
        ({**FEW, "more": 1}, "geometry.rle must be an object"),
        ({**FEW, "size": [480]}, "geometry.rle.size must be [height, width]."),
        ({**FEW, "size": "480"}, "geometry.rle.size must be [height, width]."),
        ({**FEW, "size": [480, 0]}, "geometry.rle.size[1] must be a whole number, at least 1."),
        ({**FEW, "size": [480.5, 640]}, "geometry.rle.size[0] must be a whole number, at least 1."),
        ({**FEW, "size": [True, 640]}, "geometry.rle.size[0] must be a whole number, at least 1."),
        ({**FEW, "size": [640, 480]}, "geometry.rle.size must be [480, 640], the image's height and width."),
        ({**FEW, "size": [10**6, 10**6]}, "geometry.rle.size covers more than"),
        ({**FEW, "counts": [961, 3, 306235]}, "geometry.rle.counts must sum to 307200, height times width."),
        ({**FEW, "counts": [307200]}, "geometry.rle.counts marks no pixel."),
        ({**FEW, "counts": [307200, 0]}, "geometry.rle.counts marks no pixel."),
        ({**FEW, "counts": []}, "geometry.rle.counts must be COCO's compressed string or a list"),
        ({**FEW, "counts": 5}, "geometry.rle.counts must be COCO's compressed string or a list"),
        ({**FEW, "counts": ""}, "geometry.rle.counts must sum to 307200"),
        ({**FEW, "counts": [961, -3, 306242]}, "geometry.rle.counts[1] must be a whole number, at least 0."),
        ({**FEW, "counts": [961, 3.0, 306236]}, "geometry.rle.counts[1] must be a whole number, at least 0."),
        ({**FEW, "counts": [961, True, 306238]}, "geometry.rle.counts[1] must be a whole number, at least 0."),
        ({**FEW, "counts": "/"}, "geometry.rle.counts is not COCO's compressed form."),
        ({**FEW, "counts": "o" * 30}, "geometry.rle.counts is not COCO's compressed form."),
        ({**FEW, "counts": "가"}, "geometry.rle.counts is not COCO's compressed form."),
        ({**FEW, "counts": "O"}, "geometry.rle.counts has a negative run."),
    ],
)
def test_a_mask_that_cannot_be_drawn_is_refused(rle, message):
    assert refused("mask", {"rle": rle}).startswith(message)


@given(st.integers(1, 12), st.integers(1, 12), st.randoms(use_true_random=False), st.sampled_from([0.05, 0.5, 0.95]))
def test_masks_are_read_as_pycocotools_draws_them(rows, columns, source, share):
    drawn = numpy.array(
        [[source.random() < share for _ in range(columns)] for _ in range(rows)], numpy.uint8, order="F"
    )
    assume(drawn.any())
    packed = codec.encode(drawn)
    counts = packed["counts"].decode()
    made = checked("mask", {"rle": {"size": [rows, columns], "counts": counts}}, width=columns, height=rows)
    assert made.bbox == list(codec.toBbox(packed))
    assert made.area == codec.area(packed) == drawn.sum()
    listed = checked("mask", {"rle": {"size": [rows, columns], "counts": decode_runs(counts)}}, width=None, height=None)
    assert (listed.bbox, listed.area) == (made.bbox, made.area)


def test_long_runs_of_the_compressed_form_are_read():
    drawn = numpy.zeros((3000, 4000), numpy.uint8, order="F")
    drawn[100:2900, 50:3950] = 1
    packed = codec.encode(drawn)
    runs = decode_runs(packed["counts"].decode())
    assert (sum(runs), mask_extent(runs, 3000)) == (12_000_000, ([50, 100, 3900, 2800], 2800 * 3900))


# Overlap with the image --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "geometry"),
    [
        ("bbox", {"bbox": [640, 10, 5, 5]}),
        ("bbox", {"bbox": [10, 480, 5, 5]}),
        ("bbox", {"bbox": [-5, 10, 5, 5]}),
        ("bbox", {"bbox": [10, -5, 5, 5]}),
        ("bbox", {"bbox": [1000, 1000, 5, 5]}),
        ("rotated_bbox", {"bbox": [700, 10, 60, 20, 45]}),
        ("polygon", {"points": [[640, 0], [700, 0], [640, 50]]}),
        ("polyline", {"points": [[-9, 10], [-1, 20]]}),
        ("line", {"points": [[641, 0], [641, 50]]}),
        ("circle", {"center": [-10, 50], "radius": 10}),
        ("keypoints", {"keypoints": [[641, 10, 2]]}),
        ("keypoints", {"keypoints": [[10, 10, 2]], "bbox": [640, 0, 5, 5]}),
    ],
)
def test_a_shape_beside_the_image_or_only_touching_its_edge_is_refused(kind, geometry):
    assert refused(kind, geometry) == "geometry does not overlap the image of 640 x 480 pixels."
    assert checked(kind, geometry, width=None, height=None).type == kind


@pytest.mark.parametrize(
    ("kind", "geometry"),
    [
        ("bbox", {"bbox": [639.5, 479.5, 100, 100]}),
        ("bbox", {"bbox": [-100, -100, 100.5, 100.5]}),
        ("bbox", {"bbox": [0, 0, 640, 480]}),
        ("bbox", {"bbox": [-100, -100, 2000, 2000]}),
        ("circle", {"center": [-9, 50], "radius": 10}),
        ("line", {"points": [[0, 480], [640, 480]]}),
        ("line", {"points": [[640, 0], [640, 480]]}),
        ("polyline", {"points": [[0, 0], [0, 0]]}),
        ("keypoints", {"keypoints": [[640, 480, 2]]}),
    ],
)
def test_a_shape_partly_inside_is_taken_and_so_is_a_line_along_the_edge(kind, geometry):
    assert shape(kind, **geometry).geometry == {"type": kind, **geometry}


def test_a_size_the_client_told_counts_only_where_none_is_known():
    far = {"bbox": [700, 10, 5, 5], "image_width": 640, "image_height": 480}
    with pytest.raises(BrokenGeometry, match="640 x 480"):
        checked("bbox", far, width=None, height=None)
    assert checked("bbox", far, width=800, height=600).image_width == 640


@pytest.mark.parametrize("unknown", [0, None, ""])
def test_a_size_of_nothing_is_unknown(unknown):
    made = checked("bbox", {"bbox": [700, 10, 5, 5], "image_width": unknown}, width=None, height=None)
    assert (made.image_width, "image_width" in made.geometry) == (None, False)


@pytest.mark.parametrize("size", [-1, 1.5, "640", True, [640], 1_000_001])
def test_a_size_that_is_none_is_refused(size):
    message = refused("bbox", {"bbox": [1, 1, 5, 5], "image_height": size})
    assert message == "geometry.image_height must be a whole number of pixels, at least 1."


# What is no geometry at all -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["blob", "", None, 7, ["bbox"], {"a": 1}, "BBOX"])
def test_a_type_that_is_none_is_refused(kind):
    assert refused(kind, {}).startswith("annotation_type must be one of bbox, rotated_bbox")


@pytest.mark.parametrize("geometry", [None, [], "bbox", 7, [1, 2, 3, 4]])
@pytest.mark.parametrize("kind", TYPES)
def test_a_geometry_is_an_object(kind, geometry):
    assert refused(kind, geometry) == "geometry must be an object."


@pytest.mark.parametrize("said", ["polygon", None, 7, ["bbox"]])
def test_a_geometry_of_another_type_is_refused(said):
    message = refused("bbox", {"type": said, "bbox": [1, 2, 3, 4]})
    assert message == "geometry.type must be bbox, as annotation_type says."


@pytest.mark.parametrize(("kind", "sent", "stored", "box", "area"), SPELLINGS)
def test_a_key_the_type_does_not_know_is_refused(kind, sent, stored, box, area):
    assert refused(kind, {**sent, "colour": "red"}).startswith("geometry.colour is not known; this type takes ")


# Whatever is sent ------------------------------------------------------------------------------

pixels = st.floats(-1000, 1000) | st.integers(-1000, 1000)
sides = st.floats(1e-3, 1000) | st.integers(1, 1000)
points = st.tuples(pixels, pixels).map(list)
boxes = st.tuples(pixels, pixels, sides, sides).map(list)
GEOMETRIES = st.one_of(
    boxes.map(lambda box: ("bbox", {"bbox": box})),
    boxes.map(lambda box: ("bbox", dict(zip(("x", "y", "width", "height"), box, strict=True)))),
    st.tuples(boxes, st.floats(-1e4, 1e4)).map(lambda made: ("rotated_bbox", {"bbox": [*made[0], made[1]]})),
    st.lists(points, min_size=3, max_size=6).map(lambda ring: ("polygon", {"points": [*ring, ring[0]]})),
    st.lists(st.lists(points, min_size=3, max_size=5), min_size=1, max_size=3).map(
        lambda made: ("polygon", {"rings": made})
    ),
    st.lists(points, min_size=2, max_size=5).map(lambda made: ("polyline", {"line": made})),
    st.lists(points, min_size=2, max_size=2).map(lambda made: ("line", {"points": made})),
    st.tuples(points, sides).map(lambda made: ("circle", {"center": made[0], "radius": made[1]})),
    st.lists(st.tuples(pixels, pixels, st.integers(0, 2)).map(list), min_size=1).map(
        lambda made: ("keypoint", {"keypoints": made})
    ),
    st.tuples(boxes, points).map(lambda made: ("keypoints", {"keypoints": [[*made[1], 2]], "bbox": made[0]})),
    st.sampled_from([("classification", {}), ("no_object", {}), ("mask", {"rle": FEW})]),
)


@given(GEOMETRIES)
def test_a_stored_shape_is_stored_again_unchanged(sent):
    try:
        once = checked(*sent, width=WIDTH, height=HEIGHT)
    except BrokenGeometry:
        assume(False)
    assert checked(once.type, json.loads(json.dumps(once.geometry)), width=WIDTH, height=HEIGHT) == once
    assert not [value for value in numbers_of(once.geometry) if isinstance(value, float) and value.is_integer()]


def numbers_of(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    return [number for each in value for number in numbers_of(each)] if isinstance(value, list) else [value]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda each: (
        st.lists(each, max_size=5) | st.dictionaries(st.sampled_from(["size", "counts", "x"]), each, max_size=2)
    ),
    max_leaves=10,
)
KEYS = ("type", "bbox", "x", "y", "width", "height", "points", "rings", "polygon", "rle", "line", "center", "radius",
        "keypoints", "image_width", "image_height")  # fmt: skip


@given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=4) | ANYTHING)
def test_whatever_is_sent_is_a_shape_or_refused_with_a_field(kind, geometry):
    try:
        made = checked(kind, geometry, width=WIDTH, height=HEIGHT)
    except BrokenGeometry as error:
        assert error.errors
    else:
        json.dumps([made.geometry, made.bbox, made.area], allow_nan=False)


@given(st.lists(points, min_size=3, max_size=6))
def test_an_envelope_touches_its_points_and_the_area_does_not_depend_on_where_a_ring_starts(ring):
    x, y, w, h = envelope(ring)
    assert min(w, h) >= 0
    assert (x, y) == (min(point[0] for point in ring), min(point[1] for point in ring))
    assert ring_area([*ring[1:], ring[0]]) == pytest.approx(ring_area(ring), abs=1e-6)
