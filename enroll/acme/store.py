"""Every statement about accounts, credentials, orders and authorizations.

Functions take the transaction of a ``Storage.read`` or ``Storage.write``.
Changes are compare-and-set, so that of two racers one wins.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from ca.storage import ALONE, LOOK, Row, Transaction, Values, inserting, together
from enroll.acme.accounts import Account
from enroll.acme.keys import AccountKey, stored_key
from enroll.acme.orders import Authorization, Identifier, Order
from enroll.people.store import THEFT, THEFT_WAITS, USER_COLUMNS, User, theft_reported, user_of
from enroll.requests.enrollment import Enrollment
from enroll.requests.states import WAITING
from enroll.requests.store import ENROLLMENT_COLUMNS, as_enrollment

Db = Transaction


@dataclass(frozen=True)
class Credential:
    """An external account binding's credential. Its kid is a request ID; its key is sealed."""

    kid: str
    user_id: str
    sealed_key: bytes
    common_name: str
    profile: str
    quota: int
    account_id: str | None
    created_at: int
    bound_at: int | None = None
    withdrawn_at: int | None = None


def new_id(at: int) -> str:
    """A fresh identifier: eight hex digits of time, sixteen of chance. Those of a later second sort later."""
    return f"{at:08x}{os.urandom(8).hex()}"


# -- credentials ---------------------------------------------------------------------------------


def add_credential(db: Db, credential: Credential) -> None:
    db.execute(
        "INSERT INTO acme_credentials"
        " (kid, user_id, sealed_key, common_name, profile, quota, generation, created_at)"
        " SELECT :kid, user_id, :sealed_key, :common_name, :profile, :quota, generation, :created_at"
        " FROM users WHERE user_id = :user_id",
        {
            "kid": credential.kid,
            "sealed_key": credential.sealed_key,
            "common_name": credential.common_name,
            "profile": credential.profile,
            "quota": credential.quota,
            "created_at": credential.created_at,
            "user_id": credential.user_id,
        },
    )


# One that was made in an earlier generation of its user ended with it: by a reissue or a disabling.
_CREDENTIAL_COLUMNS = (
    "acme_credentials.kid, acme_credentials.user_id, acme_credentials.sealed_key,"
    " acme_credentials.common_name, acme_credentials.profile, acme_credentials.quota,"
    " acme_credentials.account_id, acme_credentials.created_at, acme_credentials.bound_at,"
    " CASE WHEN acme_credentials.generation = users.generation THEN withdrawn_at"
    " WHEN withdrawn_at < generation_at THEN withdrawn_at ELSE generation_at END AS withdrawn_at"
)
_CREDENTIAL = f"SELECT {_CREDENTIAL_COLUMNS} FROM acme_credentials JOIN users USING (user_id)"
_ALIVE = (
    "withdrawn_at IS NULL"
    " AND generation = (SELECT generation FROM users WHERE users.user_id = acme_credentials.user_id)"
)


def credential(db: Db, kid: str) -> Credential | None:
    row = db.one(f"{_CREDENTIAL} WHERE kid = :kid", {"kid": kid})
    return None if row is None else Credential(*row)


def credential_of_account(db: Db, account_id: str) -> Credential | None:
    """The credential that an account was bound with, if it was by one."""
    of_account = "(SELECT acme_accounts.kid FROM acme_accounts WHERE acme_accounts.id = :account_id)"
    row = db.one(f"{_CREDENTIAL} WHERE kid = {of_account}{ALONE}", {"account_id": account_id})
    return None if row is None else Credential(*row)


def credentials_of(db: Db, user_id: str) -> list[Credential]:
    """A user's credentials, oldest first."""
    statement = f"{_CREDENTIAL} WHERE user_id = :user_id ORDER BY acme_credentials.created_at"
    return [Credential(*row) for row in db.rows(statement, {"user_id": user_id})]


def credentials_alive(db: Db, common_name: str) -> list[str]:
    """The credentials by which a program may still get certificates of this name, oldest first."""
    alive = f"SELECT kid FROM acme_credentials WHERE {_ALIVE} AND common_name = :name"
    return [str(row[0]) for row in db.rows(f"{alive} ORDER BY created_at, kid{LOOK}", {"name": common_name})]


