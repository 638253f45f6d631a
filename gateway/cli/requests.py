"""Applications, and the request IDs that come of them."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from typing import Any, get_args

import click

from enroll import identifiers, listings, store
from enroll.jst import shown
from enroll.operators import registers, taking
from enroll.operators.asking import Proposed
from enroll.operators.roles import Act, roles_with
from enroll.people.applications import OTHER, REASONS, REJECTIONS, Decision, Recorded, RevokeOld
from enroll.people.likeness import check_unlike
from enroll.people.register import Person
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal, check_line
from enroll.requests.enrollment import state_at
from enroll.requests.states import LABELS
from gateway.cli.asked import asked, proposed
from gateway.cli.caller import acting
from gateway.cli.frame import (
    ASKS,
    DOES,
    READS,
    Answer,
    answer,
    as_typed,
    deployment_command,
    detail,
    listing,
    plain,
)
from gateway.cli.output import Console
from gateway.cli.people import (
    DEPARTMENT,
    PRINCIPAL,
    USER_ID,
    known_user,
    of_user,
    person_options,
    request_record,
)
from gateway.cli.root import GROUPS
from gateway.serving.deployment import Deployment

_APPLICATION, _REQUEST = GROUPS["application"], GROUPS["request"]

_REVOKE_OLD = click.option(
    "--revoke-old",
    type=click.Choice(["on_pickup", "at_once", "never"]),
    default=None,
    help="When the user's other certificates end; default: at_once for lost_or_stolen, else on_pickup. "
    "never: this one is for a further PC, where the organisation's --lineages allows it.",
)
_REASON = click.option(
    "--reason",
    type=click.Choice(list(REASONS)),
    required=True,
    help="; ".join(f"{code}: {japanese}" for code, (japanese, _) in REASONS.items()),
)
_LIMIT = click.option("--limit", type=click.IntRange(1, 10_000_000), default=200, show_default=True)


@deployment_command(_APPLICATION, "list", Act.APPLICATIONS, READS)
@click.option("--all", "every", is_flag=True, help="Those decided, too.")
async def _list(deployment: Deployment, every: bool) -> Answer:
    """List the applications that wait for a decision."""
    found = listings.applications(deployment.ra.database, None if every else "submitted")
    columns = {
        "id": "No.",
        "kind": "Kind",
        "channel": "Channel",
        "policy_number": "Number",
        "user_id": "User ID",
        "name": "Name",
        "reason": "Reason",
        "state": "State",
        "submitted_at": "Submitted",
        "decided_at": "Decided",
    }
    table = listing("applications", (_application_record(deployment.ra, each) for each in found), columns)
    waiting = next(listings.applications(deployment.ra.database, "submitted"), None)

    def show(console: Console) -> None:
        table.show(console)
        if waiting is not None:
            console.print(plain(f"Look before you decide: sekisho application show {waiting.id}"))

    return Answer(table.value, show)


@deployment_command(_APPLICATION, "show", Act.APPLICATIONS, READS, noted=False)
@click.argument("number", type=int)
async def _show(deployment: Deployment, number: int) -> Answer:
    """Show an application: who is to get what, who asks for it, and what was decided."""
    found = deployment.ra.database.read_now(lambda db: store.application(db, number))
    if found is None:
        raise Refusal("not_found", field="application")
    await registers.note_applications(deployment.ra, acting(), [found])
    record = _application_record(deployment.ra, found)
    lines = [
        f"Decide: sekisho application approve {number}, or sekisho application reject {number} --note WHY"
    ]
    return detail("application", record, *(lines if found.state == "submitted" else []))


@deployment_command(_APPLICATION, "add", Act.TAKE_IN, DOES)
@person_options
async def _add(deployment: Deployment, alike: bool, **given: Any) -> Answer:
    """Take in what came on paper or by telephone: a further user. Somebody else decides it."""
    person, ra = Person(**given), deployment.ra
    try:
        if not alike:
            ra.database.read_now(lambda db: check_unlike(db, person))
    except Refusal as refusal:
        await registers.note_refusal(ra, acting(), refusal)
        raise
    return _taken_in(deployment, await taking.take_in_addition(ra, acting(), person))


@deployment_command(_APPLICATION, "reissue", Act.TAKE_IN, DOES)
@USER_ID
@_REASON
@click.option(
    "--revoke-old",
    type=click.Choice(get_args(RevokeOld)),
    default=None,
    help="When the user's other certificates end; default: at_once for lost_or_stolen, else on_pickup.",
)
async def _take_in_reissue(
    deployment: Deployment, user_id: str, reason: str, revoke_old: RevokeOld | None
) -> Answer:
    """Take in a reissue that came on paper or by telephone. Somebody else decides it.

    With --reason lost_or_stolen the user's certificates are suspended at once, until it is decided.
    """
    recorded = await taking.take_in_reissue(deployment.ra, acting(), user_id, reason, revoke_old)
    return _taken_in(deployment, recorded)


def _taken_in(deployment: Deployment, recorded: Recorded) -> Answer:
    ra, number = deployment.ra, recorded.number
    found = ra.database.read_now(lambda db: store.application(db, number))
    assert found is not None
    record = _application_record(ra, found) | {"already": recorded.already}
    who = " or ".join(roles_with(Act.APPLICATIONS, deciding=True))
    return detail(
        "application",
        record,
        *(["It was recorded before, and waits; nothing of it has changed."] if recorded.already else []),
        f"Nothing is issued yet: it waits for another {who}: sekisho application approve {number}",
    )


@deployment_command(_APPLICATION, "approve", Act.APPLICATIONS, ASKS)
@click.argument("number", type=int)
@_REVOKE_OLD
@DEPARTMENT
@PRINCIPAL
async def _approve(deployment: Deployment, number: int, revoke_old: Decision | None, **facts: str) -> Answer:
    """Complete an application: the request is opened and its mails are queued.

    --department and --principal are for an addition: the form does not ask for them.
    """
    payload = {"number": number, "revoke_old": revoke_old, "facts": facts}
    found = await asked(deployment, "application.approve", payload)
    return (
        proposed(found)
        if isinstance(found, Proposed)
        else detail("approved", found.result, "The mails are queued.")
    )


@deployment_command(_APPLICATION, "reject", Act.APPLICATIONS, ASKS)
@click.argument("number", type=int)
@click.option(
    "--reason",
    type=click.Choice(list(REJECTIONS)),
    default=OTHER,
    show_default=True,
    help="; ".join(f"{code}: {english}" for code, (_, english) in REJECTIONS.items()),
)
@click.option("--note", default="", help="What whoever applied is told; needed with --reason other.")
async def _reject(deployment: Deployment, number: int, reason: str, note: str) -> Answer:
    """Turn an application down."""
    check_line("note", note, needed=reason == OTHER)
    payload = {"number": number, "note": note, "rejection": reason}
    found = await asked(deployment, "application.reject", payload)
    if isinstance(found, Proposed):
        return proposed(found)
    told = {"application": number, "note": note, "reason": reason}
    return answer({"rejected": told}, f"Application {number} is rejected.")


@deployment_command(_REQUEST, "reissue", Act.APPLICATIONS, ASKS)
@USER_ID
@_REASON
@_REVOKE_OLD
async def _reissue(deployment: Deployment, user_id: str, reason: str, revoke_old: Decision | None) -> Answer:
    """Reissue on paper: a new request ID and issue password; older ones die at once."""
    payload = {"user_id": user_id, "reason": reason, "revoke_old": revoke_old}
    found = await asked(deployment, "request.reissue", payload)
    if isinstance(found, Proposed):
        return proposed(found)
    return detail("reissue", found.result, "The pick-up mail is queued; the login password stays as it is.")


@deployment_command(_REQUEST, "list", Act.SEARCH, READS)
@of_user()
@_LIMIT
async def _request_list(deployment: Deployment, user_id: str | None, limit: int) -> Answer:
    """List request IDs, newest first."""
    if user_id is not None:
        known_user(deployment.ra, user_id)
    found = islice(listings.requests(deployment.ra.database, user_id), limit)
    columns = {
        "request_id": "Request ID",
        "user_id": "User ID",
        "kind": "Kind",
        "state": "State",
        "common_name": "Common name",
        "created_at": "Opened",
        "not_after_at": "Valid until",
    }
    at = deployment.ra.now()
    return listing("requests", (request_record(each, at) for each in found), columns)


@deployment_command(_REQUEST, "show", Act.SEARCH, READS)
@click.argument("request_id", callback=as_typed(identifiers.typed))
async def _request_show(deployment: Deployment, request_id: str) -> Answer:
    """Show a request and its history."""
    found, history = deployment.ra.database.read_now(
        lambda db: (store.enrollment(db, request_id), store.audit_page(db, request_id, 1_000)[::-1])
    )
    if found is None:
        raise Refusal("not_found", field="request_id")
    at = deployment.ra.now()
    japanese, english = LABELS[state_at(found, at)]
    record = request_record(found, at) | {"label": japanese, "label_en": english, "history": history}
    lines = [f"{shown(each['at'])}  {each['action']} by {each['actor']}" for each in history]
    return detail("request", record, *lines)


def _application_record(ra: RegistrationAuthority, application: store.Application) -> dict[str, Any]:
    """An application with the name, address and role of its person, who may be recorded already."""
    person = dict(application.person)
    user_id = application.user_id
    recorded = ra.database.read_now(lambda db: store.user(db, user_id)) if user_id else None
    facts = person if person or recorded is None else asdict(recorded)
    told = {name: facts.get(name, "") for name in ("name", "mail", "role", "notice_by")}
    return asdict(application) | {"person": person, **told}
