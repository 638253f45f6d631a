"""How things look in the API: a function for each kind of resource. Members that end in ``_at`` are times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ca.certificates import to_pem
from ca.revocation import REASONS
from enroll.hooks.states import Delivery as DeliveryState
from enroll.hooks.store import Delivery
from enroll.hooks.viewing import Listed
from enroll.jobs.store import Job
from enroll.mail.states import state_of as letter_state
from enroll.operators.asking import state_at as proposal_state
from enroll.operators.kinds import KINDS
from enroll.operators.roles import roles_with
from enroll.operators.store import Proposal
from enroll.people.postal import FIELDS as POSTAL
from enroll.reports import Cause, Report
from enroll.requests.enrollment import Enrollment
from enroll.requests.enrollment import state_at as request_state
from enroll.store import Application, Organisation, User
from gateway.sites.api.calls import Record

#: What is shown of a request. No password, no key.
_REQUEST = (
    "request_id", "kind", "user_id", "common_name", "profile", "door", "serial", "downloads",
    "application_id", "replaces_serial", "created_at", "announced_at", "submitted_at", "issued_at",
    "picked_up_at", "used_at", "ended_at", "window_ends_at", "not_after_at",
)  # fmt: skip
_ORGANISATION = (
    "policy_number", "name", "created_at", "lineages", "issue_password_by", "disabled_at", "profile",
    "country", *POSTAL,
)  # fmt: skip
_APPLICATION = (
    "kind", "channel", "reason", "policy_number", "user_id", "revoke_old", "applied_by", "state",
    "submitted_at", "decided_at", "decided_by", "note", "request_id", "rejection", "erased_at",
)  # fmt: skip
_USER = (
    "user_id", "policy_number", "name", "reading", "mail", "role", "notice_by", "language", "department",
    "principal", "created_at", "disabled_at", *POSTAL,
)  # fmt: skip
_CERTIFICATE = (
    "serial", "state", "distrusted", "profile", "not_before_at", "not_after_at", "issued_at", "fingerprint",
    "held_at", "revoked_at",
)  # fmt: skip
_LETTER = (
    "kind", "channel", "user_id", "request_id", "recipient", "subject", "attempts", "created_at", "held_at",
    "sent_at", "result",
)  # fmt: skip
_PROPOSAL = (
    "number", "kind", "subject", "proposed_by", "reason", "made_at", "expires_at", "decided_by", "decided_at",
    "note", "done_at",
)  # fmt: skip
_ENDPOINT = ("name", "url", "why", "added_at", "added_by", "before_until_at")
_DELIVERY = (
    "number", "message", "event", "happened_at", "tries", "tried_at", "ended_at", "status", "result",
)  # fmt: skip
_JOB = (
    "number", "kind", "subject", "proposal", "proposed_by", "decided_by", "total", "done", "made_at",
    "begun_at", "ended_at", "ended_by", "problem",
)  # fmt: skip


def organisation(found: Organisation) -> Record:
    """An organisation."""
    return _picked(found, _ORGANISATION)


def user(found: User) -> Record:
    """A user: nothing of a password."""
    return _picked(found, _USER)


def request(found: Enrollment, at: int) -> Record:
    """A request, as it is at a moment."""
    record = _picked(found, _REQUEST) | {"state": str(request_state(found, at))}
    return record | {"key_held": found.sealed_key is not None}


def certificate(found: Mapping[str, Any]) -> Record:
    """A certificate; with its bytes where they were read."""
    reason = found["revocation_reason"]
    record = _timed({name: found[name] for name in _CERTIFICATE})
    record |= {"common_name": found["subject_cn"], "issuer": found["issuer_id"]}
    record |= {"revocation_reason": None if reason is None else REASONS[reason].name}
    der = found.get("der")
    return record if der is None else record | {"pem": to_pem(bytes(der)).decode()}


def application(found: Application) -> Record:
    """An application: who applied for what, and what was decided."""
    record = {"number": found.id, **_picked(found, _APPLICATION)}
    return record | {"person": dict(found.person) or None}


def letter(found: Mapping[str, Any]) -> Record:
    """A letter; with its text, secrets masked, where that was read."""
    record = _timed({name: found[name] for name in _LETTER})
    record |= {"number": found["id"], "state": str(letter_state(found))}
    return record | ({"body": found["shown_body"]} if "shown_body" in found else {})


def proposal(found: Proposal, at: int, *, whole: bool = False) -> Record:
    """A proposal; ``whole``: with what it would do, and what stood there."""
    record = _picked(found, _PROPOSAL) | {"state": str(proposal_state(found, at))}
    record |= {"deciders": [str(each) for each in roles_with(KINDS[found.kind].act, deciding=True)]}
    job = found.result.get("job")
    record |= {"job": job}
    return record | ({"payload": dict(found.payload), "before": dict(found.before)} if whole else {})


def job(found: Job, counts: Mapping[str, int] | None = None) -> Record:
    """A job; with how many rows ended in which way, where that was read."""
    record = _picked(found, _JOB) | {"state": str(found.state)}
    return record if counts is None else record | {"counts": dict(counts)}


def endpoint(found: Listed) -> Record:
    """An endpoint of webhooks, without its secret. How its deliveries are doing is not in it: its tag would
    be another one whenever something is told, and no change would ever be of what was read."""
    record = _picked(found.endpoint, _ENDPOINT) | {"events": list(found.endpoint.events)}
    return record | {"state": str(found.endpoint.state)}


def listed_endpoint(found: Listed) -> Record:
    """The same in a list, which has no tag: with how its deliveries are doing."""
    return {**endpoint(found), "counts": {str(state): count for state, count in found.counts.items()}}


def delivery(found: Delivery, names: Mapping[int, str], *, whole: bool = False) -> Record:
    """A delivery; ``whole``: with the body as it is sent. ``names``: of endpoints."""
    record = _picked(found, _DELIVERY) | {"state": str(found.state), "endpoint": names[found.endpoint]}
    record |= {"next_at": moment(found.next_at) if found.state is DeliveryState.WAITING else None}
    return record | ({"body": found.body} if whole else {})


def line(found: Mapping[str, Any]) -> Record:
    """A line of the audit trail."""
    names = ("at", "actor", "action", "subject", "why", "result", "hash")
    record = {name: found[name] for name in names} | {"number": found["id"]}
    return record | {"at": moment(found["at"]), "detail": found["detail"]}


def report(found: Report) -> Record:
    """A report: its columns, its rows, and the sum of each column."""
    asked = found.wanted
    rows = [
        {"site": row.of.site, "code": row.of.code, "values": list(row.values)}
        if isinstance(row.of, Cause)
        else {"first": str(row.of.first), "last": str(row.of.last), "values": list(row.values)}
        for row in found.rows
    ]
    record = {
        "name": found.name,
        "first": str(asked.first),
        "last": str(asked.last),
        "policy_number": asked.policy_number,
    }
    return record | {"columns": list(found.columns), "rows": rows, "totals": list(found.totals)}


def page(records: Sequence[Record], following: str = "", **more: Any) -> Record:
    """A part of a list. ``next``: the cursor of the part that follows, null at the end."""
    return {"items": list(records), "next": following or None, **more}


def moment(at: int | None) -> str | None:
    """Seconds since the epoch as RFC 3339 has them."""
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _picked(found: Any, names: Sequence[str]) -> dict[str, Any]:
    return _timed({name: getattr(found, name) for name in names})


def _timed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: moment(value) if name.endswith("_at") else value for name, value in values.items()}
