"""Where a client's connection is, as two tables: what its bytes are, and how far the answer in turn has come.

A client may send its next requests before the last one is answered. So reading and answering each have a
state of their own, and what happens to one means nothing to the other, but by an effect. The shells that do
what is decided here are `wire/reader.py` and `wire/front.py`.

    reading:    REST -> HEAD -> BODY -> REST ...                   -> OVER
    answering:  IDLE -> TAKEN (-> PAGED | FEEDING (-> OWED)) -> IDLE ... -> ENDED | GONE
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from gateway.edge.facts import Awaiting


class Reading(StrEnum):
    """What the client's next byte is."""

    REST = "rest"  # the first of a request
    HEAD = "head"  # of a head, which has begun
    BODY = "body"  # of a body
    LATE = "late"  # of a body that comes before the switch to another protocol (RFC 9110 7.8)
    FOREIGN = "foreign"  # another protocol's
    OVER = "over"  # nobody's
    TORN = "torn"  # nobody's, and the client is in the middle of what it sends
    PASSING = "passing"  # of a body, and the last answer is written: it passes by unread


class Heard(StrEnum):
    """What happens to the reading."""

    BYTES = "bytes"  # some came; whether they begin a request the parser will say
    BEGIN = "begin"  # a request begins
    HEAD_END = "head-end"  # its head is read
    END = "end"  # it is read, and another one may follow
    END_LAST = "end-last"  # it is read, and said that none follows
    SWITCH = "switch"  # what follows its head is another protocol's, or is a body before that
    MALFORMED = "malformed"  # what came is no request
    TOO_LARGE = "too-large"  # or more of one than is read
    STOP = "stop"  # the last answer is written
    LOST = "lost"  # the client is gone


class Turn(StrEnum):
    """Who has the request that is being answered."""

    IDLE = "idle"  # none is
    TAKEN = "taken"  # the site's relay, or it is about to be decided
    PAGED = "paged"  # the site's pages, with all of its body
    FEEDING = "feeding"  # the site's pages, to which its body goes as it comes
    OWED = "owed"  # the pages have answered it, and its body is still coming
    OWED_LAST = "owed-last"  # the same, and it was the last one
    TUNNEL = "tunnel"  # a tunnel to the upstream
    ENDED = "ended"  # nobody: the last answer is written
    GONE = "gone"  # nobody: the client is gone


class Step(StrEnum):
    """What happens to the request in turn."""

    BEGIN = "begin"  # its turn has come
    PAGE = "page"  # it goes to the pages, whole
    FEED = "feed"  # it goes to the pages, before its body has come
    FED = "fed"  # the pages have all there is of its body
    FED_LAST = "fed-last"  # the same, and none may follow
    ANSWERED = "answered"  # its answer is written
    ANSWERED_LAST = "answered-last"  # the same, and none may follow
    SWITCH = "switch"  # its connection becomes a tunnel
    HANG_UP = "hang-up"  # the pages close what they take for their connection
    LOST = "lost"  # the client is gone


class Effect(StrEnum):
    """What the shells do."""

    REJECT = "reject"  # what was no request is answered in its turn, with the reason
    CUT = "cut"  # whoever reads the body hears that it has no end
    UNSWITCH = "unswitch"  # what follows is parsed as the body that the head announces
    NEXT = "next"  # the next request's turn comes
    STOP = "stop"  # nothing more is read, see `Heard.STOP`
    CLOSE = "close"  # the connection is closed
    LINGER = "linger"  # and here once the client has had the time to see the answer (RFC 9112 9.6)


S = TypeVar("S")
_Read = tuple[Reading, tuple[Effect, ...]]
_Stepped = tuple[Turn, tuple[Effect, ...]]


def _to(state: S, effect: Effect | None = None) -> tuple[S, tuple[Effect, ...]]:
    return state, () if effect is None else (effect,)


