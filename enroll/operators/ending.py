"""Operators are told before their last certificate ends: 30 and 7 days before, once each.

Of a service, and of whoever has no address, the mail goes to the operators' own (``operator.mail``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ca.storage import Transaction
from enroll import store
from enroll.jst import days_left, shown_day
from enroll.mail import occasions, writing
from enroll.mail import store as mail_store
from enroll.operators import store as operators
from enroll.operators.store import Operator
from enroll.ra import RegistrationAuthority
from enroll.settings import DAY

#: Days before the end, the first one first.
STEPS = (30, 7)
_ACTOR = "scheduler"


async def remind(ra: RegistrationAuthority) -> int:
    """Queues what is due; returns how many letters. After a stop only the step that it is by now."""

    def work(db: Transaction) -> int:
        at, told = ra.now(), 0
        for each, end, step in _untold(db, ra):
            occasions.operator_ending(db, ra, _letter(db, ra, each, end, step, at), at)
            store.audit(db, at, _ACTOR, "operator.ending", each.name, step=step)
            told += 1
        return told

    # Every half minute nothing is due.
    if await ra.database.read(lambda db: next(_untold(db, ra), None)) is None:
        return 0
    return await ra.database.write(work)


def of_today(
    db: Transaction, ra: RegistrationAuthority, letter: Mapping[str, Any], cause: str, at: int
) -> writing.Letter | None:
    """One of these letters in the words of the day on which it leaves; None where it must not leave any more:
    there is a later certificate, or none, or it has ended, or the second letter has taken its place."""
    for each, end, step in _due(db, ra):
        if occasions.cause_of_ending(_cause(each, end, step)) == cause:
            return _letter(db, ra, each, end, step, at)
    return None


def _letter(
    db: Transaction, ra: RegistrationAuthority, each: Operator, end: int, step: int, at: int
) -> writing.Letter:
    facts = {"name": each.name, "day": shown_day(end), "days": str(days_left(end, at))}
    facts |= {"service": "yes" if each.kind == "service" else ""}
    mail, cause = each.mail or ra.settings.operator_mail, _cause(each, end, step)
    return occasions.operator_letter(db, ra, each.display, mail, each.language, facts, cause)


def _untold(db: Transaction, ra: RegistrationAuthority) -> Iterator[tuple[Operator, int, int]]:
    for each, end, step in _due(db, ra):
        if mail_store.of_cause(db, occasions.cause_of_ending(_cause(each, end, step))) is None:
            yield each, end, step


def _due(db: Transaction, ra: RegistrationAuthority) -> Iterator[tuple[Operator, int, int]]:
    """Who is to be told now, or was, of which end, and how many days before it at most."""
    at = ra.now()
    for each, end in operators.endings(db, at + (STEPS[0] + 1) * DAY):
        step = min((step for step in STEPS if days_left(end, at) <= step), default=None)
        if step is not None and end > at and (each.mail or ra.settings.operator_mail):
            yield each, end, step


def _cause(operator: Operator, end: int, step: int) -> str:
    return f"{operator.number}:{end}:{step}"
