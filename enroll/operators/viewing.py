"""What operators read of the whole: each function asks the table first, and says no to whoever may not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ca.storage import Transaction
from enroll import store
from enroll.mail import store as mail_store
from enroll.operators import asking
from enroll.operators import store as operators
from enroll.operators.actors import Actor, require
from enroll.operators.roles import Act, Verdict
from enroll.operators.store import Operator
from enroll.ra import RegistrationAuthority


@dataclass(frozen=True)
class Listed:
    """An operator as the others see one."""

    operator: Operator
    certificates: int
    passkeys: int
    #: Until when a code is good by which the next passkey is made; None without one.
    code_until: int | None


def listed(db: Transaction, at: int, actor: Actor) -> list[Listed]:
    """Who works here, by name. Refusal("not_permitted")."""
    require(actor, Act.OPERATORS, Verdict.READ)
    return [
        Listed(
            each,
            len(operators.certificates(db, each.number)),
            len(operators.passkeys(db, each.number)),
            operators.open_code(db, each.number, at),
        )
        for each in operators.operators(db)
    ]


def standing(db: Transaction, ra: RegistrationAuthority, actor: Actor) -> Mapping[str, Any]:
    """How much there is of what needs somebody, as far as the actor may see it. Refusal("not_permitted")."""
    require(actor, Act.STANDING, Verdict.READ)
    found: dict[str, int] = {"proposals": len(asking.listed(db, actor, ra.now()))}
    if actor.may(Act.APPLICATIONS) & Verdict.READ:
        found["applications"] = len(store.applications(db, state="submitted"))
    if actor.may(Act.SEARCH) & Verdict.READ:
        found["letters_waiting"] = mail_store.waiting(db)
    if actor.may(Act.OPERATORS) & Verdict.READ:
        found["operators"] = len(operators.operators(db))
    return found
