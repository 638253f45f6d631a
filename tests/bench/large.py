"""A register of so many certificates, on either engine, for what is measured at full size.

``python -m tests.bench.large DIR [--certificates N]`` fills the register of a data directory that
``sekisho init`` has made, in its file or on the server that its ``database.url`` names, and which nobody
serves: for each ten certificates a user, whose first is a person's of 13 months and whose others are
programs' of 90 days. None has ended, one of a hundred is revoked, each has its request and an answer (OCSP);
letters and lines of the record are not added. The certificates open nothing, but are whole: `sekisho db
check` finds no fault in them.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from enroll.people.sameness import mail_key, name_key, search_keys
from gateway.serving.config import read_database
from gateway.serving.database import DATABASE
from tests.bench.years import person, user_id

DAY = 86_400
_EACH, _REVOKED = 10, 100
_LIFE = {"client-person": 395 * DAY, "client-automated": 90 * DAY}
_POLICY, _RESPONDER = "10000000", "bench"
# Rows that are handed to an engine at once.
_PAGE = 20_000


@dataclass(frozen=True)
class Size:
    """``issuer``: the identifier of the CA that they are of. ``at``: now, in epoch seconds; ``changes``: what
    was counted before."""

    certificates: int
    issuer: str
    at: int
    changes: int

    @property
    def users(self) -> int:
        return -(-self.certificates // _EACH)


def profile_of(number: int) -> str:
    return "client-automated" if number % _EACH else "client-person"


def serial(number: int) -> str:
    """In their order, so that an index grows at its end; a list's shard is told by the last octet."""
    return f"4{number:015x}{hashlib.sha256(b'%d' % number).hexdigest()[:16]}"


def request_id(number: int) -> str:
    return f"{number + 10**15:016d}"


def common_name(number: int) -> str:
    return f"{user_id(number // _EACH)}{number % _EACH + 1:04d}"


def ends_at(number: int, size: Size) -> int:
    """None within a month, of which letters would tell. The last one was issued just now: a clock is believed
    that is not far from that."""
    life = _LIFE[profile_of(number)]
    return size.at + life - (life - 31 * DAY) * (size.certificates - 1 - number) // size.certificates


def _change(number: int, size: Size) -> int | None:
    return size.changes + number // _REVOKED + 1 if number % _REVOKED == 17 else None


class _Pattern:
    """A certificate as they all are, but for serial, end and the reservation's number."""

    def __init__(self, size: Size) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "JP"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Corporate-Pension Business Service Co., Ltd."),
                x509.NameAttribute(NameOID.COMMON_NAME, "CORPORATE-PENSION BUSINESS SERVICE CA-G4"),
            ]
        )
        usage = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH])
        begins = datetime.fromtimestamp(size.at - DAY, UTC)
        names = x509.SubjectAlternativeName([x509.DNSName("k10000000.users.kinen.example")])
        made = (
            x509.CertificateBuilder(
                name, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name(0))])
            )
            .public_key(key.public_key())
            .serial_number(int(serial(0), 16))
            .not_valid_before(begins)
            .not_valid_after(begins + timedelta(90))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
            )
            .add_extension(names, critical=False)
            .sign(key, hashes.SHA256())
        )
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.spki_sha256 = hashlib.sha256(spki).hexdigest()
        der = made.public_bytes(Encoding.DER)
        begin, _, middle = der.partition(bytes.fromhex(serial(0)))
        at = middle.index(_time(size.at - DAY + 90 * DAY))
        self._der = begin, middle[:at], middle[at + 13 :]
        template = {
            "door": "protocol", "holder": user_id(0), "issuer_id": size.issuer,
            "names": ["k10000000.users.kinen.example"], "naming": {"alternative": [], "subject": []},
            "not_after_at": 0, "not_before_at": size.at - DAY, "order_id": request_id(0),
            "profile": "client-automated", "reserved_at": size.at - DAY, "serial": serial(0),
            "spki": spki.hex(), "subject_cn": common_name(0), "version": "0" * 16,
        }  # fmt: skip
        before, _, after = json.dumps(template, separators=(",", ":")).partition(serial(0))
        self._reservation = before, after

    def certificate(self, number: int, ends: int) -> bytes:
        begin, middle, end = self._der
        return b"".join((begin, bytes.fromhex(serial(number)), middle, _time(ends), end))

    def reservation(self, number: int) -> str:
        before, after = self._reservation
        return before + serial(number) + after


