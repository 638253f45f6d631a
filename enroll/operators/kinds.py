"""What takes two, and how each is done: one row a kind of proposal, whoever asks for it.

What is proposed is checked when it is proposed and carried out by the same functions as ever; ``before`` is
what stood there meanwhile, and a change of it voids the proposal.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

import ca.store
from ca.storage import Transaction
from enroll import purging, store, timekeeping
from enroll.acme import credentials
from enroll.campaigns import working
from enroll.hooks import endpoints
from enroll.jobs import store as jobs
from enroll.jobs.kinds import undoable
from enroll.jst import days_before, shown_day
from enroll.operators import operating, templates
from enroll.operators import store as operators
from enroll.operators.actors import Actor, identity_of
from enroll.operators.roles import MOST_LETTERS, MOST_REVOCATIONS, Act, Verdict
from enroll.people import applications, changes, register, replacing
from enroll.people.likeness import check_unlike, check_unshared
from enroll.people.register import Person
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.transitions import end_certificate, release_all, release_certificate
from enroll.settings import DAY
from enroll.whose import Whose

Payload = Mapping[str, Any]
Facts = Mapping[str, Any]
#: How it is done: by whom the trail says it was, and whether whoever asked is told at once what only they may
#: read.
CarryOut = Callable[[RegistrationAuthority, Payload, str, bool], Awaitable[Facts]]

#: A mail address that was changed so many seconds before a reissue: two look at it.
MAIL_JUST_CHANGED = 14 * DAY


def _nothing(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    """What can only be found out when it is done."""


def _as_ever(db: Transaction, ra: RegistrationAuthority, actor: Actor, payload: Payload) -> bool:
    return False


def _by_somebody_else(db: Transaction, actor: Actor, payload: Payload) -> bool:
    return False


Check = Callable[[Transaction, RegistrationAuthority, Payload], None]


@dataclass(frozen=True)
class Kind:
    """A kind of proposal. ``why``: what of O4 it is."""

    act: Act
    why: str
    #: What it is about, for lists and the trail.
    subject: Callable[[Payload], str]
    before: Callable[[Transaction, Payload], Facts]
    carry_out: CarryOut
    #: Raises a Refusal for what cannot be.
    check: Check = _nothing
    #: The same of what cannot be when it takes two, though who has the machine may do it.
    check_by_two: Check = _nothing
    #: Whether it takes two even of whoever may do it alone, or may decide what others apply for.
    two: Callable[[Transaction, RegistrationAuthority, Actor, Payload], bool] = _as_ever
    #: Whether that counts what the actor has done: then they do it one after the other.
    counts: bool = False
    #: Whether the actor has entered what it is about: then somebody else decides, whoever has proposed it.
    entered: Callable[[Transaction, Actor, Payload], bool] = _by_somebody_else
    #: The kind that it is then.
    beyond: str = ""
    #: Whether who may decide does it at once: somebody else has applied for it.
    applied_for: bool = False
    #: Whether it has many rows, and is done by a job (`enroll/jobs/kinds.py` has the same kind).
    job: bool = False
    #: Whether its answer is a secret: approved, it is done when who proposed it types it again.
    told_once: bool = False
    #: What stands there where the machine's files say it, besides ``before``.
    in_files: Callable[[RegistrationAuthority, Payload], Facts] = lambda ra, payload: {}

    def standing(self, db: Transaction, ra: RegistrationAuthority, payload: Payload) -> Facts:
        """What stands there now: what the register says comes before the machine's files."""
        return {**self.in_files(ra, payload), **self.before(db, payload)}


# -- people ----------------------------------------------------------------------------------------------


def _organisation(db: Transaction, policy_number: str) -> store.Organisation | None:
    """Alone: what is done about it in the same write wants it so, and two that had it together would wait for
    each other."""
    return store.organisation(db, policy_number, alone=True)


def _organisation_facts(db: Transaction, payload: Payload) -> Facts:
    found = _organisation(db, payload["policy_number"])
    return {} if found is None else asdict(found)


def _user_facts(db: Transaction, payload: Payload) -> Facts:
    """Without what a login or a certificate changes by itself."""
    found = store.user(db, payload["user_id"])
    if found is None:
        return {}
    names = (*changes.OF_USERS, "user_id", "disabled_at")
    return {name: getattr(found, name) for name in names}


def _person_facts(db: Transaction, payload: Payload) -> Facts:
    person = Person(**payload["person"])
    found = _organisation(db, person.policy_number)
    taken = store.user(db, person.user_id) if person.user_id else None
    return {"disabled_at": found.disabled_at if found else None, "taken": taken is not None}


