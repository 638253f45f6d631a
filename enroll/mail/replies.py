"""Whose a refusal is: judged by the command that was refused, then by what the answer says. Pure.

RFC 5321 section 4.2 has the codes, RFC 3463 the enhanced ones. What a server refuses before it hears of a
recipient says nothing about a recipient, however final it sounds.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Literal

#: In the order in which they are sent. "connect" and "greeting" are the server's part of the beginning,
#: "outbox" is our own disk.
Command = Literal["connect", "greeting", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "outbox"]
COMMANDS: tuple[Command, ...] = (
    "connect",
    "greeting",
    "EHLO",
    "STARTTLS",
    "AUTH",
    "MAIL",
    "RCPT",
    "DATA",
    "outbox",
)


class Verdict(StrEnum):
    """What a refusal means for the letter, and for those behind it."""

    #: Ours or the server's: every letter waits, this one among them.
    SERVER = "server"
    #: Ours, the server's or this letter's, nobody can tell: it waits, and all do unless others get through.
    DOUBT = "doubt"
    #: Sent to its end, and no answer came: it may have been taken.
    UNCLEAR = "unclear"
    #: The recipient's, for now: this letter waits.
    LATER = "later"
    #: The recipient's, for good.
    FINAL = "final"


# "5.1.1 user unknown", RFC 2034 section 4: class, subject, detail, before the text.
_ENHANCED = re.compile(r"[245]\.(\d{1,3})\.(\d{1,3})(?!\S)")
# Answers to RCPT that are about the connection, whatever else they say: it is closing (421), our commands
# are not understood or come in a wrong order (50z but 501, a bad address), who we are (RFC 4954 section 6).
_ABOUT_THE_SESSION = frozenset({421, 500, 502, 503, 504, 530, 534, 535, 538})
# Senders' addresses (RFC 3463 section 3.2), and congestion, which is how quotas of a sender are told.
_ABOUT_THE_SENDER = frozenset({(1, 7), (1, 8), (4, 5)})
_TOO_LARGE = (3, 4)
# Without an enhanced code the words tell, or nothing does. "No such user" has none of these.
_WORDS_ABOUT_US = re.compile(
    r"relay|authenti|log ?in|sender|\bspf\b|\bdkim\b|\bdmarc\b|(?:black|block|deny)[ -]?list|\bspam"
    r"|reputation|quota|too many (?:mess|mail|conn|rec)|rate limit|client host|your (?:ip|host|addr|domain)",
    re.IGNORECASE,
)
_INSUFFICIENT_STORAGE = 452


def judge(command: Command, code: int, said: str) -> Verdict:
    """What an answer to a command means. ``code`` 0: none came, the connection broke or stayed silent."""
    if command == "RCPT" and code:
        return _of_recipient(code, _enhanced(said), said)
    if command == "DATA":
        return _of_data(code, _enhanced(said))
    return Verdict.SERVER


def _of_recipient(code: int, status: tuple[int, int] | None, said: str) -> Verdict:
    if code in _ABOUT_THE_SESSION or status in _ABOUT_THE_SENDER or _of_the_system(status):
        return Verdict.SERVER
    of_the_mailbox = status is not None and status[0] in (1, 2)
    if not of_the_mailbox and _WORDS_ABOUT_US.search(said):
        return Verdict.DOUBT
    if code < 500:
        # 4yz at RCPT: greylisting, a full mailbox, a server behind that sleeps.
        return Verdict.LATER
    # X.7.z is policy, about the sender as often as about the mailbox; X.4.z the network in between.
    return Verdict.FINAL if of_the_mailbox or status is None else Verdict.DOUBT


def _of_data(code: int, status: tuple[int, int] | None) -> Verdict:
    if code == 0:
        # RFC 1047: whether it was before or after the last dot, and who has the letter now, nobody knows.
        return Verdict.UNCLEAR
    full = code == _INSUFFICIENT_STORAGE and status is None
    return Verdict.SERVER if full or code in _ABOUT_THE_SESSION or _of_the_system(status) else Verdict.DOUBT


def _of_the_system(status: tuple[int, int] | None) -> bool:
    return status is not None and status[0] == 3 and status != _TOO_LARGE


def _enhanced(said: str) -> tuple[int, int] | None:
    found = _ENHANCED.match(said)
    return (int(found[1]), int(found[2])) if found else None
