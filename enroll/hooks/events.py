"""What other systems are told of: which line of the record is which event, and the little that it says. Pure.

Whatever happens writes its line in its own transaction (`enroll/store.py`, `audit`), and lines are numbered
in the order of their commits: they are the outbox. What an event says is identifiers, no name, no address.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from enroll.acme.orders import rfc3339
from enroll.audit import Line
from enroll.operators.states import State as ProposalState
from enroll.requests.enrollment import Enrollment
from enroll.requests.states import State

#: The one that time brings about and no line tells of, and the one that an operator sends to try an endpoint.
EXPIRING, TEST = "certificate.expiring", "webhook.test"
#: A state that time alone computes is no event: `EXPIRING` comes before it.
_STATES = tuple(state for state in State if state is not State.EXPIRED)


@dataclass(frozen=True)
class Said:
    """What an event says of its line. ``subject``: what the line is about; ``facts``: details of the line,
    and what each is called."""

    event: str
    subject: str
    facts: Mapping[str, str] = field(default_factory=dict)


_CERTIFICATE = {"request_id": "request_id", "profile": "profile"}
_APPLICATION = {"kind": "kind", "user": "user_id", "request": "request_id"}
_PROPOSAL = {"kind": "kind"}
#: Action of a line -> what is told of it. What an enrollment became is `_moved`.
LINES: Mapping[str, Said] = MappingProxyType(
    {
        "request.opened": Said("request.accepted", "request_id", {"user": "user_id", "kind": "kind"}),
        "certificate.issued": Said("certificate.issued", "serial", _CERTIFICATE),
        "certificate.replayed": Said("certificate.issued", "serial", _CERTIFICATE),
        "certificate.revoked": Said("certificate.revoked", "serial", {"reason": "reason"}),
        "certificate.held": Said("certificate.held", "serial"),
        "certificate.released": Said("certificate.released", "serial"),
        "mail.bounced": Said("letter.bounced", "user_id", {"letter": "letter"}),
        "application.submitted": Said("application.submitted", "application", _APPLICATION),
        "application.hastened": Said("application.hastened", "application", _APPLICATION),
        "application.approved": Said("application.approved", "application", _APPLICATION),
        "application.rejected": Said("application.rejected", "application", {"reason": "rejection"}),
        "application.withdrawn": Said("application.withdrawn", "application", _APPLICATION),
        "proposal.made": Said("proposal.made", "proposal", _PROPOSAL),
        **{
            f"proposal.{state}": Said(f"proposal.{state}", "proposal", _PROPOSAL)
            for state in ProposalState
            if state is not ProposalState.PENDING
        },
    }
)
_MOVED = "enrollment."
#: Every type that an endpoint can ask for.
TYPES = tuple(
    sorted({*(f"request.{state}" for state in _STATES), *(said.event for said in LINES.values()), EXPIRING})
)
#: Numbers among the subjects.
_NUMBERS = ("application", "proposal")


@dataclass(frozen=True)
class Event:
    """Something that happened, as it is told. ``id`` is the same however often it is told."""

    id: str
    type: str
    at: int
    data: Mapping[str, Any]

    def text(self) -> str:
        """The body of each request that tells of it, letter by letter: signatures are made of that."""
        told = {"type": self.type, "timestamp": rfc3339(self.at), "data": self.data}
        return json.dumps(told, ensure_ascii=True, separators=(",", ":"))


def of_line(line: Line) -> Event | None:
    """What a line tells of; None for a line that is nobody's business elsewhere."""
    if line.result != "done":
        return None
    detail: Mapping[str, Any] = json.loads(line.detail or "{}")
    if line.action.startswith(_MOVED):
        return _moved(line, detail)
    told = LINES.get(line.action)
    if told is None:
        return None
    subject = int(line.subject) if told.subject in _NUMBERS else line.subject
    facts = {name: detail[key] for key, name in told.facts.items() if detail.get(key)}
    return Event(id_of(line.hash), told.event, line.at, {told.subject: subject, **facts})


def _moved(line: Line, detail: Mapping[str, Any]) -> Event | None:
    # Purged meanwhile, or an event that left it where it was (a second download).
    before, after = detail.get("before"), detail.get("after")
    if after is None or before == after:
        return None
    data = {"request_id": line.subject, "user_id": detail.get("user", "")}
    return Event(id_of(line.hash), f"request.{after}", line.at, data)


def expiring(ending: Enrollment, at: int) -> Event:
    """That a certificate ends soon, told once."""
    data = {
        "serial": ending.serial,
        "request_id": ending.request_id,
        "user_id": ending.user_id,
        "not_after": rfc3339(ending.not_after_at or 0),
    }
    return Event(id_of(f"{EXPIRING} {ending.serial}"), EXPIRING, at, data)


def trying(word: str, at: int) -> Event:
    """What an endpoint is tried with. ``word``: unlike any other's."""
    return Event(id_of(f"{TEST} {word}"), TEST, at, {})


def id_of(text: str) -> str:
    """A name for an event that says nothing about it. Of a line's hash: no other line has it, and a database
    that was put back from a copy tells of the same line by the same name."""
    return "msg_" + hashlib.sha256(text.encode()).hexdigest()[:32]


def wanted(patterns: Sequence[str], event: str) -> bool:
    """Whether an endpoint asked for events of a type; each wants to be tried."""
    return event == TEST or any(_matches(each, event) for each in patterns)


def known(pattern: str) -> bool:
    """Whether there is any type that a pattern means: one of `TYPES`, ``request.*``, or ``*``."""
    return any(_matches(pattern, event) for event in TYPES)


def _matches(pattern: str, event: str) -> bool:
    if pattern == "*":
        return True
    return event.startswith(pattern[:-1]) if pattern.endswith(".*") else event == pattern
