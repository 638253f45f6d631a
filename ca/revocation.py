"""What our index says about a certificate, and why one was revoked, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from ca.errors import Unacceptable


class RevocationStatus(Enum):
    """What our own index says about a certificate. Not in the index is not the same as good."""

    GOOD = "good"
    HELD = "held"
    """Stopped until somebody decides: it may be good again."""
    REVOKED = "revoked"
    DISTRUSTED = "distrusted"
    """Nothing is wrong with it, but its issuing CA is trusted no more."""
    UNKNOWN = "unknown"
    UNASKED = "unasked"
    """Nobody can say: the index is out of reach."""


@dataclass(frozen=True)
class Reason:
    """One CRLReason of RFC 5280 section 5.3.1 and who may give it for an end-entity certificate."""

    code: int
    name: str
    by_client: bool
    by_operator: bool


# RFC 8555 section 7.6: a server MAY disallow reasons (badRevocationReason). Clients may say what only
# they know; whether a privilege was withdrawn is ours to say. Not offered at all: 2 and 10, which speak
# of CAs; 6, since a hold is no revocation: it is what a reported theft brings about until somebody decides
# (`ca.store.hold`); 8, which exists in delta CRLs only. 7 is not assigned.
REASONS: Mapping[int, Reason] = MappingProxyType(
    {
        row.code: row
        for row in (
            Reason(0, "unspecified", by_client=True, by_operator=True),
            Reason(1, "keyCompromise", by_client=True, by_operator=True),
            Reason(2, "cACompromise", by_client=False, by_operator=False),
            Reason(3, "affiliationChanged", by_client=True, by_operator=True),
            Reason(4, "superseded", by_client=True, by_operator=True),
            Reason(5, "cessationOfOperation", by_client=True, by_operator=True),
            Reason(6, "certificateHold", by_client=False, by_operator=False),
            Reason(8, "removeFromCRL", by_client=False, by_operator=False),
            Reason(9, "privilegeWithdrawn", by_client=False, by_operator=True),
            Reason(10, "aACompromise", by_client=False, by_operator=False),
        )
    }
)

#: The reason under which a list shows a certificate that is held.
HOLD = 6
#: The reason under which lists and answers show a certificate whose issuing CA is trusted no more: RFC 6960
#: section 2.7 lets a responder say `revoked` of all that such a CA has issued.
CA_COMPROMISE = 2


class RevokedEntry(NamedTuple):
    """One line of a CRL: serial in hex, when (seconds since the epoch) and why."""

    serial: str
    revoked_at: int
    reason: int


def client_reason(code: int | None) -> int:
    """The reason that an ACME client gave, checked; none given is 0. `Unacceptable("bad-reason")`."""
    return _checked(0 if code is None else code, by_client=True)


def operator_reason(code: int) -> int:
    """The reason that an operator gave, checked. `Unacceptable("bad-reason")`."""
    return _checked(code, by_client=False)


def reason_code(name: str) -> int:
    """The code of a reason named as in RFC 5280. `Unacceptable("bad-reason")` for any other word."""
    for row in REASONS.values():
        if row.name == name:
            return row.code
    raise Unacceptable("bad-reason", f"{name!r} is not a reason; one of: {offered_to_operators()}")


def offered_to_operators() -> str:
    """The names an operator may choose from, for help and error texts."""
    return ", ".join(row.name for row in REASONS.values() if row.by_operator)


def _checked(code: int, *, by_client: bool) -> int:
    row = REASONS.get(code) if type(code) is int else None
    if row is None or not (row.by_client if by_client else row.by_operator):
        raise Unacceptable("bad-reason", f"revocation reason {code!r} is not accepted here")
    return row.code
