"""Renderers: others render, too, and nobody can tell from the files."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from array import array
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

import exports.writer
from exports import renderers
from exports.errors import ExportError
from exports.formats import FORMATS
from exports.renderers import Renderers
from exports.writer import Made, ReadyImages, joined, render, write_all
from tests.exports.builders import a_box, a_dataset, a_row, an_image, in_texts, many_images
from tests.exports.test_dice import all_types
from versions.waiting import wait_until

TASKS = ("detection", "segmentation", "keypoint", "classification")
ROOT = Path(renderers.__file__).parents[1]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Renderers begin with the first batch, and batches are small."""
    monkeypatch.setattr(renderers, "ALONE", 0)
    monkeypatch.setattr(renderers, "FEW", 1)
    monkeypatch.setattr(exports.writer, "BATCH", 3)


def files(dataset, images, helpers=None) -> tuple[list[bytes], list, list]:
    """The file of each format, their summaries, and what was to be kept."""
    outs, kept = {name: io.BytesIO() for name in FORMATS}, []
    writers = [FORMATS[name].writer(dataset, out) for name, out in outs.items()]

    def keep(batch, made, _) -> None:
        kept.append(made)

    said = write_all(images, writers, keep, helpers)
    return [out.getvalue() for out in outs.values()], said, joined(kept)


def with_renderers(dataset, images, count: int = 2):
    with Renderers(dataset, tuple(FORMATS), count) as helpers:
        return files(dataset, images, helpers)


def many(count: int = 40):
    return a_dataset(), [in_texts(image) for image in many_images(count)]


@pytest.mark.parametrize("task_type", TASKS)
def test_files_are_the_same_with_renderers_and_without(task_type):
    dataset, images = all_types(task_type, "published")
    images = [in_texts(image) for image in images]
    assert with_renderers(dataset, images) == files(dataset, images)


def test_files_are_the_same_where_some_images_are_ready():
    dataset, images = many()
    ready = one_by_one(files(dataset, images)[2], images)
    mixed = [ready[place] if image.id % 5 < 3 else image for place, image in enumerate(images)]
    assert with_renderers(dataset, mixed) == files(dataset, images)


def test_images_whose_rows_are_no_texts_are_rendered_here():
    dataset = a_dataset()
    assert with_renderers(dataset, list(many_images(9))) == files(dataset, many_images(9))


def test_a_row_that_cannot_be_written_is_told_as_without_renderers(caplog):
    dataset = a_dataset()
    wrong = in_texts(an_image(8, a_row(8, "bbox", geometry={"type": "bbox", "bbox": [1, 2, 3, 4]}, class_key="k-owl")))
    images = [*(in_texts(image) for image in many_images(7)), wrong]
    with pytest.raises(ExportError, match=r"Annotation 8 has class 'k-owl', which is not listed\."):
        with_renderers(dataset, images)
    assert "its images are rendered here" in caplog.text


def test_renderers_that_are_ended_in_the_middle_cost_no_file(caplog):
    dataset, images = many()
    both: list[int] = []

    def ending():
        for image in images:
            if image.id == 10:
                both[:] = both_of_them()
            if image.id in (10, 20):
                os.kill(both[image.id == 20], signal.SIGKILL)
            yield image

    assert with_renderers(dataset, ending()) == files(dataset, images)
    # The second one only if it was asked again.
    assert "A renderer is of no use any more" in caplog.text
    assert not children()


def test_renderers_that_do_not_answer_are_ended(monkeypatch, caplog):
    monkeypatch.setattr(renderers, "PATIENCE", 1.0)
    dataset, images = many()

    def stopping():
        for image in images:
            if image.id == 10:
                stopped(both_of_them()[0])
            yield image

    assert with_renderers(dataset, stopping()) == files(dataset, images)
    assert "Renderers that do not answer within 1 s are ended" in caplog.text


def test_what_a_renderer_cannot_be_told_is_rendered_here(caplog):
    dataset, images = many()
    dataset = replace(dataset, classes=(replace(dataset.classes[0], skeleton=((0, 2**70),)), *dataset.classes[1:]))
    assert with_renderers(dataset, images) == files(dataset, images)
    assert caplog.text.count("A renderer is of no use any more") == 2


