"""Rendering in processes beside this one: a piece depends on its image alone, so it does not matter who makes it.

Most of what a first publish of a million annotations takes is rendering, which keeps one processor busy. A renderer is
a Python of its own that knows this room and nothing else: no settings, no database. It takes rows from its input,
answers with their strands, and ends with its input, so none outlives whoever began it, however that ended. What a
renderer cannot answer, because a row is wrong or because it was ended itself, is rendered by whoever asked: so errors
are the same with renderers and without, and so are the files, byte for byte.
"""

from __future__ import annotations

import gc
import io
import logging
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, Self, cast

import msgspec

from exports.formats import FORMATS
from exports.rows import Dataset, ImageRow, Unread
from exports.writer import Made, render

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
# So many images are rendered where they are before the first renderer is begun, which takes a quarter of a second.
ALONE = 1000
# Batches under way at a time, for each renderer: it has the next one at once.
AHEAD = 2

Renderer = subprocess.Popen[bytes]
# What a renderer is told first: the dataset and the names of the formats. Of an image: FIELDS and the text of its rows.
Order = tuple[Dataset, list[str]]
Told = list[Any]
FIELDS = ImageRow.__struct_fields__[:-1]
ORDER, ROWS, MADE = (msgspec.msgpack.Decoder(kind) for kind in (Order, list[Told], Made))
LENGTH = struct.Struct("<Q")
BROKEN_OFF = "it was broken off"


class Renderers:
    """Up to ``count`` processes that render for the files of one dataset. To be left when the files are written."""

    def __init__(self, dataset: Dataset, formats: Sequence[str], count: int) -> None:
        self._order, self._count, self._alone = (dataset, list(formats)), count, ALONE
        self._threads = ThreadPoolExecutor(max(count, 1))
        self._processes: list[Renderer] = []
        # Those that have nothing to do; None for each that was ended.
        self._idle, self._is_over = SimpleQueue[Renderer | None](), False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        for process in self._processes:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            _let_go(process)

    @property
    def ahead(self) -> int:
        """How many batches may be under way."""
        return len(self._processes) * AHEAD

    def begin(self, rows: Sequence[ImageRow]) -> Future[Made | None] | None:
        """Have some images rendered, to be heard later: None where they have to be rendered here. None at once while
        so few were that renderers are not worth while."""
        self._alone -= len(rows)
        if self._alone > 0 or not rows or not all(isinstance(row.annotations, Unread) for row in rows):
            return None
        self._begin_all()
        return self._threads.submit(self._ask, [_told(row) for row in rows]) if self._processes else None

    def _begin_all(self) -> None:
        while len(self._processes) < self._count:
            try:
                self._processes.append(_a_renderer())
            except OSError as error:
                logger.warning("No renderer more than %d can be begun: %s.", len(self._processes), error)
                self._count = len(self._processes)
            else:
                self._threads.submit(self._with, self._processes[-1], _introduce, self._order)

    def _ask(self, rows: list[Any]) -> Made | None:
        process = self._idle.get()
        if process is None:
            self._idle.put(None)
            return None
        return self._with(process, _answer_of, rows)

    def _with(self, process: Renderer, act: Callable[[Renderer, Any], Any], told: Any) -> Any:
        """What comes of it; None if the process was ended. It has nothing to do then."""
        try:
            answer = act(process, told)
        except (OSError, EOFError, msgspec.DecodeError) as error:
            if not self._is_over:
                logger.warning("A renderer ended before its time (%r); its images are rendered here.", error)
            self._idle.put(None)
            return None
        self._idle.put(process)
        return answer


def _a_renderer() -> Renderer:
    command = [sys.executable, "-m", "exports.renderers"]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _introduce(process: Renderer, order: Order) -> None:
    _say(cast(BinaryIO, process.stdin), order)


def _answer_of(process: Renderer, rows: list[Told]) -> Made:
    _say(cast(BinaryIO, process.stdin), rows)
    body = _heard(cast(BinaryIO, process.stdout))
    if body is None:
        raise EOFError("it said nothing more")
    return MADE.decode(body)


def _let_go(process: Renderer) -> None:
    for pipe in (process.stdin, process.stdout):
        # What it did not take any more is still to be written.
        with suppress(OSError):
            cast(BinaryIO, pipe).close()
    process.wait()


def _told(row: ImageRow) -> Told:
    return [*[getattr(row, name) for name in FIELDS], cast(Unread, row.annotations).text]


def _row(told: Told) -> ImageRow:
    return ImageRow(*[*told[:-1], Unread(told[-1][1:-1])])


# Words through a pipe: each is MessagePack, after its length.


def _say(pipe: BinaryIO, said: Any) -> None:
    body = msgspec.msgpack.encode(said)
    pipe.write(LENGTH.pack(len(body)))
    pipe.write(body)
    pipe.flush()


def _heard(pipe: BinaryIO) -> bytes | None:
    """The next word; None if there is none any more. Raises EOFError for one that was broken off."""
    head = pipe.read(LENGTH.size)
    if not head:
        return None
    if len(head) < LENGTH.size:
        raise EOFError(BROKEN_OFF)
    (long,) = LENGTH.unpack(head)
    body = pipe.read(long)
    if len(body) < long:
        raise EOFError(BROKEN_OFF)
    return body


def serve(heard: BinaryIO, out: BinaryIO) -> None:
    """What a renderer does until nothing more comes: the dataset and the names of the formats come first, then rows,
    each time answered by their strands. Raises what rendering raises."""
    dataset, formats = ORDER.decode(_heard(heard) or b"")
    writers = [FORMATS[name].writer(dataset, io.BytesIO()) for name in formats]
    while (rows := _heard(heard)) is not None:
        _say(out, render(list(map(_row, ROWS.decode(rows))), writers))


def main() -> None:
    """A renderer at its pipes. A Ctrl-C reaches it, too, but it is for who began it to end it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    # Not sys.stdout: with PYTHONUNBUFFERED that writes as much as the pipe takes, and nobody writes the rest.
    with open(0, "rb", closefd=False) as heard, open(1, "wb", closefd=False) as out:
        serve(heard, out)


if __name__ == "__main__":
    main()
