"""Ready pieces: what did not change is copied from the files before, and the copy is what the rows would give."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import msgspec
import pytest

from annotations import confirming, editing, projects
from annotations.models import Annotation, Image, LabelClass
from exports import keys, pieces, renderers, writer, zipstream
from exports import stores as api
from exports.errors import StoreUnavailable
from tests.conftest import behind_proxy, storages_on
from tests.world import World, a_box, a_world, confirmed, published, raw, saved
from versions import artifacts, exporting, publishing, ready, snapshots, verifying
from versions.models import Version

pytestmark = pytest.mark.django_db(transaction=True)


def rendered(world: World, version: Version, tmp_path: Path) -> int:
    """How many images a build of the version has to render."""
    folder = tmp_path / "built"
    folder.mkdir()
    found = publishing.with_all_it_needs(version.pk)
    made = artifacts.build_next(version, world.task, folder, found.before)
    shutil.rmtree(folder)
    return made.pieces.rendered


def confirm_anew(world: World, *images: Image) -> None:
    for image in images:
        a_box(world, image, x=150)
        confirming.confirm_image(image, "detection", by="ann")


def assert_as_the_rows_say(version: Version) -> None:
    said = [finding.said for finding in verifying.verify(version)]
    assert said and all(each.startswith("ok") for each in said), said


def four_confirmed() -> World:
    world = a_world(count=4)
    for image in world.images:
        confirmed(world, image, boxes=2)
    return world


def list_of(world: World, form: str = "published") -> str:
    return keys.pieces(world.project.pk, form)


def test_files_that_renderers_made_are_those_of_the_rows(monkeypatch, settings, caplog, tmp_path):
    monkeypatch.setattr(renderers, "ALONE", 0)
    monkeypatch.setattr(renderers, "FEW", 1)
    monkeypatch.setattr(writer, "BATCH", 2)
    world = a_world(count=7)
    for image in world.images:
        confirmed(world, image, boxes=2)
    settings.LABELER_RENDERERS = 2
    first = published(world)
    confirm_anew(world, world.images[3])
    second = published(world)
    assert "renderer" not in caplog.text, "they rendered"
    settings.LABELER_RENDERERS = 0
    assert_as_the_rows_say(first)
    assert_as_the_rows_say(second)


def test_the_second_publish_renders_what_changed_and_copies_the_rest(tmp_path, stores):
    world = four_confirmed()
    first = published(world)
    confirm_anew(world, world.images[0], world.images[2])
    second = published(world, finish=False)
    assert rendered(world, second, tmp_path) == 2
    second = publishing.advance(second.pk)
    assert_as_the_rows_say(second)
    assert_as_the_rows_say(first)
    third = published(world, finish=False, allow_empty=True)
    assert rendered(world, third, tmp_path) == 0
    assert_as_the_rows_say(publishing.advance(third.pk))


def test_a_rollback_copies_what_is_the_same_now(tmp_path):
    world = four_confirmed()
    box = Annotation.objects.order_by("pk").first()
    published(world)
    editing.update_annotation(box.pk, {"geometry": {"type": "bbox", "bbox": [1, 2, 3, 4]}}, by="ann")
    confirming.confirm_image(world.images[0], "detection", by="ann")
    published(world)
    editing.update_annotation(box.pk, {"geometry": box.geometry}, by="ann")
    confirming.confirm_image(world.images[0], "detection", by="ann")
    third = published(world, finish=False)
    assert rendered(world, third, tmp_path) == 1
    assert_as_the_rows_say(publishing.advance(third.pk))


def test_versions_that_are_made_whole_the_other_way_round_copy_from_each_other(tmp_path):
    world = four_confirmed()
    published(world)
    confirm_anew(world, world.images[0])
    second = published(world, finish=False)
    confirm_anew(world, world.images[1])
    third = published(world)
    assert rendered(world, second, tmp_path) == 1, "the one that differs from the third"
    assert_as_the_rows_say(publishing.advance(second.pk))
    # The list is the second's now.
    confirm_anew(world, world.images[3])
    fourth = published(world, finish=False)
    assert rendered(world, fourth, tmp_path) == 2, "those that differ from the second"
    assert_as_the_rows_say(publishing.advance(fourth.pk))
    assert_as_the_rows_say(third)


def test_where_most_changed_all_is_rendered(tmp_path):
    world = four_confirmed()
    published(world)
    confirm_anew(world, *world.images[:3])
    second = published(world, finish=False)
    assert rendered(world, second, tmp_path) == 4
    assert_as_the_rows_say(publishing.advance(second.pk))


def test_a_renamed_class_lets_no_old_piece_into_a_file(tmp_path):
    world = a_world()
    confirmed(world, world.images[0])
    published(world)
    saved(world)
    projects.change_class(LabelClass.objects.get(class_id="cat"), by="adm", name="Tiger")
    second = published(world)
    assert b"Tiger" in api.read_small("labeler", second.artifacts.get(format="dice").s3_key)
    assert_as_the_rows_say(second)
    save = saved(world)
    assert save is not None and b'"class_name":"Cat"' not in api.read_small("labeler", save.artifacts.get().s3_key)


def test_a_publish_without_a_format_keeps_nothing_a_later_one_could_miss(tmp_path):
    world = four_confirmed()
    published(world, formats=("dice",))
    second = published(world, finish=False)
    assert rendered(world, second, tmp_path) == 4
    second = publishing.advance(second.pk)
    assert sorted(second.artifacts.values_list("format", flat=True)) == [
        "coco", "dice", "frozen_rows", "manifest", "yolo"
    ]  # fmt: skip
    assert_as_the_rows_say(second)


def test_a_publish_of_one_format_copies_from_one_of_all(tmp_path):
    world = four_confirmed()
    published(world)
    confirm_anew(world, world.images[0])
    second = published(world, finish=False, formats=("dice",))
    assert rendered(world, second, tmp_path) == 1
    assert_as_the_rows_say(publishing.advance(second.pk))


def test_a_save_renders_the_images_that_changed_since_the_last(tmp_path, stores, monkeypatch):
    world = a_world(count=3)
    for image in world.images:
        confirmed(world, image)
    saved(world)
    raw("UPDATE annotations SET notes = 'seen' WHERE image_id = %s", [world.images[1].pk])
    made, build = [], artifacts.build_ready
    monkeypatch.setattr(artifacts, "build_ready", lambda *said, **more: made.append(build(*said, **more)) or made[-1])
    save = saved(world)
    assert [each.pieces.rendered for each in made] == [1]
    assert api.read_small("labeler", save.artifacts.get().s3_key) == without_pieces(world, save)


def without_pieces(world: World, save: Version) -> bytes:
    """The save's file as it would be had nothing been kept."""
    with artifacts.working_file(save, world.task, lambda: None, last=None) as (made, _):
        return made.built[0].path.read_bytes()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_people_do_the_files_are_what_the_rows_give(seed):
    world, dice = a_world(count=5), random.Random(seed)
    for _ in range(4):
        for _ in range(6):
            something(world, dice)
        version = published(world, allow_empty=True)
        assert_as_the_rows_say(version)
        save = saved(world)
        if save is not None:
            assert api.read_small("labeler", save.artifacts.get().s3_key) == without_pieces(world, save)


