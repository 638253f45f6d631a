"""The generations of issuing CAs at work: which one issues now, and what operators and time do to them.

`ca.generations.states` says what may follow what; here it is written down, with a line in the audit trail for
each change. What is planned comes by the clock, unless that is in doubt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from cryptography import x509

import ca.store
from ca.authority import Issuer
from ca.errors import ConfigError
from ca.generations import store as written
from ca.generations.endings import Warned, endings
from ca.generations.states import Event, Generations, Row, State, follow, generations
from ca.profiles import CRL_LIFETIME, ISSUING, Audience
from ca.storage import StorageTrouble, Transaction
from enroll import store, timekeeping
from enroll.mail import occasions, writing
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal

_ACTOR = "scheduler"
# Which one issues is said by the rows of all: whoever changes one is alone with them.
_TURNS = "generations"
#: Those whose certificates people may have, and come in with.
IN_HANDS = frozenset({State.ISSUING, State.EARLIER, State.RETURNING, State.RETIRED})
#: Those whose certificates are let in, or will be: what networks have to know beforehand.
TRUSTED = IN_HANDS | {State.STAGED, State.PLANNED}
# Whose end somebody has to see to: of a retired one nobody has to.
_WARNED = frozenset({State.STAGED, State.PLANNED, State.ISSUING, State.EARLIER, State.RETURNING})
#: Event -> the act in the audit trail.
ACTS = {
    Event.PLAN: "ca.planned",
    Event.WITHDRAW: "ca.withdrawn",
    Event.BEGIN: "ca.activated",
    Event.RETIRE: "ca.retired",
    Event.END: "ca.over",
    Event.DISTRUST: "ca.distrusted",
    Event.TRUST: "ca.trusted",
    Event.DISCARD: "ca.discarded",
}


def at_now(db: Transaction, ra: RegistrationAuthority) -> Generations:
    """All of them as they are now. A planned moment does not come while the clock is in doubt."""
    return _at(db, ra, written.rows(db))


def _at(db: Transaction, ra: RegistrationAuthority, rows: dict[str, Row]) -> Generations:
    now, ids = ra.now(), [each.issuer_id for each in ra.authority.issuers]
    due = any(row.planned_at is not None and row.planned_at <= now for row in rows.values())
    if due and timekeeping.doubt_now(ra, db) is not None:
        planned = [row.planned_at for row in rows.values() if row.planned_at is not None]
        now = min(now, min(planned) - 1)
    return generations(ids, rows, now, ra.authority.audiences())


def issuing(db: Transaction, ra: RegistrationAuthority, audience: Audience = Audience.CLIENTS) -> Issuer:
    """The one that issues, for whoever reserves a certificate in this transaction. Refusal("issuing_later")
    if an operator has to say first who does."""
    found = at_now(db, ra).issuers.get(audience)
    if found is None:
        raise Refusal("issuing_later", detail="no issuing CA is active: sekisho ca activate NAME --at now")
    issuer = ra.authority.issuer(found)
    if issuer.not_after_at <= ra.now():
        detail = f"{issuer.common_name} has ended: sekisho ca add NAME, sekisho ca activate NAME --at now"
        raise Refusal("issuing_later", detail=detail)
    return issuer


def is_distrusted(db: Transaction, serial: str) -> bool:
    """Whether a certificate's issuing CA is trusted no more."""
    distrusted = {each.issuer_id for each in written.rows(db).values() if each.distrusted_at is not None}
    record = ca.store.find_by_serial(db, serial) if distrusted else None
    return record is not None and record.issuer_id in distrusted


def distrusted(db: Transaction) -> frozenset[str]:
    """The IDs of those that are trusted no more, until they are over. A handful of rows."""
    found = written.rows(db).values()
    return frozenset(
        each.issuer_id for each in found if each.distrusted_at is not None and each.over_at is None
    )


def trusted_of(db: Transaction, listed: Iterable[Issuer]) -> list[Issuer]:
    """Those of some that are trusted here: what a root's list names must not be."""
    rows = written.rows(db)
    gone = {name for name, row in rows.items() if row.distrusted_at is not None or row.over_at is not None}
    return [each for each in listed if each.issuer_id not in gone]


