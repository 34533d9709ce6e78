"""Every shape, drawn by mouse and keyboard, and found in the database."""

from __future__ import annotations

import pytest

from annotations import projects
from annotations.models import Annotation, LabelClass
from tests.world import a_box
from versions.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def near(*values):
    return pytest.approx(values, abs=0.6)


def test_a_box_from_corner_to_corner(workspace):
    here = workspace()
    ann = here.person().opens()
    ann.draws_a_box(20, 20, 40, 30)
    ann.is_saved()
    (row,) = here.rows
    assert (row.annotation_type, row.label_class.name, row.state, row.created_by) == ("bbox", "Cat", "draft", "ann")
    assert row.geometry["bbox"] == near(20, 20, 40, 30)


def test_a_box_by_two_clicks_of_another_class(workspace):
    here = workspace()
    ann = here.person().opens()
    ann.presses("2", "b")
    ann.clicks((30, 30), (90, 70))
    ann.is_saved()
    (row,) = here.rows
    assert row.label_class.name == "Dog" and row.geometry["bbox"] == near(30, 30, 60, 40)


def test_a_rotated_box_along_a_side(workspace):
    here = workspace()
    ann = here.person().opens()
    ann.presses("r")
    ann.drags((40, 40), (100, 40))
    ann.clicks((70, 70))
    ann.is_saved()
    (row,) = here.rows
    assert row.annotation_type == "rotated_bbox" and row.geometry["bbox"] == near(40, 40, 60, 30, 0)


def test_a_polygon_closed_by_its_first_corner(workspace):
    here = workspace(tasks=("segmentation",))
    ann = here.person().opens()
    ann.presses("p")
    ann.clicks((20, 20), (80, 20), (50, 70))
    # Points in hand are neither lost nor taken along to another image.
    ann.presses("d")
    ann.sees("Finish the shape first")
    assert ann.state("image.id") == "a/1.png"
    ann.clicks((20, 20))
    ann.is_saved()
    (row,) = here.rows
    assert row.annotation_type == "polygon"
    assert [tuple(point) for point in row.geometry["rings"][0]] == [near(20, 20), near(80, 20), near(50, 70)]


def test_lines_polylines_and_circles(workspace):
    here = workspace(tasks=("geometry", "line"))
    ann = here.person().opens()
    ann.presses("l")
    ann.clicks((20, 20), (60, 30), (90, 80), (150, 80))
    ann.presses("Backspace", "Enter", "Escape", "c")
    ann.drags((140, 40), (160, 40))
    ann.is_saved()
    ann.opens(task="line")
    ann.presses("l")
    ann.clicks((10, 90), (190, 90))
    ann.is_saved()
    polyline, circle, line = here.rows
    assert [tuple(point) for point in polyline.geometry["points"]] == [near(20, 20), near(60, 30), near(90, 80)]
    assert (*circle.geometry["center"], circle.geometry["radius"]) == near(140, 40, 20)
    assert line.annotation_type == "line" and len(line.geometry["points"]) == 2


def test_keypoints_of_the_class_with_an_occluded_one_and_one_left_out(workspace):
    here = workspace(tasks=("keypoint",), classes=())
    projects.create_class(
        here.world.task, name="Hand", class_id="hand", by="olga",
        keypoints=["wrist", "thumb", "index"], skeleton=[[1, 2], [1, 3]],
    )  # fmt: skip
    ann = here.person().opens()
    ann.presses("k")
    ann.sees("Place wrist (1 of 3)")
    ann.clicks((50, 50))
    ann.clicks((70, 40), modifiers=["Shift"])
    ann.presses("s")
    ann.is_saved()
    (row,) = here.rows
    assert [tuple(point) for point in row.geometry["keypoints"]] == [near(50, 50, 2), near(70, 40, 1), near(0, 0, 0)]


def test_classes_of_the_whole_image_one_at_a_time(workspace):
    here = workspace(tasks=("classification",))
    ann = here.person().opens()
    ann.presses("1")
    ann.is_saved()
    ann.presses("2")
    ann.is_saved()
    (row,) = here.rows
    assert row.annotation_type == "classification" and row.label_class.name == "Dog"


def test_several_classes_where_the_project_says_so(workspace):
    here = workspace(tasks=("classification",))
    projects.change_project(here.world.project, by="olga", task_config={"classification": {"multiple": True}})
    ann = here.person().opens()
    ann.presses("1", "2")
    ann.is_saved()
    assert [row.label_class.name for row in here.rows] == ["Cat", "Dog"]


def test_nothing_here_and_drawing_after_all(workspace):
    here = workspace()
    ann = here.person().opens()
    ann.presses("n")
    ann.is_saved()
    assert [row.annotation_type for row in here.rows] == ["no_object"]
    ann.draws_a_box()
    ann.is_saved()
    assert [row.annotation_type for row in here.rows] == ["bbox"]
    ann.presses("n")
    ann.sees("delete it first")


