"""Files with one image a line are read the short way; what is read of them is the same as by the long way."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exports.dice_lines import PlainImage, find_lines
from exports.dice_reader import open_file
from exports.errors import BrokenFile
from tests.exports.builders import GOLDEN, written
from tests.exports.generated import projects

OURS = sorted((GOLDEN / "dice").glob("*.json"), key=str)


def read(content: bytes) -> Any:
    """All that is read of a file, with exact numbers; or why it is refused."""
    try:
        opened = open_file(io.BytesIO(content))
        return repr(opened.header), [repr(entry) for entry in opened.entries()]
    except BrokenFile as error:
        return str(error)


def both_ways(content: bytes) -> tuple[Any, Any]:
    """What is read the short way where it may be, and the long way, which a blank line at the start asks for."""
    assert find_lines(io.BytesIO(b"\n" + content)) is None
    return read(content), read(b"\n" + content)


def is_short(content: bytes) -> bool:
    return find_lines(io.BytesIO(content)) is not None


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_our_own_files_are_read_alike_both_ways(path):
    short, long = both_ways(path.read_bytes())
    assert short == long and len(short[1]) > 3
    assert is_short(path.read_bytes())


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(projects())
def test_generated_projects_are_read_alike_both_ways(project):
    content = written("dice", *project)[0]
    short, long = both_ways(content)
    assert short == long


BOX = '{"id":7,"class_id":0,"type":"bbox","bbox":[1,2,3,4.5],"state":"confirmed"}'
RING = '{"class_id":1,"type":"polygon","segmentation":[[1,2,30,4,5,60.25]]}'


def file_of(*lines: str, head: str = "", tail: str = "") -> bytes:
    start = '{"format_version":"1.0","classes":[{"id":0,"name":"car"},{"id":1,"name":"__background__"}],'
    return (start + head + '"images":[\n' + ",\n".join(lines) + "\n]" + tail + "}\n").encode("utf-8", "surrogatepass")


def image_of(*annotations: str, **fields: Any) -> str:
    values = {"id": 1, "file_name": "a.jpg", "width": 640, "height": 480, "metadata": {"status": "completed"}, **fields}
    return json.dumps(values, ensure_ascii=False)[:-1] + ',"annotations":[' + ",".join(annotations) + "]}"


def test_a_plain_line_is_taken_as_such():
    lines = find_lines(io.BytesIO(file_of(image_of(BOX))))
    assert lines is not None and [type(image) for image in lines.images()] == [PlainImage]


# What stands in place of a plain annotation's value, and of the whole annotation.
ODD_FIELDS = [
    '"id":-1', '"id":0', '"id":true', '"id":9223372036854775807', '"id":9223372036854775808', '"id":1e3', '"id":"x"',
    '"class_id":1', '"class_id":-1', '"class_id":"0"', '"class_id":null', '"class_id":true', '"class_id":0.0',
    '"category_id":1', '"category_id":null', '"category_id":"car"', '"class_name":"__background__"', '"class_name":""',
    '"class_name":7', '"class_name":"\\u0000"', '"class_name":"\\ud83d"', '"class_name":"\\uD83D\\uDE00"',
    '"class_name":"caf\u00e9"', '"type":"mask"', '"type":"box"', '"type":null', '"type":"nothing"',
    '"annotation_type":"polygon"', '"bbox":null', '"bbox":[]', '"bbox":[1,2,3]', '"bbox":["1",2,3,4]',
    '"bbox":[1,2,NaN,4]', '"bbox":[1,2,1e400,4]', '"bbox":[1,2,-Infinity,4]', '"bbox":[1,2,3,12345678901234567890]',
    '"bbox":[-0,-0.0,1E2,5e-324]', '"bbox":{"x":1}', '"bbox":[1,2,true,4]', '"bbox_format":"xyxy"',
    '"bbox_format":null',
    '"x":1,"y":2,"width":3,"height":4', '"rotated_bbox":[1,2,3,4,5]', '"iscrowd":1', '"iscrowd":true',
    '"iscrowd":0',
    '"is_background":true', '"state":null', '"state":"wrong"', '"state":["draft"]', '"attributes":null',
    '"attributes":[]', '"attributes":[1]', '"attributes":{"a":{"b":[1,2.50,null]}}', '"attributes":{"a":1,"a":2}',
    '"attributes":{"a":1e400}', '"attributes":{"a":18446744073709551615}', '"attributes":{"iscrowd":1}',
    '"attributes":' + "[" * 58 + "]" * 58, '"attributes":{"a":' + "[" * 58 + "]" * 58 + "}",
    '"attributes":{"a":' + "[" * 60 + "]" * 60 + "}", '"attributes":{"a":"' + "[{" * 90 + '"}', '"confidence":0.25',
    '"confidence":1', '"confidence":100.0', '"confidence":101', '"confidence":true', '"confidence":"high"',
    '"geometry":{"type":"bbox","bbox":[9,9,9,9]}', '"geometry":{"type":"polygon","rings":[[[1,2],[3,4],[5,6]]]}',
    '"geometry":{"type":"bbox"}', '"geometry":{"type":"bbox","bbox":[9,9,9,9],"image_width":640}',
    '"geometry":{"type":"bbox","bbox":[9,9,9,9],"image_width":0}', '"geometry":[]', '"geometry":{}',
    '"meta":{"created_by":"ann","created_at":"2026-01-12T08:30:11+09:00","version":3,"notes":"n"}',
    '"meta":{"created_by":7,"version":0}', '"meta":{"created_at":"yesterday"}', '"meta":{"created_at":5}',
    '"meta":{"created_at":"0001-01-01T00:00:00+09:00"}', '"meta":{"version":10000000000}', '"meta":[]',
    '"meta":{"created_by":"' + "x" * 151 + '"}', '"x_client_id":"f81d4fae-7dec-11d0-a765-00a0c91e6bf6"',
    '"x_client_id":"F81D4FAE7DEC11D0A76500A0C91E6BF6"', '"x_client_id":"none"', '"x_client_id":5', '"more":"\t"',
    '"more":"\\q"', '"more":01', '"more":"\udc80"', '"state":"draft","state":"verified"', '"":1', '"more":[1,]',
]  # fmt: skip
ODD_RINGS = ["[]", "[[]]", "[[],[1,2,3,4,5,6]]", "[[1,2]]", "[[1,2,3]]", "[[1,2],[3,4],[5,6]]", "[1,2,3,4,5,6]",
             "[[1,2,3,4,5,6],[1,2]]", "[[1,2,3,4,5,null]]", "null", '{"counts":"x"}',
             "[[1,2,3,4],[5,6,7,8]]"]  # fmt: skip
ODD_ANNOTATIONS = ["null", "[]", "7", "{}", '"x"', *(BOX[:-1] + "," + odd + "}" for odd in ODD_FIELDS),
                   *(RING.replace("[[1,2,30,4,5,60.25]]", ring) for ring in ODD_RINGS)]  # fmt: skip
ODD_IMAGES: list[dict[str, Any]] = [
    {"id": None}, {"id": True}, {"id": 1.5}, {"id": "one"}, {"id": 2**70}, {"file_name": ""}, {"file_name": None},
    {"file_name": "a\u0000"}, {"width": 0}, {"width": 640.0}, {"width": "640"}, {"height": -1}, {"depth": 3},
    {"split": "train"}, {"split": "half"}, {"split": 1}, {"metadata": None}, {"metadata": {}}, {"metadata": []},
    {"metadata": {"status": "odd"}},
    {"metadata": {"status": "completed", "reviewed_at": "x", "reviewed_by": "r" * 200}},
    {"metadata": {"status": "in-progress", "more": 1}}, {"x_first_modified_at": "2026-01-12"}, {"more": {"a": []}},
    {"x_last_modified_at": 5}, {"annotation": {"class_id": 0}},
]  # fmt: skip


def test_what_is_odd_in_a_line_is_read_alike_both_ways():
    lines = [image_of(BOX, odd, RING) for odd in ODD_ANNOTATIONS] + [image_of(BOX, **odd) for odd in ODD_IMAGES]
    unlike = [line for line in lines if len(set(map(str, both_ways(file_of(image_of(BOX), line))))) > 1]
    assert unlike == []
    # Among them are lines the short way takes in its stride, lines it reads by themselves, and files it leaves alone.
    assert 0.6 < sum(is_short(file_of(line)) for line in lines) / len(lines) < 0.95


ODD_FILES = [
    file_of(),
    file_of("{}"),
    file_of(image_of(BOX) + ","),
    file_of("7"),
    file_of("[]"),
    file_of(image_of(BOX) + " "),
    file_of(image_of(BOX) + image_of(BOX)),
    file_of(image_of(BOX))[:-3],
    file_of(image_of(BOX)) + b"more",
    file_of(image_of(BOX)) + b"\n \n",
    file_of(image_of(BOX)).replace(b"\n]", b"]"),
    file_of(image_of(BOX)).replace(b"},\n", b"}\n,"),
    file_of(image_of(BOX)).replace(b"\n", b"\r\n"),
    file_of(image_of(BOX), tail=',"annotations":[]'),
    file_of(image_of(BOX), tail=',"annotations":[{"image_id":2,"class_id":0,"bbox":[1,2,3,4]}]'),
    file_of(image_of(BOX), tail=',"images":[]'),
    file_of(image_of(BOX), tail=',"version":"v1.0","version":"v2.0"'),
    file_of(image_of(BOX), tail=',"split_config":{"default_ratio":[0.5,0.25,0.25]}'),
    file_of(image_of(BOX), tail=',"version":"\\u0041"'),
    file_of(image_of(BOX), tail=',"more":NaN'),
    file_of(image_of(BOX), head='"images":[],'),
    file_of(image_of(BOX), head='"inner":{', tail="}"),
    file_of(image_of(BOX), head='"images":7,"inner":{', tail="}"),
    file_of(image_of(BOX), head='"version_type":"working",'),
    file_of(image_of(BOX), head='"format_version":"2.0",'),
    file_of(image_of(BOX), head='"task_type":"object_detection","classes":7,'),
    b"[" + file_of(image_of(BOX)) + b"]",
    b"\xef\xbb\xbf" + file_of(image_of(BOX)),
    file_of(image_of(BOX), image_of(BOX), image_of(BOX, id=1)),
]


@pytest.mark.parametrize("content", ODD_FILES, ids=range(len(ODD_FILES)))
def test_what_is_odd_around_the_lines_is_read_alike_both_ways(content):
    # A byte order mark is only one at the very start.
    short, long = both_ways(content) if not content.startswith(b"\xef") else (read(content), read(content[3:]))
    assert short == long


DAMAGE = [b"", b"\n", b",", b"]", b"}", b"{", b"[", b'"', b"\\", b"9", b"-", b".", b"e", b"null", b"\x00", b"\xff",
          b"]\n", b"\\u00e9"]  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_damaged_file_is_read_alike_both_ways(data):
    content = bytearray(file_of(image_of(BOX, RING), image_of(RING, BOX, id=2), head='"project_id":"p",'))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(1, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 2))] = data.draw(st.sampled_from(DAMAGE))
    short, long = both_ways(bytes(content))
    assert short == long
