"""What narrows the long lists of operators, and how a certificate stands in them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

import click

from ca.revocation import REASONS
from enroll import generations, identifiers, listings
from enroll.jst import start_of
from enroll.ra import RegistrationAuthority
from gateway.cli.frame import as_typed

_DAY = click.DateTime(["%Y-%m-%d"])
_OPTIONS = (
    click.option("--name", default=None, help="A part of the name, in any spelling."),
    click.option("--mail", default=None, help="A part of the mail address, in any spelling."),
    click.option(
        "--ends-before", type=_DAY, metavar="DAY", default=None, help="Certificates that end before this day."
    ),
    click.option(
        "--ends-after",
        type=_DAY,
        metavar="DAY",
        default=None,
        help="Those that end on this day or later.",
    ),
)


def narrowed(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options by which a list of people's things is narrowed; ``wanted`` takes what they give."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def of_organisation(words: str) -> Callable[[Any], Any]:
    """The option that names an organisation by its 証券番号."""
    meant = as_typed(identifiers.typed_policy_number)
    return click.option("--org", "policy_number", default=None, metavar="NUMBER", callback=meant, help=words)


def wanted(
    *, ends_before: datetime | None, ends_after: datetime | None, **given: str | None
) -> listings.Wanted:
    """What the options of ``narrowed`` say. Days are Japan's."""
    before = None if ends_before is None else start_of(ends_before.date())
    after = None if ends_after is None else start_of(ends_after.date())
    return listings.Wanted(ends_before=before, ends_after=after, **given)


def certificates(ra: RegistrationAuthority, narrowed_to: listings.Wanted) -> Iterator[dict[str, Any]]:
    """Certificates for operators, newest first."""
    now, gone = ra.now(), ra.database.read_now(generations.distrusted)
    found = listings.certificates(ra.database, narrowed_to, now)
    return (certificate_record(row, now, gone) for row in found)


def certificate_record(row: Mapping[str, Any], now: int, distrusted: Collection[str]) -> dict[str, Any]:
    """A certificate for operators. ``distrusted``: the IDs of issuing CAs that are trusted no more."""
    reason = row["revocation_reason"]
    expired = row["status"] == "issued" and row["not_after_at"] < now
    stopped = row["status"] in ("issued", "held") and not expired and row["issuer_id"] in distrusted
    return {
        "serial": row["serial"],
        "common_name": row["subject_cn"],
        "state": "expired" if expired else "distrusted" if stopped else row["status"],
        "status": row["status"],
        "profile": row["profile"],
        "fingerprint": row["fingerprint"],
        "issuer_id": row["issuer_id"],
        "request_id": row["order_id"],
        "not_before_at": row["not_before_at"],
        "not_after_at": row["not_after_at"],
        "issued_at": row["issued_at"],
        "held_at": row["held_at"],
        "revoked_at": row["revoked_at"],
        "revocation_reason": None if reason is None else REASONS[reason].name,
    }
