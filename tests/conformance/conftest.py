"""Files of ours, read by what others use. An absent reader fails the run: it is never a skip."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import tempfile
from collections import Counter

import pytest

READERS = ("pycocotools", "datumaro", "supervision", "ultralytics")

# Readers that would call home or write into the home folder do neither here.
os.environ["YOLO_CONFIG_DIR"] = os.environ["MPLCONFIGDIR"] = tempfile.mkdtemp(prefix="conformance-")
os.environ["YOLO_OFFLINE"] = os.environ["NO_ALBUMENTATIONS_UPDATE"] = "true"

compared: Counter[tuple[str, str, str, str]] = Counter()


def pytest_sessionstart() -> None:
    """Every reader must be there."""
    for name in READERS:
        try:
            importlib.import_module(name)
        except ImportError as error:
            pytest.exit(f"{name} cannot be imported, so nothing is proved: {error}", returncode=1)


@pytest.fixture
def count():
    """Note that annotations were compared: ``count("ultralytics", "yolo", "pose", images=3, annotations=9)``."""

    def note(reader: str, format_name: str, task: str, *, images: int, annotations: int) -> None:
        assert images and (annotations or task == "classification")
        compared[reader, format_name, task, "images"] += images
        compared[reader, format_name, task, "annotations"] += annotations

    return note


def pytest_terminal_summary(terminalreporter) -> None:
    """What was compared, by reader."""
    line = terminalreporter.write_line
    line("reader         version    format  task            images  annotations")
    for reader, format_name, task in sorted({key[:3] for key in compared}):
        version = importlib.metadata.version(reader)
        figures = [compared[reader, format_name, task, what] for what in ("images", "annotations")]
        line(f"{reader:14} {version:10} {format_name:7} {task:15} {figures[0]:6} {figures[1]:12}")
