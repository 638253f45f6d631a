"""Every statement about certificates. The functions take an open database, so that the layers above
compose them with their own into one transaction; each change is compare-and-set.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.keys import spki_sha256
from ca.naming import NOTHING, Naming
from ca.revocation import RevocationStatus
from ca.storage import LOOK, Row, Transaction, Values, inserting, together
from ca.timekeeping import Known, Reading

Status = Literal["reserved", "issued", "held", "revoked"]


@dataclass(frozen=True)
class Reservation:
    """Everything that goes into a certificate, written down before it is signed.

    `serial` is lower-case hex, `spki` DER, times are seconds since the epoch. `tbs` is what gets signed, and
    nothing else ever is under this serial; empty once there is a certificate, which holds it.
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
    version: str = ""
    """Of the profile (`ca.profiles.version_of`)."""
    naming: Naming = NOTHING
    tbs: bytes = b""
    door: str = ""
    """By which way it was asked for, in the words of whoever reserves it."""
    holder: str = ""
    """Whose it is, in the same words; empty for nobody's."""


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


_COLUMNS = (
    "number, serial, issuer_id, profile, status, subject_cn, spki_sha256, not_before_at, not_after_at,"
    " reserved_at, issued_at, der, fingerprint, held_at, revoked_at, revocation_reason, change_number,"
    " order_id"
)


class AlreadyReserved(Exception):
    """The serial or the order already has its certificate; look it up instead of making another."""


def fingerprint_of(der: bytes) -> str:
    """SHA-256 of a certificate's DER, lower-case hex: the identity of a certificate everywhere."""
    return hashlib.sha256(der).hexdigest()


def reserve(db: Transaction, reservation: Reservation) -> None:
    """Records the serial, and what is to be signed, before anything is. `AlreadyReserved` if the serial or
    order is taken."""
    values = {
        "serial": reservation.serial,
        "issuer_id": reservation.issuer_id,
        "profile": reservation.profile,
        "door": reservation.door,
        "holder": reservation.holder,
        "status": "reserved",
        "subject_cn": reservation.subject_cn,
        "spki_sha256": spki_sha256(reservation.spki),
        "not_before_at": reservation.not_before_at,
        "not_after_at": reservation.not_after_at,
        "reserved_at": reservation.reserved_at,
        "template": _template(reservation),
        "order_id": reservation.order_id,
        "tbs": reservation.tbs,
    }
    if db.execute(f"{inserting('certificates', values)} ON CONFLICT DO NOTHING", values) == 0:
        raise AlreadyReserved(reservation.order_id or reservation.serial)


def withdraw(db: Transaction, serial: str) -> bool:
    """Takes back a reservation that has no certificate; False if there is none. Its serial is never used."""
    where = "WHERE serial = :serial AND status = 'reserved'"
    return db.execute(f"DELETE FROM certificates {where}", {"serial": serial}) > 0


def store_issued(db: Transaction, serial: str, der: bytes, at: int) -> bool:
    """Completes a reservation. False if it was completed before (or never made): nothing is changed, and
    the certificate that is there is the one that everybody gets."""
    found = db.one(
        "UPDATE certificates SET status = 'issued', der = :der, fingerprint = :fingerprint, issued_at = :at,"
        " tbs = NULL WHERE serial = :serial AND status = 'reserved'"
        f" RETURNING {', '.join(_NOTED)}",
        {"der": der, "fingerprint": fingerprint_of(der), "at": at, "serial": serial},
    )
    if found is None:
        return False
    db.note("issued", serial=serial, at=at, der=base64.b64encode(der).decode(), **{**found})
    return True