def granted_profiles(db: Db) -> list[str]:
    """The profiles that credentials have which are alive."""
    found = db.rows(f"SELECT DISTINCT profile FROM acme_credentials WHERE {_ALIVE} ORDER BY profile{LOOK}")
    return [str(row[0]) for row in found]


def bind_credential(db: Db, kid: str, account_id: str, at: int) -> bool:
    """Binds a credential to an account; False when it is bound or withdrawn already."""
    changed = _changed(
        db,
        "UPDATE acme_credentials SET account_id = :account_id, bound_at = :at"
        f" WHERE kid = :kid AND account_id IS NULL AND {_ALIVE}",
        {"account_id": account_id, "at": at, "kid": kid},
    )
    return _noted(db, changed, "credential.bound", kid=kid, at=at)


def withdraw_credential(db: Db, kid: str, at: int) -> bool:
    """Ends a credential; False when unknown or ended already."""
    changed = _changed(
        db,
        f"UPDATE acme_credentials SET withdrawn_at = :at WHERE kid = :kid AND {_ALIVE}",
        {"at": at, "kid": kid},
    )
    return _noted(db, changed, "credential.withdrawn", kid=kid, at=at)


# -- accounts ------------------------------------------------------------------------------------


def add_account(db: Db, account: Account) -> bool:
    """Records an account; False when the key, or the credential, has one."""
    values = {
        "id": account.id,
        "user_id": account.user_id,
        "jwk": account.key.jwk,
        "spki_sha256": account.key.spki_sha256,
        "status": account.status,
        "contacts": json.dumps(account.contacts),
        "created_at": account.created_at,
        "terms_agreed_at": account.terms_agreed_at,
        "kid": account.kid,
        "binding": None if account.binding is None else json.dumps(dict(account.binding)),
    }
    return _changed(db, f"{inserting('acme_accounts', values)} ON CONFLICT DO NOTHING", values)


_ACCOUNT_FIELDS = (
    "id", "user_id", "jwk", "status", "contacts", "created_at", "terms_agreed_at", "kid", "binding",
)  # fmt: skip
_ACCOUNT_COLUMNS = ", ".join(f"acme_accounts.{name}" for name in _ACCOUNT_FIELDS)
_ACCOUNT = f"SELECT {_ACCOUNT_COLUMNS} FROM acme_accounts"


def account(db: Db, account_id: str) -> Account | None:
    row = db.one(f"{_ACCOUNT} WHERE id = :account_id", {"account_id": account_id})
    return None if row is None else _account(*row)


@dataclass(frozen=True, slots=True)
class Bound:
    """An account with the credential that it was bound by, and their user. ``in_force``: unless the user or
    the organisation is disabled; ``waits``: whether the credential's own request is still to be used."""

    account: Account
    credential: Credential
    user: User
    in_force: bool
    waits: bool


_BOUND = (
    f"SELECT {_ACCOUNT_COLUMNS}, {_CREDENTIAL_COLUMNS}, {USER_COLUMNS},"
    " users.disabled_at IS NULL AND organisations.disabled_at IS NULL,"
    # Only looked at: what waits no more never will again, and what does is held when it is used.
    " (SELECT state FROM enrollments WHERE request_id = acme_credentials.kid)"
    " FROM acme_accounts JOIN acme_credentials ON acme_credentials.kid = acme_accounts.kid"
    " JOIN users ON users.user_id = acme_accounts.user_id"
    " JOIN organisations ON organisations.policy_number = users.policy_number"
    f" WHERE acme_accounts.id = :account_id{together('organisations')}"
)
_OF_ACCOUNT = slice(0, len(_ACCOUNT_FIELDS))
_OF_CREDENTIAL = slice(_OF_ACCOUNT.stop, _OF_ACCOUNT.stop + len(fields(Credential)))


def bound(db: Db, account_id: str) -> Bound | None:
    """All of that by one look-up. None for an account without a credential, and where what belongs together
    was being changed: then each is to be looked up by itself."""
    row = db.one(_BOUND, {"account_id": account_id})
    if row is None:
        return None
    values = tuple(row)
    return Bound(
        account=_account(*values[_OF_ACCOUNT]),
        credential=Credential(*values[_OF_CREDENTIAL]),
        user=user_of(values[_OF_CREDENTIAL.stop : -2]),
        in_force=bool(values[-2]),
        waits=values[-1] in WAITING,
    )


