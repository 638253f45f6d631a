"""What was seen from outside while everything went wrong, and what has to be so of it at the end.

Each check is a function of the record and of the register's end; it finds nothing, or says what is broken.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

#: Seconds after which nobody gets in any more whose certificate was revoked.
GRACE = 2.0
#: Seconds before a second delivery in which a fault explains it: a letter is settled after the server took
#: it (`enroll.mail.delivery`: at least once, with the same Message-ID).
_UNSETTLED = 15.0


@dataclass(frozen=True)
class Entry:
    """Somebody got in: when the request began, by our clock."""

    serial: str
    begun: float


@dataclass(frozen=True)
class ListSeen:
    """A revocation list as a node handed it out."""

    node: str
    issuer: str
    number: int
    digest: str


@dataclass(frozen=True)
class Taken:
    """A letter that the mail server took."""

    at: float
    message_id: str
    recipient: str
    subject: str
    #: Of the whole text.
    digest: str


@dataclass(frozen=True)
class Fault:
    """What was done, from when until when, by our clock."""

    name: str
    begun: float
    ended: float
    words: str


@dataclass
class Record:
    """What the visitors saw. Moments are those of one monotonic clock."""

    #: Serial -> fingerprint, of certificates that somebody was given.
    issued: dict[str, str] = field(default_factory=dict)
    #: Serial -> when the answer came that it is revoked.
    revoked: dict[str, float] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    lists: list[ListSeen] = field(default_factory=list)
    letters: list[Taken] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    #: Good requests that got another answer than a good one or 503.
    refused: list[str] = field(default_factory=list)
    #: What was asked for and not had yet -> since when, and what came of it last.
    waiting: dict[str, tuple[float, str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    #: Serials that were given out more than once, with different certificates.
    twice: list[str] = field(default_factory=list)

    def give(self, serial: str, fingerprint: str) -> None:
        """A certificate that somebody has."""
        if self.issued.setdefault(serial, fingerprint) != fingerprint:
            self.twice.append(serial)


@dataclass(frozen=True)
class End:
    """How it stands when everything is well again."""

    #: (serial, fingerprint, status) of every certificate.
    certificates: Sequence[tuple[str, str | None, str]]
    #: Why the audit trail is not whole; "" where it is.
    audit: str
    #: Nodes that did not come back, with what they say.
    lost_nodes: Sequence[str] = ()


def _certificates(record: Record, end: End) -> list[str]:
    """Every certificate that was answered is there once, as it was given."""
    rows: dict[str, list[tuple[str | None, str]]] = defaultdict(list)
    for serial, fingerprint, status in end.certificates:
        rows[serial].append((fingerprint, status))
    found = [f"serial {each} was given to two" for each in record.twice]
    for serial, fingerprint in record.issued.items():
        there = rows.get(serial, [])
        if len(there) != 1:
            found.append(f"certificate {serial} was answered and is there {len(there)} times")
        elif there[0][0] != fingerprint:
            found.append(f"certificate {serial} is there as another one")
    begun = [serial for serial, each in rows.items() for _, status in each if status == "reserved"]
    return found + [f"certificate {each} was begun and never ended" for each in begun]


def _revoked(record: Record, end: End) -> list[str]:
    """What was revoked is so, and nobody got in by it later than two seconds after the answer."""
    status = {serial: each for serial, _, each in end.certificates}
    found = [
        f"certificate {each} was revoked, and is {status.get(each, 'not there')}"
        for each in record.revoked
        if status.get(each) != "revoked"
    ]
    late = [
        (each.serial, each.begun - record.revoked[each.serial])
        for each in record.entries
        if each.serial in record.revoked and each.begun > record.revoked[each.serial] + GRACE
    ]
    return found + [f"revoked {serial} got in {after:.1f} s after the answer" for serial, after in late]


def _lists(record: Record, end: End) -> list[str]:
    """No number stands for two lists, and none goes back at a node."""
    found, digests, last = list[str](), dict[tuple[str, int], str](), dict[tuple[str, str], int]()
    for each in record.lists:
        if digests.setdefault((each.issuer, each.number), each.digest) != each.digest:
            found.append(f"revocation list {each.number} of {each.issuer} is two lists")
        before = last.get((each.node, each.issuer), -1)
        if each.number < before:
            found.append(f"{each.node} gave list {each.number} of {each.issuer} after {before}")
        last[each.node, each.issuer] = each.number
    return found


def _letters(record: Record, end: End) -> list[str]:
    """No letter is written twice, and none is delivered twice but for a fault right before."""
    found, written, times = (
        list[str](),
        dict[tuple[str, str, str], str](),
        defaultdict[str, list[float]](list),
    )
    for each in record.letters:
        same = (each.recipient, each.subject, each.digest)
        if written.setdefault(same, each.message_id) != each.message_id:
            found.append(f"“{each.subject}” to {each.recipient} was written twice")
        times[each.message_id].append(each.at)
    for message, moments in times.items():
        for _, again in pairwise(moments):
            if not any(each.begun <= again and again - _UNSETTLED <= each.ended for each in record.faults):
                found.append(f"letter {message} was delivered twice, without a fault before")
    return found


def _requests(record: Record, end: End) -> list[str]:
    """Every good request was answered, or refused with 503 and answered when it was repeated."""
    return record.refused + [
        f"{what}: asked for again and again, and not had ({last})"
        for what, (_, last) in record.waiting.items()
    ]


def _audit(record: Record, end: End) -> list[str]:
    """The chain of the audit trail is whole."""
    return [f"the audit trail: {end.audit}"] if end.audit else []


def _nodes(record: Record, end: End) -> list[str]:
    """Everybody serves again when nothing is wrong any more."""
    return [f"did not come back: {each}" for each in end.lost_nodes]


#: Name -> check.
CHECKS: Mapping[str, Callable[[Record, End], list[str]]] = {
    "certificates": _certificates,
    "revoked": _revoked,
    "lists": _lists,
    "letters": _letters,
    "requests": _requests,
    "audit": _audit,
    "nodes": _nodes,
}


def findings(record: Record, end: End) -> list[tuple[str, str]]:
    """(check, words) of everything that is broken."""
    return [(name, words) for name, check in CHECKS.items() for words in check(record, end)]
