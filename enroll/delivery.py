"""Carries queued letters out: by SMTP until accepted, or as files into the outbox."""

from __future__ import annotations

import asyncio
import email.utils
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Protocol

import aiosmtplib
import sqlite_utils

from ca.files import write_private
from enroll import mails, store
from enroll.issuance import entitled
from enroll.jst import JST
from enroll.office import Office
from enroll.states import ENDED, Event
from enroll.transitions import apply

log = logging.getLogger("sekisho.delivery")

# A letter that is being sent belongs to its process for this long, in seconds.
_LEASE = 120
_AT_ONCE = 50
# Seconds for the mail server's last answer, when the process stops.
_LAST_ANSWER = 5.0
# Seconds until the next attempt after the first, second, ... failure; the last one repeats.
_BACKOFF = (60, 300, 900, 3_600, 14_400)


class Rejected(Exception):
    """The recipient's server refuses for good; the text is its answer."""


class Transport(Protocol):
    """Something that takes a letter. Raises Rejected for good, OSError or SMTPException for now."""

    async def send(self, message: EmailMessage, letter: mails.Queued, return_path: str) -> str: ...


@dataclass(frozen=True)
class Outbox:
    """Writes ``NUMBER-KIND.eml`` files (and ``.txt`` for postcards to print), mode 0600.

    Writing the same letter twice gives the same file: a crash after writing sends nothing twice.
    """

    directory: Path

    async def send(self, message: EmailMessage, letter: mails.Queued, return_path: str) -> str:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        ending = "eml" if letter.channel == "mail" else "txt"
        path = self.directory / f"{letter.id:06d}-{letter.kind}.{ending}"
        content = message.as_bytes() if letter.channel == "mail" else _postcard(letter).encode()
        write_private(path, content)
        return f"written to {path.name}"


@dataclass(frozen=True)
class Smtp:
    """Hands letters to a mail server; postcards still go to the outbox, to be printed."""

    host: str
    port: int
    username: str
    password: str
    #: "none", "starttls" or "tls".
    security: str
    timeout: float
    postcards: Outbox

    async def send(self, message: EmailMessage, letter: mails.Queued, return_path: str) -> str:
        if letter.channel == "postcard":
            return await self.postcards.send(message, letter, return_path)
        try:
            _, answer = await aiosmtplib.send(
                message,
                sender=return_path,
                hostname=self.host,
                port=self.port,
                username=self.username or None,
                password=self.password or None,
                use_tls=self.security == "tls",
                start_tls=self.security == "starttls",
                timeout=self.timeout,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [refused.code for refused in error.recipients]
            if codes and all(code >= 500 for code in codes):
                raise Rejected("; ".join(f"{r.code} {r.message}" for r in error.recipients)) from error
            raise
        except aiosmtplib.SMTPResponseException as error:
            # 5yz is permanent (RFC 5321 section 4.2.1), except that 530/535 are about our own login.
            if error.code >= 500 and error.code not in (530, 535):
                raise Rejected(f"{error.code} {error.message}") from error
            raise
        return answer


async def deliver_due(office: Office, transport: Transport) -> int:
    """Sends what is due once, and returns how many letters were accepted."""
    now = office.now()
    claimed = await office.database.write(
        lambda db: mails.claim_due(db, office.vault, now, _LEASE, _AT_ONCE, _BACKOFF[-1])
    )
    accepted = 0
    for letter in claimed:
        accepted += await _finished(_deliver(office, transport, letter))
    return accepted


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


async def _deliver(office: Office, transport: Transport, letter: mails.Queued) -> bool:
    if not await office.database.write(lambda db: _begin(db, office, letter)):
        return False
    settings = office.settings
    return_path = settings.mail_return_path or settings.mail_from
    try:
        result = await transport.send(compose(letter, settings.mail_from), letter, return_path)
    except Rejected as refused:
        reason = str(refused)
        await office.database.write(lambda db: mails.mark_failed(db, letter.id, reason))
        return False
    except (OSError, aiosmtplib.SMTPException) as trouble:
        await _put_back(office, letter, f"{type(trouble).__name__}: {trouble}")
        return False
    except Exception as error:
        # One letter that cannot be written must not keep those behind it. The message may quote it.
        log.error("letter %d cannot be sent: %s", letter.id, type(error).__name__)
        await _put_back(office, letter, type(error).__name__)
        return False
    await office.database.write(lambda db: _accepted(db, office, letter, result))
    return True


async def _put_back(office: Office, letter: mails.Queued, reason: str) -> None:
    later = office.now() + _BACKOFF[min(letter.attempts, len(_BACKOFF)) - 1]
    await office.database.write(lambda db: mails.retry_at(db, letter.id, later, reason))


def compose(letter: mails.Queued, sender: str) -> EmailMessage:
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


def _begin(db: sqlite_utils.Database, office: Office, letter: mails.Queued) -> bool:
    """Whether the letter is to be sent now: its user is not disabled (E6, E27), its request lives, and it is
    still ours.

    Those before it in the batch may have taken longer than the lease.
    """
    if not entitled(db, letter.user_id):
        mails.mark_cancelled(db, letter.id, "the user or the organisation is disabled")
        return False
    if letter.request_id is not None:
        enrollment = store.enrollment(db, letter.request_id)
        if enrollment is not None and enrollment.state in ENDED:
            mails.mark_cancelled(db, letter.id, f"the request is {enrollment.state}")
            return False
    return mails.hold(db, letter, office.now() + _LEASE)


# Letters whose acceptance moves the enrollment to 案内送信済.
_ANNOUNCING = frozenset({"pickup", "pickup_without_password", "renewal_30", "renewal_7"})


def _accepted(db: sqlite_utils.Database, office: Office, letter: mails.Queued, result: str) -> None:
    now = office.now()
    if not mails.mark_sent(db, letter.id, now, result):
        return
    if letter.kind in _ANNOUNCING and letter.request_id is not None:
        apply(db, office, letter.request_id, Event.ANNOUNCE, now, actor="delivery")


def _postcard(letter: mails.Queued) -> str:
    return f"{letter.recipient}\n\n{letter.subject}\n\n{letter.body}"