class Chooser:
    """`ca.authority.Authority.choose` by the register, which is read again only once something was
    written."""

    def __init__(self, ra: RegistrationAuthority) -> None:
        self._ra = ra
        self._number: int | None = None
        self._rows: dict[str, Row] = {}
        self._found: Generations | None = None

    def __call__(self, issuers: tuple[Issuer, ...]) -> Issuer:
        latest = self.last().latest
        return next(each for each in issuers if each.issuer_id == latest)

    def last(self) -> Generations:
        """All of them as they are now; in an event loop that would have to wait for that, as they were when
        it was asked last (`ready`), and while the database is out of reach, as it told of them last."""
        if self._found is not None and self._ra.database.holds_up():
            return self._by_the_clock(self._found)
        try:
            return self.generations()
        except StorageTrouble:
            if self._found is None:
                raise
            return self._found

    def generations(self) -> Generations:
        """All of them as they are now; blocks for a look-up where something was written."""
        number = self._ra.database.changed()
        if self._found is None or self._is_new(number):
            return self._take(number, self._ra.database.read_now(self._read))
        return self._by_the_clock(self._found)

    async def ready(self) -> None:
        """Looks at what was written, so that whoever tells of it in this loop need not. While the database is
        out of reach they are what they were."""
        number = self._ra.database.changed()
        if self._found is None or self._is_new(number):
            with suppress(StorageTrouble):
                self._take(number, await self._ra.database.read(self._read))

    def _is_new(self, number: int) -> bool:
        return number != self._number or self._is_due()

    def _is_due(self) -> bool:
        """Whether a planned moment has come by the clock, of which the database says whether it counts."""
        now = self._ra.now()
        return any(row.planned_at is not None and row.planned_at <= now for row in self._rows.values())

    def _read(self, db: Transaction) -> tuple[dict[str, Row], Generations]:
        rows = written.rows(db)
        return rows, _at(db, self._ra, rows)

    def _take(self, number: int, found: tuple[dict[str, Row], Generations]) -> Generations:
        self._number, (self._rows, self._found) = number, found
        return self._found

    def _by_the_clock(self, found: Generations) -> Generations:
        if self._is_due():
            return found
        audiences = self._ra.authority.audiences()
        return generations(list(audiences), self._rows, self._ra.now(), audiences)


async def ready(ra: RegistrationAuthority) -> None:
    """For whoever is going to `look` in an event loop."""
    if isinstance(ra.authority.choose, Chooser):
        await ra.authority.choose.ready()


def look(ra: RegistrationAuthority) -> Generations:
    """All of them as they are now, for whoever only tells of them; blocks for a look-up at the most. While
    the database is out of reach, those that were known last: help is read then more than ever."""
    choose = ra.authority.choose
    if isinstance(choose, Chooser):
        return choose.last()
    return ra.database.read_now(partial(at_now, ra=ra))


def told(ra: RegistrationAuthority) -> Issuer:
    """The one that issues to clients, for whoever only tells of it."""
    return ra.authority.issuer(look(ra).latest)


def issuers(
    ra: RegistrationAuthority, states: frozenset[State], audience: Audience = Audience.CLIENTS
) -> tuple[Issuer, ...]:
    """Those for an audience that are in one of these states now: the one that issues, then the others, the
    newest first."""
    found = look(ra)
    named = [each for each in ra.authority.of(audience) if found.state(each.issuer_id) in states]
    return tuple(sorted(named, key=lambda each: not found.issues(each.issuer_id)))


@dataclass(frozen=True)
class Period:
    """From when to when one issues; None: not yet, or without an end."""

    from_at: int | None
    until_at: int | None
    #: The moment that is planned, where one is.
    planned_at: int | None


def period(ra: RegistrationAuthority, found: Generations, issuer: Issuer) -> Period:
    """When one issues, or did, by its row and those of the others of its audience."""
    row, state, audiences = (
        found.rows[issuer.issuer_id],
        found.state(issuer.issuer_id),
        ra.authority.audiences(),
    )
    planned = row.planned_at if state in (State.PLANNED, State.RETURNING) else None
    # Of the first there is no moment but that of its making.
    begun = row.begun_at(found.at) if planned is None else planned
    if begun is None:
        return Period(None, None, planned)
    made_at = int(issuer.certificate.not_valid_before_utc.timestamp()) + ISSUING.backdate
    followed = [
        since
        for each in found.rows.values()
        if audiences[each.issuer_id] is issuer.audience
        and each is not row
        and (since := each.begun_at(2**62)) is not None
        and since > begun
    ]
    return Period(max(begun, made_at), min(followed, default=None), planned)


def named(ra: RegistrationAuthority, name: str) -> Issuer:
    """The issuing CA that an operator names, by its name or ID. ``ConfigError`` for none."""
    for issuer in ra.authority.issuers:
        if name in (issuer.common_name, issuer.issuer_id):
            return issuer
    raise ConfigError(f"there is no issuing CA {name}; see: sekisho ca list")


async def change(
    ra: RegistrationAuthority, issuer: Issuer, event: Event, at: int, *, actor: str, reason: str = ""
) -> State:
    """Does to one what an operator wants, in one transaction; returns what it is then.

    ``at``: the moment of it; of Event.PLAN the moment that is planned, which may be now. ``ConfigError`` says
    why not.
    """

    def work(db: Transaction) -> State:
        ca.store.take_turns(db, _TURNS)
        found = at_now(db, ra)
        _settle(db, ra, found, actor)
        found = at_now(db, ra)
        before = found.rows[issuer.issuer_id]
        after = follow(found, issuer.issuer_id, issuer.common_name, event, at, reason)
        facts = {"name": issuer.common_name, "moment": at} | ({"reason": reason} if reason else {})
        _write(db, ra, before, after, event, actor, facts)
        found = at_now(db, ra)
        _settle(db, ra, found, actor)
        return found.state(issuer.issuer_id)

    return await ra.database.write(work)


