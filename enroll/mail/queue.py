"""The queue: who may take which letter when, and what becomes of it. Every change is compare-and-set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ca.storage import Row, Transaction, Values
from enroll.mail.hours import leaves_from, opened_at
from enroll.mail.writing import Channel
from enroll.settings import DAY, Settings

Db = Transaction
#: A row of the table ``mails``, as its taker was given it.
Letter = dict[str, Any]

CHANNELS: tuple[Channel, ...] = ("mail", "postcard")
#: A letter that is being sent belongs to its process for this long, in seconds, and longer if renewed.
LEASE = 120
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
    found = db.rows("SELECT * FROM mail_lanes WHERE channel = :channel", {"channel": channel})
    return Lane(**found[0]) if found else Lane(channel)


# -- taking ----------------------------------------------------------------------------------------------

# A lease that ends too far off is, again, a clock's that ran ahead.
_DUE = (
    "state = 'queued' AND held_at IS NULL AND channel = :channel AND notice = :notice"
    " AND next_attempt_at <= :at AND (claimed_until_at <= :at OR claimed_until_at > :at + :lease)"
)


def due(db: Db, channel: Channel, at: int, most: int, *, notices: bool) -> int:
    """How many letters of a channel may leave now, counted up to ``most``; with ``notices``, those too."""
    found = 0
    for notice in range(1 + notices):
        left = {**_moment(channel, notice, at), "most": most - found}
        found += _number(
            db, f"SELECT count(*) FROM (SELECT 1 FROM mails WHERE {_DUE} LIMIT :most) AS due", left
        )
    return found


def next_due(db: Db, channel: Channel, at: int, *, notices: bool) -> Letter | None:
    """The letter to send next: what somebody waits for first, then by when it was due."""
    for notice in range(1 + notices):
        found = db.rows(
            f"SELECT * FROM mails WHERE {_DUE} ORDER BY next_attempt_at, id LIMIT 1",
            _moment(channel, notice, at),
        )
        if found:
            return dict(found[0])
    return None


def begin(db: Db, row: Letter, at: int) -> Letter:
    """Takes a letter for ``LEASE`` seconds; the row as it then is."""
    db.execute(
        "UPDATE mails SET claimed_until_at = :claimed_until_at, attempts = attempts + 1 WHERE id = :id",
        {"claimed_until_at": at + LEASE, "id": row["id"]},
    )
    return row | {"attempts": row["attempts"] + 1}


def may_begin(db: Db, channel: Channel, at: int, per_minute: int) -> bool:
    """Counts a letter that is about to be sent; False when this minute has had its number."""
    minute = at // 60
    changed = db.execute(
        "INSERT INTO mail_lanes(channel, minute, begun) VALUES (:channel, :minute, 1)"
        " ON CONFLICT(channel) DO UPDATE SET minute = :minute,"
        " begun = CASE WHEN mail_lanes.minute = :minute THEN mail_lanes.begun + 1 ELSE 1 END"
        " WHERE mail_lanes.minute <> :minute OR mail_lanes.begun < :per_minute",
        {"channel": channel, "minute": minute, "per_minute": per_minute},
    )
    return changed > 0


def keep(db: Db, row: Letter, at: int) -> bool:
    """Renews a lease; False when the letter is another process's by now, or settled."""
    changed = db.execute(
        f"UPDATE mails SET claimed_until_at = :until WHERE {_OURS}", {"until": at + LEASE, **_names(row)}
    )
    return changed > 0


# By more than any back-off: the clock ran ahead, and has been set right since.
_IN_THE_FUTURE = (
    "state = 'queued' AND held_at IS NULL AND channel = :channel AND notice IN (0, 1)"
    " AND next_attempt_at > :at + :furthest"
)


def in_the_future(db: Db, channel: Channel, at: int) -> bool:
    """Whether a letter is put off by more than any back-off."""
    values = {"channel": channel, "at": at, "furthest": _BACKOFF[-1]}
    return bool(db.rows(f"SELECT 1 FROM mails WHERE {_IN_THE_FUTURE} LIMIT 1", values))


def forget_future(db: Db, channel: Channel, at: int) -> None:
    """Makes such letters due."""
    db.execute(
        f"UPDATE mails SET next_attempt_at = :at WHERE {_IN_THE_FUTURE}",
        {"channel": channel, "at": at, "furthest": _BACKOFF[-1]},
    )


