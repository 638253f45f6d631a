"""Orders and authorizations through a door (RFC 8555 sections 7.4 and 7.5), tied to enrollments.

Where a credential vouches, an order is ready at once. Where a certificate does, its authorizations wait
for a challenge answered over a connection that presents it (``client-cert-01``, PROTOCOL.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlite_utils

import ca.store
import enroll.store
from ca.certificates import serial_hex
from ca.trust import VerifiedPeer
from enroll import timekeeping
from enroll.acme import store
from enroll.acme.accounts import Account
from enroll.acme.door import Door, active_user, entitlement
from enroll.acme.orders import (
    BOUND_CHALLENGE,
    CERTIFICATE_CHALLENGE,
    Authorization,
    Entitlement,
    Identifier,
    NewOrder,
    Order,
    authorization_status,
    authorized_identifiers,
    check_identifiers,
    choose_profile,
    order_status,
)
from enroll.acme.renewalinfo import CertId, Predecessor, already_replaced, check_replaces, read_cert_id
from enroll.acme.wire import encode_base64url
from enroll.enrollment import Enrollment
from enroll.jst import shown
from enroll.openings import draw_request, open_renewal, renewable_from, renewable_until
from enroll.problems import Problem, malformed, rate_limited
from enroll.renewal import source_of
from enroll.states import LIVE, WAITING

#: How long an order may wait for its CSR, and an authorization serves, in seconds.
ORDER_LIFETIME = 86_400
AUTHORIZATION_LIFETIME = 30 * 86_400
#: Orders without certificate that an account may have at a time.
MAX_OPEN_ORDERS = 200
_DAY = 86_400
_TOKEN_BYTES = 24

Db = sqlite_utils.Database


@dataclass(frozen=True, slots=True)
class CurrentOrder:
    """An order with the enrollment behind it and the status that follows from both."""

    order: Order
    enrollment: Enrollment | None
    status: str


def find_order(db: Db, account: Account, order_id: str, at: int) -> CurrentOrder:
    """An order of the account. Somebody else's answers like none (RFC 8555 section 10.5)."""
    order = store.order(db, order_id)
    if order is None or order.account_id != account.id:
        raise malformed("there is no such order", status=404)
    return current(db, order, at)


def current(db: Db, order: Order, at: int) -> CurrentOrder:
    """The order with its status now."""
    enrollment = None
    statuses: Sequence[str] = ("valid",)
    if order.request_id is not None:
        enrollment = enroll.store.enrollment(db, order.request_id)
    elif at < order.expires_at:
        found = (store.authorization(db, one) for one in order.authorization_ids)
        statuses = ["invalid" if one is None else authorization_status(one, at) for one in found]
    return CurrentOrder(order, enrollment, order_status(order, enrollment, statuses, at))


def order_of_certificate(db: Db, record: ca.store.CertificateRecord, at: int) -> Order | None:
    """The order that got a certificate. One that had run out when the pages used its request did not."""
    order = store.order_of_request(db, record.order_id or "")
    return order if order is not None and current(db, order, at).status == "valid" else None


def find_authorization(db: Db, account: Account, authorization_id: str) -> Authorization:
    """An authorization of the account. Somebody else's answers like none."""
    found = store.authorization(db, authorization_id)
    if found is None or found.account_id != account.id:
        raise malformed("there is no such authorization", status=404)
    return found


def may_speak_for(db: Db, account: Account, dns_name: str, at: int) -> bool:
    """Whether a valid authorization of the account covers a dNSName, and what it rests on has not ended."""
    found = store.authorizations_for(db, account.id, dns_name, at)
    return any(_stands(db, account, one) for one in found)


def _stands(db: Db, account: Account, authorization: Authorization) -> bool:
    if authorization.order_id is None:
        credential = store.credential(db, account.kid or "")
        return credential is not None and credential.withdrawn_at is None
    order = store.order(db, authorization.order_id)
    source = None if order is None else ca.store.find_by_serial(db, order.source_serial or "")
    return source is not None and source.status == "issued"


async def new_order(door: Door, account: Account, asked: NewOrder, peer: VerifiedPeer | None) -> CurrentOrder:
    """Makes an order for the identity that the account acts for."""
    make = _order_by_certificate(peer) if door.by_certificate else _order_by_credential
    return await door.office.database.write(lambda db: make(db, door, account, asked))


