"""A register copied from its file in a data directory to a server, or back, and the directory with it.

What is copied is not served until all of it is there and compared: the target says `copied`, the source then
says `left`, the directory changes over, and the target says `used`. Whoever opens a database that says one of
the first two is refused. So at any moment at most one of both can be served, and the same command again goes
on from wherever it was cut off.
"""

from __future__ import annotations

import platform
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import ca.published.store
import ca.store
from ca import apart, datadir, journal, listfiles, sqlite, whole
from ca.databaseserver import BadAddress
from ca.epochs import FOLDER
from ca.epochs import store as epochs
from ca.epochs.keyfiles import KeyFiles
from ca.errors import ConfigError
from ca.journal import Mark
from ca.signerlink import RemoteSigner
from ca.signing import NoSignature
from ca.storage import Filling, Table, Transaction, Whole, newer_than
from ca.store import Node, Owner
from ca.whole import Sum
from enroll import store
from gateway.running import rundir
from gateway.serving.config import read_config, read_database
from gateway.serving.database import DATABASE, be_of, open_database, server_of, whole_of
from gateway.serving.deployment import SCHEMAS, clock_of
from gateway.serving.standing import Belonging, belonging, compare, journal_of

#: Tables whose rows are a database's own, or its nodes'.
OWN = frozenset({"belongs_to", "journal_marks", "lead", "lead_beats", "epoch_asks", "crl_pieces"})
# Those that have rows as soon as they are made.
_LEAD = frozenset({"lead", "lead_beats"})
_SEEDED = _LEAD | {"counters"}
# Seconds in which a connection that was just let go of is gone.
_GONE = 3.0


@dataclass(frozen=True)
class Copied:
    """What came of it. ``sums``: of each table, the same on both sides; ``before``: whether it was copied by
    an earlier command, and this one has finished it; ``nodes``: others that shared the source; ``keys``: how
    many keys of windows are in none of this directory's files, although something is sealed by them."""

    source: str
    target: str
    node: str
    sums: Sequence[Sum]
    before: bool
    nodes: Sequence[Node]
    keys: int


@dataclass(frozen=True)
class _Way:
    """From where to where. ``url``: the source's, "" for the file; ``home``: whose directory."""

    data: Path
    source: Whole
    target: Whole
    url: str
    to_server: bool


def to_server(data: Path, url: str, actor: str) -> Copied:
    """The register of a directory onto a server, whose node the directory then is. ConfigError for whatever
    is in the way."""
    with _alone(data):
        way = _Way(data, sqlite.Whole(data / DATABASE), _at(data, url), "", to_server=True)
        if not way.source.exists():
            raise ConfigError(
                f"{data} has no register of its own ({DATABASE}): nothing is to be copied; write its address "
                "into database.url"
            )
        return _done(way, actor)


def from_server(data: Path, url: str, actor: str) -> Copied:
    """The register on a server into the directory of one of its nodes."""
    with _alone(data):
        known = belonging(data)
        way = _Way(data, _at(data, url), sqlite.Whole(data / DATABASE), url, to_server=False)
        if known is None and not way.target.exists():
            raise ConfigError(
                f"{data} is no node of a database on a server; make it one first: sekisho node join --from "
                f"NODE --data DIR, then: sekisho db copy --from {url} --data DIR"
            )
        return _done(way, actor)


