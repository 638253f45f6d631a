"""What may happen to an endpoint and to a delivery, as tables, and when a delivery is tried again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from enroll.settings import DAY


class Endpoint(StrEnum):
    """Where an endpoint is. Values are stored."""

    ACTIVE = "active"
    #: Nothing is sent, and what happens meanwhile waits in the record.
    STOPPED = "stopped"
    ENDED = "ended"


class Delivery(StrEnum):
    """Where a delivery is. Values are stored."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    #: Given up after the last try: a dead letter, until somebody replays it.
    DEAD = "dead"


ENDPOINT_LABELS: Mapping[Endpoint, tuple[str, str]] = MappingProxyType(
    {
        Endpoint.ACTIVE: ("送信中", "Active"),
        Endpoint.STOPPED: ("停止中", "Stopped"),
        Endpoint.ENDED: ("終了", "Ended"),
    }
)
DELIVERY_LABELS: Mapping[Delivery, tuple[str, str]] = MappingProxyType(
    {
        Delivery.WAITING: ("送信待ち", "Waiting"),
        Delivery.DELIVERED: ("送信済み", "Delivered"),
        Delivery.DEAD: ("送信失敗", "Given up"),
    }
)

#: Seconds from one try to the next: ten tries within three days and some hours.
WAITS = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, DAY)
TRIES = len(WAITS) + 1
#: The longest that a receiver may have us wait (Retry-After).
LONGEST_WAIT = DAY
#: By how much a wait differs, so that what failed together is not tried together again.
JITTER = 0.1

Result = Literal["delivered", "again", "gone"]


@dataclass(frozen=True)
class Answer:
    """What came of a try. ``status`` 0: no answer. ``said``: in words for operators, and none of the
    receiver's. ``after``: seconds in which the receiver wants to be left alone."""

    status: int
    said: str
    after: int = 0

    @property
    def result(self) -> Result:
        if 200 <= self.status < 300:
            return "delivered"
        # RFC 9110 section 15.5.11: it is gone, and likely for good.
        return "gone" if self.status == 410 else "again"


def wait(tries: int, answer: Answer, chance: float) -> int | None:
    """Seconds until a delivery is tried again that was tried so often; None: it is over, one way or the
    other. ``chance``: from 0 to 1."""
    if tries >= TRIES or answer.result != "again":
        return None
    wanted = WAITS[tries - 1] * (1 + JITTER * (2 * chance - 1))
    return max(round(wanted), min(answer.after, LONGEST_WAIT))