async def new_authorization(door: Door, account: Account, identifier: Identifier) -> Authorization:
    """Pre-authorisation (RFC 8555 section 7.4.1): valid at once, for the credential is the proof."""
    if door.by_certificate:
        raise Problem("unauthorized", "authorizations are made with orders here")

    def work(db: Db) -> Authorization:
        credential = credential_of(db, account)
        user = active_user(db, account.user_id)
        check_identifiers([identifier], entitlement(door, user, credential.profile))
        return _standing_authorization(db, account, identifier, door.office.now())

    return await door.office.database.write(work)


async def deactivate_authorization(door: Door, account: Account, authorization_id: str) -> Authorization:
    """RFC 8555 section 7.5.2: orders that rest on it and have no certificate yet become invalid."""
    find_authorization(door.office.database.read(), account, authorization_id)

    def work(db: Db) -> Authorization:
        at = door.office.now()
        if store.deactivate_authorization(db, authorization_id):
            for order in store.open_orders(db, account.id, at):
                if authorization_id not in order.authorization_ids:
                    continue
                # Section 7.1.6: one that the pages have submitted goes on, and valid is for good.
                if current(db, order, at).status not in ("processing", "valid"):
                    store.release_request(db, order.id, at)
        return find_authorization(db, account, authorization_id)

    return await door.office.database.write(work)


async def answer_challenge(
    door: Door, account: Account, authorization_id: str, peer: VerifiedPeer | None
) -> Authorization:
    """The client says that the challenge is met. Only ``client-cert-01`` has anything left to check."""
    found = find_authorization(door.office.database.read(), account, authorization_id)
    if authorization_status(found, door.office.now()) != "pending":
        return found
    return await door.office.database.write(lambda db: _answer(db, door, account, authorization_id, peer))


def named_certificate(db: Db, door: Door, cert_id: CertId) -> ca.store.CertificateRecord | None:
    """The certificate that RFC 9773's identifier names, if it is one of ours."""
    record = ca.store.find_by_serial(db, serial_hex(cert_id.serial))
    if record is None or record.issuer_id != cert_id.key_identifier.hex() or record.der is None:
        return None
    return record


# -- where a credential vouches --------------------------------------------------------------------


def _order_by_credential(db: Db, door: Door, account: Account, asked: NewOrder) -> CurrentOrder:
    at = door.office.now()
    credential = credential_of(db, account)
    user = active_user(db, account.user_id)
    profile = _checked(db, door, account, asked, entitlement(door, user, credential.profile), at)
    source = _source(db, door, account, asked, at)
    expires_at = at + ORDER_LIFETIME
    enrollment = _request_for(db, door, credential, user, source, asked, at, expires_at)
    if isinstance(enrollment, Order):
        return current(db, enrollment, at)
    names = authorized_identifiers(asked.identifiers)
    authorizations = [_standing_authorization(db, account, name, at) for name in names]
    order = Order(
        id=store.new_id(at),
        account_id=account.id,
        request_id=enrollment.request_id,
        identifiers=asked.identifiers,
        authorization_ids=tuple(one.id for one in authorizations),
        profile=profile,
        created_at=at,
        expires_at=expires_at,
        replaces=asked.replaces,
    )
    store.add_order(db, order)
    return CurrentOrder(order, enrollment, order_status(order, enrollment, ("valid",), at))


def _request_for(
    db: Db,
    door: Door,
    credential: store.Credential,
    user: enroll.store.User,
    source: Enrollment | None,
    asked: NewOrder,
    at: int,
    expires_at: int,
) -> Enrollment | Order:
    """The enrollment that an order is for, or the order that stands for the same already.

    In this order: the credential's own request ID, the renewal of the certificate at hand, a fresh
    request ID against the quota.
    """
    own = enroll.store.enrollment(db, credential.kid)
    candidates = [own] if own is not None and own.state in WAITING else []
    if source is not None and _renewable(door, source, credential.profile, at):
        candidates.append(open_renewal(db, door.office, source, door="protocol"))
    for candidate in candidates:
        holder = store.order_of_request(db, candidate.request_id)
        if candidate.state not in WAITING:
            continue
        if holder is None:
            return candidate
        if at >= holder.expires_at or candidate.kind == "renewal":
            same = holder.account_id == credential.account_id and holder.identifiers == asked.identifiers
            # RFC 9773 section 5: an order shows the ``replaces`` that it was asked with. One that had none
            # cannot stand in.
            if at < holder.expires_at and same and not asked.replaces:
                return holder
            # A client that lost its order, or its account, asks again: the newer one takes the request over.
            store.release_request(db, holder.id, at)
            return candidate
    if credential.used >= credential.quota:
        raise _used_up(door, source, at)
    return draw_request(
        db,
        door.office,
        user,
        "protocol",
        profile=credential.profile,
        door="protocol",
        common_name=credential.common_name,
        window_ends_at=expires_at,
    )


