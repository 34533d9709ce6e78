"""What peers read, made of our own COCO files, and what they wrote, counted."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from exports.keys import FILES

# A line of a YOLO label file: class, then a box or the corners of a polygon.
LABEL = re.compile(rb"^\d+(?: -?[\d.e+-]+){4,}$", re.MULTILINE)
BOX_FIELDS = 5


def sources(ours: Path, folder: Path) -> dict[str, Path]:
    """A folder in ``folder`` for each peer, with one for each task in it: our COCO files, which are taken out of
    ``ours``, and the same annotations as tasks of Label Studio."""
    theirs = {peer: folder / peer for peer in ("Datumaro", "Label Studio")}
    for task in sorted(ours.iterdir()):
        coco = task / FILES["coco"]
        _label_studio(orjson.loads(coco.read_bytes()), theirs["Label Studio"] / task.name)
        # Datumaro wants a folder for images, though there are none.
        for part in ("annotations", "images"):
            (theirs["Datumaro"] / task.name / part).mkdir(parents=True)
        coco.rename(theirs["Datumaro"] / task.name / "annotations" / "instances_train.json")
    return theirs


def _label_studio(coco: dict[str, Any], folder: Path) -> None:
    """Tasks and labeling interface of the annotations of a COCO file."""
    folder.mkdir(parents=True)
    names = {each["id"]: each["name"] for each in coco["categories"]}
    labels = "".join(f'<Label value="{name}"/>' for name in names.values())
    tags = "".join(
        f'<{tag} name="{tag}" toName="image">{labels}</{tag}>' for tag in ("RectangleLabels", "PolygonLabels")
    )
    (folder / "config.xml").write_text(f'<View><Image name="image" value="$image"/>{tags}</View>')
    regions: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in coco["images"]}
    images = {image["id"]: image for image in coco["images"]}
    for each in coco["annotations"]:
        regions[each["image_id"]].append(_region(each, images[each["image_id"]], names))
    tasks = [
        {"id": key, "data": {"image": image["file_name"]}, "annotations": [{"id": key, "result": regions[key]}]}
        for key, image in images.items()
    ]
    (folder / "tasks.json").write_bytes(orjson.dumps(tasks))


def _region(entry: dict[str, Any], image: dict[str, Any], names: dict[int, str]) -> dict[str, Any]:
    """A box or a polygon in percent of the image."""
    across, down = 100 / image["width"], 100 / image["height"]
    if entry["segmentation"]:
        ring = entry["segmentation"][0]
        kind = "polygon"
        shape = {"points": [[x * across, y * down] for x, y in zip(ring[::2], ring[1::2], strict=True)], "closed": True}
    else:
        x, y, width, height = entry["bbox"]
        kind = "rectangle"
        shape = {"x": x * across, "y": y * down, "width": width * across, "height": height * down, "rotation": 0}
    return {
        "id": str(entry["id"]), "type": f"{kind}labels", "from_name": f"{kind.title()}Labels", "to_name": "image",
        "original_width": image["width"], "original_height": image["height"], "image_rotation": 0,
        "value": shape | {f"{kind}labels": [names[entry["category_id"]]]},
    }  # fmt: skip


def counted(target: Path, format_name: str) -> Counter[str]:
    """Shapes of the annotations in the files of a format below a folder."""
    if format_name == "yolo":
        lines = [line.split() for text in _texts(target) for line in LABEL.findall(text)]
        return Counter("box" if len(line) == BOX_FIELDS else "polygon" for line in lines)
    files = [path for path in target.rglob("*.json") if (path.name == FILES["dice"]) == (format_name == "dice")]
    entries = [entry for path in files for entry in _entries(orjson.loads(path.read_bytes()))]
    return Counter("polygon" if entry.get("segmentation") else "box" for entry in entries)


def _entries(file: dict[str, Any]) -> list[dict[str, Any]]:
    """Entries of a COCO file, which has one list, or of a DICE file, where each image has its own."""
    nested = [entry for image in file.get("images", []) for entry in image.get("annotations", [])]
    return file.get("annotations", []) + nested


def _texts(target: Path) -> Iterator[bytes]:
    """Every text file, those in archives too."""
    yield from (path.read_bytes() for path in target.rglob("*.txt"))
    for path in target.rglob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist() if name.endswith(".txt"))
