"""``make prove``: do the tests turn red when a guard is taken away? One guard at a time, on a copy of the last commit.

Prints a table; exit code 1 when a guard can be taken away unnoticed. The tree itself is never touched.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.system import ROOT


@dataclass(frozen=True)
class Guard:
    """What is taken away (``old`` becomes ``new`` in ``file``), and the tests that must notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


PUBLISHING = "tests/versions/test_publishing.py::"
GUARDS = (
    Guard(
        "`If-Match` on the official file",
        "labeler/storage.py",
        'return {"IfMatch": if_match}',
        "return {}",
        (
            "tests/exports/test_platform.py::test_a_request_that_was_held_up_cannot_undo_a_newer_version",
            "tests/exports/test_stores.py::test_what_replaces_an_object_too_late_replaces_nothing_newer",
            "tests/faults/test_table.py::test_a_late_official_file_does_not_undo_a_newer_one",
        ),
    ),
    Guard(
        "the sweep",
        "versions/tasks.py",
        "            nudge(task, subject)\n",
        "            pass\n",
        (
            "tests/versions/test_tasks.py::test_the_sweep_finds_everything_that_is_owed_without_any_message",
            "tests/faults/test_table.py::test_a_flushed_broker_costs_no_publish_and_no_save",
        ),
    ),
    Guard(
        "a worker that waits for no save",
        "versions/autosave.py",
        '    with alone("save", task.pk) as mine:\n',
        '    with alone("save", task.pk, wait=True) as mine:\n',
        ("tests/versions/test_tasks.py::test_no_worker_waits_for_a_save_that_another_one_makes",),
    ),
    Guard(
        "the look of whoever held a task",
        "versions/autosave.py",
        "        afterwards(task.project_id)\n",
        "        pass\n",
        (
            "tests/versions/test_tasks.py::test_what_became_due_while_a_save_was_made_is_asked_for_when_the_task_is_free",
            "tests/versions/test_tasks.py::test_who_found_nothing_to_save_looks_again_as_well",
        ),
    ),
    Guard(
        "a job that waits for no save",
        "versions/work.py",
        "            raise jobs.Busy\n",
        "            pass\n",
        ("tests/versions/test_tasks.py::test_a_save_somebody_asked_for_waits_its_turn_and_not_in_a_worker",),
    ),
    Guard(
        "the look of a job that held a task",
        "versions/tasks.py",
        "        _look_again(job.project_id)\n",
        "        pass\n",
        ("tests/versions/test_tasks.py::test_after_a_restore_its_save_is_asked_for_at_once",),
    ),
    Guard(
        "a queue of their own for saves",
        "labeler/settings.py",
        'CELERY_TASK_ROUTES = {"versions.tasks.save_if_due": {"queue": "saves"}}\n',
        "CELERY_TASK_ROUTES = {}\n",
        (
            "tests/versions/test_tasks.py::test_saves_have_a_queue_of_their_own_from_which_every_worker_takes",
            "tests/faults/test_table.py::test_a_publish_waits_for_no_pile_of_saves",
        ),
    ),
    Guard(
        "the freeze lock",
        "versions/publishing.py",
        '        alone("publish", task.pk, wait=True, seconds=PATIENCE),\n',
        "",
        (
            f"{PUBLISHING}test_publishes_at_once_give_as_many_numbers",
            "tests/faults/test_table.py::test_twenty_publishes_at_once_are_as_many_numbers",
        ),
    ),
    Guard(
        "the history trigger (updates)",
        "annotations/migrations/0002_rules.py",
        "CREATE TRIGGER annotations_updated AFTER UPDATE ON annotations REFERENCING OLD TABLE AS old_rows"
        " NEW TABLE AS new_rows\n    FOR EACH STATEMENT EXECUTE FUNCTION record_annotation_updates();",
        "",
        (
            "tests/annotations/test_history.py::test_each_deed_of_a_person_is_told_by_its_name",
            "tests/versions/test_invariants.py::test_nothing_is_said_of_a_project_that_is_whole[folder]",
            "tests/versions/test_invariants.py::test_a_trigger_or_constraint_that_is_gone_or_off_is_named",
        ),
    ),
    Guard(
        "the trigger that keeps frozen annotations",
        "versions/migrations/0002_frozen_is_final.py",
        "CREATE TRIGGER frozen_stays BEFORE UPDATE OR DELETE ON frozen_annotations",
        "CREATE TRIGGER frozen_stays BEFORE TRUNCATE ON frozen_annotations",
        (
            f"{PUBLISHING}test_postgresql_itself_refuses_to_change_what_is_published",
            f"{PUBLISHING}test_saying_that_one_freezes_opens_no_way_to_what_is_published",
        ),
    ),
    Guard(
        "the look at whose rows a version freezes (frozen annotations)",
        "versions/migrations/0002_frozen_is_final.py",
        "WHEN ((NEW.version_id || '/' || NEW.task_id || '/' || NEW.opened) {FREEZING})\n    EXECUTE",
        "WHEN (false)\n    EXECUTE",
        (
            f"{PUBLISHING}test_a_version_tells_in_its_own_name_and_place_and_that_of_its_task",
            f"{PUBLISHING}test_saying_that_one_freezes_opens_no_way_to_what_is_published",
        ),
    ),
    Guard(
        "the place at which a version freezes (frozen annotations)",
        "versions/migrations/0002_frozen_is_final.py",
        "WHEN ((NEW.version_id || '/' || NEW.task_id || '/' || NEW.opened)",
        "WHEN ((NEW.version_id || '/' || NEW.task_id || '/' || split_part(labeler_setting('freezing'), '/', 3))",
        (f"{PUBLISHING}test_a_version_tells_in_its_own_name_and_place_and_that_of_its_task",),
    ),
    Guard(
        "the triggers of frozen images",
        "versions/migrations/0002_frozen_is_final.py",
        "migrations.RunSQL(IMAGES, migrations.RunSQL.noop),",
        "",
        (
            f"{PUBLISHING}test_postgresql_itself_refuses_to_change_what_is_published",
            "tests/versions/test_invariants.py::test_a_trigger_or_constraint_that_is_gone_or_off_is_named",
        ),
    ),
    Guard(
        "a renderer of other code renders nothing",
        "exports/renderers.py",
        "if code != CODE:",
        "if not code:",
        ("tests/exports/test_renderers.py::test_nobody_renders_with_other_code",),
    ),
    Guard(
        "the latest save shares no bytes with the retained one",
        "versions/artifacts.py",
        "given=built.twin)",
        "given=built.path)",
        (
            "tests/versions/test_autosave.py::"
            "test_damage_to_the_latest_file_in_its_place_leaves_the_retained_copy_as_it_was",
        ),
    ),
    Guard(
        "an image is copied only in the state it is in",
        "exports/pieces.py",
        "        if found != state:",
        "        if found == NEVER:",
        (
            "tests/exports/test_pieces.py::test_whatever_changes_from_file_to_file_each_is_as_if_rendered",
            "tests/versions/test_ready.py::test_the_second_publish_renders_what_changed_and_copies_the_rest",
        ),
    ),
    Guard(
        "nothing is copied from a file that was damaged",
        "versions/ready.py",
        "        return all(found.result() == sha256 for _, sha256, found in self.checks)",
        "        return True",
        ("tests/versions/test_ready.py::test_nothing_is_copied_from_a_file_that_is_not_what_was_recorded",),
    ),
    Guard(
        "a list of pieces that no version noted is nobody's",
        "versions/ready.py",
        'if each["sha256"] == sha256), None)',
        "), None)",
        (
            "tests/versions/test_ready.py::test_a_list_of_another_database_is_none_of_ours",
            "tests/versions/test_ready.py::test_a_list_that_is_not_what_was_recorded_is_not_read",
        ),
    ),
    Guard(
        "the gate passes over no image that has something to find",
        "versions/gate.py",
        "OR g.max_y >= i.height",
        "",
        ("tests/versions/test_gate.py::test_an_image_that_a_look_passes_over_has_nothing_to_find",),
    ),
)