def _renewable(door: Door, source: Enrollment, profile: str, at: int) -> bool:
    if source.state not in LIVE or source.not_after_at is None or source.profile != profile:
        return False
    opens, ends = (
        renewable_from(source.not_after_at, door.office),
        renewable_until(source.not_after_at, door.office),
    )
    return opens <= at <= ends


def _used_up(door: Door, source: Enrollment | None, at: int) -> Problem:
    opens = at + _DAY
    if source is not None and source.not_after_at is not None:
        opens = renewable_from(source.not_after_at, door.office)
    detail = f"the quota of this account is used up; its certificate can be renewed from {shown(opens)} (JST)"
    return rate_limited(detail, retry_after=max(opens - at, 3_600), help_url=door.help_url)


def _source(db: Db, door: Door, account: Account, asked: NewOrder, at: int) -> Enrollment | None:
    """The enrollment whose certificate this order follows: the one it names, else the account's newest."""
    if asked.replaces is not None:
        record = named_certificate(db, door, read_cert_id(asked.replaces))
        check_replaces(_predecessor(db, record, asked.replaces, at), account.id, asked.identifiers)
        return None if record is None else enroll.store.enrollment_of(db, record.serial)
    latest = store.latest_request(db, account.id)
    return None if latest is None else enroll.store.enrollment(db, latest)


def _predecessor(
    db: Db, record: ca.store.CertificateRecord | None, replaces: str, at: int
) -> Predecessor | None:
    order = None if record is None else order_of_certificate(db, record, at)
    if record is None or order is None:
        return None
    reservation = ca.store.find_reservation(db, record.serial)
    names = {one.folded for one in order.identifiers} | {record.subject_cn.lower()}
    names |= set() if reservation is None else set(reservation.names)
    return Predecessor(order.account_id, frozenset(names), _successor(db, replaces, at))


def _successor(db: Db, replaces: str, at: int) -> str | None:
    """The order that replaces this certificate: the one that says so and is not invalid."""
    followers = [current(db, one, at) for one in store.orders_replacing(db, replaces)]
    return next((one.order.id for one in followers if one.status != "invalid"), None)


def _standing_authorization(db: Db, account: Account, identifier: Identifier, at: int) -> Authorization:
    """A valid authorization that outlasts an order made now: the one that there is, or a new one."""
    found = store.valid_authorization(db, account.id, identifier, at + ORDER_LIFETIME)
    if found is not None:
        return found
    made = _authorization(account, identifier, "valid", at, at + AUTHORIZATION_LIFETIME)
    store.add_authorization(db, made)
    return made


def credential_of(db: Db, account: Account) -> store.Credential:
    """The credential that vouches for an account; ``unauthorized`` once it has ended."""
    credential = None if account.kid is None else store.credential(db, account.kid)
    if credential is None or credential.withdrawn_at is not None:
        raise Problem("unauthorized", "the account has no valid external account; use the renewal site")
    return credential


# -- where a certificate vouches -------------------------------------------------------------------


def _order_by_certificate(
    peer: VerifiedPeer | None,
) -> Callable[[Db, Door, Account, NewOrder], CurrentOrder]:
    def make(db: Db, door: Door, account: Account, asked: NewOrder) -> CurrentOrder:
        at = door.office.now()
        source = _presented(db, account, peer)
        granted = entitlement(door, active_user(db, account.user_id), source.profile)
        profile = _checked(db, door, account, asked, granted, at)
        _check_replaces_presented(db, door, asked.replaces, source, at)
        order_id, expires_at = store.new_id(at), at + ORDER_LIFETIME
        authorizations = [
            _authorization(account, name, "pending", at, expires_at, order_id)
            for name in authorized_identifiers(asked.identifiers)
        ]
        order = Order(
            id=order_id,
            account_id=account.id,
            request_id=None,
            identifiers=asked.identifiers,
            authorization_ids=tuple(one.id for one in authorizations),
            profile=profile,
            created_at=at,
            expires_at=expires_at,
            replaces=asked.replaces,
            source_serial=source.serial,
        )
        store.add_order(db, order)
        for one in authorizations:
            store.add_authorization(db, one)
        return CurrentOrder(order, None, "pending")

    return make


