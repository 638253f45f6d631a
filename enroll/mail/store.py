"""Every statement about letters: those that are written, the queue that they leave by, and what holds it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from ca.epochs import Place
from ca.storage import LOOK, UNTAKEN, Row, Transaction, Values, inserting
from enroll.mail.states import Pace

Channel = Literal["mail", "postcard"]
#: A row of the table ``mails``, as its taker was given it.
Letter = dict[str, Any]

#: What a letter says, passwords and all, until it has left.
BODY = Place("mails", "cause", "sealed_body")

#: A letter that is being sent belongs to its process for this long, in seconds, and longer if renewed.
LEASE = 120


# -- letters ---------------------------------------------------------------------------------------------


def add(db: Transaction, values: Values, *, again: bool) -> bool:
    """Records a letter; False when its cause has had one (with ``again``: one that left, or waits)."""
    changed = db.execute(
        f"{inserting('mails', values)} ON CONFLICT (cause) DO {_ONCE_MORE if again else 'NOTHING'}", values
    )
    return changed > 0


# Compare-and-set on the state: of two that queue it again one wins.
_ONCE_MORE = (
    "UPDATE SET state = 'queued', failure = '', result = '', recipient = excluded.recipient,"
    " subject = excluded.subject, shown_body = excluded.shown_body, sealed_body = excluded.sealed_body,"
    " about = excluded.about,"
    " next_attempt_at = excluded.next_attempt_at, queued_at = excluded.queued_at,"
    " refusals = 0, refused_since_at = NULL, unclear = 0, held_at = NULL, batch = NULL, handed = 0"
    " WHERE mails.state IN ('failed', 'cancelled') AND mails.sent_at IS NULL"
)


def newest(db: Transaction) -> int:
    """The number of the newest letter; 0 if there is none."""
    return _number(db, f"SELECT coalesce(max(id), 0) FROM mails{LOOK}")


def hold_back(db: Transaction, user_id: str, at: int) -> None:
    """Keeps a user's letters until somebody releases them."""
    db.execute(
        "UPDATE mails SET held_at = :at WHERE user_id = :user_id AND state = 'queued'",
        {"at": at, "user_id": user_id},
    )


def release(db: Transaction, at: int, user_id: str | None = None) -> int:
    """Lets held letters go, all or one user's; returns how many."""
    mine = " AND user_id = :user_id" if user_id is not None else ""
    return db.execute(
        "UPDATE mails SET held_at = NULL, next_attempt_at = :at, queued_at = :at WHERE held_at IS NOT NULL"
        f" AND state = 'queued'{mine}",
        {"at": at, "user_id": user_id},
    )


#: Of a letter that has left, or was taken to leave.
BEGUN = "(attempts > 0 OR state = 'sent' OR sent_at IS NOT NULL)"


def any_begun(db: Transaction, user_id: str, request_id: str) -> bool:
    """Whether a letter to a user, or about a request, has left, or was taken to leave."""
    row = db.one(
        f"SELECT 1 FROM mails WHERE (user_id = :user_id OR request_id = :request_id) AND {BEGUN} LIMIT 1",
        {"user_id": user_id, "request_id": request_id},
    )
    return row is not None


def forget(db: Transaction, user_id: str, request_id: str) -> None:
    """Takes letters away that have never left."""
    mine = "(user_id = :user_id OR request_id = :request_id) AND attempts = 0"
    values = {"user_id": user_id, "request_id": request_id}
    db.execute(f"DELETE FROM mail_history WHERE letter IN (SELECT id FROM mails WHERE {mine})", values)
    db.execute(f"DELETE FROM mails WHERE {mine}", values)


def held(db: Transaction, user_id: str | None = None) -> int:
    """How many letters wait for their release, of all or of one user's."""
    mine = " AND user_id = :user_id" if user_id is not None else ""
    row = db.one(
        f"SELECT count(*) FROM mails WHERE held_at IS NOT NULL AND state = 'queued'{mine}{LOOK}",
        {"user_id": user_id},
    )
    assert row is not None
    return int(row[0])


