"""``make bench-page``: the labeling page in the system's Chromium, on a project of 100,000 images.

Measured inside the page: from opening the address to the first image shown (the list is there by then), beside a
project of 1,000 images opened in turn; from a key press to the end of the frame that shows the next (prefetched) image,
by the clock and in processor time of the page's thread, which other work on the machine lengthens little; and frames a
second with 1,000 shapes. The browser draws in software here and shares the machine's processors with the servers.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import clients, data
from benchmarks.clients import percentile
from benchmarks.rounds import Row
from benchmarks.servers import servers, vacuum

BY, PASSWORD = "bench", "only-here"
FEW = 1000
PICTURES = 120
SHAPES = 1000
# Pictures without boxes after those: the page begins with the first image nobody started, and looks ahead.
UNTOUCHED = 4
BATCH = 1000

# The end of the frame in which Konva draws: its own callback was asked for first, and a message comes after painting.
WATCH_KEYS = """() => {
  window.shown = [];
  let pressed = null;
  document.addEventListener('keydown', (event) => { pressed = [event.timeStamp, performance.now()]; }, true);
  labeler.store.on('picture', () => {
    const began = pressed;
    pressed = null;
    if (began === null) return;
    const known = performance.now();
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => {
        const whole = performance.now() - began[0];
        window.shown.push([whole, began[1] - began[0], known - began[1], performance.now() - known]);
      };
      channel.port2.postMessage(null);
    });
  });
}"""

OPENED = """() => {
  const first = performance.getEntriesByName('image-shown')[0];
  return [first.startTime + first.duration, performance.now()];
}"""

# A pointer that moves once a frame, for as long as asked; answers the length of each frame in milliseconds.
MOVES = """async ([x, y, seconds]) => {
  const stage = document.getElementById('stage');
  const frames = [];
  const until = performance.now() + 1000 * seconds;
  let last = await new Promise(requestAnimationFrame);
  for (let step = 1; performance.now() < until; step += 1) {
    const [dx, dy] = [60 * Math.sin(step / 9), 40 * Math.cos(step / 7)];
    stage.dispatchEvent(new PointerEvent('pointermove', { clientX: x + dx, clientY: y + dy, bubbles: true }));
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - last);
    last = now;
  }
  return frames;
}"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print every figure, and judge; 0 if each aim is reached."""
    parser = argparse.ArgumentParser(prog="make bench-page", description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--keys", type=int, default=100, help="key presses, each after the neighbours are prefetched")
    parser.add_argument("--opens", type=int, default=15)
    wish = parser.parse_args(arguments)
    with servers() as folder:
        print(f"loading {wish.images:,} images ...", flush=True)
        _prepare()
        large, small = _project(folder, "large", wish.images), _project(folder, "small", FEW)
        vacuum()
        with clients.running(folder) as port, _page(port) as page:
            where, beside = (f"http://127.0.0.1:{port}/projects/{each.pk}/label" for each in (large, small))
            rows = [*_opening(page, where, beside, wish.opens), *_keys(page, where, wish.keys), *_frames(page, where)]
    print("\n".join(["", " row     reached    target  unit         verdict what", *map(str, rows)]), flush=True)
    return not all(row.met for row in rows)


# The project ----------------------------------------------------------------------------------


def _prepare() -> None:
    """What the page is made of, and somebody to sign in."""
    from django.core.management import call_command

    from annotations.models import User

    call_command("collectstatic", interactive=False, verbosity=0)
    User.objects.create_user(BY, password=PASSWORD)


def _project(folder: Path, name: str, count: int) -> Any:
    """Listed images, of which the first have pictures; five boxes on each of those, and 1,000 on the last of them."""
    from annotations import images, projects
    from annotations.images import FoundImage
    from annotations.models import Project

    made = projects.create_project(dataset_id=name, dataset_name=name, name=name, by=BY, task_types=["detection"])
    project = Project.objects.prefetch_related("tasks").get(pk=made.pk)
    found = [FoundImage(data.image_path(n), data.WIDTH, data.HEIGHT, 3, 1, "", None) for n in range(1, count + 1)]
    for start in range(0, count, BATCH):
        images.register_images(project, found[start : start + BATCH])
    projects.activate(project, by=BY)
    _pictures(folder / "platform" / "datasets" / name / "images")
    _boxes(project)
    return project


def _pictures(root: Path) -> None:
    """Photograph-sized pictures (1920 x 1080, a megabyte), all of one file."""
    from PIL import Image as Picture

    first = root / data.image_path(1)
    first.parent.mkdir(parents=True)
    noise = Picture.effect_noise((data.WIDTH // 3, data.HEIGHT // 3), 60).resize((data.WIDTH, data.HEIGHT))
    Picture.merge("RGB", (noise, noise.rotate(180), noise)).save(first, "JPEG", quality=88)
    for number in range(2, PICTURES + UNTOUCHED + 1):
        path = root / data.image_path(number)
        path.parent.mkdir(exist_ok=True)
        path.hardlink_to(first)


def _boxes(project: Any) -> None:
    from annotations import projects
    from annotations.acting import acting
    from annotations.models import Annotation, Image

    task = projects.task_of(project, "detection")
    wanted = [{"name": f"class {n}", "color": f"#33{n}9cc"} for n in range(1, 8)]
    classes = projects.create_classes(task, wanted, by=BY)
    dice = random.Random(1)  # noqa: S311 - repeatable, not secret
    paths = [data.image_path(number) for number in range(1, PICTURES + 1)]
    by_path = {image.path: image for image in Image.objects.filter(project=project, path__in=paths)}
    rows = [
        Annotation(project=project, image=by_path[path], task_type="detection", annotation_type="bbox",
                   label_class=dice.choice(classes), created_by=BY, updated_by=BY, **_box(dice))
        for path in paths
        for _ in range(SHAPES if path == paths[-1] else 5)
    ]  # fmt: skip
    with acting(BY):
        Annotation.objects.bulk_create(rows)


def _box(dice: random.Random) -> dict[str, Any]:
    width, height = dice.randrange(20, 80), dice.randrange(15, 60)
    box = [dice.randrange(data.WIDTH - 80), dice.randrange(data.HEIGHT - 60), width, height]
    return {"geometry": {"type": "bbox", "bbox": box}, "bbox": box, "area": width * height}


# The page -------------------------------------------------------------------------------------


@contextmanager
def _page(port: int) -> Iterator[Any]:
    """A tab of the system's Chromium, signed in."""
    from playwright.sync_api import sync_playwright

    from tests.page.chromium import chromium

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
        page.set_default_timeout(60_000)
        page.goto(f"http://127.0.0.1:{port}/accounts/login/")
        page.fill("input[name=username]", BY)
        page.fill("input[name=password]", PASSWORD)
        page.locator("main button").click()
        page.wait_for_selector(".projects")
        yield page
        browser.close()


def _open(page: Any, where: str, image: int | None = None) -> None:
    page.goto(where + (f"?image={data.image_path(image)}" if image else ""))
    page.wait_for_selector("body[data-ready]")


def _told(name: str, values: Sequence[float], unit: str = "ms") -> None:
    print(
        f"{name}: p50 {percentile(values, 0.5):.0f}, p95 {percentile(values, 0.95):.0f}, most {max(values):.0f} {unit}"
        f" ({len(values)} samples)",
        flush=True,
    )


def _opening(page: Any, where: str, beside: str, times: int) -> list[Row]:
    """From the address to the first image shown; the very first time nothing is in the browser's cache."""
    shown: dict[str, list[float]] = {where: [], beside: []}
    for _ in range(times):
        for address, taken in shown.items():
            _open(page, address)
            taken.append(page.evaluate(OPENED)[0])
    first, *again = shown[where]
    print(f"opening it for the first time: {first:.0f} ms", flush=True)
    _told("opening it again", again)
    _told(f"opening a project of {FEW:,} images", shown[beside])
    ratio = percentile(again, 0.5) / percentile(shown[beside], 0.5)
    return [Row("page", "opening the project, the first time", first / 1000, 2, "s"),
            Row("page", "opening the project again, p50", percentile(again, 0.5) / 1000, 2, "s"),
            Row("page", f"opening it, against a project of {FEW:,} images", ratio, 1.5, "x")]  # fmt: skip


def _keys(page: Any, where: str, times: int) -> list[Row]:
    """To and fro among the images that have few shapes, each after what is prefetched has come."""
    # What was asked for before stays out of it.
    page.goto("about:blank")
    page.wait_for_timeout(500)
    pending: list[str] = []
    page.on("request", lambda request: pending.append(request.url))
    page.on("requestfinished", lambda request: pending.remove(request.url))
    page.on("requestfailed", lambda request: pending.remove(request.url))
    _open(page, where, 1)
    page.evaluate(WATCH_KEYS)
    page.locator("#stage").focus()
    trace = Trace(page)
    for number in range(times):
        _rest(page, pending)
        page.keyboard.press("d" if number // (PICTURES - 5) % 2 == 0 else "a")
    _rest(page, pending)
    shown = page.evaluate("window.shown")
    events = trace.end()
    assert len(shown) == times, f"{len(shown)} of {times} key presses led to another image"
    whole, *parts = zip(*shown, strict=True)
    _told("key to the next image", whole)
    for name, values in zip(
        ("until the page hears the key", "until all is put in its place", "drawing"), parts, strict=True
    ):
        _told(f"  of it {name}", values)
    processor = _processor_time(events, whole)
    _told("  processor time of the page's thread for it", processor)
    return [Row("page", "key press to the next image shown, p95", percentile(whole, 0.95), 150, "ms"),
            Row("page", "processor time of the page for it, p95", percentile(processor, 0.95), 150, "ms")]  # fmt: skip


class Trace:
    """What the browser's threads did, event by event, from now to ``end``."""

    def __init__(self, page: Any) -> None:
        self.page, self.events, self.complete = page, [], False
        self.tools = page.context.new_cdp_session(page)
        self.tools.on("Tracing.dataCollected", lambda answer: self.events.extend(answer["value"]))
        self.tools.on("Tracing.tracingComplete", lambda _: setattr(self, "complete", True))
        wanted = "devtools.timeline,disabled-by-default-devtools.timeline"
        self.tools.send("Tracing.start", {"transferMode": "ReportEvents", "categories": wanted})

    def end(self) -> list[dict[str, Any]]:
        """The events; times are in microseconds."""
        self.tools.send("Tracing.end")
        while not self.complete:
            self.page.wait_for_timeout(50)
        return self.events


def _processor_time(events: Sequence[dict[str, Any]], whole: Sequence[float]) -> list[float]:
    """Milliseconds the page's thread worked between each key press and the end of its frame."""
    pressed = [each for each in events if each["name"] == "EventDispatch" and each["args"]["data"]["type"] == "keydown"]
    thread = pressed[0]["pid"], pressed[0]["tid"]
    tasks = [each for each in events if each["name"] == "RunTask" and (each["pid"], each["tid"]) == thread]
    return [
        sum(each.get("tdur", 0) for each in tasks if -1000 <= each["ts"] - key["ts"] <= 1000 * taken) / 1000
        for key, taken in zip(pressed, whole, strict=True)
    ]


def _rest(page: Any, pending: list[str]) -> None:
    """Nothing is asked of the server any more, and a moment for decoding, as for looking at the image."""
    page.wait_for_timeout(300)
    while pending:
        page.wait_for_timeout(30)
    page.wait_for_timeout(200)


def _frames(page: Any, where: str, seconds: float = 6) -> list[Row]:
    """With 1,000 boxes: one of them dragged, then the view."""
    _open(page, where, PICTURES)
    rows = []
    for name, prepare in (("dragging a box", _on_a_box), ("moving the view", _on_the_view)):
        x, y = prepare(page)
        page.mouse.move(x, y)
        page.mouse.down()
        frames = page.evaluate(MOVES, [x, y, seconds])
        page.mouse.up()
        page.keyboard.up("Space")
        _told(f"frames while {name}, 1,000 shapes", frames)
        rate = 1000 * len(frames) / sum(frames)
        rows.append(Row("page", f"frames a second while {name}, 1,000 shapes", rate, 0, "a second", at_least=True))
    return rows


def _on_a_box(page: Any) -> tuple[float, float]:
    page.keyboard.press("v")
    return tuple(
        page.evaluate("""() => {
      const row = labeler.store.state.annotations[0];
      labeler.store.set({ selected: new Set([row.key]) });
      const [x, y, w, h] = row.geometry.bbox;
      const { left, top } = document.getElementById('stage').getBoundingClientRect();
      const [sx, sy] = labeler.canvas.view.toScreen([x + w / 2, y + h / 2]);
      return [left + sx, top + sy];
    }""")
    )


def _on_the_view(page: Any) -> tuple[float, float]:
    page.locator("#stage").focus()
    page.keyboard.down("Space")
    box = page.locator("#stage").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


if __name__ == "__main__":
    sys.exit(main())
