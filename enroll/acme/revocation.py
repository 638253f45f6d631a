"""Revocation by clients (RFC 8555 section 7.6): what is asked, and who may ask it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ca.errors import Unacceptable
from ca.revocation import REASONS, client_reason
from enroll.acme.wire import Json, base64url, integer, optional, required
from enroll.problems import Problem, malformed

#: The largest certificate that is read, in bytes.
_MAX_CERTIFICATE = 16_384


@dataclass(frozen=True, slots=True)
class Revocation:
    """A well-formed request to revoke the certificate of this DER for this CRLReason."""

    der: bytes
    reason: int


@dataclass(frozen=True, slots=True)
class Holder:
    """To whom a certificate belongs: its account, its key, and the accounts authorised for all its names."""

    account_id: str | None
    spki_sha256: str
    revoked: bool


def read_revocation(payload: Mapping[str, Json]) -> Revocation:
    """The fields of revokeCert. ``badRevocationReason`` for a code that clients may not give."""
    der = required(payload, "certificate", base64url)
    if not der or len(der) > _MAX_CERTIFICATE:
        raise malformed("certificate is empty or too large")
    return Revocation(der, _reason(payload))


def check_revocation(
    holder: Holder | None, *, account_id: str | None, spki_sha256: str, authorized: bool
) -> None:
    """Whether the signer may revoke. ``account_id`` is None when the certificate's own key signed.

    RFC 8555 section 7.6: the account that got the certificate, an account that is authorised for all of
    its names (``authorized``), or the key pair in it. A certificate that is not ours is refused the same
    way as somebody else's.
    """
    if holder is None:
        raise Problem("unauthorized", "the certificate is not one that this signer may revoke")
    by_account = account_id is not None and (holder.account_id == account_id or authorized)
    by_key = account_id is None and holder.spki_sha256 == spki_sha256
    if not by_account and not by_key:
        raise Problem("unauthorized", "the certificate is not one that this signer may revoke")
    if holder.revoked:
        raise Problem("alreadyRevoked", "the certificate is revoked already")


def _reason(payload: Mapping[str, Json]) -> int:
    try:
        return client_reason(optional(payload, "reason", integer))
    except (Problem, Unacceptable):
        allowed = ", ".join(f"{row.code} ({row.name})" for row in REASONS.values() if row.by_client)
        raise Problem("badRevocationReason", f"reason has to be one of {allowed}") from None
