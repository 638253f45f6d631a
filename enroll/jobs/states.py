"""What may happen to a job, as a table. Pure."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a job is. Values are stored."""

    #: Nobody works at it: it has just been decided, or has been let go on.
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    #: Somebody has stopped it between two rows: what is done stays done.
    CANCELLED = "cancelled"
    #: A fault of ours stopped it; it can be let go on.
    FAILED = "failed"
    #: What it did was taken back by another job.
    UNDONE = "undone"


class Event(StrEnum):
    """What can happen to a job."""

    START = "start"  # a runner takes it, or takes it over from one that is not heard of any more
    FINISH = "finish"  # its last row is done
    CANCEL = "cancel"
    FAIL = "fail"
    RESUME = "resume"
    UNDO = "undo"


#: (state, event) -> next state. What is not here is refused.
TRANSITIONS: dict[State, dict[Event, State]] = {
    State.WAITING: {Event.START: State.RUNNING, Event.CANCEL: State.CANCELLED},
    State.RUNNING: {
        Event.START: State.RUNNING,
        Event.FINISH: State.DONE,
        Event.CANCEL: State.CANCELLED,
        Event.FAIL: State.FAILED,
    },
    State.DONE: {Event.UNDO: State.UNDONE},
    State.CANCELLED: {Event.UNDO: State.UNDONE},
    State.FAILED: {Event.RESUME: State.WAITING, Event.CANCEL: State.CANCELLED},
    State.UNDONE: {},
}
#: Those that somebody works at, or will.
OPEN = frozenset({State.WAITING, State.RUNNING})

#: State -> what people read, in Japanese and English.
LABELS: dict[State, tuple[str, str]] = {
    State.WAITING: ("実行待ち", "waits"),
    State.RUNNING: ("実行中", "runs"),
    State.DONE: ("完了", "done"),
    State.CANCELLED: ("中止", "cancelled"),
    State.FAILED: ("停止（障害）", "failed"),
    State.UNDONE: ("取消済み", "undone"),
}


def next_state(state: State, event: Event) -> State | None:
    """The state after the event, or None where the event is refused."""
    return TRANSITIONS[state].get(event)


def before(event: Event) -> tuple[State, ...]:
    """The states in which an event is not refused."""
    return tuple(state for state, events in TRANSITIONS.items() if event in events)