def _at(data: Path, url: str) -> Whole:
    try:
        return whole_of(server_of(data, replace(read_database(data), url=url)))
    except BadAddress as error:
        # Not repeated: there may be a password in it.
        raise ConfigError(f"that is no address of a database: {error}") from None


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Nobody serves the directory, nor signs for it, until the block has ended."""
    datadir.read_marker(data)
    datadir.check_owner(data)
    with ExitStack() as held:
        directory = rundir.run_directory(data)
        advice = "stop it first (systemctl stop sekisho), then the same again"
        held.enter_context(closing(rundir.hold(data, advice)))
        lock = rundir.take(directory / rundir.SIGNER)
        if lock is None or _is_signed_for(data):
            raise ConfigError(
                f"a signer of {data} runs: stop it first (systemctl stop sekisho-signer), then the same again"
            )
        held.enter_context(closing(lock))
        yield


def _is_signed_for(data: Path) -> bool:
    """Whether the signer runs whose directory is its own."""
    if apart.home_of(data) is None:
        return False
    try:
        RemoteSigner(Path(read_config(data).signer.socket)).ask_now({"ask": "status"})
    except NoSignature:
        return False
    return True


def _done(way: _Way, actor: str) -> Copied:
    tables = sqlite.layout(SCHEMAS)
    with way.source.snapshot() as db:
        begun = _judged_source(way, db)
    there = _judged_target(way, tables, begun)
    if begun.state == "used":
        _say(way, actor)
    _check_others(way.target if way.to_server else way.source)
    with way.source.snapshot() as db:
        _check_shape(way.source, db)
    with way.source.held(tables) as old:
        found = ca.store.owner(old)
        assert found is not None
        others = [each for each in ca.store.nodes(old) if each.node_id not in ("", _node(way))]
        keys = _missing(way, old)
        if found.state == "left":
            made, (sums, node) = found.other, _compared(way, tables, old)
        else:
            made, node = secrets.token_hex(16), secrets.token_hex(16) if way.to_server else ""
            sums = _filled(way, tables, old, there, Owner(found.ca, made, "copied", found.identifier), node)
            ca.store.own(old, Owner(found.ca, found.identifier, "left", made))
    _change_over(way, tables, made, node)
    return Copied(way.source.name, way.target.name, node, sums, begun.state == "left", others, keys)


def _node(way: _Way) -> str:
    known = belonging(way.data)
    return "" if known is None or way.to_server else known.node


# -- what is in the way ----------------------------------------------------------------------------------


def _judged_source(way: _Way, db: Transaction) -> Owner:
    name = way.source.name
    if newer := newer_than(SCHEMAS, way.source.steps(db)):
        raise ConfigError(f"{name}: {newer}")
    found = ca.store.owner(db)
    if found is None:
        raise ConfigError(f"{name} is empty, and nobody's yet: nothing is to be copied")
    _check_ours(way.data, name, found)
    known = belonging(way.data)
    if not way.to_server and known is not None and known.database not in ("", found.identifier):
        raise ConfigError(
            f"{name} is another database than the one that {way.data} belongs to; name that one, which "
            "stands in database.url"
        )
    if found.state == "copied":
        raise ConfigError(
            f"{name} is itself a copy that was not finished: type first again what began it (sekisho db copy)"
        )
    return found


def _judged_target(way: _Way, tables: Sequence[Table], source: Owner) -> Owner | None:
    """Whose the target is; None for one that is new. ConfigError for any but that, and a copy of this source
    that nobody has served."""
    found = _owner_of(way, tables) if way.to_server or way.target.exists() else None
    if source.state == "left":
        if found is None or found.identifier != source.other:
            raise ConfigError(
                f"{way.source.name} was copied already, and not to {way.target.name}: name the database "
                "where it is now, or copy from there"
            )
        if found.state != "copied":
            raise ConfigError(
                f"{way.source.name} was copied to {way.target.name} already: write "
                f"{'its address' if way.to_server else repr('')} into database.url of {way.data}, then: "
                "sekisho doctor"
            )
    elif found is not None and (found.state, found.other) != ("copied", source.identifier):
        raise _not_empty(way, "an older state of it" if found.state == "left" else "a register")
    return found


def _owner_of(way: _Way, tables: Sequence[Table]) -> Owner | None:
    """Of the target; None for one without rows. ConfigError for what is none of ours."""
    name = way.target.name
    with way.target.snapshot() as db:
        there = way.target.shape(db).keys()
        if strange := sorted(there - way.target.made_shape(SCHEMAS).keys()):
            raise ConfigError(
                f"{name} has tables that are none of ours ({', '.join(strange[:5])}): name a database of its "
                "own: createdb, as docs/operations/postgresql.md says"
            )
        if there and (newer := newer_than(SCHEMAS, way.target.steps(db))):
            raise ConfigError(f"{name}: {newer}")
        found = ca.store.owner(db) if "belongs_to" in there else None
        if found is not None:
            _check_ours(way.data, name, found)
            return found
        named = [each for each in tables if each.name in there and each.name not in _SEEDED]
        if full := [each.name for each in named if not whole.store.is_empty(db, each)]:
            raise _not_empty(way, f"{', '.join(full[:5])} have rows")
    return None


def _not_empty(way: _Way, what: str) -> ConfigError:
    if way.to_server:
        return ConfigError(
            f"{way.target.name} is not empty ({what}): name another database, or make it anew, if nobody "
            "needs it: dropdb, then createdb, as docs/operations/postgresql.md says"
        )
    return ConfigError(
        f"{way.target.name} is there ({what}): put it aside first, if nobody needs it: "
        f"mv {way.target.name} {way.target.name}.old"
    )


def _check_ours(data: Path, name: str, found: Owner) -> None:
    own = datadir.identity(data)
    if found.ca != own:
        raise ConfigError(
            f"{name} is another CA's (its root is {found.ca[:16]}, that of {data} is {own[:16]}): name this "
            "one's, or that one's data directory"
        )


def _check_others(side: Whole) -> None:
    ends = time.monotonic() + _GONE
    while True:
        with side.snapshot() as db:
            others = side.others(db)
        if not others:
            return
        if time.monotonic() > ends:
            raise ConfigError(
                f"others of ours are connected to {side.name}: {', '.join(others)}: stop the gateways and "
                "signers of all its nodes first (sekisho node list), then the same again"
            )
        time.sleep(0.1)


def _check_shape(side: Whole, db: Transaction) -> None:
    wrong = whole.differences(side.shape(db), side.made_shape(SCHEMAS))
    if wrong:
        raise ConfigError(
            f"{side.name} is not as it was made: {wrong[0]}; see all of it, and mend that first: sekisho db "
            "check"
        )


# -- what is done ----------------------------------------------------------------------------------------


def _say(way: _Way, actor: str) -> None:
    """In the record and in the journal, of which all has come into the source. ConfigError if it has not."""
    data, kept = way.data, journal_of(way.data)
    settings = replace(read_database(data), url=way.url)
    at = clock_of(data).seconds()

    def work(db: Transaction) -> None:
        db.note("copied", to=way.target.name)
        store.audit(db, at, actor, "database.copied", "database", source=way.source.name, to=way.target.name)

    opened = open_database(data, settings, SCHEMAS, ca_id=kept.ca, kept=kept, cache_mib=8, pool=2)
    with closing(opened) as database:
        if compare(data, kept, database) == "undecided":
            raise ConfigError(
                f"a crash has left something undone in {data}: sekisho doctor does it; then the same again"
            )
        database.write_now(work)


def _filled(
    way: _Way, tables: Sequence[Table], old: Transaction, there: Owner | None, own: Owner, node: str
) -> Sequence[Sum]:
    """Copies and compares, in one transaction of the target's."""
    mark = _level(way, old)
    with way.target.filling(SCHEMAS) as new:
        found = ca.store.owner(new)
        if found is not None and found != there:
            raise _not_empty(way, "somebody has taken it meanwhile")
        new.clear([each.name for each in tables if each.name not in _LEAD])
        read = list(whole.copied(old, new, [each for each in tables if each.name not in OWN]))
        _check_same(way, read, new, tables)
        ca.store.own(new, own)
        ca.store.place_node(new, node, platform.node() if node else "", mark.number, mark.hash)
        if way.to_server:
            _keep_lists(way, new)
    return read