def test_what_is_no_answer_is_none(monkeypatch, caplog, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('Good morning, everybody.', flush=True)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    dataset, images = many()
    assert with_renderers(dataset, images) == files(dataset, images)
    assert "it was broken off" in caplog.text


def test_nobody_renders_with_other_code(monkeypatch, caplog, capfd):
    monkeypatch.setattr(renderers, "CODE", "what was there before")
    dataset, images = many()
    assert with_renderers(dataset, images) == files(dataset, images)
    assert "The code on the disk is not the one that the worker runs" in capfd.readouterr().err


def test_a_renderer_that_is_stopped_in_the_middle_of_an_answer_loses_nothing_of_it(monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    dataset, images = many(300)
    with renderers._a_renderer() as process:
        for said in ((renderers.CODE, dataset, ["dice"]), list(map(renderers._told, images))):
            renderers._say(process.stdin, said)
        process.stdin.close()
        # The pipe takes no more: it waits for somebody who reads.
        assert wait_until(lambda: waiting_in(process.stdout) > 48 * 1024, 20)
        for what in (signal.SIGSTOP, signal.SIGCONT):
            os.kill(process.pid, what)
            time.sleep(0.1)
        made = renderers.MADE.decode(renderers._heard(process.stdout))
    assert made == render(images, [FORMATS["dice"].writer(dataset, io.BytesIO())])


def waiting_in(pipe) -> int:
    """How many bytes were written to a pipe and not read yet."""
    (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"0000"))
    return count


def test_where_no_process_can_be_begun_everything_is_rendered_here(monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    dataset, images = many()
    assert with_renderers(dataset, images) == files(dataset, images)
    assert caplog.text.count("No renderer more than 0 can be begun") == 1


def test_a_renderer_opens_no_file():
    dataset, images = many()
    with Renderers(dataset, tuple(FORMATS), 1) as helpers:
        assert files(dataset, images, helpers) == files(dataset, images)
        opened = Path(f"/proc/{children()[0]}/fd")
        # The last is where it answers: what is printed goes elsewhere.
        assert sorted(int(each.name) for each in opened.iterdir()) == [0, 1, 2, 3]


def test_few_images_begin_none(monkeypatch):
    monkeypatch.setattr(renderers, "ALONE", 41)
    dataset, images = many(40)
    with Renderers(dataset, tuple(FORMATS), 2) as helpers:
        assert files(dataset, images, helpers) == files(dataset, images)
        assert not children() and helpers.ahead == 0


def test_none_are_begun_where_none_are_wanted():
    dataset, images = many()
    with Renderers(dataset, tuple(FORMATS), 0) as helpers:
        assert files(dataset, images, helpers) == files(dataset, images)
        assert not children()


def test_none_is_left_when_the_files_are_written_or_writing_them_failed():
    dataset, images = many()

    def breaking():
        yield from images
        both = both_of_them()
        # One that was stopped heeds nothing but its end.
        stopped(both[0])
        raise ZeroDivisionError

    def held() -> set[str | int]:
        """Pipes, and processes that were begun and not taken leave of: a dead one is one of them."""
        return {*pipes(), *begun()}

    before = held()
    with_renderers(dataset, images)
    with pytest.raises(ZeroDivisionError):
        with_renderers(dataset, breaking())
    assert not children() and held() <= before


def test_none_outlives_whoever_began_it():
    code = (
        "from tests.exports.test_renderers import *\n"
        "renderers.ALONE, (dataset, images) = 0, many(100)\n"
        "with Renderers(dataset, tuple(FORMATS), 2) as helpers:\n"
        "    helpers.begin(images)()\n"
        "    print(*children(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    begun = [int(process) for process in done.stdout.split()]
    assert done.returncode == -signal.SIGKILL and len(begun) == 2, done.stderr
    assert wait_until(lambda: not any(map(lives, begun)), 20)


class Noted:
    """Somebody who is asked to help and never does; notes how many images were in each batch."""

    ahead = 3

    def __init__(self) -> None:
        self.asked: list[int] = []

    def begin(self, rows) -> None:
        self.asked.append(len(rows))


def test_images_that_hold_much_come_in_small_batches(monkeypatch):
    monkeypatch.setattr(exports.writer, "BATCH", 100)
    monkeypatch.setattr(exports.writer, "HOLD", 2000)
    dataset, helper = a_dataset(), Noted()
    large = [in_texts(an_image(at, *[a_box(10 * at + n, [1, 2, 30, 40]) for n in range(4)])) for at in range(1, 7)]
    assert all(1000 < image.held < 2000 for image in large)
    assert files(dataset, large, helper) == files(dataset, large)
    assert helper.asked == [2, 2, 2]


def one_by_one(made: Made, images) -> list[ReadyImages]:
    """Each image as one that was kept."""
    parts = made.parts([(place, place + 1) for place in range(len(images))])
    return [
        ReadyImages(array("q", [image.id]), array("q", [1]), part) for image, part in zip(images, parts, strict=True)
    ]


def test_what_is_joined_is_parted_again():
    dataset, images = many(4)
    writers = [FORMATS["dice"].writer(dataset, io.BytesIO())]
    whole, parts = render(images, writers), [render([image], writers) for image in images]
    assert list(whole.parts([(0, 1), (1, 2), (2, 3), (3, 4)])) == parts
    assert list(whole.parts([(0, 2), (3, 4)])) == [joined(parts[:2]), parts[3]]
    assert joined(parts) == whole


def children() -> list[int]:
    """The renderers that this process began and that live."""
    return list(filter(lives, begun()))


def pipes() -> list[str]:
    """The pipes of this process."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # what listed them
            found.append(os.readlink(each))
    return [name for name in found if name.startswith("pipe:")]


def both_of_them() -> list[int]:
    """The two that live, once they bear their name, which is a moment after they were begun."""
    assert wait_until(lambda: len(children()) == 2, 20)
    return children()


def begun() -> list[int]:
    """All processes that this one began."""
    found: list[int] = []
    # Of all threads: a child belongs to the one that began it.
    for each in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, each.read_text().split())
    return found


def stopped(process: int) -> None:
    """Stop a process for good."""
    os.kill(process, signal.SIGSTOP)
    assert wait_until(lambda: Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T", 20)


def lives(process: int) -> bool:
    """Whether there is such a renderer."""
    try:
        return "exports.renderers" in Path(f"/proc/{process}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