def adopt(db: Transaction, serial: str, der: bytes, at: int, facts: Mapping[str, Any]) -> None:
    """Records a certificate that was issued, and that this database has forgotten: by what the journal has of
    it (`store_issued`)."""
    made = x509.load_der_x509_certificate(der)
    spki = made.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    known = {name: facts[name] for name in _NOTED if name != "spki_sha256"}
    values = {
        **{name: facts[name] for name in _NOTED},
        "serial": serial,
        "status": "issued",
        "issued_at": at,
        "template": _template(Reservation(serial=serial, names=_dns_names(made), spki=spki, **known)),
        "der": der,
        "fingerprint": fingerprint_of(der),
    }
    db.execute(inserting("certificates", values), values)
    db.note("adopted", serial=serial)


def revoke(db: Transaction, serial: str, reason: int, at: int) -> bool:
    """Revokes a certificate, held or not. False if it was revoked already, or is not signed."""
    change = "status = 'revoked', revoked_at = :at, revocation_reason = :reason"
    changed = _change(db, serial, "status IN ('issued', 'held')", change, {"at": at, "reason": reason})
    if changed:
        db.note("revoked", serial=serial, reason=reason, at=at)
    return changed


def hold(db: Transaction, serial: str, at: int) -> bool:
    """Stops a certificate until somebody decides. False if it was not `issued`."""
    changed = _change(db, serial, "status = 'issued'", "status = 'held', held_at = :at", {"at": at})
    if changed:
        db.note("held", serial=serial, at=at)
    return changed


def release(db: Transaction, serial: str) -> bool:
    """Takes a hold back: the certificate is as before. False if it was not `held`."""
    changed = _change(db, serial, "status = 'held'", "status = 'issued', held_at = NULL", {})
    if changed:
        db.note("released", serial=serial)
    return changed


def find_by_fingerprint(db: Transaction, fingerprint: str) -> CertificateRecord | None:
    """The certificate with this SHA-256 fingerprint (hex), or None."""
    return _one(db, "fingerprint = :fingerprint", {"fingerprint": fingerprint})


def find_by_serial(db: Transaction, serial: str) -> CertificateRecord | None:
    """The certificate with this serial (hex), or None."""
    return _one(db, "serial = :serial", {"serial": serial})


def find_by_order(db: Transaction, order_id: str) -> CertificateRecord | None:
    """The certificate of an order, reserved or issued, or None."""
    return _one(db, "order_id = :order_id", {"order_id": order_id})


def find_by_common_name(db: Transaction, cn: str) -> list[CertificateRecord]:
    """All certificates that carry this common name, oldest first. For people; identity is the print."""
    return [_record(row) for row in _select(db, "subject_cn = :cn ORDER BY number", {"cn": cn})]


def certificate_status(db: Transaction, fingerprint: str) -> RevocationStatus:
    """What the index says about a presented certificate. Cheap: one look-up in one index."""
    row = db.one(
        "SELECT c.status, g.distrusted_at FROM certificates c"
        f" LEFT JOIN generations g ON g.issuer_id = c.issuer_id WHERE c.fingerprint = :fingerprint{LOOK}",
        {"fingerprint": fingerprint},
    )
    if row is None:
        return RevocationStatus.UNKNOWN
    return status_of(row[0], row[1])


def status_of(word: str, distrusted_at: int | None) -> RevocationStatus:
    """Of a row, and of its issuer: what is no word for good is none."""
    own = _STANDINGS.get(word, RevocationStatus.REVOKED)
    if distrusted_at is None or own is RevocationStatus.REVOKED:
        return own
    return RevocationStatus.DISTRUSTED


def reserved_unsigned(db: Transaction, before_at: int | None = None) -> list[Reservation]:
    """Reservations without a certificate, oldest first: what a crash left, to be signed again."""
    rows = db.rows(
        "SELECT template, tbs FROM certificates WHERE status = 'reserved' AND reserved_at <= :reserved_at"
        f" ORDER BY reserved_at{LOOK}",
        {"reserved_at": 2**62 if before_at is None else before_at},
    )
    return [_reservation(*row) for row in rows]


def find_reservation(db: Transaction, serial: str) -> Reservation | None:
    """What was to be signed under this serial, whether it has been by now or not."""
    row = db.one("SELECT template, tbs FROM certificates WHERE serial = :serial", {"serial": serial})
    return None if row is None else _reservation(*row)


