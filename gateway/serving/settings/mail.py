"""How mails leave."""

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