def _over(state: Reading) -> dict[Heard, _Read]:
    """A state in which all that comes is left alone."""
    return dict.fromkeys((Heard.BYTES, Heard.MALFORMED, Heard.TOO_LARGE), (state, ()))


_GONE = {Heard.LOST: _to(Reading.OVER)}
_CUT_OFF = {Heard.LOST: _to(Reading.OVER, Effect.CUT)}
_CLOSED = {Heard.STOP: _to(Reading.OVER, Effect.CLOSE)}
_BROKEN = dict.fromkeys((Heard.MALFORMED, Heard.TOO_LARGE), _to(Reading.TORN, Effect.CUT))
_NO_REQUEST = {
    Heard.BYTES: _to(Reading.HEAD),
    Heard.BEGIN: _to(Reading.HEAD),
    Heard.MALFORMED: _to(Reading.OVER, Effect.REJECT),
    # The client is still sending it, and would lose the answer with a connection that is closed.
    Heard.TOO_LARGE: _to(Reading.TORN, Effect.REJECT),
}

#: (state, event) -> next state and effects. What is not here cannot happen.
READING: Final[Mapping[Reading, Mapping[Heard, _Read]]] = {
    Reading.REST: _NO_REQUEST | _CLOSED | _GONE | {Heard.SWITCH: _to(Reading.FOREIGN)},
    Reading.HEAD: _NO_REQUEST | _CLOSED | _GONE | {Heard.HEAD_END: _to(Reading.BODY)},
    Reading.BODY: _BROKEN
    | _CUT_OFF
    | {
        Heard.BYTES: _to(Reading.BODY),
        Heard.END: _to(Reading.REST),
        Heard.END_LAST: _to(Reading.OVER),
        Heard.SWITCH: _to(Reading.LATE, Effect.UNSWITCH),
        Heard.STOP: _to(Reading.PASSING, Effect.LINGER),
    },
    # Its parser is shown a head of ours first, whose beginning and end are nobody's request.
    Reading.LATE: _BROKEN
    | _CUT_OFF
    | dict.fromkeys((Heard.BYTES, Heard.BEGIN, Heard.HEAD_END), _to(Reading.LATE))
    | {
        Heard.END: _to(Reading.OVER),
        Heard.END_LAST: _to(Reading.OVER),
        Heard.STOP: _to(Reading.PASSING, Effect.LINGER),
    },
    Reading.FOREIGN: _over(Reading.FOREIGN) | _CLOSED | _GONE,
    Reading.OVER: _over(Reading.OVER) | _CLOSED | _GONE | {Heard.SWITCH: _to(Reading.FOREIGN)},
    Reading.TORN: _over(Reading.TORN) | _GONE | {Heard.STOP: _to(Reading.TORN, Effect.LINGER)},
    Reading.PASSING: _over(Reading.PASSING)
    | _CUT_OFF
    | {
        Heard.END: _to(Reading.OVER, Effect.CLOSE),
        Heard.END_LAST: _to(Reading.OVER, Effect.CLOSE),
    },
}
#: States in which a body is coming.
COMING: Final = frozenset({Reading.BODY, Reading.LATE, Reading.PASSING})
#: States in which no request follows.
_NO_MORE: Final = frozenset({Reading.FOREIGN, Reading.OVER, Reading.TORN})

_NEXT, _END = _to(Turn.IDLE, Effect.NEXT), _to(Turn.ENDED, Effect.STOP)
_LEFT = {Step.LOST: _to(Turn.GONE)}


def _hung_up(state: Turn, effect: Effect | None = None) -> dict[Step, _Stepped]:
    return {Step.HANG_UP: _to(state, effect)}