def something(world: World, dice: random.Random) -> None:
    """One thing an annotator might do."""
    image, row = dice.choice(world.images), dice.choice([*Annotation.objects.order_by("pk"), None])
    deed = dice.randrange(6)
    if deed == 0 or row is None:
        a_box(world, image, x=dice.randrange(150))
    elif deed == 1:
        editing.delete_annotation(row.pk, by="ann")
    elif deed == 2:
        editing.update_annotation(row.pk, {"notes": str(dice.random())}, by="ann")
    elif deed == 3:
        Image.objects.filter(pk=image.pk).update(split=dice.choice(["train", "val", None]))
    elif deed == 4:
        confirming.unconfirm_image(image, "detection", by="ann")
    else:
        confirming.confirm_image(image, "detection", by="ann", allow_empty=True)


# What is not as it was recorded -------------------------------------------------------------------


def spoil(put_object, key: str) -> None:
    """Change a byte in the middle of an object."""
    content = bytearray(api.read_small("labeler", key))
    content[len(content) // 2] ^= 1
    put_object("labeler", key, bytes(content))


def test_nothing_is_copied_from_a_file_that_is_not_what_was_recorded(tmp_path, caplog, stores, put_object):
    world = four_confirmed()
    first = published(world)
    key = first.artifacts.get(format="coco").s3_key
    spoil(put_object, key)
    confirm_anew(world, world.images[0])
    second = published(world, finish=False)
    assert rendered(world, second, tmp_path) == 4
    assert f"Nothing is copied from {key}, which is not what was recorded; see verify_artifacts." in caplog.text
    assert_as_the_rows_say(publishing.advance(second.pk))


def test_nothing_is_copied_from_a_file_that_is_shorter_than_it_was(tmp_path, caplog, stores, put_object):
    world = four_confirmed()
    first = published(world)
    key = first.artifacts.get(format="yolo").s3_key
    put_object("labeler", key, api.read_small("labeler", key)[:300])
    confirm_anew(world, world.images[0])
    second = published(world, finish=False)
    assert rendered(world, second, tmp_path) == 4
    assert f"Nothing is copied from {key}, which is not what was recorded" in caplog.text
    assert_as_the_rows_say(publishing.advance(second.pk))


def test_a_list_that_is_not_what_was_recorded_is_not_read(tmp_path, stores, put_object):
    world = four_confirmed()
    published(world)
    spoil(put_object, list_of(world))
    confirm_anew(world, world.images[0])
    second = published(world, finish=False)
    assert rendered(world, second, tmp_path) == 4
    assert_as_the_rows_say(publishing.advance(second.pk))


@pytest.mark.parametrize("gone", ["list", "file"])
def test_where_list_or_file_is_gone_all_is_rendered(tmp_path, caplog, gone, stores):
    world = four_confirmed()
    first = published(world)
    key = list_of(world) if gone == "list" else first.artifacts.get(format="dice").s3_key
    api.remove("labeler", key)
    confirm_anew(world, world.images[0])
    second = published(world, finish=False)
    assert rendered(world, second, tmp_path) == 4
    assert f"Nothing is copied from the files before, all is rendered: {key} is not in the store." in caplog.text
    assert publishing.advance(second.pk).status == "ready"


def test_a_save_after_its_list_is_gone_is_what_the_rows_say(caplog):
    world = four_confirmed()
    saved(world)
    api.remove("labeler", list_of(world, "working"))
    confirm_anew(world, world.images[0])
    save = saved(world)
    assert "all is rendered" in caplog.text
    assert api.read_small("labeler", save.artifacts.get().s3_key) == without_pieces(world, save)


def test_where_the_store_had_another_file_of_the_same_content_nothing_is_noted(monkeypatch, tmp_path):
    world = four_confirmed()
    version = published(world, finish=False)
    with monkeypatch.context() as other:
        other.setattr(zipstream, "LEVEL", 0)
        publishing.built(publishing.with_all_it_needs(version.pk), tmp_path)
    done = publishing.advance(version.pk)
    assert done.status == "ready" and Version.objects.filter(pieces__isnull=True).get() == done
    confirm_anew(world, world.images[0])
    second = published(world, finish=False)
    assert rendered(world, second, tmp_path) == 4
    assert_as_the_rows_say(publishing.advance(second.pk))


def test_a_list_of_another_database_is_none_of_ours(tmp_path):
    """A database brought back from a dump meets the list that the lost one wrote afterwards."""
    world = four_confirmed()
    published(world)
    dumped = api.read_small("labeler", list_of(world))
    confirm_anew(world, world.images[0])
    published(world)
    lost = api.read_small("labeler", list_of(world))
    assert lost != dumped
    raw("UPDATE annotation_versions SET pieces = NULL WHERE ordinal = 2")
    confirm_anew(world, world.images[1])
    third = published(world, finish=False)
    assert rendered(world, third, tmp_path) == 4


def verified(version: Version) -> dict[str, str]:
    """What verifying says of each file of a version."""
    return {finding.format: finding.said for finding in verifying.verify(Version.objects.get(pk=version.pk))}


def replace_list(put_object, version: Version, change) -> None:
    """Change what the list of a version's pieces says, as a writer with an error in it would have written it."""
    key = version.pieces["key"]
    content = api.read_small("labeler", key)
    (long,) = pieces.LENGTH.unpack_from(content)
    noted = pieces.NOTED.decode(content[pieces.LENGTH.size :][:long])
    said = msgspec.msgpack.encode(change(noted))
    put_object("labeler", key, pieces.LENGTH.pack(len(said)) + said)
    raw(
        "UPDATE annotation_versions SET pieces = jsonb_set(pieces, '{sha256}', to_jsonb(%s::text)) WHERE id = %s",
        [api.hash_of("labeler", key), version.pk],
    )


def test_verifying_puts_the_files_together_from_their_pieces(stores):
    world = four_confirmed()
    first = published(world)
    assert verified(first)["pieces"] == "ok, give the same files image by image"
    confirm_anew(world, world.images[0])
    second = published(world)
    assert verified(second)["pieces"] == "ok, give the same files image by image"
    assert "pieces" not in verified(first), "the second's list has replaced them"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda noted: msgspec.structs.replace(noted, states=noted.states[::-1]), "are of other states of"),
        (
            lambda noted: msgspec.structs.replace(noted, lengths=[each[::-1] for each in noted.lengths]),
            "do not fit their files",
        ),
        (
            lambda noted: msgspec.structs.replace(
                noted, strands=[each and each[::-1] for each in noted.strands[:1]] + noted.strands[1:]
            ),
            "give other bytes than the rows (dice)",
        ),
    ],
)
def test_pieces_that_are_not_what_the_rows_give_are_found_by_verifying(put_object, change, said):
    version = published(four_confirmed())
    replace_list(put_object, version, change)
    found = verified(version)
    assert found["pieces"].startswith(said)
    assert found["pieces"].endswith(f": remove {version.pieces['key']} from the store, it is made anew")
    assert found["dice"].startswith("ok")
    api.remove("labeler", version.pieces["key"])
    assert "pieces" not in verified(version)


