"""What somebody who types into the search box may mean, by the shape of it. Pure.

Several at once: sixteen digits are a request ID, and the beginning of a serial number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Literal

from ca.certificates import serial_hex
from enroll.characters import folded
from enroll.identifiers import pasted, typed, typed_policy_number
from enroll.people.sameness import bare_key, mail_key, search_key

Kind = Literal[
    "day",
    "mail",
    "reference",
    "request_id",
    "serial",
    "common_name",
    "user_id",
    "policy_number",
    "name",
]
#: Characters that are looked at.
LONGEST = 200
#: Of a request ID, a serial number and a common name so many characters are needed: fewer begin a large part
#: of all there are.
SHORTEST = 8

_SERIAL = re.compile(rf"[0-9a-f]{{{SHORTEST},40}}")
# As certificates have it: up to 20 octets (RFC 5280 section 4.1.2.2). Shorter ones are request IDs.
_DECIMAL = re.compile(r"[0-9]{20,49}")
_REQUEST_ID = re.compile(rf"[0-9]{{{SHORTEST},16}}")
_USER_ID = re.compile(r"[0-9A-Z]{1,12}")
_COMMON_NAME = re.compile(rf"[0-9A-Z]{{{SHORTEST},16}}")
_POLICY_NUMBER = re.compile(r"[0-9A-Z][0-9A-Z-]{0,19}")
_REFERENCE = re.compile(r"[2345679ACFHJKMNPRTWXY]{8}")
_DAYS = (
    re.compile(r"(?P<year>[0-9]{4})[-/.年](?P<month>[0-9]{1,2})[-/.月](?P<day>[0-9]{1,2})日?"),
    re.compile(
        r"(?:令和|R)(?P<reiwa>[0-9]{1,2}|元)[-/.年](?P<month>[0-9]{1,2})[-/.月](?P<day>[0-9]{1,2})日?"
    ),
)
# 令和元年 is 2019.
_BEFORE_REIWA = 2018


@dataclass(frozen=True)
class Meaning:
    """One of them. ``value`` is as the register has it, and what is looked for begins with it; a day is
    ``YYYY-MM-DD``, in Japan."""

    kind: Kind
    value: str


def understood(text: str) -> tuple[Meaning, ...]:
    """Everything that the text may mean, the most particular first; nothing for nothing."""
    # What no keyboard makes is in no register, and some databases take none of it.
    spaced = " ".join(folded(text[:LONGEST]).split())[:LONGEST]
    plain = "".join(each for each in spaced if each.isprintable())
    day = _day(plain)
    if day is not None:
        return (Meaning("day", day.isoformat()),)
    if "@" in plain:
        return (Meaning("mail", mail_key(plain)),)
    letters, digits = pasted(plain).upper(), typed(plain)
    found: list[Meaning] = []
    if _REFERENCE.fullmatch(letters):
        found.append(Meaning("reference", f"{letters[:4]}-{letters[4:]}"))
    if _REQUEST_ID.fullmatch(pasted(plain)):
        found.append(Meaning("request_id", pasted(plain)))
    serial = re.sub(r"[\s:]", "", plain).lower()
    if _DECIMAL.fullmatch(digits):
        found.append(Meaning("serial", serial_hex(int(digits))))
    if _SERIAL.fullmatch(serial):
        found.append(Meaning("serial", serial))
    for kind, shape in (("common_name", _COMMON_NAME), ("user_id", _USER_ID)):
        if shape.fullmatch(letters):
            found.append(Meaning(kind, letters))  # type: ignore[arg-type]  # both are kinds
    number = typed_policy_number(plain)
    if _POLICY_NUMBER.fullmatch(number):
        found.append(Meaning("policy_number", number))
    if not digits.isdecimal():
        names = dict.fromkeys((search_key(plain), bare_key(plain)))
        found += [Meaning("name", name) for name in names if name]
    return tuple(found)


def _day(plain: str) -> date | None:
    """A day as people write it: 2026-05-01, 2026/5/1, 2026年5月1日, 令和8年5月1日, R8.5.1."""
    said = "".join(plain.split())
    for pattern in _DAYS:
        found = pattern.fullmatch(said)
        if found is None:
            continue
        parts = found.groupdict()
        reiwa = parts.get("reiwa")
        year = int(parts["year"]) if reiwa is None else _BEFORE_REIWA + (1 if reiwa == "元" else int(reiwa))
        try:
            return date(year, int(parts["month"]), int(parts["day"]))
        except ValueError:
            return None
    return None
