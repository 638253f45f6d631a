"""Organisations and users, as proposals are about them: what stands there, what cannot be, what is done."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ca.storage import Transaction
from enroll import purging, store
from enroll.acme import credentials
from enroll.operators.kinds.kind import CarryOut, Facts, Kind, Payload
from enroll.operators.roles import Act
from enroll.people import changes, register
from enroll.people.likeness import check_unlike, check_unshared
from enroll.people.register import Person
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.transitions import release_all


def _organisation(db: Transaction, policy_number: str) -> store.Organisation | None:
    """Alone: what is done about it in the same write wants it so, and two that had it together would wait for
    each other."""
    return store.organisation(db, policy_number, alone=True)


def _organisation_facts(db: Transaction, payload: Payload) -> Facts:
    found = _organisation(db, payload["policy_number"])
    return {} if found is None else asdict(found)


def user_facts(db: Transaction, payload: Payload) -> Facts:
    """Without what a login or a certificate changes by itself."""
    found = store.user(db, payload["user_id"])
    if found is None:
        return {}
    names = (*changes.OF_USERS, "user_id", "disabled_at")
    return {name: getattr(found, name) for name in names}


def person_facts(db: Transaction, payload: Payload) -> Facts:
    person = Person(**payload["person"])
    found = _organisation(db, person.policy_number)
    taken = store.user(db, person.user_id) if person.user_id else None
    return {"disabled_at": found.disabled_at if found else None, "taken": taken is not None}


def check_new(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    person = register.check_person(Person(**payload["person"]))
    if _organisation(db, person.policy_number) is None:
        raise Refusal("not_found", field="policy_number")
    if not payload["alike"]:
        check_unlike(db, person)


def check_user(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    found = store.user(db, payload["user_id"])
    if found is None:
        raise Refusal("not_found", field="user_id")
    mail = payload.get("changes", {}).get("mail")
    if mail is not None and not payload.get("alike"):
        check_unshared(db, found, mail)


def check_changed(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    check_user(db, ra, payload)
    _something(payload)
    changes.changed_user(db, payload["user_id"], payload["changes"])


def _something(payload: Payload) -> None:
    if not payload["changes"]:
        raise Refusal("invalid_input", field="changes", detail="say what changes")


def check_changed_organisation(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    _something(payload)
    changes.changed_organisation(db, ra, payload["policy_number"], payload["changes"])


def unless_same(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    """By what the register would have: a postal code without its hyphen is the same one."""
    before: object
    after: object
    if "user_id" in payload:
        before, after = changes.changed_user(db, payload["user_id"], payload["changes"])
    else:
        before, after = changes.changed_organisation(db, ra, payload["policy_number"], payload["changes"])
    if before == after:
        detail = "nothing would change: it is recorded like this already"
        raise Refusal("invalid_input", field="changes", detail=detail)


def _disabled_at(db: Transaction, payload: Payload) -> int | None:
    """Since when a user, or an organisation, is disabled. Refusal("not_found")."""
    found: store.User | store.Organisation | None
    field = "user_id" if "user_id" in payload else "policy_number"
    found = (store.user if field == "user_id" else _organisation)(db, payload[field])
    if found is None:
        raise Refusal("not_found", field=field)
    return found.disabled_at


def unless_disabled(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    if _disabled_at(db, payload) is not None:
        raise _as_it_is(payload, "disabled already")


def if_disabled(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    if _disabled_at(db, payload) is None:
        raise _as_it_is(payload, "not disabled")


def _as_it_is(payload: Payload, how: str) -> Refusal:
    kind, field = ("user", "user_id") if "user_id" in payload else ("organisation", "policy_number")
    return Refusal("conflict", field=field, detail=f"{kind} {payload[field]} is {how}")


def check_unknown_organisation(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    register.check_organisation(store.Organisation(created_at=ra.now(), **payload), ra)
    if _organisation(db, payload["policy_number"]) is not None:
        raise Refusal("conflict", field="policy_number")


async def add_organisation(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    return asdict(await register.add_organisation(ra, **payload, actor=by))


async def change_organisation(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    found = await changes.change_organisation(ra, payload["policy_number"], payload["changes"], actor=by)
    return asdict(found)


async def disable_organisation(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    found = await changes.disable_organisation(ra, payload["policy_number"], actor=by)
    return {"policy_number": payload["policy_number"], "user_ids": found}


async def enable_organisation(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    await changes.enable_organisation(ra, payload["policy_number"], actor=by)
    return payload


async def add_user(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    return asdict(await register.add_user(ra, Person(**payload["person"]), channel="paper", actor=by))


async def change_user(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    found = asdict(await changes.change_user(ra, payload["user_id"], payload["changes"], actor=by))
    del found["password_hash"]
    return found


async def disable_user(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    return {**payload, "revoked": await register.disable_user(ra, payload["user_id"], actor=by)}


async def enable_user(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    await register.enable_user(ra, payload["user_id"], actor=by)
    return payload


async def reset_password(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    await changes.reset_password(ra, payload["user_id"], actor=by)
    return payload


async def purge(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    return {**payload, "purged": await purging.purge_user(ra, payload["user_id"], actor=by)}


async def release_user(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    user_id = payload["user_id"]

    def work(db: Transaction) -> int:
        check_undecided(db, user_id)
        store.audit(db, ra.now(), by, "user.released", user_id)
        return release_all(db, user_id, ra.now(), actor=by)

    return {**payload, "certificates": await ra.database.write(work)}


def check_undecided(db: Transaction, user_id: str) -> None:
    """A report that waits for a decision is what says whether they go on."""
    if store.theft_reported(db, user_id):
        told = f"a theft is reported of {user_id}; decide that: sekisho application list"
        raise Refusal("conflict", field="user_id", detail=told)


async def create_credentials(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    return {"credentials": [each.to_json() for each in await credentials.create(ra, **payload, actor=by)]}


def of_user(act: Act, why: str, carry_out: CarryOut, check: Any = check_user) -> Kind:
    return Kind(act, why, lambda payload: str(payload["user_id"]), user_facts, carry_out, check)


def of_organisation(why: str, carry_out: CarryOut, check: Any) -> Kind:
    about = lambda payload: str(payload["policy_number"])  # noqa: E731
    return Kind(Act.RECORD, why, about, _organisation_facts, carry_out, check)
