"""What may happen to a print batch, as a table. Pure."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a batch is. Values are stored."""

    #: A job draws it.
    MAKING = "making"
    #: Its PDF is there, or was until its time was over.
    READY = "ready"
    #: Somebody has said that its cards are printed: they have left.
    PRINTED = "printed"
    #: Its cards wait again.
    CANCELLED = "cancelled"


class Event(StrEnum):
    """What can happen to a batch."""

    DRAWN = "drawn"
    PRINT = "print"
    CANCEL = "cancel"


#: (state, event) -> next state. What is not here is refused.
TRANSITIONS: dict[State, dict[Event, State]] = {
    State.MAKING: {Event.DRAWN: State.READY, Event.CANCEL: State.CANCELLED},
    State.READY: {Event.PRINT: State.PRINTED, Event.CANCEL: State.CANCELLED},
    State.PRINTED: {},
    State.CANCELLED: {},
}
#: Those that hold cards.
OPEN = frozenset({State.MAKING, State.READY})

#: State -> what people read, in Japanese and English.
LABELS: dict[State, tuple[str, str]] = {
    State.MAKING: ("作成中", "being made"),
    State.READY: ("印刷待ち", "to be printed"),
    State.PRINTED: ("印刷済み", "printed"),
    State.CANCELLED: ("取消", "cancelled"),
}


def before(event: Event) -> tuple[State, ...]:
    """The states in which an event is not refused."""
    return tuple(state for state, events in TRANSITIONS.items() if event in events)


def after(event: Event) -> State:
    """The state that an event leads to."""
    (found,) = {events[event] for events in TRANSITIONS.values() if event in events}
    return found
