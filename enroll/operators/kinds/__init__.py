"""What takes two, and how each is done: `KINDS` has one row a kind of proposal, whoever asks for it.

What is proposed is checked when it is proposed and carried out by the same functions as ever; ``before`` is
what stood there meanwhile, and a change of it voids the proposal. What a kind is stands in `kind.py`; what is
done about people, certificates and applications in the module that is called so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import ca.store
from ca.storage import Transaction
from enroll import purging, timekeeping
from enroll.campaigns import working
from enroll.hooks import endpoints
from enroll.jobs import store as jobs
from enroll.jobs.kinds import undoable
from enroll.jst import days_before, shown_day
from enroll.operators import operating, templates
from enroll.operators.actors import Actor
from enroll.operators.kinds import applications, certificates, people
from enroll.operators.kinds.kind import CarryOut, Check, Facts, Kind, Payload, nothing
from enroll.operators.roles import MOST_LETTERS, Act, Verdict
from enroll.people import replacing
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.settings import DAY
from enroll.whose import Whose

# -- jobs ------------------------------------------------------------------------------------------------


async def _by_a_job(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    raise AssertionError("a job is begun by asking.py, and done by enroll/jobs/running.py")


def _job_kind(
    act: Act,
    why: str,
    subject: Callable[[Payload], str],
    check: Callable[[Transaction, RegistrationAuthority, Payload], None] = nothing,
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


# -- operators, webhooks, texts of letters ---------------------------------------------------------------


def _operator_kind(carry_out: CarryOut, check: Check, check_by_two: Check = nothing) -> Kind:
    return Kind(
        Act.OPERATORS,
        "operators",
        lambda payload: str(payload["name"]),
        lambda db, payload: operating.facts(db, payload["name"]),
        carry_out,
        check,
        check_by_two,
    )


def _endpoint_kind(carry_out: CarryOut, check: Any, why: str = "settings") -> Kind:
    about = lambda payload: str(payload["name"])  # noqa: E731
    return Kind(Act.SETTINGS, why, about, endpoints.facts, carry_out, check)


def _template_kind(carry_out: CarryOut, check: Any) -> Kind:
    about = lambda payload: f"{payload['template']}.{payload['language']}"  # noqa: E731
    return Kind(
        Act.TEMPLATES, "templates", about, templates.changed, carry_out, check, in_files=templates.unchanged
    )


# -- the record, the clock -------------------------------------------------------------------------------


async def _retire(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    at = ra.now()
    return {"retired": await ra.database.write(lambda db: purging.retire(db, at, by, payload["before"]))}


def _check_age(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    """What is younger may not be signed for yet: checkpoints are taken each hour."""
    if payload["before"] > days_before(ra.now(), 1):
        raise Refusal("invalid_input", field="before", detail="write an earlier day: these lines are too new")


async def _confirm_clock(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    found = await timekeeping.confirm(ra, actor=by)
    return {"was": "" if found.doubt is None else str(found.doubt)}


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "organisation.add": people.of_organisation(
            "entered by oneself", people.add_organisation, people.check_unknown_organisation
        ),
        "organisation.change": replace(
            people.of_organisation(
                "entered by oneself", people.change_organisation, people.check_changed_organisation
            ),
            check_by_two=people.unless_same,
        ),
        "organisation.disable": people.of_organisation(
            "entered by oneself", people.disable_organisation, people.unless_disabled
        ),
        "organisation.enable": people.of_organisation(
            "re-enabling", people.enable_organisation, people.if_disabled
        ),
        "user.add": Kind(
            *(Act.RECORD, "entered by oneself"),
            lambda payload: str(payload["person"]["user_id"] or payload["person"]["name"]),
            people.person_facts,
            people.add_user,
            people.check_new,
        ),
        "organisation.import": _job_kind(Act.RECORD, "import", _of_file),
        "user.import": _job_kind(Act.RECORD, "import", _of_file),
        "import.undo": _job_kind(
            *(Act.RECORD, "import"),
            lambda payload: f"job {payload['job']}: {payload['subject']}",
            _check_undo,
        ),
        "user.change": replace(
            people.of_user(Act.RECORD, "entered by oneself", people.change_user, people.check_changed),
            check_by_two=people.unless_same,
        ),
        "user.disable": people.of_user(
            Act.RECORD, "entered by oneself", people.disable_user, people.unless_disabled
        ),
        "user.enable": people.of_user(Act.RECORD, "re-enabling", people.enable_user, people.if_disabled),
        "user.release": people.of_user(Act.RECORD, "re-enabling", people.release_user),
        "user.reset_password": people.of_user(Act.RESET_PASSWORD, "by the desk", people.reset_password),
        "certificate.release": certificates.kind(Act.RECORD, "re-enabling", certificates.release),
        "certificate.revoke": replace(
            certificates.kind(Act.REVOKE, "by the desk", certificates.revoke),
            two=certificates.many, counts=True, beyond="certificate.revoke.many",
        ),
        "certificate.revoke.many": certificates.kind(
            Act.REVOKE_MANY, "more than 10 revocations", certificates.revoke
        ),
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
            applications.kind(
                "entered by oneself, or a mail address changed shortly before", applications.approve
            ),
            two=applications.own,
        ),
        "application.reject": replace(
            applications.kind("entered by oneself", applications.reject), two=applications.own_rejection
        ),
        "request.reissue": people.of_user(Act.APPLICATIONS, "paper reissue", applications.reissue),
        "ca.reissue": _job_kind(
            *(Act.APPLICATIONS, "CA"),
            lambda payload: f"{payload['name']}: {len(payload['users'])} people",
            replacing.check,
        ),
        "credential.create": replace(
            people.of_user(Act.RECORD, "entered by oneself", people.create_credentials), told_once=True
        ),
        "clock.confirm": Kind(
            *(Act.SETTINGS, "CA"), lambda payload: "clock", lambda db, payload: {}, _confirm_clock
        ),
        "audit.purge": people.of_user(Act.PURGE, "purge", people.purge),
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
