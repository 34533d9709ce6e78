"""The Platform's own split in official files: found, carried over, put into a file without writing it anew.

Source: dice-format.md sections 2 and 7. The Platform stores ``split_config`` in the official file; replacing that file
must not lose it. Image ids in it are those of the file's own project.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from exports import dice_reader
from exports.canonical import compact
from exports.errors import ExportError
from exports.rows import FileImage
from exports.splits import SPLITS

# Raw line breaks stand in our files between images only, so nothing inside a text can look like this.
TAIL = re.compile(rb'\n\],"splits":\{[^{}]*\}')
OWN = b',"split_config":'
BITE = 1024 * 1024
NUMBER = re.compile(r"[1-9][0-9]*\Z")

Json = dict[str, Any]
# Image ids of this project by file name, of those that are asked for.
IdsByName = Callable[[Iterable[str]], Mapping[str, int]]


def carried(
    present: Path, project_id: str, known_ids: Callable[[Iterable[int]], set[int]], ids_of: IdsByName
) -> Json | None:
    """The ``split_config`` of the present official file as it is to go on; None if it has none that can be read.

    Ids of images that are gone are left out. A file of another project names images by its own ids: they are mapped
    through ``file_name``. Raises exports.errors.BrokenFile for a file that cannot be read at all.
    """
    with present.open("rb") as file:
        opened = dice_reader.open_file(file)
        config = opened.header.split_config
        chosen = _choices(config)
        if config is None or not chosen:
            return None
        if opened.header.project_id == project_id:
            kept = known_ids(int(each) for each in chosen if NUMBER.match(each))
            splits = {each: split for each, split in chosen.items() if NUMBER.match(each) and int(each) in kept}
        else:
            names = {
                e.file_name: str(e.file_id)
                for e in opened.entries()
                if isinstance(e, FileImage) and str(e.file_id) in chosen
            }
            splits = {
                str(pk): chosen[names[name]] for name, pk in sorted(ids_of(names).items(), key=lambda pair: pair[1])
            }
    return {**config, "splits": splits} if splits else None


def _choices(config: Json | None) -> dict[str, str]:
    listed = (config or {}).get("splits")
    if not isinstance(listed, dict):
        return {}
    return {each: split for each, split in listed.items() if split in SPLITS}


def with_split_config(source: Path, target: Path, config: Json) -> None:
    """Copy one of our DICE files with ``split_config`` after ``splits``. Raises ExportError if it is not ours."""
    at, has_own = tail_of(source)
    if has_own:
        raise ExportError(f"{source.name} has a split_config of its own.")
    with source.open("rb") as file, target.open("wb") as out:
        _copy(file, out, at)
        out.write(OWN + compact(config))
        shutil.copyfileobj(file, out, BITE)


def tail_of(path: Path) -> tuple[int, bool]:
    """Where ``splits`` ends in one of our DICE files (bytes from the start), and whether a split_config follows."""
    before, rest = 0, b""
    with path.open("rb") as file:
        while bite := file.read(BITE):
            rest += bite
            if found := TAIL.search(rest):
                end = found.end()
                follows = (rest[end:] + file.read(len(OWN)))[: len(OWN)]
                return before + end, follows == OWN
            keep = min(len(rest), 200)
            before, rest = before + len(rest) - keep, rest[-keep:]
    raise ExportError(f"{path.name} is not a DICE file as we write it.")


def _copy(file: Any, out: Any, count: int) -> None:
    while count > 0:
        bite = file.read(min(BITE, count))
        out.write(bite)
        count -= len(bite)
