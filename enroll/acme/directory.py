"""The directory (RFC 8555 section 7.1.1): what this door offers, and on which terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from enroll.acme.urls import Urls

_OFFERED = ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange", "renewalInfo")


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of one door. ``profiles`` maps each profile to its description or a URL of it.

    ``external_account_required`` doors authorise by credentials, before any order if asked; the others
    by the certificate that the connection presents, for one order at a time.
    """

    profiles: Mapping[str, str]
    external_account_required: bool = True
    terms_of_service: str | None = None
    website: str | None = None
    caa_identities: tuple[str, ...] = field(default=())


def directory_json(urls: Urls, terms: Terms, grease: str) -> dict[str, Any]:
    """The directory object. ``grease`` is a random name for a member that clients have to ignore."""
    meta: dict[str, Any] = {"profiles": dict(terms.profiles)}
    if terms.external_account_required:
        meta["externalAccountRequired"] = True
    if terms.terms_of_service is not None:
        meta["termsOfService"] = terms.terms_of_service
    if terms.website is not None:
        meta["website"] = terms.website
    if terms.caa_identities:
        meta["caaIdentities"] = list(terms.caa_identities)
    shown: dict[str, Any] = {resource: urls.to(resource) for resource in _OFFERED}
    if terms.external_account_required:
        shown["newAuthz"] = urls.to("newAuthz")
    # RFC 8555 section 7.1.1 allows further members; one that is always there keeps clients honest.
    return shown | {grease: urls.to("directory"), "meta": meta}
