"""How mails and postcards leave."""

from __future__ import annotations

from dataclasses import dataclass

from enroll.settings import Settings
from gateway.serving.settings.checks import (
    PORT,
    between,
    hours,
    mail,
    mail_or_none,
    matching,
    one_of,
    setting,
)

_POLICY = Settings()


@dataclass(frozen=True)
class Mail:
    """How mails leave."""

    transport: str = setting(
        "outbox", "'outbox' (.eml files in the data directory) or 'smtp'", one_of("outbox", "smtp")
    )
    from_: str = setting(_POLICY.mail_from, "From of every mail", mail)
    return_path: str = setting(
        "", "where bounces go, for sekisho mail bounce; '' is the From address", mail_or_none
    )
    host: str = setting("localhost", "SMTP server", matching(r"[0-9A-Za-z.:-]{1,253}", "write a host name"))
    port: int = setting(587, "its port", PORT)
    security: str = setting("starttls", "'starttls', 'tls' or 'none'", one_of("starttls", "tls", "none"))
    username: str = setting("", "login at the SMTP server; '' for none")
    password_file: str = setting("", "file with the password of that login, on one line; '' for none")
    ca: str = setting("", "PEM file of the only CA trusted for the SMTP server; '' trusts the system's CAs")
    timeout: float = setting(
        30.0,
        "seconds to wait for its answers; a letter it has got whole is waited for longer (RFC 5321)",
        between(1, 300),
    )
    connections: int = setting(
        4, "connections to it at once; most servers take ten or more of one client", between(1, 100)
    )
    letters_per_connection: int = setting(
        100, "letters on each; many servers close after a hundred", between(1, 100_000)
    )
    per_minute: int = setting(
        1_200,
        "letters in a minute at most; 0: as many as go. Providers tell you theirs",
        between(0, 1_000_000),
    )
    notice_hours: str = setting(
        "8:00-20:00",
        "when renewal notices leave, in Japan; '' at any time. What somebody waits for always leaves at once",
        hours,
    )
    hours: str = setting(
        "",
        "when other letters leave that can wait for the morning (pick-up mails, ID notices), such as "
        "'7:00-21:00'; '' at any time. A new password, and what warns of a theft, leaves at once",
        hours,
    )


def _lines(value: tuple[str, ...]) -> str | None:
    good = len(value) <= 3 and all(0 < len(each) <= 60 and each.isprintable() for each in value)
    return None if good else "write up to three lines of up to 60 characters"


@dataclass(frozen=True)
class Postcards:
    """How postcards are printed (docs/operations/postcards.md)."""

    print: str = setting(
        _POLICY.postcards,
        "'batches' (as PDF, by operators: sekisho postcard) or 'outbox' (.txt files in the data directory)",
        one_of("batches", "outbox"),
    )
    font: str = setting(
        _POLICY.postcard_font,
        "file of their font, TrueType or OpenType; a collection's Japanese one is taken",
        matching(r"/.+", "write the path of a font, such as that of Debian's fonts-noto-cjk"),
    )
    writing: str = setting(
        _POLICY.postcard_writing,
        "how addresses are written, of people whose language is Japanese: 'horizontal' or 'vertical'",
        one_of("horizontal", "vertical"),
    )
    frame: bool = setting(
        _POLICY.postcard_frame, "whether the boxes of the postal code are drawn: for cards without them"
    )
    sender: tuple[str, ...] = setting(
        _POLICY.postcard_sender,
        "lines above the operator's name on the face, such as ['〒100-0013 東京都千代田区霞が関1-2-3']",
        _lines,
    )
