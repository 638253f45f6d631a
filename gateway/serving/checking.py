"""A database looked at as a whole, in one snapshot, whoever writes to it meanwhile: are its tables as the
product makes them, and does what it says agree with itself, with the journal and with the keys of windows?

Tables are read page by page. Nothing is written, and nobody waits.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from cryptography import x509

import ca.published.store
import ca.store
from ca import datadir, journal, sqlite, whole
from ca.certificates import serial_hex
from ca.epochs import FOLDER
from ca.epochs import store as epochs
from ca.epochs.keyfiles import KeyFiles
from ca.errors import ConfigError
from ca.journal import BEGINNING, BrokenJournal, Tail
from ca.storage import Shape, Table, Transaction, Whole, newer_than
from ca.store import Kept
from enroll import store
from enroll.audit import Checkpoint, Line, surviving, verify
from enroll.soundness.store import COUNTERS, REFERENCES, RULES, breaking, counters
from gateway.serving.config import read_database
from gateway.serving.database import DATABASE, server_of, whole_of
from gateway.serving.deployment import SCHEMAS, SEALED
from gateway.serving.standing import node_of

# Of a kind that are told; lines of the record, and certificates, that are read at once.
_TOLD, _LINES, _CERTIFICATES = 20, 5_000, 500
_RESTORE = "docs/operations/recovery.md"
_SERVER = "docs/operations/postgresql.md"
# What `whole.differences` says of one that can be made again.
_LOST_INDEX = re.compile(r"table (\w+): (index \w+) is missing")
# Whoever has one is not this engine's.
_NOT_OURS = (
    "it was altered by hand: put back what stood there, or restore a backup: docs/operations/recovery.md"
)


@dataclass(frozen=True)
class Trouble:
    """``check``: a word for scripts. ``hint``: what to type, or where to look."""

    check: str
    what: str
    hint: str


@dataclass(frozen=True)
class _Told:
    """What the journal had told before the snapshot: its checkpoints, and the highest number of each list."""

    tail: Tail | None
    checkpoints: Sequence[Checkpoint]
    lists: Mapping[str, int]
    broken: str


@dataclass(frozen=True)
class _Look:
    """What each check is given."""

    data: Path
    side: Whole
    db: Transaction
    tables: Sequence[Table]
    told: _Told
    #: The journal's end when the snapshot had begun.
    tail: Tail | None


def troubles(data: Path) -> Iterator[Trouble]:
    """Everything that is wrong with the database of a directory, by the table below, so many of a kind at
    most. ConfigError where it cannot be reached."""
    datadir.read_marker(data)
    datadir.check_owner(data)
    settings = read_database(data)
    side: Whole = sqlite.Whole(data / DATABASE)
    if settings.url:
        side = whole_of(server_of(data, settings))
    elif not side.exists():
        raise ConfigError(f"{data} has no register yet; what serves makes it: sekisho serve")
    made, told = side.made_shape(SCHEMAS), _told_by(data)
    with side.snapshot() as db:
        found = side.shape(db)
        if not found.keys() & made.keys():
            raise ConfigError(
                f"the database {side.name} has none of our tables: correct database.url; a new one is "
                "filled by sekisho db copy --to URL, or made by sekisho serve"
            )
        # From here on it is one moment's.
        look = _Look(data, side, db, sqlite.layout(SCHEMAS), told, journal.tail_of(data / journal.FOLDER))
        yield from _shape(found, made)
        if gone := _gone(found, made):
            hint = "mend the tables first, then the same again"
            yield Trouble("schema", f"the rest was not looked at, since {gone} is missing", hint)
            return
        if astray := list(_owner(look)):
            # What the directory says of its own database fits no other one.
            yield from astray
            return
        for check in CHECKS:
            yield from check(look)


# -- tables ----------------------------------------------------------------------------------------------


def _shape(found: Shape, made: Shape) -> Iterator[Trouble]:
    for each in whole.differences(found, made):
        hint = _NOT_OURS
        if each.endswith("is none of ours"):
            hint = "see who made it, and take it away, or give it a database of its own"
        elif lost := _LOST_INDEX.fullmatch(each):
            hint = f"make it, in psql or sqlite3: {made[lost[1]][lost[2]]};"
        yield Trouble("schema", each, hint)


def _gone(found: Shape, made: Shape) -> str:
    """A table or a column without which nothing else can be asked."""
    for name, parts in made.items():
        if name not in found:
            return f"table {name}"
        for part in parts:
            if part.startswith("column ") and part not in found[name]:
                return f"{part} of {name}"
    return ""


def _steps(look: _Look) -> Iterator[Trouble]:
    taken = look.side.steps(look.db)
    if newer := newer_than(SCHEMAS, taken):
        what, _, hint = newer.partition("; ")
        yield Trouble("schema", what, hint)
    known = {(schema.room, step.name) for schema in SCHEMAS for step in schema.steps}
    for room, name in sorted(known - taken):
        yield Trouble(
            "schema", f"the step {room}: {name} was not taken", "sekisho serve takes it when it starts"
        )


def _damage(look: _Look) -> Iterator[Trouble]:
    for each in look.side.damage(look.db):
        yield Trouble("damage", each, f"restore a backup: {_RESTORE}")


def _numbering(look: _Look) -> Iterator[Trouble]:
    for table in look.tables:
        if not table.identity:
            continue
        given = look.side.numbering(look.db, table.name, table.identity)
        there = whole.store.highest(look.db, table, table.identity)
        if given is not None and given < there:
            yield Trouble(
                "numbering",
                f"{table.name} goes on behind {given}, and {there} is there: what comes would be refused",
                f"psql -c \"SELECT setval(pg_get_serial_sequence('{table.name}', '{table.identity}'),"
                f' {there})"',
            )


# -- rows ------------------------------------------------------------------------------------------------


def _owner(look: _Look) -> Iterator[Trouble]:
    found, own = ca.store.owner(look.db), datadir.identity(look.data)
    again = "type the same sekisho db copy again"
    if found is None:
        yield Trouble("owner", "it is nobody's", "sekisho serve makes it this CA's")
    elif found.ca != own:
        yield Trouble("owner", f"it is another CA's ({found.ca[:16]})", "correct database.url")
    elif found.state == "left":
        hint = f"correct database.url, or, where the copy was cut off, {again}"
        yield Trouble("owner", "a copy that is left: another one is served instead", hint)
    elif found.state != "used":
        yield Trouble("owner", f"it is a copy that is {found.state}", again)


def _counters(look: _Look) -> Iterator[Trouble]:
    for name in sorted(COUNTERS - counters(look.db)):
        yield Trouble("counters", f"the counter {name} is missing", f"restore a backup: {_RESTORE}")


def _rules(look: _Look) -> Iterator[Trouble]:
    for rule in RULES:
        rows = list(breaking(look.db, rule, _TOLD + 1))
        for row in rows[:_TOLD]:
            yield Trouble(rule.name, rule.words.format(*row), rule.hint.format(*row))
        yield from _more(rule.name, rows, rule.hint.format("ID"))


def _references(look: _Look) -> Iterator[Trouble]:
    by_name = {each.name: each for each in look.tables}
    declared = [(each.name, refers) for each in look.tables for refers in each.references]
    for name, refers in (*declared, *REFERENCES):
        table = by_name[name]
        rows = list(whole.store.astray(look.db, table, refers, _TOLD + 1))
        hint = f"restore a backup, or see what took it away: sekisho audit show; {_RESTORE}"
        for row in rows[:_TOLD]:
            *key, value = (each.hex() if isinstance(each, bytes) else str(each) for each in row)
            what = f"{name} {' '.join(key)}: its {refers.column} {value} is not among {refers.table}"
            yield Trouble("reference", what, hint)
        yield from _more("reference", rows, hint)


def _certificates(look: _Look) -> Iterator[Trouble]:
    """Each is the one that was reserved, and the one that its row tells of."""
    after = 0
    told = 0
    while page := ca.store.kept_page(look.db, after, _CERTIFICATES):
        for row in page:
            if (wrong := _disagrees(row)) and told < _TOLD:
                told += 1
                yield Trouble(
                    "certificate", f"certificate {row.serial}: {wrong}", f"sekisho cert show {row.serial}"
                )
        after = page[-1].number


def _disagrees(row: Kept) -> str:
    """What of a certificate is not as its row or its reservation says; "" if all of it is."""
    try:
        reserved = _reservation(row.template)
        spki = bytes.fromhex(str(reserved.get("spki", "")))
    except ValueError:
        return "its reservation cannot be read"
    if reserved.get("serial") != row.serial or hashlib.sha256(spki).hexdigest() != row.spki_sha256:
        return "its reservation is another's"
    if row.der is None:
        return ""
    if ca.store.fingerprint_of(row.der) != row.fingerprint:
        return "its fingerprint is not that of its octets"
    try:
        made = x509.load_der_x509_certificate(row.der)
        ends = int(made.not_valid_after_utc.timestamp())
    except ValueError:
        return "it cannot be read"
    if serial_hex(made.serial_number) != row.serial or ends != row.not_after_at or spki not in row.der:
        return "it is another one than was reserved"
    return ""


def _reservation(template: str) -> Mapping[str, Any]:
    found = json.loads(template)
    if not isinstance(found, dict):
        raise ValueError
    return found


def _sealed(look: _Look) -> Iterator[Trouble]:
    """What is sealed for a while is so under an epoch that is open, and whose key is here."""
    for place in SEALED:
        rows = epochs.astray(look.db, place, _TOLD + 1)
        hint = "sekisho request reissue for whose certificate it was; else it is made anew by who misses it"
        for record in rows[:_TOLD]:
            what = f"{place.table} {record}: its {place.column} is sealed under an epoch that is over"
            yield Trouble("sealed", what, hint)
        yield from _more("sealed", rows, hint)
    files = KeyFiles(look.data / FOLDER)
    for epoch in epochs.every(look.db):
        if epoch.retired_at is not None or files.has(epoch.name):
            continue
        count = sum(epochs.count(look.db, place, epoch.name) for place in SEALED)
        if count:
            what = f"the key {epoch.name.hex()} of {count} sealed records is not in {files.folder}"
            yield Trouble("sealed", what, f"copy it there from another node, or: {_RESTORE}")


def _record(look: _Look) -> Iterator[Trouble]:
    found = verify(_audit(look.db), store.audit_counted(look.db), look.told.checkpoints)
    some = list(islice(found, _TOLD + 1))
    for each in some[:_TOLD]:
        yield Trouble("audit", f"line {each.number} of the record: {each.what}", "sekisho audit verify")
    yield from _more("audit", some, "sekisho audit verify")


def _audit(db: Transaction) -> Iterator[Line]:
    after = 0
    while page := store.audit_lines(db, after, _LINES):
        yield from page
        after = page[-1].id


# -- journal and nodes -----------------------------------------------------------------------------------


def _told_by(data: Path) -> _Told:
    folder = data / journal.FOLDER
    tail = journal.tail_of(folder)
    kept: list[tuple[int, str, Mapping[str, Any]]] = []
    broken = ""
    try:
        for entry in journal.entries(folder, journal.begins_after(folder)) if tail is not None else ():
            # Of a line that nothing came after nothing was committed.
            while kept and kept[-1][0] > entry.after:
                kept.pop()
            wanted = ("checkpoint", "list", journal.REPLAYED)
            kept += [(entry.number, kind, facts) for kind, facts in entry.notes if kind in wanted]
    except BrokenJournal as error:
        broken = str(error)
    # The last line may still come to nothing.
    sure = 0 if tail is None else tail.mark.number if tail.done else tail.after
    notes = [each for each in kept if each[0] <= sure]
    lists: dict[str, int] = {}
    for _, kind, facts in notes:
        if kind == "list":
            lists[facts["issuer_id"]] = max(lists.get(facts["issuer_id"], 0), int(facts["number"]))
    return _Told(tail, surviving(notes), lists, broken)


def _journal(look: _Look) -> Iterator[Trouble]:
    """The mark lies between what the journal knew to be committed before the snapshot, and its end after."""
    node, before, after = node_of(look.data), look.told.tail, look.tail
    number, digest = ca.store.journal_mark(look.db, node)
    hint = f"sekisho restore replay --data {look.data}, while nobody serves it"
    if look.told.broken:
        yield Trouble("journal", look.told.broken, f"put its newest copy into {look.data / journal.FOLDER}")
    if before is None or after is None:
        if number:
            yield Trouble("journal", f"it is missing, and the database has seen line {number}", hint)
        return
    if before.node != node:
        yield Trouble("journal", "it is another node's, or another register's", _SERVER)
        return
    seen = before.mark.number if before.done else before.after
    if number < seen:
        what = f"the database has seen line {number} of the journal, which knows of {seen}: it is older"
        yield Trouble("journal", what, hint)
    elif number > after.mark.number:
        what = f"the journal ends at line {after.mark.number}, and the database has seen {number}"
        yield Trouble("journal", what, f"put its newest copy into {look.data / journal.FOLDER}")
    elif not look.told.broken and not _has_line(look.data, journal.Mark(number, digest)):
        yield Trouble("journal", f"line {number} of it is not the one that the database has seen", hint)


def _has_line(data: Path, mark: journal.Mark) -> bool:
    if mark == BEGINNING:
        return True
    try:
        for _ in journal.entries(data / journal.FOLDER, mark):
            break
    except BrokenJournal:
        return False
    return True


def _lists(look: _Look) -> Iterator[Trouble]:
    """Numbers of lists only grow: none was published that the journal tells of and the database does not."""
    numbers = {each.issuer_id: each.number for each in ca.published.store.published_lists(look.db)}
    for issuer, number in look.told.lists.items():
        if numbers.get(issuer, 0) < number:
            what = f"list {number} of {issuer} was published, and the database knows {numbers.get(issuer, 0)}"
            yield Trouble("list", what, f"sekisho restore replay --data {look.data}, while nobody serves it")


def _nodes(look: _Look) -> Iterator[Trouble]:
    own = node_of(look.data)
    known = {each.node_id: each for each in ca.store.nodes(look.db)}
    if own not in known and look.told.tail is not None and look.told.tail.mark.number:
        yield Trouble("node", f"{look.data} is none of its nodes", "sekisho node list; " + _SERVER)
    for each in known.values():
        # A file has one, without a name; a server has those that have one.
        if bool(each.node_id) != bool(own):
            what = f"node {each.node_id[:8] or 'without a name'} is none that such a database has"
            yield Trouble("node", what, "sekisho node list; " + _SERVER)
        if each.behind:
            what = f"the journal of {each.name or 'this directory'} was not compared since it was put back"
            yield Trouble("node", what, "type there: sekisho restore replay")


def _more(check: str, found: Sequence[Any], hint: str) -> Iterable[Trouble]:
    return [Trouble(check, "and there are more of these", hint)] if len(found) > _TOLD else []


Check = Callable[[_Look], Iterator[Trouble]]
#: In this order: what others rest on comes first.
CHECKS: Sequence[Check] = (
    *(_damage, _steps, _counters, _numbering),
    *(_certificates, _rules, _references, _sealed),
    *(_record, _journal, _lists, _nodes),
)
