"""A database on a server as a whole: what it is made of, filled, held and looked at (`ca.whole`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from ca.databaseserver import Server
from ca.errors import ConfigError
from ca.postgresql.commits import NEVER
from ca.postgresql.connection import NAME, connect
from ca.postgresql.tables import (
    LEDGER,
    MARKS,
    NAMESPACE,
    ROOM,
    TABLES,
    as_schema,
    bring_level,
    make_ledger,
)
from ca.postgresql.transaction import READ, WRITE, Blocking, Loop
from ca.postgresql.troubles import FAILED, ours, told
from ca.storage import Filling, Schema, Shape, StorageTrouble, Table, Transaction

# Seconds for a statement of whoever looks at all of it, or copies it.
_LONG = 600.0
# Without the limit of a write that stands still: nothing is asked here while all of another one is read.
_BEGIN = WRITE[0]
_TEMPORARY = "SELECT pg_my_temp_schema()"
# Kind of what a table is made of -> what there is of it: table, name, how it is said. {} are the tables.
# What a key or a UNIQUE is made by is said by the constraint.
_PARTS = {
    "table": "SELECT c.relname::text, c.relkind::text, concat_ws(' ', c.relkind::text, CASE WHEN"
    " c.relrowsecurity THEN 'row security' END, CASE c.relpersistence WHEN 'u' THEN 'unlogged' END,"
    " CASE WHEN NOT (SELECT bool_and(has_table_privilege(c.oid, needed)) FROM"
    " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS needed) THEN 'closed to our user' END)"
    " FROM pg_class c WHERE c.oid IN ({}) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
    "column": "SELECT c.relname::text, a.attname::text, concat_ws(' ', format_type(a.atttypid, a.atttypmod),"
    " 'COLLATE ' || nullif(o.collname, 'default')::text, CASE WHEN a.attnotnull THEN 'NOT NULL' END,"
    " CASE a.attidentity WHEN 'd' THEN 'IDENTITY' WHEN 'a' THEN"
    " 'IDENTITY ALWAYS' END, 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid))"
    " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum"
    " LEFT JOIN pg_collation o ON o.oid = a.attcollation"
    " WHERE c.oid IN ({}) AND c.relkind IN ('r', 'p')",
    "constraint": "SELECT c.relname::text, pg_get_constraintdef(k.oid), CASE WHEN EXISTS (SELECT FROM"
    " pg_trigger g WHERE g.tgconstraint = k.oid AND g.tgenabled NOT IN ('O', 'A'))"
    " THEN 'off: ALTER TABLE ... ENABLE TRIGGER ALL' WHEN k.convalidated THEN 'holds'"
    " ELSE 'was never looked at' END FROM pg_constraint k"
    " JOIN pg_class c ON c.oid = k.conrelid WHERE c.oid IN ({})",
    "index": "SELECT t.relname::text, c.relname::text, concat_ws(' ', regexp_replace(pg_get_indexdef(c.oid),"
    " ' ON (ONLY )?[^ ]+\\.', ' ON '), CASE WHEN NOT (i.indisvalid AND i.indisready) THEN 'INVALID' END)"
    " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid"
    " WHERE t.oid IN ({}) AND NOT EXISTS"
    " (SELECT 1 FROM pg_constraint k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'))",
    "trigger": "SELECT c.relname::text, g.tgname::text, pg_get_triggerdef(g.oid) FROM pg_trigger g"
    " JOIN pg_class c ON c.oid = g.tgrelid WHERE c.oid IN ({}) AND NOT g.tgisinternal",
    # One may do something else instead of what was asked, or nothing.
    "rule": "SELECT c.relname::text, r.rulename::text, pg_get_ruledef(r.oid) FROM pg_rewrite r"
    " JOIN pg_class c ON c.oid = r.ev_class WHERE c.oid IN ({}) AND c.relkind IN ('r', 'p')",
}


def _shape(db: Transaction, namespace: str) -> Shape:
    found: dict[str, dict[str, str]] = {}
    tables = TABLES.format(namespace)
    for kind, statement in _PARTS.items():
        for table, name, said in db.rows(statement.format(tables)):
            part = kind if kind == "table" else f"{kind} {name}"
            parts = found.setdefault(str(table), {})
            # Two constraints that say the same are two.
            parts[part] = f"{parts[part]}, {said}" if part in parts else str(said)
    return found


class _Filling(Blocking):
    """A transaction in which tables are filled."""

    __slots__ = ()

    def clear(self, tables: Sequence[str], /) -> None:
        self.execute(f"TRUNCATE {', '.join(tables)}")

    def put(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], /) -> None:
        self._ask(self.connection.copy_records_to_table(table, columns=columns, records=rows))

    def go_on(self, table: str, column: str, /) -> None:
        self.one(
            f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), coalesce(max({column}), 1),"
            f" max({column}) IS NOT NULL) FROM {table}"
        )


@dataclass(frozen=True)
class Whole:
    """A database on a server as a whole (`ca.storage.Whole`)."""

    server: Server

    @property
    def name(self) -> str:
        return str(self.server)

    def exists(self) -> bool:
        with self.snapshot() as db:
            found = db.one("SELECT to_regclass('belongs_to') IS NOT NULL")
        return bool(found is not None and found[0])

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        with self._connected() as (loop, connection):
            loop.result(connection.execute(READ))
            yield Blocking(connection, loop)

    @contextmanager
    def held(self, tables: Sequence[Table]) -> Iterator[Transaction]:
        names = ", ".join((*(each.name for each in tables), "schema_steps", "commit_marks"))
        with self._connected() as (loop, connection):
            loop.result(connection.execute(_BEGIN))
            loop.result(connection.execute(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))
            yield Blocking(connection, loop)
            loop.result(connection.execute("COMMIT"))

    @contextmanager
    def filling(self, schemas: Sequence[Schema]) -> Iterator[Filling]:
        with self._connected() as (loop, connection):
            loop.result(make_ledger(connection))
            loop.result(connection.execute(_BEGIN))
            loop.result(bring_level(connection, schemas))
            yield _Filling(connection, loop)
            loop.result(connection.execute("COMMIT"))

    def shape(self, db: Transaction) -> Shape:
        return _shape(db, NAMESPACE)

    def made_shape(self, schemas: Sequence[Schema]) -> Shape:
        # Nobody else sees what is temporary, and nothing of it is left.
        async def make(connection: asyncpg.Connection) -> None:
            await connection.execute(_BEGIN)
            await connection.execute("SET LOCAL search_path = pg_temp")
            for statement in (LEDGER, MARKS):
                await connection.execute(statement)
            for schema in schemas:
                for step in schema.steps:
                    for statement in step.statements:
                        await connection.execute(as_schema(statement))

        with self._connected() as (loop, connection):
            loop.result(make(connection))
            found = _shape(Blocking(connection, loop), _TEMPORARY)
            loop.result(connection.execute("ROLLBACK"))
        return found

    def steps(self, db: Transaction) -> frozenset[tuple[str, str]]:
        found = db.rows("SELECT room, name FROM schema_steps WHERE room <> :room", {"room": ROOM})
        return frozenset((row[0], row[1]) for row in found)

    def damage(self, db: Transaction) -> Sequence[str]:
        # What is wrong with its files the server's own tools say: pg_amcheck.
        never = db.rows(
            "SELECT slot FROM commit_marks WHERE mark < :never ORDER BY slot LIMIT 20", {"never": NEVER}
        )
        return [f"commit_marks: slot {row[0]} has a mark that no commit leaves" for row in never]

    def numbering(self, db: Transaction, table: str, column: str) -> int | None:
        row = db.one(
            "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence(:table, :column)::regclass), 0)",
            {"table": table, "column": column},
        )
        return None if row is None or row[0] is None else int(row[0])

    def others(self, db: Transaction) -> Sequence[str]:
        rows = db.rows(
            "SELECT coalesce(client_addr::text, 'this machine'), count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = :name"
            " AND pid <> pg_backend_pid() GROUP BY 1 ORDER BY 1",
            {"name": NAME},
        )
        return [f"{row[0]} ({row[1]} connections)" for row in rows]

    @contextmanager
    def _connected(self) -> Iterator[tuple[Loop, asyncpg.Connection]]:
        """ConfigError for whatever of the server is the operator's to mend."""
        loop, connection = Loop(), None
        try:
            long = max(_LONG, self.server.statement)
            named = replace(self.server, statement=long)
            connection = loop.result(connect(named, f"{NAME} whole"))
            yield loop, connection
        except (*FAILED, StorageTrouble) as error:
            found = ours(error)
            if not isinstance(found, StorageTrouble):
                raise found from error
            raise ConfigError(told(found)) from error
        finally:
            # A transaction that did not come to its end comes to nothing by this.
            loop.close(connection)
