"""One running system for each file of this folder."""

from __future__ import annotations

import pytest

from tests.faults.stage import Stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """Everything runs, each server behind a proxy."""
    made = Stage(tmp_path_factory.mktemp("stage"), LABELER_SAVE_IMAGES="3")
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def job(stage):
    """A fresh project on it; whatever a test armed is gone afterwards."""
    made = stage.project()
    yield made
    stage.calm()
