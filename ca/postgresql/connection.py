"""A connection to a server: how it is made, and what leaves by it in one piece."""

from __future__ import annotations

import ssl
import time
from collections.abc import Awaitable, Sequence
from functools import lru_cache
from typing import Any, cast

import asyncpg
from asyncpg.protocol import NO_TIMEOUT

from ca.databaseserver import Server
from ca.postgresql.troubles import FAILED, Unfit
from ca.storage import StorageError

# What pg_stat_activity says of a connection of ours.
NAME = "sekisho"
# Statements that a connection keeps prepared: those of the stores, and some that are put together.
_KNOWN = 512
# `pg_current_snapshot` came with it.
_OLDEST = 13
# What a role, a database or the server may have set, for people at a prompt: it ends who rests, as a signer
# does all night, or who takes long, as a copy does. Older servers do not know all of them.
_UNLIMITED = """
    SELECT set_config(name, '0', false)
    FROM unnest(ARRAY['idle_session_timeout', 'transaction_timeout']) AS name
    WHERE current_setting(name, true) IS NOT NULL
"""


class Connection(asyncpg.Connection):  # type: ignore[misc]
    """One with a row of `commit_marks`, in which each of its commits leaves a number: ``mark`` is the last
    one's. ``marked_at``: when it was given that row, by the machine's own clock."""

    slot = 0
    mark = 0
    marked_at = 0.0
    #: When it was asked for what is not answered yet; 0.0 while there is nothing.
    asked_at = 0.0

    def __init__(self, protocol: Any, transport: Any, *more: Any) -> None:
        super().__init__(protocol, transport, *more)
        self._known: dict[str, Any] = {}
        self._waiting: list[tuple[str, Sequence[Any]]] = []
        self._before, self._send = b"", transport.write
        # What waits leaves in one piece with what the driver writes next.
        transport.write = self._write_all

    def lay_by(self, text: str, values: Sequence[Any] = ()) -> None:
        """Has a statement sent with the next one, and done before it. Nothing that it gives is wanted; if it
        fails the next one does, with its error."""
        self._waiting.append((text, values))

    def forget(self, text: str) -> bool:
        """Nothing of what was laid by is to be done. Whether that statement was the first of it."""
        waiting, self._waiting, self._before = self._waiting, [], b""
        return bool(waiting) and waiting[0][0] == text

    def ask(self, text: str, values: Sequence[Any], limit: int, status: bool) -> Awaitable[Any]:
        """Rows of a statement, ``limit`` of them at most (0: all); with ``status`` also what became of it.
        Prepared once; ``Database._sweep`` sees to it that somebody answers. Of what the driver does for each
        statement of its callers it does half, and sets no timer."""
        prepared = self._known.get(text)
        self.asked_at = time.monotonic()
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            if prepared is None or not all(each in self._known for each, _ in waiting):
                return self._ask_each(waiting, text, values, limit, status)
            self._before = b"".join([self._executed(each, its) for each, its in waiting])
        elif prepared is None:
            return self._ask_each((), text, values, limit, status)
        return self._asked(prepared, values, limit, status)

    async def _ask_each(
        self,
        waiting: Sequence[tuple[str, Sequence[Any]]],
        text: str,
        values: Sequence[Any],
        limit: int,
        status: bool,
    ) -> Any:
        """The same by a journey for each, which also prepares what is not known yet."""
        for each, its in waiting:
            await self._ask_first(each, its, 0, False)
        return await self._ask_first(text, values, limit, status)

    async def _ask_first(self, text: str, values: Sequence[Any], limit: int, status: bool) -> Any:
        return await self._asked(await self.know(text), values, limit, status)

    def _asked(self, prepared: Any, values: Sequence[Any], limit: int, status: bool) -> Awaitable[Any]:
        if self._protocol is None:  # it was let go of between two statements
            raise asyncpg.InterfaceError("the connection is closed")
        found = self._protocol.bind_execute(prepared._state, values, "", limit, status, NO_TIMEOUT)
        return cast(Awaitable[Any], found)

    async def know(self, text: str) -> Any:
        """The statement, prepared. By that alone the server begins a transaction: something has to be asked
        after it, before another one is begun."""
        prepared = self._known.get(text)
        if prepared is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            prepared = self._known[text] = await self.prepare(text)
        return prepared

    def _executed(self, text: str, values: Sequence[Any]) -> bytes:
        """The messages by which a prepared statement is done: Bind and Execute of the protocol 3.0."""
        return _bound(self._known[text]._state.name, values) + _EXECUTE

    def _write_all(self, content: bytes) -> None:
        if self._before:
            content, self._before = self._before + bytes(content), b""
        self._send(content)


