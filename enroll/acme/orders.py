"""Orders, authorizations and challenges (RFC 8555 sections 7.1.3 to 7.1.6, 7.4, 7.5) as values.

What may be ordered follows from an ``Entitlement``: one person's identity and the names that mean it.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from enroll.acme.urls import Urls
from enroll.acme.wire import Json, array_of, mapping, optional, required, text
from enroll.problems import Problem, Subproblem, malformed
from enroll.requests.enrollment import Enrollment
from enroll.requests.states import ENDED, State

#: The most identifiers in one order. Renewing clients send a handful: names, aliases, repetitions.
MAX_IDENTIFIERS = 20
# A dNSName has at most 253 characters (RFC 1035 section 2.3.4), an alias at most 64.
_MAX_VALUE = 253


@dataclass(frozen=True, slots=True)
class Identifier:
    """An identifier exactly as the client wrote it; clients compare what comes back byte for byte."""

    type: str
    value: str

    @property
    def folded(self) -> str:
        """The value with A-Z lowered: what is compared (RFC 4343). Other letters stay as they are."""
        return fold(self.value)

    def to_json(self) -> dict[str, str]:
        return {"type": self.type, "value": self.value}


@dataclass(frozen=True, slots=True)
class Entitlement:
    """Who may be certified, and by which names.

    ``fqdn`` is the dNSName of the certificate, lower case. ``aliases`` are further names of the same
    identity, folded: clients that renew ask for the names that they find in the certificate, the CN
    included. ``profiles`` are those the credential grants, the first by default.
    """

    fqdn: str
    aliases: Container[str]
    profiles: tuple[str, ...]

    def covers(self, folded: str) -> bool:
        """Whether the name means this identity."""
        return folded == self.fqdn or folded in self.aliases


@dataclass(frozen=True, slots=True)
class NewOrder:
    """What newOrder was asked, well-formed but not yet granted."""

    identifiers: tuple[Identifier, ...]
    profile: str | None
    replaces: str | None


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it is stored. Its status is that of its enrollment: ``order_status``.

    ``request_id`` names the enrollment; None until a certificate was presented where one has to be:
    the one with serial ``source_serial``.
    """

    id: str
    account_id: str
    request_id: str | None
    identifiers: tuple[Identifier, ...]
    authorization_ids: tuple[str, ...]
    profile: str
    created_at: int
    expires_at: int
    replaces: str | None = None
    source_serial: str | None = None


@dataclass(frozen=True, slots=True)
class Authorization:
    """An account's right to an identifier, with its one challenge. ``status`` as stored.

    ``order_id`` is None where the authorization serves every order of the account.
    """

    id: str
    account_id: str
    identifier: Identifier
    status: str
    expires_at: int
    challenge_type: str
    token: str
    validated_at: int | None = None
    order_id: str | None = None


#: Credentials are challenge enough: RFC 8555 section 7.3.4 says that a binding may stand for authority.
BOUND_CHALLENGE = "sekisho-eab-01"
#: Our extension: answered over a connection that presents the certificate to be replaced.
CERTIFICATE_CHALLENGE = "client-cert-01"

# RFC 8555 section 7.1.6: what an authorization that has run out is, by what is stored; the rest is final.
_RUN_OUT: Mapping[str, str] = {"pending": "invalid", "valid": "expired"}


def fold(name: str) -> str:
    """A name for comparison: ASCII letters lowered, all else untouched."""
    return name.encode("utf-8").lower().decode("utf-8")


def read_new_order(payload: Mapping[str, Json]) -> NewOrder:
    """The fields of newOrder. Unknown ones are ignored; empty strings and nulls count as absent.

    RFC 8555 section 7.4: notBefore and notAfter have to be honoured or refused. The profile decides
    over validity here, so they are refused.
    """
    for member in ("notBefore", "notAfter"):
        if optional(payload, member, text):
            raise malformed(f"{member} cannot be chosen: the profile sets the validity; leave it out")
    identifiers = required(payload, "identifiers", array_of(read_identifier))
    if not identifiers:
        raise malformed("an order needs at least one identifier")
    if len(identifiers) > MAX_IDENTIFIERS:
        raise malformed(f"an order has {MAX_IDENTIFIERS} identifiers at the most")
    profile = optional(payload, "profile", text)
    return NewOrder(identifiers, profile or None, optional(payload, "replaces", text) or None)


def read_new_authorization(payload: Mapping[str, Json]) -> Identifier:
    """The identifier of newAuthz (RFC 8555 section 7.4.1)."""
    return read_identifier(required(payload, "identifier", mapping), "identifier")


def read_deactivation(payload: Mapping[str, Json]) -> bool:
    """Whether an authorization is asked to be deactivated (RFC 8555 section 7.5.2); else malformed."""
    if required(payload, "status", text) != "deactivated":
        raise malformed("an authorization can only be set to deactivated")
    return True


def read_identifier(value: Json, name: str) -> Identifier:
    members = mapping(value, name)
    identifier = Identifier(required(members, "type", text), required(members, "value", text))
    if not identifier.value:
        raise malformed(f"{name} is empty")
    return identifier