def list_page(
    db: Transaction, limit: int, before_row: int | None = None, status: Status | None = None
) -> list[CertificateRecord]:
    """Newest first, `limit` at a time; the next page is `before_row=` the last record's `row`."""
    page = "number < :before ORDER BY number DESC LIMIT :limit"
    values = {"before": 2**62 if before_row is None else before_row, "limit": limit}
    # The literal, not a parameter, lets the planner use the partial indexes.
    where = page if status is None else f"{_STATUSES[status]} AND {page}"
    return [_record(row) for row in _select(db, where, values)]


def held(db: Transaction) -> list[str]:
    """The serials of all certificates that are held."""
    return [row[0] for row in db.rows(f"SELECT serial FROM certificates WHERE status = 'held'{LOOK}")]


def changed_since(db: Transaction, number: int, limit: int = 1000) -> list[Change]:
    """Changes numbered above `number`, in order: poll it to push them to open connections."""
    rows = db.rows(
        "SELECT change_number, serial, fingerprint, status FROM certificates"
        " WHERE change_number > :number ORDER BY change_number LIMIT :limit",
        {"number": number, "limit": limit},
    )
    return [Change(*row) for row in rows]


@dataclass(frozen=True)
class Kept:
    """A certificate and what the index says of it, for whoever compares the two. ``template``: JSON of its
    reservation."""

    number: int
    serial: str
    issuer_id: str
    not_before_at: int
    not_after_at: int
    spki_sha256: str
    fingerprint: str | None
    der: bytes | None
    template: str


def kept_page(db: Transaction, after: int, limit: int) -> list[Kept]:
    """So many rows behind a number, in their order, whatever their state."""
    rows = db.rows(
        "SELECT number, serial, issuer_id, not_before_at, not_after_at, spki_sha256, fingerprint, der,"
        f" template FROM certificates WHERE number > :after ORDER BY number LIMIT :limit{LOOK}",
        {"after": after, "limit": limit},
    )
    return [Kept(*row) for row in rows]


def last_change(db: Transaction) -> int:
    """The highest number of a change so far; 0 if none."""
    row = db.one(
        f"SELECT coalesce(max(change_number), 0) FROM certificates WHERE change_number IS NOT NULL{LOOK}"
    )
    assert row is not None
    return int(row[0])


def known_time(db: Transaction) -> Known:
    """What the database knows of the time. Two look-ups by key, asked together."""
    # Whoever writes what rests on them asks again, and neither goes back.
    row = db.one(
        "SELECT clock.wall_at, clock.awake, clock.boot, clock.confirmed_row, newest.number,"
        " newest.reserved_at FROM (SELECT 1 AS there) once LEFT JOIN clock ON 1 = 1 LEFT JOIN"
        f" (SELECT number, reserved_at FROM certificates ORDER BY number DESC LIMIT 1) newest ON 1 = 1{LOOK}"
    )
    assert row is not None
    wall_at, awake, boot, confirmed, newest, newest_at = row
    return Known(
        None if wall_at is None else Reading(wall_at, awake, boot),
        newest_at if newest is not None and newest > (confirmed or 0) else 0,
    )


def write_tick(db: Transaction, reading: Reading) -> None:
    """Records a reading that is believed."""
    db.execute(
        "INSERT INTO clock (id, wall_at, awake, boot) VALUES (1, :wall, :awake, :boot) ON CONFLICT (id)"
        " DO UPDATE"
        " SET wall_at = excluded.wall_at, awake = excluded.awake, boot = excluded.boot",
        {"wall": reading.wall, "awake": reading.awake, "boot": reading.boot},
    )


def confirm_tick(db: Transaction, reading: Reading) -> None:
    """The same by an operator's word: certificates that are there already say nothing against it."""
    write_tick(db, reading)
    db.execute("UPDATE clock SET confirmed_row = (SELECT coalesce(max(number), 0) FROM certificates)")


