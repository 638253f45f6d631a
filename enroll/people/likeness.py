"""Who may be the same person, or has the same mailbox: to be asked about before somebody is recorded.

It can be right (a mailbox that an office shares, two people of one name), and it can be a slip: then somebody
has two user IDs, or letters with passwords go to somebody else. So nobody is refused for it, and nothing of
it goes without a word. Who is surely the same is `register.check_unknown`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ca.storage import Transaction
from enroll import store
from enroll.people.register import Person, tidied, wrong_fields
from enroll.people.sameness import mail_key, name_key
from enroll.refusals import Refusal

# So many are named to an operator.
_NAMED = 3


@dataclass(frozen=True)
class Alike:
    """A user, or somebody who was applied for: ``application`` is its number then, and 0 for a user."""

    policy_number: str
    user_id: str
    application: int
    name: str
    mail: str
    same_name: bool
    same_mail: bool

    @property
    def same_person(self) -> bool:
        """Name and address alike."""
        return self.same_name and self.same_mail


def alike(db: Transaction, person: Person, waiting: Sequence[store.Application] | None = None) -> list[Alike]:
    """Those of the person's organisation with the name or the mail address, and of the others with the
    address; users first. Whoever has the user ID that the person names is not among them.

    ``waiting``: the organisation's applications that wait, if the caller has read them.
    """
    person = tidied(person)
    found = [
        _compared(person, user.policy_number, user.user_id, 0, user.name, user.mail)
        for user in store.users_alike(db, person.policy_number, person.name, person.mail)
    ]
    if waiting is None:
        waiting = store.applications(db, state="submitted", policy_number=person.policy_number)
    for each in waiting:
        if each.kind == "addition":
            name, mail = each.person.get("name", ""), each.person.get("mail", "")
            found.append(_compared(person, each.policy_number, each.user_id, each.id, name, mail))
    return [
        each
        for each in found
        if (each.same_name or each.same_mail) and (each.application or each.user_id != person.user_id)
    ]


def sharers(db: Transaction, user: store.User, mail: str) -> list[Alike]:
    """Who has the address that a user is to have, where it is a good one and another than the user's."""
    person = Person(user.policy_number, user.name, mail, user.user_id)
    if "mail" in wrong_fields(person) or mail_key(mail) == mail_key(user.mail):
        return []
    return [each for each in alike(db, person) if each.same_mail]


def check_unlike(db: Transaction, person: Person) -> None:
    """For operators: Refusal("conflict", "alike") for whoever may be the same as somebody, with who that is.

    Not where `register.check_unknown` has the better word.
    """
    found = [] if wrong_fields(person) else alike(db, person)
    if not person.user_id and any(each.same_person and not each.application for each in found):
        return
    if found:
        raise refusal_of(found)


def check_unshared(db: Transaction, user: store.User, mail: str) -> None:
    """For operators: Refusal("conflict", "alike") where somebody has the address that a user is to have."""
    found = sharers(db, user, mail)
    if found:
        raise refusal_of(found)


def refusal_of(found: Sequence[Alike]) -> Refusal:
    """What operators are told of those who were found."""
    named = ", ".join(_named(each) for each in found[:_NAMED]) + (", ..." if len(found) > _NAMED else "")
    if any(each.same_person for each in found):
        what = "name and mail address"
    else:
        what = "mail address" if any(each.same_mail for each in found) else "name"
    return Refusal("conflict", field="alike", detail=f"the same {what} as {named}")


def _named(each: Alike) -> str:
    if each.application:
        return f"application {each.application} ({each.name}, {each.mail})"
    return f"{each.user_id} ({each.name}, {each.mail})"


def mark_of(found: Sequence[Alike]) -> str:
    """Says which ones by what: what somebody confirms of these is not confirmed of others. Empty for none."""
    told = ",".join(
        f"{each.application or each.user_id}:{each.same_name:d}{each.same_mail:d}" for each in found
    )
    return hashlib.sha256(told.encode()).hexdigest()[:16] if found else ""


def _compared(
    person: Person, policy_number: str, user_id: str, application: int, name: str, mail: str
) -> Alike:
    return Alike(
        policy_number,
        user_id,
        application,
        name,
        mail,
        same_name=policy_number == person.policy_number and name_key(name) == name_key(person.name),
        same_mail=mail_key(mail) == mail_key(person.mail),
    )