@pytest.mark.parametrize("form", ["publish", "save"])
def test_a_file_that_changes_while_it_is_copied_from_is_looked_at_again(form, monkeypatch, put_object):
    """It was sound a moment ago; rows are on their way when it turns out."""
    monkeypatch.setattr(writer, "BATCH", 2)
    monkeypatch.setattr(snapshots, "PUSHED", 1)
    world = a_world(count=16)
    for image in world.images:
        confirmed(world, image)
    first = published(world) if form == "publish" else saved(world)
    key = first.artifacts.get(format="dice").s3_key
    put_object("labeler", key, api.read_small("labeler", key)[:3000])
    confirm_anew(world, world.images[0], *world.images[11:15])
    with monkeypatch.context() as sure:
        sure.setattr(ready.Before, "are_sound", lambda self: True)
        if form == "publish":
            second = published(world)
            assert second.last_error.startswith(
                "A file changed while it was copied from; try again. The dice file ends"
            )
        else:
            with pytest.raises(StoreUnavailable, match=r"A file changed while it was copied from"):
                saved(world)
    if form == "publish":
        assert_as_the_rows_say(publishing.advance(second.pk))
    else:
        second = saved(world)
        assert api.read_small("labeler", second.artifacts.get().s3_key) == without_pieces(world, second)