def count_by_status(db: Transaction) -> dict[str, int]:
    """How many certificates are in each status. Reads the whole table: for reports, not for requests."""
    return {
        row[0]: row[1] for row in db.rows(f"SELECT status, count(*) FROM certificates GROUP BY status{LOOK}")
    }


def count_alive(db: Transaction, issuer_id: str, at: int) -> int:
    """How many certificates of an issuer are good at a moment. Reads the whole table, as above."""
    row = db.one(
        "SELECT count(*) FROM certificates"
        f" WHERE issuer_id = :issuer_id AND status = 'issued' AND not_after_at > :at{LOOK}",
        {"issuer_id": issuer_id, "at": at},
    )
    assert row is not None
    return int(row[0])


def last_end(db: Transaction, issuer_id: str) -> int:
    """When the last certificate of an issuer ends, or did, whatever became of it; 0 if it has none."""
    row = db.one(
        f"SELECT coalesce(max(not_after_at), 0) FROM certificates WHERE issuer_id = :issuer_id{LOOK}",
        {"issuer_id": issuer_id},
    )
    assert row is not None
    return int(row[0])


def end_of(db: Transaction, issuer_id: str, serial: str) -> int | None:
    """When a certificate of an issuer's ends, or None."""
    row = db.one(
        "SELECT not_after_at FROM certificates WHERE serial = :serial AND issuer_id = :issuer_id",
        {"serial": serial, "issuer_id": issuer_id},
    )
    return None if row is None else int(row[0])


def take_turns(db: Transaction, at: str) -> None:
    """In a write: whoever else asks for the same has his turn when this one has ended. For what rests on
    which rows there are, where no row is held by all who add one. ``at``: a row of counters that counts
    nothing."""
    assert db.one("SELECT value FROM counters WHERE name = :name", {"name": at}) is not None


def stop_number(db: Transaction) -> int:
    """How often the emergency stop was turned, on or off (`ca/emergency.py`)."""
    row = db.one("SELECT value FROM counters WHERE name = 'stops'")
    assert row is not None
    return int(row[0])


def note_stop(db: Transaction, number: int, on: bool, reason: str, at: int) -> None:
    """Records that it was turned; the number never goes back."""
    db.execute(
        "UPDATE counters SET value = :number WHERE name = 'stops' AND value < :number", {"number": number}
    )
    db.note("stop", number=number, on=on, reason=reason, at=at)


@dataclass(frozen=True)
class Node:
    """A data directory that shares this database. ``name``: its machine's; ``number``: the last line of its
    journal that the database has seen; ``behind``: whether the database was put back since, and nobody has
    compared that journal yet."""

    node_id: str
    name: str
    number: int
    behind: bool


def journal_mark(db: Transaction, node: str) -> tuple[int, str]:
    """Number and hash of the last line of a node's journal that this database has seen."""
    row = db.one("SELECT number, hash FROM journal_marks WHERE node = :node", {"node": node})
    return (0, "") if row is None else (int(row[0]), str(row[1]))


def hold_journal_mark(db: Transaction, node: str) -> tuple[int, str]:
    """The same, and nobody else has it until this transaction has ended."""
    row = db.one(
        "INSERT INTO journal_marks (node, name, number, hash, behind) VALUES (:node, '', 0, '', 0)"
        " ON CONFLICT (node) DO UPDATE SET number = journal_marks.number RETURNING number, hash",
        {"node": node},
    )
    assert row is not None
    return int(row[0]), str(row[1])


def move_journal_mark(db: Transaction, node: str, number: int, digest: str) -> None:
    """In the transaction that a line of the journal tells of: the database has seen it."""
    db.defer(
        "UPDATE journal_marks SET number = :number, hash = :hash WHERE node = :node",
        {"node": node, "number": number, "hash": digest},
    )


