"""What operators may make of a template: which values it may and has to say, and what it looks like. Pure.

A changed template is text with ``{{ name }}`` and ``{% if name %}``, and nothing else of the engine's
language: it is no program. What ours says in any case a changed one says as well.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal

from enroll.languages import LANGUAGES, Language
from enroll.mail import writing
from enroll.mail.store import Channel
from enroll.mail.writing import MASK, PARTS, SECRETS, TEMPLATES, Kind, Templates

#: Characters; ours have some 1,000.
LONGEST = 6_000
LONGEST_SUBJECT = 150
_ALL = ("organisation", "operator", "to", "address", "telephone", "channel")
_AROUND = (*_ALL, *PARTS)
_OF_USERS = (*_AROUND, "name", "url")
_OF_REQUESTS = (*_OF_USERS, "user_id", "request_id", "until", "reissue")
_OF_RENEWALS = (*_OF_USERS, "days", "left", "request_id", "common_name", "serial", "not_after")
#: Template -> the values that it may say.
OFFERED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "greeting": _ALL,
        "signature": _ALL,
        "pickup": (*_OF_REQUESTS, "issue_password"),
        "pickup_without_password": (*_OF_REQUESTS, "password_by"),
        "issue_password": (*_OF_REQUESTS, "issue_password"),
        "issue_password_admin": (*_OF_REQUESTS, "issue_password", "admin"),
        "user_id": (*_OF_USERS, "user_id", "login_password"),
        "password_reset": (*_OF_USERS, "user_id", "login_password"),
        "renewal": _OF_RENEWALS,
        "renewal_7": _OF_RENEWALS,
        "renewal_admin": (*_OF_USERS, "days", "members"),
        "renewed_by_another": (*_OF_USERS, "request_id", "common_name", "moment"),
        "issuer_distrusted": (*_OF_USERS, "user_id", "issuer"),
        "ca_ending": (*_AROUND, "ca", "day", "days", "short"),
        "operator_code": (*_AROUND, "name", "code", "until", "url"),
        "break_glass": (*_AROUND, "number", "who", "role", "reason", "until", "due"),
        "operator_ending": (*_AROUND, "name", "day", "days", "service"),
        "proposal_expired": (*_AROUND, "number", "what", "about", "until"),
    }
)
#: Template -> the letters that are written from it.
KINDS: Mapping[str, tuple[Kind, ...]] = MappingProxyType(
    {name: tuple(kind for kind, file in TEMPLATES.items() if file == f"{name}.txt") for name in OFFERED}
)
#: Value -> what a preview has for it, in Japanese and English.
SAMPLES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "organisation": ("霞が関商事", "Kasumigaseki Trading"),
        "operator": ("企業年金ビジネスサービス株式会社", "Corporate Pension Business Service"),
        "to": ("年金 太郎", "Taro Nenkin"),
        "address": ("東京都千代田区霞が関1-2-2", "1-2-2 Kasumigaseki, Chiyoda-ku, Tokyo"),
        "telephone": ("0120-96-1576", "0120-96-1576"),
        "channel": ("mail", "mail"),
        "name": ("年金 太郎", "Taro Nenkin"),
        "url": ("https://pickup.example.jp/", "https://pickup.example.jp/?lang=en"),
        "user_id": ("K12345678", "K12345678"),
        "request_id": ("0000000000000000", "0000000000000000"),
        "until": ("2026年12月31日 23:59", "2026-12-31 23:59"),
        "reissue": ("yes", "yes"),
        "issue_password": (MASK, MASK),
        "login_password": (MASK, MASK),
        "code": (MASK, MASK),
        "service": ("", ""),
        "password_by": ("「はがき」で", "by postcard"),
        "admin": ("管理 花子", "Hanako Kanri"),
        "days": ("7", "7"),
        "left": ("あと7日", "7 days left"),
        "common_name": ("K123456780001", "K123456780001"),
        "serial": ("1A2B3C4D", "1A2B3C4D"),
        "not_after": ("2026年12月31日 23:59", "2026-12-31 23:59"),
        "members": (
            "ユーザーID：K12345678　年金 太郎 様　有効期限：2026年12月31日 23:59",
            "User ID K12345678, Taro Nenkin, valid until 2026-12-31 23:59",
        ),
        "moment": ("2026年12月1日 10:00", "2026-12-01 10:00"),
        "issuer": ("CORPORATE-PENSION BUSINESS SERVICE CA-G4", "CORPORATE-PENSION BUSINESS SERVICE CA-G4"),
        "ca": ("CORPORATE-PENSION BUSINESS SERVICE CA-G4", "CORPORATE-PENSION BUSINESS SERVICE CA-G4"),
        "day": ("2029年11月22日", "2029-11-22"),
        "short": ("yes", "yes"),
        "number": ("12", "12"),
        "who": ("operator:suzuki", "operator:suzuki"),
        "role": ("approver", "approver"),
        "reason": ("障害対応", "an incident"),
        "due": ("2026年12月2日", "2026-12-02"),
        "what": ("user.add", "user.add"),
        "about": ("K12345678", "K12345678"),
    }
)

#: What is wrong: a value that there is none of here, one that is missing, a secret in the subject, more of
#: the engine's language than is allowed, how it begins, its length, a character, what cannot be read.
Fault = Literal["unknown", "missing", "secret", "forbidden", "subject", "long", "character", "syntax"]


@dataclass(frozen=True)
class Problem:
    """Something wrong with a template. ``about``: names, a line, or a length."""

    fault: Fault
    about: str = ""


def file_of(template: str, language: Language) -> str:
    """Under which name a template is kept. KeyError for one that there is none of."""
    assert template in OFFERED, template
    return writing.named(f"{template}.txt", language)


def tidied(text: str) -> str:
    """As it is kept: lines end in one way, as browsers and editors do not agree upon."""
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip() + "\n"


def default_of(template: str, language: Language, own: Templates | None) -> str:
    """What holds where nobody has changed it here: the machine's file, else ours."""
    return writing.source_of(file_of(template, language), None if own is None else own.unchanged)


