"""What may happen to a proposal, as a table. Pure."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a proposal is. Values are stored."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    #: What it would change has changed meanwhile.
    VOID = "void"
    EXPIRED = "expired"


class Event(StrEnum):
    """What can happen to a proposal."""

    APPROVE = "approve"  # by another than who has proposed it
    REJECT = "reject"  # the same
    WITHDRAW = "withdraw"  # by who has proposed it
    CHANGE = "change"  # what stood before it stands there no more
    EXPIRE = "expire"  # its business days are over


#: (state, event) -> next state. What is not here is refused: what was decided is decided for good.
TRANSITIONS: dict[State, dict[Event, State]] = {
    State.PENDING: {
        Event.APPROVE: State.APPROVED,
        Event.REJECT: State.REJECTED,
        Event.WITHDRAW: State.WITHDRAWN,
        Event.CHANGE: State.VOID,
        Event.EXPIRE: State.EXPIRED,
    },
    **{state: {} for state in State if state is not State.PENDING},
}

#: State -> what people read, in Japanese and English.
LABELS: dict[State, tuple[str, str]] = {
    State.PENDING: ("承認待ち", "Waiting"),
    State.APPROVED: ("承認済み", "Approved"),
    State.REJECTED: ("却下", "Rejected"),
    State.WITHDRAWN: ("取下げ", "Withdrawn"),
    State.VOID: ("無効（内容が変わりました）", "Void: what it changes has changed"),
    State.EXPIRED: ("期限切れ", "Expired"),
}


def next_state(state: State, event: Event) -> State | None:
    """The state after the event, or None where the event is refused."""
    return TRANSITIONS[state].get(event)
