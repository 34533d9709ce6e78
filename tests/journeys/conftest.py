"""Systems for whole days."""

from __future__ import annotations

import os

import pytest

from tests.system import RunningSystem

S3 = "ceph" if os.environ.get("TEST_S3_CEPH") else "moto"


@pytest.fixture
def systems(tmp_path):
    """Make systems that are gone after the test: ``systems("folder", LABELER_SAVE_SECONDS="2")``."""
    made: list[RunningSystem] = []

    def make(stores: str = "folder", **settings: str) -> RunningSystem:
        folder = tmp_path / f"system{len(made)}"
        folder.mkdir()
        made.append(RunningSystem(folder, stores, **settings))
        return made[-1]

    yield make
    for system in made:
        system.close()