def nodes(db: Transaction) -> list[Node]:
    """Whose journals there are, by the names of their machines."""
    rows = db.rows("SELECT node, name, number, behind FROM journal_marks ORDER BY name, node")
    return [Node(row["node"], row["name"], row["number"], bool(row["behind"])) for row in rows]


def name_node(db: Transaction, node: str, name: str) -> None:
    """Records that a data directory shares this database, and on which machine it is."""
    db.execute(
        "INSERT INTO journal_marks (node, name, number, hash, behind) VALUES (:node, :name, 0, '', 0)"
        " ON CONFLICT (node) DO UPDATE SET name = excluded.name",
        {"node": node, "name": name},
    )


def is_compared(db: Transaction, node: str) -> None:
    """A node's journal and this database fit each other."""
    db.execute("UPDATE journal_marks SET behind = 0 WHERE node = :node AND behind <> 0", {"node": node})


def is_behind(db: Transaction, node: str) -> None:
    """A node has found that its journal tells of more than this database knows."""
    db.execute("UPDATE journal_marks SET behind = 1 WHERE node = :node AND behind = 0", {"node": node})


def were_put_back(db: Transaction, node: str, at: int) -> None:
    """What one node has found: this database is an older copy. Every other has to compare its journal."""
    db.execute("UPDATE journal_marks SET behind = :at WHERE node <> :node", {"node": node, "at": at})


def told_to_compare(db: Transaction, node: str) -> int:
    """When another node has found so (epoch seconds), and nobody has compared this one's journal since; else
    0, or 1, where this one has found it itself."""
    row = db.one("SELECT behind FROM journal_marks WHERE node = :node", {"node": node})
    return 0 if row is None else int(row[0])


def drop_node(db: Transaction, node: str) -> int:
    """Whose journal is lost or wanted no more; returns how many there were."""
    return db.execute("DELETE FROM journal_marks WHERE node = :node", {"node": node})


def lead(db: Transaction) -> tuple[str, int]:
    """Which node leads, and a number that changes as long as it lives."""
    row = db.one(f"SELECT l.node, b.beat FROM lead l JOIN lead_beats b ON b.id = l.id{LOOK}")
    assert row is not None
    return str(row[0]), int(row[1])


def take_lead(db: Transaction, node: str, seen: int) -> int:
    """Compare-and-set: this node leads, if nobody has raised the number since it was seen. The number of its
    term; 0 if not. What the one before it is writing ends first."""
    row = db.one(
        "UPDATE lead_beats SET term = term + 1, beat = beat + 1 WHERE beat = :seen RETURNING term",
        {"seen": seen},
    )
    if row is None:
        return 0
    db.execute("UPDATE lead SET node = :node, term = :term", {"node": node, "term": row[0]})
    return int(row[0])


def leads(db: Transaction, term: int) -> bool:
    """Whether a term is the one that lasts. In a write: until that has ended, too."""
    row = db.one(f"SELECT 1 FROM lead WHERE term = :term{together('lead')}", {"term": term})
    return row is not None


def keep_lead(db: Transaction, term: int) -> bool:
    """Whoever leads in that term still lives. False if it is over."""
    return db.execute("UPDATE lead_beats SET beat = beat + 1 WHERE term = :term", {"term": term}) == 1


def leave_lead(db: Transaction, term: int) -> None:
    """It ends, and the next one need not wait."""
    if keep_lead(db, term):
        db.execute("UPDATE lead SET node = '' WHERE term = :term", {"term": term})


@dataclass(frozen=True)
class Owner:
    """Whose a database is: ``ca``, SHA-256 of the root's certificate, hex; ``identifier``: of its own.
    ``state``: "used", "copied" (all of ``other`` is in it, and nobody may serve it yet) or "left" (all of it
    is in ``other``, and nobody may serve it any more)."""

    ca: str
    identifier: str
    state: str = "used"
    other: str = ""


def owner(db: Transaction) -> Owner | None:
    """Whose database it is; None for a new one."""
    row = db.one("SELECT ca, identifier, state, other FROM belongs_to")
    return None if row is None else Owner(*map(str, row))


