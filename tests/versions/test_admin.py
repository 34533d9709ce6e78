"""The admin of the versions room: versions are looked at, asked for again, restored; nothing is typed."""

from __future__ import annotations

import pytest

from annotations import projects
from annotations.models import Annotation, AnnotationHistory
from tests.staff import act, address, queries_of, the_boss, told
from tests.world import a_box, a_world, confirmed, published, saved
from versions import jobs, publishing, work
from versions.models import Artifact, FrozenAnnotations, Job, SaveState, Version, VersionImage

pytestmark = pytest.mark.django_db(transaction=True)
EVERYTHING = [Version, Artifact, FrozenAnnotations, VersionImage, SaveState, Job]


@pytest.fixture
def world():
    made = a_world()
    confirmed(made, made.images[0])
    published(made)
    a_box(made, made.images[1])
    saved(made)
    jobs.start("rescan", by="adm", project=made.project)
    return made


@pytest.fixture
def boss():
    return the_boss()


@pytest.fixture
def first(world) -> Version:
    return Version.objects.published().get()


# Looking ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", EVERYTHING, ids=lambda model: model.__name__)
def test_nothing_is_added_typed_or_deleted(world, boss, model):
    row = model.objects.first()
    before = model.objects.filter(pk=row.pk).values().get()
    assert boss.get(address(model, "add")).status_code == 403
    assert boss.post(address(model, "change", row), {"status": "failed"}).status_code == 403
    assert boss.post(address(model, "delete", row), {"post": "yes"}).status_code == 403
    assert model.objects.filter(pk=row.pk).values().get() == before


@pytest.mark.parametrize("model", EVERYTHING, ids=lambda model: model.__name__)
def test_a_list_reads_no_whole_table_for_its_filters_or_its_counts(world, boss, model):
    asked = [sql for sql in queries_of(boss, address(model)) if f'FROM "{model._meta.db_table}"' in sql]
    assert not [sql for sql in asked if "DISTINCT" in sql]
    counts = [sql for sql in asked if "count(" in sql.lower()]
    assert counts and all("LIMIT" in sql for sql in counts)


@pytest.mark.parametrize("model", EVERYTHING, ids=lambda model: model.__name__)
def test_a_page_asks_no_more_for_a_larger_version(world, boss, model):
    row = model.objects.order_by("pk").first()
    queries_of(boss, address(model, "change", row))
    few = len(queries_of(boss, address(model, "change", row)))
    for image in world.images:
        confirmed(world, image, boxes=3)
    published(world)
    saved(world)
    larger = model.objects.order_by("pk").last()
    assert len(queries_of(boss, address(model, "change", larger))) <= few


def test_what_went_wrong_is_read_in_the_list(world, first, boss):
    publishing.change(published(world, finish=False), status="failed", last_error="the bucket said no")
    publishing.change(first, platform_status="failed", platform_error="the platform said no")
    page = boss.get(address(Version)).content.decode()
    assert "the bucket said no" in page and "the platform said no" in page


def test_a_version_leads_to_the_frozen_rows_that_are_read_for_it(world, first, boss):
    old = Annotation.objects.get(image=world.images[0])
    for image in world.images[1:]:
        confirmed(world, image)
    Annotation.objects.filter(pk=old.pk).delete()
    second = published(world)
    page = boss.get(address(Version, "change", second)).content.decode()
    assert f"{address(FrozenAnnotations)}?in_version={second.pk}" in page
    assert f"{address(VersionImage)}?in_version={second.pk}" in page
    assert frozen_in(boss, first) == {old.pk}
    assert frozen_in(boss, second) == set(Annotation.objects.values_list("pk", flat=True))
    assert len(boss.get(address(VersionImage), {"in_version": second.pk}).context["cl"].queryset) == second.image_count


def frozen_in(client, version) -> set[int]:
    shown = client.get(address(FrozenAnnotations), {"in_version": version.pk}).context["cl"].queryset
    return {key for row in shown for key in row.annotation_ids}


@pytest.mark.parametrize("wrong", ["0", "x", "9" * 40])
def test_an_unknown_version_has_no_frozen_rows(world, boss, wrong):
    answer = boss.get(address(FrozenAnnotations), {"in_version": wrong})
    assert answer.status_code == 200 and not answer.context["cl"].queryset


def test_a_frozen_annotation_is_found_by_its_number(world, boss):
    frozen = FrozenAnnotations.objects.get()
    (key,) = frozen.annotation_ids
    shown = boss.get(address(FrozenAnnotations), {"q": str(key)}).context["cl"].queryset
    assert list(shown) == [frozen]
    assert not boss.get(address(FrozenAnnotations), {"q": "99999999"}).context["cl"].queryset
    Annotation.objects.filter(pk=key).delete()
    shown = boss.get(address(FrozenAnnotations), {"q": str(key)}).context["cl"].queryset
    assert list(shown) == [frozen], "a deleted annotation's as well"


