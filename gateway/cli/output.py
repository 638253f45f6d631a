"""What a command writes to standard output: JSON or text, of any length, and told when it did not arrive."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO, Any, NoReturn, Protocol, TextIO

# So many rows are measured before the first is written; a longer table goes on in their columns.
_MEASURED = 200


class Console(Protocol):
    """What is used of a console of rich's. That is loaded where something is drawn, and nowhere else: in an
    answer of JSON or a few lines it would be most of what the command costs."""

    @property
    def width(self) -> int: ...

    @property
    def file(self) -> IO[str]: ...

    def print(self, *objects: Any, soft_wrap: bool | None = None) -> None: ...


class OutputLost(Exception):
    """What a command had to say did not reach standard output; the text is why.

    ``undone`` says what was taken back and what to type.
    """

    def __init__(self, reason: str, undone: str = "") -> None:
        super().__init__(reason)
        self.undone = undone


class ReaderLeft(Exception):
    """Whoever read the answer has seen enough (`| head`). click would end with 1 for a BrokenPipeError."""


@dataclass(frozen=True)
class Lines:
    """An answer that people read as a few lines: written as they are, or by a console among other things."""

    lines: tuple[str, ...]

    def __call__(self, console: Console) -> None:
        from rich.text import Text

        for line in self.lines:
            console.print(Text(clean(line)), soft_wrap=True)

    def write(self, stream: TextIO) -> None:
        """The same without a console, which takes longer to load than most commands take."""
        stream.writelines(f"{clean(line)}\n" for line in self.lines)


def console_for(stderr: bool = False) -> Any:
    """The console (rich's) of standard output, or of standard error."""
    from rich import console

    class Own(console.Console):
        def on_broken_pipe(self) -> NoReturn:
            # Rich would end the process here, with whatever the command has to undo.
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    stream = sys.stderr if stderr else sys.stdout
    # Rich takes 80 columns where there is no terminal; scripts want a row on one line.
    width = None if stream is not None and stream.isatty() else 200
    return Own(file=stream, highlight=False, emoji=False, width=width)


def write_answer(value: Mapping[str, Any], show: Callable[[Console], None], *, as_json: bool) -> None:
    """Writes an answer and sees that it arrived. OutputLost or ReaderLeft if it did not."""
    with _arriving() as stream:
        if as_json:
            for part in json_parts(value):
                stream.write(part)
        elif isinstance(show, Lines):
            show.write(stream)
        else:
            show(console_for())
        stream.flush()
        settle(stream)


def write_part(part: bytes) -> None:
    """Writes a part of a file to standard output, octet by octet: the encoding of a terminal has no say.
    OutputLost or ReaderLeft if it did not arrive."""
    with _arriving() as stream:
        if (elsewhere := getattr(stream, "write_octets", None)) is not None:
            elsewhere(part)
        else:
            stream.buffer.write(part)
            stream.flush()


def write_end() -> None:
    """Sees that all of it is where it goes."""
    with _arriving() as stream:
        settle(stream)


@contextmanager
def _arriving() -> Iterator[TextIO]:
    """Standard output, for the length of a block."""
    stream = sys.stdout
    if stream is None:
        raise OutputLost("it is closed")
    try:
        yield stream
    except BrokenPipeError as error:
        _forget(stream)
        raise ReaderLeft from error
    except OSError as error:
        _forget(stream)
        raise OutputLost(error.strerror or type(error).__name__) from error


def json_parts(value: Mapping[str, Any]) -> Iterator[str]:
    """One JSON document in pieces; an iterator among the values becomes an array, written as it comes."""
    if not any(isinstance(each, Iterator) for each in value.values()):
        yield json.dumps(value, ensure_ascii=False, indent=2) + "\n"
        return
    separator = "{\n  "
    for name, each in value.items():
        yield f"{separator}{json.dumps(name)}: "
        if isinstance(each, Iterator):
            yield from _array(each)
        else:
            yield json.dumps(each, ensure_ascii=False)
        separator = ",\n  "
    yield "\n}\n"


def _array(records: Iterator[Any]) -> Iterator[str]:
    encode, before = json.JSONEncoder(ensure_ascii=False).encode, "[\n    "
    for record in records:
        yield before + encode(record)
        before = ",\n    "
    yield "[]" if before.startswith("[") else "\n  ]"


def write_table(
    console: Console,
    records: Iterable[Mapping[str, Any]],
    columns: Mapping[str, str],
    cell: Callable[[str, Any], str],
) -> None:
    """A table; beyond its first rows line by line, in the widths of those."""
    from rich.cells import cell_len
    from rich.text import Text

    rows = ([clean(cell(name, record.get(name))) for name in columns] for record in records)
    first = list(islice(rows, _MEASURED))
    following = next(rows, None)
    if following is None:
        _whole_table(console, first, columns)
        return
    widths = [max(map(cell_len, cells)) for cells in zip(columns.values(), *first, strict=True)]
    console.print(Text(_line(columns.values(), widths), style="bold"), soft_wrap=True)
    stream = console.file
    for row in chain(first, [following], rows):
        stream.write(_line(row, widths) + "\n")


def _whole_table(console: Console, rows: list[list[str]], columns: Mapping[str, str]) -> None:
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    # What a row is about stays in one piece as long as that takes nobody else's room. Its width is fixed
    # where there is too little: rich gives a least width after it has shared the room out, and cuts the rest.
    texts = zip(columns.values(), *rows, strict=True)
    natural = [max(map(cell_len, column)) for column in texts]
    rest = sum(natural[1:]) + 2 * (len(natural) - 1)
    first = min(natural[0], max(console.width // 4, console.width - rest))
    fixed = first if natural[0] + rest > console.width else None
    for number, heading in enumerate(columns.values()):
        table.add_column(heading, overflow="fold", width=fixed if number == 0 else None)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
    if not rows:
        console.print("(none)")


def _line(cells: Iterable[str], widths: list[int]) -> str:
    from rich.cells import cell_len

    padded = (text + " " * (width - cell_len(text)) for text, width in zip(cells, widths, strict=True))
    return "  ".join(padded).rstrip()


def clean(text: str) -> str:
    """Text for a terminal: what strangers typed must not move the cursor or change colours."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


def settle(stream: TextIO | None) -> None:
    """Has a file on the disk, or hears that it cannot be: some file systems say so only then."""
    if stream is None:
        return
    if (elsewhere := getattr(stream, "settle", None)) is not None:
        elsewhere()
        return
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return
    if stat.S_ISREG(os.fstat(number).st_mode):
        os.fsync(number)


def _forget(stream: TextIO) -> None:
    """What was not written is not tried again: Python would complain while it ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError):
        return
