"""Applications for a further user (追加発行) and for a reissue (再発行), online or on paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Literal

from ca.storage import Transaction
from enroll import store, timekeeping
from enroll.people.likeness import Alike, alike
from enroll.people.register import (
    Admission,
    Person,
    Prepared,
    admit,
    check_person,
    check_unknown,
    lineages_of,
    prepare_admission,
)
from enroll.people.sameness import mail_key, name_key
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.enrollment import KEY_COMPROMISE, SUPERSEDED, state_at
from enroll.requests.issuance import check_active
from enroll.requests.opening import DrawnPassword, draw_issue_password, open_request
from enroll.requests.states import State
from enroll.requests.transitions import hold_all, release_all

#: R22: why somebody needs a reissue. Codes are stored; the labels are what people choose from.
REASONS: Mapping[str, tuple[str, str]] = {
    "pc_change": ("パソコンを変更した", "I changed my PC"),
    "mail_lost": ("メールが届かない・見当たらない・削除してしまった", "The email did not arrive or was lost"),
    "refused": ("証明書の取得が許可されなかった", "The pick-up was refused"),
    "expired": ("更新の有効期限日を過ぎてしまった", "The certificate has expired"),
    "interrupted": ("取得作業が中断された", "The pick-up was interrupted"),
    "lost_or_stolen": ("パソコンの紛失・盗難", "The PC was lost or stolen"),
}
#: The reason of a reissue that nobody applied for: the old certificate's issuing CA is trusted no more.
ISSUER = "issuer"
#: Every reason that stands in the register.
LABELS: Mapping[str, tuple[str, str]] = {
    **REASONS,
    ISSUER: ("発行者の証明書が使用できなくなった", "Certificates of its issuer are no longer accepted"),
}
#: The code that says nothing: a note does.
OTHER = "other"
#: Why an application is turned down. Codes are stored; whoever applied reads the label, and the note besides.
REJECTIONS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "incomplete": ("記載内容に不足または誤りがある", "Something is missing or wrong"),
        "not_entitled": ("申請できる方からの申請ではない", "It did not come from somebody who may apply"),
        "not_identified": (
            "本人または団体を確認できない",
            "The person or the organisation could not be confirmed",
        ),
        "duplicate": ("すでに登録または申請されている", "It is recorded or applied for already"),
        "not_needed": ("現在の証明書をそのまま利用できる", "The present certificate can go on being used"),
        OTHER: ("その他", "Other"),
    }
)
#: D3: which reasons end the old certificate at once unless the operator says otherwise.
AT_ONCE = frozenset({store.THEFT})

#: Additions that an organisation may have applied for online and that nobody has decided yet.
MOST_OPEN = 100

RevokeOld = Literal["on_pickup", "at_once"]
#: What an operator may decide besides: nothing ends, the certificate is one for a further PC (E18).
Decision = RevokeOld | Literal["never"]


@dataclass(frozen=True)
class Recorded:
    """An application and its number. ``already``: it was open before, and nothing of it has changed."""

    number: int
    already: bool = False


async def apply_addition(
    ra: RegistrationAuthority, person: Person, *, channel: Literal["online", "paper"], actor: str
) -> Recorded:
    """Records an application for a further user. An operator decides it later.

    The same application again while the first is open is the same one (E19). Refusal("limit_reached")
    when so many wait already that were made online.
    """
    person = check_person(person)

    def work(db: Transaction) -> Recorded:
        if store.organisation(db, person.policy_number, alone=True) is None:
            raise Refusal("not_found", field="policy_number")
        if person.user_id and store.user(db, person.user_id) is not None:
            raise Refusal("conflict", field="user_id")
        if not person.user_id:
            check_unknown(db, person)
        submitted = store.applications(db, state="submitted", policy_number=person.policy_number)
        additions = [each for each in submitted if each.kind == "addition"]
        for open_one in additions:
            if same_application(open_one.person, person):
                return Recorded(open_one.id, already=True)
        if channel == "online" and len(additions) >= MOST_OPEN:
            raise Refusal("limit_reached", detail=f"{MOST_OPEN} applications wait for a decision")
        number = _submit(
            db, ra, "addition", channel, "", person.policy_number, person.user_id, asdict(person), actor
        )
        return Recorded(number)

    return await ra.database.write(work)


def same_application(one: Mapping[str, str], person: Person) -> bool:
    """Whether an open application asks for the same: of the same person, however that was typed."""
    keys, other = {"name": name_key, "mail": mail_key}, asdict(person)
    return all(
        keys.get(field, str)(one.get(field, "")) == keys.get(field, str)(other[field]) for field in other
    )


def in_doubt(db: Transaction, person: Person) -> list[Alike]:
    """Whom to ask about before `apply_addition`; nobody where that itself knows the very same person, or
    the very same application. Of the person's organisation only: it is asked of a 管理者."""
    person = check_person(person)
    found = [each for each in alike(db, person) if each.policy_number == person.policy_number]
    for each in found:
        if each.same_person and not each.application and not person.user_id:
            return []
        open_one = store.application(db, each.application) if each.application else None
        if open_one is not None and same_application(open_one.person, person):
            return []
    return found


