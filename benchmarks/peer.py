"""One conversion by somebody else's library, run by the Python of ``.venv-peers``: ``peers.py`` starts it.

``python -m benchmarks.peer NAME FORMAT SOURCE TARGET`` converts the folder of each task in SOURCE and prints what that
cost, without importing the library, as JSON; ``python -m benchmarks.peer versions`` prints what is installed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.measured import measured

DISTRIBUTIONS = ("datumaro", "label-studio-sdk")
# What it imports only when it needs it.
PLUGINS = ("specs", "data_formats.coco.importer", "data_formats.coco.exporter", "data_formats.yolo.exporter")
Convert = Callable[[Path, Path], None]


def datumaro(format_name: str) -> Convert:
    """COCO read and written again as COCO or YOLO, without images."""
    from datumaro.components.dataset import Dataset

    for plugin in PLUGINS:
        import_module(f"datumaro.plugins.{plugin}")
    exporter = {"coco": "coco_instances", "yolo": "yolo"}[format_name]

    def convert(source: Path, target: Path) -> None:
        Dataset.import_from(str(source), "coco_instances").export(str(target), exporter, save_media=False)

    return convert


def label_studio(format_name: str) -> Convert:
    """Its tasks, as an export of its own holds them, to COCO or YOLO, without images."""
    from label_studio_sdk.converter import Converter
    from label_studio_sdk.converter.converter import Format

    kind = {"coco": Format.COCO, "yolo": Format.YOLO}[format_name]

    def convert(source: Path, target: Path) -> None:
        converter = Converter((source / "config.xml").read_text(), str(source), download_resources=False)
        converter.convert(str(source / "tasks.json"), str(target), kind, is_dir=False)

    return convert


PEERS = {"Datumaro": datumaro, "Label Studio": label_studio}


def main(arguments: list[str]) -> None:
    """Convert, or tell versions, as the docstring of the module says."""
    if arguments == ["versions"]:
        print(json.dumps({distribution: _version(distribution) for distribution in DISTRIBUTIONS}))
        return
    name, format_name, source, target = arguments
    convert = PEERS[name](format_name)

    def convert_all() -> None:
        for task in sorted(Path(source).iterdir()):
            convert(task, Path(target) / task.name)

    print(json.dumps({f"{name}, {format_name.upper()}": measured(convert_all)}))


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main(sys.argv[1:])