def check_identifiers(identifiers: Sequence[Identifier], entitlement: Entitlement) -> None:
    """Refuses an order unless each identifier means the entitled identity; one subproblem for each other.

    The same identifier twice is allowed: certbot does it when it renews.
    """
    refused = [problem for one in identifiers if (problem := _refusal(one, entitlement))]
    if not refused:
        return
    names = {one.name for one in refused}
    name = names.pop() if len(names) == 1 else "compound"
    raise Problem(name, "no certificate is issued for these identifiers", subproblems=refused)


def choose_profile(asked: str | None, entitlement: Entitlement) -> str:
    """The profile of an order; ``invalidProfile`` unless the credential grants the one asked for."""
    if asked is None:
        return entitlement.profiles[0]
    if asked not in entitlement.profiles:
        granted = ", ".join(entitlement.profiles)
        raise Problem("invalidProfile", f"the profile {asked!r} is not offered; there is {granted}")
    return asked


def authorized_identifiers(identifiers: Sequence[Identifier]) -> tuple[Identifier, ...]:
    """The identifiers to authorize: each once, in order, as written (RFC 8555 section 7.1.3)."""
    return tuple(dict.fromkeys(identifiers))


def meant(identifiers: Sequence[Identifier]) -> frozenset[tuple[str, str]]:
    """What identifiers mean, to compare: neither case nor order nor repetition counts (RFC 4343)."""
    return frozenset((one.type, one.folded) for one in identifiers)


def authorization_status(authorization: Authorization, at: int) -> str:
    """RFC 8555 section 7.1.6: a pending authorization that runs out is invalid, a valid one expired."""
    status = authorization.status
    return status if at < authorization.expires_at else _RUN_OUT.get(status, status)


def order_status(
    order: Order, enrollment: Enrollment | None, authorizations: Collection[str], at: int
) -> str:
    """The status of an order (RFC 8555 section 7.1.6), which is the state of its enrollment in ACME's words.

    ``authorizations`` are the statuses of its authorizations. 証明書生成中 is ``processing`` and 発行済み
    is ``valid``; what happens to a certificate after it was issued does not change its order.
    """
    if enrollment is not None and _in_time(order, enrollment):
        if enrollment.state is State.PROCESSING:
            return "processing"
        if enrollment.issued_at is not None:
            return "valid"
    if at >= order.expires_at or (enrollment is not None and enrollment.state in ENDED):
        return "invalid"
    if enrollment is not None and set(authorizations) <= {"valid"}:
        return "ready"
    return "pending" if set(authorizations) <= {"valid", "pending"} else "invalid"


def _in_time(order: Order, enrollment: Enrollment) -> bool:
    # Section 7.1.6: invalid is for good. What the pages do with the request later is not this order's.
    return enrollment.submitted_at is None or enrollment.submitted_at < order.expires_at


def check_finalizable(status: str) -> None:
    """RFC 8555 section 7.4: only a ready order can be finalized."""
    if status != "ready":
        raise Problem("orderNotReady", f"the order is {status}, not ready")


def order_json(order: Order, status: str, urls: Urls) -> dict[str, Any]:
    """The order object (RFC 8555 section 7.1.3). The certificate goes by the order's own identifier."""
    shown: dict[str, Any] = {
        "status": status,
        "expires": rfc3339(order.expires_at),
        "identifiers": [one.to_json() for one in order.identifiers],
        "authorizations": [urls.to("authorization", one) for one in order.authorization_ids],
        "finalize": urls.to("finalize", order.id),
        "profile": order.profile,
    }
    if order.replaces is not None:
        shown["replaces"] = order.replaces
    if status == "valid":
        shown["certificate"] = urls.to("certificate", order.id)
    return shown


def authorization_json(authorization: Authorization, urls: Urls, at: int) -> dict[str, Any]:
    """The authorization object (RFC 8555 section 7.1.4)."""
    return {
        "status": authorization_status(authorization, at),
        "expires": rfc3339(authorization.expires_at),
        "identifier": authorization.identifier.to_json(),
        "challenges": [challenge_json(authorization, urls, at)],
    }


def challenge_json(authorization: Authorization, urls: Urls, at: int) -> dict[str, Any]:
    """The challenge object (RFC 8555 sections 7.1.5 and 8): once valid it stays so."""
    # Section 7.1.6: a challenge knows pending, processing, valid and invalid only.
    passed = authorization.validated_at is not None
    open_still = authorization_status(authorization, at) == "pending"
    shown: dict[str, Any] = {
        "type": authorization.challenge_type,
        "url": urls.to("challenge", authorization.id),
        "status": "valid" if passed else "pending" if open_still else "invalid",
        "token": authorization.token,
    }
    if authorization.validated_at is not None:
        shown["validated"] = rfc3339(authorization.validated_at)
    return shown


def rfc3339(at: int) -> str:
    """Seconds since the epoch as RFC 3339 in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refusal(identifier: Identifier, entitlement: Entitlement) -> Subproblem | None:
    named = (identifier.type, identifier.value)
    if identifier.type != "dns":
        return Subproblem(
            "unsupportedIdentifier", f"identifiers of type {identifier.type!r} are unknown", named
        )
    if len(identifier.value) > _MAX_VALUE or not entitlement.covers(identifier.folded):
        return Subproblem("rejectedIdentifier", "the account is not entitled to this name", named)
    return None
