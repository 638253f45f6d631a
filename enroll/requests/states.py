"""The one state machine of an enrollment, behind every door, as a table.

An enrollment is a request ID and what became of it. Pages and protocol both move it through these
states; the labels that the manual prints are beside them.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where an enrollment is. Values are stored, but ``EXPIRED``, which ``enrollment.state_at`` computes
    from a date whenever it is asked; labels are in ``LABELS``."""

    ACCEPTED = "accepted"
    ANNOUNCED = "announced"
    AUTHENTICATED = "authenticated"
    PROCESSING = "processing"
    ISSUED = "issued"
    PICKED_UP = "picked_up"
    IN_USE = "in_use"
    CLOSED = "closed"
    SUPERSEDED = "superseded"
    RENEWED = "renewed"
    REVOKED = "revoked"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Event(StrEnum):
    """What can happen to an enrollment."""

    ANNOUNCE = "announce"  # the mail that tells of it was accepted for delivery
    AUTHENTICATE = "authenticate"  # the user logged in at the pick-up site
    SUBMIT = "submit"  # the user, or an automated client, asked for the certificate
    ISSUE = "issue"  # the certificate is signed and stored
    DOWNLOAD = "download"  # the certificate was handed over
    USE = "use"  # first login with the certificate
    CLOSE = "close"  # the pick-up window ended, and the key was wiped
    SUPERSEDE = "supersede"  # a reissue took its place
    REPLACE = "replace"  # its renewal has been in use for long enough
    REVOKE = "revoke"  # the certificate was revoked
    WITHDRAW = "withdraw"  # before its certificate: the user was disabled, or it is no longer wanted


#: Terminal states accept no event. Each with the refusal of whoever still comes with its certificate: a page
#: names the cause that is so, and no other.
CAUSES: dict[State, str] = {
    State.CLOSED: "pickup_over",
    State.SUPERSEDED: "superseded",
    State.RENEWED: "renewed",
    State.REVOKED: "revoked",
    State.EXPIRED: "renewal_over",
    State.WITHDRAWN: "withdrawn",
}
ENDED = frozenset(CAUSES)
#: States before a certificate exists.
WAITING = frozenset({State.ACCEPTED, State.ANNOUNCED, State.AUTHENTICATED})
#: States in which the certificate can be fetched, window permitting.
FETCHABLE = frozenset({State.ISSUED, State.PICKED_UP})
#: Applied for, and on no PC yet, as far as we know.
UNFINISHED = frozenset({State.PROCESSING, State.ISSUED})
#: States in which a certificate exists and counts.
LIVE = frozenset({State.ISSUED, State.PICKED_UP, State.IN_USE})

_ANY_WAITING = {
    Event.SUBMIT: State.PROCESSING,
    Event.CLOSE: State.CLOSED,
    Event.SUPERSEDE: State.SUPERSEDED,
    Event.WITHDRAW: State.WITHDRAWN,
}
_ANY_LIVE = {
    Event.SUPERSEDE: State.SUPERSEDED,
    Event.REPLACE: State.RENEWED,
    Event.REVOKE: State.REVOKED,
}

#: (state, event) -> next state. What is not here is refused. An event that leads to the same state
#: is accepted and changes nothing: that is what makes a double click harmless.
TRANSITIONS: dict[State, dict[Event, State]] = {
    State.ACCEPTED: _ANY_WAITING | {Event.ANNOUNCE: State.ANNOUNCED, Event.AUTHENTICATE: State.AUTHENTICATED},
    State.ANNOUNCED: _ANY_WAITING
    | {Event.ANNOUNCE: State.ANNOUNCED, Event.AUTHENTICATE: State.AUTHENTICATED},
    State.AUTHENTICATED: _ANY_WAITING
    | {Event.ANNOUNCE: State.AUTHENTICATED, Event.AUTHENTICATE: State.AUTHENTICATED},
    # The serial is recorded. Whoever ends it here gets a certificate that is stored and revoked at once.
    State.PROCESSING: {
        Event.SUPERSEDE: State.SUPERSEDED,
        Event.REVOKE: State.REVOKED,
        Event.WITHDRAW: State.WITHDRAWN,
        Event.ANNOUNCE: State.PROCESSING,
        Event.AUTHENTICATE: State.PROCESSING,
        Event.SUBMIT: State.PROCESSING,
        Event.ISSUE: State.ISSUED,
    },
    State.ISSUED: _ANY_LIVE
    | {
        Event.ANNOUNCE: State.ISSUED,
        Event.AUTHENTICATE: State.ISSUED,
        Event.SUBMIT: State.ISSUED,
        Event.ISSUE: State.ISSUED,
        Event.DOWNLOAD: State.PICKED_UP,
        Event.USE: State.IN_USE,
        Event.CLOSE: State.CLOSED,
    },
    State.PICKED_UP: _ANY_LIVE
    | {
        Event.ANNOUNCE: State.PICKED_UP,
        Event.AUTHENTICATE: State.PICKED_UP,
        Event.SUBMIT: State.PICKED_UP,
        Event.ISSUE: State.PICKED_UP,
        Event.DOWNLOAD: State.PICKED_UP,
        Event.USE: State.IN_USE,
        # Picked up and the window ended: the certificate lives on, only the key is wiped.
        Event.CLOSE: State.PICKED_UP,
    },
    State.IN_USE: _ANY_LIVE
    | {
        # Its letter was sent again after an answer that got lost, and used meanwhile.
        Event.ANNOUNCE: State.IN_USE,
        Event.USE: State.IN_USE,
        Event.CLOSE: State.IN_USE,
    },
    **{state: {} for state in ENDED},
}

#: Japanese and English labels. 証明書生成中 and 発行済み are the manual's (R42); renewal keeps showing
#: 発行済み until the certificate is in use, because the manual's table knows no other word.
LABELS: dict[State, tuple[str, str]] = {
    State.ACCEPTED: ("申請受付", "Accepted"),
    State.ANNOUNCED: ("案内送信済", "Email sent"),
    State.AUTHENTICATED: ("認証済", "Authenticated"),
    State.PROCESSING: ("証明書生成中", "Issuing"),
    State.ISSUED: ("発行済み", "Issued"),
    State.PICKED_UP: ("取得済み", "Picked up"),
    State.IN_USE: ("利用中", "In use"),
    State.CLOSED: ("取得期限切れ", "Pick-up period over"),
    State.SUPERSEDED: ("再発行により無効", "Replaced by a reissue"),
    State.RENEWED: ("更新により無効", "Replaced by its renewal"),
    State.REVOKED: ("失効", "Revoked"),
    State.EXPIRED: ("期限切れ", "Expired"),
    State.WITHDRAWN: ("取消", "Withdrawn"),
}


def next_state(state: State, event: Event) -> State | None:
    """The state after the event, or None where the event is refused."""
    return TRANSITIONS[state].get(event)