def _check_new(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    person = register.check_person(Person(**payload["person"]))
    if _organisation(db, person.policy_number) is None:
        raise Refusal("not_found", field="policy_number")
    if not payload["alike"]:
        check_unlike(db, person)


def _check_user(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    found = store.user(db, payload["user_id"])
    if found is None:
        raise Refusal("not_found", field="user_id")
    mail = payload.get("changes", {}).get("mail")
    if mail is not None and not payload.get("alike"):
        check_unshared(db, found, mail)


def _check_changed(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    _check_user(db, ra, payload)
    _something(payload)
    changes.changed_user(db, payload["user_id"], payload["changes"])


def _something(payload: Payload) -> None:
    if not payload["changes"]:
        raise Refusal("invalid_input", field="changes", detail="say what changes")


def _check_changed_organisation(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    _something(payload)
    changes.changed_organisation(db, ra, payload["policy_number"], payload["changes"])


def _unless_same(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
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


def _unless_disabled(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    if _disabled_at(db, payload) is not None:
        raise _as_it_is(payload, "disabled already")


def _if_disabled(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    if _disabled_at(db, payload) is None:
        raise _as_it_is(payload, "not disabled")


def _as_it_is(payload: Payload, how: str) -> Refusal:
    kind, field = ("user", "user_id") if "user_id" in payload else ("organisation", "policy_number")
    return Refusal("conflict", field=field, detail=f"{kind} {payload[field]} is {how}")


def _check_unknown_organisation(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    register.check_organisation(store.Organisation(created_at=ra.now(), **payload), ra)
    if _organisation(db, payload["policy_number"]) is not None:
        raise Refusal("conflict", field="policy_number")


async def _add_organisation(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    return asdict(await register.add_organisation(ra, **payload, actor=by))


async def _change_organisation(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    found = await changes.change_organisation(ra, payload["policy_number"], payload["changes"], actor=by)
    return asdict(found)


async def _disable_organisation(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    found = await changes.disable_organisation(ra, payload["policy_number"], actor=by)
    return {"policy_number": payload["policy_number"], "user_ids": found}


async def _enable_organisation(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    await changes.enable_organisation(ra, payload["policy_number"], actor=by)
    return payload


async def _add_user(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    return asdict(await register.add_user(ra, Person(**payload["person"]), channel="paper", actor=by))


async def _change_user(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    found = asdict(await changes.change_user(ra, payload["user_id"], payload["changes"], actor=by))
    del found["password_hash"]
    return found


async def _disable_user(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    return {**payload, "revoked": await register.disable_user(ra, payload["user_id"], actor=by)}


async def _enable_user(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    await register.enable_user(ra, payload["user_id"], actor=by)
    return payload


async def _reset_password(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    await changes.reset_password(ra, payload["user_id"], actor=by)
    return payload


async def _purge(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    return {**payload, "purged": await purging.purge_user(ra, payload["user_id"], actor=by)}


async def _retire(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    at = ra.now()
    return {"retired": await ra.database.write(lambda db: purging.retire(db, at, by, payload["before"]))}


def _check_age(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    """What is younger may not be signed for yet: checkpoints are taken each hour."""
    if payload["before"] > days_before(ra.now(), 1):
        raise Refusal("invalid_input", field="before", detail="write an earlier day: these lines are too new")


def _user_kind(act: Act, why: str, carry_out: CarryOut, check: Any = _check_user) -> Kind:
    return Kind(act, why, lambda payload: str(payload["user_id"]), _user_facts, carry_out, check)


def _organisation_kind(why: str, carry_out: CarryOut, check: Any) -> Kind:
    about = lambda payload: str(payload["policy_number"])  # noqa: E731
    return Kind(Act.RECORD, why, about, _organisation_facts, carry_out, check)


# -- certificates ----------------------------------------------------------------------------------------


def _certificate_facts(db: Transaction, payload: Payload) -> Facts:
    found = ca.store.find_by_serial(db, payload["serial"])
    return {} if found is None else {"status": found.status}


def _check_certificate(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    if ca.store.find_by_serial(db, serial := payload["serial"]) is None:
        raise Refusal("not_found", field="serial", detail=f"there is no certificate {serial} here")


def _certificate_kind(act: Act, why: str, carry_out: CarryOut) -> Kind:
    about = lambda payload: str(payload["serial"])  # noqa: E731
    return Kind(act, why, about, _certificate_facts, carry_out, _check_certificate)


async def _revoke(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    serial = payload["serial"]

    def work(db: Transaction) -> None:
        if not end_certificate(db, ra, serial, payload["reason"], ra.now(), actor=by):
            known = ca.store.find_by_serial(db, serial)
            waits = known is not None and known.status == "reserved"
            said = "is not signed yet" if waits else "is revoked already"
            raise Refusal("conflict", field="serial", detail=f"certificate {serial} {said}")

    await ra.database.write(work)
    return payload


def _many(db: Transaction, ra: RegistrationAuthority, actor: Actor, payload: Payload) -> bool:
    return operators.revocations(db, actor.own, ra.now() - DAY) >= MOST_REVOCATIONS


async def _release(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    serial = payload["serial"]

    def work(db: Transaction) -> None:
        origin = store.enrollment_of(db, serial)
        if origin is not None:
            _check_undecided(db, origin.user_id)
        if not release_certificate(db, serial, ra.now(), actor=by):
            known = ca.store.find_by_serial(db, serial)
            status = "none" if known is None else known.status
            said = f"certificate {serial} is {status}; only one that is held is changed by this"
            raise Refusal("conflict", field="serial", detail=said)

    await ra.database.write(work)
    return payload


async def _release_user(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    user_id = payload["user_id"]

    def work(db: Transaction) -> int:
        _check_undecided(db, user_id)
        store.audit(db, ra.now(), by, "user.released", user_id)
        return release_all(db, user_id, ra.now(), actor=by)

    return {**payload, "certificates": await ra.database.write(work)}


def _check_undecided(db: Transaction, user_id: str) -> None:
    """A report that waits for a decision is what says whether they go on."""
    if store.theft_reported(db, user_id):
        told = f"a theft is reported of {user_id}; decide that: sekisho application list"
        raise Refusal("conflict", field="user_id", detail=told)


# -- applications ----------------------------------------------------------------------------------------


def _application_facts(db: Transaction, payload: Payload) -> Facts:
    found = store.application(db, payload["number"])
    if found is None:
        return {}
    mine = _user_facts(db, {"user_id": found.user_id}) if found.user_id else {}
    return {"application": {**asdict(found), "person": dict(found.person)}, "user": mine}


def _check_application(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    found = store.application(db, payload["number"])
    if found is None:
        raise Refusal("not_found", field="application")
    if found.state != "submitted":
        detail = f"application {found.id} is {found.state} already"
        raise Refusal("conflict", field="application", detail=detail)


def _application_kind(why: str, carry_out: CarryOut) -> Kind:
    return Kind(
        *(Act.APPLICATIONS, why),
        lambda payload: str(payload["number"]),
        _application_facts,
        carry_out,
        _check_application,
        applied_for=True,
        entered=_entered,
    )


async def _approve(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    number, when, facts = payload["number"], payload["revoke_old"], payload["facts"]
    made = await applications.approve(ra, number, actor=by, revoke_old=when, facts=facts)
    return {"application": number, **asdict(made)}


async def _reject(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    number, note, why = payload["number"], payload["note"], payload.get("rejection", applications.OTHER)
    await applications.reject(ra, number, actor=by, note=note, rejection=why)
    return {"application": number, "note": note, "rejection": why}


def _entered(db: Transaction, actor: Actor, payload: Payload) -> bool:
    """What one took in oneself, by whichever door."""
    found = store.application(db, payload["number"])
    return found is not None and identity_of(db, found.applied_by) == actor.identity


def _own(db: Transaction, ra: RegistrationAuthority, actor: Actor, payload: Payload) -> bool:
    """What one entered or has proposed oneself, and a reissue whose mail would go to a new address."""
    found = store.application(db, payload["number"])
    if found is None:
        return False
    if _entered(db, actor, payload) or _proposed(db, ra, actor, payload):
        return True
    since = ra.now() - MAIL_JUST_CHANGED
    return found.kind == "reissue" and operators.mail_changed(db, found.user_id, since)


def _own_rejection(db: Transaction, ra: RegistrationAuthority, actor: Actor, payload: Payload) -> bool:
    return _entered(db, actor, payload) or _proposed(db, ra, actor, payload)


def _proposed(db: Transaction, ra: RegistrationAuthority, actor: Actor, payload: Payload) -> bool:
    """Whether the actor has proposed a decision on the same application, which waits."""
    return any(
        each.proposer == actor.identity and each.expires_at > ra.now()
        for each in operators.proposals_about(db, DECISIONS, str(payload["number"]))
    )


#: The kinds that decide an application.
DECISIONS = ("application.approve", "application.reject")


async def _reissue(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    when = payload["revoke_old"]
    return asdict(
        await applications.reissue(ra, payload["user_id"], payload["reason"], actor=by, revoke_old=when)
    )


async def _create_credentials(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    return {"credentials": [each.to_json() for each in await credentials.create(ra, **payload, actor=by)]}


async def _confirm_clock(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    found = await timekeeping.confirm(ra, actor=by)
    return {"was": "" if found.doubt is None else str(found.doubt)}


# -- jobs ------------------------------------------------------------------------------------------------


async def _by_a_job(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    raise AssertionError("a job is begun by asking.py, and done by enroll/jobs/running.py")


def _job_kind(
    act: Act,
    why: str,
    subject: Callable[[Payload], str],
    check: Callable[[Transaction, RegistrationAuthority, Payload], None] = _nothing,
) -> Kind:
    """What has many rows: decided, it is begun, and goes on by itself."""
    return Kind(act, why, subject, lambda db, payload: {}, _by_a_job, check, job=True)


def _of_file(payload: Payload) -> str:
    return f"{payload['file']}: {len(payload['rows'])} rows"


def _of_periods(payload: Payload) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in payload["counts"].items())


def _check_undo(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    undoable(db, payload["job"])


def _check_serials(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    for serial in payload["serials"]:
        if ca.store.find_by_serial(db, serial) is None:
            raise Refusal("not_found", field="serial", detail=f"there is no certificate {serial}")


# -- campaigns -------------------------------------------------------------------------------------------


async def _begin_campaign(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    return await working.begin(ra, payload, by)


async def _end_campaign(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    return await working.end(ra, payload, by)


def _campaign(payload: Payload) -> str:
    return f"campaign {payload['campaign']}"


def _many_letters(db: Transaction, ra: RegistrationAuthority, actor: Actor, payload: Payload) -> bool:
    written = jobs.rows_of(db, "campaign.remind", actor.own, ra.now() - DAY)
    return written + len(payload["numbers"]) > MOST_LETTERS


def _reminding(act: Act) -> Kind:
    about = lambda payload: f"{_campaign(payload)}: {len(payload['numbers'])} letters"  # noqa: E731
    made = _job_kind(act, "letters to many", about, working.check_reminder)
    return replace(made, before=working.before)


# -- operators -------------------------------------------------------------------------------------------


def _operator_kind(carry_out: CarryOut, check: Check, check_by_two: Check = _nothing) -> Kind:
    return Kind(
        Act.OPERATORS,
        "operators",
        lambda payload: str(payload["name"]),
        lambda db, payload: operating.facts(db, payload["name"]),
        carry_out,
        check,
        check_by_two,
    )


# -- webhooks --------------------------------------------------------------------------------------------


def _endpoint_kind(carry_out: CarryOut, check: Any, why: str = "settings") -> Kind:
    about = lambda payload: str(payload["name"])  # noqa: E731
    return Kind(Act.SETTINGS, why, about, endpoints.facts, carry_out, check)


def _template_kind(carry_out: CarryOut, check: Any) -> Kind:
    about = lambda payload: f"{payload['template']}.{payload['language']}"  # noqa: E731
    return Kind(
        Act.TEMPLATES, "templates", about, templates.changed, carry_out, check, in_files=templates.unchanged
    )


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "organisation.add": _organisation_kind(
            "entered by oneself", _add_organisation, _check_unknown_organisation
        ),
        "organisation.change": replace(
            _organisation_kind("entered by oneself", _change_organisation, _check_changed_organisation),
            check_by_two=_unless_same,
        ),
        "organisation.disable": _organisation_kind(
            "entered by oneself", _disable_organisation, _unless_disabled
        ),
        "organisation.enable": _organisation_kind("re-enabling", _enable_organisation, _if_disabled),
        "user.add": Kind(
            *(Act.RECORD, "entered by oneself"),
            lambda payload: str(payload["person"]["user_id"] or payload["person"]["name"]),
            _person_facts,
            _add_user,
            _check_new,
        ),
        "organisation.import": _job_kind(Act.RECORD, "import", _of_file),
        "user.import": _job_kind(Act.RECORD, "import", _of_file),
        "import.undo": _job_kind(
            *(Act.RECORD, "import"),
            lambda payload: f"job {payload['job']}: {payload['subject']}",
            _check_undo,
        ),
        "user.change": replace(
            _user_kind(Act.RECORD, "entered by oneself", _change_user, _check_changed),
            check_by_two=_unless_same,
        ),
        "user.disable": _user_kind(Act.RECORD, "entered by oneself", _disable_user, _unless_disabled),
        "user.enable": _user_kind(Act.RECORD, "re-enabling", _enable_user, _if_disabled),
        "user.release": _user_kind(Act.RECORD, "re-enabling", _release_user),
        "user.reset_password": _user_kind(Act.RESET_PASSWORD, "by the desk", _reset_password),
        "certificate.release": _certificate_kind(Act.RECORD, "re-enabling", _release),
        "certificate.revoke": replace(
            _certificate_kind(Act.REVOKE, "by the desk", _revoke),
            two=_many, counts=True, beyond="certificate.revoke.many",
        ),
        "certificate.revoke.many": _certificate_kind(Act.REVOKE_MANY, "more than 10 revocations", _revoke),
        "certificate.revoke.bulk": _job_kind(
            *(Act.REVOKE_MANY, "more than 10 revocations"),
            lambda payload: f"{len(payload['serials'])} certificates",
            _check_serials,
        ),
        "postcard.batch": _job_kind(
            *(Act.PRINT, "done by whoever prints"),
            lambda payload: f"batch {payload['batch']}: {len(payload['letters'])} cards",
        ),
        "campaign.begin": Kind(
            *(Act.CAMPAIGNS, "letters to many"),
            lambda payload: str(payload["name"]),
            lambda db, payload: {},
            _begin_campaign,
            working.check_new,
        ),
        "campaign.end": Kind(
            *(Act.CAMPAIGNS, "letters to many"),
            _campaign,
            working.before,
            _end_campaign,
            working.check_open,
        ),
        "campaign.remind": replace(
            _reminding(Act.CAMPAIGNS), two=_many_letters, counts=True, beyond="campaign.remind.many"
        ),
        "campaign.remind.many": _reminding(Act.LETTERS_MANY),
        "application.approve": replace(
            _application_kind("entered by oneself, or a mail address changed shortly before", _approve),
            two=_own,
        ),
        "application.reject": replace(
            _application_kind("entered by oneself", _reject), two=_own_rejection
        ),
        "request.reissue": _user_kind(Act.APPLICATIONS, "paper reissue", _reissue),
        "ca.reissue": _job_kind(
            *(Act.APPLICATIONS, "CA"),
            lambda payload: f"{payload['name']}: {len(payload['users'])} people",
            replacing.check,
        ),
        "credential.create": replace(
            _user_kind(Act.RECORD, "entered by oneself", _create_credentials), told_once=True
        ),
        "clock.confirm": Kind(
            *(Act.SETTINGS, "CA"), lambda payload: "clock", lambda db, payload: {}, _confirm_clock
        ),
        "audit.purge": _user_kind(Act.PURGE, "purge", _purge),
        "audit.retire": Kind(
            *(Act.PURGE, "retirement"),
            lambda payload: shown_day(payload["before"]),
            lambda db, payload: {},
            _retire,
            _check_age,
        ),
        "retention.apply": _job_kind(Act.PURGE, "purge", _of_periods),
        "operator.add": _operator_kind(operating.add, operating.check_new, operating.check_new_is_reached),
        "operator.change": _operator_kind(operating.change, operating.check_change),
        "operator.end": _operator_kind(operating.end, operating.check_there),
        "operator.code": _operator_kind(
            operating.renew_code, operating.check_there, operating.check_is_reached
        ),
        "webhook.add": replace(_endpoint_kind(endpoints.add, endpoints.check_new), told_once=True),
        "webhook.change": replace(
            _endpoint_kind(endpoints.change, endpoints.check_change), check_by_two=endpoints.check_differs
        ),
        "webhook.rotate": replace(_endpoint_kind(endpoints.rotate, endpoints.check_there), told_once=True),
        "webhook.start": _endpoint_kind(endpoints.start, endpoints.check_stopped, "re-enabling"),
        "webhook.end": _endpoint_kind(endpoints.end, endpoints.check_there),
        "template.change": _template_kind(templates.change, templates.check_change),
        "template.reset": _template_kind(templates.reset, templates.check_reset),
    }
)  # fmt: skip

#: Kinds that end the logins of whoever they are about: their sessions end as well, where there are any.
ENDS_LOGINS = ("user.disable", "user.reset_password", "organisation.disable")


def whose(actor: Actor) -> Whose:
    """What somebody may look at of proposals and jobs: their own, and those of an act that they may read."""
    return Whose(actor.identity, [name for name, kind in KINDS.items() if actor.may(kind.act) & Verdict.READ])