def _compared(way: _Way, tables: Sequence[Table], old: Transaction) -> tuple[Sequence[Sum], str]:
    """The same of a copy that was made before; and by what it knows the directory."""
    read = list(whole.sums(old, [each for each in tables if each.name not in OWN]))
    with way.target.snapshot() as new:
        _check_same(way, read, new, tables)
        (node,) = ca.store.nodes(new)
    tail = journal.tail_of(way.data / journal.FOLDER)
    if tail is None or tail.mark.number != node.number:
        raise _not_level(way)
    return read, node.node_id


def _check_same(way: _Way, read: Sequence[Sum], new: Transaction, tables: Sequence[Table]) -> None:
    written = list(whole.sums(new, [each for each in tables if each.name not in OWN]))
    if differing := [one.table for one, other in zip(read, written, strict=True) if one != other]:
        raise ConfigError(
            f"{', '.join(differing)} came out of {way.target.name} otherwise than they went in: nothing was "
            "changed; see whether its disk and memory are sound, then the same again"
        )


def _level(way: _Way, old: Transaction) -> Mark:
    """The last line of the journal, which the source has seen."""
    tail = journal.tail_of(way.data / journal.FOLDER)
    if tail is None or Mark(*ca.store.journal_mark(old, _node(way))) != tail.mark:
        raise _not_level(way)
    return tail.mark


def _not_level(way: _Way) -> ConfigError:
    return ConfigError(
        f"{way.data / journal.FOLDER} does not end where the database does: see what is wrong: sekisho doctor"
    )


def _keep_lists(way: _Way, new: Filling) -> None:
    """The files of lists, for nodes that are still to come."""
    folder = listfiles.folder_of(way.data)
    for listed in ca.published.store.published_lists(new):
        if listfiles.is_whole(folder, listed):
            ca.published.store.keep_content(new, listed, listfiles.pieces_of(folder, listed))


def _missing(way: _Way, old: Transaction) -> int:
    """Keys of windows that other nodes have, and this directory has not."""
    files = KeyFiles(way.data / FOLDER)
    return sum(not files.has(each.name) for each in epochs.every(old) if each.retired_at is None)


def _change_over(way: _Way, tables: Sequence[Table], made: str, node: str) -> None:
    """The directory is of the target from now on. Each step can be done again."""
    journal.pass_on(way.data / journal.FOLDER, node)
    if not way.to_server:
        _take_lists(way)
    with way.target.held(tables) as db:
        found = ca.store.owner(db)
        assert found is not None
        be_of(way.data, Belonging(node, made) if way.to_server else None)
        ca.store.own(db, replace(found, state="used"))


def _take_lists(way: _Way) -> None:
    folder = listfiles.folder_of(way.data)
    with way.source.snapshot() as db:
        for listed in ca.published.store.published_lists(db):
            pieces = ca.published.store.content_of(db, listed)
            if pieces and not listfiles.is_whole(folder, listed):
                listfiles.put(folder, listed, pieces)