#: The same of the answers.
ANSWERING: Final[Mapping[Turn, Mapping[Step, _Stepped]]] = {
    Turn.IDLE: _LEFT
    | _hung_up(Turn.IDLE)  # for a reason of their own; others come
    | {
        Step.BEGIN: _to(Turn.TAKEN),
        Step.ANSWERED: _NEXT,  # aiohttp, of its own accord
        Step.ANSWERED_LAST: _END,  # and what was no request
    },
    Turn.TAKEN: _LEFT
    | _hung_up(Turn.TAKEN)
    | {
        Step.PAGE: _to(Turn.PAGED),
        Step.FEED: _to(Turn.FEEDING),
        Step.SWITCH: _to(Turn.TUNNEL),
        Step.ANSWERED: _NEXT,
        Step.ANSWERED_LAST: _END,
    },
    Turn.PAGED: _LEFT | _hung_up(Turn.PAGED, Effect.CLOSE) | {Step.ANSWERED: _NEXT, Step.ANSWERED_LAST: _END},
    Turn.FEEDING: _LEFT
    | _hung_up(Turn.FEEDING, Effect.CLOSE)
    | {
        Step.FED: _to(Turn.PAGED),
        Step.FED_LAST: _to(Turn.PAGED),
        # They still read, and drop, what comes of a body they had no use for.
        Step.ANSWERED: _to(Turn.OWED),
        Step.ANSWERED_LAST: _to(Turn.OWED_LAST),
    },
    Turn.OWED: _LEFT | _hung_up(Turn.OWED, Effect.CLOSE) | {Step.FED: _NEXT, Step.FED_LAST: _END},
    Turn.OWED_LAST: _LEFT | _hung_up(Turn.OWED_LAST, Effect.CLOSE) | {Step.FED: _END, Step.FED_LAST: _END},
    Turn.TUNNEL: _LEFT | _hung_up(Turn.TUNNEL) | {Step.ANSWERED: _END, Step.ANSWERED_LAST: _END},
    # Whoever was at it may find out late.
    Turn.ENDED: _LEFT | dict.fromkeys((Step.HANG_UP, Step.ANSWERED, Step.ANSWERED_LAST), _to(Turn.ENDED)),
    Turn.GONE: dict.fromkeys(
        (Step.LOST, Step.HANG_UP, Step.SWITCH, Step.FED, Step.FED_LAST, Step.ANSWERED, Step.ANSWERED_LAST),
        _to(Turn.GONE),
    ),
}
#: States in which the pages are given a body as it comes.
FED: Final = frozenset({Turn.FEEDING, Turn.OWED, Turn.OWED_LAST})


#: The same tables by event, as the shells read them: every request passes here a few times.
HEARD: Final[Mapping[Heard, dict[Reading, _Read]]] = {
    event: {state: row[event] for state, row in READING.items() if event in row} for event in Heard
}
STEPPED: Final[Mapping[Step, dict[Turn, _Stepped]]] = {
    event: {state: row[event] for state, row in ANSWERING.items() if event in row} for event in Step
}


def heard(state: Reading, event: Heard) -> _Read:
    """What the reading is after an event, and what is to be done. Raises KeyError: ours is the fault."""
    return HEARD[event][state]


def stepped(state: Turn, event: Step) -> _Stepped:
    """How far the answering is after an event, and what is to be done. Raises KeyError: ours is the fault."""
    return STEPPED[event][state]


def goes_on(keep: bool, last: bool, alone: bool, reading: Reading) -> bool:
    """Whether another request may be answered. ``keep``: by the answer's own head; ``last``: not by ours;
    ``alone``: none waits for its turn."""
    return keep and not last and not (alone and reading in _NO_MORE)


def awaiting(reading: Reading, turn: Turn, waiting: bool, held_back: bool) -> Awaiting:
    """What the connection waits for, and so which limit runs. ``waiting``: requests whose turn has not come;
    ``held_back``: the body that is due waits for a 100 of ours."""
    if turn is Turn.TUNNEL or (reading is Reading.FOREIGN and not waiting):
        return Awaiting.UPGRADED
    if reading in COMING and not held_back:
        return Awaiting.BODY
    if waiting or turn not in (Turn.IDLE, Turn.ENDED, Turn.GONE):
        return Awaiting.HANDLER
    return Awaiting.HEAD if reading is Reading.HEAD else Awaiting.REQUEST