# -- settling --------------------------------------------------------------------------------------------


def accepted(db: Db, number: int, channel: Channel, at: int, result: str) -> bool:
    """Records that a letter has left and wipes its body; False when it was recorded already.

    Whatever held the others is over.
    """
    db.execute(
        "INSERT INTO mail_lanes(channel, accepted_at) VALUES (:channel, :at) ON CONFLICT(channel) DO UPDATE"
        " SET refusals = 0, held_since_at = NULL, held_until_at = 0, said = '', accepted_at = :at",
        {"channel": channel, "at": at},
    )
    changed = db.execute(
        "UPDATE mails SET state = 'sent', result = :result, sent_at = :at, sealed_body = NULL"
        " WHERE id = :number AND state = 'queued'",
        {"result": result, "at": at, "number": number},
    )
    return changed > 0


def failed(db: Db, row: Letter, result: str) -> None:
    """Records a refusal for good. The body stays: an operator may have it tried again."""
    db.execute(
        f"UPDATE mails SET state = 'failed', claimed_until_at = 0, result = :result WHERE {_OURS}",
        {"result": result, **_names(row)},
    )


def cancelled(db: Db, number: int, result: str) -> None:
    """Records that the letter's cause is gone and wipes the body."""
    db.execute(
        "UPDATE mails SET state = 'cancelled', result = :result, sealed_body = NULL"
        " WHERE id = :number AND state = 'queued'",
        {"result": result, "number": number},
    )


def put_off(db: Db, number: int, until_at: int, result: str) -> None:
    """Has a letter that nobody took wait, by no refusal of its own."""
    db.execute(
        "UPDATE mails SET next_attempt_at = :until_at, result = :result WHERE id = :number AND state ="
        " 'queued'",
        {"until_at": until_at, "result": result, "number": number},
    )


def given_back(db: Db, row: Letter, result: str) -> None:
    """Ends the lease: the letter is due as before, and what holds them all holds it."""
    db.execute(
        f"UPDATE mails SET claimed_until_at = 0, result = :result WHERE {_OURS}",
        {"result": result, **_names(row)},
    )


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
        failed(db, row, f"given up: {result}")
        return
    later = at + _BACKOFF[min(row["refusals"], len(_BACKOFF) - 1)]
    db.execute(
        "UPDATE mails SET claimed_until_at = 0, next_attempt_at = :later, refusals = refusals + 1,"
        f" refused_since_at = :since, unclear = :doubts, result = :result WHERE {_OURS}",
        {"later": later, "since": since, "doubts": doubts, "result": result, **_names(row)},
    )


def hold(db: Db, channel: Channel, at: int, said: str) -> int | None:
    """Has every letter of a channel wait; until when, or None if they do already."""
    before = lane(db, channel)
    if before.holds(at):
        return None
    until = at + _HOLD[min(before.refusals, len(_HOLD) - 1)]
    db.execute(
        "INSERT INTO mail_lanes(channel, refusals, held_since_at, held_until_at, said)"
        " VALUES (:channel, 1, :at, :until, :said) ON CONFLICT(channel) DO UPDATE SET"
        " refusals = mail_lanes.refusals + 1, held_since_at = coalesce(mail_lanes.held_since_at, :at),"
        " held_until_at = :until,"
        " said = :said",
        {"channel": channel, "at": at, "until": until, "said": said},
    )
    return until


def note_refusal(db: Db, command: str, at: int, said: str) -> None:
    """Counts a refusal by the command that was refused."""
    db.execute(
        "INSERT INTO mail_refusals(command, count, last_at, said) VALUES (:command, 1, :at, :said)"
        " ON CONFLICT(command) DO UPDATE SET count = mail_refusals.count + 1, last_at = :at, said = :said",
        {"command": command, "at": at, "said": said},
    )


# -- operators -------------------------------------------------------------------------------------------


def retry(db: Db, at: int) -> int:
    """Ends every hold and back-off; returns how many letters wait. Who sends one keeps it."""
    db.execute("UPDATE mail_lanes SET refusals = 0, held_since_at = NULL, held_until_at = 0, said = ''")
    changed = db.execute(
        f"UPDATE mails SET {_ANEW} WHERE state = 'queued' AND held_at IS NULL", {"at": at, "first": at}
    )
    return changed


