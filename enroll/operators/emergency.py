"""Break-glass: one role for an hour, by the passphrase, told to every auditor and looked at afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ca.storage import Transaction
from enroll import store
from enroll.businessdays import end_of_business_day_after
from enroll.jst import shown
from enroll.mail import occasions
from enroll.operators import actors
from enroll.operators import store as operators
from enroll.operators.actors import Actor
from enroll.operators.roles import Act, Role, Verdict
from enroll.operators.store import Glass
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal, check_line

#: Seconds that the role lasts.
LIFETIME = 3_600
#: Business days until an auditor is to have looked at it.
REVIEW_DAYS = 1


async def take(ra: RegistrationAuthority, actor: Actor, role: Role, reason: str) -> tuple[Glass, int]:
    """Takes a role for whoever has shown the passphrase; returns it, and how many letters tell the auditors.
    What takes two still does.

    Refusal("conflict") where nobody is an operator, and the owner may do everything."""
    check_line("reason", reason, needed=True)

    def work(db: Transaction) -> tuple[Glass, int]:
        at = ra.now()
        if not operators.are_there(db):
            detail = "nobody is an operator yet: whoever owns the data directory may do everything"
            raise Refusal("conflict", field="role", detail=detail)
        name = f"break-glass:{actor.account}/{role}"
        ends_at, due_at = at + LIFETIME, end_of_business_day_after(at, REVIEW_DAYS)
        glass = Glass(0, actor.account, actor.identity, role, reason, at, ends_at, due_at)
        number = operators.add_glass(db, glass)
        store.audit(db, at, name, "break-glass.taken", str(number), role=role, reason=reason)
        told = {
            "number": str(number),
            "who": actor.name,
            "role": str(role),
            "reason": reason,
            "until": shown(ends_at),
            "due": shown(due_at - 1),
        }
        return replace(glass, number=number), _tell(db, ra, told, at)

    return await ra.database.write(work)


def _tell(db: Transaction, ra: RegistrationAuthority, told: Mapping[str, str], at: int) -> int:
    """Every auditor, each by a letter of the own; of those without an address the operators' own has one."""
    auditors = [each for each in operators.operators(db) if Role.AUDITOR in each.roles]
    reached = [(each.name, each.display, each.mail, each.language) for each in auditors if each.mail]
    ours = ra.settings.operator_mail
    if ours and (not auditors or len(reached) < len(auditors)):
        reached.append(("", ra.settings.operator_name, ours, "ja"))
    for name, display, mail, language in reached:
        occasions.break_glass(db, ra, name, display, mail, language, told, at)
    return len(reached)


async def review(ra: RegistrationAuthority, actor: Actor, number: int, note: str) -> Glass:
    """An auditor's word that it was looked at; the role ends with it. Never one's own."""
    check_line("note", note, needed=True)

    def work(db: Transaction) -> Glass:
        now, found = actors.asked_again(db, actor, ra.now()), operators.glass(db, number)
        actors.require(now, Act.AUDIT, Verdict.DO)
        if found is None:
            raise Refusal("not_found", field="break_glass")
        if now.identity == found.identity:
            raise Refusal(
                "not_permitted", field="break_glass", detail="it is your own; another auditor looks at it"
            )
        if not operators.review_glass(db, number, now.name, note, ra.now()):
            detail = f"{found.reviewed_by} has looked at {number} already"
            raise Refusal("conflict", field="break_glass", detail=detail)
        store.audit(db, ra.now(), now.name, "break-glass.reviewed", str(number), note=note)
        return found

    return await ra.database.write(work)
