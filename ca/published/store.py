"""Every statement about what the world is told of certificates: the lists that were published, and the
answers of OCSP that are kept. They may fall behind the register (`ca.store`), never behind themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ca.ocsp import HashName, Standing
from ca.revocation import CA_COMPROMISE, HOLD, RevocationStatus, RevokedEntry
from ca.schema import LAST_OCTET
from ca.storage import LOOK, Transaction, Values, inserting
from ca.store import fingerprint_of, status_of


class Due(NamedTuple):
    """A certificate by its place (a row, a change): whether an answer about it is wanted, or will be soon."""

    place: int
    issuer_id: str
    serial: str
    wanted: bool
    on_the_way: bool


@dataclass(frozen=True)
class StoredAnswer:
    """An answer as it is kept (`ca.ocsp.response`), and who has signed it."""

    kept: bytes
    responder_id: str
    this_update_at: int
    next_update_at: int


@dataclass(frozen=True)
class Answer:
    """One certificate's, as it is kept, by each hash of its issuer."""

    serial: str
    change_number: int
    this_update_at: int
    next_update_at: int
    sha1: bytes
    sha256: bytes


@dataclass(frozen=True)
class Batch:
    """Answers that one responder has signed. ``responder``: its certificate, DER."""

    responder: bytes
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class RevocationList:
    """An issuer's published list, or a shard of it: what it is called by, and what it tells. ``issuer_id``:
    as `ca.publication.list_id` gives it."""

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


def last_change_of(db: Transaction, issuer_id: str, octets: Sequence[str] = ()) -> int:
    """The highest number of a change so far (`ca.store.last_change`) of an issuer's certificates, or of those
    of them whose serials end with one of these octets; 0 if none. What makes an issuer's certificates no good
    all at once is a change of each."""
    return max(
        int(row[0])
        for table, ending in (("certificates", _ending(octets)), ("generations", ""))
        for row in db.rows(
            f"SELECT coalesce(max(change_number), 0) FROM {table}"
            f" WHERE issuer_id = :issuer_id AND {ending}change_number IS NOT NULL{LOOK}",
            {"issuer_id": issuer_id},
        )
    )


def revoked_entries(
    db: Transaction, issuer_id: str, expired_before: int, octets: Sequence[str] = ()
) -> Iterator[RevokedEntry]:
    """The lines of an issuer's next CRL: what is revoked or held and had not expired at `expired_before`.

    RFC 5280 section 3.3: an entry stays until one regularly scheduled CRL after the certificate's end,
    so pass the time of the previous list. What was held first had ended then.
    """
    distrusted = db.one(
        "SELECT distrusted_at FROM generations WHERE issuer_id = :issuer_id AND distrusted_at IS NOT NULL",
        {"issuer_id": issuer_id},
    )
    which, place, values = _STOPPED, "change_number", {"hold": HOLD, "distrusted_at": None}
    if distrusted is not None:
        # All that it ever issued, as answers say. Reads the whole table.
        which, place = "status <> 'reserved'", "number"
        values = {"hold": CA_COMPROMISE, "distrusted_at": distrusted[0]}
    last = 0
    while page := db.rows(
        "SELECT serial, coalesce(held_at, revoked_at, :distrusted_at), CASE status WHEN 'revoked' THEN"
        f" revocation_reason WHEN 'held' THEN :hold ELSE {CA_COMPROMISE} END, {place} FROM certificates"
        f" WHERE issuer_id = :issuer_id AND {_ending(octets)}{which}"
        f" AND not_after_at >= :expired_before AND {place} > :last ORDER BY {place} LIMIT :limit",
        {
            **values,
            "issuer_id": issuer_id,
            "expired_before": expired_before,
            "last": last,
            "limit": _PAGE,
        },
    ):
        yield from (RevokedEntry(row[0], row[1], row[2]) for row in page)
        last = page[-1][3]


def keep_content(db: Transaction, made: RevocationList, pieces: Sequence[bytes]) -> None:
    """The bytes of a list that is published by the same transaction, for the other directories; those of
    earlier ones go."""
    db.execute("DELETE FROM crl_pieces WHERE issuer_id = :issuer_id", {"issuer_id": made.issuer_id})
    for piece, content in enumerate(pieces):
        values = {"issuer_id": made.issuer_id, "number": made.number, "piece": piece, "content": content}
        db.execute(inserting("crl_pieces", values), values)


