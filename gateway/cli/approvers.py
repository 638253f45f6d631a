"""What ``doctor`` says of operators: whether there are two who decide, whose certificate ends, and what an
auditor is to look at."""

from __future__ import annotations

from collections.abc import Mapping

from enroll.jst import shown, shown_day
from enroll.operators import store as operators
from enroll.operators import viewing
from enroll.operators.roles import Kind, Role
from gateway.serving.deployment import Deployment
from gateway.web.examined import Finding


def found(deployment: Deployment) -> list[Finding]:
    """O2: what takes two needs two; while one of them is away a third decides."""
    here = deployment.ra.database.read_now(operators.operators)
    if not here:
        hint = (
            "from the first on roles hold: sekisho operator add NAME --role ca-officer --account USER, and "
            "another with --role approver"
        )
        words = (
            "none: whoever owns this directory, and root, may do everything alone; fewer than two approvers"
        )
        return [Finding("operators", "notice", words, hint)]
    return [_approvers(here), *_endings(deployment), *_emergencies(deployment)]


def _approvers(here: list[operators.Operator]) -> Finding:
    people = [each for each in here if each.kind == "person"]
    approvers = [each.name for each in people if Role.APPROVER in each.roles]
    named = f"{len(here)}; approvers: {', '.join(approvers) or 'none'}"
    if len(approvers) < 2:
        hint = "while one is away nothing is decided: sekisho operator add NAME --role approver"
        return Finding("operators", "notice", f"{named}; fewer than two approvers", hint)
    return Finding("operators", "ok", named)


#: Of each kind: how another certificate is had.
_ANOTHER: Mapping[Kind, str] = {
    "person": "another one by a code, at the console's /enrol: sekisho operator code {name}",
    "service": "another one, before it stops: sekisho operator certificate {name} --out {name}.p12",
}


def _endings(deployment: Deployment) -> list[Finding]:
    at = deployment.ra.now()
    found = deployment.ra.database.read_now(lambda db: operators.endings(db, at + viewing.ENDING_SECONDS))
    return [
        Finding(
            "operator certificate",
            "bad" if end < at else "notice",
            f"the last of {each.name} ({each.kind}) {'has ended' if end < at else 'ends'} on {shown(end)}",
            _ANOTHER[each.kind].format(name=each.name),
        )
        for each, end in found
    ]


def _emergencies(deployment: Deployment) -> list[Finding]:
    at = deployment.ra.now()
    return [
        Finding(
            "emergency",
            "bad" if each.due_at <= at else "notice",
            f"{each.number}: {each.account} took {each.role} on {shown(each.opened_at)} ({each.reason})",
            f"an auditor looks at it by {shown_day(each.due_at - 1)}: sekisho operator review {each.number}",
        )
        for each in deployment.ra.database.read_now(operators.glasses)
    ]
