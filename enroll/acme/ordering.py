"""Orders and authorizations through a door (RFC 8555 sections 7.4 and 7.5), tied to enrollments.

Where a credential vouches, an order is ready at once. Where a certificate does, its authorizations wait
for a challenge answered over a connection that presents it (``client-cert-01``, PROTOCOL.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import ca.store
import enroll.store
from ca.profiles import Profile
from ca.storage import Transaction
from ca.trust import VerifiedPeer
from enroll import timekeeping
from enroll.acme import store
from enroll.acme.accounts import Account
from enroll.acme.lookup import (
    CurrentOrder,
    credential_of,
    current,
    find_authorization,
    named_certificate,
    order_of_certificate,
    standing_of,
    vouching,
)
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
    meant,
    order_status,
)
from enroll.acme.remembered import confirm
from enroll.acme.renewalinfo import Predecessor, already_replaced, check_replaces, read_cert_id
from enroll.acme.server import AcmeServer, active_user, entitlement, in_force
from enroll.acme.wire import encode_base64url
from enroll.jst import shown
from enroll.problems import Problem, malformed, rate_limited
from enroll.refusals import CODES
from enroll.requests import profiles
from enroll.requests.enrollment import Enrollment
from enroll.requests.opening import draw_request, open_renewal, renewable_from, renewable_until
from enroll.requests.renewal import source_of
from enroll.requests.states import LIVE, WAITING

#: How long an order may wait for its CSR, and an authorization serves, in seconds.
ORDER_LIFETIME = 86_400
AUTHORIZATION_LIFETIME = 30 * 86_400
#: Orders without certificate that an account may have at a time.
MAX_OPEN_ORDERS = 200
_DAY = 86_400
_TOKEN_BYTES = 24

Db = Transaction


async def new_order(
    server: AcmeServer, account: Account, asked: NewOrder, peer: VerifiedPeer | None
) -> CurrentOrder:
    """Makes an order for the identity that the account acts for."""
    make = _order_by_certificate(peer) if server.by_certificate else _order_by_credential

    return await server.ra.database.write(lambda db: make(db, server, account, asked))


async def new_authorization(server: AcmeServer, account: Account, identifier: Identifier) -> Authorization:
    """Pre-authorisation (RFC 8555 section 7.4.1): valid at once, for the credential is the proof."""
    if server.by_certificate:
        raise Problem("unauthorized", "authorizations are made with orders here")

    def work(db: Db) -> Authorization:
        credential = credential_of(db, account)
        user = active_user(db, account.user_id)
        check_identifiers([identifier], entitlement(server, user, credential.profile))
        return _standing_authorization(db, account, identifier, server.ra.now())

    return await server.ra.database.write(work)


async def deactivate_authorization(
    server: AcmeServer, account: Account, authorization_id: str
) -> Authorization:
    """RFC 8555 section 7.5.2: orders that rest on it and have no certificate yet become invalid."""

    def work(db: Db) -> Authorization:
        at = server.ra.now()
        find_authorization(db, account, authorization_id)
        if store.deactivate_authorization(db, authorization_id):
            for order in store.open_orders(db, account.id, at):
                if authorization_id not in order.authorization_ids:
                    continue
                # Section 7.1.6: one that the pages have submitted goes on, and valid is for good.
                if current(db, order, at).status not in ("processing", "valid"):
                    store.release_request(db, order.id, at)
        return find_authorization(db, account, authorization_id)

    return await server.ra.database.write(work)


async def answer_challenge(
    server: AcmeServer, account: Account, authorization_id: str, peer: VerifiedPeer | None
) -> Authorization:
    """The client says that the challenge is met. Only ``client-cert-01`` has anything left to check."""
    found = await server.ra.database.read(lambda db: find_authorization(db, account, authorization_id))
    if authorization_status(found, server.ra.now()) != "pending":
        return found
    return await server.ra.database.write(lambda db: _answer(db, server, account, authorization_id, peer))


# -- where a credential vouches --------------------------------------------------------------------


def _order_by_credential(db: Db, server: AcmeServer, account: Account, asked: NewOrder) -> CurrentOrder:
    at = server.ra.now()
    standing = standing_of(db, account)
    counted = store.count_orders(db, account.id, account.user_id, at)
    credential, user = vouching(standing.credential), in_force(standing.user, counted.theft)
    granted = entitlement(server, user, credential.profile)
    profile = _checked(db, server, asked, granted, counted)
    source = _source(db, server, account, asked, at)
    expires_at = at + ORDER_LIFETIME
    candidates = _candidates(db, server, credential, standing.waits, source, asked, at)
    found = _found(db, credential, candidates, counted.newest, asked, at)
    in_place = _order_in_place(db, credential, found, asked, at)
    if in_place is not None:
        return current(db, in_place, at)
    enrollment = _request_for(db, server, credential, user, source, found, asked, at, expires_at)
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
    store.add_order(db, order, counted.newest + 1)
    return CurrentOrder(order, enrollment, order_status(order, enrollment, ("valid",), at))


class _Found(NamedTuple):
    """What there is for an order that is asked for: the first request that waits, and the order that has it.
    Without one the places of the quota that are taken, each as the time at which it is free again; none are
    named while it is plain that one is free."""

    waiting: Enrollment | None
    holder: Order | None = None
    taken: tuple[int, ...] = ()


def _found(
    db: Db,
    credential: store.Credential,
    candidates: Iterator[Enrollment],
    newest: int,
    asked: NewOrder,
    at: int,
) -> _Found:
    for candidate in candidates:
        holder = store.order_of_request(db, candidate.request_id)
        taken = holder is not None and at < holder.expires_at and candidate.kind != "renewal"
        if holder is None or not taken or (asked.replaces and holder.replaces == asked.replaces):
            return _Found(candidate, holder)
        # It is for a certificate of its own: the one that is asked for is a further one.
    if newest < credential.quota:
        # Each place that is taken is an order's of its own: among so few orders one is free.
        return _Found(None)
    return _Found(None, taken=tuple(_places(db, credential, at)))


def _order_in_place(
    db: Db, credential: store.Credential, found: _Found, asked: NewOrder, at: int
) -> Order | None:
    """The order that stands for the same already."""
    if found.waiting is not None:
        holder = found.holder
        stands = holder is not None and at < holder.expires_at and _stands_in(holder, credential, asked)
        return holder if stands else None
    if len(found.taken) < credential.quota:
        return None
    # A client that lost its only order gets it back, where there is no place for a second one.
    opened = store.open_orders(db, credential.account_id or "", at)
    only = opened[0] if len(opened) == 1 else None
    if only and _stands_in(only, credential, asked) and current(db, only, at).status == "ready":
        return only
    return None


def _request_for(
    db: Db,
    server: AcmeServer,
    credential: store.Credential,
    user: enroll.store.User,
    source: Enrollment | None,
    found: _Found,
    asked: NewOrder,
    at: int,
    expires_at: int,
) -> Enrollment:
    """The enrollment that a new order is for: the one that waits, or else a fresh one against the quota."""
    follows = source.serial if source is not None and asked.replaces else None
    if found.waiting is not None:
        if found.holder is not None:
            # A client that lost its order, or its account, asks again: the newer one takes the request over.
            store.release_request(db, found.holder.id, at)
        renews = found.waiting.kind == "renewal"
        return found.waiting if renews else _following(db, found.waiting, follows, expires_at)
    if len(found.taken) >= credential.quota:
        raise _used_up(server, source, min(found.taken), at)
    return draw_request(
        db,
        server.ra,
        user,
        "protocol",
        profile=credential.profile,
        door="protocol",
        common_name=credential.common_name,
        replaces_serial=follows,
        window_ends_at=expires_at,
        at=at,
    )


def _candidates(
    db: Db,
    server: AcmeServer,
    credential: store.Credential,
    waits: bool,
    source: Enrollment | None,
    asked: NewOrder,
    at: int,
) -> Iterator[Enrollment]:
    """The requests that an order could be for before a new one is drawn, those that still wait: the
    credential's own (``waits``: if it may), the renewal of the certificate at hand, that of an order which
    replaces the same."""
    own = enroll.store.enrollment(db, credential.kid) if waits else None
    if own is not None and own.state in WAITING:
        yield own
    if source is not None and _renewable(server, source, credential.profile, at):
        renewal = open_renewal(db, server.ra, source, door="protocol")
        if renewal.state in WAITING:
            yield renewal
    for one in store.orders_replacing(db, asked.replaces) if asked.replaces is not None else ():
        its = enroll.store.enrollment(db, one.request_id or "")
        if one.account_id == credential.account_id and its is not None and its.state in WAITING:
            yield its


def _stands_in(holder: Order, credential: store.Credential, asked: NewOrder) -> bool:
    """Whether an open order is the one that is asked for, whatever the case of its names.

    RFC 9773 section 5: an order shows the ``replaces`` that it was asked with. One that had another, or none,
    cannot stand in.
    """
    return (
        holder.account_id == credential.account_id
        and meant(holder.identifiers) == meant(asked.identifiers)
        and asked.replaces in (None, holder.replaces)
    )


def _following(db: Db, waiting: Enrollment, serial: str | None, expires_at: int) -> Enrollment:
    """A request that waits, as one for a certificate that follows another, or none, and for as long as its
    order does; a credential's own has no end."""
    ends_at = None if waiting.window_ends_at is None else expires_at
    after = replace(waiting, replaces_serial=serial, window_ends_at=ends_at)
    if after != waiting:
        enroll.store.change_enrollment(db, waiting, after)
    return after