async def apply_reissue(
    ra: RegistrationAuthority,
    user_id: str,
    reason: str,
    *,
    channel: Literal["online", "paper"],
    actor: str,
    revoke_old: RevokeOld | None = None,
) -> Recorded:
    """Records an application for a reissue.

    A second application while one is open is the same one (E19), made urgent if the second one is. A
    report of theft holds every certificate of the user until it is decided: that waits for nobody.
    """
    if reason not in LABELS:
        raise Refusal("invalid_input", field="reason")
    return await ra.database.write(
        lambda db: _apply_reissue(db, ra, user_id, reason, channel, actor, revoke_old)
    )


def _apply_reissue(
    db: Transaction,
    ra: RegistrationAuthority,
    user_id: str,
    reason: str,
    channel: Literal["online", "paper"],
    actor: str,
    revoke_old: RevokeOld | None,
) -> Recorded:
    recorded = _submit_reissue(db, ra, user_id, reason, channel, actor, revoke_old)
    if store.theft_reported(db, user_id):
        hold_all(db, ra, user_id, ra.now(), actor=actor)
    return recorded


def _submit_reissue(
    db: Transaction,
    ra: RegistrationAuthority,
    user_id: str,
    reason: str,
    channel: Literal["online", "paper"],
    actor: str,
    revoke_old: RevokeOld | None,
) -> Recorded:
    when: RevokeOld = revoke_old or ("at_once" if reason in AT_ONCE else "on_pickup")
    user = store.user(db, user_id)
    if user is None:
        raise Refusal("not_found", field="user_id")
    check_active(db, user_id)
    for open_one in store.applications(db, state="submitted", user_id=user_id):
        if open_one.kind == "reissue":
            # D3: the PC that was to be changed has been stolen since; what waits must not be milder.
            if when == "at_once" and store.hasten_application(db, open_one.id, reason):
                number, at = str(open_one.id), ra.now()
                store.audit(db, at, actor, "application.hastened", number, user=user_id, reason=reason)
                return Recorded(open_one.id)
            return Recorded(open_one.id, already=True)
    return Recorded(_submit(db, ra, "reissue", channel, reason, user.policy_number, user_id, {}, actor, when))


async def approve(
    ra: RegistrationAuthority,
    number: int,
    *,
    actor: str,
    revoke_old: Decision | None = None,
    facts: Mapping[str, str] = MappingProxyType({}),
) -> Admission:
    """Completes an application: timers and mails count from here (R3). Refusal("conflict") if decided.

    ``revoke_old`` "never" is for another PC beside: "limit_reached" where that would be one too many (E18),
    "conflict" for an application that the old certificate has to end with at once (D3). After a theft what is
    held is revoked as compromised, or goes on until the pick-up if that is what the operator says. ``facts``:
    what else is to be recorded of somebody new (department, principal).
    """
    found = await ra.database.read(lambda db: store.application(db, number))
    if found is None:
        raise Refusal("not_found", field="application")
    if found.kind == "addition":
        prepared = await prepare_admission(ra)
        return await ra.database.write(lambda db: _admit(db, ra, number, prepared, actor, facts))
    drawn = await draw_issue_password(ra)
    return await ra.database.write(lambda db: _reissue(db, ra, number, drawn, actor, revoke_old))


