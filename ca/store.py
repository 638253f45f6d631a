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
from ca.revocation import RevocationStatus, RevokedEntry
from ca.timekeeping import Known, Reading

Status = Literal["reserved", "issued", "revoked"]


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
    revoked_at: int | None
    revocation_reason: int | None
    revocation_number: int | None
    order_id: str | None


@dataclass(frozen=True)
class Revocation:
    """One revocation, numbered in the order in which they happened."""

    number: int
    serial: str
    fingerprint: str
    revoked_at: int
    reason: int


_COLUMNS = (
    "rowid, serial, issuer_id, profile, status, subject_cn, spki_sha256, not_before_at, not_after_at,"
    " reserved_at, issued_at, der, fingerprint, revoked_at, revocation_reason, revocation_number, order_id"
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
    """Revokes an issued certificate. False if it was not `issued` (already revoked, or unsigned)."""
    cursor = db.execute(
        "UPDATE certificates SET status = 'revoked', revoked_at = ?, revocation_reason = ?,"
        " revocation_number = 1 + coalesce("
        "(SELECT max(revocation_number) FROM certificates WHERE status = 'revoked'), 0)"
        " WHERE serial = ? AND status = 'issued'",
        (at, reason, serial),
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
    return RevocationStatus.GOOD if row[0] == "issued" else RevocationStatus.REVOKED


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
    where = f"status = '{_STATUSES[status]}' AND rowid < ? ORDER BY rowid DESC LIMIT ?"
    return [_record(r) for r in _select(db, where, (bound, limit))]


def revoked_since(db: sqlite_utils.Database, number: int, limit: int = 1000) -> list[Revocation]:
    """Revocations numbered above `number`, in order: poll it to push them to open connections."""
    rows = db.execute(
        "SELECT revocation_number, serial, fingerprint, revoked_at, revocation_reason FROM certificates"
        " WHERE status = 'revoked' AND revocation_number > ? ORDER BY revocation_number LIMIT ?",
        (number, limit),
    )
    return [Revocation(*row) for row in rows]


def last_revocation(db: sqlite_utils.Database) -> int:
    """The highest revocation number so far, 0 if none."""
    row = db.execute("SELECT max(revocation_number) FROM certificates WHERE status = 'revoked'").fetchone()
    return int(row[0] or 0)


def revoked_entries(db: sqlite_utils.Database, issuer_id: str, expired_before: int) -> list[RevokedEntry]:
    """The lines of an issuer's next CRL: what is revoked and had not expired at `expired_before`.

    RFC 5280 section 3.3: an entry stays until one regularly scheduled CRL after the certificate's end,
    so pass the time of the previous list.
    """
    rows = db.execute(
        "SELECT serial, revoked_at, revocation_reason FROM certificates WHERE status = 'revoked'"
        " AND issuer_id = ? AND not_after_at >= ? ORDER BY revocation_number",
        (issuer_id, expired_before),
    )
    return [RevokedEntry(*row) for row in rows]


def next_crl_number(db: sqlite_utils.Database, issuer_id: str) -> int:
    """The number of the issuer's next CRL (RFC 5280 section 5.2.3: strictly growing)."""
    row = db.execute(
        "INSERT INTO crl_numbers VALUES (?, 1)"
        " ON CONFLICT DO UPDATE SET number = number + 1 RETURNING number",
        (issuer_id,),
    ).fetchall()
    return int(row[0][0])


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


_STATUSES: dict[str, str] = {"reserved": "reserved", "issued": "issued", "revoked": "revoked"}


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