def _renewable(server: AcmeServer, source: Enrollment, profile: str, at: int) -> bool:
    if source.state not in LIVE or source.not_after_at is None or source.profile != profile:
        return False
    opens, ends = (
        renewable_from(source.not_after_at, server.ra),
        renewable_until(source.not_after_at, server.ra),
    )
    return opens <= at <= ends


def _used_up(server: AcmeServer, source: Enrollment | None, free_at: int, at: int) -> Problem:
    """``free_at``: when the first place of the quota is free again, if nobody frees one before."""
    detail, opens = f"a place is free from {shown(free_at)} (JST)", free_at
    if source is not None and source.state in LIVE and source.not_after_at is not None:
        from_at = renewable_from(source.not_after_at, server.ra)
        if at < from_at <= free_at:
            detail, opens = f"its certificate can be renewed from {shown(from_at)} (JST)", from_at
    detail = f"the quota of this account is used up; {detail}"
    return rate_limited(detail, retry_after=max(opens - at, 60), help_url=server.help_url)


def _source(db: Db, server: AcmeServer, account: Account, asked: NewOrder, at: int) -> Enrollment | None:
    """The enrollment whose certificate this order follows: the one it names, else the account's newest."""
    if asked.replaces is not None:
        record = named_certificate(db, read_cert_id(asked.replaces))
        check_replaces(_predecessor(db, record, at), account.id, asked.identifiers)
        return None if record is None else enroll.store.enrollment_of(db, record.serial)
    return store.latest_enrollment(db, account.id)