def count_by_certificate(db: Db, user_id: str, since: int) -> int:
    """How many accounts a user's certificates have vouched for since then."""
    return _count(
        db,
        # The user is held by whoever adds one.
        "SELECT count(*) FROM acme_accounts WHERE kid IS NULL AND user_id = :user_id"
        f" AND created_at > :since{LOOK}",
        {"user_id": user_id, "since": since},
    )


def account_of_key(db: Db, spki_sha256: str) -> Account | None:
    """The account of a key, deactivated or not."""
    row = db.one(f"{_ACCOUNT} WHERE spki_sha256 = :spki_sha256", {"spki_sha256": spki_sha256})
    return None if row is None else _account(*row)


def is_account_key(db: Db, spki_sha256: str, user_id: str) -> tuple[bool, bool]:
    """Whether an account has this key; and whether a theft is reported of a user, who is held by now."""
    row = db.one(
        # A key that becomes an account's meanwhile is refused by nothing.
        f"SELECT EXISTS (SELECT 1 FROM acme_accounts WHERE spki_sha256 = :spki_sha256), {THEFT_WAITS}{LOOK}",
        {"spki_sha256": spki_sha256, "user_id": user_id, "theft": THEFT},
    )
    assert row is not None
    return bool(row[0]), bool(row[1]) and theft_reported(db, user_id)


def set_contacts(db: Db, account_id: str, contacts: Sequence[str]) -> bool:
    return _changed(
        db,
        "UPDATE acme_accounts SET contacts = :contacts WHERE id = :account_id AND status = 'valid'",
        {"contacts": json.dumps(list(contacts)), "account_id": account_id},
    )


def change_key(db: Db, account_id: str, expected: AccountKey, key: AccountKey) -> bool:
    """Replaces an account's key; False when it was replaced meanwhile or the new key has an account."""
    changed = _changed(
        db,
        "UPDATE acme_accounts SET jwk = :jwk, spki_sha256 = :spki_sha256"
        " WHERE id = :account_id AND spki_sha256 = :expected AND status = 'valid'"
        " AND NOT EXISTS (SELECT 1 FROM acme_accounts AS other WHERE other.spki_sha256 = :spki_sha256)",
        {
            "jwk": key.jwk,
            "spki_sha256": key.spki_sha256,
            "account_id": account_id,
            "expected": expected.spki_sha256,
        },
    )
    return _noted(
        *(db, changed, "account.key"), account_id=account_id, jwk=key.jwk, spki_sha256=key.spki_sha256
    )


def put_key(db: Db, account_id: str, jwk: str, spki_sha256: str) -> bool:
    """Gives an account the key that it had by the journal; False when there is no such account, or the key is
    another's."""
    changed = _changed(
        db,
        "UPDATE acme_accounts SET jwk = :jwk, spki_sha256 = :spki_sha256 WHERE id = :account_id"
        " AND NOT EXISTS (SELECT 1 FROM acme_accounts AS other WHERE other.spki_sha256 = :spki_sha256)",
        {"jwk": jwk, "spki_sha256": spki_sha256, "account_id": account_id},
    )
    return _noted(db, changed, "account.key", account_id=account_id, jwk=jwk, spki_sha256=spki_sha256)


def deactivate_account(db: Db, account_id: str) -> bool:
    """False when it was deactivated already."""
    statement = "UPDATE acme_accounts SET status = 'deactivated' WHERE id = :account_id AND status = 'valid'"
    changed = _changed(db, statement, {"account_id": account_id})
    return _noted(db, changed, "account.ended", account_id=account_id)


# -- orders --------------------------------------------------------------------------------------


class Counted(NamedTuple):
    """Of an account's orders: how many are open, and the number of the newest, which is as many as there were
    at the most; 0 if none. ``theft``: whether one is reported of its user."""

    open: int
    newest: int
    theft: bool


def count_orders(db: Db, account_id: str, user_id: str, at: int) -> Counted:
    """All of it at a moment. The account is held by whoever adds one, or closes it, and the user by whoever
    reports a theft."""
    row = db.one(
        "SELECT (SELECT count(*) FROM acme_orders WHERE account_id = :account_id AND expires_at > :at"
        " AND open = 1), (SELECT coalesce(max(number), 0) FROM acme_orders WHERE account_id = :account_id),"
        f" {THEFT_WAITS}{LOOK}",
        {"account_id": account_id, "at": at, "user_id": user_id, "theft": THEFT},
    )
    assert row is not None
    return Counted(int(row[0]), int(row[1]), bool(row[2]) and theft_reported(db, user_id))


