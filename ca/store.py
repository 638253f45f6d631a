"""Every statement about certificates. The functions take an open database, so that the layers above
compose them with their own into one transaction; each change is compare-and-set.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlite_utils

from ca.keys import spki_sha256
from ca.revocation import HOLD, RevocationStatus, RevokedEntry
from ca.timekeeping import Known, Reading

Status = Literal["reserved", "issued", "held", "revoked"]


@dataclass(frozen=True)
class Reservation:
    """Everything that goes into a certificate, written down before it is signed.

    Signing the same reservation again yields the same bytes. `serial` is lower-case hex, `spki` DER,
    times are seconds since the epoch.
    """

    serial: str
    issuer_id: str
    profile: str
    subject_cn: str
    names: tuple[str, ...]
    spki: bytes
    not_before_at: int
    not_after_at: int
    reserved_at: int
    order_id: str | None = None
    crl_url: str | None = None


@dataclass(frozen=True)
class CertificateRecord:
    """A row of the index. `row` grows with every reservation and is the key of a page."""

    row: int
    serial: str
    issuer_id: str
    profile: str
    status: Status
    subject_cn: str
    spki_sha256: str
    not_before_at: int
    not_after_at: int
    reserved_at: int
    issued_at: int | None
    der: bytes | None
    fingerprint: str | None
    held_at: int | None
    revoked_at: int | None
    revocation_reason: int | None
    change_number: int | None
    order_id: str | None


@dataclass(frozen=True)
class Change:
    """A certificate that was held, released or revoked. Changes are numbered in the order of their coming;
    of several of one certificate the last remains."""

    number: int
    serial: str
    fingerprint: str
    status: Status


@dataclass(frozen=True)
class RevocationList:
    """An issuer's published list: what it is called by, and what it tells."""

    issuer_id: str
    number: int
    this_update_at: int
    next_update_at: int
    #: SHA-256 of the whole list (DER), in hex.
    digest: str
    #: Bytes of it.
    size: int
    entries: int
    #: The number of the last change that it tells of.
    change_number: int


_COLUMNS = (
    "rowid, serial, issuer_id, profile, status, subject_cn, spki_sha256, not_before_at, not_after_at,"
    " reserved_at, issued_at, der, fingerprint, held_at, revoked_at, revocation_reason, change_number,"
    " order_id"
)


class AlreadyReserved(Exception):
    """The serial or the order already has its certificate; look it up instead of making another."""


def fingerprint_of(der: bytes) -> str:
    """SHA-256 of a certificate's DER, lower-case hex: the identity of a certificate everywhere."""
    return hashlib.sha256(der).hexdigest()


def reserve(db: sqlite_utils.Database, reservation: Reservation) -> None:
    """Records the serial before anything is signed. `AlreadyReserved` if the serial or order is taken."""
    _insert(db, reservation, "reserved", None, None, None)


def record_issued(db: sqlite_utils.Database, reservation: Reservation, der: bytes, at: int) -> None:
    """`reserve` and `store_issued` at once, where both are one transaction and nothing leaves before it."""
    _insert(db, reservation, "issued", at, der, fingerprint_of(der))


def store_issued(db: sqlite_utils.Database, serial: str, der: bytes, at: int) -> bool:
    """Completes a reservation. False if it was completed before (or never made): nothing is changed."""
    cursor = db.execute(
        "UPDATE certificates SET status = 'issued', der = ?, fingerprint = ?, issued_at = ?"
        " WHERE serial = ? AND status = 'reserved'",
        (der, fingerprint_of(der), at, serial),
    )
    return cursor.rowcount == 1


def revoke(db: sqlite_utils.Database, serial: str, reason: int, at: int) -> bool:
    """Revokes a certificate, held or not. False if it was revoked already, or is not signed."""
    cursor = db.execute(
        f"UPDATE certificates SET status = 'revoked', revoked_at = ?, revocation_reason = ?, {_NUMBERED}"
        " WHERE serial = ? AND status IN ('issued', 'held')",
        (at, reason, serial),
    )
    return cursor.rowcount == 1


def hold(db: sqlite_utils.Database, serial: str, at: int) -> bool:
    """Stops a certificate until somebody decides. False if it was not `issued`."""
    cursor = db.execute(
        f"UPDATE certificates SET status = 'held', held_at = ?, {_NUMBERED}"
        " WHERE serial = ? AND status = 'issued'",
        (at, serial),
    )
    return cursor.rowcount == 1


def release(db: sqlite_utils.Database, serial: str) -> bool:
    """Takes a hold back: the certificate is as before. False if it was not `held`."""
    cursor = db.execute(
        f"UPDATE certificates SET status = 'issued', held_at = NULL, {_NUMBERED}"
        " WHERE serial = ? AND status = 'held'",
        (serial,),
    )
    return cursor.rowcount == 1