def of_cause(db: Transaction, cause: str) -> Row | None:
    """State, moments of queueing and leaving, and recipient of the letter that a cause has had."""
    asked = "SELECT state, queued_at, sent_at, recipient FROM mails WHERE cause = :cause"
    return db.one(asked, {"cause": cause})


def last_notice(db: Transaction, user_id: str) -> Row | None:
    """Of a user's letters about a renewal the newest that was not cancelled: where it stands (`state_of`),
    when it was queued last and left, and to whom. Whoever writes by it holds the user before."""
    return db.one(
        f"SELECT {_NOTICE} FROM mails WHERE user_id = :user_id AND {_NOTICES}"
        f" ORDER BY queued_at DESC, id DESC LIMIT 1{LOOK}",
        {"user_id": user_id},
    )


def last_notices(db: Transaction, user_ids: Sequence[str]) -> dict[str, Row]:
    """The same of many: user ID -> that letter, where there is one."""
    found = dict[str, Row]()
    for begin in range(0, len(user_ids), _AT_ONCE):
        values = {f"u{place}": each for place, each in enumerate(user_ids[begin : begin + _AT_ONCE])}
        rows = db.rows(
            f"SELECT user_id, {_NOTICE} FROM mails WHERE id IN (SELECT id FROM (SELECT id, row_number()"
            " OVER (PARTITION BY user_id ORDER BY queued_at DESC, id DESC) AS place FROM mails"
            f" WHERE user_id IN ({', '.join(f':{name}' for name in values)}) AND {_NOTICES}) AS placed"
            f" WHERE place = 1){LOOK}",
            values,
        )
        found |= {row["user_id"]: row for row in rows}
    return found


_NOTICE = "state, failure, held_at, queued_at, sent_at, recipient"
_NOTICES = "channel = 'mail' AND kind IN ('renewal_30', 'renewal_7') AND state <> 'cancelled'"
# So many users are asked about by one statement.
_AT_ONCE = 500


def mark_bounced(db: Transaction, number: int, at: int, said: str) -> bool:
    """Records that an accepted letter came back; False when it was recorded already."""
    changed = db.execute(
        "UPDATE mails SET state = 'failed', failure = 'bounced', result = :result"
        " WHERE id = :number AND state = 'sent'",
        {"result": f"bounced: {said}", "number": number},
    )
    if changed:
        _tell(db, number, at, "bounced", said)
    return changed > 0


def newest_to(db: Transaction, user_id: str, recipient: str) -> dict[str, Any] | None:
    """Of the mails to a user at an address the newest that has left, or failed."""
    row = db.one(
        f"SELECT {SHOWN} FROM mails WHERE user_id = :user_id AND channel = 'mail'"
        " AND recipient = :recipient AND state IN ('sent', 'failed') ORDER BY id DESC LIMIT 1",
        {"user_id": user_id, "recipient": recipient},
    )
    return None if row is None else {**row}


def history(db: Transaction, number: int) -> list[dict[str, Any]]:
    """What happened to a letter besides its queueing and its leaving, oldest first."""
    found = db.rows(
        "SELECT at, event, said FROM mail_history WHERE letter = :number ORDER BY number", {"number": number}
    )
    return [{**row} for row in found]


def sent_again(db: Transaction, number: int) -> list[int]:
    """The letters by which one was sent once more, oldest first: what their causes begin with."""
    values = {"first": f"again:{number}:", "last": f"again:{number};"}
    found = db.rows(f"SELECT id FROM mails WHERE cause >= :first AND cause < :last ORDER BY id{LOOK}", values)
    return [row["id"] for row in found]


def _tell(db: Transaction, number: int, at: int, event: str, said: str = "") -> None:
    values = {"letter": number, "at": at, "event": event, "said": said}
    db.execute(inserting("mail_history", values), values)


# What never left: it still waits, or was refused and may be tried again.
_AT_HOME = "state IN ('queued', 'failed') AND sent_at IS NULL"


