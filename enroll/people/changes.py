"""What changes about people and organisations after they were recorded: never a user ID, nor a certificate.

A name, an address and a 証券番号 are facts about somebody; who that is, the user ID says (D4, E26).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ca.storage import Transaction
from enroll import identifiers, store
from enroll.mail import occasions
from enroll.mail import store as mail_store
from enroll.people import passwords
from enroll.people.postal import FIELDS as POSTAL
from enroll.people.register import Person, check_organisation, check_person
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal

#: What may change of a user, and of an organisation.
OF_USERS = (
    "policy_number", "name", "mail", "role", "notice_by", "language", "department", "principal", "reading",
    *POSTAL,
)  # fmt: skip
OF_ORGANISATIONS = (
    "policy_number", "name", "lineages", "issue_password_by", "profile", "country", *POSTAL,
)  # fmt: skip


async def change_user(
    ra: RegistrationAuthority, user_id: str, changes: Mapping[str, Any], *, actor: str
) -> store.User:
    """Records what is different about a user (``OF_USERS``); returns the user as it then is.

    Letters that still wait go to the new address; what was sent is not sent again (R16). Refusal:
    "not_found" for user or organisation, "invalid_input" with the field.
    """
    return await ra.database.write(lambda db: _change_user(db, ra, user_id, changes, actor))


async def reset_password(ra: RegistrationAuthority, user_id: str, *, actor: str) -> None:
    """A first login password anew, with its letter: for whoever forgot it, or never got the first one.

    The old one ends at once. Refusal("not_found"), and "user_disabled" for whom it would open nothing.
    """
    first = identifiers.new_login_password()
    hashed = await ra.workers.run_in_thread(passwords.hash_drawn, first)

    def work(db: Transaction) -> None:
        at, user = ra.now(), _user(db, user_id)
        if store.active_user(db, user_id) is None:
            raise Refusal("user_disabled")
        fresh = replace(user, password_hash=hashed, password_initial=True)
        store.reset_password(db, user_id, hashed)
        mail_store.cancel_login_passwords(db, user_id)
        occasions.reset_notice(db, ra, fresh, first, at)
        store.audit(db, at, actor, "password.reset", user_id)

    await ra.database.write(work)


async def change_organisation(
    ra: RegistrationAuthority, policy_number: str, changes: Mapping[str, Any], *, actor: str
) -> store.Organisation:
    """Records what is different about an organisation (``OF_ORGANISATIONS``), its 証券番号 among it.

    Refusal: "not_found", "invalid_input" with the field, "conflict" for a 証券番号 that is taken.
    """

    def work(db: Transaction) -> store.Organisation:
        before, after = changed_organisation(db, ra, policy_number, changes)
        store.change_organisation(db, policy_number, after)
        told = _difference(before, after, OF_ORGANISATIONS)
        if told:
            store.audit(db, ra.now(), actor, "organisation.changed", after.policy_number, **told)
        return after

    return await ra.database.write(work)


async def disable_organisation(ra: RegistrationAuthority, policy_number: str, *, actor: str) -> list[str]:
    """E6: nobody of it logs in, enrolls or gets mails; nothing is revoked. Returns its user IDs."""

    def work(db: Transaction) -> list[str]:
        _organisation(db, policy_number)
        if not store.disable_organisation(db, policy_number, ra.now()):
            raise Refusal(
                "conflict", field="policy_number", detail=f"organisation {policy_number} is disabled already"
            )
        store.audit(db, ra.now(), actor, "organisation.disabled", policy_number)
        return [user.user_id for user in store.users(db, policy_number)]

    return await ra.database.write(work)


async def enable_organisation(ra: RegistrationAuthority, policy_number: str, *, actor: str) -> None:
    """Takes a disabling back: everything works as before, and letters that waited leave.

    Refusal("not_found"), "conflict" if it was not disabled.
    """

    def work(db: Transaction) -> None:
        _organisation(db, policy_number)
        if not store.enable_organisation(db, policy_number):
            raise Refusal(
                "conflict", field="policy_number", detail=f"organisation {policy_number} is not disabled"
            )
        mail_store.wake(db, policy_number, ra.now())
        store.audit(db, ra.now(), actor, "organisation.enabled", policy_number)

    await ra.database.write(work)


def changed_organisation(
    db: Transaction, ra: RegistrationAuthority, policy_number: str, changes: Mapping[str, Any]
) -> tuple[store.Organisation, store.Organisation]:
    """An organisation as it is, and as it would be. Refusal as for `change_organisation`."""
    before = _organisation(db, policy_number)
    after = check_organisation(replace(before, **_known(changes, OF_ORGANISATIONS)), ra)
    if after.policy_number != before.policy_number and store.organisation(db, after.policy_number):
        raise Refusal("conflict", field="policy_number")
    return before, after


def changed_user(db: Transaction, user_id: str, changes: Mapping[str, Any]) -> tuple[store.User, store.User]:
    """A user as it is, and as it would be. Refusal as for `change_user`, and "user_disabled" where the
    organisation that the user would move to is."""
    before = _user(db, user_id)
    if before.erased_at is not None:
        raise Refusal("conflict", field="user_id", detail=f"user {user_id} was erased: add the person anew")
    known = {name: getattr(before, name) for name in OF_USERS} | _known(changes, OF_USERS)
    person = check_person(Person(user_id=user_id, **known))
    after = replace(before, **{name: getattr(person, name) for name in OF_USERS})
    if (
        after.policy_number != before.policy_number
        and _organisation(db, after.policy_number).disabled_at is not None
    ):
        raise Refusal("user_disabled", field="policy_number")
    return before, after


def _change_user(
    db: Transaction, ra: RegistrationAuthority, user_id: str, changes: Mapping[str, Any], actor: str
) -> store.User:
    before, after = changed_user(db, user_id, changes)
    if after.policy_number != before.policy_number:
        # What waits for a decision is decided by the rules of the organisation that the user is in.
        store.move_applications(db, user_id, after.policy_number)
    store.change_user(db, after)
    if after.mail != before.mail:
        mail_store.redirect(db, user_id, after.mail)
    told = _difference(before, after, OF_USERS)
    if told:
        store.audit(db, ra.now(), actor, "user.changed", user_id, **told)
    return after


def _known(changes: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    strangers = set(changes) - set(names)
    if strangers:
        raise ValueError(f"cannot be changed: {', '.join(sorted(strangers))}")
    return dict(changes)


def _difference(before: Any, after: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Field -> [before, after], of those that differ."""
    old, new = asdict(before), asdict(after)
    return {name: [old[name], new[name]] for name in names if old[name] != new[name]}


def _user(db: Transaction, user_id: str) -> store.User:
    found = store.user(db, user_id)
    if found is None:
        raise Refusal("not_found", field="user_id")
    return found


def _organisation(db: Transaction, policy_number: str) -> store.Organisation:
    found = store.organisation(db, policy_number, alone=True)
    if found is None:
        raise Refusal("not_found", field="policy_number")
    return found