def find_by_fingerprint(db: sqlite_utils.Database, fingerprint: str) -> CertificateRecord | None:
    """The certificate with this SHA-256 fingerprint (hex), or None."""
    return _one(db, "fingerprint = ?", fingerprint)


def find_by_serial(db: sqlite_utils.Database, serial: str) -> CertificateRecord | None:
    """The certificate with this serial (hex), or None."""
    return _one(db, "serial = ?", serial)


def find_by_order(db: sqlite_utils.Database, order_id: str) -> CertificateRecord | None:
    """The certificate of an order, reserved or issued, or None."""
    return _one(db, "order_id = ?", order_id)


def find_by_common_name(db: sqlite_utils.Database, cn: str) -> list[CertificateRecord]:
    """All certificates that carry this common name, oldest first. For people; identity is the print."""
    return [_record(row) for row in _select(db, "subject_cn = ? ORDER BY rowid", (cn,))]


def certificate_status(db: sqlite_utils.Database, fingerprint: str) -> RevocationStatus:
    """What the index says about a presented certificate. Cheap: one look-up in one index."""
    row = db.execute("SELECT status FROM certificates WHERE fingerprint = ?", (fingerprint,)).fetchone()
    if row is None:
        return RevocationStatus.UNKNOWN
    return _STANDINGS.get(row[0], RevocationStatus.REVOKED)


def reserved_unsigned(db: sqlite_utils.Database, before_at: int | None = None) -> list[Reservation]:
    """Reservations without a certificate, oldest first: what a crash left, to be signed again."""
    rows = db.execute(
        "SELECT template FROM certificates WHERE status = 'reserved' AND reserved_at <= ?"
        " ORDER BY reserved_at",
        (2**62 if before_at is None else before_at,),
    )
    return [_reservation(row[0]) for row in rows]


def find_reservation(db: sqlite_utils.Database, serial: str) -> Reservation | None:
    """What was to be signed under this serial, whether it has been by now or not."""
    row = db.execute("SELECT template FROM certificates WHERE serial = ?", (serial,)).fetchone()
    return None if row is None else _reservation(row[0])


def list_page(
    db: sqlite_utils.Database, limit: int, before_row: int | None = None, status: Status | None = None
) -> list[CertificateRecord]:
    """Newest first, `limit` at a time; the next page is `before_row=` the last record's `row`."""
    bound = 2**62 if before_row is None else before_row
    if status is None:
        return [_record(r) for r in _select(db, "rowid < ? ORDER BY rowid DESC LIMIT ?", (bound, limit))]
    # The literal, not a parameter, lets the planner use the partial indexes.
    where = f"{_STATUSES[status]} AND rowid < ? ORDER BY rowid DESC LIMIT ?"
    return [_record(r) for r in _select(db, where, (bound, limit))]


def held(db: sqlite_utils.Database) -> list[str]:
    """The serials of all certificates that are held."""
    return [row[0] for row in db.execute("SELECT serial FROM certificates WHERE status = 'held'")]


def changed_since(db: sqlite_utils.Database, number: int, limit: int = 1000) -> list[Change]:
    """Changes numbered above `number`, in order: poll it to push them to open connections."""
    rows = db.execute(
        "SELECT change_number, serial, fingerprint, status FROM certificates"
        " WHERE change_number > ? ORDER BY change_number LIMIT ?",
        (number, limit),
    )
    return [Change(*row) for row in rows]


def last_change(db: sqlite_utils.Database, issuer_id: str | None = None) -> int:
    """The highest number of a change so far, of all certificates or of an issuer's; 0 if none."""
    where, values = ("issuer_id = ? AND ", (issuer_id,)) if issuer_id is not None else ("", ())
    row = db.execute(
        f"SELECT max(change_number) FROM certificates WHERE {where}change_number IS NOT NULL", values
    ).fetchone()
    return int(row[0] or 0)


def revoked_entries(db: sqlite_utils.Database, issuer_id: str, expired_before: int) -> Iterator[RevokedEntry]:
    """The lines of an issuer's next CRL: what is revoked or held and had not expired at `expired_before`.

    RFC 5280 section 3.3: an entry stays until one regularly scheduled CRL after the certificate's end,
    so pass the time of the previous list. What was held first had ended then.
    """
    rows = db.execute(
        "SELECT serial, coalesce(held_at, revoked_at),"
        f" CASE status WHEN 'held' THEN {HOLD} ELSE revocation_reason END FROM certificates"
        " WHERE issuer_id = ? AND change_number IS NOT NULL AND status IN ('held', 'revoked')"
        " AND not_after_at >= ? ORDER BY change_number",
        (issuer_id, expired_before),
    )
    return map(RevokedEntry._make, rows)


def publish_list(db: sqlite_utils.Database, made: RevocationList) -> bool:
    """Makes a list the issuer's. False if one of this number, or a higher one, was published before."""
    fields = made.__dict__
    cursor = db.execute(
        f"INSERT INTO crls ({', '.join(fields)}) VALUES ({', '.join(f':{name}' for name in fields)})"
        f" ON CONFLICT DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in fields)}"
        # RFC 5280 section 5.2.3: numbers grow.
        " WHERE excluded.number > crls.number",
        fields,
    )
    return cursor.rowcount == 1


