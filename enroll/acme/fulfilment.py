"""From a ready order to its certificate, and to its end: finalize, download, revoke, renewal information."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache

from cryptography import x509

import ca.store
import enroll.store
from ca.authority import Issuer
from ca.errors import Unacceptable
from ca.generations import store as generations
from ca.storage import Transaction
from enroll.acme import store
from enroll.acme.accounts import Account
from enroll.acme.csr import ReadCsr, bad_csr, check_csr, read_csr
from enroll.acme.jws import VerifiedRequest
from enroll.acme.lookup import (
    CurrentOrder,
    find_order,
    may_speak_for,
    named_certificate,
    order_of_certificate,
    standing_of,
    vouching,
)
from enroll.acme.ordering import offered
from enroll.acme.orders import Order, check_finalizable, order_status
from enroll.acme.registration import actor
from enroll.acme.renewalinfo import Window, read_cert_id, renewal_window
from enroll.acme.revocation import Holder, check_revocation, read_revocation
from enroll.acme.server import AcmeServer, dns_name, entitlement, in_force
from enroll.acme.wire import Json, required
from enroll.problems import Problem, malformed
from enroll.refusals import Refusal
from enroll.requests import completion
from enroll.requests.enrollment import Enrollment
from enroll.requests.issuance import Begun, begin_for_client
from enroll.requests.transitions import end_certificate

Db = Transaction


async def finalize(
    server: AcmeServer, account: Account, order_id: str, payload: Mapping[str, Json]
) -> CurrentOrder:
    """Issues the certificate of a ready order, once; parallel requests find it not ready any more.

    Its serial is on disk before it is signed, and it before anything leaves. Mostly that is quick, and the
    answer is the valid order; while it takes longer the order is processing (RFC 8555 section 7.4), and
    whoever looks at it gets it finished.
    """
    csr = _csr_of(payload)
    order, begun = await server.ra.database.write(lambda db: _begin(db, server, account, order_id, csr))
    enrollment, reservation = begun
    with suppress(Refusal):  # the order is there all the same, and processing
        done = await completion.within(server.ra, enrollment.request_id, reservation)
        if done is not None:
            # Closed, it is nobody's to change any more: what it is follows from its enrollment alone.
            return CurrentOrder(order, done, order_status(order, done, ("valid",), server.ra.now()))
    return await _find(server, account, order_id)


def _csr_of(payload: Mapping[str, Json]) -> ReadCsr | Problem:
    """What is handed in, or what is wrong with it, to be said when the order is known to want it."""
    try:
        return read_csr(required(payload, "csr", lambda value, _: value))
    except Problem as problem:
        return problem


async def _find(server: AcmeServer, account: Account, order_id: str) -> CurrentOrder:
    at = server.ra.now()
    return await server.ra.database.read(lambda db: find_order(db, account, order_id, at))


async def look(server: AcmeServer, account: Account, order_id: str) -> CurrentOrder:
    """An order as it is. What is processing is taken up where a failure or a restart left it."""
    found = await _find(server, account, order_id)
    if found.status == "processing" and found.enrollment is not None:
        completion.begin(server.ra, found.enrollment.request_id)
    return found


def chains(server: AcmeServer) -> tuple[str, ...]:
    """The names of the alternate chains: one ends with our root, one with each that vouches for it."""
    return _WITH_ROOT, *(f"cross-{n}" for n in range(len(server.ra.authority.crosses)))


async def certificate_chain(server: AcmeServer, account: Account, order_id: str, which: str = "") -> str:
    """The chain as PEM, leaf first (RFC 8555 section 7.4.2). ``which``: of ``chains``; '' for the default."""
    at = server.ra.now()

    def work(db: Db) -> tuple[CurrentOrder, ca.store.CertificateRecord | None]:
        found = find_order(db, account, order_id, at)
        return found, ca.store.find_by_order(db, found.order.request_id or "")

    found, record = await server.ra.database.read(work)
    if found.status != "valid" or record is None or record.der is None:
        raise malformed("there is no such certificate", status=404)
    issuer = server.ra.authority.issuer(record.issuer_id)
    crosses = {f"cross-{n}": der for n, der in enumerate(server.ra.authority.crosses)}
    return ssl.DER_cert_to_PEM_cert(record.der) + _above(issuer, which == _WITH_ROOT, crosses.get(which))


_WITH_ROOT = "root"


@lru_cache(maxsize=16)
def _above(issuer: Issuer, root: bool, cross: bytes | None) -> str:
    """What follows the leaf in the chains of an issuer."""
    above = issuer.chain if root else issuer.chain[:-1]
    if cross is not None:
        above = (*above, cross)
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in (issuer.der, *above))


async def revoke(server: AcmeServer, request: VerifiedRequest[Account]) -> None:
    """RFC 8555 section 7.6. The certificate ends in the register at once, for the gate too."""
    asked = read_revocation(request.members())
    try:
        x509.load_der_x509_certificate(asked.der)
    # A version that there is not is no ValueError.
    except (ValueError, x509.InvalidVersion):
        raise malformed("certificate is not a certificate in DER") from None
    fingerprint = ca.store.fingerprint_of(asked.der)

    def work(db: Db) -> None:
        at = server.ra.now()
        record = ca.store.find_by_fingerprint(db, fingerprint)
        check_revocation(
            _holder(db, record, at),
            account_id=None if request.account is None else request.account.id,
            spki_sha256=request.key.spki_sha256,
            authorized=_authorized(db, server, request.account, record, at),
        )
        assert record is not None
        by = f"key:{request.key.thumbprint}" if request.account is None else actor(request.account)
        end_certificate(db, server.ra, record.serial, asked.reason, at, actor=by)

    await server.ra.database.write(work)


async def renewal_information(server: AcmeServer, cert_id: str) -> Window:
    """RFC 9773 section 4: when to renew. 404 for a certificate that is not ours."""
    named = read_cert_id(cert_id)
    record, rows = await server.ra.database.read(
        lambda db: (named_certificate(db, named), generations.rows(db))
    )
    if record is None:
        raise malformed("there is no such certificate", status=404)
    settings, issuer = server.ra.settings, rows.get(record.issuer_id)
    # Where its issuing CA is trusted no more it is as good as revoked.
    ended_at = issuer.distrusted_at if issuer is not None and record.revoked_at is None else record.revoked_at
    return renewal_window(
        record.not_before_at,
        record.not_after_at,
        ended_at,
        renewal_days=settings.renewal_days,
        reminder_days=settings.reminder_days,
    )


def _begin(
    db: Db, server: AcmeServer, account: Account, order_id: str, csr: ReadCsr | Problem
) -> tuple[Order, Begun]:
    ra, at = server.ra, server.ra.now()
    standing = standing_of(db, account)
    found = find_order(db, account, order_id, at, standing)
    spki_sha256 = "" if isinstance(csr, Problem) else csr.spki_sha256
    is_account_key, theft = store.is_account_key(db, spki_sha256, account.user_id)
    # First: an order may have become invalid because of it, and the client is to learn why.
    user = in_force(standing.user, theft)
    if not server.by_certificate or found.order.source_serial is None:
        # A credential vouched for it. It may have been withdrawn since, and either door leads here.
        vouching(standing.credential)
    check_finalizable(found.status)
    if isinstance(csr, Problem):
        raise csr
    enrollment, profile = found.enrollment, offered(server, found.order.profile)
    assert enrollment is not None
    checked = check_csr(
        csr,
        identifiers=found.order.identifiers,
        entitlement=entitlement(server, user, profile.name),
        key_kinds=profile.key_kinds,
        is_account_key=is_account_key,
    )
    names = (dns_name(account.user_id, ra.settings.zone),)
    try:
        begun = begin_for_client(
            db,
            ra,
            enrollment,
            checked.spki,
            names if profile.needs_names else (),
            profile.name,
            actor=actor(account),
            by_another=_by_another(db, account, enrollment, at),
            user=user,
        )
    except Unacceptable as refusal:
        raise bad_csr(str(refusal)) from None
    store.close_order(db, order_id)
    return found.order, begun


def _by_another(db: Db, account: Account, enrollment: Enrollment, at: int) -> bool:
    """Whether the certificate to be followed is held by the pages, or by another account."""
    if enrollment.replaces_serial is None:
        return False
    source = ca.store.find_by_serial(db, enrollment.replaces_serial)
    if source is None:
        return False
    order = order_of_certificate(db, source, at)
    return order is None or order.account_id != account.id


def _holder(db: Db, record: ca.store.CertificateRecord | None, at: int) -> Holder | None:
    if record is None:
        return None
    order = order_of_certificate(db, record, at)
    account_id = None if order is None else order.account_id
    return Holder(account_id, record.spki_sha256, record.status == "revoked")


def _authorized(
    db: Db, server: AcmeServer, account: Account | None, record: ca.store.CertificateRecord | None, at: int
) -> bool:
    """Whether the account holds valid authorizations for all names of the certificate."""
    origin = None if record is None else enroll.store.enrollment_of(db, record.serial)
    reservation = None if record is None else ca.store.find_reservation(db, record.serial)
    if account is None or origin is None or reservation is None:
        return False
    if origin.user_id != account.user_id:
        return False
    # A person's has a common name only, which is one of the names of its user.
    return all(may_speak_for(db, account, name, at) for name in reservation.names or (None,))
