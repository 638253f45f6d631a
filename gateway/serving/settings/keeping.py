"""What is kept elsewhere, for when this machine is gone, and how long what is personal is kept here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from enroll.retention.periods import Periods
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


_PERIODS, _LONG = Periods(), between(0, 36_525)


@dataclass(frozen=True)
class Retention:
    """How long what is personal is kept (sekisho retention); 0: for good."""

    people_days: int = setting(
        _PERIODS.people, "days after a user was ended until nothing personal of who left is here", _LONG
    )
    letters_days: int = setting(_PERIODS.letters, "days of a letter's recipient and text", _LONG)
    applications_days: int = setting(
        _PERIODS.applications, "days of names and addresses in applications that were decided", _LONG
    )
    jobs_days: int = setting(_PERIODS.jobs, "days of the rows of an import", _LONG)
    proposals_days: int = setting(
        _PERIODS.proposals, "days of names, addresses and reasons in proposals", _LONG
    )
