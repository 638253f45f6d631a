"""The queue: who may take which letter when, and what becomes of it. Every change is compare-and-set."""

from __future__ import annotations

from dataclasses import dataclass

from ca.storage import Transaction
from enroll.mail import store
from enroll.mail.hours import leaves_from, opened_at
from enroll.mail.states import Pace
from enroll.mail.store import Channel, Letter
from enroll.settings import DAY, Settings

Db = Transaction

CHANNELS: tuple[Channel, ...] = ("mail", "postcard")
# Seconds until a letter's next attempt after its own first, second, ... refusal; the last one repeats.
_BACKOFF = (60, 300, 900, 3_600, 14_400)
# As long, but for all letters together. One attempt in a quarter of an hour is a burden to no server, and
# the end of an outage is found within it.
_HOLD = (60, 300, 900)
# RFC 5321 section 4.5.4.1: "the give-up time generally needs to be at least 4-5 days".
_GIVE_UP = 5 * DAY
# Each may have brought the recipient another copy.
_UNCLEAR = 3


@dataclass(frozen=True)
class Lane:
    """What holds every letter of a channel: refusals that are no recipient's, one back-off for all."""

    channel: Channel
    refusals: int = 0
    held_since_at: int | None = None
    held_until_at: int = 0
    said: str = ""
    accepted_at: int | None = None
    minute: int = 0
    begun: int = 0

    def holds(self, at: int) -> bool:
        """Whether nothing leaves at a moment. An end that is too far off is a clock's that ran ahead."""
        return at < self.held_until_at <= at + _HOLD[-1]


def lane(db: Db, channel: Channel) -> Lane:
    found = store.lane(db, channel)
    return Lane(channel) if found is None else Lane(**found)


# -- taking ----------------------------------------------------------------------------------------------


def in_the_future(db: Db, channel: Channel, at: int) -> bool:
    """Whether a letter is put off by more than any back-off: the clock ran ahead, and has been set right."""
    return store.in_the_future(db, channel, at, _BACKOFF[-1])


def forget_future(db: Db, channel: Channel, at: int) -> None:
    """Makes such letters due."""
    store.forget_future(db, channel, at, _BACKOFF[-1])


# -- settling --------------------------------------------------------------------------------------------


def refused(
    db: Db, row: Letter, at: int, result: str, *, unclear: bool = False, lasting: bool = True
) -> None:
    """Has a letter wait for longer after each refusal of its own, and gives it up at last.

    Never while its server takes no other letter either: then it is not this one's fault. ``lasting``: the
    time that has gone by may be believed.
    """
    since = row["refused_since_at"] if row["refused_since_at"] is not None else at
    doubts = row["unclear"] + int(unclear)
    taken = lane(db, row["channel"]).accepted_at
    if lasting and taken is not None and taken > since and (at - since >= _GIVE_UP or doubts >= _UNCLEAR):
        store.failed(db, row, at, result, given_up=True)
        return
    later = at + _BACKOFF[min(row["refusals"], len(_BACKOFF) - 1)]
    store.put_back(db, row, at, later, since, doubts, result)


def hold(db: Db, channel: Channel, at: int, said: str) -> int | None:
    """Has every letter of a channel wait; until when, or None if they do already."""
    before = lane(db, channel)
    if before.holds(at):
        return None
    until = at + _HOLD[min(before.refusals, len(_HOLD) - 1)]
    store.hold(db, channel, at, until, said)
    return until


# -- operators -------------------------------------------------------------------------------------------


def next_attempt(db: Db, row: Letter, at: int, settings: Settings) -> int | None:
    """When a letter that waits is tried next, whatever of all it waits for; None if it does not wait."""
    if row["state"] != "queued" or row["held_at"] is not None:
        return None
    if row["channel"] == "postcard" and settings.postcards == "batches":
        return None  # it waits for somebody to print it
    held = lane(db, row["channel"])
    moment = max(at, row["next_attempt_at"], held.held_until_at if held.holds(at) else 0)
    return leaves_from(moment, settings, Pace(row["notice"]))


@dataclass(frozen=True)
class Standing:
    """How the letters are doing."""

    waiting: int
    #: Refused for good, or come back.
    failed: int
    #: Seconds for which the oldest letter could have left, and did not; those that their recipient's server
    #: puts off, and those that an operator holds back, those of disabled organisations, are not meant.
    oldest: int
    #: Put off by their recipients' servers.
    put_off: int
    sent: int
    held: tuple[Lane, ...]


def standing(db: Db, at: int, settings: Settings) -> Standing:
    printed = settings.postcards == "batches"
    # What waits for its hours is not late.
    since = store.oldest(db, {pace: opened_at(at, settings, pace) for pace in Pace}, printed=printed)
    return Standing(
        **store.counts(db),
        oldest=max(0, at - since) if since is not None else 0,
        held=tuple(each for each in (lane(db, channel) for channel in CHANNELS) if each.refusals),
    )