def cancel_of_request(db: Transaction, request_id: str) -> int:
    """Cancels what never left for a request that has ended; returns how many."""
    changed = db.execute(
        "UPDATE mails SET state = 'cancelled', failure = '', sealed_body = NULL,"
        " result = 'the request has ended'"
        f" WHERE request_id = :request_id AND {_AT_HOME}",
        {"request_id": request_id},
    )
    return changed


def cancel_login_passwords(db: Transaction, user_id: str) -> None:
    """Cancels what never left for a user and tells a login password: there is a newer one."""
    db.execute(
        "UPDATE mails SET state = 'cancelled', failure = '', sealed_body = NULL,"
        " result = 'there is a newer password'"
        f" WHERE user_id = :user_id AND kind IN ('user_id', 'password_reset') AND {_AT_HOME}",
        {"user_id": user_id},
    )


def redirect(db: Transaction, user_id: str, recipient: str) -> None:
    """Sends what still waits for a user, and what is tried again, to another address.

    Notices keep the address that was refused: by it `scheduler.notify` knows that another one has come.
    """
    db.execute(
        "UPDATE mails SET recipient = :recipient WHERE user_id = :user_id AND channel = 'mail'"
        f" AND {_AT_HOME} AND NOT (state = 'failed' AND notice = 1)",
        {"recipient": recipient, "user_id": user_id},
    )


def redirect_operators(db: Transaction, before: str, recipient: str) -> None:
    """The same of what goes to operators, unless another one of them still has that address."""
    db.execute(
        "UPDATE mails SET recipient = :recipient WHERE user_id = '' AND channel = 'mail'"
        f" AND recipient = :before AND {_AT_HOME}"
        " AND NOT EXISTS (SELECT 1 FROM operators WHERE mail = :before AND ended_at IS NULL)",
        {"recipient": recipient, "before": before},
    )


#: What operators see of a letter, but for its words.
SHOWN = (
    "id, kind, channel, notice, user_id, request_id, recipient, subject, state, failure, attempts,"
    # What a process has now, or had when it died, nobody else takes before its lease is over, or `free`.
    " CASE WHEN next_attempt_at < claimed_until_at THEN claimed_until_at ELSE next_attempt_at END"
    " AS next_attempt_at, created_at, held_at, sent_at, result"
)


def listed(
    db: Transaction,
    user_id: str | None = None,
    limit: int = 200,
    state: str | None = None,
    before: int = 2**62,
) -> list[dict[str, Any]]:
    """Letters for operators, newest first, without their bodies: those before a number."""
    given = {"user_id": user_id, "state": state}
    where = " AND ".join(f"{name} = :{name}" for name, value in given.items() if value is not None)
    found = db.rows(
        f"SELECT {SHOWN} FROM mails WHERE {where or '1 = 1'} AND id < :before ORDER BY id DESC LIMIT :limit",
        {**given, "limit": limit, "before": before},
    )
    return [{**row} for row in found]


def told_at(db: Transaction, cause: str) -> int | None:
    """When a letter of a cause left, or was queued where it has not; None if there is none."""
    row = db.one("SELECT coalesce(sent_at, created_at) FROM mails WHERE cause = :cause", {"cause": cause})
    return None if row is None else int(row[0])


def shown(db: Transaction, number: int) -> dict[str, Any] | None:
    """One letter for operators, its secrets masked."""
    row = db.one(f"SELECT {SHOWN}, shown_body FROM mails WHERE id = :number", {"number": number})
    return None if row is None else {**row}


def about(db: Transaction, number: int) -> list[str]:
    """The serials that a letter is about, where it is about many."""
    row = db.one(f"SELECT about FROM mails WHERE id = :number{LOOK}", {"number": number})
    return [] if row is None else str(row[0]).split()


def waiting(db: Transaction) -> int:
    """How many letters are queued and on their way; those held are not."""
    return _number(db, f"SELECT count(*) FROM mails WHERE state = 'queued' AND held_at IS NULL{LOOK}")


# -- templates -------------------------------------------------------------------------------------------


def templates(db: Transaction) -> Sequence[Row]:
    """Every text that operators have put in the place of a template's."""
    return db.rows(f"SELECT * FROM mail_templates ORDER BY name{LOOK}")


