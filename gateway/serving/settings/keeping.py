"""What is kept elsewhere, so that it is there when this machine is not."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.serving.settings.checks import between, directory_or_none, setting

_SYSLOG = re.compile(r"(tcp|udp)://[A-Za-z0-9.\[\]:-]+:\d{1,5}|unix:/.+")


def _syslog(value: str) -> str | None:
    good = value == "" or _SYSLOG.fullmatch(value)
    return None if good else "write tcp://host:port, udp://host:port or unix:/dev/log, or '' for none"


@dataclass(frozen=True)
class Copying:
    """Where the journal goes besides journal/ in the data directory: what came after the last backup."""

    copy: str = setting(
        "",
        "directory on another machine or disk that is kept like it, within seconds; '' for none",
        directory_or_none,
    )
    syslog: str = setting(
        "", "where each of its lines goes (RFC 5424), such as 'tcp://192.0.2.7:601'; '' for none", _syslog
    )


@dataclass(frozen=True)
class Backups:
    """What is said of backups (sekisho backup)."""

    warn_hours: float = setting(
        26.0,
        "hours after which the last good one is too old: log, /readyz, doctor; 0: never",
        between(0, 8_760),
    )
