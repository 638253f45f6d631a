"""Whose gateway it is, and by which rules people and programs get certificates."""

from __future__ import annotations

from dataclasses import dataclass

from enroll.settings import Settings
from gateway.serving.settings.checks import HOST, between, line, link, mail_or_none, one_of, setting

_POLICY = Settings()


@dataclass(frozen=True)
class Operator:
    """What people see of the operator."""

    name: str = setting(_POLICY.operator_name, "shown on every screen and in every mail", line)
    brand: str = setting(_POLICY.ca_brand, "brand of the CA, shown after the name", line)
    telephone: str = setting(_POLICY.telephone, "the help desk", line)
    mail: str = setting(
        _POLICY.operator_mail,
        "where you are told that a CA ends (three years, one year, three months before); '' for nowhere",
        mail_or_none,
    )
    manual_url: str = setting("", "オンライン操作マニュアル第3章, linked from the help; '' for no link", link)


@dataclass(frozen=True)
class Policy:
    """Rules of enrollment (D1 to D11)."""

    window_days: int = setting(_POLICY.window_days, "pick-up window, in days from issuance", between(1, 365))
    window_downloads: int = setting(_POLICY.window_downloads, "downloads in that window", between(1, 100))
    announced_days: int = setting(
        _POLICY.announced_days,
        "days until an announced pick-up that nobody started is closed",
        between(1, 365),
    )
    ticket_seconds: int = setting(
        _POLICY.ticket_seconds, "how long a Download button works, in seconds", between(60, 3_600)
    )
    renewal_days: int = setting(
        _POLICY.renewal_days, "first renewal mail, days before the end", between(1, 365)
    )
    reminder_days: int = setting(
        _POLICY.reminder_days, "second renewal mail, days before the end", between(0, 365)
    )
    grace_days: int = setting(
        _POLICY.grace_days,
        "days after the end in which pages and accounts still renew; 0: none",
        between(0, 90),
    )
    decision_days: int = setting(
        _POLICY.decision_days,
        "business days in which applications are decided as a rule, told to applicants; 0: no day is told",
        between(0, 60),
    )
    lineages: int = setting(
        _POLICY.lineages,
        "PCs with a certificate that a user may have, and credentials for programs",
        between(1, 100),
    )
    revoke_renewed_days: int = setting(
        _POLICY.revoke_renewed_days,
        "revoke the old certificate this many days after the renewed one's first use; -1: never",
        between(-1, 365),
    )
    phones: bool = setting(
        _POLICY.phones,
        "whether certificates may be installed on phones and tablets: offers a profile for iPhone and iPad",
    )
    person_key: str = setting(
        _POLICY.person_key, "keys of people's certificates", one_of("rsa-2048", "rsa-3072", "ec-p256")
    )
    person_profile: str = setting(
        _POLICY.person_profile,
        "profile of people's certificates, where the organisation has none of its own",
    )
    cross_certificates: tuple[str, ...] = setting(
        _POLICY.cross_certificates,
        "other roots, by their common names, whose cross-certificates are in people's files (PKCS#12), too",
        lambda value: None if all(value) else "write common names of roots, such as ['OTHER ROOT CA']",
    )
    attempts: int = setting(
        _POLICY.attempts, "failed logins before the next one has to wait", between(1, 1_000)
    )
    attempt_seconds: int = setting(
        _POLICY.attempt_seconds, "period that they are counted in", between(1, 86_400)
    )


@dataclass(frozen=True)
class Protocol:
    """Enrollment by automated clients."""

    host: str = setting(
        "",
        "host of the pick-up site that clients use; '' for its first",
        lambda value: None if value == "" or HOST.fullmatch(value) else "write a host name in lower case",
    )
    zone: str = setting(
        _POLICY.zone,
        "identifiers are <user-id>.<zone>",
        lambda value: None if HOST.fullmatch(value) else "write a domain name in lower case",
    )
    quota: int = setting(
        _POLICY.quota,
        "certificates, and open orders, outside the renewal period that one credential may have at a time",
        between(1, 100_000),
    )
    terms_of_service: str = setting(
        "", "address of the terms that clients have to agree to; '' for none", link
    )
    website: str = setting("", "address told to clients; '' for none", link)


@dataclass(frozen=True)
class Timekeeping:
    """How far the clock is believed; beyond, what cannot be undone waits for: sekisho clock confirm."""

    ahead_days: int = setting(
        _POLICY.clock_ahead_days,
        "days that it may be ahead of what is known: the gateway was off or suspended, or somebody set it",
        between(1, 365),
    )
    behind_minutes: int = setting(
        _POLICY.clock_behind_minutes, "minutes that it may be behind of it", between(1, 1_440)
    )