def test_frozen_annotations_show_what_is_new_and_what_is_gone(world, first, boss):
    old = Annotation.objects.get(image=world.images[0])
    kept = confirmed(world, world.images[0], boxes=2)
    Annotation.objects.filter(pk=old.pk).delete()
    second = published(world)
    row = FrozenAnnotations.objects.get(version=second)
    shown = boss.get(address(FrozenAnnotations)).content.decode()
    assert '<td class="field-annotations">2</td><td class="field-gone">1</td>' in shown
    page = boss.get(address(FrozenAnnotations, "change", row)).content.decode()
    assert f"<dt>{old.pk}</dt><dd><code>gone</code></dd>" in page
    assert all(f"<dt>{each.pk}</dt><dd><code>{{&quot;id&quot;:{each.pk}," in page for each in kept)


# Acting -----------------------------------------------------------------------------------------


def test_a_working_save_has_no_platform_file_to_sync(world, boss):
    level, said = told(act(boss, "sync_platform", [Version.objects.working().get()]))[0]
    assert level == "error" and "published" in said


def test_a_version_that_is_not_ready_is_not_synced(world, boss):
    level, said = told(act(boss, "sync_platform", [published(world, finish=False)]))[0]
    assert level == "error" and "not complete" in said


def test_a_failed_sync_is_tried_again_and_then_done(first, boss):
    publishing.change(first, platform_status="failed", platform_error="no", platform_attempts=50)
    assert told(act(boss, "retry_publish", [first]))[0][0] == "info"
    first.refresh_from_db()
    assert (first.platform_status, first.platform_error, first.platform_attempts) == ("pending", "", 0)
    assert publishing.advance(first.pk).platform_status == "synced"


def test_a_restore_brings_the_rows_back_and_history_names_who_asked(world, first, boss):
    kept = set(Annotation.objects.filter(image=world.images[0]).values_list("pk", flat=True))
    Annotation.objects.all().delete()
    act(boss, "restore", [first], confirmed="yes")
    assert work.run(Job.objects.get(kind="restore").pk).status == "done"
    assert set(Annotation.objects.values_list("pk", flat=True)) == kept
    assert {row.changed_by for row in AnnotationHistory.objects.filter(action="restore")} == {"boss"}


def test_two_versions_of_one_task_are_not_restored_at_once(world, first, boss):
    both = [first, Version.objects.working().get()]
    for further in ({}, {"confirmed": "yes"}):
        level, said = told(act(boss, "restore", both, **further))[0]
        assert level == "error" and "one version of each task" in said
    assert not Job.objects.filter(kind="restore").exists()


def test_a_working_save_that_retention_removed_is_refused_at_once(world, boss):
    working = Version.objects.working().get()
    Artifact.objects.filter(version=working).update(removed_at=working.created_at)
    level, said = told(act(boss, "restore", [working], confirmed="yes"))[0]
    assert level == "error" and "retention" in said
    assert not Job.objects.filter(kind="restore").exists()


@pytest.mark.parametrize("action", ["retry_publish", "sync_platform", "restore"])
def test_versions_of_a_deleted_project_rest(world, first, boss, action):
    publishing.change(first, platform_status="failed")
    projects.delete_project(world.project, by="olga")
    level, said = told(act(boss, action, [first], confirmed="yes"))[0]
    assert level == "error" and "deleted" in said
    first.refresh_from_db()
    assert first.platform_status == "failed" and not Job.objects.filter(kind="restore").exists()


def test_save_now_makes_a_save_that_is_made(world, boss):
    Annotation.objects.update(notes="changed")
    state = SaveState.objects.get()
    assert told(act(boss, "save_now", [state]))[0][0] == "info"
    state.refresh_from_db()
    assert (state.requested_by, state.requested_trigger) == ("boss", "manual")
    saved_now = saved(world)
    assert saved_now is not None and saved_now.version_number != state.last_version.version_number


def test_save_now_with_nothing_changed_says_so(world, boss):
    state = SaveState.objects.get()
    saved(world)
    SaveState.objects.update(requested_at=None)
    assert "unchanged" in told(act(boss, "save_now", [state]))[0][1]


def test_save_now_of_a_deleted_project_is_refused(world, boss):
    projects.delete_project(world.project, by="olga")
    level, said = told(act(boss, "save_now", SaveState.objects.all()))[0]
    assert level == "error" and "deleted" in said
