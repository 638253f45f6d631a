"""Bounces: what a mail server tells the Return-Path about a letter that it had taken before (RFC 3464)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from email.policy import compat32

from ca.storage import Transaction
from enroll import store
from enroll.mail import store as mail_store
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal

#: Bytes. Servers return the headers, or the whole letter, which has some 3 KiB.
MAX_BYTES = 1024 * 1024
# As ``delivery.compose`` writes it.
_LETTER = re.compile(r"<letter-([0-9]{1,15})\.([0-9]{1,12})@")
_LONGEST = 300


@dataclass(frozen=True)
class Bounce:
    """Which letter did not arrive (its number, when it was queued), and the server's words."""

    letter: int
    created_at: int
    said: str


def parse_bounce(content: bytes) -> Bounce:
    """A delivery status notification out of hostile bytes.

    Refusal("invalid_input", "bounce") for whatever tells of no failure, or of no letter of ours.
    """
    if len(content) > MAX_BYTES:
        raise Refusal("invalid_input", field="bounce", detail=f"larger than {MAX_BYTES} bytes")
    try:
        # compat32 never parses what is in a header, and so never fails on it.
        parts = list(message_from_bytes(content, policy=compat32).walk())
    except RecursionError:
        raise Refusal("invalid_input", field="bounce", detail="its parts are nested too deeply") from None
    failed = [part for part in parts if _field(part, "Action").lower() == "failed"]
    if not failed:
        raise Refusal("invalid_input", field="bounce", detail="this tells of no delivery that failed")
    named = next((found for text in _returned(parts) if (found := _LETTER.search(text))), None)
    if named is None:
        raise Refusal("invalid_input", field="bounce", detail="the mail that it returns is none of ours")
    words = " ".join(_field(failed[0], name) for name in ("Status", "Diagnostic-Code"))
    said = "".join(c if c.isprintable() else "?" for c in " ".join(words.split()))
    return Bounce(int(named[1]), int(named[2]), said[:_LONGEST])


async def record_bounce(ra: RegistrationAuthority, bounce: Bounce, *, actor: str) -> bool:
    """Marks the letter as failed, for the help desk to see (R17); False when it was recorded already.

    Refusal("not_found", "mail") for a letter that we never sent.
    """

    def work(db: Transaction) -> bool:
        letter, at = mail_store.shown(db, bounce.letter), ra.now()
        if letter is None or letter["created_at"] != bounce.created_at or letter["sent_at"] is None:
            raise Refusal("not_found", field="mail")
        if not mail_store.mark_bounced(db, bounce.letter, at, bounce.said):
            return False
        store.audit(db, at, actor, "mail.bounced", letter["user_id"], letter=bounce.letter)
        return True

    return await ra.database.write(work)


def _returned(parts: list[Message]) -> Iterator[str]:
    """Where the returned letter's Message-ID may stand, the letter itself or only its headers."""
    for part in parts:
        yield _field(part, "Message-ID")
        if part.get_content_type() == "text/rfc822-headers":
            yield str(part.get_payload())


def _field(part: Message, name: str) -> str:
    return str(part.get(name, "")).strip()
