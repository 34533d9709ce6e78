"""What PostgreSQL is asked for a publish, a working save and an export: few statements, however many images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from tests.world import World, a_world, confirmed, published, saved
from versions import exporting, snapshots

pytestmark = pytest.mark.django_db(transaction=True)

MOST = 20


def asked(act: Callable[[], Any]) -> list[str]:
    """Every statement the server got meanwhile, by its own word: COPY, settings, BEGIN and COMMIT too."""
    said: list[str] = []

    def hear(notice: Any) -> None:
        if notice.message_primary.startswith(("statement: ", "execute ")):
            said.append(notice.message_primary.partition(": ")[2])

    connection.ensure_connection()
    connection.connection.add_notice_handler(hear)
    with connection.cursor() as cursor:
        cursor.execute("SET client_min_messages = log; SET log_statement = 'all'")
    try:
        act()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET log_statement; RESET client_min_messages")
        connection.connection.remove_notice_handler(hear)
    return [each for each in said if "log_statement" not in each]


def exported(world: World, folder: Any) -> None:
    exporting.write(
        world.task, folder, formats=["dice", "coco", "yolo"], states=snapshots.SETTLED, image_paths=None, version=None
    )


def test_a_publish_a_save_and_an_export_ask_few_questions_however_many_images(tmp_path):
    world = a_world(count=12)

    def counts(images: list[Any]) -> dict[str, int]:
        for image in images:
            confirmed(world, image, boxes=3)
        jobs = {
            "publish": lambda: published(world),
            "save": lambda: saved(world),
            "export": lambda: exported(world, tmp_path),
        }
        return {name: len(asked(act)) for name, act in jobs.items()}

    first, few, many = counts(world.images[:1]), counts(world.images[1:2]), counts(world.images[2:])
    assert few == many
    assert few == first | {name: first[name] + 1 for name in ("publish", "save")}, "what changed is asked for"
    assert max(many.values()) <= MOST and min(many.values()) > 0, many
