"""Who published, restored, deleted, let in and shut out is written down on every path, and stays so."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction

from annotations import editing, projects
from annotations.models import Annotation, AuditEntry, LabelClass, Member
from annotations.states import Role
from annotations.tokens import issue_token, revoke_token
from tests.world import a_client, a_user, a_world, confirmed, published, saved
from versions import restoring

pytestmark = pytest.mark.django_db(transaction=True)


def entries(action: str) -> list[tuple]:
    """``(actor, subject, detail)`` of all deeds of a kind, oldest first."""
    return list(AuditEntry.objects.filter(action=action).order_by("pk").values_list("actor", "subject", "detail"))


def test_members_are_told_with_the_role_they_had():
    world = a_world()
    projects.set_member(world.project, "zoe", Role.VIEWER, by="olga", by_role=Role.OWNER)
    projects.set_member(world.project, "zoe", Role.REVIEWER, by="olga", by_role=Role.OWNER)
    projects.remove_member(world.project, "zoe", by="adm", by_role=Role.ADMIN)
    assert entries("member.added")[-1] == ("olga", "zoe", {"role": "viewer"})
    assert entries("member.changed")[-1] == ("olga", "zoe", {"role": "reviewer", "role_before": "viewer"})
    assert entries("member.removed") == [("adm", "zoe", {"role": "reviewer"})]


def test_a_change_at_psql_names_the_role_of_the_database():
    world = a_world()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM project_members WHERE project_id = %s AND user_id = 'vic'", [world.project.pk])
    actor, subject, _ = entries("member.removed")[0]
    assert actor.startswith("db:") and subject == "vic" and not Member.objects.filter(user_id="vic").exists()


def test_publish_delete_and_restore_are_told_once_each():
    world = a_world()
    confirmed(world, world.images[0])
    published(world)
    saved(world)
    first = Annotation.objects.order_by("pk").first()
    editing.delete_annotation(first.pk, by="ann")
    restoring.restore(world.task, source="working", by="adm")
    assert [each[:2] for each in entries("version.published")] == [("adm", "v1.0")]
    (deletion,) = entries("annotations.deleted")
    assert deletion[0] == "ann" and (deletion[2]["count"], deletion[2]["images"]) == (1, 1)
    (restore,) = entries("annotations.restored")
    assert (restore[0], restore[1], restore[2]["added"]) == ("adm", "detection", 1)


def test_projects_classes_and_tokens_are_told():
    world = a_world()
    Annotation.objects.all().delete()
    projects.remove_class(LabelClass.objects.get(project=world.project, class_id="cat"), by="adm")
    projects.delete_project(world.project, by="olga")
    _, token = issue_token(a_user("ann"), name="laptop")
    revoke_token(token, by="olga")
    revoke_token(token, by="olga")
    assert entries("class.deleted")[0][:2] == ("adm", "cat")
    assert entries("project.deleted")[0][0] == "olga"
    assert [each[:2] for each in entries("token.issued")] == [("ann", "ann")]
    assert [each[:2] for each in entries("token.revoked")] == [("olga", "ann")]
    assert token.digest not in str(entries("token.issued"))


@pytest.mark.parametrize("statement", ["UPDATE audit_entries SET actor = 'nobody'", "DELETE FROM audit_entries"])
def test_nobody_changes_what_was_written_down(statement):
    a_world()
    with pytest.raises(IntegrityError, match="only appended"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_admins_read_it_newest_first_and_others_do_not():
    world = a_world()
    confirmed(world, world.images[0])
    published(world)
    answer = a_client("adm").get(f"/api/v1/projects/{world.project.pk}/audit?limit=1")
    assert answer.status_code == 200 and int(answer["X-Total-Count"]) > 1
    assert [(row["action"], row["subject"]) for row in answer.json()] == [("version.published", "v1.0")]
    assert a_client("ann").get(f"/api/v1/projects/{world.project.pk}/audit").status_code == 403
    assert a_client("stranger").get(f"/api/v1/projects/{world.project.pk}/audit").status_code == 404