def _time(at: int) -> bytes:
    """As ASN.1 has it (UTCTime)."""
    return _day(at // DAY) + b"%02d%02d%02dZ" % (at % DAY // 3_600, at % 3_600 // 60, at % 60)


@cache
def _day(number: int) -> bytes:
    return time.strftime("%y%m%d", time.gmtime(number * DAY)).encode()


# -- rows: of each table its columns, and what stands in them ------------------------------------------------


def _organisations(size: Size) -> Iterator[Sequence[Any]]:
    yield _POLICY, "霞が関年金", size.at


def _users(size: Size) -> Iterator[Sequence[Any]]:
    key = cache(name_key)
    for n in range(size.users):
        name, reading, mail = person(n)
        yield (
            user_id(n), _POLICY, name, reading, mail, "member", "mail", "none", 0, size.at, key(name),
            mail_key(mail), _EACH,
        )  # fmt: skip


def _keys(size: Size) -> Iterator[Sequence[Any]]:
    keys = cache(lambda name, reading: tuple(sorted(search_keys(name, reading))))
    for n in range(size.users):
        yield from (("user", key, user_id(n)) for key in keys(*person(n)[:2]))


def _enrollments(size: Size) -> Iterator[Sequence[Any]]:
    for n in range(size.certificates):
        profile, ends = profile_of(n), ends_at(n, size)
        by_person, began = profile == "client-person", ends - _LIFE[profile]
        revoked = _change(n, size) is not None
        yield (
            request_id(n), "addition" if by_person else "protocol", user_id(n // _EACH),
            "revoked" if revoked else "in_use" if by_person else "picked_up", common_name(n), profile,
            "page" if by_person else "protocol", "never", serial(n), ends, began, began, began, began,
            began if by_person else None, size.at if revoked else None,
        )  # fmt: skip


def _certificates(size: Size) -> Iterator[Sequence[Any]]:
    pattern = _Pattern(size)
    for n in range(size.certificates):
        profile, ends, change = profile_of(n), ends_at(n, size), _change(n, size)
        der, began = pattern.certificate(n, ends), ends - _LIFE[profile]
        yield (
            serial(n), size.issuer, profile, "protocol" if n % _EACH else "page", user_id(n // _EACH),
            "issued" if change is None else "revoked", common_name(n), pattern.spki_sha256, began, ends,
            began, began, pattern.reservation(n), der, hashlib.sha256(der).hexdigest(),
            None if change is None else size.at, None if change is None else 4, change, request_id(n),
        )  # fmt: skip


def _answers(size: Size) -> Iterator[Sequence[Any]]:
    for n in range(size.certificates):
        age = n * 7_919 % 20 * 3_600
        # Nobody asks for them.
        octets = b"\0" * 64
        at = size.at - age
        yield (
            serial(n), size.issuer, _RESPONDER, _change(n, size) or 0, at, at + 7 * DAY, octets, octets,
        )  # fmt: skip


def _responders(size: Size) -> Iterator[Sequence[Any]]:
    yield _RESPONDER, size.issuer, size.at + 30 * DAY, b"\0"


_ROWS: Sequence[tuple[str, str, Callable[[Size], Iterator[Sequence[Any]]]]] = (
    ("organisations", "policy_number name created_at", _organisations),
    (
        "users",
        "user_id policy_number name reading mail role notice_by password_hash password_initial created_at"
        " name_key mail_key last_number",
        _users,
    ),
    ("search_keys", "kind key id", _keys),
    (
        "enrollments",
        "request_id kind user_id state common_name profile door revoke_old serial not_after_at created_at"
        " submitted_at issued_at picked_up_at used_at ended_at",
        _enrollments,
    ),
    (
        "certificates",
        "serial issuer_id profile door holder status subject_cn spki_sha256 not_before_at not_after_at"
        " reserved_at issued_at template der fingerprint revoked_at revocation_reason change_number order_id",
        _certificates,
    ),
    ("responders", "responder_id issuer_id not_after_at der", _responders),
    (
        "answers",
        "serial issuer_id responder_id change_number this_update_at next_update_at sha1 sha256",
        _answers,
    ),
)
_TABLES = tuple(table for table, _, _ in _ROWS)
# What was counted on: of revocations, and, as whoever leads would have, of what they are.
_COUNTED = (
    "UPDATE counters SET value = (SELECT max(change_number) FROM certificates) WHERE name = 'changes'"
    " AND EXISTS (SELECT 1 FROM certificates WHERE change_number IS NOT NULL)",
    "DELETE FROM certificate_tally",
    "INSERT INTO certificate_tally SELECT issuer_id, profile, door, count(*) FROM certificates"
    " GROUP BY issuer_id, profile, door",
    "UPDATE counters SET value = (SELECT max(number) FROM certificates) WHERE name = 'tallied'",
)
_CHANGES = "SELECT value FROM counters WHERE name = 'changes'"


def fill(data: Path, certificates: int) -> None:
    """Adds so many certificates to the register of a directory that nobody serves."""
    issuer = json.loads((data / "sekisho.json").read_text())["issuers"][0]["id"]
    at = int(time.time())
    if (settings := read_database(data)).url:
        asyncio.run(_into_server(settings.url, lambda changes: Size(certificates, issuer, at, changes)))
        return
    with closing(sqlite3.connect(data / DATABASE)) as conn:
        (changes,) = conn.execute(_CHANGES).fetchone()
        _into_file(conn, Size(certificates, issuer, at, changes))


def _into_file(conn: sqlite3.Connection, size: Size) -> None:
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000"):
        conn.execute(f"PRAGMA {pragma}")
    names = ", ".join(f"'{each}'" for each in _TABLES)
    there = f"SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name IN ({names})"
    indexes = conn.execute(f"{there} AND sql IS NOT NULL").fetchall()
    for name, _ in indexes:
        conn.execute(f"DROP INDEX {name}")
    for table, columns, rows in _ROWS:
        marks = ", ".join("?" * len(columns.split()))
        conn.executemany(f"INSERT INTO {table} ({columns.replace(' ', ', ')}) VALUES ({marks})", rows(size))
    for statement in (*(made for _, made in indexes), *_COUNTED):
        conn.execute(statement)
    conn.commit()
    conn.execute("PRAGMA journal_mode = WAL")


# Constraints of which an index grows at random, and indexes that belong to none.
_RANDOM = "ALTER TABLE certificates {} CONSTRAINT certificates_fingerprint_key{}"
_INDEXES = """
    SELECT i.indexname, i.indexdef FROM pg_indexes i WHERE i.schemaname = 'public' AND i.tablename = ANY($1)
    AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conname = i.indexname)
"""


async def _into_server(url: str, sized: Callable[[int], Size]) -> None:
    connection = await asyncpg.connect(url)
    try:
        size = sized(await connection.fetchval(_CHANGES))
        # Foreign keys are not looked at.
        await connection.execute("SET session_replication_role = replica; SET maintenance_work_mem = '1GB'")
        indexes = await connection.fetch(_INDEXES, _TABLES)
        for name, _ in indexes:
            await connection.execute(f"DROP INDEX {name}")
        await connection.execute(_RANDOM.format("DROP", ""))
        # What is more is made on the server, out of a first part.
        part = _PART if size.certificates % _PART == 0 else size.certificates
        first = replace(size, certificates=part)
        for table, columns, rows in _ROWS:
            every = rows(first)
            while page := list(islice(every, _PAGE)):
                await connection.copy_records_to_table(table, records=page, columns=columns.split())
        if part < size.certificates:
            await connection.execute("ANALYZE")
            await asyncio.gather(*(_multiplied(url, table, size, part) for table in _OTHERS))
        await connection.execute(_RANDOM.format("ADD", " UNIQUE (fingerprint)"))
        for _, made in indexes:
            await connection.execute(made)
        for statement in _COUNTED:
            await connection.execute(statement)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


# How the rows of the part after so many parts (k) differ from the first one's.
_PART = 100_000
_USER = (
    "'K' || (10000000 + (substr({0}, 2)::bigint - 10000000 + k * {users}::bigint * 4241) % 90000000)::text"
)
_SERIAL = (
    "'4' || lpad(to_hex(('x' || substr(serial, 2, 15))::bit(60)::bigint + k * {part}::bigint), 15, '0')"
    " || substr(serial, 17)"
)
_REQUEST = "({0}::bigint + k * {part}::bigint)::text"
_NAME = _USER + " || right({0}, 4)"
_DER = "overlay(der PLACING decode(" + _SERIAL + ", 'hex') FROM position(decode(serial, 'hex') IN der))"
_OTHERS: Mapping[str, Mapping[str, str]] = {
    "users": {"user_id": _USER},
    "search_keys": {"id": _USER},
    "enrollments": {
        "request_id": _REQUEST, "user_id": _USER, "common_name": _NAME, "serial": _SERIAL,
    },
    "certificates": {
        "serial": _SERIAL, "holder": _USER, "subject_cn": _NAME, "order_id": _REQUEST, "der": _DER,
        "template": "replace(template, serial, " + _SERIAL + ")",
        "fingerprint": "encode(sha256(" + _DER + "), 'hex')",
        "change_number": "change_number + k * {part} / {revoked}",
    },
    "answers": {
        "serial": _SERIAL,
        "change_number": "CASE change_number WHEN 0 THEN 0 ELSE change_number + k * {part} / {revoked} END",
    },
}  # fmt: skip
# Of each table what is of these users, or certificates, alone.
_OURS = {
    "users": "policy_number = '{policy}'",
    "search_keys": "kind = 'user' AND id IN (SELECT user_id FROM users WHERE policy_number = '{policy}')",
    "enrollments": "request_id BETWEEN '{first}' AND '{last}'",
    "certificates": "order_id BETWEEN '{first}' AND '{last}'",
    "answers": "responder_id = '{responder}'",
}


async def _multiplied(url: str, table: str, size: Size, part: int) -> None:
    known = {
        "part": part, "users": part // _EACH, "revoked": _REVOKED, "policy": _POLICY,
        "responder": _RESPONDER, "first": request_id(0), "last": request_id(part - 1),
    }  # fmt: skip
    columns = next(columns.split() for name, columns, _ in _ROWS if name == table)
    told = ", ".join(_OTHERS[table].get(each, each).format(each, **known) for each in columns)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            f"WITH first AS MATERIALIZED (SELECT * FROM {table} WHERE {_OURS[table].format(**known)})"
            f" INSERT INTO {table} ({', '.join(columns)}) SELECT {told}"
            f" FROM generate_series(1, {size.certificates // part - 1}) k CROSS JOIN first"
        )
    finally:
        await connection.close()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("data", type=Path)
    options.add_argument("--certificates", type=int, default=1_000_000)
    given = options.parse_args()
    begun = time.monotonic()
    fill(given.data, given.certificates)
    print(f"filled in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