def required(template: str, language: Language) -> frozenset[str]:
    """The values that ours says in any case, and a changed one therefore too."""
    return frozenset(_outside(writing.parsed(writing.packaged(file_of(template, language)))))


def problems(template: str, language: Language, text: str) -> list[Problem]:
    """What is wrong with a text as a template; nothing if it may become it."""
    text = tidied(text)
    if len(text) > LONGEST:
        return [Problem("long", str(LONGEST))]
    odd = sorted({c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn")})
    if odd:
        return [Problem("character", ", ".join(f"U+{ord(c):04X}" for c in odd[:5]))]
    read = writing.parsed(text)
    if isinstance(read, str):
        return [Problem("syntax", read)]
    forbidden = writing.forbidden(read)
    if forbidden:
        return [Problem("forbidden", forbidden)]
    found = [*_of_values(template, language, read)]
    if template not in PARTS:
        found += _of_subject(text)
    return found


def _of_values(template: str, language: Language, read: writing.Parsed) -> Iterator[Problem]:
    said = set(writing.names_in(read))
    if unknown := sorted(said - set(OFFERED[template])):
        yield Problem("unknown", ", ".join(unknown))
    if missing := sorted(required(template, language) - _outside(read)):
        yield Problem("missing", ", ".join(missing))


def _of_subject(text: str) -> Iterator[Problem]:
    head, separator, body = text.partition("\n\n")
    subject = head.removeprefix("Subject: ")
    if not separator or subject == head or "\n" in head or not subject.strip() or not body.strip():
        yield Problem("subject")
    elif len(subject) > LONGEST_SUBJECT:
        yield Problem("long", f"{LONGEST_SUBJECT} (Subject)")
    else:
        read = writing.parsed(subject)
        secret = [] if isinstance(read, str) else sorted(set(writing.names_in(read)) & SECRETS)
        if isinstance(read, str):
            yield Problem("subject")
        elif secret:
            yield Problem("secret", ", ".join(secret))


def _outside(read: writing.Parsed | str) -> set[str]:
    """The values that are said whatever they are: those of no condition."""
    assert not isinstance(read, str)
    return set(writing.names_in(read, conditions=False))


def check_templates(own: Templates | None) -> None:
    """Renders every letter once with each value that letters may have; ConfigError names the first broken
    template."""
    sample = dict.fromkeys(SAMPLES, "x")
    for language in LANGUAGES:
        for kind in TEMPLATES:
            writing.render(kind, sample, own, language)


def preview(
    template: str, language: Language, own: Templates | None, text: str | None = None
) -> tuple[str, str]:
    """Subject and words with sample values, every secret masked; ``text`` in place of what is in force. A
    part of letters has no subject."""
    file = file_of(template, language)
    if text is not None:
        own = writing.with_changed(own, {**(own.changed if own is not None else {}), file: tidied(text)})
    place = LANGUAGES.index(language)
    values = {name: both[place] for name, both in SAMPLES.items()}
    if template in PARTS:
        return "", writing.filled(file, values, own)
    return writing.render(KINDS[template][0], values, own, language)


@cache
def channel_of(template: str) -> Channel:
    """By which a letter of a template goes as a rule."""
    return "postcard" if template == "issue_password" else "mail"