def add_order(db: Db, order: Order, number: int) -> None:
    """``number``: behind that of the newest. Many come within a second: only that tells which is newer. Where
    an engine lets two draw the same, the index lets one of them in."""
    values = {
        "id": order.id,
        "account_id": order.account_id,
        "number": number,
        "request_id": order.request_id,
        "identifiers": json.dumps([[one.type, one.value] for one in order.identifiers], ensure_ascii=False),
        "authorization_ids": json.dumps(order.authorization_ids),
        "profile": order.profile,
        "created_at": order.created_at,
        "expires_at": order.expires_at,
        "replaces": order.replaces,
        "source_serial": order.source_serial,
    }
    db.defer(inserting("acme_orders", values), values)


_ORDER_WITH_ENROLLMENT = (
    f"SELECT {', '.join(f'acme_orders.{field.name} AS order_{field.name}' for field in fields(Order))},"
    f" {', '.join(f'enrollments.{name}' for name in ENROLLMENT_COLUMNS.split(', '))}"
    " FROM acme_orders LEFT JOIN enrollments ON enrollments.request_id = acme_orders.request_id"
    f" WHERE acme_orders.id = :order_id{ALONE}"
)


def order_with_enrollment(db: Db, order_id: str) -> tuple[Order, Enrollment | None] | None:
    """An order and the enrollment that it has been given by now: one look-up."""
    row = db.one(_ORDER_WITH_ENROLLMENT, {"order_id": order_id})
    if row is None:
        return None
    return _order(row, "order_"), None if row["request_id"] is None else as_enrollment(row)


def order(db: Db, order_id: str) -> Order | None:
    row = db.one("SELECT * FROM acme_orders WHERE id = :order_id", {"order_id": order_id})
    return None if row is None else _order(row)


def order_of_request(db: Db, request_id: str) -> Order | None:
    """The order that an enrollment belongs to, if it came through the protocol."""
    row = db.one("SELECT * FROM acme_orders WHERE request_id = :request_id", {"request_id": request_id})
    return None if row is None else _order(row)


def orders_page(db: Db, account_id: str, before_id: str | None, limit: int) -> list[Order]:
    """An account's orders, newest first: those older than one of them, none where there is no such order;
    all of them before None."""
    older = (
        " AND number < (SELECT number FROM acme_orders WHERE account_id = :account_id AND id = :before_id)"
        if before_id is not None
        else ""
    )
    statement = (
        f"SELECT * FROM acme_orders WHERE account_id = :account_id{older} ORDER BY number DESC"
        f" LIMIT :limit{LOOK}"
    )
    values = {"account_id": account_id, "before_id": before_id, "limit": limit}
    return [_order(row) for row in db.rows(statement, values)]


def open_orders(db: Db, account_id: str, at: int) -> list[Order]:
    """An account's orders that have no certificate yet and could still get one."""
    statement = "SELECT * FROM acme_orders WHERE account_id = :account_id AND expires_at > :at AND open = 1"
    return [_order(row) for row in db.rows(statement, {"account_id": account_id, "at": at})]


def orders_replacing(db: Db, replaces: str) -> list[Order]:
    """The orders that named this certificate as the one that they replace."""
    return [
        _order(row)
        for row in db.rows("SELECT * FROM acme_orders WHERE replaces = :replaces", {"replaces": replaces})
    ]


