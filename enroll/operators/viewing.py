"""What operators read of the whole: each function asks the table first, and says no to whoever may not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import ca.store
from ca.storage import Transaction
from enroll import store
from enroll.certificates import listing as certificates
from enroll.certificates.store import Wanted as Certificates
from enroll.hooks import viewing as hooks
from enroll.jobs import viewing as jobs
from enroll.jst import day_of, start_of
from enroll.listings import Letters
from enroll.operators import applied, asking, letters, operating
from enroll.operators import store as operators
from enroll.operators.actors import Actor, require
from enroll.operators.applied import Wanted
from enroll.operators.roles import Act, Verdict
from enroll.operators.store import Glass, Operator
from enroll.postcards import store as postcards
from enroll.ra import RegistrationAuthority

#: Days before its end in which a program's certificate should have been renewed: it renews earlier.
SOON = 14
#: The same of operators and services, in seconds: a person carries the next one to each PC or system.
ENDING_SECONDS = 30 * 86_400


@dataclass(frozen=True)
class Listed:
    """An operator as the others see one."""

    operator: Operator
    certificates: int
    passkeys: int
    #: Until when a code is good by which the next passkey is made; None without one.
    code_until: int | None
    #: When the last certificate ends or has ended, if that is soon; else None.
    ends_at: int | None


def listed(db: Transaction, at: int, actor: Actor, *, ending: bool = False) -> list[Listed]:
    """Who works here, by name; ``ending``: those alone whose last certificate ends soon, or has.
    Refusal("not_permitted")."""
    require(actor, Act.OPERATORS, Verdict.READ)
    ends = {each.number: end for each, end in operators.endings(db, at + ENDING_SECONDS)}
    there = operators.operators(db)
    return [_listed(db, at, each, ends) for each in there if not ending or each.number in ends]


def one(db: Transaction, at: int, actor: Actor, name: str) -> Listed:
    """One who is there. Refusal: "not_permitted", "not_found" for one who is none, or has ended."""
    require(actor, Act.OPERATORS, Verdict.READ)
    found = operating.there(db, name)
    ends = {each.number: end for each, end in operators.endings(db, at + ENDING_SECONDS)}
    return _listed(db, at, found, ends)


def _listed(db: Transaction, at: int, found: Operator, ends: Mapping[int, int]) -> Listed:
    return Listed(
        found,
        len(operators.certificates(db, found.number)),
        len(operators.passkeys(db, found.number)),
        operators.open_code(db, found.number, at),
        ends.get(found.number),
    )


def emergencies(db: Transaction, actor: Actor, *, every: bool = False) -> list[Glass]:
    """Roles that somebody took by the passphrase: that nobody has looked at yet, or all, the newest first.
    Refusal("not_permitted")."""
    require(actor, Act.AUDIT, Verdict.READ)
    return [*reversed(operators.glasses(db, reviewed=every))]


def ending_soon(at: int) -> Certificates:
    """Programs' certificates (of servers, mostly) that end soon, as the list of certificates has them."""
    return Certificates(
        state="issued", door="protocol", ends_before=start_of(last_day(at) + timedelta(days=1))
    )


def last_day(at: int) -> date:
    """The last day that is soon."""
    return day_of(at) + timedelta(days=SOON)


def standing(db: Transaction, ra: RegistrationAuthority, actor: Actor) -> Mapping[str, Any]:
    """How much there is of what needs somebody, as far as the actor may see it. Refusal("not_permitted")."""
    require(actor, Act.STANDING, Verdict.READ)
    found: dict[str, int] = {"proposals": asking.count(db, actor, ra.now())}
    if actor.may(Act.AUDIT) & Verdict.READ:
        found["emergencies"] = len(emergencies(db, actor))
    found["jobs"] = jobs.count(db, actor, every=False)
    if actor.may(Act.APPLICATIONS) & Verdict.READ:
        found["applications"] = applied.count(db, ra, actor, Wanted())
        found["applications_overdue"] = applied.count(db, ra, actor, Wanted(due="overdue"))
    if actor.may(Act.SEARCH) & Verdict.READ:
        for state in ("open", "waiting", "held"):
            found[f"letters_{state}"] = letters.count(db, actor, Letters(state=state))
        found["certificates_stuck"] = certificates.count(db, ra, actor, Certificates(state="reserved"))
        found["certificates_ending"] = certificates.count(db, ra, actor, ending_soon(ra.now()))
    if actor.may(Act.DELIVERIES) & Verdict.READ:
        needing = hooks.needing(db)
        found |= {"webhooks_dead": needing.dead, "webhooks_stopped": needing.stopped}
    if actor.may(Act.PRINT) & Verdict.READ:
        found["postcards_waiting"] = postcards.standing(db)[0]
        found["postcard_batches"] = postcards.count(db, every=False)
    if actor.may(Act.OPERATORS) & Verdict.READ:
        found["operators"] = len(operators.operators(db))
        found["operators_ending"] = len(operators.endings(db, ra.now() + ENDING_SECONDS))
    return found


@dataclass(frozen=True)
class Names:
    """What those are called whom facts know by a number or a word."""

    #: 証券番号 -> name.
    organisations: Mapping[str, str]
    #: User ID -> name.
    users: Mapping[str, str]
    #: What an operator types as a name -> what people read.
    operators: Mapping[str, str]
    #: Serial -> common name.
    certificates: Mapping[str, str]


def names_in(db: Transaction, *told: Any) -> Names:
    """The names of those who are named in some facts, however deep in them. Not those of an import's rows,
    which may be as many as there are users."""
    known = dict[str, set[str]]()
    for each in told:
        _gather(each, known)
    acting = {text.partition(":")[2].partition("/")[0] for text in known.get("by", ())}
    people = known.get("user_id", set()) | {text for text in known.get("by", ()) if ":" not in text}
    organisations = {number: store.organisation(db, number) for number in known.get("policy_number", ())}
    users = {user_id: store.user(db, user_id) for user_id in people}
    office = {name: operators.named(db, name) for name in acting | known.get("name", set())}
    certificates = {serial: ca.store.find_by_serial(db, serial) for serial in known.get("serial", ())}
    return Names(
        {key: each.name for key, each in organisations.items() if each is not None},
        {key: each.name for key, each in users.items() if each is not None},
        {key: each.display for key, each in office.items() if each is not None},
        {key: each.subject_cn for key, each in certificates.items() if each is not None},
    )


def _gather(told: Any, known: dict[str, set[str]]) -> None:
    for key, value in told.items():
        if isinstance(value, Mapping):
            _gather(value, known)
        elif isinstance(value, str) and value:
            known.setdefault("by" if key.endswith("_by") else key, set()).add(value)
