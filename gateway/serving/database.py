"""Opens a deployment's database, whichever it is: the file in its directory, or one on a server."""

from __future__ import annotations

import json
import os
import platform
import secrets
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import ca.store
from ca import databaseserver, journal, servers, sqlite
from ca.databaseserver import PASSWORD_VARIABLES, Server
from ca.errors import ConfigError
from ca.files import Snapshot, sync_directory, write_private
from ca.journal import Journal
from ca.sealing import read_line
from ca.storage import CACHE_MIB, Schema, Storage, Transaction, Whole
from ca.store import Owner
from gateway.serving.config import read_database
from gateway.serving.settings.running import Storage as Settings
from gateway.serving.standing import NODE, Belonging, belonging

DATABASE = "sekisho.db"
# Connections: one for what is typed, one for the look whether others have committed.
_OF_A_COMMAND = 2


def open_database(
    data: Path,
    settings: Settings,
    schemas: Sequence[Schema] = (),
    *,
    ca_id: str,
    kept: Journal | None = None,
    made: bool = True,
    cache_mib: int = CACHE_MIB,
    files: Snapshot | None = None,
    beside: Path | None = None,
    pool: int | None = None,
) -> Storage:
    """The database of a data directory. ConfigError for whatever the operator has to mend, such as one that
    is another CA's.

    ``settings``: its section of the configuration. ``ca_id``: whose it has to be (SHA-256 of the root's
    certificate, hex). ``kept``: who is told before a commit; it learns here whose journal it is.
    ``made``: False for whoever neither makes it nor brings it up to date. ``files``: what was read before.
    ``beside``: where the files are that the settings name, if not in the directory. ``pool``: fewer
    connections than the settings say.
    """
    # What a directory remembers is for whoever makes something there: a signer of another user's may not even
    # read it (`ca.apart`).
    known = _known(data, settings) if made else None
    if not settings.url:
        database: Storage = sqlite.Database(
            data / DATABASE, schemas, cache_mib=cache_mib, journal=kept, made=made
        )
    else:
        server = server_of(beside or data, settings, files)
        if kept is not None:
            kept.node = known.node if known is not None else ""
        server = replace(server, pool=min(pool or server.pool, server.pool))
        database = _engine(server, data, schemas, kept, made)
    try:
        if made:
            _claim(data, database, ca_id, known)
        else:
            _check(database, ca_id, str(settings.url))
    except BaseException:
        database.close()
        raise
    return database


def server_of(data: Path, settings: Settings, files: Snapshot | None = None) -> Server:
    """The server that the settings name, with its password. ConfigError if that or the CA cannot be read."""
    files = files or Snapshot()
    password = next((os.environ[each] for each in PASSWORD_VARIABLES if os.environ.get(each)), "")
    if settings.password_file:
        try:
            password = read_line(data / settings.password_file, "password", files)
        except ConfigError as error:
            raise ConfigError(f"database.password_file: {error}") from None
    return replace(
        databaseserver.parse(settings.url),
        password=password,
        tls=settings.sslmode != "disable",
        ca=servers.trusted("database.ca", data / settings.ca, files) if settings.ca else "",
        pool=settings.pool,
        connect=settings.connect_seconds,
        statement=settings.statement_seconds,
        lock=settings.lock_seconds,
    )


def database_of(data: Path, schemas: Sequence[Schema], kept: Journal) -> Storage:
    """The same for a command that needs nothing else of the directory."""
    try:
        settings = read_database(data)
    except ConfigError:
        # Where it is no server's, it is known without.
        if belonging(data) is not None:
            raise
        settings = Settings()
    return open_database(data, settings, schemas, ca_id=kept.ca, kept=kept, cache_mib=1, pool=_OF_A_COMMAND)


def be_node(data: Path, kept: Path) -> None:
    """A directory without an identity takes over that of a journal, to go on as the node that it is of."""
    tail = journal.tail_of(kept)
    if tail is None or not tail.node:
        raise ConfigError(f"{kept} is of a register that was in its own directory, and not of a node")
    _remembered(data, Belonging(tail.node, ""))


def whole_of(server: Server) -> Whole:
    """A database on a server as a whole. ConfigError where the engine for it is not installed."""
    try:
        from ca.postgresql.whole import Whole as OnServer
    except ImportError as error:
        raise _not_installed(error) from None
    return OnServer(server)