def template(db: Transaction, name: str) -> Row | None:
    """The one of a template; None where nobody has changed it."""
    return db.one("SELECT * FROM mail_templates WHERE name = :name", {"name": name})


def set_template(db: Transaction, name: str, text: str, at: int, by: str) -> None:
    """Puts a text in the place of a template's."""
    values = {"name": name, "text": text, "changed_at": at, "changed_by": by}
    db.execute(
        f"{inserting('mail_templates', values)} ON CONFLICT (name) DO UPDATE"
        " SET text = excluded.text, changed_at = excluded.changed_at, changed_by = excluded.changed_by",
        values,
    )


def drop_template(db: Transaction, name: str) -> None:
    """Has what holds without a change hold again."""
    db.execute("DELETE FROM mail_templates WHERE name = :name", {"name": name})


# -- the queue -------------------------------------------------------------------------------------------


def lane(db: Transaction, channel: Channel) -> Row | None:
    """What holds every letter of a channel; None where nothing ever did."""
    return db.one("SELECT * FROM mail_lanes WHERE channel = :channel", {"channel": channel})


# A lease that ends too far off is, again, a clock's that ran ahead.
_DUE = (
    "state = 'queued' AND held_at IS NULL AND batch IS NULL AND handed = 0 AND channel = :channel"
    " AND notice = :notice"
    " AND next_attempt_at <= :at AND (claimed_until_at <= :at OR claimed_until_at > :furthest)"
)


def due(db: Transaction, channel: Channel, at: int, most: int, leaving: Sequence[Pace]) -> int:
    """How many letters of a channel may leave now, counted up to ``most``, of these paces."""
    found = 0
    for pace in leaving:
        left = {**_moment(channel, pace, at), "most": most - found}
        found += _number(
            db, f"SELECT count(*) FROM (SELECT 1 FROM mails WHERE {_DUE} LIMIT :most) AS due{LOOK}", left
        )
    return found


def next_due(db: Transaction, channel: Channel, at: int, leaving: Sequence[Pace]) -> Letter | None:
    """The letter to send next: of the first of these paces that has one, by when it was due."""
    for pace in leaving:
        found = db.rows(
            f"SELECT * FROM mails WHERE {_DUE} ORDER BY next_attempt_at, id LIMIT 1{UNTAKEN}",
            _moment(channel, pace, at),
        )
        if found:
            return dict(found[0])
    return None


def begin(db: Transaction, row: Letter, at: int) -> Letter:
    """Takes a letter for ``LEASE`` seconds; the row as it then is."""
    db.execute(
        "UPDATE mails SET claimed_until_at = :claimed_until_at, attempts = attempts + 1 WHERE id = :id",
        {"claimed_until_at": at + LEASE, "id": row["id"]},
    )
    return row | {"attempts": row["attempts"] + 1}


def rewrite(db: Transaction, row: Letter, words: Values) -> Letter:
    """Has a letter that is about to be taken say something else (``words``: `writing.words_of`); the row as
    it then is."""
    sets = ", ".join(f"{name} = :{name}" for name in words)
    db.execute(f"UPDATE mails SET {sets} WHERE id = :id", {**words, "id": row["id"]})
    return row | dict(words)


def may_begin(db: Transaction, channel: Channel, at: int, per_minute: int) -> bool:
    """Counts a letter that is about to be sent; False when this minute has had its number."""
    minute = at // 60
    changed = db.execute(
        "INSERT INTO mail_lanes (channel, minute, begun) VALUES (:channel, :minute, 1)"
        " ON CONFLICT(channel) DO UPDATE SET minute = :minute,"
        " begun = CASE WHEN mail_lanes.minute = :minute THEN mail_lanes.begun + 1 ELSE 1 END"
        " WHERE mail_lanes.minute <> :minute OR mail_lanes.begun < :per_minute",
        {"channel": channel, "minute": minute, "per_minute": per_minute},
    )
    return changed > 0