def check_rejection(rejection: str, note: str) -> None:
    """Refusal("invalid_input") for a code that is none, and where nothing says why."""
    if rejection not in REJECTIONS:
        codes = ", ".join(REJECTIONS)
        raise Refusal("invalid_input", field="rejection", detail=f"write one of {codes}")
    if rejection == OTHER and not note.strip():
        raise Refusal("invalid_input", field="note", detail="say why")


async def reject(
    ra: RegistrationAuthority, number: int, *, actor: str, note: str, rejection: str = OTHER
) -> None:
    """Turns an application down (``rejection``: a code of `REJECTIONS`); the note is kept, and told to who
    applied. What a report of theft had stopped goes on.

    Refusal("conflict") if decided, "invalid_input" for no such code.
    """
    check_rejection(rejection, note)

    def work(db: Transaction) -> None:
        found, at = _open_application(db, number), ra.now()
        store.decide_application(db, number, "rejected", actor, at, note, None, rejection)
        store.audit(db, at, actor, "application.rejected", str(number), reason=rejection, note=note)
        if found.reason in AT_ONCE:
            release_all(db, found.user_id, at, actor=actor, since=found.submitted_at)

    await ra.database.write(work)


async def withdraw(ra: RegistrationAuthority, number: int, *, actor: str) -> None:
    """Takes an application back that nobody has decided; who made it may make another one.

    Refusal("conflict") if decided, "not_permitted" for a report of theft: what that stopped goes on by the
    desk's word only, whoever has got hold of a login.
    """

    def work(db: Transaction) -> None:
        found, at = _open_application(db, number), ra.now()
        if found.reason in AT_ONCE:
            raise Refusal("not_permitted", field="application")
        store.decide_application(db, number, "withdrawn", actor, at, "", None)
        told = {"kind": found.kind, "user": found.user_id}
        store.audit(db, at, actor, "application.withdrawn", str(number), **told)

    await ra.database.write(work)


async def reissue(
    ra: RegistrationAuthority,
    user_id: str,
    reason: str,
    *,
    actor: str,
    revoke_old: Decision | None = None,
) -> Admission:
    """An operator's reissue on paper: application and approval in one go.

    Where an application waits already it is the same one (E19), and ends the old certificate no later.
    """
    if reason not in LABELS:
        raise Refusal("invalid_input", field="reason")
    if revoke_old == "never" and reason in AT_ONCE:
        raise Refusal("conflict", field="revoke_old", detail="a lost PC's certificate has to end")
    drawn = await draw_issue_password(ra)
    return await ra.database.write(
        lambda db: reissue_in(db, ra, user_id, reason, drawn, actor=actor, revoke_old=revoke_old)
    )


def reissue_in(
    db: Transaction,
    ra: RegistrationAuthority,
    user_id: str,
    reason: str,
    drawn: DrawnPassword,
    *,
    actor: str,
    revoke_old: Decision | None = None,
) -> Admission:
    """The same inside a transaction, with a password that was drawn before it."""
    when = None if revoke_old == "never" else revoke_old
    recorded = _apply_reissue(db, ra, user_id, reason, "paper", actor, when)
    return _reissue(db, ra, recorded.number, drawn, actor, "never" if revoke_old == "never" else None)


