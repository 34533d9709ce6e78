"""The zip writer, read back by Python's zipfile, which checks every checksum."""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import tracemalloc
import zipfile

import pytest

from exports import zipstream
from exports.errors import BrokenFile
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


# What an archive holds ----------------------------------------------------------------------------


@pytest.fixture
def held(tmp_path):
    """What an archive of these bytes holds."""

    def told(content: bytes) -> str:
        path = tmp_path / "x.zip"
        path.write_bytes(content)
        return zipstream.unpacked(path)

    return told


def foreign(members: dict[str, bytes], comment: bytes = b"") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.comment = comment
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def test_archives_of_the_same_members_hold_the_same_however_they_were_packed(held, monkeypatch):
    known = held(packed(MEMBERS, {"noise": NOISE}))
    assert held(foreign({**MEMBERS, "noise": NOISE})) == known
    monkeypatch.setattr(zipstream, "LEVEL", 0)
    assert held(packed(MEMBERS, {"noise": NOISE})) == known
    assert held(packed({})) == held(foreign({}))


@pytest.mark.parametrize(
    "other",
    [
        {**MEMBERS, "classes.txt": b"dog\n"},
        {**MEMBERS, "more.txt": b""},
        {name: content for name, content in MEMBERS.items() if content},
        dict(reversed(MEMBERS.items())),
        {"classes.tx": b"tcat\n", **{name: MEMBERS[name] for name in list(MEMBERS)[1:]}},
    ],
    ids=["content", "one more", "one less", "order", "names"],
)
def test_archives_of_other_members_do_not(held, other):
    assert held(packed(other)) != held(packed(MEMBERS))


@pytest.mark.parametrize("limit", [1000, 3000])
def test_zip64_is_read_back_too(held, monkeypatch, limit):
    known = held(packed(MEMBERS, {"noise": NOISE}))
    for name in ("LARGE", "LIMIT_32"):
        monkeypatch.setattr(zipstream, name, limit)
    assert held(packed(MEMBERS, {"noise": NOISE})) == known


def test_every_changed_byte_of_a_name_or_a_content_is_noticed(held):
    good = packed({"a.txt": b"some words, some words", "b.txt": b"x"})
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        second = archive.getinfo("b.txt").header_offset
    for place in range(30, second):
        bad = bytearray(good)
        bad[place] ^= 0xFF
        with pytest.raises(BrokenFile):
            held(bytes(bad))


@pytest.mark.parametrize("spoil", [lambda good: good[:-1], lambda good: b"", lambda good: b"x" + good,
                                   lambda good: good + b"x", lambda good: good[:30], lambda good: b"PK" * 50],
                         ids=["cut", "nothing", "before", "behind", "beginning", "noise"])  # fmt: skip
def test_what_is_no_whole_archive_of_ours_is_refused(held, spoil):
    with pytest.raises(BrokenFile):
        held(spoil(packed(MEMBERS)))
    with pytest.raises(BrokenFile):
        held(foreign(MEMBERS, comment=b"of somebody"))


def test_looking_into_an_archive_takes_little_memory(tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(packed({f"{number}.txt": b"x" for number in range(66_000)}, {"zeros": bytes(30_000_000)}))
    tracemalloc.start()
    assert zipstream.unpacked(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000
