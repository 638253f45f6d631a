"""Carries queued letters out: a few connections, many letters on each, one back-off for what is no letter's.

At least once: a letter is settled after the server took it, so that a crash in between sends it again, and
one whose connection broke after its last dot too (RFC 1047). Its Message-ID stays the same.

Where nodes share the database, at most once as far as they are concerned: that a letter is about to leave is
written down just before, in the term of whoever leads (`ca.fencing`), and one that was not settled after that
is given up, since whoever had it may only be standing still. What the mail server has answered is written
down in any term.
"""

from __future__ import annotations

import asyncio
import email.utils
import logging
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from ca.epochs import LostKey
from ca.fencing import unfenced
from ca.storage import StorageError, Transaction
from enroll import generations, noticing, store, timekeeping
from enroll.jst import JST, day_of, shown
from enroll.mail import occasions, queue, writing
from enroll.mail import store as mail_store
from enroll.mail.hours import opened_at
from enroll.mail.replies import Verdict
from enroll.mail.states import IN_TURN, Pace
from enroll.mail.transport import MailSession, Refused, Transport
from enroll.operators import ending
from enroll.ra import RegistrationAuthority
from enroll.requests.enrollment import state_at
from enroll.requests.states import ENDED, Event
from enroll.requests.transitions import apply

log = logging.getLogger("sekisho.delivery")

# Seconds for the mail server's last answer, when the process stops.
_LAST_ANSWER = 5.0
# A lease is renewed this often while its letter is being sent, in seconds: three times before it ends.
_RENEWAL = mail_store.LEASE / 3
# For fewer letters than this another connection is not worth its handshakes.
_WORTH_A_CONNECTION = 10
# Letters looked at in one transaction until one is found that is to be sent.
_LOOKED_AT = 200
# Seconds until a disabled organisation is asked for again; enabling it makes its letters due at once.
_DISABLED = 3_600

_UNSETTLED = "the node that had it ended while the mail server took it, or not"
_RETRY = "sekisho mail retry --letter"

Beat = Callable[[], Awaitable[None]]


async def _beat() -> None:
    await asyncio.sleep(_RENEWAL)


async def deliver_due(ra: RegistrationAuthority, transport: Transport, beat: Beat = _beat) -> int:
    """Sends what is due, on each connection as many letters as one carries; returns how many were taken.

    ``beat`` returns when it is time to renew the leases of what is being sent.
    """
    taken = 0
    for channel in queue.CHANNELS:
        if channel == "postcard" and ra.settings.postcards == "batches":
            continue  # an operator prints them: enroll/postcards/batches.py
        got, tried = await _deliver_channel(ra, transport, channel, beat)
        while tried and not got:
            # All were refused, be it by a hundred recipients: what is behind them is due as well.
            got, tried = await _deliver_channel(ra, transport, channel, beat)
        taken += got
    return taken


#: Letters taken, and letters tried.
Count = tuple[int, int]