def content_of(db: Transaction, listed: RevocationList) -> list[bytes]:
    """The bytes of a list, in pieces; none if nobody has kept them."""
    rows = db.rows(
        "SELECT content FROM crl_pieces WHERE issuer_id = :issuer_id AND number = :number ORDER BY piece",
        {"issuer_id": listed.issuer_id, "number": listed.number},
    )
    return [bytes(row[0]) for row in rows]


def publish_list(db: Transaction, made: RevocationList) -> bool:
    """Makes a list the issuer's. False if one of this number, or a higher one, was published before."""
    fields = made.__dict__
    changed = db.execute(
        f"{inserting('crls', fields)} ON CONFLICT (issuer_id) DO UPDATE"
        f" SET {', '.join(f'{name} = excluded.{name}' for name in fields)}"
        # RFC 5280 section 5.2.3: numbers grow.
        " WHERE excluded.number > crls.number",
        fields,
    )
    if changed == 1:
        db.note("list", **fields)
    return changed == 1


def published_list(db: Transaction, issuer_id: str) -> RevocationList | None:
    """The issuer's list, if one was published."""
    row = db.one(
        "SELECT issuer_id, number, this_update_at, next_update_at, digest, size, entries, change_number"
        " FROM crls WHERE issuer_id = :issuer_id",
        {"issuer_id": issuer_id},
    )
    return None if row is None else RevocationList(*row)


def published_lists(db: Transaction) -> list[RevocationList]:
    """Every list that was published, of whichever issuer, shards among them."""
    rows = db.rows(
        "SELECT issuer_id, number, this_update_at, next_update_at, digest, size, entries, change_number"
        " FROM crls ORDER BY issuer_id"
    )
    return [RevocationList(*row) for row in rows]


def standing(db: Transaction, issuer_id: str, serial: str) -> tuple[Standing, int]:
    """What the register says of a serial of an issuer's, and thisUpdate of the last answer about it (0:
    none)."""
    row = db.one(
        "SELECT c.status, coalesce(c.held_at, c.revoked_at), c.revocation_reason,"
        " coalesce(c.change_number, 0), coalesce(a.this_update_at, 0), g.distrusted_at,"
        " coalesce(g.change_number, 0)"
        " FROM certificates c LEFT JOIN answers a ON a.serial = c.serial"
        " LEFT JOIN generations g ON g.issuer_id = c.issuer_id"
        f" WHERE c.serial = :serial AND c.issuer_id = :issuer_id AND c.status <> 'reserved'{LOOK}",
        {"serial": serial, "issuer_id": issuer_id},
    )
    if row is None:
        return Standing(serial, RevocationStatus.UNKNOWN), 0
    status, number = status_of(row[0], row[5]), max(row[3], row[6])
    if status is RevocationStatus.GOOD:
        return Standing(serial, status, change_number=number), row[4]
    if status is RevocationStatus.DISTRUSTED:
        # RFC 6960 section 2.7.
        return Standing(serial, RevocationStatus.REVOKED, row[1] or row[5], CA_COMPROMISE, number), row[4]
    return Standing(serial, status, row[1], row[2] or 0, number), row[4]


def stored_answer(db: Transaction, issuer_id: str, serial: str, by: HashName) -> StoredAnswer | None:
    """The answer about a certificate of an issuer's, if it still tells of the last change; one that has
    none yet has an empty ``kept``. None for a serial that was never issued. Cheap: three look-ups by key."""
    row = db.one(
        f"SELECT a.{by}, a.responder_id, a.this_update_at, a.next_update_at,"
        " a.change_number = CASE WHEN g.change_number > coalesce(c.change_number, 0) THEN g.change_number"
        " ELSE coalesce(c.change_number, 0) END"
        " FROM certificates c LEFT JOIN answers a ON a.serial = c.serial"
        " LEFT JOIN generations g ON g.issuer_id = c.issuer_id"
        f" WHERE c.serial = :serial AND c.issuer_id = :issuer_id AND c.status <> 'reserved'{LOOK}",
        {"serial": serial, "issuer_id": issuer_id},
    )
    if row is None:
        return None
    return StoredAnswer(row[0], row[1], row[2], row[3]) if row[4] else StoredAnswer(b"", "", 0, 0)


def responder(db: Transaction, responder_id: str) -> bytes | None:
    """The certificate of whoever has signed an answer."""
    row = db.one("SELECT der FROM responders WHERE responder_id = :id", {"id": responder_id})
    return None if row is None else bytes(row[0])