def places_of(db: Db, account_id: str, at: int, least: int) -> list[int]:
    """Until when each place of a credential's quota is taken, in seconds since the epoch.

    A place is taken by an order outside the renewal period while it is open, then by its certificate and by
    what that is renewed to, whoever renews it, until the last of them ends; and for ``least`` seconds from
    its issue on, so that nobody makes and revokes them without end.
    """
    found = db.rows(
        "WITH RECURSIVE line AS ("
        " SELECT request_id, acme_orders.expires_at AS waits_until, serial, issued_at, not_after_at,"
        " enrollments.ended_at FROM acme_orders JOIN enrollments USING (request_id)"
        " WHERE account_id = :account AND kind = 'protocol'"
        " UNION SELECT new.request_id, 0, new.serial, new.issued_at, new.not_after_at, new.ended_at"
        " FROM line JOIN enrollments AS new ON new.replaces_serial = line.serial AND new.kind = 'renewal'"
        ") SELECT waits_until, issued_at, not_after_at, ended_at FROM line"
        # Its place is the renewal's.
        " WHERE NOT EXISTS (SELECT 1 FROM enrollments AS new WHERE new.replaces_serial = line.serial"
        f" AND new.kind = 'renewal' AND new.issued_at IS NOT NULL){LOOK}",
        {"account": account_id},
    )
    return [until for until in (_taken_until(row, least) for row in found) if until > at]


def _taken_until(row: Row, least: int) -> int:
    if row["issued_at"] is None:
        return 0 if row["ended_at"] is not None else int(row["waits_until"])
    ends = row["not_after_at"] + 1 if row["ended_at"] is None else row["ended_at"]
    return int(max(ends, row["issued_at"] + least))


def latest_enrollment(db: Db, account_id: str) -> Enrollment | None:
    """The enrollment of the newest order of an account that has its certificate."""
    row = db.one(
        f"SELECT {ENROLLMENT_COLUMNS} FROM enrollments WHERE request_id ="
        " (SELECT acme_orders.request_id FROM acme_orders WHERE account_id = :account_id AND open = 0"
        f" AND acme_orders.request_id IS NOT NULL ORDER BY acme_orders.number DESC LIMIT 1){ALONE}",
        {"account_id": account_id},
    )
    return None if row is None else as_enrollment(row)


def give_request(db: Db, order_id: str, request_id: str) -> bool:
    """Ties an order to its enrollment, once."""
    statement = (
        "UPDATE acme_orders SET request_id = :request_id WHERE id = :order_id AND request_id IS"
        " NULL AND open = 1"
    )
    return _changed(db, statement, {"request_id": request_id, "order_id": order_id})


def release_request(db: Db, order_id: str, at: int) -> bool:
    """Gives up an open order, which is invalid from now on, and frees its enrollment for another."""
    return _changed(
        db,
        "UPDATE acme_orders SET request_id = NULL, open = 0, expires_at = CASE WHEN expires_at < :at"
        " THEN expires_at ELSE :at END"
        " WHERE id = :order_id AND open = 1",
        {"at": at, "order_id": order_id},
    )


def close_order(db: Db, order_id: str) -> None:
    """By the end of the transaction: marks an order as one whose certificate exists or is being made."""
    statement = "UPDATE acme_orders SET open = 0 WHERE id = :order_id AND open = 1"
    db.defer(statement, {"order_id": order_id})


# -- authorizations ------------------------------------------------------------------------------


def add_authorization(db: Db, authorization: Authorization) -> None:
    values = {
        "id": authorization.id,
        "account_id": authorization.account_id,
        "type": authorization.identifier.type,
        "value": authorization.identifier.value,
        "status": authorization.status,
        "expires_at": authorization.expires_at,
        "challenge_type": authorization.challenge_type,
        "token": authorization.token,
        "validated_at": authorization.validated_at,
        "order_id": authorization.order_id,
    }
    db.defer(inserting("acme_authorizations", values), values)


def authorization(db: Db, authorization_id: str) -> Authorization | None:
    row = db.one(
        "SELECT * FROM acme_authorizations WHERE id = :authorization_id",
        {"authorization_id": authorization_id},
    )
    return None if row is None else _authorization(row)


def valid_authorization(db: Db, account_id: str, identifier: Identifier, until: int) -> Authorization | None:
    """A reusable authorization that is still valid at a later moment."""
    row = db.one(
        "SELECT * FROM acme_authorizations WHERE account_id = :account_id AND value = :value AND type = :type"
        " AND status = 'valid' AND order_id IS NULL AND expires_at > :until LIMIT 1",
        {"account_id": account_id, "value": identifier.value, "type": identifier.type, "until": until},
    )
    return None if row is None else _authorization(row)