@pytest.mark.parametrize("form", ["publish", "save", "export"])
def test_a_disk_that_is_full_while_rows_are_on_their_way_is_said(form, monkeypatch, tmp_path):
    monkeypatch.setattr(writer, "BATCH", 2)
    monkeypatch.setattr(snapshots, "PUSHED", 1)
    world = a_world(count=16)
    for image in world.images:
        confirmed(world, image)
    version = published(world, finish=False)

    def full(self, piece) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as narrow:
        narrow.setattr(writer.Hashing, "write", full)
        narrow.setattr(writer, "GATHER", 100)
        if form == "publish":
            assert publishing.advance(version.pk).last_error == FULL
        else:
            with pytest.raises(StoreUnavailable) as error:
                saved(world) if form == "save" else exported(world, tmp_path)
            assert str(error.value) == FULL
    assert_as_the_rows_say(publishing.advance(version.pk))
    assert saved(world) is not None


FULL = "The local disk did not take the file: No space left on device."


def exported(world: World, folder: Path) -> None:
    exporting.write(world.task, folder, formats=["dice"], states=snapshots.SETTLED, image_paths=None, version=None)


@pytest.mark.parametrize("form", ["published", "working"])
def test_a_store_that_does_not_take_the_list_costs_no_version_and_no_save(form, caplog):
    world = four_confirmed()
    make = published if form == "published" else saved
    # In a folder an object cannot stand where others lie.
    beside = Path(api.backend("labeler").location) / list_of(world, form)
    beside.mkdir(parents=True)
    first = make(world)
    assert first.status == "ready"
    assert f"The list of pieces of {first} is not kept, more will be rendered next time" in caplog.text
    confirm_anew(world, world.images[0])
    second = make(world)
    assert second.status == "ready" and second.version_number != first.version_number
    beside.rmdir()
    confirm_anew(world, world.images[1])
    assert make(world).pieces is not None
    assert api.find("labeler", list_of(world, form)) is not None


