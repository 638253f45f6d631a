"""One certificate as an operator needs it: what it says, whose it is, what came before and after it, what the
world is told of it, and what happened to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ca.store
from ca import reading
from ca.authority import Issuer
from ca.publication import NO_SITE, Addresses, list_id, shard_of
from ca.published import store as published
from ca.published.store import RevocationList
from ca.reading import Reading
from ca.storage import Row, Transaction
from ca.store import CertificateRecord
from enroll import generations, store
from enroll.acme.store import credentials_alive
from enroll.certificates.listing import state_of
from enroll.certificates.store import State
from enroll.listings import store as listings
from enroll.listings.store import Acts
from enroll.operators.actors import Actor, require
from enroll.operators.roles import Act, Verdict
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.enrollment import Enrollment
from enroll.store import Organisation, User

#: So many before it and after it are shown, and lines of what happened: a program may have thousands.
NEAREST, LINES = 10, 60


@dataclass(frozen=True)
class Shown:
    """A certificate with all that is known of it."""

    record: CertificateRecord
    state: State
    #: What it says; None until it is signed.
    reading: Reading | None
    #: Its issuing CA; None for one that is not ours any more.
    issuer: Issuer | None
    #: The request that it came from, and whose it is; None for an operator's.
    origin: Enrollment | None
    user: User | None
    organisation: Organisation | None
    #: The certificates of the same PC, the oldest first, this one among them; whether there are more.
    lineage: Sequence[Enrollment]
    more_before: bool
    more_after: bool
    #: Where it says that the world may ask about it.
    addresses: Addresses
    #: The revocation list that would name it, and whether that one does ("listed", "unlisted"), or the next
    #: one will change that ("next"); "" without a list.
    listed_in: RevocationList | None
    listed: str
    #: Lines of the trail about it and its request, newest first, and how many there are.
    history: Sequence[Row]
    happened: int
    #: By which programs may still get certificates of its name.
    credentials: Sequence[str]


def shown(db: Transaction, ra: RegistrationAuthority, actor: Actor, serial: str) -> Shown:
    """Refusal("not_permitted"), and "not_found" for a serial that no certificate here has."""
    require(actor, Act.SEARCH, Verdict.READ)
    record = ca.store.find_by_serial(db, serial)
    if record is None:
        raise Refusal("not_found", field="serial", detail=f"there is no certificate {serial} here")
    gone = generations.distrusted(db)
    origin = store.enrollment_of(db, serial)
    user = None if origin is None else store.user(db, origin.user_id)
    before, more_before = _chain(origin, lambda each: _predecessor(db, each))
    after, more_after = _chain(origin, lambda each: store.successor_of(db, each.serial or ""))
    issuer = next((each for each in ra.authority.issuers if each.issuer_id == record.issuer_id), None)
    site = NO_SITE if issuer is None else issuer.site
    list_of = _list_of(db, record, site.shards)
    acts = Acts(subjects=[serial, *([] if origin is None else [origin.request_id])])
    return Shown(
        record=record,
        state=state_of(_row(record), ra.now(), gone),
        reading=None if record.der is None else reading.read(record.der),
        issuer=issuer,
        origin=origin,
        user=user,
        organisation=None if user is None else store.organisation(db, user.policy_number),
        lineage=[*reversed(before), *([] if origin is None else [origin]), *after],
        more_before=more_before,
        more_after=more_after,
        addresses=site.of(int(serial, 16)),
        listed_in=list_of,
        listed=_listed(record, list_of, record.issuer_id in gone),
        history=listings.audit(db, acts, 2**62, LINES),
        happened=listings.count_audit(db, acts),
        credentials=credentials_alive(db, record.subject_cn),
    )


def _row(record: CertificateRecord) -> Any:
    return vars(record)


def _chain(
    begin: Enrollment | None, following: Callable[[Enrollment], Enrollment | None]
) -> tuple[list[Enrollment], bool]:
    """What follows, one after the other, and whether that goes on."""
    found, known = list[Enrollment](), set[str]()
    each = begin
    while each is not None and each.request_id not in known and len(found) <= NEAREST:
        known.add(each.request_id)
        each = following(each)
        if each is not None and each.request_id not in known:
            found.append(each)
    return found[:NEAREST], len(found) > NEAREST


def _predecessor(db: Transaction, each: Enrollment) -> Enrollment | None:
    return store.enrollment_of(db, each.replaces_serial) if each.replaces_serial else None


def _list_of(db: Transaction, record: CertificateRecord, shards: int) -> RevocationList | None:
    shard = shard_of(int(record.serial, 16), shards) if shards else None
    return published.published_list(db, list_id(record.issuer_id, shard))


def _listed(record: CertificateRecord, listed: RevocationList | None, distrusted: bool) -> str:
    """Whether a list names a certificate, by the last change that each tells of."""
    if listed is None:
        return ""
    if (record.change_number or 0) > listed.change_number:
        return "next"
    return "listed" if distrusted or record.status in ("held", "revoked") else "unlisted"