def _check_replaces_presented(db: Db, door: Door, replaces: str | None, source: Enrollment, at: int) -> None:
    """RFC 9773 section 5. Whose certificate it is, the connection tells here: often the account is new.

    Not checked, an order could mark anybody's certificate as replaced and so stand in the owner's way.
    """
    if replaces is None:
        return
    record = named_certificate(db, door, read_cert_id(replaces))
    if record is None or record.serial != source.serial:
        raise malformed("replaces does not name the certificate that is presented")
    if _successor(db, replaces, at) is not None:
        raise already_replaced()


def _answer(
    db: Db, door: Door, account: Account, authorization_id: str, peer: VerifiedPeer | None
) -> Authorization:
    at = door.office.now()
    found = find_authorization(db, account, authorization_id)
    order = store.order(db, found.order_id or "")
    if found.challenge_type != CERTIFICATE_CHALLENGE or order is None:
        return found
    source = _presented(db, account, peer)
    if source.serial != order.source_serial:
        raise Problem("unauthorized", "another certificate has to be presented: the one to be replaced")
    _check_renewable(door, source, at)
    if store.validate_authorization(db, authorization_id, at):
        answered = [store.authorization(db, one) for one in order.authorization_ids]
        if all(one is not None and one.status == "valid" for one in answered):
            _authorize(db, door, order, source, at)
    return find_authorization(db, account, authorization_id)


def _authorize(db: Db, door: Door, order: Order, source: Enrollment, at: int) -> None:
    """Ties the order to the one renewal of the certificate; a newer order takes it over."""
    renewal = open_renewal(db, door.office, source, door="protocol")
    if renewal.state not in WAITING:
        raise Problem("alreadyReplaced", "the certificate has been renewed already")
    holder = store.order_of_request(db, renewal.request_id)
    if holder is not None:
        store.release_request(db, holder.id, at)
    store.give_request(db, order.id, renewal.request_id)


def _presented(db: Db, account: Account, peer: VerifiedPeer | None) -> Enrollment:
    if peer is None:
        raise Problem("unauthorized", "a valid client certificate has to be presented here")
    source = source_of(db, peer.fingerprint)
    if source.user_id != account.user_id:
        raise Problem("unauthorized", "the presented certificate is another user's")
    return source


def _check_renewable(door: Door, source: Enrollment, at: int) -> None:
    """D-30 to expiry, as on the pages."""
    ends = source.not_after_at or 0
    opens = renewable_from(ends, door.office)
    if source.state not in LIVE:
        raise Problem("unauthorized", "the presented certificate was replaced or revoked")
    if at < opens:
        raise Problem("unauthorized", f"outside the renewal window: it opens {shown(opens)} (JST)")
    if at > renewable_until(ends, door.office):
        raise Problem("unauthorized", "outside the renewal window: the certificate has expired")


# -- both ------------------------------------------------------------------------------------------


def _checked(db: Db, door: Door, account: Account, asked: NewOrder, granted: Entitlement, at: int) -> str:
    """The profile of an order that may be made."""
    timekeeping.check(door.office, db)
    check_identifiers(asked.identifiers, granted)
    profile = choose_profile(asked.profile, granted)
    if store.count_open_orders(db, account.id, at) >= MAX_OPEN_ORDERS:
        detail = f"the account has {MAX_OPEN_ORDERS} unfinished orders; finalize them or let them expire"
        raise rate_limited(detail, retry_after=3_600, help_url=door.help_url)
    return profile


def _authorization(
    account: Account,
    identifier: Identifier,
    status: str,
    at: int,
    expires_at: int,
    order_id: str | None = None,
) -> Authorization:
    return Authorization(
        id=store.new_id(at),
        account_id=account.id,
        identifier=identifier,
        status=status,
        expires_at=expires_at,
        challenge_type=BOUND_CHALLENGE if order_id is None else CERTIFICATE_CHALLENGE,
        token=encode_base64url(os.urandom(_TOKEN_BYTES)),
        validated_at=at if status == "valid" else None,
        order_id=order_id,
    )
