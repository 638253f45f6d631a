"""Renewal information (RFC 9773): which certificate is meant, and when it should be renewed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from enroll.acme.orders import Identifier, rfc3339
from enroll.acme.wire import decode_base64url, encode_base64url
from enroll.jst import days_before
from enroll.problems import Problem, malformed

#: Seconds after which clients should ask again; RFC 9773 section 4.3.2 names six hours as an example.
RETRY_AFTER = 21_600
# RFC 5280 section 4.1.2.2: serial numbers have at most 20 octets. Key identifiers are SHA-1 sized here,
# longer ones are read so that the answer is 404 and not 400.
_MAX_SERIAL, _MAX_KEY_ID = 20, 64


@dataclass(frozen=True, slots=True)
class CertId:
    """Names a certificate by its issuer's key identifier and its serial number (RFC 9773 section 4.1)."""

    key_identifier: bytes
    serial: int

    def __str__(self) -> str:
        # The content octets of the DER INTEGER: a zero octet leads where the first bit is set.
        octets = self.serial.to_bytes(self.serial.bit_length() // 8 + 1, "big")
        return f"{encode_base64url(self.key_identifier)}.{encode_base64url(octets)}"


def read_cert_id(text: str) -> CertId:
    """A certificate's unique identifier, in its one right spelling; anything else is ``malformed``."""
    key_text, dot, serial_text = text.partition(".")
    key_identifier = decode_base64url(key_text, "the key identifier")
    octets = decode_base64url(serial_text, "the serial number")
    if not dot or not key_identifier or len(key_identifier) > _MAX_KEY_ID:
        raise malformed("a certificate is named by its authority key identifier, a dot and its serial number")
    if not 1 <= len(octets) <= _MAX_SERIAL:
        raise malformed(f"a serial number has 1 to {_MAX_SERIAL} octets")
    cert_id = CertId(key_identifier, int.from_bytes(octets, "big"))
    # Negative numbers, zero, missing and needless zero octets all come back differently (X.690 8.3.2).
    if cert_id.serial == 0 or str(cert_id) != text:
        raise malformed("the serial number is not the content of a positive DER INTEGER")
    return cert_id


@dataclass(frozen=True, slots=True)
class Window:
    """When to renew, in seconds since the epoch; ``end_at`` is later than ``start_at``."""

    start_at: int
    end_at: int


def renewal_window(
    not_before_at: int, not_after_at: int, revoked_at: int | None, *, renewal_days: int, reminder_days: int
) -> Window:
    """D-30 to D-7 in Japan's calendar, as the mails are sent; a revoked certificate's lies in the past.

    A certificate that lives for less than that is to be renewed in the last third of its life.
    """
    if revoked_at is not None:
        # RFC 9773 section 4.2: clients renew at once when the window has passed.
        return Window(revoked_at - 3_600, revoked_at - 1)
    start_at = days_before(not_after_at, renewal_days)
    end_at = days_before(not_after_at, reminder_days)
    if start_at <= not_before_at or end_at <= start_at:
        lifetime = not_after_at - not_before_at
        return Window(
            not_after_at - lifetime // 3, max(not_after_at - lifetime // 10, not_after_at - lifetime // 3 + 1)
        )
    return Window(start_at, end_at)


def renewal_json(window: Window, explanation_url: str | None) -> dict[str, Any]:
    """The RenewalInfo object (RFC 9773 section 4.2)."""
    shown: dict[str, Any] = {
        "suggestedWindow": {"start": rfc3339(window.start_at), "end": rfc3339(window.end_at)}
    }
    if explanation_url is not None:
        shown["explanationURL"] = explanation_url
    return shown


@dataclass(frozen=True, slots=True)
class Predecessor:
    """What is known of the certificate that an order says it replaces."""

    account_id: str
    names: frozenset[str]
    #: Whether a successor was issued, through whichever door.
    replaced: bool


def check_replaces(
    predecessor: Predecessor | None, account_id: str, identifiers: tuple[Identifier, ...]
) -> None:
    """RFC 9773 section 5: the same account, a name in common, and not replaced before."""
    if predecessor is None or predecessor.account_id != account_id:
        # One answer for both: whether a certificate of somebody else exists is nobody's business.
        raise malformed("replaces does not name a certificate of this account")
    if not predecessor.names & {one.folded for one in identifiers}:
        raise malformed("the certificate named by replaces has no identifier in common with the order")
    if predecessor.replaced:
        raise already_replaced()


def already_replaced() -> Problem:
    """RFC 9773 section 5: 409. On the pick-up site the client may order without ``replaces``."""
    return Problem("alreadyReplaced", "a successor of this certificate was issued already")