async def begin_due(ra: RegistrationAuthority) -> None:
    """Writes down which ones have begun to issue. Nothing depends on when."""

    def work(db: Transaction) -> None:
        ca.store.take_turns(db, _TURNS)
        _settle(db, ra, at_now(db, ra), _ACTOR)

    if await ra.database.read(lambda db: bool(_begun(at_now(db, ra)))):
        await ra.database.write(work)


async def end_due(ra: RegistrationAuthority) -> list[str]:
    """Writes down which ones are over; returns their names. Reads the whole register where one is retired."""
    now = ra.now()

    def work(db: Transaction) -> list[str]:
        if timekeeping.doubt_now(ra, db) is not None:
            return []
        ca.store.take_turns(db, _TURNS)
        found, names = at_now(db, ra), []
        for row in _ended(db, found, now):
            names.append(ra.authority.issuer(row.issuer_id).common_name)
            after = follow(found, row.issuer_id, names[-1], Event.END, now)
            _write(db, ra, row, after, Event.END, _ACTOR, {"name": names[-1]})
        return names

    if await ra.database.read_aside(lambda db: _ended(db, at_now(db, ra), now)):
        return await ra.database.write(work)
    return []


async def warn_of_ends(ra: RegistrationAuthority, root: x509.Certificate) -> list[str]:
    """Tells operators, once for each step, that a CA ends: an audit line and a mail; returns the words for
    the log."""
    at = ra.now()

    def work(db: Transaction) -> list[str]:
        if timekeeping.doubt_now(ra, db) is not None:
            return []
        told = []
        for each in due(db):
            if written.warn_once(db, each.ca_id, each.step, at):
                store.audit(db, at, _ACTOR, "ca.ending", each.ca_id, name=each.name, step=each.step)
                occasions.ca_ending(db, ra, each, at)
                told.append(each.words(at))
        return told

    def due(db: Transaction) -> list[Warned]:
        return endings_of(ra, at_now(db, ra), root, at)

    return await ra.database.write(work) if await ra.database.read(due) else []


def of_today(
    db: Transaction, ra: RegistrationAuthority, letter: Mapping[str, Any], cause: str, at: int
) -> writing.Letter | None:
    """One of these mails in the words of the day on which it leaves; None where it must not leave any more:
    the CA has ended, nobody has to see to its end, or the next step has come."""
    root = x509.load_der_x509_certificate(ra.authority.issuers[0].chain[-1])
    letters = (occasions.ca_letter(db, ra, each, at) for each in endings_of(ra, at_now(db, ra), root, at))
    return next((each for each in letters if each.cause == cause), None)


def endings_of(
    ra: RegistrationAuthority, found: Generations, root: x509.Certificate, at: int
) -> list[Warned]:
    """What operators are to know of the ends of our CAs at a moment."""
    (named,) = root.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    cas = [("root", str(named.value), int(root.not_valid_after_utc.timestamp()), False)]
    cas += [
        (each.issuer_id, each.common_name, each.not_after_at, found.issues(each.issuer_id))
        for each in ra.authority.issuers
        if found.state(each.issuer_id) in _WARNED
    ]
    return endings(cas, at)


def _settle(db: Transaction, ra: RegistrationAuthority, found: Generations, actor: str) -> None:
    for row in _begun(found):
        name = ra.authority.issuer(row.issuer_id).common_name
        after = Row(**{**row.__dict__, "active_at": row.planned_at, "planned_at": None})
        _write(db, ra, row, after, Event.BEGIN, actor, {"name": name, "moment": row.planned_at})


def _begun(found: Generations) -> list[Row]:
    """Whose moment has come, in their order."""
    due = [row for row in found.rows.values() if row.planned_at is not None and row.planned_at <= found.at]
    return sorted(due, key=lambda row: row.planned_at or 0)


def _ended(db: Transaction, found: Generations, now: int) -> list[Row]:
    """Of which nobody has a certificate any more."""
    return [
        row
        for row in found.rows.values()
        if row.retired_at is not None and row.over_at is None and over_from(db, row) < now
    ]


def over_from(db: Transaction, row: Row) -> int:
    """From when on nothing is left to be told of one that is retired: RFC 5280 section 3.3, what was revoked
    is in one list more than it lasts. Reads the whole register."""
    return max(ca.store.last_end(db, row.issuer_id), row.retired_at or 0) + CRL_LIFETIME


def _write(
    db: Transaction,
    ra: RegistrationAuthority,
    before: Row,
    after: Row,
    event: Event,
    actor: str,
    facts: dict[str, object],
) -> None:
    if not written.write(db, before, after):
        raise ConfigError("somebody else has just changed it; look again: sekisho ca list")
    store.audit(db, ra.now(), actor, ACTS[event], before.issuer_id, **facts)