@pytest.mark.parametrize("object_of", ["pieces", "annotations_coco.json"])
@pytest.mark.parametrize("kind", ["status", "drop_before", "truncate"])
def test_what_a_store_does_not_hand_out_now_holds_nothing_up(kind, object_of, caplog, settings):
    with behind_proxy(settings, "labeler") as proxy:
        world = four_confirmed()
        first = published(world)
        confirm_anew(world, world.images[0])
        fault = proxy.strike(kind, "GET", f"{object_of}$", times=None)
        second = published(world)
        assert fault.struck
        proxy.calm()
        assert second.status == "ready"
        assert "Nothing is copied from the files before, all is rendered: " in caplog.text
        assert_as_the_rows_say(second)
        assert_as_the_rows_say(first)


def test_a_version_that_another_worker_made_ready_replaces_no_list(tmp_path):
    world = four_confirmed()
    version = published(world, finish=False)
    late = publishing.with_all_it_needs(version.pk)
    publishing.advance(version.pk)
    noted = api.hash_of("labeler", list_of(world))
    publishing._make_ready(late)
    assert api.hash_of("labeler", list_of(world)) == noted
    assert Version.objects.get(pk=version.pk).pieces["sha256"] == noted


def test_a_publish_that_was_killed_before_it_was_recorded_leaves_the_list_before(tmp_path):
    world = four_confirmed()
    published(world)
    confirm_anew(world, world.images[0])
    second = published(world, finish=False)
    folder = tmp_path / "killed"
    folder.mkdir()
    publishing.built(publishing.with_all_it_needs(second.pk), folder)
    assert rendered(world, second, tmp_path) == 1
    assert_as_the_rows_say(publishing.advance(second.pk))


def test_a_disk_with_room_for_the_old_files_alone_fetches_none(monkeypatch, tmp_path, caplog, settings):
    storages_on("moto", settings)
    world = four_confirmed()
    published(world)
    confirm_anew(world, world.images[0])
    second = published(world, finish=False)
    files = Version.objects.get(ordinal=1).pieces["files"].values()
    room = shutil.disk_usage(tmp_path)._replace(free=3 * sum(each["size"] for each in files) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: room)
    assert rendered(world, second, tmp_path) == 4
    assert "old files and new ones need" in caplog.text
    monkeypatch.undo()
    assert rendered(world, second, tmp_path) == 1


def test_a_disk_that_gets_full_beside_copies_of_the_files_before_is_tried_without(monkeypatch, caplog, settings):
    storages_on("moto", settings)
    world = four_confirmed()
    published(world)
    confirm_anew(world, world.images[0])
    second, write = published(world, finish=False), writer.Hashing.write
    opened = api.open_local

    def full(self, piece) -> int:
        if fetched:
            raise OSError(28, "No space left on device")
        return write(self, piece)

    fetched: list[str] = []

    class Fetched:
        """A copy takes room until it is closed."""

        def __init__(self, key: str, file) -> None:
            self._key, self._file = key, file
            fetched.append(key)

        def __getattr__(self, name: str):
            return getattr(self._file, name)

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            fetched.remove(self._key)
            self._file.close()

    monkeypatch.setattr(api, "open_local", lambda alias, key, folder: Fetched(key, opened(alias, key, folder)))
    monkeypatch.setattr(writer.Hashing, "write", full)
    second = publishing.advance(second.pk)
    assert second.status == "ready" and "all is rendered: The local disk did not take the file" in caplog.text
    monkeypatch.undo()
    assert_as_the_rows_say(second)


def test_of_pieces_of_a_damaged_file_verifying_says_nothing(put_object, stores):
    version = published(four_confirmed())
    spoil(put_object, version.artifacts.get(format="coco").s3_key)
    found = verified(version)
    assert "holds other bytes" in found["coco"] and "pieces" not in found


def test_a_disk_without_room_for_copies_of_the_files_before_renders_all(monkeypatch, tmp_path, caplog, settings):
    storages_on("moto", settings)
    world = four_confirmed()
    published(world)
    confirm_anew(world, world.images[0])
    second = published(world, finish=False)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    assert rendered(world, second, tmp_path) == 4
    assert "all is rendered: [Errno 28] No space left on device" in caplog.text
    monkeypatch.undo()
    assert_as_the_rows_say(publishing.advance(second.pk))


def test_what_is_listed_of_a_task_is_read_in_order():
    world = four_confirmed()
    version = published(world)
    listing = ready.published_images(version, world.task).listing()
    assert list(listing.ids) == sorted(image.pk for image in world.images)
    assert list(listing.states) == [1] * 4
    empty = ready.published_images(Version(ordinal=0), world.task).listing()
    assert (len(empty.ids), len(empty.states)) == (0, 0)
