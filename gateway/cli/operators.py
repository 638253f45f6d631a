"""Operators and their proposals: who works here, and what takes two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from enroll import identifiers
from enroll.jst import shown
from enroll.languages import LANGUAGES
from enroll.operators import asking, credentials, emergency, operating, registers, store
from enroll.operators.asking import Done, Proposed, state_at
from enroll.operators.kinds import KINDS
from enroll.operators.roles import Act, Role, roles_with
from enroll.operators.store import Glass, Operator, Proposal
from enroll.refusals import Refusal
from gateway.cli.asked import afterwards, asked, proposed
from gateway.cli.caller import OutputFile, acting, write
from gateway.cli.frame import (
    ASKS,
    DOES,
    READS,
    Answer,
    answer,
    deployment_command,
    detail,
    listing,
    passphrase_command,
)
from gateway.cli.jobs import after
from gateway.cli.output import Console
from gateway.cli.root import GROUPS
from gateway.serving.deployment import Deployment

_OPERATOR, _PROPOSAL = GROUPS["operator"], GROUPS["proposal"]
_NAME = click.argument("name")
# Of a long list in a proposal.
_SHOWN = 5
_NUMBER = click.argument("number", type=int)
_ROLES = click.Choice(list(map(str, Role)))
_ACCOUNT = "Account of this machine whose commands are this operator's."
_NETWORK = "Of a service: a network that it may come from, such as 192.0.2.0/24; more than one if need be."
_networks = click.option("--from", "networks", multiple=True, metavar="NETWORK", help=_NETWORK)
_MAIL = "Where codes go, and what an auditor is told."
_UNTOLD = "no auditor has an email address, so tell one yourself"


@deployment_command(_OPERATOR, "add", Act.OPERATORS, ASKS)
@_NAME
@click.option("--role", "roles", type=_ROLES, multiple=True, required=True)
@click.option("--display", default="", help="As people read it; default: the name.")
@click.option("--account", default="", metavar="USER", help=_ACCOUNT)
@click.option("--mail", default="", help=_MAIL)
@click.option("--language", type=click.Choice(LANGUAGES), default="ja", show_default=True)
@click.option("--service", is_flag=True, help="A system, and no person: it may propose, never decide.")
@_networks
async def _add(
    deployment: Deployment,
    name: str,
    roles: tuple[str, ...],
    display: str,
    service: bool,
    networks: tuple[str, ...],
    **more: str,
) -> Answer:
    """Add an operator, and give a code for the first login (24 hours, once).

    The first ones are added by whoever has this machine, who is shown their codes; as soon as two of them can
    add others, every further one takes two people, and the code goes to the operator alone.
    """
    kind = "service" if service else "person"
    payload: dict[str, Any] = {"name": name, "display": display or name, "roles": list(roles), "kind": kind}
    payload |= {"networks": list(networks), **more}
    return _told(deployment, await asked(deployment, "operator.add", payload), f"{name} is added.")


@deployment_command(_OPERATOR, "list", Act.OPERATORS, READS)
@click.option("--all", "every", is_flag=True, help="Those who have ended, too.")
async def _list(deployment: Deployment, every: bool) -> Answer:
    """List the operators."""
    found = deployment.ra.database.read_now(lambda db: store.operators(db, ended=every))
    columns = {
        "name": "Name", "display": "Called", "kind": "Kind", "role": "Roles", "account": "Account",
        "mail": "Mail", "added_at": "Since", "ended_at": "Ended",
    }  # fmt: skip
    return listing("operators", map(_record, found), columns)


@deployment_command(_OPERATOR, "show", Act.OPERATORS, READS)
@_NAME
async def _show(deployment: Deployment, name: str) -> Answer:
    """Show an operator: roles, certificates, passkeys."""
    at = deployment.ra.now()

    def read(db: Any) -> tuple[Operator | None, list[str], list[str], int | None]:
        found = store.named(db, name)
        number = found.number if found is not None else 0
        keys = [each.label for each in store.passkeys(db, number)]
        return found, store.certificates(db, number), keys, store.open_code(db, number, at)

    found, serials, keys, code = deployment.ra.database.read_now(read)
    if found is None:
        raise Refusal("not_found", field="operator")
    record = _record(found) | {"certificates": serials, "passkeys": keys, "code_ends_at": code}
    lines = [f"certificate {each}" for each in serials] + [f"passkey {each}" for each in keys]
    return detail("operator", record, *lines)


@deployment_command(_OPERATOR, "change", Act.OPERATORS, ASKS)
@_NAME
@click.option("--role", "roles", type=_ROLES, multiple=True, help="All that the operator is to have.")
@click.option("--display", default=None)
@click.option("--account", default=None, metavar="USER", help=f"{_ACCOUNT} '' for none.")
@click.option("--mail", default=None, help=_MAIL)
@click.option("--language", type=click.Choice(LANGUAGES), default=None)
@_networks
async def _change(
    deployment: Deployment, name: str, roles: tuple[str, ...], networks: tuple[str, ...], **given: str | None
) -> Answer:
    """Change what an operator is; it takes two people."""
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    changes |= {"roles": list(roles)} if roles else {}
    changes |= {"networks": list(networks)} if networks else {}
    if not changes:
        raise click.UsageError("say what changes, with at least one option")
    found = await asked(deployment, "operator.change", {"name": name, "changes": changes})
    return _told(deployment, found, f"{name} is changed.")


@deployment_command(_OPERATOR, "end", Act.OPERATORS, ASKS)
@_NAME
async def _end(deployment: Deployment, name: str) -> Answer:
    """End an operator, with every code, certificate and passkey; it takes two people."""
    return _told(deployment, await asked(deployment, "operator.end", {"name": name}), f"{name} has ended.")


@deployment_command(_OPERATOR, "certificate", Act.OPERATORS, READS)
@_NAME
@click.option("--out", "file", type=OutputFile(), required=True, metavar="FILE.p12", help="Where it goes.")
async def _certificate(deployment: Deployment, name: str, file: Path) -> Answer:
    """Make a certificate for an operator, for the console: a file with its key, and the password, shown once.

    Whoever has a code needs none of it: the console's /enrol gives one by the code. This is for a further PC.
    Alone it opens nothing: at /enrol the operator's code makes a passkey. Earlier ones stay good;
    a lost one ends by: sekisho cert revoke SERIAL
    """
    ra, password = deployment.ra, identifiers.new_issue_password()
    issued = await credentials.issue(ra, acting(), name, password)

    async def undo() -> str:
        await credentials.withdraw(ra, acting(), issued.serial, "cessationOfOperation")
        return f"The certificate is revoked; to where there is room: sekisho operator certificate {name}"

    try:
        write(file, issued.p12)
    except OSError:
        await undo()
        raise
    told = {
        "name": name,
        "serial": issued.serial,
        "not_after_at": issued.not_after_at,
        "file": str(file),
        "password": password,
    }
    line = "The password is not shown again. Give file and password to the operator by two ways."
    return replace(detail("certificate", told, line), undo=undo)


@deployment_command(_OPERATOR, "code", Act.OPERATORS, ASKS)
@_NAME
async def _code(deployment: Deployment, name: str) -> Answer:
    """Give an operator another code, by mail; the one before ends. It takes two people."""
    found = await asked(deployment, "operator.code", {"name": name})
    return _told(deployment, found, f"The code of {name} is renewed.")


@passphrase_command(_OPERATOR, "break-glass")
@click.option("--role", type=_ROLES, required=True, help="The one that you have for an hour, and no other.")
@click.option("--reason", required=True, help="Why; auditors are told.")
async def _break_glass(deployment: Deployment, role: str, reason: str) -> Answer:
    """Take one role for an hour, in an emergency, by the passphrase.

    Every auditor is told by mail, the trail marks all that is done, and an auditor looks at it by the end of
    the next business day. What takes two people still does.
    """
    glass, letters = await emergency.take(deployment.ra, acting(), Role(role), reason)
    told = f"letters that tell the auditors: {letters}" if letters else _UNTOLD
    return detail(
        "break_glass",
        _glass(glass) | {"letters": letters},
        f"Commands of {glass.account} are those of {role} until {shown(glass.ends_at)}; {told}.",
    )


@deployment_command(_OPERATOR, "review", Act.AUDIT, DOES)
@_NUMBER
@click.option("--note", required=True, help="What you have found.")
async def _review(deployment: Deployment, number: int, note: str) -> Answer:
    """Say that you have looked at what was done in an emergency; the role ends with it."""
    glass = await emergency.review(deployment.ra, acting(), number, note)
    return detail("reviewed", _glass(glass) | {"note": note})


@deployment_command(_PROPOSAL, "list", Act.STANDING, READS)
@click.option("--all", "every", is_flag=True, help="Those decided, too.")
@click.option("--mine", is_flag=True, help="Only those that wait for you.")
async def _proposals(deployment: Deployment, every: bool, mine: bool) -> Answer:
    """List what waits for a decision, of what your role may look at."""
    at, who = deployment.ra.now(), acting()
    seen = deployment.ra.database.read_now(lambda db: asking.listed(db, who, at, every=every))
    if mine:
        database = deployment.ra.database
        seen = database.read_now(lambda db: [each for each in seen if asking.may_decide(db, who, each, at)])
    await registers.note_proposals(deployment.ra, who, seen)
    columns = {
        "number": "No.", "kind": "Kind", "subject": "About", "proposed_by": "By", "state": "State",
        "made_at": "Made", "expires_at": "Until", "decided_by": "Decided by",
    }  # fmt: skip
    return listing("proposals", [_proposal_record(each, at) for each in seen], columns)


@deployment_command(_PROPOSAL, "show", Act.STANDING, READS)
@_NUMBER
async def _proposal_show(deployment: Deployment, number: int) -> Answer:
    """Show a proposal: what is to be done, what stood there, who may decide it."""
    found = _known(deployment, number)
    at = deployment.ra.now()
    record = _proposal_record(found, at)
    record |= {"payload": dict(found.payload), "before": dict(found.before), "result": dict(found.result)}
    record |= {"deciders": list(roles_with(KINDS[found.kind].act, deciding=True))}
    await registers.note_proposals(deployment.ra, acting(), [found], [*registers.people_in(record)])
    lines = [f"to do   {name}: {_short(value)}" for name, value in found.payload.items()]
    lines += [f"before  {name}: {value}" for name, value in found.before.items() if value not in ("", None)]
    if deployment.ra.database.read_now(lambda db: asking.may_decide(db, acting(), found, at)):
        lines.append(
            f"Decide: sekisho proposal approve {number}, or sekisho proposal reject {number} --note WHY"
        )
    return detail("proposal", record, *lines)


@deployment_command(_PROPOSAL, "approve", Act.STANDING, READS)
@_NUMBER
@click.option("--note", default="")
async def _approve(deployment: Deployment, number: int, note: str) -> Answer:
    """Carry out what somebody else has proposed."""
    found = _known(deployment, number)
    done = await asking.approve(deployment.ra, acting(), number, note=note)
    if KINDS[found.kind].job:
        told = {"number": number, "kind": found.kind, "subject": found.subject, "result": dict(done.result)}
        return _both(detail("approved", told), await after(deployment, done.result["job"]))
    more = await afterwards(deployment, found.kind, found.payload, done.result)
    lines = []
    if KINDS[found.kind].told_once:
        lines = [f"{found.proposed_by} may do it now: by typing the same again, once."]
    told = {"number": number, "kind": found.kind, "subject": found.subject, **more}
    return detail("approved", told | {"result": dict(done.result)}, *lines)


@deployment_command(_PROPOSAL, "reject", Act.STANDING, READS)
@_NUMBER
@click.option("--note", required=True, help="Why; it is kept with the proposal.")
async def _reject(deployment: Deployment, number: int, note: str) -> Answer:
    """Turn down what somebody else has proposed."""
    _known(deployment, number)
    await asking.reject(deployment.ra, acting(), number, note=note)
    return answer({"rejected": {"proposal": number, "note": note}}, f"Proposal {number} is rejected.")


@deployment_command(_PROPOSAL, "withdraw", Act.STANDING, READS)
@_NUMBER
async def _withdraw(deployment: Deployment, number: int) -> Answer:
    """Take back what you have proposed."""
    _known(deployment, number)
    await asking.withdraw(deployment.ra, acting(), number)
    return answer({"withdrawn": {"proposal": number}}, f"Proposal {number} is withdrawn.")


def _both(first: Answer, then: Answer) -> Answer:
    def show(console: Console) -> None:
        first.show(console)
        then.show(console)

    return Answer({**first.value, **then.value}, show, then.failed)


def _short(value: Any) -> str:
    """Of an import: the first rows; all of them are in --json."""
    if not isinstance(value, list) or len(value) <= _SHOWN:
        return str(value)
    first = "; ".join(str(each) for each in value[:_SHOWN])
    return f"{first}; and {len(value) - _SHOWN} more (--json)"


def _known(deployment: Deployment, number: int) -> Proposal:
    """A proposal that whoever types may look at; for anybody else there is none."""
    return deployment.ra.database.read_now(lambda db: asking.seen(db, acting(), number))


def _glass(glass: Glass) -> dict[str, Any]:
    return {**asdict(glass), "role": str(glass.role)}


def _told(deployment: Deployment, found: Done | Proposed, line: str) -> Answer:
    if isinstance(found, Proposed):
        return proposed(found)
    record = _with_role(dict(found.result["operator"]))
    code = found.result.get("code")
    if code is None:
        return detail("operator", record, line)
    once = "The code is shown now and never again; it is good once, for 24 hours."
    console = deployment.ra.settings.console_url
    where = [f"With it the operator gets a certificate, then a passkey: {console}enrol"] if console else []
    return detail("operator", record | {"code": code}, line, once, *where)


def _record(operator: Operator) -> dict[str, Any]:
    return _with_role(operating.record(operator))


def _with_role(record: dict[str, Any]) -> dict[str, Any]:
    return record | {"role": ", ".join(record["roles"])}


def _proposal_record(found: Proposal, at: int) -> dict[str, Any]:
    names = (
        "number", "kind", "subject", "proposed_by", "reason", "made_at", "expires_at", "decided_by",
        "decided_at", "note", "done_at",
    )  # fmt: skip
    values: Mapping[str, Any] = {name: getattr(found, name) for name in names}
    return {**values, "state": str(state_at(found, at))}
