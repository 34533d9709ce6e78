"""The zip writer, read back by Python's zipfile, which checks every checksum."""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import zipfile

import pytest

from exports import zipstream
from exports.zipstream import ZipStream


def packed(members: dict[str, bytes], streamed: dict[str, bytes] | None = None) -> bytes:
    out = io.BytesIO()
    archive = ZipStream(out)
    for name, content in members.items():
        archive.add(name, content)
    for name, content in (streamed or {}).items():
        archive.add_file(name, io.BytesIO(content))
    archive.finish()
    return out.getvalue()


def unpacked(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


MEMBERS = {"classes.txt": b"cat\n", "labels/한글.txt": b"", "big.bin": bytes(3_000_000)}
NOISE = random.Random(7).randbytes(2_500_000)


def test_members_come_back_in_order():
    assert list(unpacked(packed(MEMBERS)).items()) == list(MEMBERS.items())


def test_streamed_members_come_back_too():
    assert unpacked(packed({"a": b"1"}, {"noise": NOISE, "empty": b""})) == {
        "a": b"1",
        "noise": NOISE,
        "empty": b"",
    }


def test_an_empty_archive_is_an_archive():
    assert unpacked(packed({})) == {}


def test_equal_members_make_equal_bytes():
    assert packed(MEMBERS, {"n": NOISE}) == packed(MEMBERS, {"n": NOISE})


def test_members_are_dated_on_the_first_day_and_may_be_read():
    with zipfile.ZipFile(io.BytesIO(packed(MEMBERS))) as archive:
        info = archive.infolist()[1]
    assert info.date_time == (1980, 1, 1, 0, 0, 0)
    assert info.external_attr >> 16 == 0o100644


def test_more_members_than_16_bits_count():
    content = packed({f"{number}.txt": b"x" for number in range(66_000)})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert len(archive.namelist()) == 66_000
        assert archive.read("65999.txt") == b"x"


@pytest.mark.parametrize("limit", [1, 1000])
def test_what_32_bits_do_not_hold_is_written_as_zip64(monkeypatch, limit):
    # zipfile takes a field for "see zip64" only at its true limit, so the mark stays, the rule moves.
    monkeypatch.setattr(zipstream, "LARGE", limit)
    assert unpacked(packed(MEMBERS, {"noise": NOISE})) == {**MEMBERS, "noise": NOISE}


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_finds_no_fault(tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(packed(MEMBERS, {"noise": NOISE}))
    subprocess.run(["unzip", "-tqq", str(path)], check=True)