def be_of(data: Path, new: Belonging | None) -> None:
    """From now on a directory belongs to a database on a server; None: it has its own."""
    if new is not None:
        write_private(data / NODE, _told(new))
        return
    (data / NODE).unlink(missing_ok=True)
    sync_directory(data)


def is_made(data: Path, settings: Settings) -> bool:
    """Whether anybody has opened this directory's database before."""
    return (data / (NODE if settings.url else DATABASE)).exists()


def _engine(
    server: Server, folder: Path, schemas: Sequence[Schema], kept: Journal | None, made: bool
) -> Storage:
    try:
        from ca.postgresql.database import Database
    except ImportError as error:
        raise _not_installed(error) from None
    return Database(server, folder, schemas, journal=kept, made=made)


def _not_installed(error: ImportError) -> ConfigError:
    return ConfigError(
        f"the database is on a PostgreSQL server, and {error.name} is not installed: pip install "
        "'sekisho[postgres]'"
    )


def _known(data: Path, settings: Settings) -> Belonging | None:
    """What the directory remembers; made up for one that is new. ConfigError where that is another engine."""
    known = belonging(data)
    if not settings.url:
        if known is not None and known.database:
            raise ConfigError(
                f"{data} belongs to a database on a server, as {data / NODE} says: write its address into "
                "database.url again"
            )
        return None
    if known is None:
        tail = journal.tail_of(data / journal.FOLDER)
        if tail is not None and tail.mark.number:
            raise ConfigError(
                f"{data} has a register of its own, {DATABASE}, and one on a server would know nothing of "
                "what was issued: write '' into database.url, then: sekisho db copy --to URL; or begin anew: "
                "sekisho init --data DIR"
            )
        known = _remembered(data, Belonging(secrets.token_hex(16), ""))
    return known


def _remembered(data: Path, new: Belonging) -> Belonging:
    """What is written down first, by whichever process comes first."""
    draft = data / f".{NODE}.{secrets.token_hex(6)}.new"
    write_private(draft, _told(new))
    try:
        os.link(draft, data / NODE)
        sync_directory(data)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    found = belonging(data)
    assert found is not None
    return found


def _told(known: Belonging) -> bytes:
    return json.dumps(asdict(known)).encode() + b"\n"


def _claim(data: Path, database: Storage, ca_id: str, known: Belonging | None) -> None:
    """A new one is this CA's from now on, and both remember the other."""
    found = database.read_now(ca.store.owner)
    if found is None and known is not None and known.database:
        raise ConfigError(
            f"database.url leads to an empty database, and {data} belongs to one that is not "
            f"({data / NODE}): put the right one back, or correct the address"
        )
    if found is None:
        identifier = secrets.token_hex(16)
        found = database.write_now(lambda db: ca.store.claim(db, ca_id, identifier))
    _is_ours(found, ca_id)
    if known is None or known.database == found.identifier:
        return
    if known.database:
        raise ConfigError(
            f"database.url leads to another database than the one that {data} belongs to ({data / NODE}): "
            "it is this CA's as well, but was made anew; put the right one back, or correct the address"
        )

    def named(db: Transaction) -> None:
        ca.store.name_node(db, known.node, platform.node())

    database.write_now(named)
    write_private(data / NODE, _told(replace(known, database=found.identifier)))


def _check(database: Storage, ca_id: str, url: str) -> None:
    found = database.read_now(ca.store.owner)
    if found is not None:
        _is_ours(found, ca_id)
    elif url:
        raise ConfigError("the database is empty, and nobody's yet: start the gateway first: sekisho serve")


def _is_ours(found: Owner, ca_id: str) -> None:
    if found.ca != ca_id:
        raise ConfigError(
            f"the database is another CA's (its root is {found.ca[:16]}, ours {ca_id[:16]}): put the right "
            "one back, or correct database.url"
        )
    if found.state in _COPIES:
        raise ConfigError(_COPIES[found.state])


# How a database is that nobody may serve -> what to do.
_COPIES = {
    "copied": "the database is a copy that was not finished: type the same sekisho db copy again, which "
    "finishes it; or go on with the one that it was made from, if that is served",
    "left": "the database was copied by sekisho db copy, and is served no more: write into database.url "
    "where it is now ('' for the file in the directory); if it was not told, type the same sekisho db copy "
    "again",
}