def _predecessor(db: Db, record: ca.store.CertificateRecord | None, at: int) -> Predecessor | None:
    order = None if record is None else order_of_certificate(db, record, at)
    if record is None or order is None:
        return None
    reservation = ca.store.find_reservation(db, record.serial)
    names = {one.folded for one in order.identifiers} | {record.subject_cn.lower()}
    names |= set() if reservation is None else set(reservation.names)
    # An open order has replaced nothing yet, and stands in nobody's way.
    replaced = enroll.store.successor_of(db, record.serial) is not None
    return Predecessor(order.account_id, frozenset(names), replaced)


def _standing_authorization(db: Db, account: Account, identifier: Identifier, at: int) -> Authorization:
    """A valid authorization that outlasts an order made now: the one that there is, or a new one."""
    found = store.valid_authorization(db, account.id, identifier, at + ORDER_LIFETIME)
    if found is not None:
        return found
    made = _authorization(account, identifier, "valid", at, at + AUTHORIZATION_LIFETIME)
    store.add_authorization(db, made)
    return made


def places_taken(db: Db, credential: store.Credential, at: int) -> int:
    """How many places of a credential's quota are taken."""
    return len(_places(db, credential, at))


def _places(db: Db, credential: store.Credential, at: int) -> list[int]:
    return store.places_of(db, credential.account_id or "", at, _DAY)


# -- where a certificate vouches -------------------------------------------------------------------


