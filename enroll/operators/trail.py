"""The record as operators look through it: who may see all of it, and who the own lines alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ca.storage import Transaction
from enroll import identifiers, listings, store
from enroll.listings import Acts
from enroll.listings import store as pages
from enroll.operators import store as operators
from enroll.operators.actors import Actor, require_any
from enroll.operators.roles import Act, Verdict

# Of certificates that begin alike so many are asked for.
_MOST = 50


@dataclass(frozen=True)
class Page:
    """Lines of the record, newest first, and how many there are in all of what was asked for."""

    lines: Sequence[Mapping[str, Any]]
    total: int
    #: The last one's number, if there are more behind it.
    further: int | None


def permitted(actor: Actor, wanted: Acts) -> Acts:
    """What was asked for, as far as somebody may see it. Refusal("not_permitted").

    Who sees the own lines alone sees them whichever door they came by: a command's name the account as well.
    """
    require_any(actor, Act.AUDIT, Verdict.READ | Verdict.OWN)
    if actor.may(Act.AUDIT) & Verdict.READ:
        return wanted
    return replace(wanted, own=actor.own)


def about(db: Transaction, typed: str, wanted: Acts) -> Acts:
    """Narrowed to everything that the record tells under what an operator names, however it was typed: of a
    user with all requests, certificates and applications, of a certificate by its common name or by how its
    serial number begins, too."""
    user_id = identifiers.typed_user_id(typed)
    if store.user(db, user_id) is not None:
        return replace(wanted, user_id=user_id)
    plain = identifiers.typed(typed)
    known = [typed, plain, plain.lower(), identifiers.typed_policy_number(typed)]
    return replace(wanted, subjects=[*known, *pages.serials_like(db, plain, _MOST)])


def doer(db: Transaction, typed: str) -> str:
    """How the record begins what somebody did, by what is typed: an operator's name is enough."""
    known = operators.named(db, identifiers.typed(typed).lower())
    return typed if known is None else f"operator:{known.name}"


def page(db: Transaction, actor: Actor, wanted: Acts, last: int, limit: int) -> Page:
    """The lines before a number. Refusal("not_permitted")."""
    seen = permitted(actor, wanted)
    total = listings.count_audit(db, seen)
    found = listings.audit_before(db, seen, last, limit + 1, total)
    return Page(found[:limit], total, int(found[limit - 1]["id"]) if len(found) > limit else None)
