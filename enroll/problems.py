"""What a peer did wrong, as a value that knows its form on the wire (RFC 7807, RFC 8555 section 6.7).

Whatever is the peer's fault is raised as a ``Problem`` and rendered in one place; the operator's
faults are ``ca.errors.ConfigError``; anything else is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

ACME_URN = "urn:ietf:params:acme:error:"
# RFC 8555 section 6.7: errors of our own must not use the ACME name space.
OUR_URN = "urn:sekisho:error:"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One line of the table: name after the URN prefix, HTTP status, meaning, where it is defined."""

    name: str
    status: int
    meaning: str
    source: str = "RFC 8555"
    urn: str = ACME_URN


_TYPES = (
    ProblemType("accountDoesNotExist", 400, "The request names an account that does not exist"),
    ProblemType("alreadyReplaced", 409, "The certificate named by replaces has a successor", "RFC 9773"),
    ProblemType("alreadyRevoked", 400, "The certificate is revoked already"),
    ProblemType("badCSR", 400, "The certificate signing request is not acceptable"),
    ProblemType("badNonce", 400, "The nonce was spent, has expired or is not ours"),
    ProblemType("badPublicKey", 400, "The public key is too weak or of a kind that is not supported"),
    ProblemType("badRevocationReason", 400, "The reason for revocation is not allowed"),
    ProblemType("badSignatureAlgorithm", 400, "The signature algorithm is not supported"),
    ProblemType("compound", 400, "Several errors, listed in subproblems"),
    ProblemType("externalAccountRequired", 400, "A new account needs an external account binding"),
    ProblemType("incorrectResponse", 403, "The response to a challenge does not meet its requirements"),
    ProblemType("invalidContact", 400, "A contact URL is not valid"),
    ProblemType("invalidProfile", 400, "The profile is not offered", "draft-ietf-acme-profiles"),
    ProblemType("malformed", 400, "The request is not well-formed"),
    ProblemType("orderNotReady", 403, "The order is not in the state that the request needs"),
    ProblemType("rateLimited", 429, "The request exceeds a limit; Retry-After says when to come back"),
    ProblemType("rejectedIdentifier", 403, "No certificate is issued for the identifier"),
    ProblemType("serverInternal", 500, "The server failed; the request may be tried again"),
    ProblemType("unauthorized", 403, "The client may not do this"),
    ProblemType("unsupportedContact", 400, "A contact URL has a scheme that is not supported"),
    ProblemType("unsupportedIdentifier", 400, "The identifier is of a type that is not supported"),
    ProblemType("userActionRequired", 403, "A person has to visit the URL given in instance"),
    ProblemType(
        "notRetrievable",
        403,
        "The certificate cannot be had any more, or never could by this client; a reissue is needed",
        "sekisho",
        OUR_URN,
    ),
)

#: Every problem type that the protocol uses, by its name without the prefix.
TYPES: Mapping[str, ProblemType] = MappingProxyType({kind.name: kind for kind in _TYPES})


@dataclass(frozen=True, slots=True)
class Subproblem:
    """One error among several, about one identifier (RFC 8555 section 6.7.1)."""

    name: str
    detail: str
    identifier: tuple[str, str]

    def to_json(self) -> dict[str, Any]:
        kind, value = self.identifier
        return {
            "type": TYPES[self.name].urn + self.name,
            "detail": self.detail,
            "identifier": {"type": kind, "value": value},
        }


class Problem(Exception):
    """A refusal that is the peer's doing. Two problems that say the same are equal.

    ``name`` is a key of ``TYPES``; ``status`` differs from the table only where the RFC says so (405,
    413, 415, 401). ``headers`` go into the HTTP answer, ``members`` into the document beside the
    usual ones (``algorithms``, ``instance``).
    """

    def __init__(
        self,
        name: str,
        detail: str,
        *,
        status: int | None = None,
        subproblems: Sequence[Subproblem] = (),
        headers: Sequence[tuple[str, str]] = (),
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name, detail)
        self.name = name
        self.detail = detail
        self.status = TYPES[name].status if status is None else status
        self.subproblems = tuple(subproblems)
        self.headers = tuple(headers)
        self.members: Mapping[str, Any] = MappingProxyType(dict(members or {}))

    @property
    def type(self) -> str:
        """The full URN."""
        return TYPES[self.name].urn + self.name

    def to_json(self) -> dict[str, Any]:
        """The document's members, in the order in which people read them."""
        document: dict[str, Any] = {"type": self.type, "detail": self.detail, "status": self.status}
        if self.subproblems:
            document["subproblems"] = [one.to_json() for one in self.subproblems]
        document.update(self.members)
        return document

    def _value(self) -> tuple[Any, ...]:
        return (self.name, self.detail, self.status, self.subproblems, self.headers, dict(self.members))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and self._value() == other._value()

    def __hash__(self) -> int:
        return hash((self.name, self.detail, self.status, self.subproblems, self.headers))

    def __str__(self) -> str:
        return f"{self.name} ({self.status}): {self.detail}"


def malformed(detail: str, *, status: int | None = None) -> Problem:
    """The commonest problem: the request is not well-formed."""
    return Problem("malformed", detail, status=status)


def rate_limited(detail: str, *, retry_after: int, help_url: str) -> Problem:
    """Too much of something; ``retry_after`` in seconds, ``help_url`` explains (RFC 8555 section 6.6)."""
    headers = (("Retry-After", str(retry_after)), ("Link", f'<{help_url}>;rel="help"'))
    return Problem("rateLimited", detail, headers=headers)