def authorizations_for(db: Db, account_id: str, name: str | None, at: int) -> list[Authorization]:
    """An account's valid authorizations for a name (lower case), be it for one order or for all; None: for
    any name of its user.

    As it was spelled does not matter: RFC 4343 folds A-Z, and that is all that a name has.
    """
    named = " AND lower(value) = :name" if name is not None else ""
    found = db.rows(
        "SELECT * FROM acme_authorizations WHERE account_id = :account AND type = 'dns' AND status = 'valid'"
        f" AND expires_at > :at{named}",
        {"account": account_id, "name": name, "at": at},
    )
    return [_authorization(row) for row in found]


def validate_authorization(db: Db, authorization_id: str, at: int) -> bool:
    """pending -> valid; False when it is not pending any more."""
    return _changed(
        db,
        "UPDATE acme_authorizations SET status = 'valid', validated_at = :at"
        " WHERE id = :authorization_id AND status = 'pending' AND expires_at > :at",
        {"at": at, "authorization_id": authorization_id},
    )


def deactivate_authorization(db: Db, authorization_id: str) -> bool:
    """pending or valid -> deactivated; False otherwise."""
    return _changed(
        db,
        "UPDATE acme_authorizations SET status = 'deactivated'"
        " WHERE id = :authorization_id AND status IN ('pending', 'valid')",
        {"authorization_id": authorization_id},
    )


def deactivate_authorizations_of(db: Db, account_id: str) -> None:
    db.execute(
        "UPDATE acme_authorizations SET status = 'deactivated'"
        " WHERE account_id = :account_id AND status IN ('pending', 'valid')",
        {"account_id": account_id},
    )


# -- rows to values ------------------------------------------------------------------------------


# Read with every request of an order, changed almost never: the same row is the same value, with its key
# parsed. Orders take seconds: more than this many at a time are nobody's.
@lru_cache(maxsize=256)
def _account(
    account_id: str,
    user_id: str,
    jwk: str,
    status: str,
    contacts: str,
    created_at: int,
    terms_agreed_at: int | None,
    kid: str | None,
    binding: str | None,
) -> Account:
    return Account(
        id=account_id,
        user_id=user_id,
        key=stored_key(jwk),
        status=status,
        contacts=tuple(json.loads(contacts)),
        created_at=created_at,
        terms_agreed_at=terms_agreed_at,
        kid=kid,
        binding=None if binding is None else MappingProxyType(json.loads(binding)),
    )


def _order(row: Row, prefix: str = "") -> Order:
    """``prefix``: of its columns' names."""
    return Order(
        id=row[prefix + "id"],
        account_id=row[prefix + "account_id"],
        request_id=row[prefix + "request_id"],
        identifiers=tuple(Identifier(*pair) for pair in json.loads(row[prefix + "identifiers"])),
        authorization_ids=tuple(json.loads(row[prefix + "authorization_ids"])),
        profile=row[prefix + "profile"],
        created_at=row[prefix + "created_at"],
        expires_at=row[prefix + "expires_at"],
        replaces=row[prefix + "replaces"],
        source_serial=row[prefix + "source_serial"],
    )


def spend_nonce(db: Db, number: int, until: int) -> bool:
    """Takes a nonce's number; False when it was taken. ``until``: it is of no use to anybody any more."""
    values = {"number": number, "until_at": until}
    return _changed(db, f"{inserting('acme_nonces', values)} ON CONFLICT (number) DO NOTHING", values)


def drop_old_nonces(db: Db, at: int) -> None:
    """Forgets those whose time is over."""
    db.execute("DELETE FROM acme_nonces WHERE until_at < :at", {"at": at})


def _authorization(row: Row) -> Authorization:
    return Authorization(
        id=row["id"],
        account_id=row["account_id"],
        identifier=Identifier(row["type"], row["value"]),
        status=row["status"],
        expires_at=row["expires_at"],
        challenge_type=row["challenge_type"],
        token=row["token"],
        validated_at=row["validated_at"],
        order_id=row["order_id"],
    )


def _changed(db: Db, statement: str, values: Values) -> bool:
    return db.execute(statement, values) > 0


def _noted(db: Db, changed: bool, kind: str, **facts: Any) -> bool:
    """Has the journal tell of what changed; whether it did."""
    if changed:
        db.note(kind, **facts)
    return changed


def _count(db: Db, statement: str, values: Values) -> int:
    row = db.one(statement, values)
    assert row is not None
    return int(row[0])