def _order_by_certificate(
    peer: VerifiedPeer | None,
) -> Callable[[Db, AcmeServer, Account, NewOrder], CurrentOrder]:
    def make(db: Db, server: AcmeServer, account: Account, asked: NewOrder) -> CurrentOrder:
        confirm(db, account)
        at = server.ra.now()
        source = _presented(db, account, peer)
        followed = profiles.of_renewal(db, server.ra, source)
        user = enroll.store.active_user(db, account.user_id)
        counted = store.count_orders(db, account.id, account.user_id, at)
        granted = entitlement(server, in_force(user, counted.theft), followed)
        profile = _checked(db, server, asked, granted, counted)
        _check_replaces_presented(db, server, asked.replaces, source)
        # Every order of this door is for the renewal of what is presented, with ``replaces`` or without.
        if enroll.store.successor_of(db, source.serial or "") is not None:
            raise already_replaced()
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
        store.add_order(db, order, counted.newest + 1)
        for one in authorizations:
            store.add_authorization(db, one)
        return CurrentOrder(order, None, "pending")

    return make


def _check_replaces_presented(db: Db, server: AcmeServer, replaces: str | None, source: Enrollment) -> None:
    """RFC 9773 section 5. Whose certificate it is, the connection tells here: often the account is new."""
    if replaces is None:
        return
    record = named_certificate(db, read_cert_id(replaces))
    if record is None or record.serial != source.serial:
        raise malformed("replaces does not name the certificate that is presented")


def _answer(
    db: Db, server: AcmeServer, account: Account, authorization_id: str, peer: VerifiedPeer | None
) -> Authorization:
    at = server.ra.now()
    found = find_authorization(db, account, authorization_id)
    order = store.order(db, found.order_id or "")
    if found.challenge_type != CERTIFICATE_CHALLENGE or order is None:
        return found
    source = _presented(db, account, peer)
    if source.serial != order.source_serial:
        raise Problem("unauthorized", "another certificate has to be presented: the one to be replaced")
    if enroll.store.successor_of(db, source.serial or "") is not None:
        raise already_replaced()
    _check_renewable(server, source, at)
    if store.validate_authorization(db, authorization_id, at):
        answered = [store.authorization(db, one) for one in order.authorization_ids]
        if all(one is not None and one.status == "valid" for one in answered):
            _authorize(db, server, order, source, at)
    return find_authorization(db, account, authorization_id)


def _authorize(db: Db, server: AcmeServer, order: Order, source: Enrollment, at: int) -> None:
    """Ties the order to the one renewal of the certificate; a newer order takes it over."""
    renewal = open_renewal(db, server.ra, source, door="protocol")
    if renewal.state not in WAITING:
        raise Problem("unauthorized", CODES["superseded"])
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


def _check_renewable(server: AcmeServer, source: Enrollment, at: int) -> None:
    """D-30 to expiry, as on the pages."""
    ends = source.not_after_at or 0
    opens = renewable_from(ends, server.ra)
    if source.state not in LIVE:
        raise Problem("unauthorized", "the presented certificate was replaced or revoked")
    if at < opens:
        later = (("Retry-After", str(opens - at)),)
        said = f"outside the renewal window: it opens {shown(opens)} (JST)"
        raise Problem("unauthorized", said, headers=later)
    if at > renewable_until(ends, server.ra):
        raise Problem("unauthorized", "outside the renewal window: the certificate has expired")


# -- both ------------------------------------------------------------------------------------------


def _checked(
    db: Db, server: AcmeServer, asked: NewOrder, granted: Entitlement, counted: store.Counted
) -> str:
    """The profile of an order that may be made, at a moment that can be believed."""
    timekeeping.check(server.ra, db)
    check_identifiers(asked.identifiers, granted)
    profile = choose_profile(asked.profile, granted)
    offered(server, profile)
    if counted.open >= MAX_OPEN_ORDERS:
        detail = f"the account has {MAX_OPEN_ORDERS} unfinished orders; finalize them or let them expire"
        raise rate_limited(detail, retry_after=3_600, help_url=server.help_url)
    return profile


def offered(server: AcmeServer, name: str) -> Profile:
    """The profile of this name; ``invalidProfile`` for one that the operator has taken away."""
    found = server.ra.authority.profiles.get(name)
    if found is None:
        raise Problem("invalidProfile", f"the profile {name!r} is offered no more; ask the operator")
    return found


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
