"""Pieces of finished files: what did not change is copied, and nobody can tell from the files."""

from __future__ import annotations

import io
import os
import random
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

import exports.writer
import exports.zipstream
from exports.errors import BrokenFile
from exports.formats import FORMATS
from exports.pieces import NEVER, Listing, PieceList, Pieces
from exports.rows import Dataset, ImageRow
from exports.writer import ReadyImages, Summary, write_all
from tests.exports.builders import a_box, a_dataset, a_row, an_image, in_texts, many_images
from tests.exports.test_dice import all_types

ALL = tuple(FORMATS)
TASKS = ("detection", "segmentation", "keypoint", "classification", "line", "geometry")
# An image and the state it is in.
Stated = Sequence[tuple[ImageRow, int]]


class Made:
    """Files that lie in a folder with the list of their pieces."""

    def __init__(self, folder: Path, dataset: Dataset, images, pieces: PieceList) -> None:
        self.folder, self.formats = folder, pieces.formats
        self.paths = {name: folder / FORMATS[name].file_name for name in self.formats}
        with ExitStack() as stack:
            outs = [stack.enter_context(path.open("wb")) for path in self.paths.values()]
            writers = [FORMATS[name].writer(dataset, out) for name, out in zip(self.formats, outs, strict=True)]
            self.said: list[Summary] = write_all(images, writers, pieces.take)
        pieces.__exit__()
        self.rendered = pieces.rendered

    @property
    def contents(self) -> dict[str, bytes]:
        return {name: path.read_bytes() for name, path in self.paths.items()}

    @contextmanager
    def pieces(self, formats: Sequence[str] = ALL) -> Iterator[Pieces]:
        with ExitStack() as stack:
            files = {name: stack.enter_context(self.paths[name].open("rb")) for name in formats}
            starts = dict(zip(self.formats, [each.starts for each in self.said], strict=True))
            yield Pieces(stack.enter_context((self.folder / "pieces").open("rb")), self.formats, files, starts)


def whole(folder: Path, dataset: Dataset, images: Stated, formats: Sequence[str] = ALL) -> Made:
    """All images rendered."""
    folder.mkdir()
    pieces = PieceList(folder / "pieces", formats)
    return Made(folder, dataset, expected(pieces, images), pieces)


def expected(pieces: PieceList, images: Stated) -> Iterator[ImageRow]:
    for image, state in images:
        pieces.expect(state)
        yield image


def after(before: Made, folder: Path, dataset: Dataset, images: Stated, formats: Sequence[str] = ALL) -> Made:
    """Those that are as before copied from there, the others rendered."""
    folder.mkdir()
    pieces = PieceList(folder / "pieces", formats)
    listing = Listing(array("q", [image.id for image, _ in images]), array("q", [state for _, state in images]))
    with before.pieces(formats) as earlier:
        missing = set(earlier.missing(listing))
        rows = expected(pieces, [(image, state) for image, state in images if image.id in missing])
        return Made(folder, dataset, earlier.merged(listing, rows), pieces)


def assert_as_if_rendered(made: Made, folder: Path, dataset: Dataset, images: Stated) -> None:
    fresh = whole(folder, dataset, images, made.formats)
    assert made.contents == fresh.contents
    assert made.said == fresh.said


def stated(images: Sequence[ImageRow], state: int = 1) -> Stated:
    return [(image, state) for image in images]


@pytest.mark.parametrize("task", TASKS)
def test_files_of_unchanged_images_are_copied_whole(tmp_path, task):
    dataset, images = all_types(task, "published")
    first = whole(tmp_path / "first", dataset, stated(images))
    second = after(first, tmp_path / "second", dataset, stated(images))
    assert (first.rendered, second.rendered) == (len(images), 0)
    assert_as_if_rendered(second, tmp_path / "fresh", dataset, stated(images))


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("task", TASKS)
def test_an_image_that_changed_is_rendered_and_one_that_is_gone_is_not_there(tmp_path, task, place):
    dataset, images = all_types(task, "published")
    first = whole(tmp_path / "first", dataset, stated(images))
    changed = stated(images)
    changed[place] = (msgspec.structs.replace(images[place], split="val", depth=1), 2)
    second = after(first, tmp_path / "second", dataset, changed)
    assert second.rendered == 1
    assert_as_if_rendered(second, tmp_path / "fresh", dataset, changed)
    del changed[place]
    third = after(second, tmp_path / "third", dataset, changed)
    assert third.rendered == 0
    assert_as_if_rendered(third, tmp_path / "fresh without", dataset, changed)


