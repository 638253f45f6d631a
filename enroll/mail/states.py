"""Where a letter stands, as operators see it; of one that failed, in which way. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any


class State(StrEnum):
    """What has become of a letter."""

    #: On its way: due, or put off by its recipient's server, or until its hours.
    WAITING = "waiting"
    #: Kept back until an operator releases it.
    HELD = "held"
    #: Taken by the mail server, and not come back.
    SENT = "sent"
    #: Refused for good, by the recipient's server.
    REFUSED = "refused"
    #: Put off for so long that it is not tried any more.
    GIVEN_UP = "given_up"
    #: Taken, and come back.
    BOUNCED = "bounced"
    CANCELLED = "cancelled"


class Pace(IntEnum):
    """How long a letter may wait. Values are stored (`mails.notice`)."""

    #: Somebody waits for it, or has to know at once.
    AT_ONCE = 0
    #: Nobody asked for it: it leaves within the hours of notices.
    NOTICE = 1
    #: Somebody expects it, and is not to be woken: it leaves within the hours of letters.
    BY_DAY = 2


#: In which order letters leave: what somebody waits for first, notices last.
IN_TURN = (Pace.AT_ONCE, Pace.BY_DAY, Pace.NOTICE)
#: Of those the recipient has nothing.
FAILED = (State.REFUSED, State.GIVEN_UP, State.BOUNCED)


def state_of(letter: Mapping[str, Any]) -> State:
    """Of a row of the table ``mails``."""
    if letter["state"] == "queued":
        return State.WAITING if letter["held_at"] is None else State.HELD
    return State(letter["failure"] if letter["state"] == "failed" else letter["state"])