def keep(db: Transaction, row: Letter, at: int) -> bool:
    """Renews a lease; False when the letter is another process's by now, or settled."""
    changed = db.execute(
        f"UPDATE mails SET claimed_until_at = :until WHERE {_OURS}", {"until": at + LEASE, **_names(row)}
    )
    return changed > 0


def hand_over(db: Transaction, row: Letter) -> bool:
    """Records that a letter is about to leave, just before it may: from now on only its taker knows whether
    it has. False when it is another process's by now."""
    return db.execute(f"UPDATE mails SET handed = attempts WHERE {_OURS}", _names(row)) > 0


def free(db: Transaction, channels: Collection[Channel]) -> None:
    """Has what was taken of these and not handed over be due again."""
    for channel in channels:
        db.execute(
            "UPDATE mails SET claimed_until_at = 0"
            " WHERE state = 'queued' AND claimed_until_at > 0 AND handed = 0 AND channel = :channel",
            {"channel": channel},
        )


# Or its lease ends further off than that of any clock that is a little ahead: that one has been set right.
_UNSETTLED = (
    "state = 'queued' AND handed > 0 AND channel = :channel"
    " AND (claimed_until_at <= :at OR claimed_until_at > :furthest)"
)


def unsettled(db: Transaction, channel: Channel, at: int) -> bool:
    """Whether there is a letter that was about to leave when whoever had it was heard of last."""
    values = {"channel": channel, "at": at, "furthest": at + 2 * LEASE}
    found = db.one(f"SELECT 1 FROM mails WHERE {_UNSETTLED} LIMIT 1{LOOK}", values)
    return found is not None


def give_up_unsettled(db: Transaction, channel: Channel, at: int, said: str) -> list[int]:
    """Gives such letters up: it may have left, and none leaves twice. The numbers of them. Whoever had one
    and wakes may still say that it was taken (`accepted`)."""
    values = {"channel": channel, "at": at, "furthest": at + 2 * LEASE}
    found = db.rows(f"SELECT id FROM mails WHERE {_UNSETTLED} ORDER BY id", values)
    for row in found:
        db.execute(
            "UPDATE mails SET state = 'failed', failure = 'given_up', claimed_until_at = 0, result = :said"
            " WHERE id = :id",
            {"id": row[0], "said": f"given up: {said}"},
        )
        _tell(db, int(row[0]), at, "given_up", said)
    return [int(row[0]) for row in found]


# By more than any back-off: the clock ran ahead, and has been set right since.
_IN_THE_FUTURE = (
    "state = 'queued' AND held_at IS NULL AND channel = :channel AND notice IN (0, 1, 2)"
    " AND next_attempt_at > :furthest"
)


def in_the_future(db: Transaction, channel: Channel, at: int, furthest: int) -> bool:
    """Whether a letter is put off by more than ``furthest`` seconds."""
    values = {"channel": channel, "at": at, "furthest": at + furthest}
    return db.one(f"SELECT 1 FROM mails WHERE {_IN_THE_FUTURE} LIMIT 1", values) is not None


def forget_future(db: Transaction, channel: Channel, at: int, furthest: int) -> None:
    """Makes such letters due."""
    db.execute(
        f"UPDATE mails SET next_attempt_at = :at WHERE {_IN_THE_FUTURE}",
        {"channel": channel, "at": at, "furthest": at + furthest},
    )


def accepted(db: Transaction, number: int, channel: Channel, at: int, result: str) -> bool:
    """Records that a letter has left and wipes its body; False when it was recorded already.

    Whatever held the others is over.
    """
    db.execute(
        "INSERT INTO mail_lanes(channel, accepted_at) VALUES (:channel, :at) ON CONFLICT(channel) DO UPDATE"
        " SET refusals = 0, held_since_at = NULL, held_until_at = 0, said = '', accepted_at = :at",
        {"channel": channel, "at": at},
    )
    changed = db.execute(
        "UPDATE mails SET state = 'sent', failure = '', handed = 0, result = :result, sent_at = :at,"
        " sealed_body = NULL"
        " WHERE id = :number AND (state = 'queued' OR (state = 'failed' AND handed > 0))",
        {"result": result, "at": at, "number": number},
    )
    return changed > 0


