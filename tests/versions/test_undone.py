"""Undo brings a project back to what it was: a version published afterwards has the same content hash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from annotations import editing, history, projects, undoing
from annotations.models import Annotation, AnnotationHistory, ClassHistory, LabelClass
from annotations.progress import recount
from annotations.states import Role
from annotations.undoing import Scope
from tests.world import a_world, confirmed, published
from versions import opening

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_mass_delete_a_class_rename_and_a_bad_import_undone_give_the_same_content_hash(tmp_path: Path):
    world = a_world()
    for image in world.images:
        confirmed(world, image, boxes=3)
    first = published(world)

    editing.delete_batch(list(Annotation.objects.values_list("pk", flat=True))[:5], by="ann")
    deleted = AnnotationHistory.objects.latest("pk").batch_id
    projects.change_class(LabelClass.objects.get(class_id="cat"), by="adm", name="Kitten", color="#123456")
    bad = tmp_path / "bad.json"
    box = {"id": 1, "class_name": "Dog", "type": "bbox", "bbox": [1, 1, 5, 5]}
    bad.write_text(json.dumps({"images": [{"id": 1, "file_name": "a/1.png", "annotations": [box]}]}))
    opening.import_file(bad, world.task, by="adm", remove=True)
    imported = AnnotationHistory.objects.latest("pk").batch_id
    assert Annotation.objects.count() == 1
    assert published(world).content_hash != first.content_hash

    scope = Scope(world.project.pk)
    undoing.undo_batch(scope, imported, by="adm", role=Role.ADMIN)
    undoing.undo_batch(scope, deleted, by="adm", role=Role.ADMIN)
    history.undo_class_change(world.task, ClassHistory.objects.latest("pk").pk, by="adm")
    assert published(world).content_hash == first.content_hash
    assert recount(dry_run=True) == []
