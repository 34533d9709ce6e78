"""The records a database is rebuilt from."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

from exports import frozen_records
from exports.errors import BrokenFile
from exports.frozen_records import read_changes, read_records, unpacked, write_records

CHANGES = [
    {"close_image": 3},
    {"close": 17},
    {"open_image": {"image_id": 4, "path": "사진/4.jpg"}},
    {"open": {"image_id": 4, "snapshot_data": '{"id": 18}'}},
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "frozen_rows.jsonl.gz"


def packed(path, text: bytes):
    path.write_bytes(gzip.compress(text))
    return path


def test_records_come_back_in_order(path):
    write_records(path, CHANGES)
    assert list(read_records(path)) == CHANGES
    assert list(read_changes(path)) == [next(iter(change.items())) for change in CHANGES]


def test_no_records_are_records_too(path):
    write_records(path, [])
    assert list(read_changes(path)) == []


def test_equal_records_make_equal_bytes_whatever_the_file_is_called(path, tmp_path):
    other = tmp_path / "other"
    write_records(path, CHANGES)
    write_records(other, CHANGES)
    assert path.read_bytes() == other.read_bytes()


def test_equal_records_hold_the_same_however_they_were_packed(path, tmp_path, monkeypatch):
    other = tmp_path / "other"
    write_records(path, CHANGES)
    monkeypatch.setattr(frozen_records, "LEVEL", 0)
    write_records(other, CHANGES)
    assert path.read_bytes() != other.read_bytes() and unpacked(path) == unpacked(other)
    write_records(other, CHANGES[:-1])
    assert unpacked(path) != unpacked(other)
    other.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(BrokenFile, match="damaged"):
        unpacked(other)


def test_a_shortened_file_is_broken(path):
    write_records(path, ({"close": number} for number in range(100_000)))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BrokenFile, match=r"frozen_rows.jsonl.gz is damaged at line \d+"):
        list(read_changes(path))


@pytest.mark.parametrize("place", [0, 30, 60])
def test_a_changed_byte_is_noticed(path, place):
    write_records(path, CHANGES)
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(BrokenFile):
        list(read_changes(path))


def test_a_line_that_is_no_json_is_named(path):
    with pytest.raises(BrokenFile, match="at line 2"):
        list(read_records(packed(path, b'{"close": 1}\nnonsense\n')))


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b'{"close": "1"}',
        b'{"close": true}',
        b'{"close": 1, "open": {}}',
        b'{"erase": 1}',
        b"[1]",
        b"\n",
    ],
)
def test_an_unknown_change_is_refused_by_line(path, line):
    with pytest.raises(BrokenFile, match="line 2"):
        list(read_changes(packed(path, b'{"close": 1}\n' + line + b"\n")))


def test_reading_streams(path):
    write_records(path, ({"open": {"text": "x" * 1000, "n": number}} for number in range(20_000)))
    tracemalloc.start()
    count = sum(1 for _ in read_changes(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 2_000_000
