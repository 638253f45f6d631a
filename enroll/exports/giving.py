"""An export as it is given: page after page, counted, and told in the trail when it begins and when it ends.

Each page is a read of its own, which begins behind the last row of the one before: no snapshot of the
database is held while somebody's line is slow, and a million rows take no more memory than a page. So a file
is not of one moment. A row that is there from the beginning to the end is in it exactly once, with what stood
in it when its page was read; one that is recorded, or stops fitting, meanwhile may be in it or not. How many
there were at the beginning is told then, how many the file has at its end. Who may no longer have the rest
does not get it: roles are asked for each page.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ca.storage import Transaction
from enroll import store
from enroll.exports.forms import End, Form, end_in
from enroll.exports.tables import Asking, Closing, Part, Start, Table
from enroll.listings import store as pages
from enroll.operators.actors import Actor, asked_again
from enroll.ra import RegistrationAuthority

#: Rows of a page: some 100 KiB, and a few milliseconds of a processor.
PAGE = 500
#: Exports that an operator has from one worker at the same time.
MOST_AT_ONCE = 2
#: Acts in the trail. One that has begun and not ended has broken off, or goes on.
BEGUN, ENDED, BROKEN = "export.begun", "export.ended", "export.failed"
# What somebody typed to find people by is personal, and the trail keeps it for years.
_TYPED = ("q",)


@dataclass
class Tally:
    """What was given so far."""

    rows: int = 0
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, part: bytes) -> bytes:
        self.size += len(part)
        self.digest.update(part)
        return part


@dataclass(frozen=True)
class Export:
    """One that has begun. ``number``: what its lines in the trail, and its last line, know it by."""

    number: str
    table: Table
    form: Form
    asked: Asking
    start: Start
    tally: Tally = field(default_factory=Tally)


async def begun(
    ra: RegistrationAuthority,
    actor: Actor,
    table: Table,
    form: Form,
    wanted: Any,
    said: Mapping[str, str],
    closing: Callable[[], Awaitable[Closing]] | None = None,
) -> Export:
    """Counts, says in the trail that it begins, and has what ``closing`` makes, which may fail.

    ``said``: what narrows it, by the names in the address of its page. Refusal("not_permitted").
    """
    asked = Asking(ra, actor, ra.now(), wanted)

    def count(db: Transaction) -> Start:
        table.require(actor)
        return table.begin(db, asked)

    start = await ra.database.read_aside(count)
    made = Export(secrets.token_hex(8), table, form, asked, start)
    told = {name: "(typed)" if name in _TYPED else value for name, value in said.items()}
    await _tell(made, BEGUN, form=form.suffix, filter=told, rows=start.rows)
    if closing is None:
        return made
    try:
        return replace(made, start=replace(start, closing=await closing()))
    except BaseException:
        await _tell(made, BROKEN, rows=0)
        raise


async def parts(made: Export) -> AsyncGenerator[bytes]:
    """The file, part by part; the next page is read when the last part was taken. To be closed by whoever
    takes them (`contextlib.aclosing`): one that is given up is told in the trail as such."""
    tally, table, form = made.tally, made.table, made.form
    try:
        if heading := form.begin(table):
            yield tally.add(heading)
        place = made.start.place
        while True:
            part, content = await made.asked.ra.database.read_aside(lambda db: _page(db, made, place))  # noqa: B023
            tally.rows += len(part.records)
            if content:
                yield tally.add(content)
            if part.place is None:
                break
            place = part.place
        yield tally.add(form.close(table, made.start.closing, End(made.number, tally.rows)))
    except BaseException:
        await _tell(made, BROKEN, rows=tally.rows, bytes=tally.size)
        raise
    await _tell(made, ENDED, rows=tally.rows, bytes=tally.size, sha256=tally.digest.hexdigest())


def _page(db: Transaction, made: Export, place: Any) -> tuple[Part, bytes]:
    """Written where it is read: beside the loop that serves everybody."""
    asked, table = made.asked, made.table
    now = asked_again(db, asked.actor, asked.ra.now())
    table.require(now)
    part = table.page(db, replace(asked, actor=now), place, PAGE)
    if not part.records:
        return part, b""
    return part, made.form.rows(table, part.records, made.tally.rows == 0)


async def _tell(made: Export, action: str, **told: Any) -> None:
    ra, name = made.asked.ra, made.asked.actor.name
    await ra.database.write(
        lambda db: store.audit(db, ra.now(), name, action, made.table.name, export=made.number, **told)
    )


@dataclass(frozen=True)
class Found:
    """What the trail says of a file that is at hand: who took it, when, and how many rows it has."""

    number: str
    by: str
    at: int
    table: str
    rows: int


def found_again(db: Transaction, last_line: str, digest: str) -> Found:
    """The export that a file is, by its last line and its SHA-256 in hex. ValueError says what is wrong."""
    end = end_in(last_line)
    if end is None:
        raise ValueError("its last line is not that of an export: it has broken off, or is none")
    last = 2**62
    while lines := pages.audit(db, pages.Acts(action=ENDED), last, PAGE):
        for each in lines:
            told = json.loads(each["detail"] or "{}")
            if each["action"] == ENDED and told.get("export") == end.export:
                if (told.get("sha256"), told.get("rows")) != (digest, end.rows):
                    raise ValueError(f"it was altered since it was given as export {end.export}")
                return Found(end.export, each["actor"], each["at"], each["subject"], end.rows)
        last = int(lines[-1]["id"])
    raise ValueError(f"the record knows no export {end.export} that has ended")


async def tell_file(
    ra: RegistrationAuthority, actor: Actor, name: str, content: bytes, rows: int, **told: Any
) -> None:
    """Says in the trail that a small file leaves that was made as a whole: its beginning and its end."""
    number, at = secrets.token_hex(8), ra.now()

    def work(db: Transaction) -> None:
        store.audit(db, at, actor.name, BEGUN, name, export=number, rows=rows, **told)
        facts = {"rows": rows, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        store.audit(db, at, actor.name, ENDED, name, export=number, **facts)

    await ra.database.write(work)


class Places:
    """How many exports each operator has from this process."""

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self._most = most
        self._taken: dict[str, int] = {}

    @contextmanager
    def one(self, identity: str) -> Iterator[bool]:
        """A place for the length of a block; False if there is none left."""
        if self._taken.get(identity, 0) >= self._most:
            yield False
            return
        self._taken[identity] = self._taken.get(identity, 0) + 1
        try:
            yield True
        finally:
            self._taken[identity] -= 1
            if not self._taken[identity]:
                del self._taken[identity]
