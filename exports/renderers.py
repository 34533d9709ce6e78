"""Rendering in processes beside this one: a piece depends on its image alone, so it does not matter who makes it.

Most of what a first publish of a million annotations takes is rendering, which keeps one processor busy. A renderer is
a Python of its own that knows this room and nothing else: no settings, no database. It takes rows from its input,
answers with their strands, and ends with its input, so none outlives whoever began it, however that ended (one that is
stopped ends once it goes on). What a renderer cannot answer, because a row is wrong or because it was ended itself, is
rendered by whoever asked: so errors are the same with renderers and without, and so are the files, byte for byte.
"""

from __future__ import annotations

import gc
import hashlib
import io
import logging
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, Self, cast

import msgspec

from exports.formats import FORMATS
from exports.rows import Dataset, ImageRow, Unread
from exports.writer import Made, render

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
# Whatever else is on the path, a renderer is of this code.
BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from exports.renderers import main; main()"
# The code of this room as it was loaded: where it is being replaced, nobody renders with another one.
CODE = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()
# So many images are rendered where they are before the first renderer is begun, which takes a quarter of a second; and
# so few of a batch always are.
ALONE, FEW = 1000, 10
# Batches under way at a time, for each renderer: it has the next one at once.
AHEAD = 2
# Seconds: a batch takes a few hundredths of one.
PATIENCE = 60.0

Renderer = subprocess.Popen[bytes]
# What a renderer is told first: CODE, the dataset, the names of the formats. Of an image: FIELDS, the text of its rows.
Order = tuple[str, Dataset, list[str]]
Told = list[Any]
FIELDS = ImageRow.__struct_fields__[:-1]
ORDER, ROWS, MADE = (msgspec.msgpack.Decoder(kind) for kind in (Order, list[Told], Made))
LENGTH = struct.Struct("<Q")
BROKEN_OFF = "it was broken off"
# No word is so long: what claims to be is none.
LONGEST = 1 << 32


class Renderers:
    """Up to ``count`` processes that render for the files of one dataset. To be left when the files are written."""

    def __init__(self, dataset: Dataset, formats: Sequence[str], count: int) -> None:
        self._order, self._count, self._alone = (CODE, dataset, list(formats)), count, ALONE
        self._threads = ThreadPoolExecutor(max(count, 1))
        self._processes: list[Renderer] = []
        # Those that have nothing to do; None for each that is of no use any more.
        self._idle, self._is_over = SimpleQueue[Renderer | None](), False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._end_all()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            _let_go(process)

    @property
    def ahead(self) -> int:
        """How many batches may be under way."""
        return len(self._processes) * AHEAD

    def begin(self, rows: Sequence[ImageRow]) -> Callable[[], Made | None] | None:
        """Have some images rendered; to be asked later for what was made of them, None where they have to be rendered
        here. None at once for few images, and while so few were that renderers are not worth while."""
        self._alone -= len(rows)
        if self._alone > 0 or len(rows) < FEW or not all(isinstance(row.annotations, Unread) for row in rows):
            return None
        self._begin_all()
        if not self._processes:
            return None
        return partial(self._made, self._threads.submit(self._ask, [_told(row) for row in rows]))

    def _begin_all(self) -> None:
        while len(self._processes) < self._count:
            try:
                self._processes.append(_a_renderer())
            except OSError as error:
                logger.warning("No renderer more than %d can be begun: %s.", len(self._processes), error)
                self._count = len(self._processes)
            else:
                self._threads.submit(self._with, self._processes[-1], _introduce, self._order)

    def _made(self, begun: Future[Made | None]) -> Made | None:
        try:
            return begun.result(PATIENCE)
        except TimeoutError:
            logger.warning("Renderers that do not answer within %g s are ended.", PATIENCE)
            self._end_all()
            return None

    def _end_all(self) -> None:
        for process in self._processes:
            process.kill()

    def _ask(self, rows: list[Any]) -> Made | None:
        process = self._idle.get()
        if process is None:
            self._idle.put(None)
            return None
        return self._with(process, _answer_of, rows)

    def _with(self, process: Renderer, act: Callable[[Renderer, Any], Any], told: Any) -> Any:
        """What comes of it; None if that was no answer. The renderer has nothing to do then, or is of no use."""
        try:
            answer = act(process, told)
        # Whatever it is: rendering the same images here tells what is wrong with them, if anything is.
        except Exception as error:
            if not self._is_over:
                logger.warning("A renderer is of no use any more (%r); its images are rendered here.", error)
            self._idle.put(None)
            return None
        self._idle.put(process)
        return answer


def _a_renderer() -> Renderer:
    # In a group of its own: a Ctrl-C is for who began it.
    return subprocess.Popen(
        [sys.executable or "python", "-c", BOOT, str(ROOT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
    )


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
    body = pipe.read(long) if long < LONGEST else b""
    if len(body) < long:
        raise EOFError(BROKEN_OFF)
    return body


def serve(heard: BinaryIO, out: BinaryIO) -> None:
    """What a renderer does until nothing more comes: CODE, the dataset and the names of the formats come first, then
    rows, each time answered by their strands. Raises what rendering raises, and RuntimeError for other code."""
    code, dataset, formats = ORDER.decode(_heard(heard) or b"")
    if code != CODE:
        raise RuntimeError("The code on the disk is not the one that the worker runs; start the worker anew.")
    writers = [FORMATS[name].writer(dataset, io.BytesIO()) for name in formats]
    while (rows := _heard(heard)) is not None:
        _say(out, render(list(map(_row, ROWS.decode(rows))), writers))


def main() -> None:
    """A renderer at its pipes."""
    gc.freeze()
    # Whatever is printed by the way goes to the log. And not sys.stdout: with PYTHONUNBUFFERED that writes as much as
    # the pipe takes, and nobody writes the rest.
    out = os.dup(1)
    os.dup2(2, 1)
    with open(0, "rb", closefd=False) as heard, open(out, "wb") as answers:
        try:
            serve(heard, answers)
        # Who asked says so in full, where it is the rows.
        except Exception as error:
            sys.exit(f"A renderer gives up: {error!r}")
