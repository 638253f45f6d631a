"""Organisations and users: recorded with everything that follows from it, in one transaction."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ca.naming import what_is_wrong
from ca.storage import Transaction, Work
from enroll import identifiers, store, timekeeping
from enroll.characters import called
from enroll.languages import LANGUAGES, Language
from enroll.mail import store as mail_store
from enroll.mail.occasions import id_notice
from enroll.people import passwords, postal, sameness
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests import profiles
from enroll.requests.enrollment import PRIVILEGE_WITHDRAWN
from enroll.requests.opening import DrawnPassword, draw_issue_password, open_request
from enroll.requests.states import LIVE, Event, State
from enroll.requests.transitions import apply, end_certificate

# The shape that RFC 5321 mailboxes have in practice; the mail server has the last word.
_MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+")
_POLICY_NUMBER = re.compile(r"[0-9A-Z-]{3,20}")
_LONGEST_NAME = 100
#: Field -> what one of its characters may be.
_CAPITALS = string.digits + string.ascii_uppercase
_CHARACTERS: Mapping[str, Callable[[str], bool]] = {
    "policy_number": frozenset(_CAPITALS + "-").__contains__,
    "name": str.isprintable,
    "mail": frozenset(string.ascii_letters + string.digits + ".!#$%&'*+/=?^_`{|}~@-").__contains__,
    "user_id": frozenset(_CAPITALS).__contains__,
}


@dataclass(frozen=True)
class Person:
    """Who shall become a user. An empty ``user_id`` asks for a generated one."""

    policy_number: str
    name: str
    mail: str
    user_id: str = ""
    role: Literal["member", "admin"] = "member"
    notice_by: Literal["mail", "postcard"] = "mail"
    language: Language = "ja"
    department: str = ""
    principal: str = ""
    reading: str = ""
    #: Where postcards go; empty: to the organisation.
    postal_code: str = ""
    prefecture: str = ""
    city: str = ""
    street: str = ""
    building: str = ""
    addressee: str = ""


@dataclass(frozen=True)
class Admission:
    """A user who was just recorded: what the operator may know of it."""

    user_id: str
    request_id: str
    common_name: str


def check_person(person: Person) -> Person:
    """The person as it is stored; Refusal("invalid_input", field) names the first bad field."""
    person = tidied(person)
    for field in wrong_fields(person):
        raise Refusal("invalid_input", field=field, detail=foreign(field, getattr(person, field)))
    return person


def tidied(person: Person) -> Person:
    """The person as it is meant: no full-width digits, nothing that nobody sees, names in NFC."""
    return replace(
        person,
        policy_number=identifiers.typed_policy_number(person.policy_number),
        name=sameness.tidy_name(person.name),
        mail=sameness.tidy_mail(person.mail),
        user_id=identifiers.new_typed_user_id(person.user_id),
        department=sameness.tidy_name(person.department),
        principal=sameness.tidy_name(person.principal),
        reading=sameness.tidy_name(person.reading),
        **postal.tidied(person),
    )


def wrong_fields(person: Person) -> tuple[str, ...]:
    """Every field that is not as it has to be, in the order in which forms ask for them."""
    person = tidied(person)
    checks = {
        "policy_number": _POLICY_NUMBER.fullmatch(person.policy_number) is not None,
        "name": 0 < len(person.name) <= _LONGEST_NAME and person.name.isprintable(),
        "mail": not wrong_mail(person.mail),
        "user_id": person.user_id == "" or identifiers.valid_user_id(person.user_id),
        "role": person.role in ("member", "admin"),
        "notice_by": person.notice_by in ("mail", "postcard"),
        "language": person.language in LANGUAGES,
        "department": not person.department or what_is_wrong("OU", person.department) is None,
        "principal": not person.principal or what_is_wrong("upn", person.principal) is None,
        "reading": len(person.reading) <= _LONGEST_NAME and person.reading.isprintable(),
    }
    wrong = tuple(field for field, good in checks.items() if not good)
    return wrong + postal.wrong_in(postal.tidied(person))


def wrong_mail(address: str) -> bool:
    """Whether it is no mail address."""
    return len(address) > 254 or _MAIL.fullmatch(address) is None


def foreign(field: str, value: str) -> str:
    """Which character cannot be in a field, by its place and code point: it may look like another, or like
    nothing. "" if none."""
    fits = _CHARACTERS.get(field, str.isprintable)
    for place, character in enumerate(value, start=1):
        if not fits(character):
            return f"character {place} of {field} is {called(character)}"
    return ""


async def add_organisation(
    ra: RegistrationAuthority,
    policy_number: str,
    name: str,
    *,
    actor: str,
    lineages: int | None = None,
    issue_password_by: store.PasswordBy = "mail",
    **more: Any,
) -> store.Organisation:
    """Records a customer organisation. ``more``: profile, country, an address's fields. Refusal("conflict")
    when the 証券番号 is taken."""
    created = check_organisation(
        store.Organisation(policy_number, name, ra.now(), lineages, issue_password_by, **more), ra
    )
    return await ra.database.write(lambda db: record_organisation(db, created, actor=actor))


def record_organisation(db: Transaction, created: store.Organisation, *, actor: str) -> store.Organisation:
    """Inside a transaction: one that `check_organisation` has looked at. Refusal("conflict")."""
    if not store.add_organisation(db, created):
        raise Refusal("conflict", field="policy_number")
    at, number = created.created_at, created.policy_number
    store.audit(db, at, actor, "organisation.added", number, name=created.name)
    return created


def check_organisation(organisation: store.Organisation, ra: RegistrationAuthority) -> store.Organisation:
    """The organisation as it is stored; Refusal("invalid_input", field) names the first bad field."""
    name, lineages = sameness.tidy_name(organisation.name), organisation.lineages
    policy_number = identifiers.typed_policy_number(organisation.policy_number)
    if _POLICY_NUMBER.fullmatch(policy_number) is None:
        raise Refusal("invalid_input", field="policy_number", detail=foreign("policy_number", policy_number))
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise Refusal("invalid_input", field="name", detail=foreign("name", name))
    if lineages is not None and lineages < 1:
        raise Refusal("invalid_input", field="lineages")
    address = postal.tidied(organisation)
    for field in postal.wrong_in(address):
        raise Refusal("invalid_input", field=field, detail=foreign(field, address[field]))
    if organisation.country and (wrong := what_is_wrong("C", organisation.country)):
        raise Refusal("invalid_input", field="country", detail=f"{organisation.country!r} {wrong}")
    people = profiles.of_people(ra)
    if organisation.profile and organisation.profile not in people:
        raise Refusal("invalid_input", field="profile", detail=f"write one of {', '.join(people)}")
    return replace(organisation, policy_number=policy_number, name=name, **address)


def lineages_of(db: Transaction, ra: RegistrationAuthority, user_id: str) -> int:
    """How many PCs, and how many credentials, a user may have: by the organisation, else ours (E18)."""
    user = store.user(db, user_id)
    organisation = None if user is None else store.organisation(db, user.policy_number)
    own = None if organisation is None else organisation.lineages
    return ra.settings.lineages if own is None else own


async def add_user(
    ra: RegistrationAuthority,
    person: Person,
    *,
    channel: Literal["online", "paper"],
    actor: str,
    hold_letters: bool = False,
) -> Admission:
    """Records a user with application, request ID and both mails (R12, R13): all or nothing.

    ``hold_letters``: they wait until an operator releases them.
    """
    prepared = await admission(ra, person, channel=channel, actor=actor, hold_letters=hold_letters)
    return await ra.database.write(prepared)


async def admission(
    ra: RegistrationAuthority,
    person: Person,
    *,
    channel: Literal["online", "paper"],
    actor: str,
    hold_letters: bool = False,
) -> Work[Admission]:
    """The same as work for a transaction, with what is slow (hashing) done."""
    person = check_person(person)
    hashed = await prepare_admission(ra)

    def work(db: Transaction) -> Admission:
        made = admit(db, ra, person, hashed, channel=channel, actor=actor, application_id=None)
        if hold_letters:
            mail_store.hold_back(db, made.user_id, ra.now())
        return made

    return work


@dataclass(frozen=True)
class Prepared:
    """Secrets of a user to be, with their hashes; made before the transaction because hashing is slow."""

    login_password: str
    login_hash: str
    drawn: DrawnPassword


async def prepare_admission(ra: RegistrationAuthority) -> Prepared:
    login_password = identifiers.new_login_password()
    login_hash = await ra.workers.run_in_thread(passwords.hash_drawn, login_password)
    return Prepared(login_password, login_hash, await draw_issue_password(ra))


def admit(
    db: Transaction,
    ra: RegistrationAuthority,
    person: Person,
    prepared: Prepared,
    *,
    channel: Literal["online", "paper"],
    actor: str,
    application_id: int | None,
) -> Admission:
    """Inside a transaction: the user, the application, the enrollment and the letters."""
    at = ra.now()
    organisation = store.organisation(db, person.policy_number, alone=True)
    if organisation is None:
        raise Refusal("not_found", field="policy_number")
    if organisation.disabled_at is not None:
        raise Refusal("user_disabled", field="policy_number")
    if not person.user_id:
        check_unknown(db, person)
    user = _record_user(db, person, prepared.login_hash, at)
    number = application_id or store.add_application(
        db,
        store.Application(
            id=0,
            kind="addition",
            channel=channel,
            reason="",
            policy_number=person.policy_number,
            user_id=user.user_id,
            person={},
            revoke_old="on_pickup",
            applied_by=actor,
            state="submitted",
            submitted_at=at,
        ),
    )
    opened = open_request(
        db, ra, user, organisation, "addition", prepared.drawn, application_id=number, actor=actor
    )
    id_notice(db, ra, user, prepared.login_password, at)
    store.decide_application(db, number, "approved", actor, at, "", opened.request_id)
    store.audit(db, at, actor, "user.added", user.user_id, policy_number=person.policy_number)
    return Admission(user.user_id, opened.request_id, opened.common_name)


def check_unknown(db: Transaction, person: Person) -> None:
    """Refusal("conflict", "name") for somebody who is a user already, however name and address were typed.

    Not asked of whoever names a user ID: so one person gets a second one on purpose.
    """
    for user_id in store.same_person(db, person.policy_number, person.name, person.mail):
        raise Refusal("conflict", field="name", detail=f"this person is recorded already as {user_id}")


async def disable_user(ra: RegistrationAuthority, user_id: str, *, actor: str) -> int:
    """E27: no login, no enrollment, no mails; every live certificate is revoked. Returns how many."""
    return await ra.database.write(lambda db: _disable(db, ra, user_id, actor))


def _disable(db: Transaction, ra: RegistrationAuthority, user_id: str, actor: str) -> int:
    at = ra.now()
    if store.user(db, user_id) is None:
        raise Refusal("not_found", field="user_id")
    if not store.disable_user(db, user_id, at):
        raise Refusal("conflict", field="user_id", detail=f"user {user_id} is disabled already")
    store.end_generation(db, user_id, at)
    store.audit(db, at, actor, "user.disabled", user_id)
    revoked = 0
    for enrollment in store.living_enrollments_of(db, user_id, timekeeping.surely_passed(ra, db)):
        if enrollment.state in LIVE and enrollment.serial is not None:
            revoked += end_certificate(db, ra, enrollment.serial, PRIVILEGE_WITHDRAWN, at, actor=actor)
        elif enrollment.state is not State.PROCESSING:
            apply(db, ra, enrollment.request_id, Event.WITHDRAW, at, actor=actor)
    return revoked


async def enable_user(ra: RegistrationAuthority, user_id: str, *, actor: str) -> None:
    """Takes a disabling back: the login works again. What was revoked stays so, a reissue replaces it.

    Raises Refusal("not_found"), and "conflict" for a user who is not disabled.
    """

    def work(db: Transaction) -> None:
        known = store.user(db, user_id)
        if known is None:
            raise Refusal("not_found", field="user_id")
        if known.erased_at is not None:
            raise Refusal(
                "conflict", field="user_id", detail=f"user {user_id} was erased: add the person anew"
            )
        if not store.enable_user(db, user_id):
            raise Refusal("conflict", field="user_id", detail=f"user {user_id} is not disabled")
        store.audit(db, ra.now(), actor, "user.enabled", user_id)

    await ra.database.write(work)


def _record_user(db: Transaction, person: Person, login_hash: str, at: int) -> store.User:
    wanted = person.user_id
    while True:
        user = store.User(
            user_id=wanted or identifiers.new_user_id(),
            policy_number=person.policy_number,
            name=person.name,
            mail=person.mail,
            role=person.role,
            notice_by=person.notice_by,
            language=person.language,
            department=person.department,
            principal=person.principal,
            reading=person.reading,
            **{name: getattr(person, name) for name in postal.FIELDS},
            password_hash=login_hash,
            password_initial=True,
            last_number=0,
            created_at=at,
        )
        if store.add_user(db, user):
            return user
        if wanted:
            raise Refusal("conflict", field="user_id", detail=f"user ID {wanted} is taken")
