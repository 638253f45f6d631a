"""How orders and authorizations stand now: looked up, and judged by what they rest on (RFC 8555 7.1.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import ca.store
import enroll.store
from ca.certificates import serial_hex
from ca.storage import Transaction
from enroll.acme import store
from enroll.acme.accounts import Account
from enroll.acme.orders import Authorization, Order, authorization_status, order_status
from enroll.acme.remembered import compare, confirm
from enroll.acme.renewalinfo import CertId
from enroll.problems import Problem, malformed
from enroll.requests.enrollment import Enrollment, overdue
from enroll.requests.states import WAITING

Db = Transaction


@dataclass(frozen=True, slots=True)
class CurrentOrder:
    """An order with the enrollment behind it and the status that follows from both."""

    order: Order
    enrollment: Enrollment | None
    status: str


class Standing(NamedTuple):
    """What an account rests on: the credential that it was bound by, and its user unless that or the
    organisation is disabled. ``waits``: whether the credential's own request is still to be used."""

    credential: store.Credential | None
    user: enroll.store.User | None
    waits: bool


def standing_of(db: Db, account: Account) -> Standing:
    """Of an account, which is confirmed by that. What is held by it stays so until the transaction has ended,
    so nobody needs to ask again; but whether a theft is reported is asked once the user is held, by a
    statement of its own: one that came in between is seen."""
    found = None if account.kid is None else store.bound(db, account.id)
    if found is None:
        confirm(db, account)
        credential = None if account.kid is None else store.credential(db, account.kid)
        user = enroll.store.active_user(db, account.user_id)
        return Standing(credential, user, credential is not None)
    compare(found.account, account)
    return Standing(found.credential, found.user if found.in_force else None, found.waits)


def find_order(
    db: Db, account: Account, order_id: str, at: int, standing: Standing | None = None
) -> CurrentOrder:
    """An order of the account, which is confirmed, unless its standing is known by now. Somebody else's
    answers like none (RFC 8555 10.5)."""
    if standing is None:
        confirm(db, account)
    found = store.order_with_enrollment(db, order_id)
    if found is None or found[0].account_id != account.id:
        raise malformed("there is no such order", status=404)
    return _current(db, *found, at, standing)


def current(db: Db, order: Order, at: int) -> CurrentOrder:
    """The order with its status now."""
    enrollment = None if order.request_id is None else enroll.store.enrollment(db, order.request_id)
    return _current(db, order, enrollment, at)


def _current(
    db: Db, order: Order, enrollment: Enrollment | None, at: int, standing: Standing | None = None
) -> CurrentOrder:
    statuses: Sequence[str] = ("valid",)
    if enrollment is None or enrollment.state in WAITING:
        if _baseless(db, order, enrollment, at, standing):
            statuses = ("invalid",)
        elif enrollment is None and at < order.expires_at:
            found = (store.authorization(db, one) for one in order.authorization_ids)
            statuses = ["invalid" if one is None else authorization_status(one, at) for one in found]
    return CurrentOrder(order, enrollment, order_status(order, enrollment, statuses, at))


def _baseless(
    db: Db, order: Order, enrollment: Enrollment | None, at: int, standing: Standing | None
) -> bool:
    """Whether what an order without certificate rests on has ended for good: section 7.1.6, invalid.

    That is its credential, or the certificate that it follows: revoked, or replaced by another order or
    door. What is suspended may come back, and the order with it.
    """
    if order.source_serial is None and not _credential_lives(db, order.account_id, standing):
        return True
    if enrollment is not None and overdue(enrollment, at):
        return True
    serial = order.source_serial or (None if enrollment is None else enrollment.replaces_serial)
    source = None if serial is None else ca.store.find_by_serial(db, serial)
    if source is None:
        return False
    # Out of the quota a revoked certificate is replaced as well: that is what RFC 9773 section 4.2 is for.
    of_quota = enrollment is not None and enrollment.kind == "protocol"
    ended = source.status == "revoked" and not of_quota
    return ended or enroll.store.successor_of(db, source.serial) is not None


def _credential_lives(db: Db, account_id: str, standing: Standing | None = None) -> bool:
    credential = standing.credential if standing else store.credential_of_account(db, account_id)
    return credential is not None and credential.withdrawn_at is None


def order_of_certificate(db: Db, record: ca.store.CertificateRecord, at: int) -> Order | None:
    """The order that got a certificate. One that had run out when the pages used its request did not."""
    order = store.order_of_request(db, record.order_id or "")
    return order if order is not None and current(db, order, at).status == "valid" else None


def find_authorization(db: Db, account: Account, authorization_id: str) -> Authorization:
    """An authorization of the account, which is confirmed. Somebody else's answers like none."""
    confirm(db, account)
    found = store.authorization(db, authorization_id)
    if found is None or found.account_id != account.id:
        raise malformed("there is no such authorization", status=404)
    return found


def may_speak_for(db: Db, account: Account, name: str | None, at: int) -> bool:
    """Whether a valid authorization of the account covers a name (None: any name of its user, which all mean
    the same identity), and what it rests on has not ended."""
    found = store.authorizations_for(db, account.id, name, at)
    return any(_stands(db, account, one) for one in found)


def _stands(db: Db, account: Account, authorization: Authorization) -> bool:
    if authorization.order_id is None:
        return _credential_lives(db, account.id)
    order = store.order(db, authorization.order_id)
    source = None if order is None else ca.store.find_by_serial(db, order.source_serial or "")
    return source is not None and source.status == "issued"


def named_certificate(db: Db, cert_id: CertId) -> ca.store.CertificateRecord | None:
    """The certificate that RFC 9773's identifier names, if it is one of ours."""
    record = ca.store.find_by_serial(db, serial_hex(cert_id.serial))
    if record is None or record.issuer_id != cert_id.key_identifier.hex() or record.der is None:
        return None
    return record


def credential_of(db: Db, account: Account) -> store.Credential:
    """The credential that vouches for an account; ``unauthorized`` once it has ended."""
    return vouching(None if account.kid is None else store.credential(db, account.kid))


def vouching(credential: store.Credential | None) -> store.Credential:
    """The same of one that was read in the transaction."""
    if credential is None or credential.withdrawn_at is not None:
        raise Problem("unauthorized", "the account has no valid external account; use the renewal site")
    return credential
