"""What is wrong with a request of the API, as a problem document (RFC 9457): one table of types.

Their names are the product's own refusals (`enroll.refusals.CODES`), and those that only HTTP knows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from enroll.problems import OUR_URN
from enroll.refusals import CODES, Refusal
from gateway.wire.rules import Denial

MEDIA_TYPE = "application/problem+json"
# Seconds until it is worth trying again when nobody says how long.
_LATER = 60


@dataclass(frozen=True)
class Type:
    """A row: the status, and what the type means."""

    status: int
    title: str


#: Codes of refusals that are not answered by 409: what was asked for does not fit what is there.
_STATUS: Mapping[str, int] = {
    "invalid_input": 422,
    "weak_password": 422,
    "not_permitted": 403,
    "not_found": 404,
    "throttled": 429,
    "clock_in_doubt": 503,
    "issuing_later": 503,
}
#: Code -> its type: of every refusal, and below of what is HTTP's alone.
TYPES: Mapping[str, Type] = MappingProxyType(
    {code: Type(_STATUS.get(code, 409), meaning) for code, meaning in CODES.items()}
    | {
        "malformed": Type(400, "the request is not well-formed"),
        "no_certificate": Type(403, "a good certificate of a service account is needed"),
        "method_not_allowed": Type(405, "the resource has no such method; Allow names those it has"),
        "precondition_failed": Type(412, "somebody else has changed it; read it again"),
        "too_large": Type(413, "the body is larger than the resource takes"),
        "target_too_long": Type(414, "path and query together are too long"),
        "unsupported_media_type": Type(415, "the resource takes another media type"),
        "expectation_failed": Type(417, "Expect may be 100-continue and nothing else"),
        "misdirected": Type(421, "Host names another site than the connection was opened to"),
        "precondition_required": Type(428, "If-Match is needed, with the ETag of what was read"),
        "key_required": Type(400, "Idempotency-Key is needed, 1 to 128 letters, digits, '-', '_', '.', ':'"),
        "key_reused": Type(422, "the Idempotency-Key was used for another request"),
        "in_flight": Type(409, "a request with this Idempotency-Key is being worked at; Retry-After"),
        "rate_limited": Type(429, "too many requests from this address or certificate; Retry-After"),
        "header_too_large": Type(431, "a field of the header is too long, or there are too many"),
        "not_implemented": Type(501, "there is no such method here, or no such Transfer-Encoding"),
        "version_not_supported": Type(505, "HTTP/1.1 is spoken here"),
        "out_of_order": Type(503, "nothing can be recorded at the moment; nothing was done; Retry-After"),
        "internal": Type(500, "the server failed; the same request may be tried again"),
    }
)
#: What the wire refuses before a resource is asked, by status: "malformed" where it is not here.
_UNHEARD: Mapping[int, str] = {
    TYPES[code].status: code
    for code in (
        "no_certificate",
        "too_large",
        "target_too_long",
        "expectation_failed",
        "misdirected",
        "header_too_large",
        "internal",
        "not_implemented",
        "version_not_supported",
    )
}
# By `Denial.code`: what is wrong, where the type alone does not say it.
_UNHEARD_DETAILS: Mapping[str, str] = {
    "target-form": "write the path after the method, and the name into Host",
    "target": "path or query have what no request may have: a space or other than visible ASCII as it is, "
    "'\\', '#', '%' without two hex digits, '%00', or '.' and '..' as parts of the path",
    "header-name": "names of header fields may have letters, digits and '-'",
    "host-count": "Host has to be there once",
    "framing": "HTTP/1.0 has no Transfer-Encoding",
    "unread": "this cannot be read as HTTP/1.1",
    "parser": "this cannot be read as HTTP/1.1",
}
#: Statuses of answers after which the same request may do what it did not do now: no answer is kept.
PASSING = frozenset({429, 500, 503})


# Not frozen: Python itself writes __traceback__ and __cause__ onto exceptions.
@dataclass(eq=False)
class Problem(Exception):
    """A request that is answered by a problem document. ``code`` is a key of `TYPES`."""

    code: str
    detail: str = ""
    field: str = ""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def status(self) -> int:
        return TYPES[self.code].status

    def document(self) -> dict[str, Any]:
        """Its members, as RFC 9457 names them; ``field``: the input at fault."""
        kind = TYPES[self.code]
        told: dict[str, Any] = {"type": OUR_URN + self.code, "title": kind.title, "status": kind.status}
        told |= {"detail": self.detail} if self.detail else {}
        return told | ({"field": self.field} if self.field else {})


def of_refusal(refusal: Refusal, now: int) -> Problem:
    """A refusal as a problem."""
    headers = {}
    if TYPES[refusal.code].status in PASSING:
        headers = {"Retry-After": str(max(1, refusal.at - now) if refusal.at else _LATER)}
    return Problem(refusal.code, refusal.detail, refusal.field, headers)


def of_denial(why: Denial) -> Problem:
    """What the wire refuses before a resource is asked."""
    code = _UNHEARD.get(why.status, "malformed")
    return Problem(code, _UNHEARD_DETAILS.get(why.code, "") if code == "malformed" else "")


def later(code: str, seconds: int = _LATER) -> Problem:
    """One that says when to come again."""
    return Problem(code, headers={"Retry-After": str(seconds)})
