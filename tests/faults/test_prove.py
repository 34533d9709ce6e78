"""The script that takes guards away (``make prove``) finds each of them, and the tests that must notice."""

from __future__ import annotations

import re

import pytest

from tests.faults.prove import GUARDS, Guard
from tests.system import ROOT


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_every_guard_stands_once_where_the_script_takes_it_away(guard: Guard):
    assert (ROOT / guard.file).read_text().count(guard.old) == 1


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_every_test_that_must_notice_is_there(guard: Guard):
    for each in guard.tests:
        path, _, name = each.partition("::")
        wanted = re.escape(name.partition("[")[0])
        assert re.search(rf"^def {wanted}\(", (ROOT / path).read_text(), re.MULTILINE), each
