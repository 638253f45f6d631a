"""What an issuing CA may do, as one table of states and events, and which of them issues at a moment. Pure.

A state is computed from moments that are written down (`Row`): so what is planned comes in its moment by
itself, in every process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType

from ca.errors import ConfigError
from ca.profiles import Audience


class State(Enum):
    """What an issuing CA is at a moment. All but the last four are trusted, and named to browsers."""

    STAGED = "staged"
    """Made, and known to whoever checks certificates; it has never issued one."""
    PLANNED = "planned"
    """Staged, and it issues from a moment on."""
    ISSUING = "issuing"
    """New certificates of its audience are its own. At most one of an audience is."""
    EARLIER = "earlier"
    """Another one issues now; its certificates are as good as ever, and it may issue again."""
    RETURNING = "returning"
    """Earlier, and it issues again from a moment on."""
    RETIRED = "retired"
    """Never issues again; its certificates are good until they end, and its lists and answers go on."""
    OVER = "over"
    """Retired, and its last certificate has ended: nothing needs its key."""
    DISCARDED = "discarded"
    """Over, and put away: its key is wanted no more, and may be destroyed."""
    DISTRUSTED = "distrusted"
    """Its certificates let nobody in."""


class Event(Enum):
    """What happens to one."""

    PLAN = "activate"
    WITHDRAW = "withdraw"
    BEGIN = "begin"
    """Its moment has come."""
    FOLLOW = "follow"
    """Another one's moment has come."""
    RETIRE = "retire"
    END = "end"
    """Its last certificate has ended."""
    DISTRUST = "distrust"
    TRUST = "trust"
    DISCARD = "discard"


_LIST = "see: sekisho ca list"
_NOT_PLANNED = "is not planned to issue; " + _LIST
_NOT_DISTRUSTED = "is trusted; " + _LIST
_DISTRUSTED = "is distrusted and never issues again; make its successor: sekisho ca add NAME"
_FOR_GOOD = "was retired and never issues again; make its successor: sekisho ca add NAME"
_NOTHING_LEFT = "is over: it has no certificate that anybody could be let in with"
_BY_TIME = "does not change by a command; " + _LIST
_FIRST_WITHDRAW = "is planned to issue; take that back first: sekisho ca withdraw NAME"
_FIRST_RETIRE = "may issue again; first: sekisho ca retire NAME"
_NOT_OVER = "is not over, and its key signs lists and answers; " + _LIST
_PUT_AWAY = "was put away for good; " + _LIST