def published_list(db: sqlite_utils.Database, issuer_id: str) -> RevocationList | None:
    """The issuer's list, if one was published."""
    row = db.execute(
        "SELECT issuer_id, number, this_update_at, next_update_at, digest, size, entries, change_number"
        " FROM crls WHERE issuer_id = ?",
        (issuer_id,),
    ).fetchone()
    return None if row is None else RevocationList(*row)


def known_time(db: sqlite_utils.Database) -> Known:
    """What the database knows of the time. Two look-ups by key."""
    row = db.execute("SELECT wall_at, awake, boot, confirmed_row FROM clock").fetchone()
    newest = db.execute("SELECT rowid, reserved_at FROM certificates ORDER BY rowid DESC LIMIT 1").fetchone()
    confirmed = row[3] if row is not None else 0
    newest_at = newest[1] if newest is not None and newest[0] > confirmed else 0
    return Known(None if row is None else Reading(*row[:3]), newest_at)


def write_tick(db: sqlite_utils.Database, reading: Reading) -> None:
    """Records a reading that is believed."""
    db.execute(
        "INSERT INTO clock (id, wall_at, awake, boot) VALUES (1, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
        " SET wall_at = excluded.wall_at, awake = excluded.awake, boot = excluded.boot",
        (reading.wall, reading.awake, reading.boot),
    )


def confirm_tick(db: sqlite_utils.Database, reading: Reading) -> None:
    """The same by an operator's word: certificates that are there already say nothing against it."""
    write_tick(db, reading)
    db.execute("UPDATE clock SET confirmed_row = (SELECT coalesce(max(rowid), 0) FROM certificates)")


def count_by_status(db: sqlite_utils.Database) -> dict[str, int]:
    """How many certificates are in each status. Reads the whole table: for reports, not for requests."""
    return dict(db.execute("SELECT status, count(*) FROM certificates GROUP BY status").fetchall())


# In words that the partial indexes have, too.
def count_alive(db: sqlite_utils.Database, issuer_id: str, at: int) -> int:
    """How many certificates of an issuer are good at a moment. Reads the whole table, as above."""
    statement = (
        "SELECT count(*) FROM certificates WHERE issuer_id = ? AND status = 'issued' AND not_after_at > ?"
    )
    return int(db.execute(statement, [issuer_id, at]).fetchone()[0])


_STATUSES: dict[str, str] = {
    "reserved": "status = 'reserved'",
    "issued": "status = 'issued'",
    "held": "status = 'held'",
    "revoked": "status = 'revoked' AND change_number IS NOT NULL",
}
_STANDINGS = {"issued": RevocationStatus.GOOD, "held": RevocationStatus.HELD}
# Rows are never taken away, so that the highest number never goes back.
_NUMBERED = (
    "change_number = 1 + coalesce("
    "(SELECT max(change_number) FROM certificates WHERE change_number IS NOT NULL), 0)"
)


def _insert(
    db: sqlite_utils.Database,
    reservation: Reservation,
    status: Status,
    issued_at: int | None,
    der: bytes | None,
    fingerprint: str | None,
) -> None:
    try:
        db.execute(
            "INSERT INTO certificates (serial, issuer_id, profile, status, subject_cn, spki_sha256,"
            " not_before_at, not_after_at, reserved_at, template, order_id, issued_at, der, fingerprint)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                reservation.serial,
                reservation.issuer_id,
                reservation.profile,
                status,
                reservation.subject_cn,
                spki_sha256(reservation.spki),
                reservation.not_before_at,
                reservation.not_after_at,
                reservation.reserved_at,
                _template(reservation),
                reservation.order_id,
                issued_at,
                der,
                fingerprint,
            ),
        )
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode not in (
            sqlite3.SQLITE_CONSTRAINT_UNIQUE,
            sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        ):
            raise
        raise AlreadyReserved(reservation.order_id or reservation.serial) from error


def _select(db: sqlite_utils.Database, where: str, parameters: Sequence[Any]) -> Iterator[Any]:
    return iter(db.execute(f"SELECT {_COLUMNS} FROM certificates WHERE {where}", parameters))


def _one(db: sqlite_utils.Database, where: str, value: str) -> CertificateRecord | None:
    row = next(_select(db, where, (value,)), None)
    return None if row is None else _record(row)


def _record(row: Sequence[Any]) -> CertificateRecord:
    return CertificateRecord(*row)


def _template(reservation: Reservation) -> str:
    fields = {**reservation.__dict__, "names": list(reservation.names), "spki": reservation.spki.hex()}
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def _reservation(template: str) -> Reservation:
    fields = json.loads(template)
    return Reservation(**{**fields, "names": tuple(fields["names"]), "spki": bytes.fromhex(fields["spki"])})