def own(db: Transaction, new: Owner) -> None:
    """Records whose it is, whatever stood there."""
    db.execute(
        "INSERT INTO belongs_to (id, ca, identifier, state, other)"
        " VALUES (1, :ca, :identifier, :state, :other) ON CONFLICT (id) DO UPDATE"
        " SET ca = excluded.ca, identifier = excluded.identifier, state = excluded.state,"
        " other = excluded.other",
        asdict(new),
    )


def place_node(db: Transaction, node: str, name: str, number: int, digest: str) -> None:
    """Records a node, and up to which line of its journal this database goes."""
    values = {"node": node, "name": name, "number": number, "hash": digest, "behind": 0}
    db.execute(inserting("journal_marks", values), values)


def claim(db: Transaction, ca_id: str, identifier: str) -> Owner:
    """A new database is this CA's from now on, and known by the identifier; returns whose it is."""
    db.execute(
        "INSERT INTO belongs_to (id, ca, identifier) VALUES (1, :ca, :identifier)"
        " ON CONFLICT (id) DO NOTHING",
        {"ca": ca_id, "identifier": identifier},
    )
    found = owner(db)
    assert found is not None
    return found


_NOTED = (
    "issuer_id", "profile", "door", "holder", "subject_cn", "spki_sha256", "not_before_at", "not_after_at",
    "reserved_at", "order_id",
)  # fmt: skip
# In words that the partial indexes have, too.
_STATUSES: dict[str, str] = {
    "reserved": "status = 'reserved'",
    "issued": "status = 'issued'",
    "held": "status = 'held'",
    "revoked": "status = 'revoked' AND change_number IS NOT NULL",
}
_STANDINGS = {"issued": RevocationStatus.GOOD, "held": RevocationStatus.HELD}


def _change(db: Transaction, serial: str, expected: str, change: str, values: Values) -> bool:
    """Changes what a certificate is good for, if it is as expected, and numbers the change.

    The counter is a row that whoever changes it holds until he has committed. So numbers come to be seen in
    their order, and who asks for those above the last one (`changed_since`) misses none.
    """
    number = db.one(
        "UPDATE counters SET value = value + 1 WHERE name = 'changes'"
        f" AND EXISTS (SELECT 1 FROM certificates WHERE serial = :serial AND {expected}) RETURNING value",
        {"serial": serial},
    )
    if number is None:
        return False
    changed = db.execute(
        f"UPDATE certificates SET {change}, change_number = :number WHERE serial = :serial AND {expected}",
        {**values, "number": number[0], "serial": serial},
    )
    return changed == 1


def _select(db: Transaction, where: str, values: Values) -> Sequence[Row]:
    return db.rows(f"SELECT {_COLUMNS} FROM certificates WHERE {where}", values)


def _one(db: Transaction, where: str, values: Values) -> CertificateRecord | None:
    row = db.one(f"SELECT {_COLUMNS} FROM certificates WHERE {where}", values)
    return None if row is None else _record(row)


def _record(row: Row) -> CertificateRecord:
    return CertificateRecord(*row)


def _dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    for each in certificate.extensions:
        if isinstance(each.value, x509.SubjectAlternativeName):
            return tuple(each.value.get_values_for_type(x509.DNSName))
    return ()


def _template(reservation: Reservation) -> str:
    fields = {**reservation.__dict__, "names": list(reservation.names), "spki": reservation.spki.hex()}
    fields["naming"] = reservation.naming.__dict__
    del fields["tbs"]
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def _reservation(template: str, tbs: bytes | None) -> Reservation:
    fields = json.loads(template)
    naming = Naming(**{part: tuple(map(tuple, said)) for part, said in fields["naming"].items()})
    decoded = {
        "names": tuple(fields["names"]),
        "spki": bytes.fromhex(fields["spki"]),
        "naming": naming,
        "tbs": tbs or b"",
    }
    return Reservation(**{**fields, **decoded})
