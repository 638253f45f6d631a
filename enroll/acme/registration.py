"""Accounts through a door: newAccount, updates, deactivation, key change (RFC 8555 section 7.3)."""

from __future__ import annotations

from dataclasses import replace

import enroll.store
from ca.storage import Transaction
from ca.trust import VerifiedPeer
from enroll.acme import store
from enroll.acme.accounts import Account, NewAccount, read_account_update, read_new_account
from enroll.acme.credentials import PURPOSE
from enroll.acme.jws import MacKey, VerifiedRequest, verify_binding, verify_key_change
from enroll.acme.server import AcmeServer, active_user
from enroll.problems import Problem, rate_limited
from enroll.requests.renewal import source_of
from enroll.requests.states import WAITING, Event
from enroll.requests.transitions import apply

Request = VerifiedRequest[Account]

#: Accounts that the certificates of one user may vouch for within a day: a client needs one.
MAX_BY_CERTIFICATE = 100
_DAY = 86_400


async def new_account(
    server: AcmeServer, request: Request, peer: VerifiedPeer | None
) -> tuple[Account, bool]:
    """The account of the key that signed, and whether it was made by this request.

    An existing account is returned as it is (RFC 8555 section 7.3.1); parallel requests with one key
    make one account.
    """
    members = request.members()
    # RFC 8555 section 7.3.1: a key that is known MUST get its account, whatever else is in the request.
    found = await server.ra.database.read(lambda db: store.account_of_key(db, request.key.spki_sha256))
    if found is not None:
        return _existing(found), False
    asked = read_new_account(members)
    if asked.only_return_existing:
        raise Problem("accountDoesNotExist", "there is no account with this key")
    _check_terms(server, asked)
    draft = await _draft(server, request, asked, peer)
    return await server.ra.database.write(lambda db: _record(db, server, draft))


async def update_account(server: AcmeServer, request: Request, account: Account) -> Account:
    """Contacts and deactivation; an empty payload object changes nothing (RFC 8555 section 7.3.2)."""
    update = read_account_update(request.members())

    def work(db: Transaction) -> Account:
        at = server.ra.now()
        if update.contacts is not None and update.contacts != account.contacts:
            store.set_contacts(db, account.id, update.contacts)
        if update.deactivate and store.deactivate_account(db, account.id):
            _cancel_everything(db, server, account, at)
        changed = store.account(db, account.id)
        assert changed is not None
        return changed

    return await server.ra.database.write(work)


async def change_key(server: AcmeServer, request: Request, account: Account) -> Account:
    """RFC 8555 section 7.3.5: the old key is dead as soon as this returns. 409 if the new one is taken."""
    new_key = verify_key_change(request)

    def work(db: Transaction) -> Account:
        holder = store.account_of_key(db, new_key.spki_sha256)
        if holder is not None:
            location = server.urls.to("account", holder.id)
            raise Problem(
                "malformed", "the new key has an account", status=409, headers=[("Location", location)]
            )
        if not store.change_key(db, account.id, account.key, new_key):
            raise Problem("unauthorized", "the account's key was changed by another request")
        enroll.store.audit(db, server.ra.now(), actor(account), "acme.key-changed", account.id)
        return replace(account, key=new_key)

    return await server.ra.database.write(work)


def actor(account: Account) -> str:
    """How an account appears in the audit trail."""
    return f"acme:{account.id}"


def _existing(account: Account) -> Account:
    # RFC 8555 section 7.3.6: nothing is served any more to the key of a deactivated account.
    if account.status != "valid":
        raise Problem("unauthorized", f"the account is {account.status}", status=401)
    return account


def _check_terms(server: AcmeServer, asked: NewAccount) -> None:
    terms = server.terms.terms_of_service
    if terms is not None and not asked.terms_agreed:
        raise Problem(
            "userActionRequired",
            "the terms of service have to be agreed to: termsOfServiceAgreed",
            headers=[("Link", f'<{terms}>;rel="terms-of-service"')],
            members={"instance": terms},
        )


async def _draft(
    server: AcmeServer, request: Request, asked: NewAccount, peer: VerifiedPeer | None
) -> Account:
    """The account to be made, for the user that a credential or a certificate vouches for."""
    at = server.ra.now()
    user_id, kid = await _vouched(server, request, asked, peer)
    return Account(
        id=store.new_id(at),
        user_id=user_id,
        key=request.key,
        status="valid",
        contacts=asked.contacts,
        created_at=at,
        terms_agreed_at=at if asked.terms_agreed else None,
        kid=kid,
        binding=asked.binding if kid is not None else None,
    )


async def _vouched(
    server: AcmeServer, request: Request, asked: NewAccount, peer: VerifiedPeer | None
) -> tuple[str, str | None]:
    """The user, and the credential's name. Both are asked again when the account is recorded."""
    if server.by_certificate:
        if peer is None:
            raise Problem("unauthorized", "a valid client certificate has to be presented here")
        fingerprint = peer.fingerprint
        source = await server.ra.database.read(lambda db: source_of(db, fingerprint))
        return source.user_id, None
    if asked.binding is None:
        raise Problem("externalAccountRequired", "a new account needs an externalAccountBinding")

    binding = asked.binding

    def work(db: Transaction) -> tuple[str, str]:
        def mac_key_of(kid: str) -> MacKey | None:
            found = store.credential(db, kid)
            if found is None or found.withdrawn_at is not None:
                return None
            return MacKey(kid, server.ra.vault.open(PURPOSE, found.sealed_key))

        mac_key = verify_binding(binding, url=request.url, key=request.key, mac_key_of=mac_key_of)
        credential = store.credential(db, mac_key.kid)
        assert credential is not None
        return credential.user_id, credential.kid

    return await server.ra.database.read(work)


def _record(db: Transaction, server: AcmeServer, draft: Account) -> tuple[Account, bool]:
    active_user(db, draft.user_id)
    since = draft.created_at - _DAY
    if draft.kid is None and store.count_by_certificate(db, draft.user_id, since) >= MAX_BY_CERTIFICATE:
        detail = f"{MAX_BY_CERTIFICATE} accounts were made with this user's certificates within a day"
        raise rate_limited(detail, retry_after=_DAY, help_url=server.help_url)
    if not store.add_account(db, draft):
        found = store.account_of_key(db, draft.key.spki_sha256)
        if found is not None:
            return _existing(found), False
        raise _bound_already()
    if draft.kid is not None and not store.bind_credential(db, draft.kid, draft.id, draft.created_at):
        raise _bound_already()
    vouched = draft.kid or "certificate"
    enroll.store.audit(
        db, draft.created_at, actor(draft), "acme.account-created", draft.id, user=draft.user_id, by=vouched
    )
    return draft, True


def _bound_already() -> Problem:
    # RFC 8555 section 7.3.4 leaves it to the server; a credential that serves twice is a shared secret.
    return Problem("unauthorized", "the external account is bound to another account already")


def _cancel_everything(db: Transaction, server: AcmeServer, account: Account, at: int) -> None:
    """RFC 8555 section 7.3.6: what was pending is cancelled with the account."""
    for order in store.open_orders(db, account.id, at):
        store.release_request(db, order.id, at)
        enrollment = enroll.store.enrollment(db, order.request_id or "")
        # A renewal stays open: its certificate can be renewed through the pages.
        if enrollment is not None and enrollment.kind == "protocol" and enrollment.state in WAITING:
            apply(db, server.ra, enrollment.request_id, Event.WITHDRAW, at, actor=actor(account))
    store.deactivate_authorizations_of(db, account.id)
    enroll.store.audit(db, at, actor(account), "acme.account-deactivated", account.id)