def test_files_without_an_image_are_a_beginning_and_an_end_as_well(tmp_path):
    dataset, images = a_dataset(), stated(list(many_images(3)))
    nothing = whole(tmp_path / "nothing", dataset, [])
    first = after(nothing, tmp_path / "first", dataset, images)
    assert_as_if_rendered(first, tmp_path / "fresh", dataset, images)
    second = after(first, tmp_path / "second", dataset, [])
    assert_as_if_rendered(second, tmp_path / "fresh nothing", dataset, [])


@pytest.mark.parametrize("seed", range(6))
def test_whatever_changes_from_file_to_file_each_is_as_if_rendered(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(exports.writer, "BATCH", 5)
    monkeypatch.setattr(exports.writer, "HOLD", 4000)
    dice, dataset = random.Random(seed), replace(a_dataset(), flat_mirror=seed % 2 == 0)
    present = {image.id: (in_texts(image), 1) for image in many_images(60) if dice.random() < 0.8}
    made = whole(tmp_path / "0", dataset, sorted_by_id(present))
    for generation in range(1, 7):
        changed = change(dice, present, generation)
        made = after(made, tmp_path / str(generation), dataset, sorted_by_id(present))
        assert made.rendered == changed
        assert_as_if_rendered(made, tmp_path / f"fresh {generation}", dataset, sorted_by_id(present))


def sorted_by_id(present: dict[int, tuple[ImageRow, int]]) -> Stated:
    return [present[pk] for pk in sorted(present)]


def change(dice: random.Random, present: dict[int, tuple[ImageRow, int]], generation: int) -> int:
    """Some images change, some come, some go; how many there are to render."""
    several = dice.choice((0, 1, 3, 30))
    changed = set()
    for _ in range(several):
        pk = dice.randrange(1, 70)
        if dice.random() < 0.3:
            present.pop(pk, None)
            changed.discard(pk)
        else:
            boxes = [a_box(100 * pk + at, [dice.randrange(90), 5, 30, 40]) for at in range(dice.randrange(4))]
            present[pk] = (in_texts(an_image(pk, *boxes)), generation + 1)
            changed.add(pk)
    return len(changed)


def test_a_file_takes_of_several_formats_those_it_is_written_in(tmp_path):
    dataset, images = all_types("segmentation", "published")
    first = whole(tmp_path / "first", dataset, stated(images))
    changed = [*stated(images[:3]), (images[3], 2)]
    for formats in (("dice",), ("coco",), ("dice", "yolo")):
        second = after(first, tmp_path / "-".join(formats), dataset, changed, formats)
        assert second.rendered == 1
        assert_as_if_rendered(second, tmp_path / f"fresh {formats}", dataset, changed)


def twins() -> list[ImageRow]:
    """Two images whose label files would have the same name, one of an unsafe name, and one more."""
    names = ("a/1.jpg", "a/1.png", "a\\2.jpg", "a/3.jpg")
    return [an_image(at, a_box(at, [1, 2, 30, 40]), file_name=name) for at, name in enumerate(names, start=1)]


def test_what_a_file_had_no_room_for_is_rendered_again_until_it_has(tmp_path):
    dataset, images = a_dataset(), stated(twins())
    first = whole(tmp_path / "first", dataset, images)
    second = after(first, tmp_path / "second", dataset, images)
    assert second.rendered == 1, "its name is taken; the unsafe one has nothing in the file, then as now"
    assert_as_if_rendered(second, tmp_path / "fresh", dataset, images)
    third = after(second, tmp_path / "third", dataset, images[1:])
    assert third.rendered == 1
    assert_as_if_rendered(third, tmp_path / "fresh without", dataset, images[1:])
    assert after(third, tmp_path / "fourth", dataset, images[1:]).rendered == 0


def test_a_name_that_is_taken_meanwhile_is_left_out_though_nothing_else_changed(tmp_path):
    dataset, images = a_dataset(), stated(twins())
    first = whole(tmp_path / "first", dataset, images[1:])
    second = after(first, tmp_path / "second", dataset, images)
    assert second.rendered == 1
    assert_as_if_rendered(second, tmp_path / "fresh", dataset, images)
    with second.pieces() as pieces:
        assert [state for batch in pieces.batches() for state in batch.states] == [1, NEVER, 1, 1]


def test_members_beyond_four_gigabytes_are_found_again(tmp_path, monkeypatch):
    dataset, images = a_dataset(), stated([in_texts(image) for image in many_images(40)])
    first = whole(tmp_path / "first", dataset, images)
    monkeypatch.setattr(exports.zipstream, "LARGE", 3000)
    second = after(first, tmp_path / "second", dataset, images)
    assert second.contents["yolo"] != first.contents["yolo"]
    assert_as_if_rendered(second, tmp_path / "fresh", dataset, images)
    third = after(second, tmp_path / "third", dataset, images)
    assert (third.rendered, third.contents) == (0, second.contents)


def test_few_images_are_joined_with_their_neighbours(tmp_path, monkeypatch):
    monkeypatch.setattr(exports.writer, "BATCH", 10)
    dataset, images = a_dataset(), []
    made = whole(tmp_path / "0", dataset, images)
    for image in many_images(35):
        images.append((image, 1))
        made = after(made, tmp_path / str(image.id), dataset, images)
        assert made.rendered == 1
    with made.pieces() as pieces:
        assert [len(batch.ids) for batch in pieces.batches()] == [5] * 7, "half as many as there may be are enough"
    assert_as_if_rendered(made, tmp_path / "fresh", dataset, images)


def test_images_that_hold_much_stay_in_small_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(exports.writer, "HOLD", 8000)
    dataset, images = a_dataset(), stated([in_texts(image) for image in many_images(30, boxes=20)])
    first = whole(tmp_path / "first", dataset, images)
    changed = [(image, 1 + image.id % 2) for image, _ in images]
    second = after(first, tmp_path / "second", dataset, changed)
    for made in (first, second):
        with made.pieces() as pieces:
            assert max(len(batch.ids) for batch in pieces.batches()) <= 4


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_ends_too_early_is_said(tmp_path, name):
    dataset, images = a_dataset(), stated(list(many_images(9)))
    first = whole(tmp_path / "first", dataset, images)
    first.paths[name].write_bytes(first.contents[name][:700])
    with pytest.raises(BrokenFile, match=f"The {name} file ends within the "):
        after(first, tmp_path / "second", dataset, images)


def test_a_file_that_cannot_be_read_is_said(tmp_path):
    dataset, images = a_dataset(), stated(list(many_images(9)))
    first = whole(tmp_path / "first", dataset, images)
    first.paths["dice"].unlink()
    first.paths["dice"].mkdir()
    with (tmp_path / "first" / "pieces").open("rb") as listed, unreadable() as file:
        pieces = Pieces(listed, ("dice",), {"dice": file}, {"dice": {"text": 0}})
        with pytest.raises(BrokenFile, match="The dice file cannot be read at byte 0: Illegal seek"):
            list(pieces.batches())


@contextmanager
def unreadable() -> Iterator[io.BufferedReader]:
    """What cannot be read at a place of its own."""
    reader, writer = os.pipe()
    with open(reader, "rb") as file, open(writer, "wb"):
        yield file


def test_what_lies_in_a_file_is_not_in_the_list(tmp_path):
    dataset, images = a_dataset(), stated([an_image(1, a_row(1, attributes={"colour": "vermilion"}))])
    first = whole(tmp_path / "first", dataset, images)
    assert b"vermilion" in first.contents["dice"]
    assert b"vermilion" not in (tmp_path / "first" / "pieces").read_bytes()
    with first.pieces() as pieces:
        (batch,) = pieces.batches()
    assert isinstance(batch, ReadyImages) and any(b"vermilion" in strand for strand in batch.made.strands)
