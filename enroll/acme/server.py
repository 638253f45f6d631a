"""One server of the protocol: where it is, on which terms, and the rights of whoever comes through it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import enroll.store
from ca.storage import Transaction
from enroll.acme.directory import Terms
from enroll.acme.nonces import Nonces, SharedNonces
from enroll.acme.orders import Entitlement
from enroll.acme.remembered import Remembered
from enroll.acme.urls import Urls
from enroll.identifiers import LAST_NUMBER, common_name, number_in
from enroll.problems import Problem
from enroll.ra import RegistrationAuthority
from enroll.refusals import CODES, Refusal

# Refusals that are ours to mend, with the seconds until it is worth trying again: somebody has to look at the
# clock, while who signs mostly comes back by itself.
_LATER: Mapping[str, int] = MappingProxyType({"clock_in_doubt": 600, "issuing_later": 60})

#: What the core refuses, in the protocol's words.
REFUSALS: Mapping[str, str] = MappingProxyType(
    {
        "bad_credentials": "unauthorized",
        "wrong_user_id": "unauthorized",
        "throttled": "rateLimited",
        "not_available": "notRetrievable",
        "password_empty": "malformed",
        "password_characters": "malformed",
        "password_too_long": "malformed",
        "password_mismatch": "malformed",
        "request_id_mismatch": "unauthorized",
        "not_yet_renewable": "unauthorized",
        "renewal_over": "unauthorized",
        "superseded": "unauthorized",
        "renewed": "unauthorized",
        "revoked": "unauthorized",
        "withdrawn": "unauthorized",
        "pickup_over": "unauthorized",
        "theft_reported": "unauthorized",
        "user_disabled": "unauthorized",
        "wrong_user": "unauthorized",
        "other_certificate": "unauthorized",
        "unknown_certificate": "unauthorized",
        "weak_password": "malformed",
        "password_is_user_id": "malformed",
        "guessable_password": "malformed",
        "same_password": "malformed",
        "invalid_input": "malformed",
        "not_permitted": "unauthorized",
        "not_found": "malformed",
        "conflict": "orderNotReady",
        "limit_reached": "rateLimited",
        "profile_unmet": "unauthorized",
        "clock_in_doubt": "serverInternal",
        "issuing_later": "serverInternal",
    }
)


@dataclass(frozen=True, slots=True)
class AcmeServer:
    """The protocol at one origin. ``help_url`` explains limits and refusals to people."""

    ra: RegistrationAuthority
    urls: Urls
    terms: Terms
    nonces: Nonces | SharedNonces
    help_url: str
    accounts: Remembered = field(default_factory=Remembered, repr=False)

    @property
    def by_certificate(self) -> bool:
        """Whether the presented certificate is the authorisation here (``client-cert-01``)."""
        return not self.terms.external_account_required


def problem_of(refusal: Refusal) -> Problem:
    """A refusal of the core as a problem document."""
    if refusal.code in _LATER:
        # Nothing of the client's is lost: what it asked for may be asked again.
        later = (("Retry-After", str(_LATER[refusal.code])),)
        return Problem(REFUSALS[refusal.code], CODES[refusal.code], status=503, headers=later)
    return Problem(REFUSALS[refusal.code], str(refusal))


def active_user(db: Transaction, user_id: str) -> enroll.store.User:
    """The user that an account acts for; ``unauthorized`` once it, or its organisation, is disabled, and
    while the report of a theft waits."""
    return in_force(*enroll.store.user_in_force(db, user_id))


def in_force(user: enroll.store.User | None, theft: bool) -> enroll.store.User:
    """The same of what was read in the transaction (`enroll.store.user_in_force`)."""
    if user is None:
        raise Problem("unauthorized", "the user or the organisation may no longer enroll")
    if theft:
        raise problem_of(Refusal("theft_reported"))
    return user


def entitlement(server: AcmeServer, user: enroll.store.User, profile: str) -> Entitlement:
    """The names that a user may be certified by."""
    names = CommonNames(user.user_id, user.last_number)
    return Entitlement(dns_name(user.user_id, server.ra.settings.zone), names, (profile,))


def dns_name(user_id: str, zone: str) -> str:
    """The dNSName of a user: ``<user-id>.<zone>``, lower case."""
    return f"{user_id}.{zone}".lower()


@dataclass(frozen=True, slots=True)
class CommonNames(Container[str]):
    """A user's ID and every common name that the user ever had, folded: one for each number (D4).

    Told one by one, never listed: programs that enroll daily come to thousands.
    """

    user_id: str
    last_number: int

    def __contains__(self, folded: object) -> bool:
        own = self.user_id.lower()
        if not isinstance(folded, str) or not folded.startswith(own):
            return False
        number = folded[len(own) :]
        if not number:
            return True
        typed = number_in(number, len(str(LAST_NUMBER)))
        if typed is None or not 1 <= typed <= self.last_number:
            return False
        return common_name(self.user_id, typed).lower() == folded