def failed(db: Transaction, row: Letter, at: int, result: str, *, given_up: bool = False) -> None:
    """Records a refusal for good, or that a letter is given up. The body stays: an operator may have it tried
    again."""
    failure = "given_up" if given_up else "refused"
    said = f"given up: {result}" if given_up else result
    changed = db.execute(
        "UPDATE mails SET state = 'failed', failure = :failure, claimed_until_at = 0, handed = 0,"
        " result = :result"
        f" WHERE {_OURS}",
        {"failure": failure, "result": said, **_names(row)},
    )
    if changed:
        _tell(db, row["id"], at, failure, result)


def cancelled(db: Transaction, number: int, result: str) -> None:
    """Records that the letter's cause is gone and wipes the body."""
    db.execute(
        "UPDATE mails SET state = 'cancelled', result = :result, sealed_body = NULL"
        " WHERE id = :number AND state = 'queued'",
        {"result": result, "number": number},
    )


def put_off(db: Transaction, number: int, until_at: int, result: str) -> None:
    """Has a letter that nobody took wait, by no refusal of its own."""
    db.execute(
        "UPDATE mails SET next_attempt_at = :until_at, result = :result WHERE id = :number AND state ="
        " 'queued'",
        {"until_at": until_at, "result": result, "number": number},
    )


def given_back(db: Transaction, row: Letter, result: str) -> None:
    """Ends the lease: the letter is due as before, and what holds them all holds it."""
    db.execute(
        f"UPDATE mails SET claimed_until_at = 0, handed = 0, result = :result WHERE {_OURS}",
        {"result": result, **_names(row)},
    )


def put_back(
    db: Transaction, row: Letter, at: int, until_at: int, since_at: int, unclear: int, result: str
) -> None:
    """Has a refused letter wait for its next attempt."""
    changed = db.execute(
        "UPDATE mails SET claimed_until_at = 0, handed = 0, next_attempt_at = :until,"
        " refusals = refusals + 1,"
        f" refused_since_at = :since, unclear = :unclear, result = :result WHERE {_OURS}",
        {"until": until_at, "since": since_at, "unclear": unclear, "result": result, **_names(row)},
    )
    if changed:
        _tell(db, row["id"], at, "put_off", result)


def hold(db: Transaction, channel: Channel, at: int, until_at: int, said: str) -> None:
    """Has every letter of a channel wait."""
    db.execute(
        "INSERT INTO mail_lanes (channel, refusals, held_since_at, held_until_at, said)"
        " VALUES (:channel, 1, :at, :until, :said) ON CONFLICT (channel) DO UPDATE SET"
        " refusals = mail_lanes.refusals + 1, held_since_at = coalesce(mail_lanes.held_since_at, :at),"
        " held_until_at = :until, said = :said",
        {"channel": channel, "at": at, "until": until_at, "said": said},
    )


def note_refusal(db: Transaction, command: str, at: int, said: str) -> None:
    """Counts a refusal by the command that was refused."""
    db.execute(
        "INSERT INTO mail_refusals(command, count, last_at, said) VALUES (:command, 1, :at, :said)"
        " ON CONFLICT(command) DO UPDATE SET count = mail_refusals.count + 1, last_at = :at, said = :said",
        {"command": command, "at": at, "said": said},
    )


def retry(db: Transaction, at: int) -> int:
    """Ends every hold and back-off; returns how many letters wait. Who sends one keeps it."""
    db.execute("UPDATE mail_lanes SET refusals = 0, held_since_at = NULL, held_until_at = 0, said = ''")
    changed = db.execute(
        f"UPDATE mails SET {_ANEW} WHERE state = 'queued' AND held_at IS NULL", {"at": at, "first": at}
    )
    return changed


