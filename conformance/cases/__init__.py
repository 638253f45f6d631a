"""All cases, in the order they run: what is shared is made early, what is spent or raced comes late."""

from __future__ import annotations

from fnmatch import fnmatchcase

from conformance.case import Case
from conformance.cases import (
    account,
    agreed,
    audit,
    authorization,
    binding,
    certificate,
    deactivation,
    directory,
    envelope,
    finalize,
    hostile,
    identity,
    keychange,
    keys,
    kinds,
    nonce,
    operated,
    order,
    renewal,
    renewal_info,
    revocation,
    signature,
    transport,
    validation,
)

CASES: tuple[Case, ...] = (
    *directory.CASES,
    *binding.REFUSALS,
    *transport.CASES,
    *signature.CASES,
    *identity.CASES,
    *keys.CASES,
    *nonce.CASES,
    *hostile.CASES,
    *account.CASES,
    *agreed.CASES,
    *binding.CASES,
    *order.CASES,
    *authorization.CASES,
    *validation.CASES,
    *kinds.CASES,
    *finalize.CASES,
    *certificate.CASES,
    *envelope.CASES,
    *revocation.CASES,
    *renewal_info.CASES,
    *renewal.CASES,
    *keychange.CASES,
    *deactivation.CASES,
    *operated.CASES,
    *audit.CASES,
)

#: The cases that need no account, and so nothing that is given.
WITHOUT_ACCOUNT: tuple[str, ...] = (
    *(f"directory.{name}" for name in ("served", "required", "meta", "no-link-index", "stable")),
    "directory.eab-required",
    "directory.offers-all",
    "eab.missing",
    *(f"http.{name}" for name in ("https-only", "cors", "cors-exposes", "put-refused", "trace")),
    *(f"http.get-{name}" for name in ("newAccount", "newOrder", "newAuthz", "revokeCert", "keyChange")),
    *(f"http.{name}" for name in ("unknown-path", "unknown-below-resource", "head-directory")),
    "http.misdirected-no-sni",
    "alg.jwk-*",
    "alg.*-served",
    "key.*",
    *(f"nonce.{name}" for name in ("head", "head-200", "get", "no-store", "distinct", "unpredictable")),
    "nonce.directory-link",
    *(f"account.not-found-{name}" for name in ("by-key", "with-contact")),
)


def needs_account(case: Case) -> bool:
    """Whether a case rests on an account, and so on a binding or a name to order."""
    return not any(fnmatchcase(case.id, glob) for glob in WITHOUT_ACCOUNT)