def main() -> int:
    """With every guard first, then without each (or each whose name holds the first argument); the exit code."""
    chosen = [guard for guard in GUARDS if len(sys.argv) < 2 or sys.argv[1] in guard.name]
    if not chosen:
        print(f"No guard is called {sys.argv[1]}; there are: {', '.join(guard.name for guard in GUARDS)}.")
        return 1
    with _copy() as tree:
        print("| taken away | tests that notice | of | verdict |\n|---|---|---|---|", flush=True)
        every = tuple(dict.fromkeys(test for guard in chosen for test in guard.tests))
        failed, said = _run(tree, every)
        if failed or not said:
            print(f"| nothing | {', '.join(failed)} | {len(every)} | these fail with every guard in place: no proof |")
            return 1
        print(f"| nothing | 0 | {len(every)} | green |", flush=True)
        noticed = [_without(tree, guard) for guard in chosen]
        return int(not all(noticed))


@contextmanager
def _copy() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="labeler-prove-") as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), "HEAD"], cwd=ROOT, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)


def _without(tree: Path, guard: Guard) -> bool:
    """Take it away, run the tests that must notice, put it back; True if all of them did."""
    path = tree / guard.file
    whole = path.read_text()
    if whole.count(guard.old) != 1:
        print(f"| {guard.name} | - | {len(guard.tests)} | {guard.file} does not hold it any more: mend this script |")
        return False
    path.write_text(whole.replace(guard.old, guard.new))
    try:
        failed, _ = _run(tree, guard.tests)
    finally:
        path.write_text(whole)
    noticed = len(failed) == len(guard.tests)
    missed = "" if noticed else f": {', '.join(sorted(set(guard.tests) - failed))} did not notice"
    print(
        f"| {guard.name} | {len(failed)} | {len(guard.tests)} | {'red' if noticed else 'NOT PROVED'}{missed} |",
        flush=True,
    )
    return noticed


def _run(tree: Path, tests: tuple[str, ...]) -> tuple[set[str], bool]:
    """Names of the tests that failed, and whether they ran at all."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-q", "--no-header", "-rA", "--tb=no", "-m", "", *tests],
        cwd=tree, capture_output=True, text=True,
    )  # fmt: skip
    failed = set(re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M))
    passed = re.findall(r"^PASSED (\S+)", done.stdout, re.M)
    if not failed and not passed:
        print(done.stdout[-2000:] + done.stderr[-2000:], file=sys.stderr)
    # Of a test with several cases one that fails is enough.
    noticed = {name for name in tests if any(each == name or each.startswith(f"{name}[") for each in failed)}
    return noticed, bool(failed or passed)


if __name__ == "__main__":
    sys.exit(main())