# Execute: the unnamed portal, all rows.
_EXECUTE = b"E\0\0\0\x09\0\0\0\0\0"
_AS_TEXT, _AS_OCTETS = b"\0\0", b"\0\1"
_NULL = b"\xff\xff\xff\xff"


def _bound(name: str, values: Sequence[Any]) -> bytes:
    """The message by which a prepared statement gets its values: octets as they are, all else as text, which
    the server reads as whatever it wants there. StorageError for what is neither."""
    formats, told = [], []
    for value in values:
        octets = isinstance(value, bytes)
        formats.append(_AS_OCTETS if octets else _AS_TEXT)
        if value is None:
            told.append(_NULL)
            continue
        content = value if octets else _text_of(value)
        told.append(len(content).to_bytes(4, "big") + content)
    count = len(told).to_bytes(2, "big")
    body = b"\0%b\0%b%b%b%b\0\0" % (name.encode(), count, b"".join(formats), count, b"".join(told))
    return b"B" + (len(body) + 4).to_bytes(4, "big") + body


def _text_of(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise StorageError("it is no text") from error
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, float):
        return repr(value).encode()
    raise StorageError(f"a {type(value).__name__} is no value of a statement")


async def connect(server: Server, known_as: str = NAME) -> asyncpg.Connection:
    """To the first of the hosts that can be written to. ``known_as``: what its pg_stat_activity says."""
    context = _context(server) if any(not host.startswith("/") for host, _ in server.hosts) else None
    failed: Exception | None = None
    for host, port in server.hosts:
        try:
            connection = await _connect_to(host, port, server, context, known_as)
        except FAILED as error:
            # One that says why is told of before one that only was away, or is a replica.
            if failed is None or isinstance(failed, OSError | asyncpg.TargetServerAttributeNotMatched):
                failed = error
            continue
        return connection
    assert failed is not None
    raise failed


@lru_cache(maxsize=4)
def _context(server: Server) -> ssl.SSLContext | None:
    return ssl.create_default_context(cadata=server.ca or None) if server.tls else None


async def _connect_to(
    host: str, port: int, server: Server, context: ssl.SSLContext | None, known_as: str
) -> asyncpg.Connection:
    connection = await asyncpg.connect(
        connection_class=Connection,
        host=host,
        port=port,
        user=server.user or None,
        database=server.name,
        password=server.password or None,
        ssl=context or False,
        target_session_attrs="read-write",
        # The driver's own would be for all hosts together, and one that is silent would use it up.
        timeout=server.connect,
        command_timeout=server.statement + 5,
        statement_cache_size=512,
        max_cached_statement_lifetime=0,
        server_settings={
            "application_name": known_as,
            "statement_timeout": f"{server.statement:g}s",
            "lock_timeout": f"{server.lock:g}s",
            "idle_in_transaction_session_timeout": f"{2 * server.statement:g}s",
            "timezone": "UTC",
            "default_transaction_isolation": "read committed",
            "standard_conforming_strings": "on",
            "synchronous_commit": "on",
        },
    )
    try:
        check_fit(connection.get_server_version().major, connection.get_settings().server_encoding)
        await connection.execute(_UNLIMITED)
        # sum() of integers is a numeric there.
        await connection.set_type_codec(
            "numeric", schema="pg_catalog", encoder=str, decoder=_number, format="text"
        )
    except BaseException:
        connection.terminate()
        raise
    return connection


def check_fit(version: int, encoding: str) -> None:
    """Unfit for a server older than we know, and for a database that does not keep each text as it is."""
    if version < _OLDEST:
        raise Unfit(
            f"PostgreSQL {version}",
            f"is on a server that is too old; have it upgraded to PostgreSQL {_OLDEST} or newer, or name "
            "another in database.url",
        )
    if encoding != "UTF8":
        raise Unfit(
            encoding,
            "does not keep its text as UTF-8; make it anew: createdb NAME --encoding UTF8 --template "
            "template0",
        )


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)