def test_a_box_is_moved_resized_nudged_and_given_another_class(workspace):
    here = workspace()
    a_box(here.world, here.world.images[0], x=20)
    ann = here.person().opens()
    ann.presses("v")
    ann.drags((30, 35), (60, 45))
    ann.drags((70, 60), (90, 80))
    ann.presses("ArrowLeft", "Shift+ArrowUp", "2")
    ann.is_saved()
    (row,) = here.rows
    assert row.geometry["bbox"] == near(49, 20, 40, 50) and row.label_class.name == "Dog"


def test_undo_and_redo_survive_a_reload(workspace):
    here = workspace()
    ann = here.person().opens()
    ann.draws_a_box()
    ann.is_saved()
    ann.page.reload()
    ann.ready()
    ann.presses("Control+z")
    ann.shows(0)
    assert here.rows == []
    ann.page.reload()
    ann.ready()
    ann.presses("Control+Shift+z")
    ann.shows(1)
    assert len(here.rows) == 1


def test_the_previous_image_is_copied_as_one_deed(workspace):
    here = workspace()
    for x in (10, 50, 90):
        a_box(here.world, here.world.images[0], x=x)
    ann = here.person().opens("a/2.png")
    ann.presses("Shift+C")
    ann.shows(3)
    ann.is_saved()
    assert Annotation.objects.filter(image=here.world.images[1], state="draft").count() == 3
    ann.presses("Control+z")
    ann.shows(0)


def test_attributes_notes_and_deleting_by_the_panel(workspace):
    here = workspace()
    a_box(here.world, here.world.images[0])
    ann = here.person().opens()
    panel = ann.page.locator("#annotations")
    panel.get_by_role("button", name="Cat, Box, draft").click()
    ann.page.get_by_label("New attribute").fill("side")
    ann.page.get_by_label("Its value").fill("left")
    ann.page.get_by_label("Add the attribute").click()
    ann.page.get_by_label("Notes").fill("blurred")
    ann.page.get_by_label("Notes").blur()
    # "Saved" may still be said of the attribute, before the page has taken up the notes.
    assert wait_until(lambda: [(row.attributes, row.notes) for row in here.rows] == [({"side": "left"}, "blurred")], 60)
    ann.is_saved()
    panel.get_by_label("Delete").click()
    assert wait_until(lambda: here.rows == [], 60)
    ann.is_saved()
    ann.page.get_by_role("tab", name="History").click()
    ann.page.get_by_role("button", name="Bring back").click()
    ann.shows(1)
    assert here.rows[0].notes == "blurred"


def test_whoever_goes_through_the_panel_by_keys_stays_where_he_is_when_it_is_drawn_anew(workspace):
    here = workspace()
    a_box(here.world, here.world.images[0])
    ann = here.person().opens()
    ann.page.locator("#annotations").get_by_role("button", name="Cat, Box, draft").click()
    focused = "document.activeElement.getAttribute('aria-label')"
    choice = ann.page.get_by_role("combobox", name="Class", exact=True)
    choice.focus()
    choice.select_option("dog")
    assert wait_until(lambda: here.rows[0].label_class.class_id == "dog", 60)
    ann.is_saved()
    assert ann.page.evaluate(focused) == "Class"
    ann.page.get_by_label("New attribute").fill("side")
    ann.page.get_by_label("Its value").fill("left")
    ann.page.get_by_label("Its value").press("Enter")
    assert wait_until(lambda: here.rows[0].attributes == {"side": "left"}, 60)
    ann.is_saved()
    assert ann.page.evaluate(focused) == "Its value"
    ann.page.get_by_label("side", exact=True).fill("lefty")
    ann.page.keyboard.press("Enter")
    assert wait_until(lambda: here.rows[0].attributes == {"side": "lefty"}, 60)
    ann.is_saved()
    assert ann.page.evaluate(focused) == "side"


def test_a_viewer_looks_and_changes_nothing(workspace):
    here = workspace()
    a_box(here.world, here.world.images[0])
    vic = here.person("vic").opens()
    assert vic.page.locator("#tools button").count() == 2
    vic.presses("Control+a", "Delete", "n")
    vic.sees("You may look at this project, not change it.")
    assert len(here.rows) == 1


def test_a_class_that_looks_like_markup_is_only_a_name(workspace):
    here = workspace(count=1)
    LabelClass.objects.filter(name="Cat").update(
        name="<img src=x onerror=alert(1)>", description="<script>alert(2)</script>"
    )
    a_box(here.world, here.world.images[0], class_name="<img src=x onerror=alert(1)>")
    ann = here.person().opens()
    asked = []
    ann.page.once("dialog", lambda dialog: asked.append(dialog.message) or dialog.dismiss())
    ann.presses("Control+a")
    ann.page.get_by_role("tab", name="History").click()
    ann.sees("<img src=x onerror=alert(1)> drawn")
    assert ann.page.locator("img").count() == 0 and asked == []