def store_answers(db: Transaction, issuer_id: str, batch: Batch, not_after_at: int) -> bool:
    """Keeps answers, none of which takes the place of one that knows more, or is younger. ``not_after_at``:
    of the responder. Whether nothing of that one was kept before."""
    responder_id = fingerprint_of(batch.responder)
    values: Values = {
        "responder_id": responder_id,
        "issuer_id": issuer_id,
        "not_after_at": not_after_at,
        "der": batch.responder,
    }
    is_new = db.execute(f"{inserting('responders', values)} ON CONFLICT DO NOTHING", values) > 0
    for each in batch.answers:
        fields = {**each.__dict__, "issuer_id": issuer_id, "responder_id": responder_id}
        db.execute(
            f"{inserting('answers', fields)} ON CONFLICT (serial) DO UPDATE"
            f" SET {', '.join(f'{name} = excluded.{name}' for name in fields)}"
            " WHERE excluded.change_number >= answers.change_number",
            fields,
        )
    return is_new


def old_answers(db: Transaction, before: int, ahead: int, now: int, limit: int) -> list[tuple[str, str]]:
    """(issuer, serial) of certificates that have not ended, whose answers are from before a moment or dated
    ahead of another one, the oldest first."""
    return [
        (row[0], row[1])
        for when, order in (("< :before", ""), ("> :ahead", " DESC"))
        for row in db.rows(
            "SELECT a.issuer_id, a.serial FROM answers a JOIN certificates c ON c.serial = a.serial"
            f" WHERE a.this_update_at {when} AND c.not_after_at > :now"
            f" ORDER BY a.this_update_at{order} LIMIT :limit",
            {"before": before, "ahead": ahead, "now": now, "limit": limit},
        )
    ]


def unanswered(db: Transaction, row: int, now: int, limit: int) -> list[Due]:
    """The certificates that follow a row: an answer is wanted about those that have not ended and have
    none, or one from before their issuing CA was trusted no more, or again; one that is not signed yet is on
    its way."""
    return [
        Due(each[0], each[1], each[2], bool(each[3]), bool(each[4]))
        for each in db.rows(
            "SELECT c.number, c.issuer_id, c.serial,"
            " coalesce(a.change_number, -1) < coalesce(g.change_number, 0) AND c.status <> 'reserved'"
            " AND c.not_after_at > :now,"
            f" c.status = 'reserved' AND c.reserved_at > :now - {_ON_THE_WAY}"
            " FROM certificates c LEFT JOIN answers a ON a.serial = c.serial"
            " LEFT JOIN generations g ON g.issuer_id = c.issuer_id"
            f" WHERE c.number > :row ORDER BY c.number LIMIT :limit{LOOK}",
            {"row": row, "now": now, "limit": limit},
        )
    ]


def answers_overtaken(db: Transaction, change: int, now: int, limit: int) -> list[Due]:
    """The changes that follow one: another answer is wanted about certificates that have not ended, whose
    answer does not tell of it."""
    return [
        Due(each[0], each[1], each[2], bool(each[3]), False)
        for each in db.rows(
            "SELECT c.change_number, c.issuer_id, c.serial,"
            " coalesce(a.change_number, -1) < c.change_number AND c.not_after_at > :now"
            " FROM certificates c LEFT JOIN answers a ON a.serial = c.serial"
            f" WHERE c.change_number > :change ORDER BY c.change_number LIMIT :limit{LOOK}",
            {"change": change, "now": now, "limit": limit},
        )
    ]


def drop_answers(db: Transaction, at: int) -> None:
    """Forgets answers that have ended, of certificates that have ended too, and whose responders have."""
    db.execute("DELETE FROM answers WHERE next_update_at < :at", {"at": at})
    db.execute("DELETE FROM responders WHERE not_after_at < :at", {"at": at})


def count_answers(db: Transaction, now: int) -> tuple[int, int]:
    """How many answers are good now, and the oldest thisUpdate of them (0: none). Reads the whole table."""
    row = db.one(
        f"SELECT count(*), coalesce(min(this_update_at), 0) FROM answers WHERE next_update_at > :now{LOOK}",
        {"now": now},
    )
    assert row is not None
    return int(row[0]), int(row[1])


def _ending(octets: Sequence[str]) -> str:
    """The condition of serials that end with one of these octets, in the words that the index has."""
    if not octets:
        return ""
    listed = ", ".join(f"'{int(each, 16):02x}'" for each in octets)
    return f"{LAST_OCTET} IN ({listed}) AND "


# Seconds after which nobody waits any more for a certificate that was reserved.
_ON_THE_WAY = 86_400
# In words that the indexes of lists have, too.
_STOPPED = "change_number IS NOT NULL AND status IN ('held', 'revoked')"
# Rows that are read at once: a list may have a million.
_PAGE = 10_000