def retry_failed(db: Db, at: int) -> int:
    """Queues again what was refused and never left; returns how many."""
    changed = db.execute(
        f"UPDATE mails SET state = 'queued', queued_at = :at, {_AS_IT_IS}, {_ANEW}"
        " WHERE state = 'failed' AND sent_at IS NULL AND sealed_body IS NOT NULL",
        {"at": at, "first": at},
    )
    return changed


def retry_one(db: Db, number: int, at: int) -> bool:
    """Has one letter tried before all others, a hold or not; False if it does not wait, nor can again."""
    changed = db.execute(
        f"UPDATE mails SET state = 'queued', {_AS_IT_IS}, {_ANEW},"
        " queued_at = CASE WHEN state = 'failed' THEN :at ELSE queued_at END"
        " WHERE id = :number AND state IN ('queued', 'failed') AND sent_at IS NULL"
        " AND sealed_body IS NOT NULL AND held_at IS NULL",
        {"at": at, "first": 0, "number": number},
    )
    db.execute(
        "UPDATE mail_lanes SET held_until_at = 0 WHERE channel = (SELECT channel FROM mails WHERE id ="
        " :number)",
        {"number": number},
    )
    return changed > 0


def wake(db: Db, policy_number: str, at: int) -> None:
    """Makes due what waited because its organisation was disabled."""
    db.execute(
        "UPDATE mails SET next_attempt_at = :at, result = '' WHERE state = 'queued' AND refusals = 0"
        " AND next_attempt_at > :at AND user_id IN (SELECT user_id FROM users WHERE policy_number = :number)",
        {"at": at, "number": policy_number},
    )


def next_attempt(db: Db, row: Letter, at: int, settings: Settings) -> int | None:
    """When a letter that waits is tried next, whatever of all it waits for; None if it does not wait."""
    if row["state"] != "queued" or row["held_at"] is not None:
        return None
    held = lane(db, row["channel"])
    moment = max(at, row["next_attempt_at"], held.held_until_at if held.holds(at) else 0)
    return leaves_from(moment, settings) if row["notice"] else moment


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
    opened = opened_at(at, settings)
    waits = "state = 'queued' AND held_at IS NULL"
    # Notices could leave since the hours began only, and while they last.
    leaves = "CASE WHEN notice = 1 AND queued_at < :opened THEN :opened ELSE queued_at END"
    row = db.one(
        f"SELECT min({leaves}) FROM mails"
        " JOIN users USING (user_id) JOIN organisations USING (policy_number)"
        f" WHERE {waits} AND refused_since_at IS NULL AND organisations.disabled_at IS NULL"
        f" AND notice IN (0, {int(opened is not None)})",
        {"opened": opened or 0},
    )
    since = row[0] if row is not None else None
    return Standing(
        waiting=_number(db, f"SELECT count(*) FROM mails WHERE {waits}"),
        failed=_number(db, "SELECT count(*) FROM mails WHERE state = 'failed'"),
        oldest=max(0, at - since) if since is not None else 0,
        put_off=_number(db, f"SELECT count(refused_since_at) FROM mails WHERE {waits}"),
        sent=_number(db, "SELECT count(*) FROM mails WHERE sent_at IS NOT NULL"),
        held=tuple(each for each in (lane(db, channel) for channel in CHANNELS) if each.refusals),
    )


def refusals(db: Db) -> Sequence[Row]:
    """Of each command that was ever refused: how often, when last, and what was said."""
    return db.rows("SELECT * FROM mail_refusals ORDER BY command")


# -- within ----------------------------------------------------------------------------------------------

_OURS = "id = :id AND state = 'queued' AND attempts = :attempts"
_ANEW = "next_attempt_at = :first, refusals = 0, refused_since_at = NULL, unclear = 0"

# The address may have been put right since it was refused.
_AS_IT_IS = (
    "recipient = CASE channel WHEN 'mail' THEN (SELECT mail FROM users WHERE users.user_id = mails.user_id)"
    " ELSE recipient END"
)


def _names(row: Letter) -> Values:
    return {"id": row["id"], "attempts": row["attempts"]}


def _moment(channel: Channel, notice: int, at: int) -> Values:
    return {"channel": channel, "notice": notice, "at": at, "lease": LEASE}


def _number(db: Db, statement: str, values: Values = {}) -> int:  # noqa: B006
    row = db.one(statement, values)
    assert row is not None
    return int(row[0])
