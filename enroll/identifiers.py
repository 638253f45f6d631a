"""User IDs, request IDs, issue passwords and common names: their shapes, how they are drawn and typed."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from enroll.characters import DASHES, folded

#: Draws a number below its argument; ``secrets.randbelow`` unless a test says otherwise.
Draw = Callable[[int], int]

USER_ID = re.compile(r"[A-Z0-9]{4,12}")
REQUEST_ID = re.compile(r"[0-9]{16}")
_NUMBER_DIGITS = 4
#: The highest 管理番号 that a user can be given.
LAST_NUMBER = 10**_NUMBER_DIGITS - 1
#: No 0/O, 1/l/I, 5/S, 2/Z, 8/B, no vowels that make words: read from paper, typed by hand.
UNAMBIGUOUS = "34679ACDEFGHJKMNPQRTUVWXYacdefghjkmnpqrtuvwxy"
#: 45 letters give 5.49 bits each: 16 of them are 87 bits, above the required 80.
DRAWN_LENGTH = 16
_GENERATED_ALPHABET = "0123456789"
_BETWEEN = re.compile(rf"[\s{DASHES}]")
_DASH = re.compile(f"[{DASHES}]")


def new_request_id(draw: Draw = secrets.randbelow) -> str:
    """Sixteen digits, the last a Luhn check digit, so that a typing error is told at once."""
    body = str(10**14 + draw(9 * 10**14))
    return body + _luhn(body)


def valid_request_id(text: str) -> bool:
    """Whether the text has the shape and the check digit of a request ID."""
    return REQUEST_ID.fullmatch(text) is not None and _luhn(text[:-1]) == text[-1]


def new_issue_password(draw: Draw = secrets.randbelow) -> str:
    """Sixteen unambiguous characters (87 bits), for the mail that brings them."""
    return "".join(UNAMBIGUOUS[draw(len(UNAMBIGUOUS))] for _ in range(DRAWN_LENGTH))


def drawn(secret: str, shortest: int) -> bool:
    """Whether a password may be one of those drawn here: their letters only, and at least so many."""
    return len(secret) >= shortest and set(secret) <= set(UNAMBIGUOUS)


def new_login_password(draw: Draw = secrets.randbelow) -> str:
    """A first login password (12 letters, 65 bits); it is changed at the first login."""
    return new_issue_password(draw)[:12]


def new_user_id(draw: Draw = secrets.randbelow) -> str:
    """A user ID for those who were not assigned one: ``K`` and eight digits."""
    return "K" + "".join(_GENERATED_ALPHABET[draw(10)] for _ in range(8))


def valid_user_id(text: str) -> bool:
    """Whether the text is four to twelve of A-Z and 0-9."""
    return USER_ID.fullmatch(text) is not None


def typed(text: str) -> str:
    """An ID or a drawn password, however it was typed or pasted out of a letter: its letters and digits.

    Full-width becomes half-width; spaces, hyphens of every kind and what nobody sees are taken off: none of
    these is in what we draw. Never for passwords that people chose themselves.
    """
    return _BETWEEN.sub("", folded(text))


def pasted(text: str) -> str:
    """``typed``, out of a line of a letter: without the label before its colon (リクエストID：…)."""
    return typed(folded(text).rpartition(":")[2])


def typed_user_id(text: str) -> str:
    """A user ID as somebody typed it, or pasted it out of a letter; there are capitals only."""
    return pasted(text).upper()


def typed_policy_number(text: str) -> str:
    """A 証券番号 as somebody typed it. It may have hyphens: whatever was typed for one is one."""
    return "".join(_DASH.sub("-", folded(text)).split()).upper()


def typed_key(text: str) -> str:
    """Base64url as somebody pasted it; every kind of hyphen is its "-"."""
    return "".join(_DASH.sub("-", folded(text)).split())


def new_typed_user_id(text: str) -> str:
    """A user ID that somebody wishes for: as above, but what was seen stays, and is refused by name."""
    return folded(text).strip().upper()


def common_name(user_id: str, number: int) -> str:
    """User ID and 管理番号 of four digits, as the manual composes it (never parsed back)."""
    if not 1 <= number <= LAST_NUMBER:
        raise ValueError(f"管理番号 {number} does not fit into {_NUMBER_DIGITS} digits")
    return f"{user_id}{number:0{_NUMBER_DIGITS}d}"


def _luhn(body: str) -> str:
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def number_in(text: str, digits: int) -> int | None:
    """The whole number that a text is, in at most so many ASCII digits; None for any other text.

    Its length first: whoever asks chooses it, and int() takes no thousands of digits.
    """
    return int(text) if len(text) <= digits and text.isascii() and text.isdigit() else None