#: State -> event -> the state that follows, or what the operator is told instead, after the CA's name.
TABLE: Mapping[State, Mapping[Event, State | str]] = MappingProxyType(
    {
        State.STAGED: {
            Event.PLAN: State.PLANNED,
            Event.WITHDRAW: _NOT_PLANNED,
            Event.BEGIN: _BY_TIME,
            Event.FOLLOW: State.STAGED,
            Event.RETIRE: State.RETIRED,
            Event.END: _BY_TIME,
            Event.DISTRUST: State.DISTRUSTED,
            Event.TRUST: _NOT_DISTRUSTED,
            Event.DISCARD: _FIRST_RETIRE,
        },
        State.PLANNED: {
            Event.PLAN: State.PLANNED,
            Event.WITHDRAW: State.STAGED,
            Event.BEGIN: State.ISSUING,
            Event.FOLLOW: State.PLANNED,
            Event.RETIRE: _FIRST_WITHDRAW,
            Event.END: _BY_TIME,
            Event.DISTRUST: State.DISTRUSTED,
            Event.TRUST: _NOT_DISTRUSTED,
            Event.DISCARD: _FIRST_WITHDRAW,
        },
        State.ISSUING: {
            Event.PLAN: "issues already; " + _LIST,
            Event.WITHDRAW: "issues already; have another one issue instead: sekisho ca activate NAME",
            Event.BEGIN: _BY_TIME,
            Event.FOLLOW: State.EARLIER,
            Event.RETIRE: "issues; have another one issue first: sekisho ca activate NAME",
            Event.END: _BY_TIME,
            Event.DISTRUST: State.DISTRUSTED,
            Event.TRUST: _NOT_DISTRUSTED,
            Event.DISCARD: "issues; have another one issue first: sekisho ca activate NAME",
        },
        State.EARLIER: {
            Event.PLAN: State.RETURNING,
            Event.WITHDRAW: _NOT_PLANNED,
            Event.BEGIN: _BY_TIME,
            Event.FOLLOW: State.EARLIER,
            Event.RETIRE: State.RETIRED,
            Event.END: _BY_TIME,
            Event.DISTRUST: State.DISTRUSTED,
            Event.TRUST: _NOT_DISTRUSTED,
            Event.DISCARD: _FIRST_RETIRE,
        },
        State.RETURNING: {
            Event.PLAN: State.RETURNING,
            Event.WITHDRAW: State.EARLIER,
            Event.BEGIN: State.ISSUING,
            Event.FOLLOW: State.RETURNING,
            Event.RETIRE: _FIRST_WITHDRAW,
            Event.END: _BY_TIME,
            Event.DISTRUST: State.DISTRUSTED,
            Event.TRUST: _NOT_DISTRUSTED,
            Event.DISCARD: _FIRST_WITHDRAW,
        },
        State.RETIRED: {
            Event.PLAN: _FOR_GOOD,
            Event.WITHDRAW: _NOT_PLANNED,
            Event.BEGIN: _BY_TIME,
            Event.FOLLOW: State.RETIRED,
            Event.RETIRE: "is retired already; " + _LIST,
            Event.END: State.OVER,
            Event.DISTRUST: State.DISTRUSTED,
            Event.TRUST: _NOT_DISTRUSTED,
            Event.DISCARD: _NOT_OVER,
        },
        State.OVER: {
            Event.PLAN: _FOR_GOOD,
            Event.WITHDRAW: _NOT_PLANNED,
            Event.BEGIN: _BY_TIME,
            Event.FOLLOW: State.OVER,
            Event.RETIRE: "is over already; " + _LIST,
            Event.END: _BY_TIME,
            Event.DISTRUST: _NOTHING_LEFT,
            Event.TRUST: _NOT_DISTRUSTED,
            Event.DISCARD: State.DISCARDED,
        },
        State.DISCARDED: {
            Event.PLAN: _PUT_AWAY,
            Event.WITHDRAW: _NOT_PLANNED,
            Event.BEGIN: _BY_TIME,
            Event.FOLLOW: State.DISCARDED,
            Event.RETIRE: _PUT_AWAY,
            Event.END: _BY_TIME,
            Event.DISTRUST: _NOTHING_LEFT,
            Event.TRUST: _NOT_DISTRUSTED,
            Event.DISCARD: _PUT_AWAY,
        },
        State.DISTRUSTED: {
            Event.PLAN: _DISTRUSTED,
            Event.WITHDRAW: _NOT_PLANNED,
            Event.BEGIN: _BY_TIME,
            Event.FOLLOW: State.DISTRUSTED,
            Event.RETIRE: "is distrusted, which is more; " + _LIST,
            Event.END: State.OVER,
            Event.DISTRUST: "is distrusted already; " + _LIST,
            Event.TRUST: State.RETIRED,
            Event.DISCARD: _NOT_OVER,
        },
    }
)


@dataclass(frozen=True)
class Row:
    """What is written down of one: moments in epoch seconds, None for what has not been. ``planned_at`` is
    not looked back at once it has been made ``active_at``. ``change_number``: of the last change by which all
    of its certificates became no good, or good again (`ca.store.changed_since` counts with the same
    numbers)."""

    issuer_id: str
    active_at: int | None = None
    planned_at: int | None = None
    retired_at: int | None = None
    over_at: int | None = None
    distrusted_at: int | None = None
    discarded_at: int | None = None
    reason: str = ""
    change_number: int = 0

    def begun_at(self, at: int) -> int | None:
        """Since when it issues, or did, as of a moment."""
        due = self.planned_at is not None and self.planned_at <= at
        return self.planned_at if due else self.active_at