def _submit(
    db: Transaction,
    ra: RegistrationAuthority,
    kind: Literal["addition", "reissue"],
    channel: Literal["online", "paper"],
    reason: str,
    policy_number: str,
    user_id: str,
    person: Mapping[str, str],
    actor: str,
    revoke_old: RevokeOld = "on_pickup",
) -> int:
    at = ra.now()
    number = store.add_application(
        db,
        store.Application(
            id=0,
            kind=kind,
            channel=channel,
            reason=reason,
            policy_number=policy_number,
            user_id=user_id,
            person=person,
            revoke_old=revoke_old,
            applied_by=actor,
            state="submitted",
            submitted_at=at,
        ),
    )
    store.audit(db, at, actor, "application.submitted", str(number), kind=kind, user=user_id, reason=reason)
    return number


def _open_application(db: Transaction, number: int) -> store.Application:
    found = store.application(db, number)
    if found is None:
        raise Refusal("not_found", field="application")
    if found.state != "submitted":
        raise Refusal(
            "conflict", field="application", detail=f"application {number} is {found.state} already"
        )
    return found


def _admit(
    db: Transaction,
    ra: RegistrationAuthority,
    number: int,
    prepared: Prepared,
    actor: str,
    facts: Mapping[str, str],
) -> Admission:
    found = _open_application(db, number)
    person = Person(**found.person)  # type: ignore[arg-type]
    if given := {name: value for name, value in facts.items() if value}:
        person = check_person(replace(person, **given))  # type: ignore[arg-type]
    made = admit(db, ra, person, prepared, channel=found.channel, actor=actor, application_id=number)
    _approved(db, ra, found, made, actor)
    return made


def _reissue(
    db: Transaction,
    ra: RegistrationAuthority,
    number: int,
    drawn: DrawnPassword,
    actor: str,
    revoke_old: Decision | None,
) -> Admission:
    found = _open_application(db, number)
    check_active(db, found.user_id)
    user, organisation = store.user(db, found.user_id), store.organisation(db, found.policy_number)
    if user is None or organisation is None:
        raise Refusal("not_found", field="user_id")
    if revoke_old == "never":
        if found.revoke_old == "at_once" or found.reason in AT_ONCE:
            # Whoever wants a further PC may not have seen that this one was stolen meanwhile.
            detail = f"application {number} is to end the old certificate at once; decide it without never"
            raise Refusal("conflict", field="application", detail=detail)
        _check_room(db, ra, user.user_id)
    theft, when, at = found.reason in AT_ONCE, revoke_old or found.revoke_old, ra.now()
    opened = open_request(
        db,
        ra,
        user,
        organisation,
        "reissue",
        drawn,
        application_id=number,
        actor=actor,
        revoke_old=when,
        reason=KEY_COMPROMISE if theft else SUPERSEDED,
    )
    store.decide_application(db, number, "approved", actor, at, "", opened.request_id)
    if theft:
        # None is left where they end at once.
        release_all(db, user.user_id, at, actor=actor, since=found.submitted_at)
    made = Admission(user.user_id, opened.request_id, opened.common_name)
    _approved(db, ra, found, made, actor)
    return made


def _approved(
    db: Transaction, ra: RegistrationAuthority, found: store.Application, made: Admission, actor: str
) -> None:
    told = {"kind": found.kind, "user": made.user_id, "request": made.request_id}
    store.audit(db, ra.now(), actor, "application.approved", str(found.id), **told)


def _check_room(db: Transaction, ra: RegistrationAuthority, user_id: str) -> None:
    allowed = lineages_of(db, ra, user_id)
    # A renewal keeps the name: what it replaced is on the same PC. What nobody fetched yet is superseded.
    names = {
        each.common_name
        for each in store.living_enrollments_of(db, user_id, timekeeping.surely_passed(ra, db))
        if each.door == "page" and state_at(each, ra.now()) in (State.PICKED_UP, State.IN_USE)
    }
    if len(names) >= allowed:
        raise Refusal(
            "limit_reached",
            field="lineages",
            detail=f"{user_id} may have {allowed} at a time, and has {', '.join(sorted(names))}",
        )
