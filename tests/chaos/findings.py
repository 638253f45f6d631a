"""What was seen from outside while everything went wrong, and what has to be so of it at the end.

Each check is a function of the record and of the register's end; it finds nothing, or says what is broken.
What it had to look at is counted: a check that saw nothing has no verdict, and that is a finding, too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

#: Seconds after which nobody gets in any more whose certificate was revoked: for so long a node believes what
#: it has heard (`ca.postgresql.database.AWAY`), by the clock of the machine, which is ours. So this rests on
#: no quiet machine, however late we or the node are.
GRACE = 2.0


@dataclass(frozen=True)
class Try:
    """Somebody who was, or will be, revoked asked to be let in: when that began, by our clock, and the status
    of the answer."""

    serial: str
    begun: float
    status: int


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
    tries: list[Try] = field(default_factory=list)
    lists: list[ListSeen] = field(default_factory=list)
    letters: list[Taken] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    #: How many good requests were answered as they should be.
    answered: int = 0
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
    #: Lines of it.
    lines: int
    #: Node -> what it says that keeps it from serving; "" where it serves.
    nodes: Mapping[str, str]
    #: Node -> the serials that its lists tell of.
    listed: Mapping[str, Collection[str]]


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


def _late(record: Record) -> list[Try]:
    """What the revoked have tried when nobody may have believed them any more."""
    return [
        each
        for each in record.tries
        if each.serial in record.revoked and each.begun > record.revoked[each.serial] + GRACE
    ]


def _revoked(record: Record, end: End) -> list[str]:
    """What was revoked is so, and nobody got in by it later than two seconds after the answer."""
    status = {serial: each for serial, _, each in end.certificates}
    found = [
        f"certificate {each} was revoked, and is {status.get(each, 'not there')}"
        for each in record.revoked
        if status.get(each) != "revoked"
    ]
    return found + [
        f"revoked {each.serial} got in {each.begun - record.revoked[each.serial]:.1f} s after the answer"
        for each in _late(record)
        if each.status == 200
    ]


def _lists(record: Record, end: End) -> list[str]:
    """No number stands for two lists, none goes back at a node, and at the end each tells of all."""
    found, digests, last = list[str](), dict[tuple[str, int], str](), dict[tuple[str, str], int]()
    for each in record.lists:
        if digests.setdefault((each.issuer, each.number), each.digest) != each.digest:
            found.append(f"revocation list {each.number} of {each.issuer} is two lists")
        before = last.get((each.node, each.issuer), -1)
        if each.number < before:
            found.append(f"{each.node} gave list {each.number} of {each.issuer} after {before}")
        last[each.node, each.issuer] = each.number
    for node, serials in end.listed.items():
        if untold := record.revoked.keys() - set(serials):
            found.append(f"the lists of {node} do not tell of {len(untold)} that were revoked")
    return found


def _letters(record: Record, end: End) -> list[str]:
    """No letter is written twice, and none is delivered twice: one that may have left is given up."""
    found, written = list[str](), dict[tuple[str, str, str], str]()
    times = Counter(each.message_id for each in record.letters)
    for each in record.letters:
        same = (each.recipient, each.subject, each.digest)
        if written.setdefault(same, each.message_id) != each.message_id:
            found.append(f"“{each.subject}” to {each.recipient} was written twice")
    found += [f"letter {each} was delivered {count} times" for each, count in times.items() if count > 1]
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
    return [f"did not come back: {name}: {said}" for name, said in end.nodes.items() if said]


@dataclass(frozen=True)
class Check:
    """``find``: what is broken; ``count``: of how many things it can say that, and what they are."""

    find: Callable[[Record, End], list[str]]
    count: Callable[[Record, End], int]
    things: str


#: Name -> check.
CHECKS: Mapping[str, Check] = {
    "certificates": Check(_certificates, lambda record, _: len(record.issued), "certificates given"),
    "revoked": Check(
        _revoked,
        # One whose node cannot ask anybody is turned away, whoever he is: that says nothing.
        lambda record, _: sum(each.status not in (0, 503) for each in _late(record)),
        "answers to the revoked after two seconds",
    ),
    "lists": Check(
        _lists, lambda record, _: len({(each.issuer, each.number) for each in record.lists}), "lists seen"
    ),
    "letters": Check(_letters, lambda record, _: len(record.letters), "letters taken"),
    "requests": Check(_requests, lambda record, _: record.answered, "requests answered"),
    "audit": Check(_audit, lambda _, end: end.lines, "lines"),
    "nodes": Check(_nodes, lambda record, end: len(record.faults) and len(end.nodes), "nodes after faults"),
}


def findings(record: Record, end: End) -> list[tuple[str, str]]:
    """(check, words) of everything that is broken, and of every check that has seen nothing."""
    found = [(name, words) for name, check in CHECKS.items() for words in check.find(record, end)]
    return found + [
        (name, f"no verdict: there were no {check.things}")
        for name, check in CHECKS.items()
        if not check.count(record, end)
    ]