@dataclass(frozen=True)
class Generations:
    """All of them at a moment; ``rows`` in the order in which they were made, the newest first.

    ``latest``: the one for clients whose moment came last, that all the world takes for the one that issues.
    ``issuing``: the same unless it has been distrusted: then nobody issues until an operator says who does.
    ``issuers``: the one that issues, by audience; an audience that has no CA is left out.
    """

    rows: Mapping[str, Row]
    at: int
    latest: str
    issuing: str | None
    issuers: Mapping[Audience, str | None]

    def issues(self, issuer_id: str) -> bool:
        """Whether it issues now, for whomever."""
        return issuer_id in self.issuers.values()

    def state(self, issuer_id: str) -> State:
        row = self.rows[issuer_id]
        if row.discarded_at is not None:
            return State.DISCARDED
        if row.over_at is not None:
            return State.OVER
        if row.distrusted_at is not None:
            return State.DISTRUSTED
        if row.retired_at is not None:
            return State.RETIRED
        if self.issues(issuer_id):
            return State.ISSUING
        if row.planned_at is not None and row.planned_at > self.at:
            return State.PLANNED if row.active_at is None else State.RETURNING
        return State.STAGED if row.begun_at(self.at) is None else State.EARLIER

    def following(self) -> Row | None:
        """The one whose planned moment comes first."""
        planned = [each for each in self.rows.values() if (each.planned_at or 0) > self.at]
        return min(planned, key=lambda each: each.planned_at or 0, default=None)


def generations(
    issuer_ids: Sequence[str],
    written: Mapping[str, Row],
    at: int,
    audiences: Mapping[str, Audience] | None = None,
) -> Generations:
    """The issuing CAs at a moment. ``issuer_ids``: the newest first; ``audiences``: for whom they sign, where
    not for clients. Of an audience's of which nothing is written down the first that was ever made issues,
    and every other one is staged."""
    by_audience: dict[Audience, list[str]] = {}
    for each in issuer_ids:
        by_audience.setdefault((audiences or {}).get(each, Audience.CLIENTS), []).append(each)
    firsts = {ids[-1] for ids in by_audience.values()}
    rows = {each: written.get(each) or Row(each, 0 if each in firsts else None) for each in issuer_ids}
    latest = {audience: _latest(ids, rows, at) for audience, ids in by_audience.items()}
    issuing = {audience: None if _stopped(rows[each]) else each for audience, each in latest.items()}
    return Generations(
        MappingProxyType(rows),
        at,
        latest[Audience.CLIENTS],
        issuing[Audience.CLIENTS],
        MappingProxyType(issuing),
    )


def _latest(ids: Sequence[str], rows: Mapping[str, Row], at: int) -> str:
    begun = {each: rows[each].begun_at(at) for each in ids}
    # Of two that began at one moment the newer one: max() takes the first.
    return max(ids, key=lambda each: -1 if (since := begun[each]) is None else since)


def _stopped(row: Row) -> bool:
    return row.retired_at is not None or row.distrusted_at is not None


def follow(found: Generations, issuer_id: str, name: str, event: Event, at: int, reason: str = "") -> Row:
    """What is to be written down of one after an event; ``at``: of the event, or what is planned.
    ``ConfigError`` says why not. ``name``: for the operator."""
    state = found.state(issuer_id)
    following = TABLE[state][event]
    if isinstance(following, str):
        raise ConfigError(f"{name} {following}")
    return _written(found.rows[issuer_id], event, at, reason)


def _written(row: Row, event: Event, at: int, reason: str) -> Row:
    match event:
        case Event.PLAN:
            return replace(row, planned_at=at)
        case Event.WITHDRAW:
            return replace(row, planned_at=None)
        case Event.BEGIN:
            return replace(row, active_at=row.planned_at, planned_at=None)
        case Event.RETIRE:
            return replace(row, retired_at=at)
        case Event.END:
            return replace(row, over_at=at)
        case Event.DISTRUST:
            # Whatever comes of it later, it never issues again.
            retired_at = at if row.retired_at is None else row.retired_at
            return replace(row, planned_at=None, retired_at=retired_at, distrusted_at=at, reason=reason)
        case Event.TRUST:
            return replace(row, distrusted_at=None, reason="")
        case Event.DISCARD:
            return replace(row, discarded_at=at)
        case Event.FOLLOW:
            return row