def retry_failed(db: Transaction, at: int) -> int:
    """Queues again what was refused and never left; returns how many."""
    again = "state = 'failed' AND sent_at IS NULL AND sealed_body IS NOT NULL"
    db.execute(
        "INSERT INTO mail_history (letter, at, event)"
        f" SELECT id, :at, 'retried' FROM mails WHERE {again} ORDER BY id",
        {"at": at},
    )
    changed = db.execute(
        f"UPDATE mails SET state = 'queued', failure = '', handed = 0, queued_at = :at, {_AS_IT_IS}, {_ANEW}"
        f" WHERE {again}",
        {"at": at, "first": at},
    )
    return changed


def retry_one(db: Transaction, number: int, at: int) -> bool:
    """Has one letter tried before all others, a hold or not; False if it does not wait, nor can again."""
    changed = db.execute(
        f"UPDATE mails SET state = 'queued', failure = '', handed = 0, {_AS_IT_IS}, {_ANEW},"
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
    if changed:
        _tell(db, number, at, "retried")
    return changed > 0


def wake(db: Transaction, policy_number: str, at: int) -> None:
    """Makes due what waited because its organisation was disabled."""
    db.execute(
        "UPDATE mails SET next_attempt_at = :at, result = '' WHERE state = 'queued' AND refusals = 0"
        " AND next_attempt_at > :at AND user_id IN (SELECT user_id FROM users WHERE policy_number = :number)",
        {"at": at, "number": policy_number},
    )


def refusals(db: Transaction) -> Sequence[Row]:
    """Of each command that was ever refused: how often, when last, and what was said."""
    return db.rows("SELECT * FROM mail_refusals ORDER BY command")


def counts(db: Transaction) -> dict[str, int]:
    """How many letters wait, are put off by their recipients, have failed, and have left."""
    waits = "state = 'queued' AND held_at IS NULL"
    return {
        "waiting": _number(db, f"SELECT count(*) FROM mails WHERE {waits}{LOOK}"),
        "put_off": _number(db, f"SELECT count(refused_since_at) FROM mails WHERE {waits}{LOOK}"),
        "failed": _number(db, f"SELECT count(*) FROM mails WHERE state = 'failed'{LOOK}"),
        "sent": _number(db, f"SELECT count(*) FROM mails WHERE sent_at IS NOT NULL{LOOK}"),
    }


def oldest(db: Transaction, opened: Mapping[Pace, int | None], *, printed: bool = False) -> int | None:
    """Since when the oldest letter could have left that nothing of its own holds. ``opened``: since when
    those of a pace may leave; None: they may not. ``printed``: postcards wait for somebody to print them."""
    found = list[int]()
    for pace, since in opened.items():
        if since is None:
            continue
        row = db.one(
            "SELECT min(CASE WHEN queued_at < :opened THEN :opened ELSE queued_at END) FROM mails"
            " JOIN users USING (user_id) JOIN organisations USING (policy_number)"
            " WHERE state = 'queued' AND held_at IS NULL AND refused_since_at IS NULL"
            " AND organisations.disabled_at IS NULL AND notice = :notice"
            f" AND (channel = 'mail' OR :printed = 0){LOOK}",
            {"opened": since, "notice": int(pace), "printed": int(printed)},
        )
        if row is not None and row[0] is not None:
            found.append(int(row[0]))
    return min(found, default=None)


_OURS = "id = :id AND state = 'queued' AND attempts = :attempts"
_ANEW = "next_attempt_at = :first, refusals = 0, refused_since_at = NULL, unclear = 0"
# The address may have been put right since it was refused; who is no user has no other.
_AS_IT_IS = (
    "recipient = CASE channel WHEN 'mail' THEN"
    " coalesce((SELECT mail FROM users WHERE users.user_id = mails.user_id), recipient) ELSE recipient END"
)


def _names(row: Letter) -> Values:
    return {"id": row["id"], "attempts": row["attempts"]}


def _moment(channel: Channel, pace: Pace, at: int) -> Values:
    return {"channel": channel, "notice": int(pace), "at": at, "furthest": at + LEASE}


def _number(db: Transaction, statement: str, values: Values = {}) -> int:  # noqa: B006
    row = db.one(statement, values)
    assert row is not None
    return int(row[0])
