"""Dates of a certificate as a calendar file (iCalendar, RFC 5545): D-30, D-7 and the end. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from enroll.jst import day_of
from enroll.settings import Settings
from gateway.web.words import Text, place_of

CONTENT_TYPE = "text/calendar; charset=utf-8"

_FIRST: Text = ("クライアント証明書の更新が始まります", "Renew your client certificate")
_SECOND: Text = ("クライアント証明書の更新期限が迫っています", "Renew your client certificate soon")
_END: Text = ("クライアント証明書の有効期限", "Your client certificate ends")
_ABOUT: Text = (
    "コモンネーム：{name}　有効期限：{until}　更新サイト：{url}",
    "Common name: {name}; valid until {until}; renewal site: {url}",
)
# RFC 5545 section 3.1: octets of a line, its break not counted.
_LINE = 75


@dataclass(frozen=True)
class Dates:
    """What the file is about. ``until``: the end as it is shown; ``at`` the moment of the file."""

    common_name: str
    serial: str
    not_after_at: int
    until: str
    host: str
    at: int


def calendar(dates: Dates, settings: Settings, language: str) -> bytes:
    """Three all-day entries with a reminder each; imported again, they are the same three."""
    which = place_of(language)
    end = day_of(dates.not_after_at)
    about = _ABOUT[which].format(name=dates.common_name, until=dates.until, url=settings.renewal_url)
    entries = (
        ("first", end - timedelta(days=settings.renewal_days), _FIRST[which]),
        ("second", end - timedelta(days=settings.reminder_days), _SECOND[which]),
        ("end", end, _END[which]),
    )
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//sekisho//client certificate//JA", "METHOD:PUBLISH"]
    for name, day, summary in entries:
        lines += _entry(f"{dates.serial}-{name}@{dates.host}", day, summary, about, settings, dates.at)
    lines.append("END:VCALENDAR")
    return b"".join(piece + b"\r\n" for line in lines for piece in _folded(line))


def _entry(uid: str, day: date, summary: str, about: str, settings: Settings, at: int) -> Iterator[str]:
    yield "BEGIN:VEVENT"
    yield f"UID:{uid}"
    yield f"DTSTAMP:{datetime.fromtimestamp(at, UTC):%Y%m%dT%H%M%SZ}"
    yield f"DTSTART;VALUE=DATE:{day:%Y%m%d}"
    yield f"DTEND;VALUE=DATE:{day + timedelta(days=1):%Y%m%d}"
    yield f"SUMMARY:{_escaped(summary)}"
    yield f"DESCRIPTION:{_escaped(about)}"
    yield f"URL:{settings.renewal_url}"
    # Nobody is busy because of it.
    yield "TRANSP:TRANSPARENT"
    yield from ("BEGIN:VALARM", "ACTION:DISPLAY", f"DESCRIPTION:{_escaped(summary)}", "TRIGGER:PT9H")
    yield from ("END:VALARM", "END:VEVENT")


def _escaped(text: str) -> str:
    """RFC 5545 section 3.3.11."""
    for mark in ("\\", ";", ","):
        text = text.replace(mark, f"\\{mark}")
    return text.replace("\n", "\\n")


def _folded(line: str) -> Iterator[bytes]:
    """The line in pieces of at most 75 octets, none of which ends within a character."""
    piece = b""
    for character in line:
        encoded = character.encode()
        if len(piece) + len(encoded) > _LINE:
            yield piece
            piece = b" "
        piece += encoded
    yield piece
