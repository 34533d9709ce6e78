"""Projects: their tasks, classes with permanent indexes, members with one owner, and what deleting leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections, transaction
from django.db.utils import IntegrityError

from annotations import confirming, editing, images, projects
from annotations.access import annotation_for, image_for, project_for
from annotations.errors import AnnotationError, ClassInUse, Duplicate, Forbidden, NotFound
from annotations.images import FoundImage
from annotations.models import Annotation, Image, ImageStatus, LabelClass, Member, Project
from annotations.states import Role
from tests.world import PEOPLE, World, a_box, a_client, a_user, a_world, confirmed

pytestmark = pytest.mark.django_db(transaction=True)


def names(world: World) -> list[str]:
    """Living classes as they are shown."""
    return [entry.name for entry in projects.classes_of(world.project.pk, "detection")]


def indexes() -> dict[str, int]:
    return dict(LabelClass.objects.values_list("name", "index"))


def a_class(name: str) -> LabelClass:
    return LabelClass.objects.get(name=name, task_type="detection")


def owners(world: World) -> list[str]:
    return list(Member.objects.filter(project=world.project, role="owner").values_list("user_id", flat=True))


def told(act: Callable[[], object]) -> str:
    """The word of the refusal, or ``done``; for threads, whose connections end with them."""
    try:
        act()
    except AnnotationError as error:
        return error.code
    finally:
        connections.close_all()
    return "done"


def while_undecided(first: Callable[[], object], second: Callable[[], object]) -> str:
    """What ``second`` comes to when it begins while ``first`` is written and not yet committed."""
    begun = threading.Event()

    def begin() -> str:
        begun.set()
        return told(second)

    with ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            first()
            outcome = other.submit(begin)
            begun.wait()
            # Long enough to reach the first lock; a second that does not wait for it is a defect.
            threading.Event().wait(0.5)
        return outcome.result()


# Projects -----------------------------------------------------------------------------------------


def test_a_new_project_is_its_makers_and_loads_first():
    project = projects.create_project(
        dataset_id="ds_1", dataset_name="Pets", name="Pets", by="olga", task_types=["segmentation", "detection"]
    )
    assert (project.status, project.owner_id, project.image_root) == ("loading", "olga", "datasets/ds_1/images/")
    assert [(task.task_type, task.is_first) for task in project.tasks.all()] == [
        ("segmentation", True), ("detection", False),
    ]  # fmt: skip
    assert [(member.user_id, member.role) for member in project.members.all()] == [("olga", "owner")]


def test_a_dataset_has_one_living_project_also_when_two_open_it_at_once():
    gate = threading.Barrier(4)

    def create(number: int) -> str:
        gate.wait()
        return told(
            lambda: projects.create_project(
                dataset_id="ds_1", dataset_name="Pets", name=f"P{number}", by="olga", task_types=["detection"]
            )
        )

    with ThreadPoolExecutor(4) as people:
        assert sorted(people.map(create, range(4))) == ["done", "duplicate", "duplicate", "duplicate"]
    assert Project.objects.count() == Member.objects.count() == 1


def test_a_change_says_who_and_when_and_owes_a_new_record():
    world = a_world()
    before = world.reload()
    projects.change_project(world.reload(), by="adm", name="Renamed", settings={"splits": 1})
    now = world.reload()
    assert (now.name, now.settings, now.updated_by) == ("Renamed", {"splits": 1}, "adm")
    assert now.updated_at > before.updated_at and now.record_revision > before.record_revision


def test_a_deleted_project_is_gone_for_everyone_and_loses_nothing():
    world = a_world()
    box = confirmed(world, world.images[0])[0]
    projects.delete_project(world.project, by="olga")
    for name in PEOPLE:
        with pytest.raises(NotFound):
            project_for(a_user(name), world.project.pk)
        with pytest.raises(NotFound, match="No such annotation"):
            annotation_for(a_user(name), box.pk)
    assert a_client("olga").get("/api/v1/me").json()["projects"] == []
    assert Annotation.objects.filter(pk=box.pk).exists() and world.reload().deleted_at


def test_a_deleted_project_comes_back_as_it_was():
    world = a_world()
    confirmed(world, world.images[0])
    projects.delete_project(world.project, by="olga")
    projects.undelete_project(world.project, by="olga")
    assert project_for(a_user("vic"), world.project.pk).my_role == "viewer"
    assert ImageStatus.objects.get(image=world.images[0]).status == "completed"


def test_a_dataset_opened_again_is_another_project_and_the_old_one_waits():
    world = a_world()
    projects.delete_project(world.project, by="olga")
    again = a_world()
    assert again.project.pk != world.project.pk
    with pytest.raises(Duplicate):
        projects.undelete_project(world.project, by="olga")
    projects.delete_project(again.project, by="olga")
    projects.undelete_project(world.project, by="olga")
    assert project_for(a_user("olga"), world.project.pk)


def test_no_row_of_a_project_with_content_can_be_deleted():
    world = a_world()
    a_box(world, world.images[0])
    for rows in (Project.objects.all(), LabelClass.objects.all(), Image.objects.all()):
        with pytest.raises(IntegrityError):
            rows.delete()


# Tasks --------------------------------------------------------------------------------------------


def test_a_further_task_leaves_the_first_first_and_gives_every_image_its_own_progress():
    world = a_world()
    confirmed(world, world.images[0])
    projects.add_task(world.reload(), "keypoint", by="adm")
    assert [task.task_type for task in world.reload().tasks.all()] == ["detection", "keypoint"]
    found = ImageStatus.objects.filter(image=world.images[0]).values_list("task_type", "status")
    assert set(found) == {("detection", "completed"), ("keypoint", "not-started")}
    with pytest.raises(Duplicate):
        projects.add_task(world.reload(), "keypoint", by="adm")


def test_an_image_and_a_task_that_come_at_once_have_a_progress_row():
    world = a_world(count=1)

    def another_image(name: str) -> None:
        images.register_images(world.project, [FoundImage(name, 200, 100, 3, 10, "", None)])

    def another_task(task_type: str) -> None:
        projects.add_task(world.reload(), task_type, by="adm")

    assert while_undecided(lambda: another_task("keypoint"), lambda: another_image("a/2.png")) == "done"
    assert while_undecided(lambda: another_image("a/3.png"), lambda: another_task("line")) == "done"
    assert ImageStatus.objects.filter(project=world.project).count() == 3 * 3


def test_no_task_named_is_the_first_and_one_not_there_is_named():
    world = a_world(tasks=("segmentation", "detection"))
    assert projects.task_of(world.reload(), None).task_type == "segmentation"
    assert projects.task_of(world.reload(), "detection").task_type == "detection"
    with pytest.raises(AnnotationError, match="it has segmentation, detection") as refused:
        projects.task_of(world.reload(), "line")
    assert "task_type" in refused.value.errors


def test_statistics_count_images_by_progress_for_each_task():
    world = a_world(tasks=("detection", "segmentation"), count=4)
    confirmed(world, world.images[0])
    a_box(world, world.images[1])
    detection, segmentation = projects.stats(world.reload())["task_stats"]
    assert detection == {
        "task_type": "detection", "total_images": 4, "not_started": 2, "in_progress": 1, "completed": 1, "confirmed": 1,
    }  # fmt: skip
    assert segmentation["not_started"] == segmentation["total_images"] == 4


def test_statistics_of_a_project_without_images_are_zeros():
    world = a_world(count=0)
    assert projects.stats(world.reload())["task_stats"] == [
        {"task_type": "detection", "total_images": 0, "not_started": 0, "in_progress": 0, "completed": 0,
         "confirmed": 0},
    ]  # fmt: skip


# Images -------------------------------------------------------------------------------------------


def test_images_registered_again_are_not_new_and_only_an_unknown_size_is_learned():
    world = a_world(count=1)
    found = [FoundImage("a/1.png", 9, 9, 3, 10, "", None), FoundImage("b.png", None, None, 3, 10, "", None)]
    assert images.register_images(world.project, found) == 1
    assert images.register_images(world.project, [FoundImage("b.png", 40, 30, 1, 10, "e", None)]) == 0
    sizes = {image.path: (image.width, image.height) for image in Image.objects.all()}
    assert sizes == {"a/1.png": (200, 100), "b.png": (40, 30)}
    assert images.known_paths(world.project, ["a/1.png", "b.png", "c.png"]) == {"a/1.png", "b.png"}


def test_images_are_listed_code_point_by_code_point():
    world = a_world(count=0)
    paths = ["b.png", "a.png", "B.png", "a/1.png", "é.png", "a 1.png", "10.png", "9.png"]
    images.register_images(world.project, [FoundImage(path, 1, 1, 3, 1, "", None) for path in paths])
    rows = images.images_of(world.project, status=None, task_type="detection")
    assert [row.path for row in rows] == sorted(paths)
    statuses = images.statuses_of(world.project, task_type="detection")
    assert [row.image.path for row in statuses] == sorted(paths)


def test_an_image_of_another_project_is_not_found():
    world, other = a_world(), a_world(dataset="ds_other")
    images.register_images(other.project, [FoundImage("only-there.png", 1, 1, 3, 1, "", None)])
    with pytest.raises(NotFound):
        image_for(world.project, "only-there.png")
    assert image_for(world.project, "a/1.png").pk != image_for(other.project, "a/1.png").pk


# Classes ------------------------------------------------------------------------------------------


def test_a_class_keeps_its_index_whatever_happens_to_the_others():
    world = a_world()
    projects.create_class(world.task, name="Cow", by="adm")
    projects.remove_class(a_class("Dog"), by="adm")
    projects.create_class(world.task, name="Hen", by="adm")
    projects.reorder_classes(world.task, [a_class(name).class_id for name in ("Hen", "Cat", "Cow")], by="adm")
    assert indexes() == {"Cat": 0, "Dog": 1, "Cow": 2, "Hen": 3}
    assert names(world) == ["Hen", "Cat", "Cow"]


def test_a_class_brought_back_is_the_one_it_was():
    world = a_world()
    dog = a_class("Dog")
    projects.remove_class(dog, by="adm")
    assert names(world) == ["Cat"]
    again = projects.create_class(world.task, name="Dog", color="#123456", by="adm")
    assert (again.pk, again.index, again.class_id, again.color) == (dog.pk, 1, "dog", "#123456")
    assert names(world) == ["Cat", "Dog"]


def test_a_retired_class_does_not_come_back_under_another_id():
    world = a_world()
    projects.remove_class(a_class("Dog"), by="adm")
    with pytest.raises(Duplicate, match="leave class_id out") as refused:
        projects.create_class(world.task, name="Dog", class_id="hound", by="adm")
    assert "name" in refused.value.errors
    with pytest.raises(Duplicate) as refused:
        projects.create_class(world.task, name="Hound", class_id="dog", by="adm")
    assert "class_id" in refused.value.errors


def test_a_rename_shows_at_once_and_touches_no_annotation():
    world = a_world()
    box = a_box(world, world.images[0])
    before = Annotation.objects.get(pk=box.pk)
    projects.change_class(a_class("Cat"), by="adm", name="Kitten", color="#00ff00")
    now = Annotation.objects.get(pk=box.pk)
    assert (now.version, now.updated_at, now.label_class.name) == (before.version, before.updated_at, "Kitten")


@pytest.mark.parametrize("taken", ["Dog", "Cow"])
def test_a_name_in_use_is_not_given_again_not_even_one_of_a_retired_class(taken):
    world = a_world()
    projects.remove_class(projects.create_class(world.task, name="Cow", by="adm"), by="adm")
    with pytest.raises(Duplicate) as refused:
        projects.change_class(a_class("Cat"), by="adm", name=taken)
    assert "name" in refused.value.errors
    assert projects.change_class(a_class("Cat"), by="adm", name="Cat").name == "Cat"


def test_the_same_name_and_id_may_stand_in_two_tasks():
    world = a_world(tasks=("detection", "segmentation"))
    assert LabelClass.objects.filter(name="Cat", class_id="cat").count() == 2
    with pytest.raises(NotFound):
        projects.class_for(world.task, "none")


def test_a_class_in_use_stays_and_says_how_many_use_it():
    world = a_world()
    boxes = [a_box(world, image) for image in world.images]
    with pytest.raises(ClassInUse, match="3 annotations") as refused:
        projects.remove_class(a_class("Cat"), by="adm")
    assert refused.value.facts == {"count": 3}
    editing.delete_batch([box.pk for box in boxes], by="ann")
    projects.remove_class(a_class("Cat"), by="adm")
    assert names(world) == ["Dog"]


def test_a_retired_class_is_given_to_no_annotation():
    world = a_world()
    projects.remove_class(a_class("Dog"), by="adm")
    for field, value in (("class_id", "dog"), ("class_name", "Dog")):
        with pytest.raises(AnnotationError, match="names no class") as refused:
            a_box(world, world.images[0], **{"class_name": None, field: value})
        assert list(refused.value.errors) == [field]


def test_a_class_being_retired_is_given_to_no_annotation_either():
    world = a_world()
    cat = a_class("Cat")
    outcome = while_undecided(lambda: projects.remove_class(cat, by="adm"), lambda: a_box(world, world.images[0]))
    assert outcome == "invalid" and not Annotation.objects.exists()


def test_a_class_just_given_to_an_annotation_is_not_retired():
    world = a_world()
    cat = a_class("Cat")
    outcome = while_undecided(lambda: a_box(world, world.images[0]), lambda: projects.remove_class(cat, by="adm"))
    assert outcome == "class_in_use" and a_class("Cat").retired_at is None


def test_of_two_giving_one_name_at_once_the_second_is_told():
    world = a_world()
    cat, dog = a_class("Cat"), a_class("Dog")
    outcome = while_undecided(
        lambda: projects.change_class(cat, by="adm", name="Cow"),
        lambda: projects.change_class(dog, by="olga", name="Cow"),
    )
    assert outcome == "duplicate" and names(world) == ["Cow", "Dog"]


def test_classes_made_at_once_get_indexes_without_gap_or_double():
    world = a_world()
    with ThreadPoolExecutor(4) as people:
        made = list(
            people.map(lambda n: told(lambda: projects.create_class(world.task, name=f"C{n}", by="adm")), range(8))
        )
    assert made == ["done"] * 8 and sorted(indexes().values()) == list(range(10))


def test_classes_a_project_comes_with_keep_their_order_and_ids():
    world = a_world(classes=())
    given = {"k-b": {"name": "B", "order": 1}, "k-a": {"name": "A", "order": 2, "color": ""},
             "k-c": {"name": "C", "color": "#0A0B0C", "order": 0}}  # fmt: skip
    projects.define_classes(world.task, given, by="olga")
    found = [(entry.class_id, entry.index, entry.color) for entry in projects.classes_of(world.project.pk, "detection")]
    assert found == [("k-c", 0, "#0A0B0C"), ("k-b", 1, "#808080"), ("k-a", 2, "#808080")]


@pytest.mark.parametrize(
    "values", [{}, {"name": ""}, {"name": " "}, {"name": "__background__"}, {"name": "A", "color": "red"}]
)
def test_a_class_a_project_cannot_come_with_is_refused(values):
    world = a_world(classes=())
    with pytest.raises(AnnotationError) as refused:
        projects.define_classes(world.task, {"k": values}, by="olga")
    assert refused.value.errors and not LabelClass.objects.exists()


def test_every_change_of_a_class_owes_a_new_record():
    world = a_world()
    revisions = [world.reload().record_revision]
    for change in (
        lambda: projects.create_class(world.task, name="Cow", by="adm"),
        lambda: projects.change_class(a_class("Cow"), by="adm", description="moos"),
        lambda: projects.remove_class(a_class("Cow"), by="adm"),
    ):
        change()
        revisions.append(world.reload().record_revision)
    assert revisions == sorted(set(revisions))


# Members ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [role for role in Role if role != Role.OWNER])
def test_a_member_gets_the_role_and_loses_it(role):
    world = a_world()
    projects.set_member(world.project, "new", role, by="adm", by_role=Role.ADMIN)
    assert project_for(a_user("new"), world.project.pk).my_role == role
    projects.remove_member(world.project, "new", by="adm", by_role=Role.ADMIN)
    with pytest.raises(NotFound):
        project_for(a_user("new"), world.project.pk)


def test_a_role_below_what_is_asked_for_is_forbidden_and_not_hidden():
    world = a_world()
    assert project_for(a_user("rev"), world.project.pk, Role.REVIEWER)
    with pytest.raises(Forbidden, match="admin in the project; you are reviewer"):
        project_for(a_user("rev"), world.project.pk, Role.ADMIN)


def test_who_added_a_member_stays_when_the_role_changes():
    world = a_world()
    projects.set_member(world.project, "new", Role.VIEWER, by="olga", by_role=Role.OWNER)
    member = projects.set_member(world.project, "new", Role.REVIEWER, by="adm", by_role=Role.ADMIN)
    assert (member.role, member.added_by) == ("reviewer", "olga")
    assert Member.objects.filter(user_id="new").count() == 1


@pytest.mark.parametrize(("user_id", "role"), [("olga", Role.VIEWER), ("adm", Role.VIEWER), ("vic", Role.ADMIN)])
def test_nobody_changes_or_gives_a_role_above_their_own(user_id, role):
    world = a_world()
    with pytest.raises(Forbidden):
        projects.set_member(world.project, user_id, role, by="rev", by_role=Role.REVIEWER)
    assert Member.objects.get(user_id=user_id).role == PEOPLE[user_id]


def test_nobody_becomes_owner_by_a_role_not_even_by_the_owner():
    world = a_world()
    with pytest.raises(Forbidden, match="handing the project over"):
        projects.set_member(world.project, "adm", Role.OWNER, by="olga", by_role=Role.OWNER)
    assert owners(world) == ["olga"]


@pytest.mark.parametrize(("user_id", "error"), [("olga", Forbidden), ("adm", Forbidden), ("nobody", NotFound)])
def test_the_owner_and_those_above_are_not_removed(user_id, error):
    world = a_world()
    with pytest.raises(error):
        projects.remove_member(world.project, user_id, by="rev", by_role=Role.REVIEWER)
    assert Member.objects.count() == len(PEOPLE)


def test_handing_over_makes_the_heir_owner_and_the_old_owner_admin():
    world = a_world()
    projects.hand_over(world.project, "ann", by="olga")
    assert owners(world) == ["ann"] and world.reload().owner_id == "ann"
    assert Member.objects.get(user_id="olga").role == "admin"
    projects.remove_member(world.project, "olga", by="ann", by_role=Role.OWNER)
    assert world.reload().owner_id == "ann"


def test_only_a_member_inherits_and_only_the_owner_hands_over():
    world = a_world()
    with pytest.raises(NotFound):
        projects.hand_over(world.project, "stranger", by="olga")
    with pytest.raises(Forbidden):
        projects.hand_over(world.project, "ann", by="adm")
    projects.hand_over(world.project, "olga", by="olga")
    assert owners(world) == ["olga"] and Member.objects.get(user_id="adm").role == "admin"


def test_of_several_hand_overs_at_once_one_counts():
    world = a_world()
    gate, heirs = threading.Barrier(4), ["vic", "ann", "rev", "adm"]

    def inherit(name: str) -> str:
        gate.wait()
        return told(lambda: projects.hand_over(Project.objects.get(pk=world.project.pk), name, by="olga"))

    with ThreadPoolExecutor(4) as people:
        assert sorted(people.map(inherit, heirs)) == ["done", "forbidden", "forbidden", "forbidden"]
    assert owners(world) == [world.reload().owner_id]


@pytest.mark.parametrize(
    "crossing",
    [
        lambda world: projects.set_member(world.project, "adm", Role.VIEWER, by="adm", by_role=Role.ADMIN),
        lambda world: projects.remove_member(world.project, "adm", by="adm", by_role=Role.ADMIN),
    ],
    ids=["demoted", "removed"],
)
def test_an_heir_is_not_demoted_or_removed_while_inheriting(crossing):
    world = a_world()
    outcome = while_undecided(lambda: projects.hand_over(world.project, "adm", by="olga"), lambda: crossing(world))
    assert outcome == "forbidden" and owners(world) == ["adm"]


def test_every_change_of_members_owes_a_new_record():
    world = a_world()
    before = world.reload().record_revision
    projects.set_member(world.project, "new", Role.VIEWER, by="adm", by_role=Role.ADMIN)
    added = world.reload().record_revision
    projects.remove_member(world.project, "new", by="adm", by_role=Role.ADMIN)
    assert before < added < world.reload().record_revision


def test_a_member_whose_id_holds_odd_characters_is_reached_over_http():
    world = a_world()
    olga, url = a_client("olga"), f"/api/v1/projects/{world.project.pk}/members"
    for name, spelled in (("team/a", "team%2Fa"), ("a b@x", "a%20b@x"), ("é", "%C3%A9")):
        assert olga.post(url, {"user_id": name, "role": "viewer"}, format="json").status_code == 201
        assert olga.patch(f"{url}/{spelled}", {"role": "annotator"}, format="json").json()["user_id"] == name
        assert olga.delete(f"{url}/{spelled}/").status_code == 204


def test_deeds_in_one_project_are_no_deeds_in_another():
    world, other = a_world(), a_world(dataset="ds_other")
    confirmed(world, world.images[0])
    projects.remove_member(other.project, "ann", by="olga", by_role=Role.OWNER)
    assert project_for(a_user("ann"), world.project.pk, Role.ANNOTATOR)
    assert not ImageStatus.objects.filter(project=other.project).exclude(status="not-started").exists()
    with pytest.raises(NotFound):
        confirming.confirm_annotation(Annotation.objects.latest("pk").pk + 1, by="ann")


@pytest.mark.parametrize(
    ("held", "method", "path", "body"),
    [
        ("project_tasks", "post", "classes", {"name": "Yak", "color": "#00FF00"}),
        ("project_tasks", "patch", "classes/cat", {"name": "Yak"}),
        ("project_tasks", "delete", "classes/dog", {}),
        ("projects", "post", "images/split", {"image_ids": ["a/1.png"], "split": "val"}),
    ],
)
def test_nobody_waits_long_for_an_import_with_a_thread_of_the_web_server(
    other_session, monkeypatch, held, method, path, body
):
    world = a_world()
    monkeypatch.setattr("annotations.progress.PATIENCE", "300ms")
    before = names(world)
    with other_session.transaction():
        column = "id" if held == "projects" else "project_id"
        other_session.execute(f"SELECT FROM {held} WHERE {column} = %s FOR NO KEY UPDATE", [world.project.pk])
        asked = getattr(a_client("adm"), method)(f"/api/v1/projects/{world.project.pk}/{path}", body, format="json")
    assert asked.status_code == 503 and asked["Retry-After"] == "1" and "Long work" in asked.json()["detail"]
    assert names(world) == before and not Image.objects.filter(split="val").exists()
    again = getattr(a_client("adm"), method)(f"/api/v1/projects/{world.project.pk}/{path}", body, format="json")
    assert again.status_code < 300