async def _deliver_channel(
    ra: RegistrationAuthority, transport: Transport, channel: mail_store.Channel, beat: Beat
) -> Count:
    now, worth = ra.now(), transport.connections * _WORTH_A_CONNECTION
    lane, ahead, unsettled = await ra.database.read(
        lambda db: (
            queue.lane(db, channel),
            queue.in_the_future(db, channel, now),
            mail_store.unsettled(db, channel, now),
        )
    )
    if unsettled:
        await _give_up(ra, channel, now)
    if lane.holds(now):
        return 0, 0
    if ahead:
        await ra.database.write(lambda db: queue.forget_future(db, channel, now))
    due = await ra.database.read(lambda db: mail_store.due(db, channel, now, worth, _leaving(ra, db)))
    if not due:
        return 0, 0
    # After a refusal one letter goes ahead, to see whether the others may follow.
    more = 0 if lane.refusals else min(transport.connections, -(-due // _WORTH_A_CONNECTION)) - 1
    try:
        session = await transport.open(channel)
    except Refused as error:
        refused = error
        await ra.database.write(lambda db: _hold(db, ra, channel, refused))
        return 0, 0
    carriers: list[Coroutine[None, None, Count]] = [_carry(ra, transport, channel, session, beat)]
    carriers += [_carry_too(ra, transport, channel, beat) for _ in range(more)]
    taken = tried = 0
    for count in await asyncio.gather(*carriers, return_exceptions=True):
        if isinstance(count, BaseException):
            raise count
        taken, tried = taken + count[0], tried + count[1]
    return taken, tried


async def _give_up(ra: RegistrationAuthority, channel: mail_store.Channel, now: int) -> None:
    numbers = await ra.database.write(lambda db: mail_store.give_up_unsettled(db, channel, now, _UNSETTLED))
    for number in numbers:
        log.error(
            "letter %d is given up: %s; to send it all the same: %s %d", number, _UNSETTLED, _RETRY, number
        )


async def _carry_too(
    ra: RegistrationAuthority, transport: Transport, channel: mail_store.Channel, beat: Beat
) -> Count:
    """A further connection. That the server wants no more of them is no reason to hold anything."""
    try:
        session = await transport.open(channel)
    except Refused as error:
        refused = error
        await ra.database.write(lambda db: _note(db, ra, refused))
        return 0, 0
    return await _carry(ra, transport, channel, session, beat)


async def _carry(
    ra: RegistrationAuthority,
    transport: Transport,
    channel: mail_store.Channel,
    session: MailSession,
    beat: Beat,
) -> Count:
    taken, tried, proven = 0, 0, False
    try:
        for _ in range(transport.letters_per_connection):
            row = await ra.database.write(lambda db: _take(db, ra, channel, transport.per_minute))
            if row is None:
                break
            proven = await _finished(_deliver(ra, session, row, proven, beat))
            taken, tried = taken + proven, tried + 1
            if not session.alive:
                break
    finally:
        await session.close()
    return taken, tried


async def _finished(work: Coroutine[None, None, bool]) -> bool:
    """What it returns. Whoever is stopped waits for the letter that is on its way.

    The mail server may have taken it already, and only its answer says so: else it is sent again.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=_LAST_ANSWER)
        task.cancel()
        raise


# -- one letter ------------------------------------------------------------------------------------------


async def _deliver(
    ra: RegistrationAuthority, session: MailSession, row: mail_store.Letter, proven: bool, beat: Beat
) -> bool:
    """Whether the letter was taken. ``proven``: the one before it was, by the same connection."""
    keeping, known = asyncio.create_task(_keep(ra, row, beat)), unfenced(ra.database)
    try:
        letter = writing.opened(row, ra.epochs)
        message = compose(letter, ra.settings.mail_from)
        result = await session.send(message, letter, return_path(ra), lambda: _hand_over(ra, row))
    except Refused as error:
        refused = error
        await known.write(lambda db: _settle(db, ra, row, refused, proven))
        return False
    except _NotOurs:
        return False
    except StorageError:
        raise  # no fault of the letter's: it is due again
    except LostKey:
        log.error("letter %d cannot be sent: %s", row["id"], writing.LOST)
        await known.write(lambda db: queue.refused(db, row, ra.now(), writing.LOST))
        return False
    except Exception as error:
        # One letter that cannot be written must not keep those behind it. The message may quote it.
        log.error("letter %d cannot be sent: %s", row["id"], type(error).__name__)
        reason = type(error).__name__
        await known.write(lambda db: queue.refused(db, row, ra.now(), reason))
        return False
    finally:
        keeping.cancel()
    await known.write(lambda db: _accepted(db, ra, row, result))
    return True


class _NotOurs(Exception):
    """Somebody else has the letter by now."""


async def _hand_over(ra: RegistrationAuthority, row: mail_store.Letter) -> None:
    """Superseded if another node leads by now; `_NotOurs`. Alone with the database whoever sends needs no
    more than the lease."""
    if ra.database.shared and not await ra.database.write(lambda db: mail_store.hand_over(db, row)):
        raise _NotOurs


async def _keep(ra: RegistrationAuthority, row: mail_store.Letter, beat: Beat) -> None:
    """Renews the lease for as long as the letter is being sent."""
    while True:
        await beat()
        if not await unfenced(ra.database).write(lambda db: mail_store.keep(db, row, ra.now())):
            return


def return_path(ra: RegistrationAuthority) -> str:
    """Where bounces go: the envelope's sender."""
    return ra.settings.mail_return_path or ra.settings.mail_from


def compose(letter: writing.Queued, sender: str) -> EmailMessage:
    """The message of a letter. Its Message-ID is fixed, so that a repeated delivery is told as one."""
    message = EmailMessage(policy=SMTP)
    domain = sender.rpartition("@")[2]
    message["From"] = sender
    # A postcard's recipient is a name, which need not be an address, nor anything a header can hold.
    if letter.channel == "mail":
        message["To"] = letter.recipient
    message["Subject"] = letter.subject
    message["Date"] = email.utils.format_datetime(datetime.fromtimestamp(letter.created_at, JST))
    message["Message-ID"] = f"<letter-{letter.id}.{letter.created_at}@{domain}>"
    # RFC 3834: no out-of-office answers, please.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.body, charset="utf-8", cte="base64")
    return message


# -- inside a transaction --------------------------------------------------------------------------------


def _take(
    db: Transaction, ra: RegistrationAuthority, channel: mail_store.Channel, per_minute: int
) -> mail_store.Letter | None:
    """The next letter that is to be sent now, taken; None while there is none, or the lane is held."""
    now = ra.now()
    if queue.lane(db, channel).holds(now):
        return None
    leaving = _leaving(ra, db)
    for _ in range(_LOOKED_AT):
        row = mail_store.next_due(db, channel, now, leaving)
        if row is None:
            return None
        if not stays(db, ra, row, now):
            if per_minute and not mail_store.may_begin(db, channel, now, per_minute):
                return None
            return mail_store.begin(db, _of_today(db, ra, row, now), now)
    return None


def _of_today(
    db: Transaction, ra: RegistrationAuthority, row: mail_store.Letter, now: int
) -> mail_store.Letter:
    """A letter as it is to leave: one that has waited over midnight says how many days are left by now, one
    about many names those who are still meant."""
    words = _OF_A_DAY.get(row["kind"])
    if words is None or (not row["about"] and day_of(row["created_at"]) == day_of(now)):
        return row
    letter = words(db, ra, row, row["cause"], now) if timekeeping.doubt_now(ra, db) is None else None
    if letter is None or (letter.subject, letter.shown_body) == (row["subject"], row["shown_body"]):
        return row
    return mail_store.rewrite(db, row, writing.words_of(db, ra.epochs, letter))


#: Kinds that say how many days are left, or who is meant, and what one says by now.
_OF_A_DAY = {
    **dict.fromkeys(occasions.OF_A_DAY, occasions.of_today),
    "operator_ending": ending.of_today,
    "ca_ending": generations.of_today,
    "renewal_7_admin": noticing.of_members,
}


def _leaving(ra: RegistrationAuthority, db: Transaction) -> list[Pace]:
    """What may leave now, in turn: within its hours, and notices by a clock that is believed: a wrong one
    must not have warned anybody."""
    found = [pace for pace in IN_TURN if opened_at(ra.now(), ra.settings, pace) is not None]
    if Pace.NOTICE in found and timekeeping.doubt_now(ra, db) is not None:
        found.remove(Pace.NOTICE)
    return found


def stays(db: Transaction, ra: RegistrationAuthority, row: mail_store.Letter, now: int) -> bool:
    """Cancels a letter whose cause is gone, puts off one of a disabled organisation (E6, E27)."""
    if row["user_id"] == "":
        return _needless(db, ra, row, now)
    user = store.user(db, row["user_id"])
    if user is None or user.disabled_at is not None:
        mail_store.cancelled(db, row["id"], "the user is disabled")
        return True
    organisation = store.organisation(db, user.policy_number)
    if organisation is None or organisation.disabled_at is not None:
        mail_store.put_off(db, row["id"], now + _DISABLED, "waits: the organisation is disabled")
        return True
    if row["request_id"] is None:
        return bool(row["about"]) and _needless(db, ra, row, now)
    enrollment = store.enrollment(db, row["request_id"])
    if enrollment is None:
        return False
    # By a clock in doubt nothing is over.
    state = state_at(enrollment, now) if timekeeping.doubt_now(ra, db) is None else enrollment.state
    gone = f"the request is {state}" if state in ENDED else None
    if gone is None and row["notice"] == Pace.NOTICE:
        gone = noticing.needless(db, ra, enrollment, row)
    if gone is not None:
        mail_store.cancelled(db, row["id"], gone)
    return gone is not None


def _needless(db: Transaction, ra: RegistrationAuthority, row: mail_store.Letter, now: int) -> bool:
    """Cancels a letter about an end, or many, that whom it is to has not to be told of any more."""
    words = _OF_A_DAY.get(row["kind"])
    # By a clock in doubt nothing is over.
    if words is None or timekeeping.doubt_now(ra, db) is not None:
        return False
    if words(db, ra, row, row["cause"], now) is not None:
        return False
    mail_store.cancelled(db, row["id"], "there is no such end to tell of any more")
    return True


def _settle(
    db: Transaction, ra: RegistrationAuthority, row: mail_store.Letter, refused: Refused, proven: bool
) -> None:
    """What a refusal does to the letter and, where it is not the recipient's, to all of them."""
    verdict, now, said = refused.verdict, ra.now(), str(refused)
    doubtful = verdict in (Verdict.DOUBT, Verdict.UNCLEAR)
    if verdict is Verdict.SERVER or (doubtful and not proven):
        # In doubt, and nobody else got through: it may be all of them, and each would be refused once more.
        _hold(db, ra, row["channel"], refused)
    else:
        _note(db, ra, refused)
    if verdict is Verdict.FINAL:
        mail_store.failed(db, row, now, said)
    elif verdict is Verdict.SERVER and refused.command not in _OF_A_LETTER:
        mail_store.given_back(db, row, said)
    else:
        # Behind the others: if it is this one's fault after all, it must not be the next to be tried, too.
        lasting = timekeeping.doubt_now(ra, db) is None
        queue.refused(db, row, now, said, unclear=verdict is Verdict.UNCLEAR, lasting=lasting)


# Commands whose refusal may be one letter's, whatever it says.
_OF_A_LETTER = frozenset({"RCPT", "DATA"})


def _hold(db: Transaction, ra: RegistrationAuthority, channel: mail_store.Channel, refused: Refused) -> None:
    _note(db, ra, refused)
    until = queue.hold(db, channel, ra.now(), str(refused))
    if until is not None:
        # Not what was said, which may quote a recipient: `sekisho mail list` shows it.
        told = f"{refused.command} {refused.code or 'without an answer'}"
        log.warning("every letter waits until %s (%s); once mended: sekisho mail retry", shown(until), told)


def _note(db: Transaction, ra: RegistrationAuthority, refused: Refused) -> None:
    mail_store.note_refusal(db, refused.command, ra.now(), str(refused))


# Letters whose acceptance moves the enrollment to 案内送信済.
_ANNOUNCING = frozenset({"pickup", "pickup_without_password", "renewal_30", "renewal_7"})


def _accepted(db: Transaction, ra: RegistrationAuthority, row: dict[str, Any], result: str) -> None:
    now = ra.now()
    if not mail_store.accepted(db, row["id"], row["channel"], now, result):
        return
    if row["kind"] in _ANNOUNCING and row["request_id"] is not None:
        apply(db, ra, row["request_id"], Event.ANNOUNCE, now, actor="delivery")
